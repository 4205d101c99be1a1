"""Real guests whose migrations are steered, changed, or disturbed.

Numbers in names are those of the acceptance points.  What has to do with the
emulation of a processor by QEMU is told in test_migration.py.
"""

import pytest

from harness.wait import wait_for
from test_agent import status, wait_idle, wait_status
from test_migration import assert_alive_on, boot, files, wait_adopted

pytestmark = pytest.mark.libvirt

OVER = ('completed', 'failed', 'cancelled')


@pytest.fixture
def permissive(lab, droverd):
    """Two agents that permit whatever ends a migration."""
    permit = {'libvirt': {'live_migration_permit_post_copy': True,
                          'live_migration_permit_auto_converge': True,
                          'live_migration_downtime_delay': 3}}
    return tuple(droverd(host.name, on=host, settings=permit)
                 for host in (lab.hosta, lab.hostb))


@pytest.fixture
def pair(lab, droverd):
    quick = {'libvirt': {'live_migration_downtime_delay': 3}}
    return tuple(droverd(host.name, on=host, settings=quick)
                 for host in (lab.hosta, lab.hostb))


def shown(agent, guest):
    return agent.ctl_json('migration', 'show', guest.name)


def wait_moving(agent, guest):
    """Until memory is on its way."""
    wait_for(lambda: shown(agent, guest)['memory_processed'], 60,
             lambda: 'memory is on its way: %s' % shown(agent, guest))


def wait_logged(agent, text, deadline=60):
    wait_for(lambda: text in agent.log.read_text(errors='replace'), deadline,
             '"%s" in the log' % text)


def wait_over(agent, guest, wanted, deadline=90):
    wait_status(agent, guest.name, *OVER, deadline=deadline)
    assert status(agent, guest.name) == wanted


def assert_only_on(guest, host):
    assert_alive_on(guest, host)
    assert sorted(filter(None, guest.states().values())) == ['running']


# ---- A guest that changes its memory faster than the link carries it -----------

def end_by(policy, agent, guest, dest, outcome, *settings):
    """Moves the guest under the policy; returns what the log says of it."""
    size = agent.log.stat().st_size
    uuid = agent.ctl('migrate', guest.name, dest, '--convergence', policy,
                     *settings).stdout.strip()
    wait_status(agent, uuid, *OVER, deadline=120)
    assert status(agent, uuid) == outcome
    log = agent.log.read_bytes()[size:].decode(errors='replace')
    return [line.split('were left:')[1].strip() for line in log.splitlines()
            if 'no gain in' in line]


def test_policies_abort_or_accept_a_longer_pause(lab, permissive):
    hosta, _ = permissive
    guest = boot(lab, hosta, disk=None, dirty=32)
    said = end_by('2:abort', hosta, guest, 'hostb', 'cancelled',
                  '--bandwidth', '16')
    assert said == ['abort']
    assert_only_on(guest, 'hosta')
    said = end_by('1:downtime', hosta, guest, 'hostb', 'completed',
                  '--bandwidth', '16', '--downtime', '6000')
    assert set(said) == {'longer pause'}
    assert_only_on(guest, 'hostb')


def test_policies_throttle_or_switch_to_post_copy(lab, permissive):
    hosta, hostb = permissive
    guest = boot(lab, hosta, disk=None, dirty=32)
    said = end_by('1:throttle', hosta, guest, 'hostb', 'completed',
                  '--bandwidth', '32')
    assert set(said) == {'throttling'}
    assert_only_on(guest, 'hostb')
    wait_adopted(hostb, guest)
    said = end_by('1:postcopy', hostb, guest, 'hosta', 'completed',
                  '--bandwidth', '16')
    assert said == ['post-copy']
    assert_only_on(guest, 'hosta')


def test_28_time_out_aborts(lab, pair):
    hosta, hostb = pair
    guest = boot(lab, hosta, dirty=8)
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate',
              '--bandwidth', '4', '--completion-timeout', '2')
    wait_over(hosta, guest, 'cancelled')
    assert_only_on(guest, 'hosta')
    assert [g['vm_state'] for g in hosta.ctl_json('instance', 'list')
            if g['name'] == guest.name] == ['active']
    wait_for(lambda: files(lab.hostb, guest) == [], 20, 'no files on hostb')
    assert shown(hosta, guest)['settings'] == {'bandwidth': 4,
                                               'completion_timeout': 2}


@pytest.mark.parametrize('postcopy', [False, True])
def test_29_time_out_forces_completion(lab, droverd, postcopy):
    settings = {'libvirt': {'live_migration_permit_post_copy': postcopy}}
    hosta = droverd('hosta', on=lab.hosta, settings=settings)
    droverd('hostb', on=lab.hostb)
    guest = boot(lab, hosta, disk=None, dirty=32)
    hosta.ctl('migrate', guest.name, 'hostb', '--bandwidth', '24',
              '--completion-timeout', '2', '--timeout-action',
              'force_complete')
    wait_over(hosta, guest, 'completed')
    assert_only_on(guest, 'hostb')


# ---- Changed on the way --------------------------------------------------------

def test_30_what_virsh_sets_stays_and_migration_set_changes_it(lab, pair):
    hosta, _ = pair
    guest = boot(lab, hosta, disk=None, dirty=16)

    def has(query, value):
        answer = lab.hosta.virsh(query, guest.name).split()
        return answer and answer[0] == str(value)

    hosta.ctl('migrate', guest.name, 'hostb', '--bandwidth', '6')
    wait_moving(hosta, guest)
    lab.hosta.virsh('migrate-setspeed', guest.name, '5')
    lab.hosta.virsh('migrate-setmaxdowntime', guest.name, '77')
    wait_logged(hosta, 'somebody set a pause of 77 ms')
    assert has('migrate-getspeed', 5)
    assert has('migrate-getmaxdowntime', 77)

    hosta.ctl('migration', 'set', guest.name, '--bandwidth', '7',
              '--downtime', '88')
    wait_for(lambda: has('migrate-getspeed', 7), 20, 'the new bandwidth')
    wait_for(lambda: has('migrate-getmaxdowntime', 88), 20, 'the new pause')
    assert shown(hosta, guest)['settings'] == {
        'bandwidth': 7, 'downtime': 88, 'holds_downtime': True}

    hosta.ctl('migration', 'set', guest.name, '--bandwidth', '0',
              '--downtime', '5000')
    wait_over(hosta, guest, 'completed')
    assert_only_on(guest, 'hostb')


# ---- Guests that end or begin anew in the middle --------------------------------

def ended(agent, guest):
    wait_for(lambda: [g for g in agent.ctl_json('instance', 'list')
                      if (g['name'], g['host'], g['vm_state'],
                          g['task_state']) ==
                      (guest.name, agent.host, 'stopped', None)], 30,
             lambda: '%s is stopped on %s: %s' % (
                 guest.name, agent.host, agent.ctl_json('instance', 'list')))


def test_47_guest_that_shuts_down_has_not_moved(lab, pair):
    hosta, _ = pair
    guest = boot(lab, hosta, words='off=nmi')
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate',
              '--bandwidth', '4')
    wait_moving(hosta, guest)
    lab.hosta.virsh('qemu-monitor-command', guest.name, '--hmp', 'nmi')
    wait_over(hosta, guest, 'failed')
    ended(hosta, guest)
    assert guest.states() == {'hosta': 'shut off', 'hostb': None}
    assert 'disk' in files(lab.hosta, guest)
    wait_for(lambda: files(lab.hostb, guest) == [], 20, 'no files on hostb')


def test_47_guest_that_crashes_has_not_moved(lab, pair):
    hosta, _ = pair
    guest = boot(lab, hosta)
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate',
              '--bandwidth', '4')
    wait_moving(hosta, guest)
    lab.hosta.run('sh', '-c', 'kill -9 $(cat /run/libvirt/qemu/%s.pid)' %
                  guest.name)
    wait_over(hosta, guest, 'failed')
    ended(hosta, guest)
    assert guest.states() == {'hosta': 'shut off', 'hostb': None}
    assert 'disk' in files(lab.hosta, guest)
    wait_for(lambda: files(lab.hostb, guest) == [], 20, 'no files on hostb')


# ---- What breaks in the middle ---------------------------------------------------

@pytest.fixture
def cut(lab):
    """Cuts the network between the hosts; all else goes on.

    Whoever still sends is told at once; see silence() for the other way.
    """
    def make():
        lab.hosta.run('nft', '''table inet cut {
            chain output {
                type filter hook output priority 0;
                ip daddr %(hostb)s meta l4proto tcp reject with tcp reset;
            }
            chain input {
                type filter hook input priority 0;
                iif != lo ip saddr %(hostb)s meta l4proto tcp drop;
            }
        }''' % {'hostb': lab.hostb.address})

    def mend():
        lab.hosta.run('nft', 'delete', 'table', 'inet', 'cut', check=False)

    yield make, mend
    mend()


def test_46_network_that_is_cut_leaves_the_guest_at_the_source(lab, pair, cut):
    hosta, hostb = pair
    guest = boot(lab, hosta)
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate',
              '--bandwidth', '4')
    wait_moving(hosta, guest)
    make, mend = cut
    make()
    wait_over(hosta, guest, 'failed')
    assert_alive_on(guest, 'hosta')
    mend()
    wait_idle(hosta, hostb)
    wait_for(lambda: guest.states() == {'hosta': 'running', 'hostb': None}, 60,
             guest.states)
    assert not (lab.hostb.outer_instances / guest.uuid).exists()
    # Nothing is in the way of the next one.
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate', '--watch',
              timeout=120)
    assert_only_on(guest, 'hostb')


@pytest.fixture
def silence(lab):
    """Nothing more comes through between the hosts, and nobody is told."""
    def begin():
        lab.hosta.run('nft', '''table inet silence {
            chain output {
                type filter hook output priority 0;
                ip daddr %(hostb)s meta l4proto tcp drop;
            }
            chain input {
                type filter hook input priority 0;
                iif != lo ip saddr %(hostb)s meta l4proto tcp drop;
            }
        }''' % {'hostb': lab.hostb.address})

    def end():
        lab.hosta.run('nft', 'delete', 'table', 'inet', 'silence', check=False)

    yield begin, end
    end()


def assert_never_left(lab, guest, hosta, hostb, silence):
    """And, once the network is back, there is nothing of it over there."""
    assert_alive_on(guest, 'hosta')
    silence[1]()
    wait_idle(hosta, hostb)
    wait_for(lambda: guest.states() == {'hosta': 'running', 'hostb': None}, 90,
             guest.states)
    if lab.storage != 'shared':
        assert files(lab.hostb, guest) == []


def test_46_network_that_keeps_silent_is_given_up(lab, pair, silence):
    """QEMU would wait for its disk over there for a quarter of an hour."""
    hosta, hostb = pair
    guest = boot(lab, hosta, disk_mib=48)
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate',
              '--bandwidth', '4')
    wait_for(lambda: shown(hosta, guest)['disk_processed'], 60,
             'the disk is on its way')
    silence[0]()
    wait_over(hosta, guest, 'failed', deadline=180)
    assert 'its connections are broken' in hosta.log_text()
    assert_never_left(lab, guest, hosta, hostb, silence)


def test_51_abort_in_a_network_that_keeps_silent(lab, droverd, silence):
    never = {'libvirt': {'live_migration_silence_timeout': 0}}
    hosta, hostb = (droverd(host.name, on=host, settings=never)
                    for host in (lab.hosta, lab.hostb))
    guest = boot(lab, hosta, disk_mib=48)
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate',
              '--bandwidth', '4')
    wait_for(lambda: shown(hosta, guest)['disk_processed'], 60,
             'the disk is on its way')
    silence[0]()
    hosta.ctl('migration', 'abort', guest.name)
    wait_over(hosta, guest, 'cancelled', deadline=180)
    assert_never_left(lab, guest, hosta, hostb, silence)


@pytest.mark.shared
def test_46_network_that_keeps_silent_with_shared_storage(lab, pair, silence):
    hosta, hostb = pair
    guest = boot(lab, hosta)
    hosta.ctl('migrate', guest.name, 'hostb', '--bandwidth', '4')
    wait_moving(hosta, guest)
    silence[0]()
    wait_over(hosta, guest, 'failed', deadline=180)
    assert_never_left(lab, guest, hosta, hostb, silence)


@pytest.fixture
def deaf(lab):
    """Keeps from hosta's libvirtd what that of hostb answers, on the
    connections there are; then, with 'end', ends these."""
    def ports():
        seen = lab.hosta.run('ss', '-Htn', 'dst', lab.hostb.address, 'and',
                             'dport', '=', ':16509').stdout
        found = [line.split()[3].rpartition(':')[2]
                 for line in seen.splitlines()]
        assert found
        return ', '.join(found)

    def make():
        lab.hosta.run('nft', """table inet deaf {
            set ports { type inet_service; elements = { %s } }
            chain input {
                type filter hook input priority 0;
                iif != lo tcp sport 16509 tcp dport @ports drop;
            }
            chain output { type filter hook output priority 0; }
        }""" % ports())

    def end():
        lab.hosta.run('nft', 'add rule inet deaf output tcp dport 16509 '
                      'tcp sport @ports reject with tcp reset')

    yield make, end
    lab.hosta.run('nft', 'delete', 'table', 'inet', 'deaf', check=False)


def test_guest_that_libvirt_runs_twice_is_paused_at_the_source(lab, pair,
                                                               deaf):
    """libvirt: "a small chance that ddomain could in fact be running on the
    dest"."""
    hosta, hostb = pair
    guest = boot(lab, hosta)
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate',
              '--bandwidth', '4')
    wait_moving(hosta, guest)
    make, end = deaf
    make()
    hosta.ctl('migration', 'set', '--bandwidth', '0', guest.name)
    wait_for(lambda: lab.hostb.state_of(guest.name) == 'running', 25,
             'it is started at the destination')
    end()
    # Before that it is paused, too: it waits to hear of the destination.
    wait_for(lambda: 'ended by hand' in (shown(hosta, guest)['error'] or ''),
             60, lambda: shown(hosta, guest))
    wait_for(lambda: guest.states() == {'hosta': 'paused',
                                        'hostb': 'running'}, 60, guest.states)
    assert status(hosta, guest.name) == 'running'
    lab.hosta.virsh('destroy', guest.name)
    wait_over(hosta, guest, 'completed')
    wait_idle(hosta, hostb)
    wait_for(lambda: guest.states() == {'hosta': None, 'hostb': 'running'}, 20,
             guest.states)
    guest.ticks.wait_more(20)


def test_48_guest_that_can_not_start_at_the_destination_stays(lab, pair):
    hosta, hostb = pair
    # A file that QEMU opens when it starts, where only one host has room.
    here = '/run/only-here'
    lab.hosta.run('mkdir', '-p', here)
    guest = boot(lab, hosta, devices="""
    <serial type='file'><source path='%s/log'/></serial>""" % here)
    done = hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate',
                     '--watch', check=False, timeout=120)
    assert done.returncode == 1
    wait_over(hosta, guest, 'failed')
    wait_idle(hosta, hostb)
    assert_only_on(guest, 'hosta')
    assert files(lab.hostb, guest) == []
    assert [g['vm_state'] for g in hosta.ctl_json('instance', 'list')
            if g['name'] == guest.name] == ['active']


def test_54_broken_postcopy_is_mended_after_a_restart(lab, permissive):
    """Whose agent did not begin it; of one that did: test_migration_outcome.py.
    """
    hosta, hostb = permissive
    guest = boot(lab, hosta, disk=None)
    hosta.ctl('migrate', guest.name, 'hostb', '--bandwidth', '8')
    wait_moving(hosta, guest)
    # What the guest asks for is sent at once, the rest takes its time.
    lab.hosta.virsh('migrate-setspeed', guest.name, '--postcopy', '1')
    hosta.ctl('migration', 'force-complete', guest.name)
    wait_status(hosta, guest.name, 'running (post-copy)')
    guest.ticks.wait_more(40)
    assert guest.states()['hostb'] == 'running'
    done = hosta.ctl('migration', 'abort', guest.name, check=False)
    assert done.returncode == 1 and 'post-copy' in done.stderr
    hosta.kill()
    hosta.start()
    lab.hosta.virsh('domjobabort', guest.name, '--postcopy')
    wait_logged(hosta, 'broke, the guest is paused: resuming it')

    def is_over():
        lab.hosta.virsh('migrate-setspeed', guest.name, '--postcopy', '1000',
                        check=False)
        return status(hosta, guest.name) in OVER

    wait_for(is_over, 180, 'it is over')
    assert status(hosta, guest.name) == 'completed'
    wait_idle(hosta, hostb)
    assert_only_on(guest, 'hostb')


def test_55_stopped_agent_takes_up_what_runs_and_what_waits(lab, pair):
    hosta, hostb = pair
    one, two = (boot(lab, hosta, disk=None) for _ in range(2))
    hosta.ctl('migrate', one.name, 'hostb', '--bandwidth', '2')
    wait_moving(hosta, one)
    hosta.ctl('migrate', two.name, 'hostb')
    wait_status(hosta, two.name, 'queued')
    hosta.stop()  # SIGTERM, and it has to end in good order.
    assert lab.hosta.virsh('domjobinfo', one.name).startswith('Job type:')
    hosta.start()
    wait_for(lambda: shown(hosta, one)['step'] == 'transfer', 30,
             lambda: shown(hosta, one))
    hosta.ctl('migration', 'set', one.name, '--bandwidth', '0')
    wait_over(hosta, one, 'completed')
    wait_status(hosta, two.name, *OVER, deadline=90)
    wait_idle(hosta, hostb)
    assert_only_on(one, 'hostb')
    moved = status(hosta, two.name) == 'completed'
    assert_only_on(two, 'hostb' if moved else 'hosta')
    assert {(g['name'], g['vm_state'], g['task_state'])
            for g in hosta.ctl_json('instance', 'list')} == {
        (guest.name, 'active', None) for guest in (one, two)}


def test_guest_that_reboots_in_the_middle_moves(lab, pair):
    hosta, _ = pair
    guest = boot(lab, hosta, disk=None)
    hosta.ctl('migrate', guest.name, 'hostb', '--bandwidth', '4')
    wait_moving(hosta, guest)
    lab.hosta.virsh('qemu-monitor-command', guest.name, '--hmp',
                    'system_reset')
    hosta.ctl('migration', 'set', guest.name, '--bandwidth', '0',
              '--downtime', '3000')
    wait_over(hosta, guest, 'completed')
    assert_only_on(guest, 'hostb')


def test_61_libvirtd_of_the_source_restarted_in_the_middle(lab, pair):
    hosta, _ = pair
    guest = boot(lab, hosta)
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate',
              '--bandwidth', '4')
    wait_moving(hosta, guest)
    lab.hosta.libvirtd('kill')
    lab.hosta.libvirtd('start')
    wait_status(hosta, guest.name, *OVER, deadline=90)
    moved = status(hosta, guest.name) == 'completed'
    assert_only_on(guest, 'hostb' if moved else 'hosta')
    away = lab.hosta if moved else lab.hostb
    wait_for(lambda: files(away, guest) == [], 30, 'no files are left')


# ---- Abort and force-complete ----------------------------------------------------

def test_52_abort_that_races_completion(lab, pair):
    hosta, hostb = pair
    guest = boot(lab, hosta, disk=None)
    here, there = hosta, hostb
    for left in (16, 0):
        here.ctl('migrate', guest.name, there.host, '--bandwidth', '48')
        wait_for(lambda: status(here, guest.name) in OVER or
                 shown(here, guest)['memory_processed'] and
                 shown(here, guest)['memory_remaining'] <= left << 20, 60,
                 '%d MiB are left' % left)
        here.ctl('migration', 'abort', guest.name, check=False)
        wait_status(here, guest.name, 'completed', 'cancelled', deadline=60)
        if status(here, guest.name) == 'completed':
            here, there = there, here
        assert_only_on(guest, here.host)
        wait_for(lambda: [g for g in here.ctl_json('instance', 'list')
                          if g['name'] == guest.name and
                          not g['task_state']], 20, 'it is free again')


def test_53_abort_after_force_complete_resumes_the_guest(lab, pair):
    hosta, _ = pair
    guest = boot(lab, hosta, disk=None, dirty=32)
    hosta.ctl('migrate', guest.name, 'hostb', '--bandwidth', '1')
    wait_moving(hosta, guest)
    hosta.ctl('migration', 'force-complete', guest.name)
    wait_for(lambda: lab.hosta.state_of(guest.name) == 'paused', 30,
             'the guest is paused')
    hosta.ctl('migration', 'abort', guest.name)
    wait_over(hosta, guest, 'cancelled')
    assert_only_on(guest, 'hosta')


# ---- Two at a time ---------------------------------------------------------------

def test_30_two_share_the_bandwidth_of_their_host(lab, droverd):
    """As virsh says, and as the data goes; what virsh set is left alone."""
    hosta = droverd('hosta', on=lab.hosta, settings={
        'max_concurrent_live_migrations': 2,
        'libvirt': {'live_migration_host_bandwidth': 8}})
    droverd('hostb', on=lab.hostb)
    one, two = (boot(lab, hosta, disk=None, dirty=16) for _ in range(2))

    def has(guest, mib_s):
        def condition():
            speed = lab.hosta.virsh('migrate-getspeed', guest.name)
            return int(speed) == mib_s
        wait_for(condition, 30,
                 lambda: '%s is told %d MiB/s: %s' % (
                     guest.name, mib_s, shown(hosta, guest)))

    def goes_with(guest, mib_s):
        # A little more in a short time is libvirt's way of counting.
        wait_for(lambda: 0 < (shown(hosta, guest)['rate'] or 0)
                 <= (mib_s + 1) << 20, 60, lambda: shown(hosta, guest))

    hosta.ctl('migrate', one.name, 'hostb')
    wait_moving(hosta, one)
    hosta.ctl('migrate', two.name, 'hostb')
    wait_moving(hosta, two)
    has(one, 4)
    assert [shown(hosta, g)['bandwidth'] for g in (one, two)] == [4, 4]
    goes_with(one, 4)
    goes_with(two, 4)
    hosta.ctl('migration', 'set', two.name, '--bandwidth', '2')
    has(two, 2)
    has(one, 6)
    lab.hosta.virsh('migrate-setspeed', one.name, '3')
    hosta.ctl('migration', 'set', two.name, '--bandwidth', '0')
    has(two, 5)
    has(one, 3)
    hosta.ctl('migration', 'abort', one.name)
    has(two, 8)
    hosta.ctl('migration', 'abort', two.name)
    for guest in (one, two):
        wait_over(hosta, guest, 'cancelled')
        assert_only_on(guest, 'hosta')
