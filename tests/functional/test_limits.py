"""Limits: how many migrations at a time, out of a host and into one, and what
they may send."""

import re

from harness.wait import wait_for
from test_agent import (fake, guests, status, wait_idle, wait_status,
                        world)  # noqa: F401 (a fixture)


def names(agent):
    return sorted(guests(agent))


def show(agent, name):
    return agent.ctl_json('migration', 'show', name)


def test_25_one_runs_the_others_wait_and_follow_in_order(droverd,
                                                         world):  # noqa: F811
    hosta = droverd('hosta', settings=fake(
        world, 3, max_concurrent_live_migrations=1))
    hostb = droverd('hostb', settings=fake(world))
    hosta.ctl('fake', 'hang', 'transfer')
    order = [names(hosta)[i] for i in (1, 0, 2)]
    uuids = [guests(hosta)[name]['uuid'] for name in order]
    for name in order:
        hosta.ctl('migrate', name, 'hostb')
        # It has its place in the queue before the next one comes.
        wait_for(lambda name=name: status(hosta, name) in ('running', 'queued')
                 and show(hosta, name)['step'] in ('transfer', 'queue'), 20,
                 name + ' runs or waits')
    assert [status(hosta, name) for name in order] == ['running', 'queued',
                                                       'queued']
    assert [show(hosta, name)['waits_for'] for name in order] == [
        None, 'hosta', 'hosta']
    hosta.ctl('fake', 'release')
    for name in order:
        wait_status(hosta, name, 'completed')
    wait_idle(hosta, hostb)
    ran = re.findall(r'inst=(\S+) op=\d+\|migration is running',
                     hosta.log_text())
    assert ran == uuids
    assert names(hostb) == sorted(order)


def test_full_destination_is_waited_for_at_the_source(droverd,
                                                      world):  # noqa: F811
    """And the source's own places are for others meanwhile."""
    hosta = droverd('hosta', settings=fake(world, 1))
    hostb = droverd('hostb', settings=fake(
        world, max_concurrent_incoming_live_migrations=1))
    hostc = droverd('hostc', settings=fake(
        world, 2, max_concurrent_live_migrations=1))
    hosta.ctl('fake', 'hang', 'transfer')
    first, (second, third) = names(hosta)[0], names(hostc)
    hosta.ctl('migrate', first, 'hostb')
    wait_status(hosta, first, 'running')
    hostc.ctl('migrate', second, 'hostb')
    wait_for(lambda: show(hostc, second)['waits_for'] == 'hostb', 20,
             lambda: show(hostc, second))
    assert 'a place at hostb' in hostc.ctl('migration', 'show', second).stdout
    hostc.ctl('migrate', third, 'hosta', '--watch')
    assert status(hostc, third) == 'completed'
    assert show(hostc, second)['status'] == 'preparing'
    hosta.ctl('fake', 'release')
    wait_status(hostc, second, 'completed')
    wait_idle(hosta, hostb, hostc)
    assert names(hostb) == sorted([first, second])


def test_full_destination_is_not_waited_for_for_ever(droverd,
                                                     world):  # noqa: F811
    hosta = droverd('hosta', settings=fake(world, 1))
    hostb = droverd('hostb', settings=fake(
        world, max_concurrent_incoming_live_migrations=1))
    hostc = droverd('hostc', settings=fake(
        world, 1, incoming_live_migration_wait=1))
    hosta.ctl('fake', 'hang', 'transfer')
    first, second = names(hosta)[0], names(hostc)[0]
    hosta.ctl('migrate', first, 'hostb')
    wait_status(hosta, first, 'running')
    done = hostc.ctl('migrate', second, 'hostb', '--watch', check=False)
    assert done.returncode == 1
    assert "host 'hostb' had no place for an incoming migration in 1 s" \
        in done.stderr
    assert names(hostc) == [second]
    assert guests(hostc)[second]['task_state'] is None
    hosta.ctl('fake', 'release')
    wait_status(hosta, first, 'completed')
    wait_idle(hosta, hostb, hostc)


def test_hosts_full_of_each_others_migrations_get_on(droverd,
                                                     world):  # noqa: F811
    limits = {'max_concurrent_live_migrations': 1,
              'max_concurrent_incoming_live_migrations': 1}
    hosta = droverd('hosta', settings=fake(world, 4, **limits))
    hostb = droverd('hostb', settings=fake(world, 4, **limits))
    at_a, at_b = names(hosta), names(hostb)
    for a, b in zip(at_a, at_b):
        hosta.ctl('migrate', a, 'hostb')
        hostb.ctl('migrate', b, 'hosta')
    for a, b in zip(at_a, at_b):
        wait_status(hosta, a, 'completed', deadline=120)
        wait_status(hostb, b, 'completed', deadline=120)
    wait_idle(hosta, hostb)
    assert (names(hosta), names(hostb)) == (at_b, at_a)


# ---- Bandwidth ------------------------------------------------------------------

def shares(agent, *guests_):
    return [show(agent, name)['bandwidth'] for name in guests_]


def wait_shares(agent, wanted):
    wait_for(lambda: shares(agent, *wanted) == list(wanted.values()), 20,
             lambda: '%s, not %s' % (wanted, shares(agent, *wanted)))


def rates_of(agent, name):
    """The rates that this migration was given while it ran, in order."""
    uuid = guests(agent)[name]['uuid']
    return [int(rate) for rate in re.findall(
        r'inst=%s op=\d+\|bandwidth is set to (\d+) MiB/s' % uuid,
        agent.log_text())]


def test_budget_of_a_host_is_divided_and_divided_again(droverd,
                                                       world):  # noqa: F811
    hosta = droverd('hosta', settings=fake(
        world, 3, max_concurrent_live_migrations=0,
        libvirt={'live_migration_host_bandwidth': 6}))
    droverd('hostb', settings=fake(world))
    one, two, three = names(hosta)
    for name in (one, two, three):  # They run until they are told to end.
        hosta.ctl('fake', 'dirty-rate', guests(hosta)[name]['uuid'], '100')
    hosta.ctl('migrate', one, 'hostb')
    wait_shares(hosta, {one: 6})
    hosta.ctl('migrate', two, 'hostb')
    wait_shares(hosta, {one: 3, two: 3})
    wait_for(lambda: rates_of(hosta, one) == [3], 20, 'it is told')
    wait_for(lambda: show(hosta, one)['rate'] == 3 << 20, 20,
             lambda: show(hosta, one))
    hosta.ctl('migrate', three, 'hostb', '--bandwidth', '1')
    wait_shares(hosta, {one: 3, two: 2, three: 1})
    hosta.ctl('migration', 'set', three, '--bandwidth', '100')
    wait_shares(hosta, {one: 2, two: 2, three: 2})
    wait_for(lambda: show(hosta, three)['rate'] == 2 << 20, 20,
             lambda: show(hosta, three))
    hosta.ctl('migration', 'abort', one)
    wait_shares(hosta, {one: None, two: 3, three: 3})
    hosta.ctl('migration', 'abort', two)
    wait_shares(hosta, {three: 6})
    wait_for(lambda: show(hosta, three)['rate'] == 6 << 20, 20,
             lambda: show(hosta, three))
    hosta.ctl('migration', 'abort', three)
    wait_status(hosta, three, 'cancelled')


# ---- What does not go together ----------------------------------------------------

def test_22_compression_and_several_connections_exclude_each_other(
        droverd, world):  # noqa: F811
    hosta = droverd('hosta', settings=fake(
        world, 1, libvirt={'live_migration_parallel_connections': 2}))
    droverd('hostb', settings=fake(world))
    done = hosta.ctl('migrate', names(hosta)[0], 'hostb', '--compression',
                     'mt', check=False)
    assert done.returncode == 1
    assert "compression 'mt' does not work over several connections" \
        in done.stderr
    assert hosta.ctl_json('migration', 'list') == []
