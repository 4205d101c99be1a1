"""The cloud itself: it comes up, and nova-compute does what it does."""

import pathlib

import pytest

from cloud.pings import Pings, wait_alive


def test_cloud_comes_up(cloud):
    services = cloud.api.compute_services()
    assert {name: (each['state'], each['status'])
            for name, each in services.items()} == {
                'hosta': ('up', 'enabled'), 'hostb': ('up', 'enabled')}
    assert sorted(cloud.api.hypervisors()) == ['hosta', 'hostb']


@pytest.mark.parametrize('storage', ['shared', 'block'])
def test_nova_compute_moves_a_guest(cloud, hosts, trace, tmp_path, storage):
    hosts(storage=storage)
    server, address = cloud.boot('vm1', 'hosta')
    wait_alive(address)
    trace.mark()
    with Pings(address, pathlib.Path(tmp_path) / 'pings') as pings:
        number = cloud.api.migrate(server, 'hostb', storage == 'block')
        seconds = cloud.api.wait_migration(server, number)
        pings.wait_more()
    cloud.api.wait_status(server, 'ACTIVE')
    assert cloud.api.server(server)['OS-EXT-SRV-ATTR:host'] == 'hostb'
    print('%s: %.2f s, silent for %.3f s' % (
        storage, seconds, pings.longest_gap()))
    assert trace.requests('live_migration')
    assert trace.calls(service='neutron', method='PUT')
    trace.wait_notification('instance.live_migration_post.end')
