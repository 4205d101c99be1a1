"""Instances that are deleted, with a real nova-conductor."""

import pytest

from harness import crash
from harness.conductor import _conductor, conductor  # noqa: F401
from harness.raw import opened
from harness.wait import wait_for
from test_nova_records import (control, guest_of, left, nova, pair, states,
                               steer_slow)  # noqa: F401 (fixtures)

EVENT = 'compute_terminate_instance'


def ask_to_delete(control, host, uuid):  # noqa: F811
    """As the API does it."""
    control.begin(uuid, 'delete')
    instance = control.get_instance(uuid, 'flavor', 'metadata', 'info_cache',
                                    'system_metadata')
    instance['nova_object.data']['task_state'] = 'deleting'
    instance['nova_object.changes'] = ['task_state']
    control.act(instance, 'save')
    del instance['nova_object.changes']
    control.client.cast(
        'terminate_instance', _server=host, _version='6.0',
        _context=control.context, instance=instance,
        bdms={'nova_object.name': 'BlockDeviceMappingList',
              'nova_object.namespace': 'nova', 'nova_object.version': '1.18',
              'nova_object.data': {'objects': []}})


def wait_deleted(control, agents, uuid):  # noqa: F811
    wait_for(lambda: control.instance(uuid)['deleted'], 60,
             lambda: '%s %s' % (states(control, uuid), agents[0].log_text()))
    row = control.instance(uuid)
    assert (row['vm_state'], row['task_state'], row['power_state']) == (
        'deleted', None, 0)
    assert row['terminated_at'] and row['deleted_at']
    for agent in agents:
        assert uuid not in agent.ctl('fake', 'list').stdout


def wait_event(control, uuid, result, n=1):  # noqa: F811
    wait_for(lambda: control.events(uuid).count((EVENT, result)) == n, 30,
             lambda: control.events(uuid))


def test_deleted_instance_leaves_nothing(control, listener,  # noqa: F811
                                         pair):  # noqa: F811
    hosta, hostb, uuid = pair
    ask_to_delete(control, hosta.host, uuid)
    wait_deleted(control, (hosta, hostb), uuid)
    wait_event(control, uuid, 'Success')
    listener.wait_for('compute.instance.delete.end', 10)
    seen = [event['event_type'] for event in list(listener.events)
            if event['payload'].get('instance_id') == uuid]
    assert seen == ['compute.instance.' + what for what in (
        'delete.start', 'shutdown.start', 'shutdown.end', 'delete.end')]


def test_schedulers_know_who_is_here(control, nova, raw):  # noqa: F811
    raw.channel.exchange_declare('scheduler_fanout', 'fanout', durable=False,
                                 auto_delete=True)
    queue = raw.queue(auto_delete=False, exclusive=True)
    raw.channel.queue_bind(queue, 'scheduler_fanout')
    hosta = nova('hosta', guests=1, scheduler_instance_sync_interval=1)
    uuid = guest_of(hosta)
    control.create_instance(uuid, hosta.host, task_state=None, memory=64)

    def told(method, uuids):
        def is_it(message):
            seen = opened(message.body)
            args = seen['args']
            return (seen['method'] == method and
                    args['host_name'] == hosta.host and
                    args.get('instance_uuids',
                             args.get('instance_uuid')) == uuids)
        raw.read_until(queue, is_it, 60)

    told('sync_instance_info', [uuid])
    ask_to_delete(control, hosta.host, uuid)
    told('delete_instance_info', uuid)
    told('sync_instance_info', [])


@pytest.mark.parametrize('is_protected', (False, True))
def test_guest_that_ends_with_its_power(control, pair,  # noqa: F811
                                        is_protected):
    hosta, hostb, uuid = pair
    control.conductor.write(
        'UPDATE instances SET shutdown_terminate = 1, disable_terminate = ? '
        'WHERE uuid = ?', is_protected, uuid)
    hosta.ctl('fake', 'guest-stop', uuid)
    if is_protected:
        wait_for(lambda: states(control, uuid) == ('stopped', None), 60,
                 lambda: states(control, uuid))
        assert guest_of(hosta) == uuid
        action = 'stop'
    else:
        wait_deleted(control, (hosta, hostb), uuid)
        wait_event(control, uuid, 'Success')
        action = 'delete'
    assert [row['action'] for row in control.rows(
        'instance_actions', instance_uuid=uuid)] == [action]


@pytest.mark.parametrize('is_there', (True, False))
def test_guest_that_was_off_when_its_host_was_booted_is_not_deleted(
        control, pair, is_there):  # noqa: F811
    hosta, _, uuid = pair
    control.conductor.write('UPDATE instances SET shutdown_terminate = 1, '
                            'power_state = 1 WHERE uuid = ?', uuid)
    hosta.ctl('fake', 'guest-stop' if is_there else 'guest-remove', uuid)
    hosta.kill()
    hosta.write_config(resume_guests_state_on_host_boot=True,
                       sync_power_state_interval=1)
    hosta.start()
    # What could not be started again is in error, and nobody's to judge.
    wanted = ('active' if is_there else 'error', None)
    wait_for(lambda: 'started, as it ran before' in hosta.log_text() and
             states(control, uuid) == wanted, 30,
             lambda: '%s\n%s' % (states(control, uuid), hosta.log_text()))
    if is_there:
        wait_for(lambda: control.instance(uuid)['power_state'] == 1, 30,
                 'it runs, as is recorded')
        assert guest_of(hosta) == uuid
    assert states(control, uuid) == wanted
    assert control.rows('instance_actions', instance_uuid=uuid) == []


def test_failed_deletion_is_an_error_and_may_be_asked_again(
        control, pair):  # noqa: F811
    hosta, hostb, uuid = pair
    hosta.ctl('fake', 'fail', 'power_off')
    ask_to_delete(control, hosta.host, uuid)
    wait_event(control, uuid, 'Error')
    assert states(control, uuid) == ('error', None)
    assert control.row('instance_faults', instance_uuid=uuid)
    assert guest_of(hosta) == uuid
    ask_to_delete(control, hosta.host, uuid)
    wait_deleted(control, (hosta, hostb), uuid)


def test_migration_ends_before_its_guest_is_deleted(control,  # noqa: F811
                                                    pair):  # noqa: F811
    hosta, hostb, uuid = pair
    steer_slow(hosta)
    migration = control.migrate(uuid, hostb.host)
    control.wait_status(migration, 'running')
    ask_to_delete(control, hosta.host, uuid)
    wait_deleted(control, (hosta, hostb), uuid)
    assert control.status(migration) in ('failed', 'cancelled')


def test_guest_that_moved_meanwhile_is_deleted_where_it_is(
        control, pair):  # noqa: F811
    hosta, hostb, uuid = pair
    migration = control.migrate(uuid, hostb.host)
    control.wait_status(migration, 'completed')
    ask_to_delete(control, hosta.host, uuid)
    wait_deleted(control, (hosta, hostb), uuid)
    assert 'it is on host \'%s\' now' % hostb.host in hosta.log_text()
    wait_event(control, uuid, 'Success')


def test_guest_that_may_be_elsewhere_is_not_deleted(control,  # noqa: F811
                                                    pair):  # noqa: F811
    hosta, hostb, uuid = pair
    control.create_migration(control.get_instance(uuid), hostb.host,
                             status='running')
    hostb.ctl('fake', 'disconnect')
    ask_to_delete(control, hosta.host, uuid)
    wait_event(control, uuid, 'Error')
    assert states(control, uuid) == ('error', None)
    assert guest_of(hosta) == uuid
    hostb.ctl('fake', 'connect')
    ask_to_delete(control, hosta.host, uuid)
    wait_deleted(control, (hosta, hostb), uuid)


@pytest.mark.faults
@pytest.mark.parametrize('point', [
    'look-where.done', 'announce.done', 'end-guest.run', 'end-guest.done',
    'remove-files.done', 'mark.done', 'destroy.done'])
def test_killed_in_its_middle_it_goes_on(control, pair, point):  # noqa: F811
    hosta, hostb, uuid = pair
    crash.arm(hosta, 'terminate.' + point)
    ask_to_delete(control, hosta.host, uuid)
    crash.wait_dead(hosta)
    hosta.start()
    wait_deleted(control, (hosta, hostb), uuid)
    wait_event(control, uuid, 'Success')
