"""The record of a host's resources, with a real nova-conductor."""

import json
import uuid as uuids

import pytest

from harness import nova as novas
from harness.conductor import _conductor, conductor  # noqa: F401
from harness.raw import opened
from harness.rest_cloud import RestCloud
from harness.wait import wait_for
from test_nova_records import control, nova  # noqa: F401

# A round each second, so that there are several in a test.
OFTEN = {'update_resources_interval': 1}
LAST_OF_ROUND = 'get_in_progress_and_error'


def node(control, host):  # noqa: F811
    return control.row('compute_nodes', host=host, deleted=0)


def wait_node(control, host, deadline=30, **wanted):  # noqa: F811
    def is_so():
        row = node(control, host)
        return row and all(row[name] == value
                           for name, value in wanted.items())

    wait_for(is_so, deadline, lambda: '%s of %s' % (
        wanted, dict(node(control, host) or {})))
    return node(control, host)


@pytest.fixture
def calls(raw):
    """What an agent asks the conductor, from here on: (name, method)."""
    queue = raw.queue(auto_delete=False, exclusive=True)
    raw.channel.queue_bind(queue, 'nova', 'conductor')

    def read(rounds):
        """Of so many rounds."""
        told = []
        while sum(method == LAST_OF_ROUND for _, method in told) < rounds:
            for message in raw.read(queue, deadline=60):
                args = opened(message.body)['args']
                told.append((args.get('objname') or
                             args.get('objinst', {}).get('nova_object.name'),
                             args.get('objmethod')))
        return told

    return read


def test_08_node_is_created_and_the_same_after_a_restart(
        control, nova):  # noqa: F811
    agent = nova(guests=1)
    row = wait_node(control, agent.host, memory_mb_used=512)
    assert row['vcpus'] == 32
    assert row['memory_mb'] == 256 << 10
    assert row['free_ram_mb'] == (256 << 10) - 512
    assert row['local_gb'] == 1000
    assert row['hypervisor_type'] == 'fake'
    assert row['hypervisor_hostname'] == agent.host
    assert row['cpu_allocation_ratio'] == 16.0
    assert row['mapped'] == 0
    assert json.loads(row['stats']) == {'failed_builds': '0'}
    assert json.loads(row['supported_instances']) == [
        ['x86_64', 'kvm', 'hvm']]
    assert json.loads(row['cpu_info'])['topology'] == {
        'cells': 1, 'sockets': 1, 'cores': 32, 'threads': 1}
    cell, = json.loads(row['numa_topology'])['nova_object.data']['cells']
    assert cell['nova_object.data']['cpuset'] == list(range(32))

    agent.stop()
    agent.start()
    assert control.rows('compute_nodes', host=agent.host) == [
        node(control, agent.host)]
    assert node(control, agent.host)['uuid'] == row['uuid']


def test_nothing_is_saved_when_nothing_changed(control, calls,  # noqa: F811
                                               nova):  # noqa: F811
    agent = nova(**OFTEN)
    wait_node(control, agent.host, memory_mb_used=512)
    told = calls(rounds=4)
    assert told.count(('ComputeNode', 'create')) == 1
    # That of the round in which it was created, and none of the others.
    assert told.count(('ComputeNode', 'save')) == 1
    assert told.count(('PciDeviceList', 'get_by_compute_node')) == 1

    agent.stop()
    agent.start()
    told = calls(rounds=3)
    assert told.count(('PciDeviceList', 'get_by_compute_node')) == 1
    assert ('ComputeNode', 'create') not in told
    assert ('ComputeNode', 'save') not in told


def test_instances_and_migrations_are_counted(control, nova):  # noqa: F811
    agent = nova(**OFTEN)
    wait_node(control, agent.host, memory_mb_used=512)
    here, there = str(uuids.uuid4()), str(uuids.uuid4())
    control.create_instance(here, agent.host, vm_state='active',
                            task_state=None, memory=128,
                            numa_topology=None)
    row = wait_node(control, agent.host, memory_mb_used=512 + 128)
    assert row['vcpus_used'] == 1
    assert row['running_vms'] == 1
    assert row['current_workload'] == 0
    assert json.loads(row['stats'])['num_vm_active'] == '1'

    # One that comes counts from the moment its migration is recorded.
    guest = control.create_instance(there, 'elsewhere', vm_state='active',
                                    task_state='migrating', memory=1000)
    migration = control.create_migration(guest, agent.host, status='running',
                                         dest_node=agent.host)
    row = wait_node(control, agent.host, memory_mb_used=512 + 128 + 1000)
    assert row['vcpus_used'] == 2
    assert row['running_vms'] == 1

    migration['nova_object.data']['status'] = 'failed'
    migration['nova_object.changes'] = ['status']
    control.act(migration, 'save')
    wait_node(control, agent.host, memory_mb_used=512 + 128)


def test_conductor_that_is_away_is_waited_for(client, control, conductor,
                                              nova):  # noqa: F811
    agent = nova(**OFTEN)
    row = wait_node(control, agent.host, memory_mb_used=512)
    conductor.kill()
    wait_for(lambda: "what this host has can't be told" in
             agent.log.read_text(), 60, 'a failed round')
    conductor.start()
    conductor.wait_ready(client)
    wait_for(lambda: 'the cloud knows again' in agent.log.read_text(), 60,
             'a round that went well')
    assert node(control, agent.host)['uuid'] == row['uuid']


def test_record_that_was_deleted_is_made_again(control, conductor,
                                               nova):  # noqa: F811
    agent = nova(**OFTEN)
    row = wait_node(control, agent.host, memory_mb_used=512)
    conductor.write('UPDATE compute_nodes SET deleted = id WHERE id = ?',
                    row['id'])
    # It is found out when there is something to save.
    control.create_instance(str(uuids.uuid4()), agent.host, vm_state='active',
                            task_state=None, memory=128)
    again = wait_node(control, agent.host, memory_mb_used=512 + 128)
    assert again['uuid'] != row['uuid']


def test_records_of_former_names_go_unless_they_are_in_use(
        control, conductor, nova):  # noqa: F811
    agent = nova(start=False)

    def make(name):
        values = {'hypervisor_hostname': name, 'host': agent.host, 'vcpus': 1,
                  'memory_mb': 1, 'local_gb': 1, 'vcpus_used': 0,
                  'memory_mb_used': 0, 'local_gb_used': 0,
                  'hypervisor_type': 'QEMU', 'hypervisor_version': 1,
                  'cpu_info': '', 'host_ip': '10.0.0.1', 'stats': {},
                  'supported_hv_specs': [], 'cpu_allocation_ratio': 16.0,
                  'ram_allocation_ratio': 1.5, 'disk_allocation_ratio': 1.0}
        control.act(novas.primitive('ComputeNode', '1.19', values,
                                    sorted(values)), 'create')

    make('unused')
    make('used')
    control.create_instance(str(uuids.uuid4()), agent.host, node='used',
                            vm_state='stopped', task_state=None)
    agent.start()
    wait_for(lambda: [row['hypervisor_hostname'] for row in control.rows(
        'compute_nodes', host=agent.host, deleted=0)] ==
        ['used', agent.host], 30, 'the unused one to go')
    assert "'unused' of this host removed" in agent.log.read_text()
    wait_for(lambda: "recorded for 'used'" in agent.log.read_text(), 30,
             'a word about the used one')


def test_allocations_that_nobody_needs_are_given_back(
        control, conductor, nova):  # noqa: F811
    """And no others: what is not certain stays."""
    with RestCloud() as cloud:
        agent = nova(**OFTEN, **cloud.settings('placement'))
        provider = wait_node(control, agent.host)['uuid']
        wait_for(lambda: provider in cloud.providers, 30, 'the provider')

        def allocate(consumer):
            cloud.allocations[consumer, provider] = {'VCPU': 1}
            return consumer

        def instance(host, **more):
            return control.create_instance(
                str(uuids.uuid4()), host, task_state=None, **more)

        def move(of, **more):
            made = control.create_migration(of, 'elsewhere', **more)
            return allocate(made['nova_object.data']['uuid'])

        here, away, gone = (instance(agent.host), instance('elsewhere'),
                            instance(agent.host))
        moved = instance('elsewhere')
        moved['nova_object.data'].update(host=agent.host, node=agent.host)
        kept = {allocate(here['nova_object.data']['uuid']),
                allocate(away['nova_object.data']['uuid']),
                allocate(str(uuids.uuid4())),
                move(here, status='running'),
                move(moved, status='completed',
                     migration_type='evacuation')}
        lost = {allocate(gone['nova_object.data']['uuid']),
                move(moved, status='completed'),
                move(here, status='failed')}
        wait_for(lambda: 'has been moved to \'elsewhere\'' in
                 agent.log_text(), 30, 'an audit')
        conductor.write('UPDATE instances SET deleted = id WHERE id = ?',
                        gone['nova_object.data']['id'])
        wait_for(lambda: not lost & {who for who, _ in cloud.allocations}, 30,
                 lambda: str(cloud.allocations))
        looks = len(cloud.asked('GET', '^/resource_providers/.*/allocations'))
        wait_for(lambda: len(cloud.asked(
            'GET', '^/resource_providers/.*/allocations')) > looks + 2, 30,
            'it is looked at again')
        assert {who for who, _ in cloud.allocations} == kept
        # What stays is told once.
        assert agent.log_text().count('has been moved to') == 1
        assert agent.log_text().count('is not found in the database') == 1
