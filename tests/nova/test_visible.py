"""What the cloud's users and operators see of a host with droverd: what they
saw of it with nova-compute, or why not.
"""

import json

import pytest
from keystoneauth1 import exceptions

from harness.wait import wait_for

from cloud.events import Converter
from cloud.moves import AT_DESTINATION, AT_SOURCE, MORE, Guest
from cloud.pings import wait_alive

# Of the facts below, what is another with droverd, and why.
EXPLAINED = {
    'hypervisor uptime': 'time goes by',
    'service updated_at': 'it goes on reporting',
}

# Traits that droverd takes away, as it does not offer what they say yet.
LOST_TRAITS = {
    'COMPUTE_ACCELERATORS': 'no accelerators are attached',
    'COMPUTE_DEVICE_TAGGING': 'guests are not built',
    'COMPUTE_NET_ATTACH_INTERFACE': 'ports are not attached to guests',
    'COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG': 'the same',
    'COMPUTE_RESCUE_BFV': 'guests are not rescued',
    'COMPUTE_SOCKET_PCI_NUMA_AFFINITY': 'PCI devices are not given to guests',
    'COMPUTE_TRUSTED_CERTS': 'images are not fetched',
    'COMPUTE_VOLUME_ATTACH_WITH_TAG': 'volumes are not attached to guests',
    'COMPUTE_VOLUME_EXTEND': 'volumes of guests are not extended',
}


def provider_of(api, host):
    return api.hypervisors()[host]['id']


def traits_of(api, host):
    return set(api.placement('GET', '/resource_providers/%s/traits' %
                             provider_of(api, host))['traits'])


def facts_of(api, host):
    """All that is told of a host: {'what field': value}."""
    provider = provider_of(api, host)
    old = next(each for each in api.nova(
        'GET', '/os-hypervisors/detail', version='2.87')['hypervisors']
        if each['service']['host'] == host)
    # A set, whose order is nobody's.
    old['cpu_info']['features'] = sorted(old['cpu_info']['features'])
    parts = {
        'service': api.compute_services()[host],
        'hypervisor': {**old, **api.hypervisors()[host]},
        'provider': api.placement(
            'GET', '/resource_providers/' + provider, version='1.13'),
        'inventory': api.placement(
            'GET', '/resource_providers/%s/inventories' % provider)[
                'inventories'],
        'aggregates': api.placement(
            'GET', '/resource_providers/%s/aggregates' % provider)}
    return {'%s %s' % (what, field): value
            for what, fields in parts.items()
            for field, value in fields.items()
            if field not in ('generation', 'resource_provider_generation')}


def rounds(trace):
    """How often the host has looked at what it has."""
    return len([request for request in trace.requests(
        'object_class_action_versions', routing_key='conductor')
        if request['args']['objmethod'] == 'get_in_progress_and_error'])


def test_03_04_host_is_shown_as_by_nova_compute(cloud, hosts, trace):
    hosts()
    api, agent = cloud.api, cloud.agents['hosta']
    agent.stop()  # So that what is there is the newest of both.
    agent.start_nova()
    theirs, their_traits = facts_of(api, 'hosta'), traits_of(api, 'hosta')
    agent.become('drover', more={
        'DEFAULT': {'update_resources_interval': 2}})
    ours, our_traits = facts_of(api, 'hosta'), traits_of(api, 'hosta')

    print('%-28s %-36s %s' % ('', 'nova-compute', 'droverd'))
    for name in sorted({*theirs, *ours}):
        their, our = (json.dumps(facts.get(name)) for facts in (theirs, ours))
        print('%-28s %-36.36s %-36.36s %s' % (
            name, their, our, '' if their == our else '<- ' + EXPLAINED.get(
                name, 'NOT EXPLAINED')))
    for name in sorted(their_traits - our_traits):
        print('%-44s only nova-compute: %s' % (
            name, LOST_TRAITS.get(name, 'NOT EXPLAINED')))
    differing = {name for name in {*theirs, *ours}
                 if theirs.get(name) != ours.get(name)}
    assert differing <= set(EXPLAINED)
    assert their_traits - our_traits == set(LOST_TRAITS)
    assert not our_traits - their_traits
    # The inventories are those of the same provider, and nothing is written
    # anew.
    trace.mark()
    wait_for(lambda: rounds(trace) >= 3, 120, 'three rounds', interval=0.5)
    assert not [call for call in trace.calls(service='placement')
                if call['method'] != 'GET' and call['from'] == 'hosta']


def test_11_disabled_and_enabled_at_once(cloud, hosts):
    hosts(hosta='drover')
    api = cloud.api
    service = api.compute_services()['hosta']['id']
    for status, has_trait in ('disabled', True), ('enabled', False):
        api.nova('PUT', '/os-services/' + service, {'status': status})
        # The API asks the host before it answers.
        assert api.compute_services()['hosta']['status'] == status
        assert ('COMPUTE_STATUS_DISABLED' in traits_of(api, 'hosta')) \
            == has_trait


@pytest.fixture
def guest(cloud, hosts):
    """One that nova-compute has started, at hosta where droverd now is."""
    hosts(storage='block')
    server, address = cloud.boot('vm1', 'hosta')
    wait_alive(address)
    api = cloud.api
    theirs = {version: api.nova('GET', '/servers/%s/diagnostics' % server,
                                version=version)
              for version in ('2.47', '2.48')}
    cloud.agents['hosta'].become('drover')
    return server, theirs


def keys_of(value):
    """All names in it, and how they are nested."""
    if isinstance(value, dict):
        return {key: keys_of(each) for key, each in value.items()}
    return [keys_of(each) for each in value] if isinstance(value, list) \
        else None


def files_of(agent, server):
    return server in agent.host.run(
        'ls', str(agent.sections()['DEFAULT']['instances_path'])).stdout


def test_10_19_guest_is_looked_at_stopped_and_deleted(cloud, guest, trace):
    server, theirs = guest
    api, agent = cloud.api, cloud.agents['hosta']
    for version, their in theirs.items():
        our = api.nova('GET', '/servers/%s/diagnostics' % server,
                       version=version)
        assert keys_of(our) == keys_of(their)
    uptime = api.hypervisors()['hosta']['uptime']
    assert ' up ' in uptime and 'load average: ' in uptime

    # From outside, as if from within.
    agent.host.virsh('destroy', server)
    api.wait_status(server, 'SHUTOFF', 120)
    wait_for(lambda: api.nova(
        'GET', '/servers/%s/os-instance-actions' % server)[
            'instanceActions'][0]['action'] == 'stop', 30, 'it is an action')
    api.action(server, 'os-start')
    api.wait_status(server, 'ACTIVE', 120)

    trace.mark()
    assert files_of(agent, server)
    api.delete(server)
    trace.wait_notification('compute.instance.delete.end')
    kinds = [each['event_type'] for each in trace.notifications()
             if each['event_type'].startswith('compute.instance.')
             and not each['event_type'].endswith('.update')]
    assert kinds == ['compute.instance.' + what for what in (
        'delete.start', 'shutdown.start', 'shutdown.end', 'delete.end')]
    assert not files_of(agent, server)
    assert server not in agent.host.virsh('list', '--all', '--uuid')
    assert not api.neutron('GET', '/ports?device_id=' + server)['ports']
    assert not api.placement('GET', '/allocations/' + server)['allocations']
    row, = cloud.rows("SELECT vm_state, deleted FROM instances "
                      "WHERE uuid = '%s'" % server)
    assert row['vm_state'] == 'deleted' and row['deleted'] != '0'

    # Put back, nova-compute finds nothing to complain of.
    size = agent.nova.log.stat().st_size
    agent.become('nova')
    with open(agent.nova.log, 'rb') as log:
        log.seek(size)
        text = log.read().decode()
    assert not [line for line in text.splitlines()
                if ' WARNING nova.compute' in line or ' ERROR ' in line]


def test_build_on_a_host_with_droverd_is_refused_cleanly(cloud, hosts):
    hosts(hosta='drover')
    api = cloud.api
    server = api.nova('POST', '/servers', {'server': {
        'name': 'vm1', 'imageRef': cloud.image, 'flavorRef': cloud.flavor,
        'networks': [{'uuid': cloud.network}], 'host': 'hosta'}})[
            'server']['id']
    api.wait_status(server, 'ERROR')
    seen = wait_for(lambda: api.server(server).get('fault'), 60,
                    'its user is told')
    assert "'build_and_run_instance' is not served" in seen['message']
    wait_for(lambda: not api.placement(
        'GET', '/allocations/' + server)['allocations'], 60,
        'nothing is allotted to it')
    assert not api.neutron('GET', '/ports?device_id=' + server)['ports']
    assert server not in cloud.agents['hosta'].host.virsh(
        'list', '--all', '--uuid')
    api.delete(server)
    with pytest.raises(exceptions.NotFound):
        api.server(server)


ACTIONS = (('pause', None, 'PAUSED', 'pause'),
           ('unpause', None, 'ACTIVE', 'unpause'),
           ('os-stop', None, 'SHUTOFF', 'power_off'),
           ('os-start', None, 'ACTIVE', 'power_on'),
           ('reboot', {'type': 'HARD'}, 'ACTIVE', 'reboot'))


def events_of(cloud, server, trace):
    """What Ceilometer makes of all that is done to a server."""
    trace.mark()
    for action, arguments, status, event in ACTIONS:
        cloud.api.action(server, action, arguments)
        trace.wait_notification('compute.instance.%s.end' % event, 150)
        cloud.api.wait_status(server, status, 150)
    converter = Converter()
    return [converter.event(each) for each in trace.notifications()
            if each['publisher_id'] == 'compute.hosta']


def assert_same(ours, theirs):
    assert [kind for kind, _ in ours] == [kind for kind, _ in theirs]
    assert [(kind, name, their.get(name), our.get(name))
            for (kind, our), (_, their) in zip(ours, theirs)
            for name in {*our, *their}
            if our.get(name) != their.get(name)] == []


def test_ceilometer_makes_the_same_events(cloud, hosts, trace):
    hosts(storage='block')
    server, address = cloud.boot('vm1', 'hosta')
    wait_alive(address)
    theirs = events_of(cloud, server, trace)
    cloud.agents['hosta'].become('drover')
    ours = events_of(cloud, server, trace)
    assert len(theirs) == 2 * len(ACTIONS)
    assert_same(ours, theirs)
    cloud.api.delete(server)


def events_of_move(cloud, guest, trace):
    """What it makes of a migration from hosta to hostb, by who tells."""
    trace.mark()
    cloud.api.wait_migration(guest.server, guest.move())
    guest.settled()
    for what in '_post', 'post.dest':
        trace.wait_notification(
            'compute.instance.live_migration.%s.end' % what, 150)
    converter = Converter()
    return {host: [converter.event(each) for each in trace.notifications()
                   if each['publisher_id'] == 'compute.' + host]
            for host in ('hosta', 'hostb')}


def test_ceilometer_makes_the_same_events_of_a_migration(cloud, hosts, trace):
    hosts(storage='block', more=MORE['nova'])
    guest = Guest(cloud, 'block', network=False)
    theirs = events_of_move(cloud, guest, trace)
    cloud.api.wait_migration(guest.server, guest.move())
    guest.check_is_at('hosta')
    for agent in cloud.agents.values():
        agent.become('drover', 'block')
    ours = events_of_move(cloud, guest, trace)
    assert len(theirs['hosta']) == len(AT_SOURCE)
    assert len(theirs['hostb']) == len(AT_DESTINATION)
    for host in theirs:
        assert_same(ours[host], theirs[host])
    cloud.api.delete(guest.server)
