"""Real guests, moved between two hosts by two agents.

Numbers in names are those of the acceptance points.
"""

import json
import shutil

import pytest

from harness import nova
from harness.process import run
from harness.wait import wait_for
from test_agent import BACK, ORDER, legacy, status, wait_status

pytestmark = pytest.mark.libvirt


def slowly(bandwidth):
    """Settings for a transfer that can be watched.

    Without KVM QEMU now and then loses pages that a guest writes while it is
    sent, whoever asks for the migration, and the guest then panics; the more
    passes over its memory, the more likely.  A long pause ends them early.
    """
    return {'libvirt': {'live_migration_bandwidth': bandwidth,
                        'live_migration_downtime': 3000,
                        'live_migration_downtime_steps': 3}}


@pytest.fixture
def pair(lab, droverd):
    return tuple(droverd(host.name, on=host)
                 for host in (lab.hosta, lab.hostb))


def wait_adopted(agent, guest):
    wait_for(lambda: guest.name in [g['name'] for g in
                                    agent.ctl_json('instance', 'list')
                                    if g['host'] == agent.host], 30,
             '%s is adopted on %s' % (guest.name, agent.host))


def boot(lab, agent, **options):
    guest = lab.boot(lab.hosts[agent.host], **options)
    wait_adopted(agent, guest)
    return guest


def assert_alive_on(guest, host):
    guest.ticks.wait_more(20)
    assert guest.runs_on() == host
    assert guest.ticks.faults() == []


def files(host, guest):
    return sorted(path.name for path in
                  (host.outer_instances / guest.uuid).glob('*'))


def image_of(host, guest):
    """What qemu-img says of its disk there."""
    return json.loads(host.run('qemu-img', 'info', '-U', '--output=json',
                               guest.disk_path).stdout)


# ---- The main job -----------------------------------------------------------

# Of an instance in a notification, as metering takes it apart.
PAYLOAD = {
    'tenant_id', 'user_id', 'instance_id', 'display_name', 'reservation_id',
    'hostname', 'instance_type', 'instance_type_id', 'instance_flavor_id',
    'architecture', 'memory_mb', 'disk_gb', 'vcpus', 'root_gb',
    'ephemeral_gb', 'host', 'node', 'availability_zone', 'cell_name',
    'created_at', 'terminated_at', 'deleted_at', 'launched_at',
    'image_ref_url', 'os_type', 'kernel_id', 'ramdisk_id', 'state',
    'state_description', 'progress', 'access_ip_v4', 'access_ip_v6',
    'image_meta', 'metadata', 'fixed_ips'}
VERSIONED = {
    'uuid', 'user_id', 'tenant_id', 'reservation_id', 'display_name',
    'display_description', 'host_name', 'host', 'node', 'os_type',
    'architecture', 'availability_zone', 'flavor', 'image_uuid', 'key_name',
    'kernel_id', 'ramdisk_id', 'created_at', 'launched_at', 'terminated_at',
    'deleted_at', 'updated_at', 'state', 'power_state', 'task_state',
    'progress', 'ip_addresses', 'block_devices', 'metadata', 'locked',
    'locked_reason', 'auto_disk_config', 'request_id',
    'action_initiator_user', 'action_initiator_project', 'fault'}


def assert_payloads(listener, uuid):
    """All six events, in both formats, whole and from whom they should be."""
    legacy_ones = [e for e in list(listener.events) if e['event_type'].replace(
        'compute.instance.', '') in ORDER and
        e['payload']['instance_id'] == uuid]
    versioned = [e for e in list(listener.events) if
                 e['event_type'].startswith('instance.live_migration_') and
                 e['payload']['nova_object.data']['uuid'] == uuid]
    for event in legacy_ones:
        at_source = '._post.' in event['event_type']
        assert PAYLOAD <= set(event['payload']), event['event_type']
        assert event['publisher_id'] == (
            'compute.hosta' if at_source else 'compute.hostb')
    for event in versioned:
        at_source = event['event_type'].startswith(
            'instance.live_migration_post.')
        assert VERSIONED <= set(event['payload']['nova_object.data'])
        assert event['publisher_id'] == (
            'nova-compute:hosta' if at_source else 'nova-compute:hostb')
    assert [e['event_type'] for e in versioned] == [
        'instance.live_migration_%s' % name for name in (
            'pre.start', 'pre.end', 'post.start', 'post_dest.start',
            'post_dest.end', 'post.end')]


def test_35_a_message_moves_a_running_guest(client, listener, lab, pair,
                                         record_property):
    """A client that knows nothing of drover: check, cast, and it moves."""
    hosta, _ = pair
    guest = boot(lab, hosta)
    since = guest.ticks.last
    instance = nova.instance(guest.uuid, 'hosta', guest.name, guest.memory)
    data = client.call(
        'check_can_live_migrate_destination', _server='hostb', _version='6.0',
        _context=nova.context(), _call_monitor_timeout=60, instance=instance,
        block_migration=None, disk_over_commit=None, migration=None,
        limits=None)
    assert data['nova_object.data']['block_migration'] is True
    migration = nova.migration(instance, 'hostb')
    client.cast('live_migration', _server='hosta', _version='6.0',
                _context=nova.context(), instance=instance, dest='hostb',
                block_migration=None, migration=migration, migrate_data=data)
    uuid = migration['nova_object.data']['uuid']
    wait_status(hosta, uuid, 'completed', 'failed', 'error', deadline=90)

    assert status(hosta, uuid) == 'completed'
    assert_alive_on(guest, 'hostb')
    assert guest.states() == {'hosta': None, 'hostb': 'running'}
    assert lab.hostb.virsh('dominfo', guest.name).count('Persistent:     yes')
    assert files(lab.hosta, guest) == []
    assert 'disk' in files(lab.hostb, guest)
    listener.wait_for('compute.instance.live_migration._post.end', 20)
    listener.wait_for('instance.live_migration_post.end', 20)
    assert legacy(listener, guest.uuid) == ORDER
    assert_payloads(listener, guest.uuid)
    record_property('longest_gap', guest.ticks.longest_gap(since))


@pytest.mark.parametrize('disk, backing', [
    ('qcow2', False), ('qcow2', True), ('raw', False)])
def test_13_local_disk_is_made_and_38_nothing_is_left(lab, pair, disk,
                                                      backing):
    hosta, hostb = pair
    guest = boot(lab, hosta, disk=disk, backing=backing)
    if backing:  # An image cache is filled by whoever boots guests there.
        lab.hostb.run('mkdir', '-p', guest.base_path.parent)
        lab.hostb.run('truncate', '-s', '%dM' % guest.disk_mib,
                      guest.base_path)
    before = image_of(lab.hosta, guest)
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate', '--watch',
              timeout=120)
    assert_alive_on(guest, 'hostb')
    after = image_of(lab.hostb, guest)
    for what in ('format', 'virtual-size', 'full-backing-filename',
                 'backing-filename-format'):
        assert after.get(what) == before.get(what)
    assert after['format'] == disk
    assert after['virtual-size'] == guest.disk_mib << 20
    assert after.get('full-backing-filename') == (
        str(guest.base_path) if backing else None)
    assert not (lab.hosta.outer_instances / guest.uuid).exists()
    assert lab.hosta.state_of(guest.name) is None
    wait_adopted(hostb, guest)
    hostb.ctl('migrate', guest.name, 'hosta', '--watch', timeout=120)
    assert_alive_on(guest, 'hosta')
    assert files(lab.hostb, guest) == []


def test_41_guest_that_moved_can_do_all_it_could(lab, pair):
    hosta, hostb = pair
    guest = boot(lab, hosta, disk=None)
    hosta.ctl('migrate', guest.name, 'hostb', '--watch', timeout=120)
    assert_alive_on(guest, 'hostb')
    assert 'Persistent:     yes' in lab.hostb.virsh('dominfo', guest.name)

    def begins_anew(what):
        n = len(guest.ticks.ticks)
        what()
        wait_for(lambda: any(tick.number == 1
                             for tick in guest.ticks.ticks[n:]), 60,
                 'it boots again')
        assert_alive_on(guest, 'hostb')

    def off_and_on():
        lab.hostb.virsh('destroy', guest.name)
        wait_for(lambda: [g for g in hostb.ctl_json('instance', 'list')
                          if g['name'] == guest.name and
                          g['vm_state'] == 'stopped'], 20, 'it is off')
        lab.hostb.virsh('start', guest.name)

    begins_anew(lambda: lab.hostb.virsh('reset', guest.name))
    begins_anew(off_and_on)
    wait_for(lambda: [g for g in hostb.ctl_json('instance', 'list')
                      if g['name'] == guest.name and
                      g['vm_state'] == 'active'], 20, 'it is on')
    hostb.ctl('migrate', guest.name, 'hosta', '--watch', timeout=120)
    assert_alive_on(guest, 'hosta')


def test_guest_without_a_disk_moves(lab, pair):
    hosta, _ = pair
    guest = boot(lab, hosta, disk=None)
    hosta.ctl('migrate', guest.name, 'hostb', '--watch', timeout=120)
    assert_alive_on(guest, 'hostb')
    shown = hosta.ctl_json('migration', 'show', guest.name)
    assert shown['downtime_ms'] >= shown['downtime_net_ms'] >= 0
    assert shown['expected_downtime_ms'] is None
    assert shown['total_ms'] >= shown['elapsed_ms'] >= shown['downtime_ms']
    assert shown['iteration'] >= 1 and shown['rate'] > 0
    hosta.restart()
    again = hosta.ctl_json('migration', 'show', guest.name)
    assert again == shown


def test_33_paused_guest_stays_paused(lab, pair):
    hosta, hostb = pair
    guest = boot(lab, hosta)
    lab.hosta.virsh('suspend', guest.name)
    wait_for(lambda: [g for g in hosta.ctl_json('instance', 'list')
                      if g['vm_state'] == 'paused'], 10, 'pause is noticed')
    hosta.ctl('migrate', guest.name, 'hostb', '--watch', timeout=120)
    assert guest.states() == {'hosta': None, 'hostb': 'paused'}
    lab.hostb.virsh('resume', guest.name)
    assert_alive_on(guest, 'hostb')


@pytest.mark.shared
def test_13_and_38_shared_directory_is_neither_made_nor_removed(lab, pair):
    hosta, _ = pair
    guest = boot(lab, hosta)
    directory = lab.hostb.outer_instances / guest.uuid
    before = [(path, path.stat().st_ino)
              for path in (directory, *sorted(directory.iterdir()))]
    hosta.ctl('migrate', guest.name, 'hostb', '--watch', timeout=120)
    assert_alive_on(guest, 'hostb')
    assert [(path, path.stat().st_ino) for path in
            (directory, *sorted(directory.iterdir()))] == before
    assert lab.hosta.state_of(guest.name) is None
    shown = hosta.ctl_json('migration', 'show', guest.name)
    assert not shown['disk_total']


@pytest.mark.shared
def test_block_migration_on_shared_storage_is_refused(lab, pair):
    hosta, _ = pair
    guest = boot(lab, hosta)
    done = hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate',
                     check=False)
    assert done.returncode == 1
    assert 'shared storage' in done.stderr
    assert_alive_on(guest, 'hosta')


# ---- What goes wrong ----------------------------------------------------------

def test_50_closed_libvirt_port_rolls_back(client, listener, lab, pair):
    """The destination's libvirt port is closed after the checks."""
    hosta, hostb = pair
    guest = boot(lab, hosta)
    instance = nova.instance(guest.uuid, 'hosta', guest.name, guest.memory)
    data = client.call(
        'check_can_live_migrate_destination', _server='hostb', _version='6.0',
        _context=nova.context(), instance=instance, block_migration=True,
        disk_over_commit=False, migration=None, limits=None)
    lab.hostb.run('nft', 'add', 'table', 'inet', 'cut')
    lab.hostb.run('nft', 'add', 'chain', 'inet', 'cut', 'in',
                  '{ type filter hook input priority 0 ; }')
    lab.hostb.run('nft', 'add', 'rule', 'inet', 'cut', 'in', 'tcp', 'dport',
                  '16509', 'reject', 'with', 'tcp', 'reset')
    try:
        migration = nova.migration(instance, 'hostb')
        client.cast('live_migration', _server='hosta', _version='6.0',
                    _context=nova.context(), instance=instance, dest='hostb',
                    block_migration=True, migration=migration,
                    migrate_data=data)
        uuid = migration['nova_object.data']['uuid']
        wait_status(hosta, uuid, 'failed', 'completed', 'error', deadline=90)
        wait_status(hosta, uuid, 'failed', 'completed', deadline=30)
        assert status(hosta, uuid) == 'failed'
        wait_for(lambda: len(legacy(listener, guest.uuid)) >= 6, 30,
                 lambda: legacy(listener, guest.uuid))
    finally:
        lab.hostb.run('nft', 'delete', 'table', 'inet', 'cut')
    assert sorted(legacy(listener, guest.uuid)) == sorted(BACK)
    assert_alive_on(guest, 'hosta')
    wait_for(lambda: not hostb.ctl_json('op', 'list'), 30, 'hostb is idle')
    assert files(lab.hostb, guest) == []
    assert guest.states() == {'hosta': 'running', 'hostb': None}


def test_51_abort_in_the_middle(lab, droverd):
    slow = slowly(4)
    hosta = droverd('hosta', on=lab.hosta, settings=slow)
    droverd('hostb', on=lab.hostb)
    guest = boot(lab, hosta, dirty=8)
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate')
    wait_status(hosta, guest.name, 'running')
    wait_for(lambda: hosta.ctl_json('migration', 'show',
                                    guest.name)['memory_processed'], 30,
             'memory is on its way')
    hosta.ctl('migration', 'abort', guest.name)
    wait_status(hosta, guest.name, 'cancelled')
    assert_alive_on(guest, 'hosta')
    wait_for(lambda: files(lab.hostb, guest) == [], 20, 'no files on hostb')
    assert guest.states() == {'hosta': 'running', 'hostb': None}


def test_53_force_complete_ends_what_cannot_converge(lab, droverd):
    slow = {'libvirt': {'live_migration_bandwidth': 16}}
    hosta = droverd('hosta', on=lab.hosta, settings=slow)
    droverd('hostb', on=lab.hostb)
    guest = boot(lab, hosta, disk=None, dirty=32)
    hosta.ctl('migrate', guest.name, 'hostb')
    wait_status(hosta, guest.name, 'running')
    wait_for(lambda: (hosta.ctl_json('migration', 'show', guest.name)
                      ['iteration'] or 0) >= 2, 60, 'a second pass')
    hosta.ctl('migration', 'force-complete', guest.name)
    wait_status(hosta, guest.name, 'completed', deadline=60)
    assert_alive_on(guest, 'hostb')


def test_14_existing_disk_is_refused_and_kept(lab, pair):
    hosta, _ = pair
    guest = boot(lab, hosta)
    lab.hostb.run('mkdir', '-p', guest.directory)
    lab.hostb.run('touch', guest.disk_path)
    done = hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate',
                     '--watch', check=False, timeout=60)
    assert done.returncode == 1
    assert 'already exists, it is expected not to exist' in done.stderr
    assert files(lab.hostb, guest) == ['disk']
    assert_alive_on(guest, 'hosta')
    # The next attempt, once somebody has cleaned up.
    shutil.rmtree(lab.hostb.outer_instances / guest.uuid)
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate', '--watch',
              timeout=120)
    assert_alive_on(guest, 'hostb')


def test_disk_outside_of_the_allowed_directories_is_refused(lab, pair,
                                                            tmp_path):
    hosta, _ = pair
    guest = lab.boot(lab.hosta, wait=False)
    outside = lab.directory / 'elsewhere'
    lab.hosta.run('mkdir', '-p', outside)
    path = outside / 'extra.img'
    lab.hosta.run('truncate', '-s', '1M', path)
    lab.hosta.virsh('attach-disk', guest.name, path, 'vdb', '--live')
    guest.wait_up()
    wait_adopted(hosta, guest)
    done = hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate',
                     '--watch', check=False, timeout=60)
    assert done.returncode == 1
    assert str(outside) in done.stderr
    assert_alive_on(guest, 'hosta')
    assert files(lab.hostb, guest) == []


# ---- Guests and their records ---------------------------------------------------

def test_changes_behind_our_back_are_noticed(lab, pair):
    hosta, _ = pair
    guest = boot(lab, hosta, disk=None)

    def seen():
        return {g['name']: g['vm_state']
                for g in hosta.ctl_json('instance', 'list')}

    assert seen()[guest.name] == 'active'
    lab.hosta.virsh('destroy', guest.name)
    wait_for(lambda: seen().get(guest.name) == 'stopped', 10, 'it stopped')
    lab.hosta.virsh('start', guest.name)
    wait_for(lambda: seen().get(guest.name) == 'active', 10, 'it started')
    lab.hosta.virsh('destroy', guest.name)
    lab.hosta.virsh('undefine', guest.name)
    wait_for(lambda: guest.name not in seen(), 10, 'it is gone')


def test_libvirtd_restart_is_survived(lab, pair):
    hosta, _ = pair
    guest = boot(lab, hosta)
    lab.hosta.libvirtd('kill')
    wait_for(lambda: not hosta.ctl_json('status')['hypervisor_up'], 30,
             'libvirt is away')
    assert guest.name in [g['name'] for g in
                          hosta.ctl_json('instance', 'list')]
    lab.hosta.libvirtd('start')
    wait_for(lambda: hosta.ctl_json('status')['hypervisor_up'], 60,
             'libvirt is back')
    hosta.ctl('migrate', guest.name, 'hostb', '--watch', timeout=120)
    assert_alive_on(guest, 'hostb')


def test_source_killed_in_the_middle_takes_it_up_again(lab, droverd):
    slow = slowly(16)
    hosta = droverd('hosta', on=lab.hosta, settings=slow)
    hostb = droverd('hostb', on=lab.hostb)
    guest = boot(lab, hosta, disk_mib=48)
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate')
    wait_for(lambda: (hosta.ctl_json('migration', 'show', guest.name)
                      ['disk_processed'] or 0) > 0, 60, 'data is on its way')
    hosta.kill()
    hosta.start()
    wait_status(hosta, guest.name, 'completed', 'failed', deadline=90)
    assert status(hosta, guest.name) == 'completed'
    assert_alive_on(guest, 'hostb')
    wait_for(lambda: not hostb.ctl_json('op', 'list'), 30, 'hostb is done')
    assert files(lab.hosta, guest) == []


def test_agent_with_the_fake_maps_no_libvirt(droverd, lab, tmp_path):
    agent = droverd('hostc', settings={'compute_driver': 'fake'})
    maps = run(['cat', '/proc/%d/maps' % agent.pid]).stdout
    assert 'drover-fake' in maps
    assert 'drover-libvirt' not in maps
    # A sanitizer has to know of libvirt from the beginning.
    assert 'libasan' in maps or 'libvirt' not in maps
