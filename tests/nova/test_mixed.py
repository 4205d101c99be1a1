"""Guests that go from one kind of agent to the other, and what is so then.

One guest with a port and one without move from host to host, so that few have
to be made: only nova-compute makes them.
"""

import pytest

from cloud.moves import MORE, OTHER, Guest, check_events, check_told
from cloud.pings import Pings, wait_alive

# In this order each needs one other agent only.
DIRECTIONS = [('nova', 'nova'), ('nova', 'drover'), ('drover', 'nova'),
              ('drover', 'drover')]
CASES = [(storage, source, dest, port) for storage in ('shared', 'block')
         for source, dest in DIRECTIONS for port in ('port', 'no port')]


class Guests:
    """Those of one storage, as long as tests leave them as they should be."""

    def __init__(self, cloud):
        self._cloud = cloud
        self._storage = None
        self._guests = {}

    def get(self, storage, source, dest, port):
        """The guest, at a host of kind 'source', the other of kind 'dest'."""
        cloud = self._cloud
        if storage != self._storage or not self._are_well():
            cloud.clear()
            for agent in cloud.agents.values():
                agent.become('nova', storage, MORE['nova'])
            self._storage = storage
            self._guests = {
                name: Guest(cloud, storage, network=name == 'port')
                for name in ('port', 'no port')}
        guest = self._guests[port]
        cloud.agents[guest.host].become(source, storage, MORE[source])
        cloud.agents[OTHER[guest.host]].become(dest, storage, MORE[dest])
        return guest

    def _are_well(self):
        servers = {each['id'] for each in self._cloud.api.servers()}
        return all(
            guest.server in servers and guest.shown()['status'] == 'ACTIVE' and
            guest.shown()['OS-EXT-STS:task_state'] is None
            for guest in self._guests.values())


@pytest.fixture(scope='module')
def guests(the_cloud):
    return Guests(the_cloud)


@pytest.mark.parametrize('case', CASES, ids=' '.join)
def test_guest_moves(the_cloud, guests, tmp_path, case):
    the_cloud.check()
    guest = guests.get(*case)
    source, dest = guest.host, OTHER[guest.host]
    trace = the_cloud.trace()
    if guest.network:
        wait_alive(guest.address)
        with Pings(guest.address, tmp_path / 'pings') as pings:
            seconds = the_cloud.api.wait_migration(guest.server, guest.move())
            alive = guest.answers(pings)
        print('%s: %.2f s, silent for %.3f s%s' % (
            ' '.join(case), seconds, pings.longest_gap(),
            '' if alive else ', its kernel died of QEMU'))
        if alive:
            # Only moved, not cut off until somebody mends its network.
            assert pings.longest_gap() < 30
        else:
            guest.revive()
    else:
        the_cloud.api.wait_migration(guest.server, guest.move())
    guest.check_is_at(dest)
    check_told(trace, source, dest)
    check_events(the_cloud.api, guest.server, source, dest)
    the_cloud.check()
