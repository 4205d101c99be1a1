"""droverd is killed in the middle of a migration, and started again."""

import pytest

from harness.wait import wait_for

from cloud.moves import OTHER, Guest

# So that there is a middle; the guest has some 60 MiB to send.
SLOW = {'libvirt': {'live_migration_bandwidth': 5}}
ENDS = ('completed', 'failed', 'error', 'cancelled')


def wait_transfer(agent, server):
    """Waits until a guest's memory is on its way."""
    wait_for(lambda: 'Unbounded' in agent.host.virsh(
        'domjobinfo', server, check=False), 180, 'the guest is sent',
             interval=0.1)


def wait_end(api, server, number):
    """How a migration ended; its server is never in error meanwhile."""
    def ended():
        assert api.server(server)['status'] != 'ERROR'
        status = api.migration(server, number)['status']
        return status in ENDS and status
    return wait_for(ended, 400, lambda: 'the migration ends (%s)' % (
        api.migration(server, number)['status']), interval=0.2)


@pytest.mark.parametrize('killed', ['source', 'destination'])
def test_what_is_said_of_the_guest_is_true(cloud, hosts, trace, killed):
    hosts(storage='block')
    guest = Guest(cloud, 'block')
    for agent in cloud.agents.values():
        agent.become('drover', more=SLOW)
    number = guest.move()
    wait_transfer(cloud.agents['hosta'], guest.server)
    agent = cloud.agents['hosta' if killed == 'source' else 'hostb']
    agent.kill()
    agent.start_drover()
    status = wait_end(cloud.api, guest.server, number)
    assert status in ('completed', 'failed')
    host = 'hostb' if status == 'completed' else 'hosta'
    print('killed %s: %s' % (killed, status))
    guest.check_is_at(host)
    assert not [each for each in trace.notifications('compute.instance.update')
                if each['payload']['state'] == 'error']

    # Nothing of it stands in the way of the next.
    for each in cloud.agents.values():
        each.become('drover', more={})
    cloud.api.wait_migration(guest.server, guest.move())
    guest.check_is_at(OTHER[host])
