"""What a move changes in Neutron, in Placement and with schedulers.

The test does the conductor's part: it binds the port to the destination, too,
and moves the allocations.  Numbers in names are those of the acceptance points
of a migration.
"""

import json

import pytest

from harness import nova as novas
from harness.conductor import _conductor, conductor  # noqa: F401
from harness.raw import opened
from harness.rest_cloud import RestCloud
from harness.wait import wait_for
from test_nova_records import (control, guest_of, nova,  # noqa: F401
                               pair)
from test_nova_resources import node

NEEDED = {'VCPU': 1, 'MEMORY_MB': 64}
DETAILS = {'port_filter': True, 'ovs_hybrid_plug': False}


class Bench:
    """Two hosts, and on the first a guest with a port."""

    def __init__(self, control, nova, cloud):  # noqa: F811
        self.control, self.cloud = control, cloud
        settings = cloud.settings('neutron', 'placement')
        self.hosta = nova('hosta', guests=1, **settings)
        self.hostb = nova('hostb', **settings)
        self.uuid = guest_of(self.hosta)
        control.create_instance(self.uuid, self.hosta.host, task_state=None,
                                memory=64)
        self.port = cloud.add_port(self.uuid, self.hosta.host,
                                   **{'binding:vif_details': DETAILS})
        self.vif = {
            'id': self.port, 'address': 'fa:16:3e:00:00:01', 'type': 'ovs',
            'details': DETAILS, 'devname': 'tap' + self.port[:11],
            'network': {'id': 'n1', 'bridge': 'br-int', 'subnets': [],
                        'meta': {}}}
        control.conductor.write(
            'UPDATE instance_info_caches SET network_info = ? '
            'WHERE instance_uuid = ?', json.dumps([self.vif]), self.uuid)
        cloud.allocations[self.uuid, self.provider(self.hosta)] = NEEDED

    def provider(self, host):
        return node(self.control, host.host)['uuid']

    def _arrange(self, migration, data):
        there = self.hostb.host
        self.cloud.bindings[self.port, there] = {
            'host': there, 'status': 'INACTIVE', 'vif_type': 'ovs'}
        self.cloud.allocations.clear()
        self.cloud.allocations[migration, self.provider(self.hosta)] = NEEDED
        self.cloud.allocations[self.uuid, self.provider(self.hostb)] = NEEDED
        data['vifs'] = [novas.primitive('VIFMigrateData', '1.0', {
            'port_id': self.port, 'vnic_type': 'normal', 'vif_type': 'ovs',
            'vif_details_json': json.dumps(DETAILS), 'profile_json': '{}',
            'host': there, 'source_vif': json.dumps(self.vif)})]

    def migrate(self):
        self.move = self.control.migrate(self.uuid, self.hostb.host,
                                         arrange=self._arrange)

    def wait_status(self, *wanted):
        self.control.wait_status(self.move, *wanted)

    @property
    def mark(self):
        """Where the port is said to go."""
        return self.cloud.ports[self.port]['binding:profile'].get(
            'migrating_to')

    def wait_all_at(self, host):
        """What belongs to the guest, and there is nothing else."""
        wait_for(lambda: self.control.instance(self.uuid)['task_state'] is None,
                 60, 'the instance is free')
        row = self.control.instance(self.uuid)
        assert (row['host'], row['vm_state']) == (host.host, 'active')
        wait_for(lambda: set(self.cloud.bindings) == {(self.port, host.host)},
                 60, lambda: 'bindings are %s' % self.cloud.bindings)
        assert self.cloud.bindings[self.port, host.host]['status'] == 'ACTIVE'
        assert self.cloud.ports[self.port]['binding:host_id'] == host.host
        wait_for(lambda: self.mark is None, 30, 'the port goes nowhere')
        wait_for(lambda: self.cloud.allocations == {
            (self.uuid, self.provider(host)): NEEDED}, 60,
            lambda: 'allocations are %s' % self.cloud.allocations)


@pytest.fixture
def bench(control, nova):  # noqa: F811
    with RestCloud() as cloud:
        yield Bench(control, nova, cloud)


def test_18_36_39_port_and_allocations_go_with_the_guest(bench):
    bench.hosta.ctl('fake', 'hang', 'transfer')
    bench.migrate()
    bench.wait_status('running')
    assert bench.mark == bench.hostb.host
    assert bench.cloud.bindings[bench.port, bench.hosta.host]['status'] == (
        'ACTIVE')
    bench.hosta.ctl('fake', 'release')
    bench.wait_status('completed')
    bench.wait_all_at(bench.hostb)


def test_18_39_port_and_allocations_stay_with_the_guest(bench):
    bench.hosta.ctl('fake', 'fail', 'migrate')
    bench.migrate()
    bench.wait_status('failed')
    assert [body for body in bench.cloud.asked('PUT', bench.port)
            if 'migrating_to' in json.dumps(body)]
    bench.wait_all_at(bench.hosta)


def test_43_activation_that_fails_three_times(bench):
    bench.cloud.refuse['PUT', '/activate'] = [500, 500, 500]
    bench.migrate()
    bench.wait_status('completed', 'failed', 'error')
    bench.wait_all_at(bench.hostb)
    assert bench.control.status(bench.move) == 'completed'
    assert bench.cloud.refuse == {('PUT', '/activate'): []}


def test_40_schedulers_and_actions_know_where_it_is(
        control, pair, raw):  # noqa: F811
    hosta, hostb, uuid = pair
    raw.channel.exchange_declare('scheduler_fanout', 'fanout', durable=False,
                                 auto_delete=True)
    queue = raw.queue(auto_delete=False, exclusive=True)
    raw.channel.queue_bind(queue, 'scheduler_fanout')
    control.add_console_token(uuid, hosta.host)
    control.wait_status(control.migrate(uuid, hostb.host), 'completed')
    assert not control.rows('console_auth_tokens', instance_uuid=uuid)

    def is_told(method, host):
        def is_it(message):
            seen = opened(message.body)
            return (seen['method'] == method and
                    seen['args']['host_name'] == host and
                    uuid in str(seen['args']))
        return is_it

    told = raw.read_until(queue, is_told('update_instance_info', hostb.host),
                          60)
    if not any(map(is_told('delete_instance_info', hosta.host), told)):
        raw.read_until(queue, is_told('delete_instance_info', hosta.host), 60)
    wait_for(lambda: set(control.events(uuid)) >= {
        ('compute_live_migration', 'Success'),
        ('compute_post_live_migration_at_destination', 'Success')}, 30,
        lambda: control.events(uuid))
    assert {result for _, result in control.events(uuid)} == {'Success'}
