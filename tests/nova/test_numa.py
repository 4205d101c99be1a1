"""Guests with a NUMA node, for which a destination claims one of its own.

(Row 8 of the acceptance points.  Those with CPUs of their own are in
tests/functional: in a cloud on two CPUs nothing would be left for the rest.)
"""

import os
import re

import pytest

from cloud.moves import MORE, OTHER, Guest, check_events, check_told
from test_mixed import DIRECTIONS

FLAVOR = {'id': '8', 'name': 'node', 'ram': 128, 'disk': 1, 'vcpus': 1}


@pytest.fixture(scope='module')
def guest(the_cloud):
    api = the_cloud.api
    the_cloud.clear()
    for agent in the_cloud.agents.values():
        agent.become('nova', 'shared', MORE['nova'])
    api.nova('POST', '/flavors', {'flavor': FLAVOR})
    api.nova('POST', '/flavors/%s/os-extra_specs' % FLAVOR['id'],
             {'extra_specs': {'hw:numa_nodes': '1'}})
    yield Guest(the_cloud, 'shared', network=False, flavor=FLAVOR['id'])
    the_cloud.clear()


def tuned(cloud, host, server):
    """Where libvirt lets its CPU and its memory be."""
    xml = cloud.lab.hosts[host].virsh('dumpxml', server)
    return [re.findall(pattern, xml) for pattern in (
        r"<vcpupin vcpu='0' cpuset='([^']*)'/>",
        r"<emulatorpin cpuset='([^']*)'/>",
        r"<memory mode='strict' nodeset='([^']*)'/>",
        r"<memnode cellid='0' mode='strict' nodeset='([^']*)'/>")]


def recorded(api, server):
    """What Nova's API says of its nodes."""
    return api.nova('GET', '/servers/%s/topology' % server,
                    version='2.78')['nodes']


def told(trace):
    """What the source was told of where the guest goes."""
    data = trace.requests('live_migration')[0]['args']['migrate_data']
    return data['nova_object.data']['dst_numa_info']['nova_object.data']


@pytest.mark.parametrize('direction', DIRECTIONS, ids=' '.join)
def test_08_guest_has_a_node_where_it_comes(the_cloud, guest, direction):
    source, dest = guest.host, OTHER[guest.host]
    for host, kind in zip((source, dest), direction):
        the_cloud.agents[host].become(kind, 'shared', MORE[kind])
    before = recorded(the_cloud.api, guest.server)
    places = tuned(the_cloud, source, guest.server)
    assert all(places), places
    trace = the_cloud.trace()
    the_cloud.api.wait_migration(guest.server, guest.move())
    guest.check_is_at(dest)
    check_told(trace, source, dest)
    check_events(the_cloud.api, guest.server, source, dest)
    # Both hosts are the same machine.
    assert tuned(the_cloud, dest, guest.server) == places
    assert recorded(the_cloud.api, guest.server) == before
    cpus = list(range(os.cpu_count()))
    assert told(trace) == {'cpu_pins': {'0': cpus}, 'cell_pins': {'0': [0]},
                           'emulator_pins': cpus}
