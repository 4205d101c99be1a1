"""What Neutron tells an agent of instances, and who waits for it.

Numbers in names: 13 is an acceptance point of a host in nova-compute's place,
20 one of a migration.
"""

import json
import uuid as uuids

import pytest

from harness import nova as novas
from harness.conductor import _conductor, conductor  # noqa: F401
from harness.oslo import Raise
from harness.rest_cloud import RestCloud
from harness.wait import wait_for
from test_nova_records import control, guest_of, nova  # noqa: F401

PLUGGED = 'network-vif-plugged'


@pytest.fixture
def cloud():
    with RestCloud() as made:
        yield made


def event(instance, name, tag, status='completed'):
    return novas.primitive('InstanceExternalEvent', '1.5', {
        'instance_uuid': instance['nova_object.data']['uuid'], 'name': name,
        'status': status, 'tag': tag})


def tell(client, host, instance, name, tag, status='completed'):
    client.cast('external_instance_event', _server=host, _version='6.0',
                _context=novas.context(is_admin=True), instances=[instance],
                events=[event(instance, name, tag, status)])


def wait_log(agent, *texts, deadline=30):
    for text in texts:
        wait_for(lambda: text in agent.log_text(), deadline,
                 'the log says: ' + text)


class Bench:
    """A source whose destination is played by the test."""

    def __init__(self, client, control, nova, cloud,  # noqa: F811
                 oslo_server, hybrid=True, **settings):
        self.client, self.control, self.cloud = client, control, cloud
        self.source = nova('hosta', guests=1, **cloud.settings('neutron'), **settings)
        self.dest = 'dest-' + uuids.uuid4().hex[:6]
        self.uuid = guest_of(self.source)
        self.port = cloud.add_port(self.uuid, self.source.host)
        self.instance = control.create_instance(
            self.uuid, self.source.host, task_state='migrating', memory=64)
        self.instance['nova_object.data']['info_cache'] = novas.primitive(
            'InstanceInfoCache', '1.5', {
                'instance_uuid': self.uuid, 'network_info': json.dumps([
                    {'id': self.port, 'address': 'fa:16:3e:00:00:01',
                     'type': 'ovs', 'details': {'ovs_hybrid_plug': hybrid},
                     'network': {'id': 'n1', 'bridge': 'br-int'}}])})
        self.on_pre = lambda: None
        self.waits = True
        self.server = oslo_server(
            'compute', self.dest,
            {'pre_live_migration': self._pre, '*': lambda *_: None},
            endpoints=((None, '6.1'),))

    def _pre(self, _context, args):
        self.on_pre()
        data = args['migrate_data']
        data['nova_object.data'].update({'wait_for_vif_plugged': self.waits,
                                         'bdms': []})
        return data

    def migrate(self):
        self.control.begin(self.uuid)
        self.migration = self.control.create_migration(self.instance, self.dest)
        data = novas.primitive('LibvirtLiveMigrateData', '1.10', {
            'block_migration': False, 'is_shared_instance_path': True,
            'is_shared_block_storage': True, 'is_volume_backed': False,
            'filename': 'tmpabc', 'image_type': 'default',
            'instance_relative_path': self.uuid,
            'graphics_listen_addr_vnc': '127.0.0.1',
            'graphics_listen_addr_spice': '127.0.0.1',
            'serial_listen_addr': None, 'vifs': []})
        self.client.cast(
            'live_migration', _server=self.source.host, _version='6.0',
            _context=self.control.context, instance=self.instance,
            dest=self.dest, block_migration=False, migration=self.migration,
            migrate_data=data)

    def tell(self, status='completed', name=PLUGGED, tag=None):
        tell(self.client, self.source.host, self.instance, name,
             tag or self.port, status)

    def begin(self):
        """Until it waits for its port."""
        self.migrate()
        self.wait_told('1 ports are still to be plugged')

    def wait_status(self, *wanted):
        self.control.wait_status(
            self.migration['nova_object.data']['uuid'], *wanted)

    def wait_told(self, what, deadline=30):
        wait_log(self.source, what, deadline=deadline)

    @property
    def is_waiting(self):
        """Of the migration that may not go on."""
        return 'migration is running' not in self.source.log_text()


@pytest.fixture
def bench(client, control, nova, cloud, oslo_server):  # noqa: F811
    return lambda **settings: Bench(client, control, nova, cloud, oslo_server,
                                    **settings)


def test_13_20_event_right_after_its_registration_is_not_lost(bench):
    """It is there before the destination has answered."""
    made = bench()

    def on_pre():
        made.tell()
        # Until it was handled: a call on the same queue comes after it.
        made.client.call('ping', arg='x', _server=made.source.host,
                         _namespace='baseapi', _version='1.0')

    made.on_pre = on_pre
    made.migrate()
    made.wait_told('migration is running')
    made.wait_status('failed')  # There is no such host.
    assert 'nobody waits' not in made.source.log_text()


def test_20_guest_waits_until_its_port_is_plugged(bench):
    made = bench()
    made.begin()
    # Of another port, and of another kind: nobody's.
    made.tell(tag=str(uuids.uuid4()))
    made.tell(name='network-vif-unplugged')
    wait_for(lambda: made.source.log_text().count('nobody waits') == 2, 30,
             'both were handled')
    assert made.is_waiting
    made.tell()
    made.wait_told('migration is running')


def test_20_only_ports_that_are_told_of_are_waited_for(bench):
    made = bench(hybrid=False)
    made.migrate()
    made.wait_told('migration is running')
    assert 'still to be plugged' not in made.source.log_text()


def test_20_failed_plugging_ends_the_migration(bench):
    made = bench()
    made.begin()
    made.tell(status='failed')
    made.wait_status('failed')
    assert made.is_waiting
    assert made.control.instance(made.uuid)['task_state'] is None
    assert 'Neutron reported failure' in made.source.log_text()


def test_20_failed_plugging_may_be_allowed(bench):
    made = bench(vif_plugging_is_fatal=False)
    made.begin()
    made.tell(status='failed')
    made.wait_told('migration is running')
    made.wait_told('Neutron reported failure with')


def test_20_silence_ends_the_migration(bench):
    made = bench(vif_plugging_timeout=1)
    made.migrate()
    made.wait_status('failed')
    assert made.is_waiting
    assert 'no event \'%s-%s\'' % (PLUGGED, made.port) in (
        made.source.log_text())


def test_20_silence_may_be_allowed(bench):
    made = bench(vif_plugging_timeout=1, vif_plugging_is_fatal=False)
    made.migrate()
    made.wait_told('migration is running')
    made.wait_told('is migrated all the same')


def test_20_destination_may_say_that_nothing_is_waited_for(bench):
    made = bench()
    made.waits = False
    made.migrate()
    made.wait_told('migration is running')


def test_abort_ends_the_wait(bench):
    made = bench()
    made.begin()
    made.client.cast(
        'live_migration_abort', _server=made.source.host, _version='6.0',
        _context=made.control.context, instance=made.instance,
        migration_id=made.migration['nova_object.data']['id'])
    made.wait_status('cancelled')
    assert made.is_waiting


def test_agent_that_stops_ends_its_waits(bench):
    made = bench()
    made.begin()
    made.source.stop()  # Long before the wait would be over.
    made.source.start()
    made.wait_status('failed')


def test_events_that_nobody_waits_for_are_told(
        client, control, nova):  # noqa: F811
    agent = nova('hosta')
    here = control.create_instance(str(uuids.uuid4()), agent.host,
                                   task_state=None)
    moves = novas.instance(str(uuids.uuid4()), agent.host)
    tag = str(uuids.uuid4())
    tell(client, agent.host, here, PLUGGED, tag)
    tell(client, agent.host, moves, 'network-vif-unplugged', tag)
    tell(client, agent.host, here, 'volume-extended', tag)
    tell(client, agent.host, here, 'power-update', 'POWER_ON')
    tell(client, agent.host, here, 'accelerator-request-bound', tag)
    client.cast('external_instance_event', _server=agent.host, _version='6.0',
                instances=[], events=[event(here, PLUGGED, tag)])
    wait_log(agent, 'is of no instance that came with it',
             'accelerator-request-bound-' + tag,
             'volume \'%s\' was extended' % tag, 'POWER_ON')
    levels = {line.split('|')[3]: line for line in
              agent.log_text().splitlines() if 'nobody waits' in line}
    assert PLUGGED in agent.log_text()
    assert set(levels) == {'WARN', 'INFO'}
    assert 'network-vif-unplugged' in levels['INFO']


# ---- What is recorded of ports ------------------------------------------------

class Recorded:
    """An instance of an agent, with one port."""

    def __init__(self, client, control, nova, cloud, **settings):  # noqa: F811
        self.client, self.control, self.cloud = client, control, cloud
        self.agent = nova('hosta', **cloud.settings('neutron'), **settings)
        self.uuid = str(uuids.uuid4())
        self.port = cloud.add_port(self.uuid, self.agent.host)
        self.instance = control.create_instance(self.uuid, self.agent.host,
                                                task_state=None)

    @property
    def info(self):
        return json.loads(self.control.row('instance_info_caches',
                                           instance_uuid=self.uuid)
                          ['network_info'])

    def wait_ports(self, *ports):
        wait_for(lambda: [vif['id'] for vif in self.info] == list(ports), 30,
                 lambda: 'ports are %s' % self.info)

    def tell(self, name, port):
        tell(self.client, self.agent.host, self.instance, name, port)


def test_13_network_changed_updates_what_is_recorded(
        client, control, nova, cloud):  # noqa: F811
    made = Recorded(client, control, nova, cloud)
    made.tell('network-changed', made.port)
    made.wait_ports(made.port)
    vif, = made.info
    assert vif['address'] == cloud.ports[made.port]['mac_address']
    assert vif['network']['bridge'] == 'br-int'
    subnet, = vif['network']['subnets']
    assert [ip['address'] for ip in subnet['ips']] == ['10.7.0.9']

    # A floating address comes, and goes; a second port, too.
    cloud.floatingips['f'] = {'id': 'f', 'port_id': made.port,
                              'fixed_ip_address': '10.7.0.9',
                              'floating_ip_address': '198.51.100.9'}
    second = cloud.add_port(made.uuid, made.agent.host)
    made.tell('network-changed', made.port)
    wait_for(lambda: '198.51.100.9' in json.dumps(made.info), 30,
             'the floating address is recorded')
    made.tell('network-changed', second)
    made.wait_ports(made.port, second)
    del cloud.ports[made.port]
    made.tell('network-vif-deleted', made.port)
    made.wait_ports(second)
    assert 'its interface stays in the guest' in made.agent.log_text()


def test_changes_of_one_instance_do_not_overtake_each_other(
        client, control, nova, cloud):  # noqa: F811
    made = Recorded(client, control, nova, cloud)
    ports = [cloud.add_port(made.uuid, made.agent.host) for _ in range(4)]
    made.tell('network-changed', made.port)
    made.wait_ports(made.port, *ports)
    for port in ports:
        cloud.ports[port]['mac_address'] = 'fa:16:3e:ff:ff:ff'
        made.tell('network-changed', port)
    wait_for(lambda: [vif['address'] for vif in made.info[1:]] ==
             ['fa:16:3e:ff:ff:ff'] * 4, 30, lambda: str(made.info))


def test_neutron_that_fails_is_asked_again_another_time(
        client, control, nova, cloud):  # noqa: F811
    made = Recorded(client, control, nova, cloud)
    cloud.refuse['GET', 'networks'] = 500
    made.tell('network-changed', made.port)
    wait_log(made.agent, 'what is recorded of its ports stays as it is')
    assert made.info == []
    cloud.refuse.clear()
    made.tell('network-changed', made.port)
    made.wait_ports(made.port)


def test_what_was_missed_is_mended_in_time(
        client, control, nova, cloud):  # noqa: F811
    """Both what is recorded and what Neutron was not told."""
    made = Recorded(client, control, nova, cloud,
                    heal_instance_info_cache_interval=1)
    other = control.create_instance(str(uuids.uuid4()), made.agent.host,
                                    task_state=None)['nova_object.data']['uuid']
    lost = cloud.add_port(other, 'elsewhere')
    made.wait_ports(made.port)
    wait_for(lambda: cloud.ports[lost]['binding:host_id'] == made.agent.host,
             30, 'the port is bound again')
    assert cloud.ports[lost]['device_owner'] == 'compute:nova'
    # Nothing is written while nothing changes.
    assert not cloud.asked('PUT', made.port)
    looks = 'ports.device_id=' + made.uuid
    before = len(cloud.asked('GET', looks))
    wait_for(lambda: len(cloud.asked('GET', looks)) > before + 2, 30,
             'it is compared again')
    assert made.agent.log_text().count(
        'inst=%s|what is recorded of its ports is written' % made.uuid) == 1
