"""Guests that have CPUs of their own, and claims of those at a destination.

Numbers in names are those of the acceptance points of a migration.
"""

import concurrent.futures
import json
import uuid as uuids

import pytest

from harness import crash
from harness import nova as novas
from harness.conductor import _conductor, conductor  # noqa: F401
from harness.oslo import Failure
from harness.raw import opened
from harness.wait import wait_for
from test_nova_records import (control, guest_of, guests_of,  # noqa: F401
                               nova, states)
from test_nova_resources import node

N_CPUS = 32  # Of a host, on one node.


def topology(pins, memory=64):
    """Of a guest whose CPUs are pinned to those."""
    cell = novas.primitive('InstanceNUMACell', '1.6', {
        'id': 0, 'cpuset': [], 'pcpuset': list(range(len(pins))),
        'cpuset_reserved': None, 'memory': memory, 'pagesize': None,
        'cpu_pinning_raw': {str(i): cpu for i, cpu in enumerate(pins)},
        'cpu_policy': 'dedicated', 'cpu_thread_policy': None})
    return novas.primitive('InstanceNUMATopology', '1.3', {
        'cells': [cell], 'emulator_threads_policy': None})


def create(control, host, pins, uuid=None):  # noqa: F811
    """An instance there, with those CPUs."""
    uuid = uuid or str(uuids.uuid4())
    control.create_instance(uuid, host.host, task_state=None, memory=64,
                            vcpus=len(pins), numa_topology=topology(pins))
    return uuid


def pins_in(text):
    """Of an InstanceNUMATopology as the database has it."""
    cell, = json.loads(text)['nova_object.data']['cells']
    return sorted(cell['nova_object.data']['cpu_pinning_raw'].values())


def pins(control, uuid):  # noqa: F811
    return pins_in(control.row('instance_extra', instance_uuid=uuid)
                   ['numa_topology'])


def claim(control, uuid):  # noqa: F811
    """What is claimed for it: the migration's id, and its new CPUs."""
    text = control.row('instance_extra', instance_uuid=uuid)[
        'migration_context']
    if text is None:
        return None
    data = json.loads(text)['nova_object.data']
    return data['migration_id'], pins_in(
        json.dumps(data['new_numa_topology']))


def taken(control, host):  # noqa: F811
    """CPUs that are nobody else's any more, as schedulers see it."""
    row = node(control, host.host)
    cell, = json.loads(row['numa_topology'])['nova_object.data']['cells']
    return sorted(cell['nova_object.data']['pinned_cpus'])


def wait_taken(control, host, cpus):  # noqa: F811
    wait_for(lambda: taken(control, host) == sorted(cpus), 60,
             lambda: 'CPUs of %s are %s' % (host.host, taken(control, host)))


@pytest.fixture
def pair(control, nova):  # noqa: F811
    """Two hosts; a guest with the CPUs 0 and 1 of the first, which are
    another's on the second."""
    hosta, hostb = nova('hosta', guests=1), nova('hostb')
    uuid = create(control, hosta, [0, 1], guest_of(hosta))
    create(control, hostb, [0, 1])
    return hosta, hostb, uuid


def test_08_claim_is_the_guests_own_when_it_has_come(control,  # noqa: F811
                                                     pair):
    hosta, hostb, uuid = pair
    told = {}
    hosta.ctl('fake', 'hang', 'transfer')
    migration = control.migrate(uuid, hostb.host, arrange=lambda _, data:
                                told.update(data))
    control.wait_status(migration, 'running')
    row = control.row('migrations', uuid=migration)
    assert claim(control, uuid) == (row['id'], [2, 3])
    assert (row['dest_compute'], row['dest_node']) == (hostb.host, hostb.host)
    assert pins(control, uuid) == [0, 1]
    assert told['dst_numa_info']['nova_object.data'] == {
        'cpu_pins': {'0': [2], '1': [3]}, 'cell_pins': {'0': [0]},
        'emulator_pins': [2, 3]}
    wait_taken(control, hostb, [0, 1, 2, 3])
    hosta.ctl('fake', 'release')
    control.wait_status(migration, 'completed')
    assert pins(control, uuid) == [2, 3]
    assert claim(control, uuid) is None
    wait_taken(control, hostb, [0, 1, 2, 3])
    wait_taken(control, hosta, [])


def test_08_claim_goes_with_the_migration(control, pair):  # noqa: F811
    hosta, hostb, uuid = pair
    hosta.ctl('fake', 'fail', 'migrate')
    migration = control.migrate(
        uuid, hostb.host, arrange=lambda _migration, _data:
        wait_taken(control, hostb, [0, 1, 2, 3]))
    control.wait_status(migration, 'failed')
    assert claim(control, uuid) is None
    assert pins(control, uuid) == [0, 1]
    assert states(control, uuid) == ('active', None)
    wait_taken(control, hostb, [0, 1])
    wait_taken(control, hosta, [0, 1])


def test_08_source_has_the_claim_dropped(control, pair, raw):  # noqa: F811
    hosta, hostb, uuid = pair
    queue = raw.queue(auto_delete=False, exclusive=True)
    raw.channel.queue_bind(queue, 'nova', 'compute.' + hostb.host)
    hosta.ctl('fake', 'fail', 'migrate')
    control.wait_status(control.migrate(uuid, hostb.host), 'failed')
    asked = []
    while 'drop_move_claim_at_destination' not in asked:
        asked += [opened(message.body)['method']
                  for message in raw.read(queue, deadline=60)]


def test_claim_is_dropped_before_the_records_say_so(control,  # noqa: F811
                                                    pair):
    """As a source does, first of all."""
    hosta, hostb, uuid = pair
    instance, migration = control.prepare(uuid, hostb.host)
    control.check(instance, hostb.host, migration=migration)
    wait_taken(control, hostb, [0, 1, 2, 3])
    control.client.call('drop_move_claim_at_destination', _server=hostb.host,
                        _version='6.0', _context=control.context,
                        instance=instance)
    wait_taken(control, hostb, [0, 1])
    assert claim(control, uuid)
    control.check(instance, hostb.host, migration=migration)
    wait_taken(control, hostb, [0, 1, 2, 3])


@pytest.mark.parametrize('which', ['hosta', 'hostb'])
def test_08_agent_killed_while_a_claim_is_open(control, pair,  # noqa: F811
                                               which):
    hosta, hostb, uuid = pair
    hosta.ctl('fake', 'hang', 'transfer')
    migration = control.migrate(uuid, hostb.host)
    control.wait_status(migration, 'running')
    agent = {'hosta': hosta, 'hostb': hostb}[which]
    agent.kill()
    agent.start()
    wait_taken(control, hostb, [0, 1, 2, 3])
    hosta.ctl('fake', 'release')
    control.wait_status(migration, 'completed', 'failed')
    at_home = control.status(migration) == 'failed'
    assert pins(control, uuid) == ([0, 1] if at_home else [2, 3])
    assert claim(control, uuid) is None
    wait_taken(control, hostb, [0, 1] if at_home else [0, 1, 2, 3])


@pytest.mark.faults
@pytest.mark.parametrize('when', ['run', 'done'])
def test_08_destination_killed_as_it_takes_the_record(control,  # noqa: F811
                                                      pair, when):
    hosta, hostb, uuid = pair
    hosta.stop()
    hosta.write_config(rpc_response_timeout=4)
    hosta.start()
    crash.arm(hostb, 'incoming-migration.take-record.' + when)
    migration = control.migrate(uuid, hostb.host)
    crash.wait_dead(hostb)
    hostb.start()
    control.wait_status(migration, 'completed')
    assert pins(control, uuid) == [2, 3]
    assert claim(control, uuid) is None
    wait_taken(control, hostb, [0, 1, 2, 3])


def refusal(control, uuid, host):  # noqa: F811
    instance, migration = control.prepare(uuid, host.host)
    with pytest.raises(Failure) as caught:
        control.check(instance, host.host, migration=migration)
    assert caught.value.name == 'MigrationPreCheckError'
    return str(caught.value)


def test_asked_again_it_gets_the_same(control, pair):  # noqa: F811
    """Its own claim is in nobody's way."""
    _, hostb, uuid = pair
    create(control, hostb, list(range(4, N_CPUS)))
    instance, migration = control.prepare(uuid, hostb.host)
    for _ in range(2):
        control.check(instance, hostb.host, migration=migration)
        assert claim(control, uuid)[1] == [2, 3]
    wait_taken(control, hostb, list(range(N_CPUS)))


def test_no_claim_of_no_migration(control, pair):  # noqa: F811
    _, hostb, uuid = pair
    instance, _ = control.prepare(uuid, hostb.host)
    with pytest.raises(Failure) as caught:
        control.check(instance, hostb.host)
    assert caught.value.name == 'MigrationPreCheckError'
    assert 'destination makes no claims' in str(caught.value)


def test_no_room(control, pair):  # noqa: F811
    _, hostb, uuid = pair
    create(control, hostb, list(range(2, N_CPUS - 1)))
    why = refusal(control, uuid, hostb)
    assert 'Insufficient compute resources: Requested instance NUMA ' in why
    assert 'node 0 has 1 CPUs of %d left' % N_CPUS in why
    assert claim(control, uuid) is None


def test_of_two_that_claim_the_same_one_gets_it(control, nova):  # noqa: F811
    hosta, hostb = nova('hosta', guests=2), nova('hostb')
    guests = guests_of(hosta)
    for i, uuid in enumerate(guests):
        create(control, hosta, list(range(i * 16, i * 16 + 16)), uuid)
    create(control, hostb, list(range(12)))  # 20 are left.
    prepared = [control.prepare(uuid, hostb.host) for uuid in guests]

    def check(one):
        instance, migration = one
        try:
            control.check(instance, hostb.host, migration=migration)
        except Failure as failure:
            assert 'node 0 has 4 CPUs of 32 left' in str(failure)
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert sorted(pool.map(check, prepared)) == [False, True]
    assert len([uuid for uuid in guests if claim(control, uuid)]) == 1


def source_check(control, host, instance):  # noqa: F811
    return control.client.call(
        'check_can_live_migrate_source', _server=host.host, _version='6.0',
        _context=control.context, instance=instance,
        dest_check_data=novas.primitive('LibvirtLiveMigrateData', '1.10', {
            'filename': 'tmp0', 'image_type': 'default'}))


def test_08_no_source_without_a_claim(control, pair):  # noqa: F811
    hosta, hostb, uuid = pair
    instance, _ = control.prepare(uuid, hostb.host)
    with pytest.raises(Failure) as caught:
        source_check(control, hosta, instance)
    assert caught.value.name == 'MigrationPreCheckError'
    assert 'destination makes no claims' in str(caught.value)


def test_moves_without_a_claim_if_so_configured(control, pair):  # noqa: F811
    hosta, hostb, uuid = pair
    hosta.stop()
    hosta.write_config(workarounds={'enable_numa_live_migration': True})
    hosta.start()
    instance, _ = control.prepare(uuid, hostb.host)
    data = source_check(control, hosta, instance)['nova_object.data']
    assert 'src_supports_numa_live_migration' not in data
