"""How an agent in nova-compute's place starts, as the conductor sees it."""

import json
import pathlib

import pytest

from harness.conductor import _conductor, conductor  # noqa: F401
from harness.raw import opened
from test_nova_records import control, guest_of, nova, service  # noqa: F401

CAPTURE = (pathlib.Path(__file__).resolve().parents[1] / 'corpus' / 'nova' /
           'startup.jsonl')

# What nova-compute asks for at its first start ever and drover does not, in
# the words of said(), and why.
NOT_ASKED = {
    "InstanceList.get_by_host(['flavor', 'system_metadata'])":
        'it records no machine types of instances that lack one',
}

# What it asks for once less, and why.
ASKED_AGAIN = {
    'ComputeNode.get_by_host_and_nodename':
        'the record is looked for when it is needed, and not before',
}

# And the other way round.
ONLY_ASKED = {
    'InstanceList.get_by_host([])':
        'power states are compared at once, and not after up to a minute',
}


@pytest.fixture
def overheard(raw):
    """What is sent to the conductor, from here on."""
    queue = raw.queue(auto_delete=False, exclusive=True)
    raw.channel.queue_bind(queue, 'nova', 'conductor')
    return lambda is_last: [opened(message.body) for message in
                            raw.read_until(queue, is_last, 60)]


def said(message):
    """One call, in a word; None for those by which versions are learnt."""
    args = message['args']
    if message['method'] == 'object_class_action_versions':
        if args['objmethod'] == 'drover_asks_for_the_version':
            return None
        attributes = args['kwargs'].get('expected_attrs')
        return '%s.%s%s' % (args['objname'], args['objmethod'],
                            '(%s)' % attributes
                            if args['objmethod'] == 'get_by_host' else '')
    if message['method'] == 'object_action':
        return '%s.%s' % (args['objinst']['nova_object.name'],
                          args['objmethod'])
    return '%s(%s)' % (message['method'], json.dumps(args, sort_keys=True))


def shape(message, host):
    """The arguments, without what is another in each run."""
    args = json.loads(json.dumps(message['args']).replace(host, 'HOST'))
    made = args.get('objinst')
    if made:
        for name in ('id', 'uuid', 'created_at', 'updated_at', 'last_seen_up'):
            made['nova_object.data'].pop(name, None)
        made['nova_object.changes'].sort()
        if made['nova_object.name'] == 'ComputeNode':
            # The values are another host's; some that were changed there by
            # the first save are as they were on the fake.
            made['nova_object.data'] = sorted(made['nova_object.data'])
            made['nova_object.changes'] = [
                name for name in made['nova_object.changes']
                if name not in ('vcpus_used', 'local_gb_used')]
    elif args.get('objname') == 'PciDeviceList':
        args['args'] = ['ID']
    return args


def test_start_is_that_of_nova_compute(client, conductor,  # noqa: F811
                                       overheard, nova):  # noqa: F811
    """Call by call, byte by byte; differences have a reason, above."""
    theirs = [json.loads(line) for line in CAPTURE.read_text().splitlines()]
    agent = nova()
    ours = overheard(lambda message: said(opened(message.body)) ==
                     'Service.save')
    ours = [message for message in ours if said(message)]

    left_out = [said(message) for message in theirs
                if said(message) in NOT_ASKED]
    assert set(left_out) == set(NOT_ASKED)
    added = {said(message) for message in ours if said(message) in ONLY_ASKED}
    assert added == set(ONLY_ASKED)
    theirs = [message for message in theirs if said(message) not in NOT_ASKED]
    ours = [message for message in ours if said(message) not in ONLY_ASKED]

    # The last is asked once more of by the report to Placement.
    assert said(theirs[-2]) == 'Service.get_by_compute_host'
    del theirs[-2]
    for word in ASKED_AGAIN:
        del theirs[[said(message) for message in theirs].index(word)]
    assert [said(message) for message in ours] == [
        said(message) for message in theirs]
    for our, their in zip(ours, theirs):
        assert shape(our, agent.host) == shape(their, 'hostB')
        assert our.get('version') == their['version']
        assert our.get('namespace') == their.get('namespace')


def restart(conductor, client):  # noqa: F811
    conductor.kill()
    conductor.start()
    conductor.wait_ready(client)


def test_07_start_waits_for_a_conductor(client, conductor, nova):  # noqa: F811
    agent = nova('hosta', start=False)
    conductor.kill()
    agent.start(wait=False)
    agent.wait_told('STATUS', 'Waiting for nova-conductor.')
    conductor.start()
    conductor.wait_ready(client)
    agent.wait_ready(60)


def test_a_cell_that_is_too_old_is_not_served(
        client, conductor, control, nova):  # noqa: F811
    """A conductor remembers the oldest version of its cell."""
    other = nova('hostb')
    agent = nova('hosta', start=False)
    row = service(control, other.host)['id']
    other.stop()
    try:
        conductor.write('UPDATE services SET version = 60 WHERE id = ?', row)
        restart(conductor, client)
        agent.start(wait=False)
        assert agent.wait(60) == 1
        assert 'of version 60' in agent.log_text()
        agent.write_config(
            workarounds={'disable_compute_service_check_for_ffu': True})
        agent.start(timeout=60)
        assert service(control, agent.host)['version'] == 64
    finally:
        conductor.write('UPDATE services SET version = 64 WHERE id = ?', row)
        restart(conductor, client)



# ---- A migration ------------------------------------------------------------

MOVE = CAPTURE.with_name('live-migration-block.jsonl')

# Volumes are asked for by each step that needs them, which are other ones.
OF_VOLUMES = {'BlockDeviceMappingList.get_by_instance_uuid'}

# Of the host's resources drover tells when it starts and once a minute, and not
# with a migration.
OF_RESOURCES = {
    'BlockDeviceMappingList.get_by_instance_uuids', 'ComputeNode.save',
    'ComputeNodeList.get_all_by_host', 'Instance.get_by_uuid',
    'InstanceList.get_by_host_and_node',
    'MigrationList.get_in_progress_and_error',
    'PciDeviceList.get_by_compute_node',
    'Service.get_by_compute_host',
}

# What nova-compute asks the conductor in a block migration and drover does
# not, and why.
NOT_ASKED_IN_MOVE = {
    'ComputeNode.get_first_node_by_host_for_old_compat':
        'its node is that of the hypervisor, and the versions are checked '
        'without the other host\'s record',
    'Instance.refresh':
        'a guest on its way is looked after by its operation alone',
    'InstanceInfoCache.refresh': 'no Neutron is configured',
    'InstanceInfoCache.save': 'no Neutron is configured',
    'MigrationContext.get_by_instance_uuid':
        'it is dropped without a look whether there is one',
    'TrustedCerts.get_by_instance_uuid': 'no image is fetched',
    'VirtCPUModel.get_by_instance_uuid': 'the guest itself is asked',
}


def told(message):
    """What a call is for, and what is written by it."""
    args = message['args']
    if message['method'] != 'object_action':
        return (args['objname'] + '.' + args['objmethod'],
                *args['args'][1:], str(args['kwargs'].get('exc_val', '')))
    made = args['objinst']
    data = made['nova_object.data']
    changes = set(made.get('nova_object.changes', ()))
    # Written with it by nova-compute, though they are what they were.
    changes -= {'info_cache', 'resources', 'availability_zone', 'power_state'}
    # Of these, too, each of its saves has more or fewer.
    changes -= {name for name in changes
                if name.startswith(('memory_', 'disk_'))}
    what = {name: data.get(name) for name in changes}
    for name in 'host', 'node':
        if name in what:
            what[name] = 'HOST'
    expected = args['kwargs'].get('expected_task_state')
    return ('%s.%s' % (made['nova_object.name'], args['objmethod']),
            json.dumps(what, sort_keys=True),
            json.dumps([expected] if isinstance(expected, str) else expected))


def is_of_move(message):
    """No heartbeat, no progress, no resources."""
    name = said(message)
    return (name and name.split('(')[0] not in OF_RESOURCES | OF_VOLUMES and
            not name.startswith(('Service.save', 'ping')) and
            told(message)[:2] not in (('Migration.save', '{}'),) and
            not (name == 'Instance.save' and 'host' not in told(message)[1]))


def test_a_migration_is_told_as_by_nova_compute(
        client, conductor, control, overheard, nova):  # noqa: F811
    """Every record that nova-compute writes, and nothing else."""
    theirs = [json.loads(line) for line in MOVE.read_text().splitlines()]
    # As where that was recorded; another call revokes tokens of consoles.
    hosta, hostb = (nova(name, guests=n, vnc={'enabled': False})
                    for name, n in (('hosta', 1), ('hostb', 0)))
    uuid = guest_of(hosta)
    control.create_instance(uuid, hosta.host, task_state=None, memory=64)
    migration = control.migrate(uuid, hostb.host)
    control.wait_status(migration, 'completed', 'failed', 'error')
    client.cast('ping', arg='end', _topic='conductor', _version='1.0',
                _namespace='baseapi')
    ours = overheard(lambda message: opened(message.body)['args'].get('arg') ==
                     'end')
    # The test has made them by itself.
    made_by_us = [m for m in ours if said(m) == 'Migration.create']
    ours = ours[ours.index(made_by_us[-1]) + 1:]

    assert OF_VOLUMES <= {said(m) for m in ours}
    ours = sorted(told(m) for m in ours if is_of_move(m))
    missing = {said(m).split('(')[0] for m in theirs if is_of_move(m)} - {
        name for name, *_ in ours}
    assert missing == set(NOT_ASKED_IN_MOVE)
    assert ours == sorted(
        told(m) for m in theirs
        if is_of_move(m) and said(m).split('(')[0] not in NOT_ASKED_IN_MOVE)
