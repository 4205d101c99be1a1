"""Volumes and ports that the agents themselves connect and plug.

Tests with a number are points of the acceptance list.  `ip` and `umount` are
the real ones; there is no NFS server and no Open vSwitch here, so that `mount`
mounts a directory as what libvirt takes for shared storage, and what
`ovs-vsctl` is told is written down.
"""

import hashlib
import json
import os
import stat
import xml.etree.ElementTree

import pytest

from harness.wait import wait_for
from test_agent import wait_status
from test_checks import rules_of
from test_migration import assert_alive_on, boot, files, pair as real_pair

pytestmark = pytest.mark.libvirt

real = pytest.fixture(name='real')(real_pair.__wrapped__)

VOLUME = '6ca404f3-d844-4169-bb96-bc792f37de98'
EXPORT = '192.0.2.9:/export'
PLAIN = {'id': 'c521973a-7fea-4d80-b09a-b8924934a61c',
         'address': 'fa:16:3e:fe:62:f6', 'type': 'bridge',
         'devname': 'tapc521973a-7f',
         'network': {'bridge': 'brq0fcf8e10-fe',
                     'meta': {'should_create_bridge': True}}}
HYBRID = {'id': '88dae9fa-0dc6-49e3-8c29-3abc41e99ac9',
          'address': 'fa:16:3e:aa:bb:cc', 'type': 'ovs',
          'devname': 'tap88dae9fa-0d',
          'network': {'bridge': 'br-int', 'meta': {'mtu': 1450}},
          'details': {'ovs_hybrid_plug': True}}

INTERFACE = '''
    <interface type='bridge'>
      <mac address='%s'/><source bridge='%s'/><model type='virtio'/>
      <target dev='%s'/>
    </interface>'''
DISK = '''
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/><source file='%s'/>
      <target dev='vdb' bus='virtio'/><serial>%s</serial>
    </disk>'''


def links(host):
    return {line.split(':')[1].split('@')[0].strip()
            for line in host.run('ip', '-o', 'link').stdout.splitlines()}


def bind(directory):
    return ['bindfs', '-o', 'subtype=glusterfs', str(directory)]


def mounts(host):
    return [line.split()[4] for line in
            host.run('cat', '/proc/self/mountinfo').stdout.splitlines()]


@pytest.fixture
def programs(tmp_path):
    """A directory of programs that stand for those that need more than is
    here; the one of the switch is written down beside it."""
    path = tmp_path / 'programs'
    path.mkdir()
    export = tmp_path / 'export'
    export.mkdir()
    for name, text in (
            ('mount', '[ "$1 $2 $3" = "-t nfs %s" ] || exit 32\n'
                      'exec %s "$4"' % (EXPORT, ' '.join(bind(export)))),
            ('ovs-vsctl', 'echo "$@" >> %s.$HOSTNAME' % (path / 'said'))):
        program = path / name
        program.write_text('#!/bin/bash\n%s\n' % text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with open(export / ('volume-' + VOLUME), 'wb') as volume:
        volume.truncate(1 << 20)
    return path


@pytest.fixture
def pair(lab, droverd, programs, tmp_path):
    """Each mounts in a place of its own."""
    agents = []
    for host in (lab.hosta, lab.hostb):
        agent = droverd(host.name, start=False, on=host, settings={
            'shutdown_timeout': 1, 'libvirt': {'nfs_mount_point_base': str(
                tmp_path / ('mnt-' + host.name))}})
        agent.start(environment={
            'PATH': '%s:%s' % (programs, os.environ['PATH'])})
        agents.append(agent)
    return agents


def attach(agent, guest, tmp_path, **attachments):
    path = tmp_path / 'attachments.json'
    path.write_text(json.dumps(attachments))
    return agent.ctl_json('instance', 'attachments', guest.name, str(path))


def devices(host, guest):
    return xml.etree.ElementTree.fromstring(
        host.virsh('dumpxml', guest.name)).find('devices')


@pytest.mark.shared
def test_21_24_volume_and_ports_follow_the_guest(lab, pair, programs,
                                                 tmp_path):
    hosta, hostb = pair
    name = hashlib.md5(EXPORT.encode()).hexdigest()
    here, there = (tmp_path / ('mnt-' + host) / name
                   for host in ('hosta', 'hostb'))
    lab.hosta.run('mkdir', '-p', here)
    lab.hosta.run(*bind(tmp_path / 'export'), here)
    for bridge in ('brq0fcf8e10-fe', 'qbr88dae9fa-0d'):
        lab.hosta.run('ip', 'link', 'add', bridge, 'type', 'bridge')
    try:
        guest = boot(lab, hosta, devices=DISK % (
            here / ('volume-' + VOLUME), VOLUME) + INTERFACE % (
            PLAIN['address'], 'brq0fcf8e10-fe', PLAIN['devname']) +
            INTERFACE % (HYBRID['address'], 'qbr88dae9fa-0d',
                         HYBRID['devname']))
        before = devices(lab.hosta, guest)
        attach(hosta, guest, tmp_path, vifs=[PLAIN, HYBRID], volumes=[
            {'connection_info': {'driver_volume_type': 'nfs',
                                 'serial': VOLUME,
                                 'data': {'export': EXPORT,
                                          'name': 'volume-' + VOLUME}},
             'dev': 'vdb', 'bus': 'virtio'}])
        rules, _ = rules_of(hosta, guest.name, 'hostb')
        assert rules['networks'][0] == 'n/a'

        hosta.ctl('migrate', guest.name, 'hostb')
        wait_status(hosta, guest.name, 'completed')
        assert_alive_on(guest, 'hostb')

        # There it was made; here it is gone, but for what others may use.
        assert {'brq0fcf8e10-fe', 'qbr88dae9fa-0d', 'qvb88dae9fa-0d',
                'qvo88dae9fa-0d', PLAIN['devname'],
                HYBRID['devname']} <= links(lab.hostb)
        assert str(there) in mounts(lab.hostb)
        wait_for(lambda: hosta.ctl_json('op', 'list') == [], 30,
                 'the source has let go')
        assert str(here) not in mounts(lab.hosta)
        assert 'qbr88dae9fa-0d' not in links(lab.hosta)
        assert 'brq0fcf8e10-fe' in links(lab.hosta)
        said = ''.join(file.read_text() for file in
                       programs.glob('said.*')).splitlines()
        assert [line for line in said if 'add-port br-int qvo88dae9fa-0d' in
                line and 'iface-id=' + HYBRID['id'] in line]

        # What the guest sees is what it was.
        after = devices(lab.hostb, guest)
        for kind in ('disk', 'interface'):
            assert [xml.etree.ElementTree.tostring(device.find('address'))
                    for device in before.findall(kind)] == [
                        xml.etree.ElementTree.tostring(device.find('address'))
                        for device in after.findall(kind)]
        assert [disk.find('source').get('file') for disk in
                after.findall('disk') if disk.find('serial') is not None] == [
                    str(there / ('volume-' + VOLUME))]
        assert [(nic.get('type'), nic.find('source').get('bridge'),
                 nic.find('target').get('dev'))
                for nic in after.findall('interface')] == [
                    ('bridge', 'brq0fcf8e10-fe', PLAIN['devname']),
                    ('bridge', 'qbr88dae9fa-0d', HYBRID['devname'])]
        kept = hostb.ctl_json('instance', 'attachments', guest.name)
        data = kept['volumes'][0]['connection_info']['data']
        assert data['device_path'] == str(there / ('volume-' + VOLUME))

        # And all the same back.
        hostb.ctl('migrate', guest.name, 'hosta')
        wait_status(hostb, guest.name, 'completed')
        assert_alive_on(guest, 'hosta')
        wait_for(lambda: hostb.ctl_json('op', 'list') == [], 30,
                 'the other one has let go')
        assert str(here) in mounts(lab.hosta)
        assert str(there) not in mounts(lab.hostb)
        assert not {'qbr88dae9fa-0d', 'qvb88dae9fa-0d',
                    'qvo88dae9fa-0d'} & links(lab.hostb)
    finally:
        lab.restore()
        for host in (lab.hosta, lab.hostb):
            host.run('umount', here, there, check=False)
            for link in ('brq0fcf8e10-fe', 'qbr88dae9fa-0d',
                         'qvo88dae9fa-0d'):
                host.run('ip', 'link', 'delete', link, check=False)


BLOCK = '''
    <disk type='block' device='disk'>
      <driver name='qemu' type='raw' cache='none'/><source dev='%s'/>
      <target dev='vdb' bus='virtio'/><serial>%s</serial>
    </disk>'''


def test_21_block_device_of_both_hosts_is_not_copied(lab, pair, tmp_path):
    hosta, _ = pair
    image = tmp_path / 'volume'
    with open(image, 'wb') as volume:
        volume.truncate(1 << 20)
    made = lab.hosta.run('losetup', '-f', '--show', image, check=False)
    if made.returncode:
        pytest.skip('no loop device: ' + made.stderr.strip())
    device = made.stdout.strip()
    try:
        guest = boot(lab, hosta, devices=BLOCK % (device, VOLUME))
        attach(hosta, guest, tmp_path, volumes=[
            {'connection_info': {'driver_volume_type': 'local',
                                 'serial': VOLUME,
                                 'data': {'device_path': device}},
             'dev': 'vdb', 'bus': 'virtio'}])
        hosta.ctl('migrate', guest.name, 'hostb')
        wait_status(hosta, guest.name, 'completed')
        assert_alive_on(guest, 'hostb')
        # Of the two disks the local one was copied.
        assert files(lab.hostb, guest) == ['disk', 'disk.info']
        assert ' starts, 1 disks' in hosta.log.read_text()
        disk = devices(lab.hostb, guest).findall('disk')[1]
        assert disk.find('source').get('dev') == device
        assert disk.find('serial').text == VOLUME
    finally:
        lab.restore()
        lab.hosta.run('losetup', '-d', device, check=False)


def test_ports_are_plugged_when_a_guest_is_started(lab, pair, tmp_path):
    """A host that was booted anew has nothing of them."""
    hosta, _ = pair
    ours = ('brq0fcf8e10-fe', 'qbr88dae9fa-0d', 'qvo88dae9fa-0d')
    for bridge in ours[:2]:
        lab.hosta.run('ip', 'link', 'add', bridge, 'type', 'bridge')
    try:
        guest = boot(lab, hosta, disk=None, devices=INTERFACE % (
            PLAIN['address'], 'brq0fcf8e10-fe', PLAIN['devname']) +
            INTERFACE % (HYBRID['address'], 'qbr88dae9fa-0d',
                         HYBRID['devname']))
        attach(hosta, guest, tmp_path, vifs=[PLAIN, HYBRID])
        hosta.ctl('instance', 'stop', guest.name, timeout=150)
        for bridge in ours[:2]:
            lab.hosta.run('ip', 'link', 'delete', bridge)
        hosta.ctl('instance', 'start', guest.name, timeout=150)
        assert lab.hosta.virsh('domstate', guest.name) == 'running'
        assert {*ours, PLAIN['devname'],
                HYBRID['devname']} <= links(lab.hosta)
    finally:
        lab.restore()
        for link in ours:
            lab.hosta.run('ip', 'link', 'delete', link, check=False)


def test_17_failed_binding_leaves_nothing_there(lab, pair, tmp_path):
    hosta, hostb = pair
    lab.hosta.run('ip', 'link', 'add', 'brq0fcf8e10-fe', 'type', 'bridge')
    try:
        guest = boot(lab, hosta, devices=INTERFACE % (
            PLAIN['address'], 'brq0fcf8e10-fe', PLAIN['devname']))
        missing = dict(HYBRID, address=PLAIN['address'], type='macvtap',
                       details={'macvtap_source': 'eth9',
                                'macvtap_mode': 'bridge'})
        path = tmp_path / 'attachments.json'
        path.write_text(json.dumps({'vifs': [dict(PLAIN,
                                                  type='binding_failed')]}))
        done = hosta.ctl('instance', 'attachments', guest.name, str(path),
                         check=False)
        assert done.returncode == 1 and 'could not bind it' in done.stderr
        attach(hosta, guest, tmp_path, vifs=[missing])
        hosta.ctl('migrate', guest.name, 'hostb')
        wait_for(lambda: "no device 'eth9'" in hostb.log.read_text(), 30,
                 'an attempt to plug it')
        hosta.ctl('migration', 'abort', guest.name)
        wait_status(hosta, guest.name, 'cancelled', deadline=90)
        assert_alive_on(guest, 'hosta')
        assert files(lab.hostb, guest) == []
    finally:
        lab.restore()
        lab.hosta.run('ip', 'link', 'delete', 'brq0fcf8e10-fe', check=False)


def test_missing_bridge_is_refused_by_name(lab, real):
    hosta, _ = real
    lab.hosta.run('ip', 'link', 'add', 'br-x', 'type', 'bridge')
    try:
        guest = boot(lab, hosta, devices=INTERFACE % (
            PLAIN['address'], 'br-x', 'tapx'))
        rules, _ = rules_of(hosta, guest.name, 'hostb')
        assert rules['networks'][0] == 'failed'
        done = hosta.ctl('migrate', guest.name, 'hostb', check=False)
        assert done.returncode == 1 and "'br-x'" in done.stderr, done.stderr
        assert files(lab.hostb, guest) == []

        lab.hostb.run('ip', 'link', 'add', 'br-x', 'type', 'bridge')
        rules, _ = rules_of(hosta, guest.name, 'hostb')
        assert rules['networks'] == ('passed', None)
        hosta.ctl('migrate', guest.name, 'hostb')
        wait_status(hosta, guest.name, 'completed')
        assert_alive_on(guest, 'hostb')
    finally:
        lab.restore()
        for host in (lab.hosta, lab.hostb):
            host.run('ip', 'link', 'delete', 'br-x', check=False)
