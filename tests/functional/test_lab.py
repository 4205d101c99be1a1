"""The lab itself: libvirt alone, without the agent."""

import subprocess

import pytest

from harness.process import run
from harness.wait import wait_for

pytestmark = pytest.mark.libvirt


def virsh_migrate(guest, source, dest, *options):
    source.virsh('migrate', '--live', '--p2p', *options, guest.name, dest.uri)


def report_gap(record_property, guest, since):
    gap = guest.ticks.longest_gap(since)
    record_property('longest_gap', gap)
    print('longest gap between two ticks: %.3f s' % gap)


@pytest.mark.parametrize('disk, backing', [
    ('raw', False), ('qcow2', False), ('qcow2', True)])
def test_block_migration_keeps_guest_and_disk(lab, record_property, disk,
                                              backing):
    guest = lab.boot(lab.hosta, disk=disk, backing=backing)
    assert guest.runs_on() == 'hosta'
    assert 'guest up disk=new' in guest.ticks.lines
    guest.make_disk(lab.hostb)
    since = guest.ticks.last

    virsh_migrate(guest, lab.hosta, lab.hostb,
                  '--copy-storage-inc' if backing else '--copy-storage-all',
                  '--persistent', '--undefinesource')

    # Twice around the pattern on the disk that is now the other one.
    guest.ticks.wait_more(60)
    assert guest.runs_on() == 'hostb'
    assert guest.states() == {'hosta': None, 'hostb': 'running'}
    assert guest.ticks.faults() == []
    report_gap(record_property, guest, since)


def test_guest_without_disk_moves_there_and_back(lab, record_property):
    guest = lab.boot(lab.hosta, disk=None, dirty=16)
    since = guest.ticks.last
    virsh_migrate(guest, lab.hosta, lab.hostb)
    assert guest.runs_on() == 'hostb'
    virsh_migrate(guest, lab.hostb, lab.hosta)
    assert guest.runs_on() == 'hosta'
    guest.ticks.wait_more()
    assert guest.ticks.faults() == []
    report_gap(record_property, guest, since)


def test_dirtying_guest_needs_more_than_one_pass(lab):
    guest = lab.boot(lab.hosta, disk=None, dirty=32)
    # Slower than it dirties its memory: it cannot converge.
    lab.hosta.virsh('migrate-setspeed', guest.name, '24')
    with subprocess.Popen(
            ['virsh', '-q', '-c', lab.hosta.uri, 'migrate', '--live', '--p2p',
             guest.name, lab.hostb.uri]) as migration:
        def iteration():
            info = lab.hosta.virsh('domjobinfo', guest.name, check=False)
            for line in info.splitlines():
                if line.startswith('Iteration:'):
                    return int(line.split()[1]) > 2
            return False

        try:
            wait_for(iteration, 60, 'third pass over the memory')
        finally:
            lab.hosta.virsh('domjobabort', guest.name, check=False)
        assert migration.wait(30) != 0
    assert guest.runs_on() == 'hosta'
    guest.ticks.wait_more()
    assert guest.ticks.faults() == []


def test_guests_outlive_libvirtd(lab):
    guest = lab.boot(lab.hosta, disk=None)
    lab.hosta.libvirtd('kill')
    guest.ticks.wait_more()
    lab.hosta.libvirtd('start')
    assert guest.runs_on() == 'hosta'


def test_cut_link_cuts_off_only_that_host(lab):
    def reaches(host, address):
        return host.run('ping', '-c', '1', '-W', '1', address,
                        check=False).returncode == 0

    assert reaches(lab.hosta, 'hostb')
    lab.hostb.link('down')
    assert not reaches(lab.hosta, 'hostb')
    assert reaches(lab.hosta, 'lab')
    lab.hostb.link('up')
    wait_for(lambda: reaches(lab.hosta, 'hostb'), 10, 'the link is back')


def test_hosts_have_names_and_disks_of_their_own(lab):
    for host in lab.hosts.values():
        assert host.run('hostname').stdout.strip() == host.name
        host.run('touch', lab.instances / host.name)
        assert (host.outer_instances / host.name).exists()
    if lab.storage == 'local':
        assert not (lab.hosta.outer_instances / 'hostb').exists()
    run(['rm', '-f', *(host.outer_instances / host.name
                       for host in lab.hosts.values())])


@pytest.mark.shared
def test_shared_storage_needs_no_copy(lab, record_property):
    guest = lab.boot(lab.hosta)
    since = guest.ticks.last
    virsh_migrate(guest, lab.hosta, lab.hostb)
    guest.ticks.wait_more(60)
    assert guest.runs_on() == 'hostb'
    assert guest.ticks.faults() == []
    report_gap(record_property, guest, since)
