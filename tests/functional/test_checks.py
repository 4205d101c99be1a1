"""What is found out before a migration: checks, and the forecast.

Tests with a number are points of the acceptance list.
"""

import json
import os
import pathlib
import re
import signal

import pytest

from harness import nova
from harness.oslo import Failure
from harness.wait import wait_for
from test_agent import fake, guests, wait_status
from test_migration import assert_alive_on, boot, files, pair as real_pair

FIELDS = {
    'filename', 'image_type', 'block_migration', 'disk_available_mb',
    'is_shared_instance_path', 'is_shared_block_storage', 'is_volume_backed',
    'instance_relative_path', 'graphics_listen_addr_vnc',
    'graphics_listen_addr_spice', 'serial_listen_addr',
    'dst_wants_file_backed_memory'}

real = pytest.fixture(name='real')(real_pair.__wrapped__)


@pytest.fixture
def world(tmp_path):
    path = tmp_path / 'world'
    path.mkdir()
    return path


@pytest.fixture
def pair(droverd, world):
    """hosta, which has two guests, and hostb; their hypervisor is the fake."""
    return (droverd('hosta', settings=fake(world, 2)),
            droverd('hostb', settings=fake(world)))


def check(client, guest, block=None, over_commit=None, version='6.0', **more):
    """What a conductor asks hostb; returns the fields of its answer."""
    args = {'migration': None, 'limits': None} if version[0] == '6' else {}
    answer = client.call(
        'check_can_live_migrate_destination', _server='hostb',
        _version=version, _context=nova.context(), block_migration=block,
        disk_over_commit=over_commit,
        instance=nova.instance(guest['uuid'], 'hosta', guest['name']),
        **{**args, **more})
    assert answer['nova_object.version'] == '1.10'
    return answer['nova_object.data']


def refusal(client, guest, *args, **more):
    with pytest.raises(Failure) as caught:
        check(client, guest, *args, **more)
    assert caught.value.module == 'nova.exception'
    return caught.value


def named(guest):
    return {'uuid': guest.uuid, 'name': guest.name}


def rules_of(agent, *words):
    """Rules with their outcome, and all of what droverctl says."""
    done = agent.ctl('migrate', *words, '--check', '--json', check=False)
    said = json.loads(done.stdout)
    assert done.returncode == (0 if said['ok'] else 1)
    checks = said['rules'][-1]['checks']
    return {rule['rule']: (rule['outcome'], rule['reason'])
            for rule in checks}, said


def probes(directory):
    return [path.name for path in directory.glob('tmp*')]


# ---- The acceptance list ----------------------------------------------------

def test_01_incompatible_cpu_is_refused_and_the_guest_kept(client, pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    before = hostb.ctl_json('fake', 'list')
    hostb.ctl('fake', 'fail', 'compare_cpu', 'INVALID_CPU_INFO', '2')
    seen = refusal(client, guests(hosta)[name])
    assert seen.name == 'MigrationPreCheckError'
    assert 'Unacceptable CPU info' in seen.message
    done = hosta.ctl('migrate', name, 'hostb', check=False)
    assert done.returncode == 1 and 'Unacceptable CPU info' in done.stderr
    guest = guests(hosta)[name]
    assert (guest['vm_state'], guest['task_state']) == ('active', None)
    assert [m['status'] for m in hosta.ctl_json('migration', 'list')] \
        == ['error']
    assert hostb.ctl_json('fake', 'list') == before


@pytest.mark.libvirt
def test_01_named_cpu_that_the_destination_lacks_is_refused(lab, droverd):
    """libvirt's own word, of the guest's CPU and not of the host's."""
    hosta = droverd('hosta', on=lab.hosta)
    droverd('hostb', on=lab.hostb,
            settings={'libvirt': {'virt_type': 'kvm'}})
    model = "<cpu mode='custom' match='exact' check='none'>" \
        "<model fallback='forbid'>%s</model></cpu>"
    # Without KVM they need not get far: they run.
    poor, rich = [lab.boot(lab.hosta, disk=None, cpu=model % name, wait=False)
                  for name in ('kvm64', 'Opteron_G5')]
    wait_for(lambda: {poor.name, rich.name} <= set(guests(hosta)), 30,
             'they are adopted')
    rules, _ = rules_of(hosta, poor.name, 'hostb')
    assert rules['cpu'] == ('passed', None)
    rules, said = rules_of(hosta, rich.name, 'hostb')
    assert rules['cpu'][0] == 'failed'
    assert 'Unacceptable CPU info' in said['reason']
    assert rich.runs_on() == 'hosta'


@pytest.mark.libvirt
@pytest.mark.shared
def test_02_probe_is_seen_and_never_left(client, lab, droverd):
    hosta = droverd('hosta', on=lab.hosta)
    droverd('hostb', on=lab.hostb, settings={'rpc_response_timeout': 2})
    guest = boot(lab, hosta)
    shared = lab.hosta.outer_instances
    answer = check(client, named(guest))
    assert answer['is_shared_instance_path'] is True
    assert answer['filename'] and probes(shared) == []
    # The source refuses.
    assert refusal(client, named(guest), True).name == 'InvalidLocalStorage'
    assert probes(shared) == []
    # It does not answer.
    hosta.signal(signal.SIGSTOP)
    try:
        assert refusal(client, named(guest)).name == 'MigrationPreCheckError'
        assert probes(shared) == []
    finally:
        hosta.signal(signal.SIGCONT)


@pytest.mark.libvirt
def test_03_local_disks_are_copied(client, lab, real):
    guest = boot(lab, real[0])
    answer = check(client, named(guest))
    assert answer['block_migration'] is True
    assert answer['is_shared_instance_path'] is False
    assert answer['is_shared_block_storage'] is False


@pytest.mark.libvirt
@pytest.mark.shared
def test_03_shared_disks_are_not(client, lab, real):
    guest = boot(lab, real[0])
    answer = check(client, named(guest))
    assert answer['block_migration'] is False
    assert answer['is_shared_block_storage'] is True


def test_03_rbd_disks_are_not_copied(client, droverd, world):
    """The kind of storage is each host's own word.  (Fake hypervisor.)"""
    rbd = fake(world, 1, libvirt={'images_type': 'rbd'})
    hosta = droverd('hosta', settings=rbd)
    droverd('hostb', settings={**rbd, 'fake': {**rbd['fake'], 'guests': 0}})
    guest, = guests(hosta).values()
    answer = check(client, guest)
    assert answer['block_migration'] is False
    assert answer['is_shared_instance_path'] is False
    assert answer['is_shared_block_storage'] is True


@pytest.mark.libvirt
@pytest.mark.shared
def test_04_shared_disks_are_not_copied_on_request(client, lab, real):
    guest = boot(lab, real[0])
    seen = refusal(client, named(guest), True)
    assert seen.name == 'InvalidLocalStorage'
    assert 'can not be used with shared storage' in seen.message
    assert_alive_on(guest, 'hosta')


@pytest.mark.libvirt
def test_04_local_disks_are_not_left_behind_on_request(client, lab, real):
    guest = boot(lab, real[0])
    seen = refusal(client, named(guest), False)
    assert seen.name == 'InvalidSharedStorage'
    assert 'requires either shared storage' in seen.message
    assert_alive_on(guest, 'hosta')


@pytest.mark.libvirt
def test_05_over_commit_decides_which_size_counts(client, lab, real):
    # 8 TiB are declared, and next to nothing of it is used.
    guest = boot(lab, real[0], disk_mib=8 << 20)
    seen = refusal(client, named(guest), True, False)
    assert seen.name == 'MigrationPreCheckError'
    assert re.search(r'too large\(available on destination host:\d+ < '
                     r'need:%d\)' % (8 << 40), seen.message)
    assert check(client, named(guest), True, True)['disk_over_commit'] is True
    assert 'disk_over_commit' not in check(client, named(guest), True)
    assert_alive_on(guest, 'hosta')


def test_06_answer_has_novas_fields(client, pair):
    guest, _ = guests(pair[0]).values()
    answer = check(client, guest)
    # One field more is drovers' own.
    assert set(answer) == FIELDS | {'drover_dest'}
    assert [name for name, value in answer.items() if value is None] \
        == ['serial_listen_addr']
    asked = check(client, guest, True, False)
    assert set(asked) - set(answer) == {'disk_over_commit'}


def test_07_older_and_newer_questions_are_answered(client, pair):
    guest, _ = guests(pair[0]).values()
    limits = nova.primitive('SchedulerLimits', '1.0', {
        'numa_limits': None, 'vcpu': 4, 'disk_gb': 10, 'memory_mb': 100})
    assert set(check(client, guest, limits=limits)) >= FIELDS
    assert set(check(client, guest, version='5.0')) >= FIELDS


def test_10_long_check_shows_signs_of_life(client, pair):
    """More than the call is given between two of them, in small."""
    hosta, hostb = pair
    guest, _ = guests(hosta).values()
    hostb.ctl('fake', 'slow', 'compare_cpu', '5000')
    answer = check(client, guest, _timeout=60, _call_monitor_timeout=2)
    assert set(answer) >= FIELDS
    # Without them it would not have been waited for.
    with pytest.raises(Failure) as caught:
        check(client, guest, _timeout=2)
    assert caught.value.name == 'MessagingTimeout'


# ---- droverctl migrate --check ----------------------------------------------

def test_check_shows_each_rule(pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    before = [agent.ctl_json('fake', 'list') for agent in pair]
    text = hosta.ctl('migrate', name, 'hostb', '--check').stdout
    for rule, outcome in (('other-host', 'passed'), ('memory', 'passed'),
                          ('cpu', 'passed'), ('devices', 'passed'),
                          ('storage', 'passed'), ('files', 'passed'),
                          ('hugepages', 'n/a'), ('disk-space', 'n/a')):
        assert re.search(r'^hostb +%s +%s ' % (rule, outcome), text, re.M), \
            (rule, text)
    assert re.search(r'^Forecast +will converge in about', text, re.M)
    assert re.search(r'the link carries 112 MiB/s \(assumed', text)
    assert [agent.ctl_json('fake', 'list') for agent in pair] == before
    assert hosta.ctl_json('migration', 'list') == []
    assert hosta.ctl_json('op', 'list') == hostb.ctl_json('op', 'list') == []


def test_check_goes_on_after_a_failure(pair):
    hosta, hostb = pair
    name = sorted(guests(hosta))[0]
    guest = guests(hosta)[name]
    disk, = hosta.ctl_json('instance', 'show', name)['disks']
    hostb.ctl('fake', 'fail', 'compare_cpu', 'INVALID_CPU_INFO')
    hostb.ctl('fake', 'file-add', os.path.dirname(disk['path']))
    rules, said = rules_of(hosta, guest['uuid'], 'hostb')
    assert {rule for rule, (outcome, _) in rules.items()
            if outcome == 'failed'} == {'cpu', 'files'}
    assert 'Unacceptable CPU info' in said['reason']
    assert 'expected not to exist' in rules['files'][1]
    assert said['forecast'] is None


def test_check_looks_at_every_host(droverd, world):
    hosta = droverd('hosta', settings=fake(world, 1))
    settings = fake(world, reserved_host_memory_mb=1 << 30)
    for host in ('hostb', 'hostc'):
        droverd(host, settings=settings)
    name, = guests(hosta)
    done = hosta.ctl('migrate', name, '--check', '--json', check=False)
    said = json.loads(done.stdout)
    assert done.returncode == 1 and 'No valid host' in said['reason']
    assert sorted(rule['host'] for rule in said['rules']) == [
        'hostb', 'hostc']
    for host in said['rules']:
        outcomes = {rule['rule']: rule['outcome'] for rule in host['checks']}
        assert outcomes['memory'] == 'failed'
        assert outcomes['hypervisor-type'] == 'passed'
        assert outcomes['cpu'] == 'n/a'


@pytest.mark.libvirt
def test_check_finds_all_that_ties_a_guest_to_its_host(lab, real):
    hosta, _ = real
    media = lab.directory / 'hosta' / 'media'
    lab.hosta.run('mkdir', '-p', media)
    lab.hosta.run('truncate', '-s', '1M', media / 'install.iso')
    guest = boot(lab, hosta, devices='''
    <shmem name='shared'><model type='ivshmem-plain'/>
      <size unit='M'>4</size></shmem>
    <disk type='file' device='cdrom'>
      <source file='%s'/><target dev='sda' bus='sata'/><readonly/>
    </disk>''' % (media / 'install.iso'))
    rules, said = rules_of(hosta, guest.name, 'hostb')
    assert rules['devices'][0] == rules['media'][0] == 'failed', rules
    assert 'shmem' in rules['devices'][1]
    assert 'install.iso' in rules['media'][1]
    assert rules['files'] == ('passed', None)
    assert said['reason'] == rules['devices'][1]
    done = hosta.ctl('migrate', guest.name, 'hostb', check=False)
    assert done.returncode == 1 and 'shmem' in done.stderr
    assert files(lab.hostb, guest) == []
    assert_alive_on(guest, 'hosta')


@pytest.mark.libvirt
def test_16_medium_that_both_hosts_have_goes_along(lab, real):
    """It is not copied: the guest reads the destination's."""
    hosta, _ = real
    medium = lab.instances / 'install.iso'
    for host in (lab.hosta, lab.hostb):
        host.run('truncate', '-s', '1M', medium)
    try:
        guest = boot(lab, hosta, devices='''
    <disk type='file' device='cdrom'>
      <source file='%s'/><target dev='sda' bus='sata'/><readonly/>
    </disk>''' % medium)
        rules, _ = rules_of(hosta, guest.name, 'hostb')
        assert rules['media'] == ('passed', None)
        hosta.ctl('migrate', guest.name, 'hostb', '--watch', timeout=120)
        assert_alive_on(guest, 'hostb')
    finally:
        for host in (lab.hosta, lab.hostb):
            host.run('rm', '-f', medium)


@pytest.mark.libvirt
def test_check_knows_where_the_destination_makes_disks(lab, real):
    """What pre_live_migration would refuse is refused before."""
    hosta, _ = real
    outside = lab.directory / 'hosta' / 'beside'
    lab.hosta.run('mkdir', '-p', outside)
    lab.hosta.run('truncate', '-s', '1M', outside / 'extra.img')
    guest = lab.boot(lab.hosta, wait=False)
    lab.hosta.virsh('attach-disk', guest.name, outside / 'extra.img', 'vdb',
                    '--live')
    guest.wait_up()
    wait_for(lambda: guest.name in guests(hosta), 30, 'it is adopted')
    rules, said = rules_of(hosta, guest.name, 'hostb', '--block-migrate')
    assert rules['files'][0] == 'failed'
    assert str(outside) in said['reason']
    assert files(lab.hostb, guest) == []


@pytest.mark.libvirt
def test_variables_of_the_firmware_go_along(lab, real):
    """Flash is memory: QEMU moves what is in it, and writes it to the file
    that the destination's libvirt made from the template."""
    hosta, _ = real
    loader = pathlib.Path('/usr/share/seabios/bios-256k.bin')
    if not loader.exists():
        pytest.skip('no ' + str(loader))
    nvram = lab.instances / 'vars.fd'
    template = lab.directory / 'template.fd'
    template.write_bytes(bytes(1 << 16))
    inside = [host.outer_instances / 'vars.fd' for host in
              (lab.hosta, lab.hostb)]
    content = b'written by a firmware'.ljust(1 << 16, b'.')
    inside[0].write_bytes(content)
    try:
        guest = boot(lab, hosta, disk=None, firmware="""
    <loader readonly='yes' type='pflash'>%s</loader>
    <nvram template='%s'>%s</nvram>""" % (loader, template, nvram))
        rules, _ = rules_of(hosta, guest.name, 'hostb')
        assert rules['firmware'][0] == 'n/a'  # Not one of libvirt's list.
        hosta.ctl('migrate', guest.name, 'hostb', '--watch', timeout=120)
        assert_alive_on(guest, 'hostb')
        assert inside[1].read_bytes() == content
        # libvirt removes a definition together with the file it names.
        lab.hostb.virsh('destroy', guest.name)
        lab.hostb.virsh('undefine', guest.name, '--nvram')
    finally:
        for path in inside:
            path.unlink(missing_ok=True)


# ---- The forecast -----------------------------------------------------------

def forecast_of(agent, *words):
    return agent.ctl_json('migrate', *words, '--check')['forecast']


@pytest.mark.parametrize('dirty, verdict', [(0, 'converges'),
                                            (40, 'diverges')])
def test_forecast_tells_what_the_guest_writes(pair, dirty, verdict):
    hosta, _ = pair
    name = sorted(guests(hosta))[0]
    hosta.ctl('fake', 'dirty-rate', guests(hosta)[name]['uuid'], str(dirty))
    hosta.write_config(libvirt={'live_migration_bandwidth': 20})
    hosta.restart()
    forecast = forecast_of(hosta, name, 'hostb')
    assert forecast['verdict'] == verdict
    assert forecast['link_source'] == 'limit'
    assert forecast['link_rate'] == 20 << 20
    assert forecast['memory'] == 64 << 20 and forecast['disk'] == 16 << 20


def test_forecast_is_of_the_migration_as_it_is_asked_for(pair):
    hosta, _ = pair
    name = sorted(guests(hosta))[0]
    hosta.ctl('fake', 'dirty-rate', guests(hosta)[name]['uuid'], '40')
    hosta.write_config(libvirt={'live_migration_host_bandwidth': 80})
    hosta.restart()
    forecast = forecast_of(hosta, name, 'hostb')
    assert (forecast['verdict'], forecast['link_rate']) == (
        'converges', 80 << 20)
    forecast = forecast_of(hosta, name, 'hostb', '--bandwidth', '20',
                           '--downtime', '70', '--completion-timeout', '7')
    assert (forecast['verdict'], forecast['link_rate']) == (
        'diverges', 20 << 20)
    assert forecast['max_downtime_ms'] == 70
    assert forecast['timeout_s'] == 7
    # What takes no longer than this to send can be sent in one pause.
    forecast = forecast_of(hosta, name, 'hostb', '--bandwidth', '20',
                           '--downtime', '9000')
    assert forecast['verdict'] == 'converges'


def test_forecast_learns_from_the_last_migrations(pair):
    hosta, hostb = pair
    first, second = sorted(guests(hosta))
    hosta.ctl('fake', 'bandwidth', '40')
    hosta.ctl('migrate', first, 'hostb', '--watch')
    forecast = forecast_of(hosta, second, 'hostb')
    assert forecast['link_source'] == 'measured'
    assert 20 << 20 < forecast['link_rate'] < 60 << 20


@pytest.mark.parametrize('steering, why', [
    ('fail dirty_rate_start NOT_IMPLEMENTED', 'told to fail'),
    ('fail dirty_rate_get INTERNAL', 'told to fail'),
    ('hang dirty_rate_get', 'does not answer in time')])
def test_forecast_says_why_there_is_none(pair, steering, why):
    hosta, _ = pair
    name = sorted(guests(hosta))[0]
    hosta.ctl('fake', *steering.split())
    try:
        done = hosta.ctl('migrate', name, 'hostb', '--check')
        assert re.search('^Forecast +not known: .*' + why, done.stdout, re.M)
    finally:
        hosta.ctl('fake', 'release')


@pytest.mark.libvirt
@pytest.mark.parametrize('dirty, verdict, status', [
    (None, 'converges', 'completed'), (96, 'diverges', 'cancelled')])
def test_forecast_is_what_then_happens(lab, droverd, dirty, verdict, status):
    """The verdict; times are about."""
    settings = {'live_migration_bandwidth': 24,
                'live_migration_downtime': 1500,
                'live_migration_downtime_steps': 3}
    if verdict == 'diverges':  # What it comes to, without waiting for long.
        settings['live_migration_completion_timeout'] = 5
    hosta = droverd('hosta', on=lab.hosta, settings={'libvirt': settings})
    droverd('hostb', on=lab.hostb)
    guest = boot(lab, hosta, disk=None, memory=192, dirty=dirty)
    forecast = forecast_of(hosta, guest.name, 'hostb')
    assert forecast['verdict'] == verdict, forecast
    hosta.ctl('migrate', guest.name, 'hostb')
    wait_status(hosta, guest.name, 'completed', 'cancelled', 'failed',
                deadline=120)
    assert hosta.ctl_json('migration', 'show', guest.name)['status'] == status
    assert_alive_on(guest, 'hostb' if status == 'completed' else 'hosta')
