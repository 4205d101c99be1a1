"""One or two agents with the fake driver, driven over the bus."""

import json
import os
import signal
import socket
import time

import pytest

from harness import nova
from harness.oslo import Failure
from harness.wait import wait_for

MISSING = '11111111-2222-4333-8444-555555555555'
ORDER = ['live_migration.pre.start', 'live_migration.pre.end',
         'live_migration._post.start', 'live_migration.post.dest.start',
         'live_migration.post.dest.end', 'live_migration._post.end']
BACK = ['live_migration.pre.start', 'live_migration.pre.end',
        'live_migration._rollback.start', 'live_migration.rollback.dest.start',
        'live_migration.rollback.dest.end', 'live_migration._rollback.end']


def fake(world, guests=0, **more):
    # As on real hosts, the path is the same everywhere.
    settings = {'instances_path': str(world.parent / 'instances'),
                'fake': {'world': str(world), 'guests': guests,
                         'memory_mb': 64}}
    settings.update(more)
    return settings


@pytest.fixture
def world(tmp_path):
    path = tmp_path / 'world'
    path.mkdir()
    return path


@pytest.fixture
def pair(droverd, world):
    """hosta, which has two guests, and hostb."""
    return (droverd('hosta', settings=fake(world, 2)),
            droverd('hostb', settings=fake(world)))


def call(client, host, method, version='6.0', **args):
    return client.call(method, _server=host, _version=version,
                       _context=nova.context(), **args)


def failure(client, host, method, version='6.0', **args):
    with pytest.raises(Failure) as caught:
        call(client, host, method, version, **args)
    return caught.value


def guests(agent):
    return {guest['name']: guest
            for guest in agent.ctl_json('instance', 'list')
            if guest['host'] == agent.host}


def status(agent, name):
    """None while the agent has not heard of it."""
    done = agent.ctl('migration', 'show', name, '--json', check=False)
    return json.loads(done.stdout)['status'] if not done.returncode else None


def wait_status(agent, name, *wanted, deadline=30):
    wait_for(lambda: status(agent, name) in wanted, deadline,
             lambda: 'migration of %s is %s: %s' % (
                 name, wanted, agent.ctl('migration', 'show', name,
                                         check=False).stdout))


def wait_idle(*agents, deadline=60):
    wait_for(lambda: not any(agent.ctl_json('op', 'list')
                             for agent in agents), deadline, 'all are idle')


def legacy(listener, uuid):
    return [event['event_type'].replace('compute.instance.', '')
            for event in list(listener.events)
            if event['event_type'].startswith('compute.instance.live')
            and event['payload'].get('instance_id') == uuid]


# ---- Answers ------------------------------------------------------------

def test_ping(client, droverd):
    droverd('hosta')
    assert client.call('ping', _server='hosta', _namespace='baseapi',
                       _version='1.0', arg='x') == {'service': 'compute',
                                                    'arg': 'x'}


def test_missing_method_is_no_such_method(client, droverd):
    droverd('hosta')
    seen = failure(client, 'hosta', 'no_such_thing')
    assert (seen.name, seen.message) == (
        'NoSuchMethod',
        'Endpoint does not support RPC method no_such_thing')


@pytest.mark.parametrize('version', ['4.12', '7.0', '6.99'])
def test_wrong_version_is_unsupported(client, droverd, version):
    droverd('hosta')
    seen = failure(client, 'hosta', 'get_host_uptime', version)
    assert (seen.name, seen.message) == (
        'UnsupportedVersion',
        'Endpoint does not support RPC version %s. Attempted method: '
        'get_host_uptime' % version)


@pytest.mark.parametrize('version', ['5.0', '5.13', '6.0', '6.1'])
def test_both_versions_are_served(client, droverd, version):
    droverd('hosta')
    assert 'load average' in call(client, 'hosta', 'get_host_uptime', version)


def test_what_is_not_served_is_refused_at_once(client, droverd):
    droverd('hosta')
    seen = failure(client, 'hosta', 'get_vnc_console', console_type='novnc',
                   instance=nova.instance(MISSING, 'hosta'))
    assert (seen.name, seen.module) == ('NotImplementedError', 'builtins')
    assert call(client, 'hosta', 'cache_images', image_ids=['a', 'b']) == {
        'a': 'unsupported', 'b': 'unsupported'}


def test_host_is_enabled_and_disabled(client, droverd):
    droverd('hosta')
    assert call(client, 'hosta', 'set_host_enabled',
                enabled=False) == 'disabled'
    assert call(client, 'hosta', 'set_host_enabled', enabled=True) == 'enabled'
    seen = failure(client, 'hosta', 'set_host_enabled', enabled='yes')
    assert seen.name == 'ValueError'


def test_refused_cast_frees_only_what_is_known(client, pair):
    hosta, _ = pair
    guest = one_guest(hosta)
    before = len(guests(hosta))
    for uuid in MISSING, guest['uuid']:
        client.cast('rescue_instance', _server='hosta', _version='6.0',
                    _context=nova.context(), rescue_password='x',
                    rescue_image_ref=None, clean_shutdown=True,
                    instance=nova.instance(uuid, 'hosta',
                                           task_state='rescuing'))
    wait_for(lambda: hosta.ctl_json('status')['rpc']['n_failures'] >= 2, 10,
             'both are refused')
    assert len(guests(hosta)) == before
    assert guests(hosta)[guest['name']]['task_state'] is None


def test_unknown_instance_is_not_found(client, droverd):
    droverd('hosta')
    seen = failure(client, 'hosta', 'check_can_live_migrate_source',
                   instance=nova.instance(MISSING, 'hosta'),
                   dest_check_data=nova.primitive(
                       'LibvirtLiveMigrateData', '1.10',
                       {'filename': 'tmpx'}))
    assert (seen.name, seen.module) == ('InstanceNotFound', 'nova.exception')
    assert seen.rebuilt
    assert seen.kwargs['instance_id'] == MISSING
    assert seen.kwargs['code'] == 404


@pytest.mark.parametrize('args', [
    {}, {'instance': 1, 'data': {}, 'more': 2}, {'wrong': {}}])
def test_broken_arguments_are_type_errors(client, droverd, args):
    droverd('hosta')
    seen = failure(client, 'hosta', 'check_instance_shared_storage', **args)
    assert (seen.name, seen.module) == ('TypeError', 'builtins')


def test_instance_that_is_none_is_a_value_error(client, droverd):
    droverd('hosta')
    seen = failure(client, 'hosta', 'live_migration_force_complete',
                   instance={'nova_object.name': 'Instance'})
    assert (seen.name, seen.module) == ('ValueError', 'builtins')


def test_external_events_are_accepted(client, droverd):
    agent = droverd('hosta')
    client.cast('external_instance_event', _server='hosta', _version='6.0',
                instances=[], events=[])
    wait_for(lambda: agent.ctl_json('status')['rpc']['n_requests'] >= 1, 10,
             'the cast is counted')


def test_path_outside_is_refused_by_name(client, droverd):
    droverd('hosta')
    seen = failure(client, 'hosta', 'check_instance_shared_storage',
                   data={'filename': '/etc/passwd'})
    assert '/etc' in seen.message


# ---- A migration, as a conductor of one's own drives it -------------------

def check(client, guest, block=True, **more):
    return call(client, 'hostb', 'check_can_live_migrate_destination',
                instance=nova.instance(guest['uuid'], 'hosta', guest['name']),
                block_migration=block, disk_over_commit=False,
                migration=None, limits=None, **more)


def migrate(client, guest, data, **more):
    instance = nova.instance(guest['uuid'], 'hosta', guest['name'], 64)
    migration = nova.migration(instance, 'hostb', **more)
    client.cast('live_migration', _server='hosta', _version='6.0',
                _context=nova.context(), instance=instance, dest='hostb',
                block_migration=None, migration=migration, migrate_data=data)
    return migration['nova_object.data']


def one_guest(agent):
    return sorted(guests(agent).values(), key=lambda g: g['name'])[0]


def test_conductor_moves_a_guest(client, listener, pair):
    hosta, hostb = pair
    guest = one_guest(hosta)
    data = check(client, guest)
    fields = data['nova_object.data']
    assert data['nova_object.name'] == 'LibvirtLiveMigrateData'
    assert data['nova_object.version'] == '1.10'
    assert fields['block_migration'] is True
    assert fields['is_shared_instance_path'] is False

    made = migrate(client, guest, data)
    wait_status(hosta, made['uuid'], 'completed', 'failed', 'error')

    assert status(hosta, made['uuid']) == 'completed'
    assert guest['name'] in guests(hostb)
    assert guest['name'] not in guests(hosta)
    assert guests(hostb)[guest['name']]['task_state'] is None
    wait_for(lambda: len(legacy(listener, guest['uuid'])) >= 6, 10,
             lambda: legacy(listener, guest['uuid']))
    assert legacy(listener, guest['uuid']) == ORDER


def test_notifications_are_in_both_formats_without_secrets(client, listener,
                                                           pair):
    hosta, _ = pair
    guest = one_guest(hosta)
    made = migrate(client, guest, check(client, guest))
    wait_status(hosta, made['uuid'], 'completed')

    end = listener.wait_for('compute.instance.live_migration._post.end', 10)
    assert end['publisher_id'] == 'compute.hosta'
    assert end['payload']['display_name'] == guest['name']
    assert end['payload']['memory_mb'] == 64
    assert end['payload']['fixed_ips'] == []
    versioned = listener.wait_for('instance.live_migration_post.end', 10)
    assert versioned['publisher_id'] == 'nova-compute:hosta'
    payload = versioned['payload']
    assert payload['nova_object.name'] == 'InstanceActionPayload'
    assert payload['nova_object.data']['uuid'] == guest['uuid']
    assert 'SECRET-TOKEN' not in str(listener.events)


def test_failing_preparation_leaves_nothing(client, listener, pair):
    hosta, hostb = pair
    guest = one_guest(hosta)
    data = check(client, guest)
    hostb.ctl('fake', 'fail', 'prepare', 'INTERNAL')
    made = migrate(client, guest, data)
    wait_status(hosta, made['uuid'], 'failed')
    wait_for(lambda: not hostb.ctl_json('op', 'list'), 10, 'hostb is idle')
    assert guest['name'] in guests(hosta)
    listener.wait_for('pre_live_migration', 10)
    listener.wait_for('compute.exception', 10)


def test_same_message_twice_is_one_migration(client, pair):
    hosta, hostb = pair
    guest = one_guest(hosta)
    data = check(client, guest)
    instance = nova.instance(guest['uuid'], 'hosta', guest['name'], 64)
    migration = nova.migration(instance, 'hostb')
    for _ in range(2):
        client.cast('live_migration', _server='hosta', _version='6.0',
                    _context=nova.context(), instance=instance, dest='hostb',
                    block_migration=None, migration=migration,
                    migrate_data=data)
    uuid = migration['nova_object.data']['uuid']
    wait_status(hosta, uuid, 'completed')
    assert guest['name'] in guests(hostb)
    listed = hosta.ctl_json('migration', 'list')
    assert len([m for m in listed if m['uuid'] == uuid]) == 1


# ---- droverctl drives -------------------------------------------------------

def slow(agent):
    """The transfer goes on until somebody does something."""
    agent.ctl('fake', 'bandwidth', '64')
    agent.ctl('fake', 'dirty-rate', '*', '1000')


def test_migrate_chooses_a_destination(pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    hosta.ctl('migrate', name, '--watch')
    assert name in guests(hostb)


def test_check_tells_and_moves_nothing(pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    said = hosta.ctl('migrate', name, 'hostb', '--check')
    assert 'hostb' in said.stdout
    assert name in guests(hosta)
    assert not hosta.ctl_json('migration', 'list')


def test_migrate_to_nowhere_says_why(pair):
    hosta, _ = pair
    name = sorted(guests(hosta))[0]
    done = hosta.ctl('migrate', name, 'nosuch', check=False)
    assert done.returncode == 1
    assert 'nosuch' in done.stderr
    assert guests(hosta)[name]['task_state'] is None


def test_abort_while_it_runs(pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    slow(hosta)
    hosta.ctl('migrate', name, 'hostb')
    wait_status(hosta, name, 'running')
    hosta.ctl('migration', 'abort', name)
    wait_status(hosta, name, 'cancelled')
    assert name in guests(hosta) and name not in guests(hostb)


def test_second_waits_and_can_be_aborted_in_the_queue(pair):
    hosta, _ = pair
    first, second = sorted(guests(hosta))
    slow(hosta)
    hosta.ctl('migrate', first, 'hostb')
    wait_status(hosta, first, 'running')
    hosta.ctl('migrate', second, 'hostb')
    wait_status(hosta, second, 'queued')
    hosta.ctl('migration', 'abort', second)
    wait_status(hosta, second, 'cancelled')
    hosta.ctl('migration', 'abort', first)
    wait_status(hosta, first, 'cancelled')
    assert all(g['task_state'] is None for g in guests(hosta).values())


def test_there_and_back(pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    hosta.ctl('migrate', name, 'hostb', '--watch')
    hostb.ctl('migrate', name, 'hosta', '--watch')
    hosta.ctl('migrate', name, 'hostb', '--watch')
    assert name in guests(hostb) and name not in guests(hosta)


# ---- Restarts ---------------------------------------------------------------

def test_source_killed_while_queued_goes_back(pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    slow(hosta)
    hosta.ctl('migrate', name, 'hostb')
    wait_status(hosta, name, 'running')
    hosta.kill()
    hosta.start()
    wait_status(hosta, name, 'failed', 'completed')
    homes = [agent.host for agent in pair if name in guests(agent)]
    assert len(homes) == 1
    assert guests(pair[homes[0] == 'hostb'])[name]['task_state'] is None
    wait_for(lambda: not hostb.ctl_json('op', 'list'), 20, 'hostb is idle')


def test_destination_killed_while_it_prepares(client, pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    data = check(client, guests(hosta)[name])
    hostb.ctl('fake', 'hang', 'prepare')  # After the check.
    migrate(client, guests(hosta)[name], data)
    wait_for(lambda: hostb.ctl_json('op', 'list'), 10, 'hostb prepares')
    os.kill(hostb.pid, signal.SIGKILL)
    hostb.kill()
    hostb.start()
    wait_for(lambda: not hostb.ctl_json('op', 'list'), 20,
             'hostb took its part back')
    assert name in guests(hosta)


def test_stop_leaves_no_queue_of_ours(broker, droverd):
    def transient():
        return {name for name in broker.queues()
                if name.startswith(('reply_', 'compute_fanout_'))}

    before = transient()
    agent = droverd('hosta')
    assert len(transient() - before) == 2
    agent.stop()
    assert transient() <= before


def test_a_manager_that_hangs_holds_nobody(broker, droverd):
    """What it does not take is told when it does."""
    agent = droverd('hosta')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        filler.connect(str(agent.directory / 'notify'))
        with pytest.raises(BlockingIOError):
            while True:
                filler.send(b'X=1')

    def is_served():
        return agent.ctl_json('status')['bus']['consuming']

    broker.kill()
    wait_for(lambda: not is_served(), 60, 'the bus is missed')
    broker.start()
    wait_for(is_served, 60, 'the bus is back')
    broker.kill()
    try:
        agent.wait_told('STATUS', 'Without a bus: last was %s.' %
                        agent.ctl_json('status')['bus']['broker'])
    finally:
        broker.start()


def test_the_watchdog_is_told_as_often_as_it_asks(broker, droverd):
    """More often than anything else is told: gaps of less than a second."""
    agent = droverd('hosta', start=False)
    agent.start(environment={'WATCHDOG_USEC': '600000'})
    deadline = time.monotonic() + 30
    agent.wait_told('WATCHDOG', '1')
    gap, last = None, time.monotonic()
    while gap is None or gap > 0.8:
        assert time.monotonic() < deadline, 'it is told too seldom'
        agent.forget_told('WATCHDOG')
        agent.wait_told('WATCHDOG', '1')
        gap, last = time.monotonic() - last, time.monotonic()


def test_broker_restart_is_survived(broker, client, droverd):
    droverd('hosta')
    broker.restart()

    def answers():
        try:
            return client.call('ping', _server='hosta', _namespace='baseapi',
                               _version='1.0', _timeout=3, arg=1)
        except Failure:
            return None

    wait_for(answers, 60, 'the agent answers again')
