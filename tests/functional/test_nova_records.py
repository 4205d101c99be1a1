"""Agents in nova-compute's place, with a real nova-conductor and its database.

Numbers in names are those of the acceptance points of such a host.
"""

import uuid as uuids

import pytest

from harness.conductor import _conductor, conductor  # noqa: F401
from harness.control import Control
from harness.wait import wait_for

# Of every agent that comes from the control plane, so that a test sees it in a
# second.
QUICK = {'control_plane': 'nova', 'report_interval': 1,
         'rpc_response_timeout': 5}


@pytest.fixture
def control(client, conductor):  # noqa: F811
    return Control(client, conductor)


@pytest.fixture
def nova(droverd, tmp_path):
    """Makes agents under Nova whose names are nobody else's."""
    world = tmp_path / 'world'
    world.mkdir()
    tail = uuids.uuid4().hex[:6]

    def make(name='hosta', guests=0, **more):
        start = more.pop('start', True)
        settings = {**QUICK, 'instances_path': str(tmp_path / 'instances'),
                    'fake': {'world': str(world), 'guests': guests,
                             'memory_mb': 64}}
        settings.update(more)
        return droverd('%s-%s' % (name, tail), start=start, settings=settings)

    return make


def service(control, host):
    return control.row('services', host=host)


def wait_beats(control, host, more=1, deadline=30):
    """Until it has beaten so many times more."""
    before = service(control, host)['report_count']
    wait_for(lambda: service(control, host)['report_count'] >= before + more,
             deadline, 'a heartbeat of ' + host)


def guests_of(agent):
    """The UUIDs of the guests that the fake has there."""
    lines = [line.split() for line in agent.ctl('fake', 'list').stdout.
             splitlines()]
    return [word for words in lines for word in words
            if len(word) == 36 and word.count('-') == 4]


def guest_of(agent):
    """That of the only one."""
    uuid, = guests_of(agent)
    return uuid


# ---- The service record -----------------------------------------------------

def test_01_service_record_appears_and_beats(control, nova):
    agent = nova()
    record = service(control, agent.host)
    assert (record['binary'], record['topic'], record['version']) == (
        'nova-compute', 'compute', 64)
    assert not record['disabled']
    wait_beats(control, agent.host, 2)
    assert service(control, agent.host)['last_seen_up']


def test_version_is_saved_where_it_differs(control, nova):
    agent = nova()
    first = service(control, agent.host)
    agent.stop()
    control.conductor.write('UPDATE services SET version = 62 WHERE host = ?',
                            agent.host)
    agent.start()
    again = service(control, agent.host)
    assert (again['id'], again['uuid'], again['version']) == (
        first['id'], first['uuid'], 64)


def test_02_deleted_record_is_an_error_and_made_at_the_next_start(
        control, nova):
    agent = nova()
    wait_beats(control, agent.host)
    record = service(control, agent.host)
    control.act({'nova_object.name': 'Service', 'nova_object.namespace': 'nova',
                 'nova_object.version': '1.22', 'nova_object.data': {
                     'id': record['id'], 'host': agent.host,
                     'binary': 'nova-compute'}}, 'destroy')
    wait_for(lambda: 'the record of host \'%s\' was deleted' % agent.host in
             agent.log_text(), 30, 'it is noticed')
    assert control.client.call('ping', arg='x', _server=agent.host,
                               _namespace='baseapi', _version='1.0')
    agent.restart()
    rows = control.rows('services', host=agent.host, deleted=0)
    assert [row['id'] for row in rows] != [record['id']]
    assert len(rows) == 1


def test_12_libvirt_lost_disables_and_enables_again(control, nova):
    agent = nova(guests=1)
    uuid = guest_of(agent)
    control.create_instance(uuid, agent.host, task_state=None, memory=64)
    agent.ctl('fake', 'disconnect')
    wait_for(lambda: service(control, agent.host)['disabled'], 30,
             'it is disabled')
    assert service(control, agent.host)['disabled_reason'].startswith('AUTO: ')
    wait_beats(control, agent.host)
    agent.ctl('fake', 'connect')
    wait_for(lambda: not service(control, agent.host)['disabled'], 30,
             'it is enabled')
    assert service(control, agent.host)['disabled_reason'] is None
    # It hears of its guests again; they are compared every ten minutes only.
    agent.ctl('fake', 'guest-pause', uuid)
    wait_for(lambda: control.instance(uuid)['power_state'] == 3, 30,
             'the power state is recorded')


def test_what_an_operator_disabled_stays_so(control, nova):
    agent = nova()
    record = control.ask(
        'object_class_action_versions', objname='Service',
        objmethod='get_by_compute_host', object_versions={'Service': '1.22'},
        args=[agent.host], kwargs={})
    record['nova_object.data'].update(disabled=True, disabled_reason='repair')
    record['nova_object.changes'] = ['disabled', 'disabled_reason']
    control.act(record, 'save')
    agent.ctl('fake', 'disconnect')
    agent.ctl('fake', 'connect')
    agent.restart()
    wait_beats(control, agent.host)
    row = service(control, agent.host)
    assert (row['disabled'], row['disabled_reason']) == (1, 'repair')


# ---- Migrations -------------------------------------------------------------

@pytest.fixture
def pair(control, nova):
    """Two agents, and an instance whose guest is on the first."""
    hosta, hostb = nova('hosta', guests=1), nova('hostb')
    uuid = guest_of(hosta)
    control.create_instance(uuid, hosta.host, task_state=None, memory=64)
    return hosta, hostb, uuid


def steer_slow(agent):
    agent.ctl('fake', 'bandwidth', '4')


MOVED = [('compute_check_can_live_migrate_destination', 'Success'),
         ('compute_check_can_live_migrate_source', 'Success'),
         ('compute_live_migration', 'Success'),
         ('compute_pre_live_migration', 'Success'),
         ('compute_post_live_migration_at_destination', 'Success')]


def test_messages_move_a_guest_and_its_record(control, listener, pair):
    hosta, hostb, uuid = pair
    migration = control.migrate(uuid, hostb.host)
    control.wait_status(migration, 'completed', 'failed', 'error')

    assert control.status(migration) == 'completed', hosta.log_text()
    row = control.instance(uuid)
    assert (row['host'], row['node'], row['task_state'], row['vm_state'],
            row['power_state'], row['progress']) == (
        hostb.host, hostb.host, None, 'active', 1, 0)
    assert guest_of(hostb) == uuid
    wait_for(lambda: sorted(control.events(uuid)) == sorted(MOVED), 10,
             lambda: control.events(uuid))
    assert control.rows('instance_faults', instance_uuid=uuid) == []
    record = control.row('migrations', uuid=migration)
    assert record['memory_total'] > 0


@pytest.mark.parametrize('task', [None, 'migrating'])
def test_told_again_after_a_restart(control, pair, task):
    """As by a source that did not hear the answer: all is as it was, also if
    it has begun to go elsewhere."""
    _, hostb, uuid = pair
    migration = control.migrate(uuid, hostb.host)
    control.wait_status(migration, 'completed')
    hostb.restart()
    control.conductor.write('UPDATE instances SET task_state = ? '
                            'WHERE uuid = ?', task, uuid)
    before = control.instance(uuid)
    assert control.client.call(
        'post_live_migration_at_destination', _server=hostb.host,
        _version='6.0', _context=control.context,
        instance=control.get_instance(uuid, 'flavor', 'info_cache'),
        block_migration=True) is None
    assert hostb.is_running
    assert control.instance(uuid) == before
    assert guest_of(hostb) == uuid


def test_failed_transfer_leaves_it_where_it_was(control, pair):
    hosta, hostb, uuid = pair
    hosta.ctl('fake', 'fail', 'migrate')
    migration = control.migrate(uuid, hostb.host)
    control.wait_status(migration, 'completed', 'failed', 'error')

    assert control.status(migration) == 'failed'
    row = control.instance(uuid)
    assert (row['host'], row['task_state'], row['vm_state']) == (
        hosta.host, None, 'active')
    wait_for(lambda: ('compute_rollback_live_migration_at_destination',
                      'Success') in control.events(uuid), 10,
             lambda: control.events(uuid))


def test_failed_preparation_is_a_fault(control, pair):
    hosta, hostb, uuid = pair
    hostb.ctl('fake', 'fail', 'prepare')
    migration = control.migrate(uuid, hostb.host)
    control.wait_status(migration, 'completed', 'failed')

    assert control.status(migration) == 'failed'
    assert control.instance(uuid)['task_state'] is None
    wait_for(lambda: ('compute_pre_live_migration', 'Error') in
             control.events(uuid), 10, lambda: control.events(uuid))
    fault = control.row('instance_faults', instance_uuid=uuid)
    assert fault['host'] == hostb.host
    assert fault['code'] >= 400 and fault['message'] and fault['details']


def test_conductor_that_hangs_fails_no_migration(control, pair):
    hosta, hostb, uuid = pair
    steer_slow(hosta)
    migration = control.migrate(uuid, hostb.host)
    control.wait_status(migration, 'running')
    with control.conductor.paused():
        # The guest arrives, and nobody can be told.
        wait_for(lambda: uuid in hostb.ctl('fake', 'list').stdout and
                 'trying again' in hosta.log_text() + hostb.log_text(), 60,
                 'the conductor is missed')
    control.wait_status(migration, 'completed', 'failed', 'error',
                        deadline=120)
    assert control.status(migration) == 'completed'
    row = control.instance(uuid)
    assert (row['host'], row['task_state']) == (hostb.host, None)


def test_source_killed_with_the_conductor_away(control, pair):
    hosta, hostb, uuid = pair
    steer_slow(hosta)
    migration = control.migrate(uuid, hostb.host)
    control.wait_status(migration, 'running')
    with control.conductor.paused():
        hosta.kill()
        hosta.start(wait=False)
        hosta.wait_told('STATUS', 'Waiting for nova-conductor.')
    hosta.wait_ready(60)
    control.wait_status(migration, 'completed', 'failed', 'error',
                        deadline=120)
    row = control.instance(uuid)
    moved = control.status(migration) == 'completed'
    assert (row['host'], row['task_state'], row['vm_state']) == (
        (hostb if moved else hosta).host, None, 'active')
    assert guest_of(hostb if moved else hosta) == uuid


# ---- Instances that were left in the middle of something --------------------

def left(control, agent, vm_state, task_state, **data):
    """The UUID of an instance whose guest is not there."""
    uuid = str(uuids.uuid4())
    control.create_instance(uuid, agent.host, vm_state=vm_state,
                            task_state=task_state, **data)
    return uuid


def states(control, uuid):
    row = control.instance(uuid)
    return row['vm_state'], row['task_state']


def test_17_start_settles_what_was_left(control, pair):
    """As far as the guests are not touched."""
    hosta, hostb, uuid = pair
    hosta.stop()
    built = left(control, hosta, 'building', 'spawning', power_state=0)
    copied = left(control, hosta, 'active', 'image_uploading')
    failed = left(control, hosta, 'error', 'spawning')
    gone = left(control, hosta, 'active', 'migrating')
    off = left(control, hosta, 'active', 'powering-off')
    deleted = left(control, hosta, 'active', 'deleting')
    # By a nova-compute that was ended in its middle, which left its record.
    control.conductor.write("UPDATE instances SET task_state = 'migrating' "
                            "WHERE uuid = ?", uuid)
    migration = control.create_migration(
        control.get_instance(uuid), hostb.host, status='running')
    migration = migration['nova_object.data']['uuid']
    hosta.start()

    assert states(control, built) == ('error', None)
    assert states(control, copied) == ('active', None)
    assert states(control, failed) == ('error', 'spawning')
    for each in off, deleted:
        wait_for(lambda: control.instance(each)['task_state'] is None, 30,
                 lambda: states(control, each))
    assert states(control, off) == ('active', None)  # There is none to stop.
    assert states(control, deleted) == ('deleted', None)
    assert control.instance(deleted)['deleted']
    # It may run at its destination: nobody knows.
    assert states(control, gone) == ('active', 'migrating')
    assert states(control, uuid) == ('active', None)
    assert control.status(migration) == 'error'
    assert control.instance(uuid)['host'] == hosta.host


def test_10_guest_shut_down_from_within_is_stopped(control, pair):
    hosta, _, uuid = pair
    hosta.stop()
    hosta.write_config(sync_power_state_interval=1)
    hosta.start()
    hosta.ctl('fake', 'guest-pause', uuid)
    wait_for(lambda: control.instance(uuid)['power_state'] == 3, 30,
             'the power state is recorded')
    assert states(control, uuid) == ('active', None)
    hosta.ctl('fake', 'guest-stop', uuid)
    wait_for(lambda: states(control, uuid) == ('stopped', None), 30,
             lambda: states(control, uuid))
    assert control.instance(uuid)['power_state'] == 4
    hosta.ctl('fake', 'guest-start', uuid)
    # It is to be stopped.
    wait_for(lambda: 'guest is powered off' in hosta.log_text() and
             control.instance(uuid)['power_state'] == 4 and
             states(control, uuid) == ('stopped', None), 30,
             lambda: states(control, uuid))
    stops = control.rows('instance_actions', instance_uuid=uuid)
    assert [row['action'] for row in stops] == ['stop', 'stop']
    wait_for(lambda: control.events(uuid) == [
        ('compute_stop_instance', 'Success')] * 2, 30,
        lambda: control.events(uuid))


# ---- What is not served -----------------------------------------------------

def test_refused_casts_leave_nothing_hanging(control, listener, pair):
    hosta, _, uuid = pair
    control.conductor.write("UPDATE instances SET task_state = "
                            "'image_snapshot_pending' WHERE uuid = ?", uuid)
    control.begin(uuid, 'createImage')
    control.client.cast(
        'snapshot_instance', _server=hosta.host, _version='6.0',
        _context=control.context, instance=control.get_instance(uuid),
        image_id=str(uuids.uuid4()))
    wait_for(lambda: control.events(uuid) == [
        ('compute_snapshot_instance', 'Error')], 30,
        lambda: control.events(uuid))
    assert states(control, uuid) == ('active', None)
    fault = control.row('instance_faults', instance_uuid=uuid)
    assert "'snapshot_instance' is not served" in fault['message']
    listener.wait_for('snapshot_instance', 10)


def test_refused_build_ends_in_error(control, nova):
    agent = nova()
    uuid = str(uuids.uuid4())
    made = control.create_instance(uuid, None, vm_state='building', node=None,
                                   task_state='scheduling', launched_on=None)
    control.begin(uuid, 'create')
    control.client.cast(
        'build_and_run_instance', _server=agent.host, _version='6.0',
        _context=control.context, instance=made, image={}, request_spec={},
        filter_properties={}, accel_uuids=[], admin_password='x',
        injected_files=[], requested_networks=None, security_groups=[],
        block_device_mapping=[], node=agent.host, limits={}, host_list=[])
    wait_for(lambda: states(control, uuid) == ('error', None), 30,
             lambda: states(control, uuid))


def test_refused_move_is_a_failed_migration(control, pair):
    hosta, hostb, uuid = pair
    control.conductor.write("UPDATE instances SET task_state = 'resize_prep' "
                            "WHERE uuid = ?", uuid)
    control.begin(uuid, 'migrate')
    instance = control.get_instance(uuid, 'flavor')
    migration = control.create_migration(instance, hostb.host,
                                         status='pre-migrating',
                                         migration_type='migration')
    control.client.cast(
        'prep_resize', _server=hostb.host, _version='6.0',
        _context=control.context, instance=instance, migration=migration,
        image={}, flavor={}, request_spec={}, filter_properties={},
        node=hostb.host, clean_shutdown=True, host_list=[])
    control.wait_status(migration['nova_object.data']['uuid'], 'error')
    assert states(control, uuid) == ('active', None)
