"""What a destination has ready before a guest comes, on real hosts and, where
that says as much, on the fake hypervisor.

Numbers in names are those of the acceptance points.
"""

import re

import pytest

from harness import nova
from harness.wait import wait_for
from test_agent import (call, check, fake, guests, wait_idle, wait_status,
                        world)  # noqa: F401 (a fixture)
from test_migration import assert_alive_on, boot

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
