"""droverd in the place of nova-compute, and back: the cloud goes on."""

import pytest

from cloud.pings import Pings, wait_alive


@pytest.fixture
def in_place(cloud, hosts):
    """droverd at hosta, where nova-compute had started a guest."""
    hosts(storage='block')
    server, address = cloud.boot('vm1', 'hosta')
    wait_alive(address)
    return server, address


def record_of(cloud, host):
    found = cloud.api.compute_services()[host]
    return {name: found[name]
            for name in ('id', 'host', 'zone', 'status', 'state', 'binary')}


def test_droverd_stands_in_and_gives_way(cloud, in_place, tmp_path):
    server, address = in_place
    agent = cloud.agents['hosta']
    service = record_of(cloud, 'hosta')
    version = cloud.rows("SELECT version FROM services WHERE host = 'hosta'")
    node = cloud.rows("SELECT uuid FROM compute_nodes WHERE host = 'hosta'")
    with Pings(address, tmp_path / 'pings') as pings:
        agent.become('drover')
        assert record_of(cloud, 'hosta') == service
        assert cloud.rows(
            "SELECT version FROM services WHERE host = 'hosta'") == version
        assert cloud.rows("SELECT uuid FROM compute_nodes "
                          "WHERE host = 'hosta' AND deleted = 0") == node
        assert cloud.api.wait_status(server, 'ACTIVE')
        agent.become('nova')
        assert record_of(cloud, 'hosta') == service
        pings.wait_more()
    # Neither has touched the guest.
    assert pings.longest_gap() < 5
    cloud.api.wait_status(server, 'ACTIVE')
    cloud.api.delete(server)


def test_what_users_do_daily_works_with_droverd(cloud, in_place, trace):
    server, address = in_place
    api = cloud.api
    cloud.agents['hosta'].become('drover')
    trace.mark()
    for action, arguments, status, event in (
            ('pause', None, 'PAUSED', 'pause'),
            ('unpause', None, 'ACTIVE', 'unpause'),
            ('suspend', None, 'SUSPENDED', 'suspend'),
            ('resume', None, 'ACTIVE', 'resume'),
            ('reboot', {'type': 'HARD'}, 'ACTIVE', 'reboot'),
            ('os-stop', None, 'SHUTOFF', 'power_off'),
            ('os-start', None, 'ACTIVE', 'power_on')):
        api.action(server, action, arguments)
        trace.wait_notification('instance.%s.end' % event, 150)
        api.wait_status(server, status, 150)
        assert trace.notifications('compute.instance.%s.start' % event)
    wait_alive(address)
    console = api.action_json(server, 'os-getConsoleOutput', {'length': 5})
    assert 'tick' in console['output']
    actions = api.nova('GET', '/servers/%s/os-instance-actions' % server)[
        'instanceActions']
    assert [each['action'] for each in actions] == [
        'start', 'stop', 'reboot', 'resume', 'suspend', 'unpause', 'pause',
        'create']
    for each in actions:
        shown = api.nova('GET', '/servers/%s/os-instance-actions/%s' % (
            server, each['request_id']))['instanceAction']
        assert [(event['result'], event['event'])
                for event in shown['events']], each
        assert {event['result'] for event in shown['events']} == {'Success'}
    cloud.agents['hosta'].become('nova')
    api.delete(server)
