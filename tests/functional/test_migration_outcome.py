"""What the services around see of a migration: records, events, answers.

On the fake hypervisor, as that is enough for it.  Numbers in names are those of
the acceptance points.
"""

import pytest

from harness import nova
from harness.wait import wait_for
from test_agent import (BACK, ORDER, call, check, fake, failure, guests, legacy,
                        migrate, one_guest, status, wait_idle, wait_status,
                        world)  # noqa: F401 (a fixture)

COUNTERS = ['%s_%s' % (what, which) for what in ('memory', 'disk')
            for which in ('total', 'processed', 'remaining')]


@pytest.fixture
def pair(droverd, world):  # noqa: F811
    """hosta, which has two guests, and hostb."""
    settings = {'libvirt': {'live_migration_monitor_interval': 1,
                            'live_migration_permit_post_copy': True}}
    return (droverd('hosta', settings=fake(world, 2, **settings)),
            droverd('hostb', settings=fake(world, **settings)))


def show(agent, name):
    return agent.ctl_json('migration', 'show', name)


def record_of(agent, name):
    """The one that there is of the instance, wherever it is."""
    record, = [g for g in agent.ctl_json('instance', 'list')
               if g['name'] == name]
    return record


def step_of(agent):
    """Of the only operation there; asked of the agent, not over the bus."""
    return [op['step'] for op in agent.ctl_json('op', 'list')]


def instance_of(guest):
    return nova.instance(guest['uuid'], 'hosta', guest['name'], 64)


def payloads(listener, event, uuid):
    return [e['payload'] for e in list(listener.events)
            if e['event_type'] == 'compute.instance.' + event and
            e['payload']['instance_id'] == uuid]


def begin_slowly(agent, name, *words):
    """Moves the guest, and not to the end before the link is set to more."""
    agent.ctl('fake', 'bandwidth', '1')
    agent.ctl('migrate', name, 'hostb', *words)
    wait_status(agent, name, 'running')
    wait_for(lambda: show(agent, name)['memory_total'], 20, 'it has a job')


# ---- While it runs ------------------------------------------------------------

def test_26_progress_and_six_counters_move(pair):
    hosta, _ = pair
    name = sorted(guests(hosta))[0]
    begin_slowly(hosta, name)
    seen = {counter: set() for counter in [*COUNTERS, 'progress']}

    def move(*counters):
        shown = {**show(hosta, name), 'progress': hosta.ctl_json(
            'instance', 'show', name)['progress']}
        for counter, values in seen.items():
            values.add(shown[counter])
        return all(len(seen[counter]) >= 3 for counter in counters)

    wait_for(lambda: move('disk_processed', 'disk_remaining'), 60,
             lambda: seen)
    # Memory changes faster than it is sent, and so for as long as is needed.
    hosta.ctl('fake', 'dirty-rate', '*', '12')
    hosta.ctl('fake', 'bandwidth', '8')
    wait_for(lambda: move('memory_processed', 'memory_remaining', 'progress'),
             60, lambda: seen)
    assert max(seen['memory_total']) == 64 << 20
    assert max(seen['disk_total']) == 16 << 20
    assert all(0 <= value <= 100 for value in seen['progress'])
    hosta.ctl('fake', 'dirty-rate', '*', '0')
    hosta.ctl('fake', 'bandwidth', '1000')
    wait_status(hosta, name, 'completed')
    last = show(hosta, name)
    assert last['memory_remaining'] == last['disk_remaining'] == 0


def test_31_transfer_goes_on_while_the_broker_is_away(broker, pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    begin_slowly(hosta, name)
    broker.kill()
    try:
        hosta.ctl('fake', 'bandwidth', '1000')
        # The guest has moved, and its new host is to be told.
        wait_for(lambda: step_of(hosta) == ['finish-dest'], 30,
                 lambda: 'the transfer ends: %s' % step_of(hosta))
    finally:
        broker.start()
    wait_for(lambda: hosta.ctl('status', check=False).returncode == 0 and
             not step_of(hosta), 60, 'hosta is done')
    wait_status(hosta, name, 'completed', deadline=60)
    wait_idle(hosta, hostb)
    assert record_of(hosta, name)['host'] == 'hostb'


# ---- The end --------------------------------------------------------------------

def test_34_record_is_the_destinations_at_the_end(listener, pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    hosta.ctl('migrate', name, 'hostb', '--watch')
    wait_idle(hosta, hostb)
    # Of both hosts' there is one, and no second save made it the source's.
    for agent in pair:
        record = record_of(agent, name)
        assert record['host'] == 'hostb'
        assert (record['vm_state'], record['task_state']) == ('active', None)
        assert (record['power_state'], record['progress']) == ('running', 0)
    event = listener.wait_for('instance.live_migration_post_dest.end', 20)
    data = event['payload']['nova_object.data']
    assert (data['host'], data['node'], data['task_state']) == (
        'hostb', 'hostb', None)


def test_42_end_at_the_destination_answers_twice_the_same(client, listener,
                                                          pair):
    hosta, hostb = pair
    guest = one_guest(hosta)
    made = migrate(client, guest, check(client, guest))
    wait_status(hosta, made['uuid'], 'completed')
    wait_idle(hosta, hostb)
    before = record_of(hostb, guest['name'])
    for _ in range(2):
        assert call(client, 'hostb', 'post_live_migration_at_destination',
                    instance=instance_of(guest), block_migration=True) is None
    assert record_of(hostb, guest['name']) == before
    assert guest['name'] in guests(hostb)


def test_44_destination_that_is_away_at_the_end_is_waited_for(pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    begin_slowly(hosta, name)
    hostb.kill()
    hosta.ctl('fake', 'bandwidth', '1000')
    wait_for(lambda: step_of(hosta) == ['finish-dest'], 30,
             lambda: 'the transfer ends: %s' % step_of(hosta))
    hostb.start()
    wait_status(hosta, name, 'completed', deadline=90)
    wait_idle(hosta, hostb)
    assert record_of(hosta, name)['host'] == 'hostb'
    assert record_of(hosta, name)['task_state'] is None


# ---- Taken back -----------------------------------------------------------------

def test_49_guest_that_arrived_is_not_rolled_back(client, pair):
    hosta, hostb = pair
    guest = one_guest(hosta)
    data = check(client, guest)
    made = migrate(client, guest, data)
    wait_status(hosta, made['uuid'], 'completed')
    wait_idle(hosta, hostb)
    before = hostb.ctl_json('fake', 'list')
    client.cast('rollback_live_migration_at_destination', _server='hostb',
                _version='6.0', _context=nova.context(),
                instance=instance_of(guest), destroy_disks=True,
                migrate_data=data)
    wait_for(lambda: 'refused to roll back: the guest runs here' in
             hostb.log_text(), 20, 'it is refused')
    wait_idle(hostb)
    assert hostb.ctl_json('fake', 'list') == before
    assert guest['name'] in guests(hostb)


def test_50_events_of_a_roll_back(client, listener, pair):
    hosta, hostb = pair
    guest = one_guest(hosta)
    data = check(client, guest)
    hosta.ctl('fake', 'fail', 'migrate', 'MIGRATION')
    made = migrate(client, guest, data)
    wait_status(hosta, made['uuid'], 'failed')
    wait_for(lambda: len(legacy(listener, guest['uuid'])) >= len(BACK), 20,
             lambda: legacy(listener, guest['uuid']))
    seen = legacy(listener, guest['uuid'])
    # The part of the destination is a cast: it has its own order.
    assert sorted(seen) == sorted(BACK)
    for way in ('pre', '_rollback', 'rollback.dest'):
        assert (seen.index('live_migration.%s.start' % way) <
                seen.index('live_migration.%s.end' % way))
    assert (seen.index('live_migration._rollback.start') <
            seen.index('live_migration.rollback.dest.start'))
    for end in ('start', 'end'):
        here, = payloads(listener, 'live_migration._rollback.' + end,
                         guest['uuid'])
        there, = payloads(listener, 'live_migration.rollback.dest.' + end,
                          guest['uuid'])
        assert 'fixed_ips' not in here and there['fixed_ips'] == []
    for action, host in (('rollback', 'hosta'), ('rollback_dest', 'hostb')):
        event = listener.wait_for('instance.live_migration_%s.end' % action,
                                  20)
        assert event['publisher_id'] == 'nova-compute:' + host
    assert ORDER[-1] not in seen
    assert record_of(hosta, guest['name'])['host'] == 'hosta'
    assert record_of(hosta, guest['name'])['task_state'] is None
    wait_idle(hosta, hostb)
    assert guest['name'] not in guests(hostb)


# ---- Abort ----------------------------------------------------------------------

def abort_events(listener, uuid):
    return [event['event_type'].replace('compute.instance.', '')
            for event in list(listener.events)
            if 'live.migration.abort' in event['event_type'] and
            event['payload']['instance_id'] == uuid]


def abort(client, guest, number):
    client.cast('live_migration_abort', _server='hosta', _version='6.0',
                _context=nova.context(), instance=instance_of(guest),
                migration_id=number)


ABORTED = ['live.migration.abort.start', 'live.migration.abort.end']


@pytest.mark.parametrize('when', ['queued', 'preparing', 'running'])
def test_51_abort_of_one_that_is(client, listener, pair, when):
    hosta, hostb = pair
    first, guest = sorted(guests(hosta).values(), key=lambda g: g['name'])
    data = check(client, guest)
    hosta.ctl('fake', 'bandwidth', '1')
    if when == 'queued':
        hosta.ctl('migrate', first['name'], 'hostb')
        wait_status(hosta, first['name'], 'running')
    elif when == 'preparing':
        hostb.ctl('fake', 'hang', 'prepare')
    made = migrate(client, guest, data)
    wait_status(hosta, made['uuid'], when)
    if when == 'preparing':
        wait_for(lambda: hostb.ctl_json('op', 'list'), 20, 'hostb prepares')
    abort(client, guest, made['id'])
    wait_for(lambda: abort_events(listener, guest['uuid']), 20,
             'the abort has begun')
    hostb.ctl('fake', 'release')
    wait_status(hosta, made['uuid'], 'cancelled', deadline=60)
    wait_for(lambda: abort_events(listener, guest['uuid']) == ABORTED, 20,
             lambda: abort_events(listener, guest['uuid']))
    listener.wait_for('instance.live_migration_abort.end', 20)
    assert record_of(hosta, guest['name'])['host'] == 'hosta'
    assert record_of(hosta, guest['name'])['task_state'] is None
    if when == 'queued':
        hosta.ctl('migration', 'abort', first['name'])
    wait_idle(hosta, hostb)
    assert not [line for line in hostb.ctl_json('fake', 'list')
                if guest['uuid'] in line]


def test_51_abort_of_one_that_is_over_is_refused(client, listener, pair):
    hosta, hostb = pair
    guest = one_guest(hosta)
    hosta.ctl('migrate', guest['name'], 'hostb', '--watch')
    wait_idle(hosta, hostb)
    done = hosta.ctl('migration', 'abort', guest['name'], check=False)
    assert done.returncode == 1 and 'completed' in done.stderr
    number = show(hosta, guest['name'])['id']
    abort(client, guest, number)
    event = listener.wait_for('live_migration_abort', 20)
    assert event['priority'] == 'error'
    assert 'Cannot abort live migration' in str(event['payload'])
    assert status(hosta, guest['name']) == 'completed'
    assert guest['name'] in guests(hostb)


# ---- Post-copy ------------------------------------------------------------------

def test_54_postcopy_has_its_status_and_is_not_aborted(client, pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    begin_slowly(hosta, name)
    hosta.ctl('migration', 'force-complete', name)
    wait_status(hosta, name, 'running (post-copy)')
    done = hosta.ctl('migration', 'abort', name, check=False)
    assert done.returncode == 1 and 'running (post-copy)' in done.stderr
    assert status(hosta, name) == 'running (post-copy)'
    hosta.ctl('fake', 'bandwidth', '1000')
    wait_status(hosta, name, 'completed')
    wait_idle(hosta, hostb)
    assert show(hosta, name)['postcopy'] is True
    assert record_of(hosta, name)['host'] == 'hostb'


def test_54_broken_postcopy_is_mended(pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    uuid = guests(hosta)[name]['uuid']
    begin_slowly(hosta, name)
    hosta.ctl('migration', 'force-complete', name)
    wait_status(hosta, name, 'running (post-copy)')
    hosta.ctl('fake', 'break-postcopy', uuid)
    wait_for(lambda: 'broke, the guest is paused: resuming it' in
             hosta.log_text(), 30, 'it is noticed')
    assert status(hosta, name) == 'running (post-copy)'
    hosta.ctl('fake', 'bandwidth', '1000')
    wait_status(hosta, name, 'completed', deadline=60)
    wait_idle(hosta, hostb)
    assert record_of(hosta, name)['host'] == 'hostb'
