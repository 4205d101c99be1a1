"""What ends a migration early or otherwise, beside what nova-compute does.

Each way is gone with nova-compute on both hosts, and with droverd on one or
both; then everything that was told and everything that is left is compared.
What may differ is in EXPLAINED, with the reason.
"""

import collections
import os
import re
import signal

import pytest

from cloud.api import Gone
from cloud.pings import wait_alive
from cloud.story import Story, differences
from harness.wait import wait_for

SLOW = {'libvirt': {'live_migration_bandwidth': 2}}
SLOW_POSTCOPY = {'libvirt': {'live_migration_bandwidth': 2,
                             'live_migration_permit_post_copy': True}}
TEAMS = {'drover to nova': ('drover', 'nova'),
         'nova to drover': ('nova', 'drover'),
         'drover to drover': ('drover', 'drover')}
# Ways, teams and lines (expressions), and why that may be.
EXPLAINED = [
    ('', 'drover to', r'^members told pre_live_migration: has args\..*'
     r'_obj_source_vif\.profile\.migrating_to$',
     'the ports are asked for after they have been told where they go'),
    ('', 'drover to', r'^changes, host[ab]: (DELETE neutron '
     r'/v2\.0/ports/{port}/bindings/hostb -> (204|404)|'
     r'PUT neutron /v2\.0/ports/{port} -> 200): ',
     'the source takes back itself what the destination may not be able to; '
     'what is left is compared with the bindings'),
    ('', '', r'^requests: (has|lacks) controller asked compute\.host[ab]: '
     r'external_instance_event ',
     'when Neutron tells of a port is its own affair, and when the record says '
     'that the guest moved decides who is told'),
    ('preparation fails', 'to drover', r'^members told pre_live_migration: '
     r'lacks args\.',
     'what a request that failed was told is not all told again'),
    ('force', 'to drover', r'^requests: has hostb asked compute\.hosta: '
     r'migration_is_open ',
     'a destination that hears nothing for a while asks; nova-compute does not '
     'know the question, which is an answer'),
    ('abort preparing', 'drover to', r'^(actions|told by|requests|changes)',
     'it is turned back before the destination is asked for anything; '
     'nova-compute tells the end of such an abort twice'),
]


# ---- Ways -------------------------------------------------------------------

ENDS = ('completed', 'failed', 'error', 'cancelled')


def running(cloud, server, status='running'):
    number = cloud.api.migrate(server, 'hostb', block=True)

    def is_there():
        now = cloud.api.migration(server, number)['status']
        if now in ENDS:
            raise Gone('the migration is over: ' + now)
        return now == status
    wait_for(is_there, 120, 'the migration is ' + status, interval=0.1)
    return number


def abort(cloud, server, number):
    cloud.api.nova('DELETE', '/servers/%s/migrations/%d' % (server, number))


def ends(cloud, server, number):
    """Waits until it is over, however: what the records say is compared."""
    wait_for(lambda: cloud.api.migration(server, number)['status'] in ENDS,
             300, 'the migration is over', interval=0.1)
    cloud.api.wait_status(server, 'ACTIVE')
    return number


def abort_running(cloud, server, _):
    number = running(cloud, server)
    abort(cloud, server, number)
    return ends(cloud, server, number)


def abort_queued(cloud, server, other):
    first = running(cloud, other)
    number = running(cloud, server, 'queued')
    abort(cloud, server, number)
    ends(cloud, server, number)
    abort(cloud, other, first)
    ends(cloud, other, first)
    return number


def abort_preparing(cloud, server, _):
    """The destination waits for an image that does not come."""
    host = cloud.agents['hostb'].host
    base = cloud.places.instances('block') / '_base'
    away = base.with_name('_base.away')
    host.run('mv', base, away)
    glance = cloud.services['glance'].pid
    os.killpg(glance, signal.SIGSTOP)
    try:
        number = running(cloud, server, 'preparing')
        abort(cloud, server, number)
    finally:
        os.killpg(glance, signal.SIGCONT)
    ends(cloud, server, number)
    host.run('rm', '-rf', base)
    host.run('mv', away, base)
    return number


def port_refused(cloud, server, _):
    host = cloud.agents['hostb'].host
    host.run('nft', 'add table inet refused; add chain inet refused in '
             '{ type filter hook input priority 0; }; add rule inet refused '
             'in tcp dport 16509 reject with tcp reset')
    try:
        number = cloud.api.migrate(server, 'hostb', block=True)
        return ends(cloud, server, number)
    finally:
        host.run('nft', 'delete table inet refused')


def preparation_fails(cloud, server, _):
    """Something else has the instance's directory there."""
    host = cloud.agents['hostb'].host
    directory = cloud.places.instances('block') / server
    host.run('mkdir', directory)
    try:
        number = cloud.api.migrate(server, 'hostb', block=True)
        return ends(cloud, server, number)
    finally:
        host.run('rmdir', directory, check=False)


def force(cloud, server, _):
    number = running(cloud, server)
    cloud.api.nova('POST', '/servers/%s/migrations/%d/action' % (
        server, number), {'force_complete': None})
    return ends(cloud, server, number)


# In this order; those that are forced have their guest at the other host.
WAYS = (('port refused', port_refused, SLOW),
        ('preparation fails', preparation_fails, SLOW),
        ('abort queued', abort_queued, SLOW),
        ('abort running', abort_running, SLOW),
        ('force by pause', force, SLOW),
        ('force by post-copy', force, SLOW_POSTCOPY),
        ('abort preparing', abort_preparing, SLOW_POSTCOPY))


# ---- Teams ------------------------------------------------------------------

def told(cloud, trace, server, number, like=None):
    """The story, once nothing is added to it any more."""
    last = []

    def is_whole():
        story = Story(cloud, trace, server, number)
        is_last = bool(last) and last[-1].seen == story.seen
        last.append(story)
        return is_last and (like is None or len(last) > 4 or
                            not differences(like, story))
    wait_for(is_whole, 60, 'nothing is added to the story', interval=2)
    return last[-1]


class Stories:
    """Of one team after the other, each way."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.known = {}

    def of(self, team, kinds, hosts):
        if team in self.known:
            return self.known[team]
        reference = self.known.get('nova to nova', {})
        found = self.known[team] = collections.defaultdict(
            lambda: AssertionError('it did not come so far'))
        cloud, more = self.cloud, None
        trace = cloud.trace()
        hosts(storage='block')
        booted = [cloud.boot(name, 'hosta') for name in ('vm1', 'vm2', 'vm3')]
        for _, address in booted:
            wait_alive(address, 600)
        servers = [server for server, _ in booted]
        for way, function, settings in WAYS:
            if settings is not more:
                more = settings
                for host, kind in zip(('hosta', 'hostb'), kinds):
                    cloud.agents[host].become(kind, 'block', more)
            trace.mark()
            like = reference.get(way)
            try:
                number = function(cloud, servers[0], servers[1])
                found[way] = told(cloud, trace, servers[0], number, like
                                  if isinstance(like, Story) else None)
            except AssertionError as error:
                print('%s, %s: %s' % (team, way, error))
                # That of its own test; the others go on.
                found[way] = error
            if cloud.api.server(servers[0])['OS-EXT-SRV-ATTR:host'] != 'hosta':
                servers.append(servers.pop(0))
        return found


@pytest.fixture(scope='module')
def stories(the_cloud):
    return Stories(the_cloud)


def why(way, team, line):
    for ways, teams, lines, reason in EXPLAINED:
        if re.search(ways, way) and re.search(teams, team) and re.search(
                lines, line):
            return reason
    return None


CASES = [(team, way) for team in TEAMS for way, _, _ in WAYS]


@pytest.mark.parametrize('team, way', CASES)
def test_ends_as_with_nova_compute(cloud, hosts, stories, team, way):
    reference = stories.of('nova to nova', ('nova', 'nova'), hosts)[way]
    story = stories.of(team, TEAMS[team], hosts)[way]
    for each in reference, story:
        if isinstance(each, AssertionError):
            raise each
    unexplained = []
    for line in differences(reference, story):
        reason = why(way, team, line)
        print('%s\n    %s' % (line, reason or 'NOT EXPLAINED'))
        if not reason:
            unexplained.append(line)
    assert not unexplained, '\n'.join(unexplained)
