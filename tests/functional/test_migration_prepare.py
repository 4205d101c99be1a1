"""What a destination has ready before a guest comes, on real hosts and, where
that says as much, on the fake hypervisor.

Numbers in names are those of the acceptance points.
"""

import re

import pytest

from harness import nova
from harness.wait import wait_for
from test_agent import call, fake, guests, world  # noqa: F401 (a fixture)
from test_migration import (assert_alive_on, boot, pair,  # noqa: F401
                            wait_adopted)

RANGE = {'serial_console': {'enabled': True, 'port_range': '17000:17001'}}
SERIAL = '''
    <serial type='tcp'>
      <source mode='bind' host='127.0.0.1' service='17000'/>
      <protocol type='raw'/>
    </serial>'''


# ---- Serial ports -------------------------------------------------------------

def serial_of(host, guest):
    """Where libvirt says that its serial port of TCP listens."""
    xml = host.virsh('dumpxml', guest.name)
    port, = set(re.findall(r"<source mode='bind' host='(\S+)' "
                           r"service='(\d+)'", xml))
    return port


@pytest.mark.libvirt
def test_19_serial_ports_are_those_of_the_destination(lab, droverd):
    hosta = droverd('hosta', on=lab.hosta, settings=RANGE)
    droverd('hostb', on=lab.hostb, settings={'serial_console': {
        'enabled': True, 'port_range': '17000:17002',
        'proxyclient_address': lab.hostb.address}})
    guest = boot(lab, hosta, disk=None, devices=SERIAL)
    # Somebody has the first one there.
    other = lab.hostb.popen('python3', '-c', '''
import socket
s = socket.create_server(("%s", 17000))
s.accept()''' % lab.hostb.address)
    try:
        wait_for(lambda: ':17000 ' in lab.hostb.run('ss', '-Hltn').stdout, 20,
                 'port 17000 is taken')
        assert serial_of(lab.hosta, guest) == ('127.0.0.1', '17000')
        hosta.ctl('migrate', guest.name, 'hostb', '--watch', timeout=120)
    finally:
        other.kill()
        other.wait()
    assert_alive_on(guest, 'hostb')
    # Two are reserved, as it is the guest's second serial port.
    assert serial_of(lab.hostb, guest) == (lab.hostb.address, '17002')
    assert lab.hostb.address + ':17002 ' in lab.hostb.run('ss', '-Hltn').stdout


@pytest.mark.parametrize('shared', ['off', 'on'])
def test_19_serial_ports_are_free_after_a_rollback(client, droverd, world,
                                                   shared):  # noqa: F811
    """Each guest on its way has its own.  (Fake hypervisor.)"""
    hosta = droverd('hosta', settings=fake(world, 3, **RANGE))
    hostb = droverd('hostb', settings=fake(world, **RANGE))
    hosta.ctl('fake', 'shared', shared)
    one, two, three = (
        nova.instance(guest['uuid'], 'hosta', guest['name'], system_metadata={
            'image_hw_serial_port_count': '1'})
        for guest in guests(hosta).values())

    def prepare(instance):
        data = call(client, 'hostb', 'check_can_live_migrate_destination',
                    instance=instance, block_migration=None,
                    disk_over_commit=None, migration=None, limits=None)
        answer = call(client, 'hostb', 'pre_live_migration',
                      instance=instance, disk=None, migrate_data=data)
        return answer

    def ports(answer):
        return answer['nova_object.data']['serial_listen_ports']

    first = prepare(one)
    assert ports(first) == [17000]
    hostb.restart()  # The journal has it.
    assert ports(prepare(two)) == [17001]
    with pytest.raises(Exception) as refused:
        prepare(three)
    assert 'no 1 ports are free' in str(refused.value)
    client.cast('rollback_live_migration_at_destination', _server='hostb',
                _version='6.0', _context=nova.context(), instance=one,
                destroy_disks=False, migrate_data=first)
    wait_for(lambda: len(hostb.ctl_json('op', 'list')) == 1, 30,
             'the first is taken back')
    assert ports(prepare(three)) == [17000]


# ---- A config drive -------------------------------------------------------------

@pytest.mark.libvirt
def test_16_config_drive_that_can_be_written_is_copied(lab,
                                                       pair):  # noqa: F811
    """One of vfat; an iso9660 has to be there, see test_checks.py."""
    hosta, _ = pair
    guest = boot(lab, hosta)
    path = guest.directory / 'disk.config'
    content = b'what a guest is told at its start'.ljust(1 << 20, b'.')
    drives = [host.outer_instances / guest.uuid / 'disk.config'
              for host in (lab.hosta, lab.hostb)]
    drives[0].write_bytes(content)
    lab.hosta.virsh('attach-disk', guest.name, path, 'vdb', '--live',
                    '--subdriver', 'raw')
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate', '--watch',
              timeout=120)
    assert_alive_on(guest, 'hostb')
    assert drives[1].read_bytes() == content
    assert not drives[0].exists()
    assert re.search(r"source file='%s'" % path,
                     lab.hostb.virsh('dumpxml', guest.name))


# ---- Where to, and with what definition ---------------------------------------------

@pytest.mark.libvirt
def test_23_uris_are_those_that_are_configured(lab, droverd):
    """Of both ways an address is asked for, or a whole URI; others are in
    tests/unit/test_migrate_uri.c."""
    hosta = droverd('hosta', on=lab.hosta)
    hostb = droverd('hostb', on=lab.hostb, settings={'libvirt': {
        'live_migration_inbound_addr': lab.hostb.address,
        'live_migration_uri': 'qemu+tcp://%s:16509/system'}})
    guest = boot(lab, hosta, disk=None)
    hosta.ctl('migrate', guest.name, 'hostb', '--watch', timeout=120)
    assert_alive_on(guest, 'hostb')
    assert "transfer to 'qemu+tcp://%s/system' starts" % lab.hostb.address \
        in hosta.log_text()
    wait_adopted(hostb, guest)
    hostb.ctl('migrate', guest.name, 'hosta', '--watch', timeout=120)
    assert_alive_on(guest, 'hosta')
    assert "transfer to 'qemu+tcp://hosta:16509/system' starts" \
        in hostb.log_text()


@pytest.mark.libvirt
def test_24_graphics_are_the_destinations_and_addresses_stay(lab, droverd):
    hosta = droverd('hosta', on=lab.hosta)
    droverd('hostb', on=lab.hostb,
            settings={'vnc': {'server_listen': lab.hostb.address}})
    guest = boot(lab, hosta, devices='''
    <graphics type='vnc' autoport='yes' listen='127.0.0.1'/>
    <interface type='user'><model type='virtio'/></interface>''')

    def seen(host):
        xml = host.virsh('dumpxml', guest.name)
        return (set(re.findall(r"<listen type='address' address='(\S+)'/>",
                               xml)),
                sorted(re.findall(r"<address type='pci'[^>]*>", xml)),
                re.findall(r'<mac address=[^>]*>', xml))

    listen, addresses, macs = seen(lab.hosta)
    assert listen == {'127.0.0.1'} and len(addresses) >= 3 and len(macs) == 1
    hosta.ctl('migrate', guest.name, 'hostb', '--block-migrate', '--watch',
              timeout=120)
    assert_alive_on(guest, 'hostb')
    assert seen(lab.hostb) == ({lab.hostb.address}, addresses, macs)
    # Of the definition that it starts from, too.
    xml = lab.hostb.virsh('dumpxml', guest.name, '--inactive')
    assert "address='%s'" % lab.hostb.address in xml
