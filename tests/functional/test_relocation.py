"""Real guests that do not run, or are saved for it, moved between two hosts."""

import os
import pathlib
import signal

import pytest

from harness.wait import wait_for
from test_agent import wait_idle, wait_status
from test_migration import assert_alive_on, boot, files, wait_adopted
from test_migration_transfer import tls  # noqa: F401  A fixture.

pytestmark = pytest.mark.libvirt

FAST = {}
# Enough to do something while it copies.
SLOW = {'libvirt': {'live_migration_bandwidth': 1}}
PATTERN_MIB = 16


@pytest.fixture
def make(lab, droverd):
    def two(settings=FAST, **of_host):
        return tuple(
            droverd(host.name, on=host,
                    settings={**settings, **of_host.get(host.name, {})})
            for host in (lab.hosta, lab.hostb))
    return two


def shut_off(guest, agent):
    """Off, with something on its disk that is known again."""
    agent.on.virsh('destroy', guest.name)
    agent.on.run('qemu-io', '-f', guest.disk, '-c',
                 'write -P 0x5a 4M %dM' % PATTERN_MIB, guest.disk_path)
    wait_for(lambda: agent.ctl_json('instance', 'show', guest.name)[
        'vm_state'] == 'stopped', 30, 'its record says so')


def digest(host, guest):
    return host.run('sha256sum', guest.disk_path).stdout.split()[0]


def saved(host):
    return host.run('ls', '/var/lib/libvirt/qemu/save').stdout.split()


def children(agent):
    """What it has started: {name: pid}."""
    pids = ' '.join(path.read_text() for path in pathlib.Path(
        '/proc/%d/task' % agent.pid).glob('*/children')).split()
    return {pathlib.Path('/proc', pid, 'comm').read_text().strip(): int(pid)
            for pid in pids}


def wait_copying(source, dest, guest):
    """Until bytes arrive."""
    wait_for(lambda: source.ctl_json('migration', 'show', guest.name)[
        'disk_processed'], 60, 'something was copied')
    assert 'qemu-img' in children(source)
    assert 'qemu-nbd' in children(dest)


def assert_off_at(lab, guest, there):
    """And nothing of it is elsewhere."""
    for host in lab.hosts.values():
        wanted = 'shut off' if host is there else None
        assert host.state_of(guest.name) == wanted
        if host is not there:
            assert files(host, guest) == []


def assert_failed(lab, source, dest, guest, reason):
    """It is at the source as it was, and nothing is left."""
    wait_status(source, guest.name, 'failed', 'cancelled', deadline=60)
    wait_idle(source, dest)
    shown = source.ctl_json('migration', 'show', guest.name)
    assert reason in shown['error']
    assert 'qemu-img' not in children(source)
    assert 'qemu-nbd' not in children(dest)
    assert files(dest.on, guest) == []
    assert saved(dest.on) == []


# ---- Shut off ------------------------------------------------------------------

@pytest.mark.parametrize('backing', [False, True])
def test_cold_there_and_back(lab, make, backing):
    hosta, hostb = make()
    guest = boot(lab, hosta, backing=backing)
    shut_off(guest, hosta)
    before = digest(lab.hosta, guest)
    if backing:
        # Without it there the guest is not moved; with it, it is.
        lab.hostb.run('rm', '-f', guest.base_path)
        refused = hosta.ctl('migrate', guest.name, 'hostb', '--cold',
                            check=False)
        assert refused.returncode == 1
        assert 'backing file' in refused.stderr
        lab.hostb.run('mkdir', '-p', guest.base_path.parent)
        lab.hostb.run('truncate', '-s', '%dM' % guest.disk_mib,
                      guest.base_path)
    hosta.ctl('migrate', guest.name, 'hostb', '--cold', '--watch',
              timeout=120)
    assert_off_at(lab, guest, lab.hostb)
    assert digest(lab.hostb, guest) == before
    shown = hosta.ctl_json('migration', 'show', guest.name)
    assert (shown['type'], shown['status']) == ('migration', 'completed')
    assert shown['disk_processed'] == shown['disk_total'] > 0
    wait_adopted(hostb, guest)
    record = hostb.ctl_json('instance', 'show', guest.name)
    assert (record['host'], record['vm_state']) == ('hostb', 'stopped')

    hostb.ctl('migrate', guest.name, 'hosta', '--cold', '--watch',
              timeout=120)
    assert_off_at(lab, guest, lab.hosta)
    assert digest(lab.hosta, guest) == before
    lab.hosta.virsh('start', guest.name)
    guest.ticks.wait_more(20)
    assert guest.runs_on() == 'hosta'


def test_holes_of_a_disk_stay_holes(lab, make):
    hosta, _ = make()
    guest = boot(lab, hosta, disk='raw', disk_mib=512)
    lab.hosta.virsh('destroy', guest.name)
    hosta.ctl('migrate', guest.name, 'hostb', '--cold', '--watch')
    size, blocks = map(int, lab.hostb.run(
        'stat', '-c', '%s %b', guest.disk_path).stdout.split())
    assert size == 512 << 20
    assert blocks * 512 < 64 << 20


def test_cold_is_not_for_a_guest_that_runs(lab, make):
    hosta, _ = make()
    guest = boot(lab, hosta)
    refused = hosta.ctl('migrate', guest.name, 'hostb', '--cold', check=False)
    assert refused.returncode == 1
    assert 'is not shut off; move it live, or with --static' in refused.stderr
    shut_off(guest, hosta)
    refused = hosta.ctl('migrate', guest.name, 'hostb', '--static',
                        check=False)
    assert refused.returncode == 1
    assert 'does not run' in refused.stderr
    checked = hosta.ctl_json('migrate', guest.name, 'hostb', '--cold',
                             '--check')
    outcomes = {rule['rule']: rule['outcome']
                for rule in checked['rules'][0]['checks']}
    assert outcomes['off'] == outcomes['files'] == 'passed'
    assert outcomes['no-namesake'] == 'passed'
    assert outcomes['running'] == outcomes['memory'] == 'n/a'
    assert checked['forecast'] is None
    assert_off_at(lab, guest, lab.hosta)


def test_name_that_is_taken_is_refused(lab, make):
    hosta, _ = make()
    guest = boot(lab, hosta)
    shut_off(guest, hosta)
    other = lab.directory / 'namesake.xml'
    other.write_text('<domain type="%s"><name>%s</name><memory>65536</memory>'
                     '<os><type>hvm</type></os></domain>' % (
                         lab.virt_type, guest.name))
    lab.hostb.virsh('define', other)
    refused = hosta.ctl('migrate', guest.uuid, 'hostb', '--cold', check=False)
    assert 'another guest of the name' in refused.stderr


# ---- With its memory ----------------------------------------------------------

def test_static_goes_on_where_it_was(lab, make):
    hosta, hostb = make()
    guest = boot(lab, hosta)
    hosta.ctl('migrate', guest.name, 'hostb', '--static', '--watch',
              timeout=120)
    assert_alive_on(guest, 'hostb')
    assert guest.states() == {'hosta': None, 'hostb': 'running'}
    assert saved(lab.hosta) == saved(lab.hostb) == []
    assert files(lab.hosta, guest) == []
    assert hosta.ctl_json('migration', 'show', guest.name)[
        'type'] == 'static-migration'
    wait_adopted(hostb, guest)
    lab.hostb.virsh('suspend', guest.name)
    wait_for(lambda: hostb.ctl_json('instance', 'show', guest.name)[
        'vm_state'] == 'paused', 30, 'it is paused')
    hostb.ctl('migrate', guest.name, 'hosta', '--static', '--watch',
              timeout=120)
    assert guest.states() == {'hosta': 'paused', 'hostb': None}
    lab.hosta.virsh('resume', guest.name)
    assert_alive_on(guest, 'hosta')


def test_guest_that_is_saved_goes_on_elsewhere(lab, make):
    hosta, _ = make()
    guest = boot(lab, hosta)
    lab.hosta.virsh('managedsave', guest.name)
    refused = hosta.ctl('migrate', guest.name, 'hostb', '--cold', check=False)
    assert 'its memory saved' in refused.stderr
    hosta.ctl('migrate', guest.name, 'hostb', '--static', '--watch',
              timeout=120)
    assert_alive_on(guest, 'hostb')


def test_22_files_are_encrypted(lab, make, tls):  # noqa: F811
    own = {host: {'libvirt': {
        'live_migration_with_native_tls': True,
        'migration_tls_path': str(tls / host)}} for host in lab.hosts}
    hosta, _ = make(**own)
    guest = boot(lab, hosta)
    hosta.ctl('migrate', guest.name, 'hostb', '--static', '--watch',
              timeout=120)
    assert_alive_on(guest, 'hostb')


def test_22_source_without_a_certificate_copies_nothing(
        lab, make, tls):  # noqa: F811
    hosta, hostb = make(hostb={'libvirt': {
        'live_migration_with_native_tls': True,
        'migration_tls_path': str(tls / 'hostb')}})
    guest = boot(lab, hosta)
    hosta.ctl('migrate', guest.name, 'hostb', '--static')
    assert_failed(lab, hosta, hostb, guest, 'TLS')
    assert_alive_on(guest, 'hosta')


# ---- When it breaks -------------------------------------------------------------

@pytest.fixture
def copying(lab, make):
    """A guest of which the disk is being copied, and the two agents."""
    hosta, hostb = make(SLOW)
    guest = boot(lab, hosta)
    shut_off(guest, hosta)
    before = digest(lab.hosta, guest)
    hosta.ctl('migrate', guest.name, 'hostb', '--cold')
    wait_copying(hosta, hostb, guest)
    yield hosta, hostb, guest
    assert_off_at(lab, guest, lab.hosta)
    assert digest(lab.hosta, guest) == before


@pytest.mark.parametrize('side, program', [(0, 'qemu-img'), (1, 'qemu-nbd')])
def test_copy_that_is_killed_is_taken_back(lab, copying, side, program):
    *agents, guest = copying
    os.kill(children(agents[side])[program], signal.SIGKILL)
    assert_failed(lab, *agents, guest, "copy '")


def test_guest_is_not_started_while_it_is_read_until_it_is_aborted(
        lab, copying):
    hosta, hostb, guest = copying
    lab.hosta.virsh('start', guest.name, check=False)
    assert guest.states() == {'hosta': 'shut off', 'hostb': None}
    hosta.ctl('migration', 'abort', guest.name)
    assert_failed(lab, hosta, hostb, guest, 'aborted')


@pytest.mark.parametrize('side', [0, 1])
def test_agent_that_dies_in_the_copy_takes_it_back(lab, copying, side):
    hosta, hostb, guest = copying
    agent = (hosta, hostb)[side]
    left = children(agent)
    agent.kill()
    for pid in left.values():
        wait_for(lambda: not pathlib.Path('/proc/%d' % pid).exists(), 30,
                 'nothing that it started lives on')
    agent.start()
    assert_failed(lab, hosta, hostb, guest, '')


def test_destination_that_is_full_rolls_back(lab, make):
    lab.hostb.run('mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs',
                  lab.instances)
    try:
        hosta, hostb = make()
        guest = boot(lab, hosta)
        shut_off(guest, hosta)
        hosta.ctl('migrate', guest.name, 'hostb', '--cold')
        assert_failed(lab, hosta, hostb, guest, 'No space left')
        assert_off_at(lab, guest, lab.hosta)
    finally:
        lab.hostb.run('umount', '-l', lab.instances)


def test_static_that_breaks_goes_on_at_its_source(lab, make):
    hosta, hostb = make(SLOW)
    guest = boot(lab, hosta)
    hosta.ctl('migrate', guest.name, 'hostb', '--static')
    wait_copying(hosta, hostb, guest)
    os.kill(children(hosta)['qemu-img'], signal.SIGKILL)
    assert_failed(lab, hosta, hostb, guest, "copy '")
    assert_alive_on(guest, 'hosta')
    assert saved(lab.hosta) == []
