"""Migrations in a cloud, by what went over its bus: a measurement of
tests/bench/nova."""

import collections
import json
import pathlib
import statistics

from cloud.moves import MORE, OTHER, Guest
from cloud.pings import Pings, wait_alive
from harness.wait import wait_for
from place import table

NAMES = {'nova': 'nova-compute', 'drover': 'droverd'}
ENDS = ('completed', 'failed', 'error', 'cancelled')
CONDUCTOR = ('object_action', 'object_class_action_versions',
             'object_backport_versions')
# What stands still in the first of two moments until the second.
STEPS = (('checks', 'live_migrate_instance', 'live_migration'),
         ('to prepare', 'live_migration', 'pre_live_migration'),
         ('prepare', 'pre_live_migration', 'prepared'),
         ('transfer', 'prepared', 'post_live_migration_at_destination'),
         ('post', 'post_live_migration_at_destination', 'posted'),
         ('the rest', 'posted', 'completed'))


class Move:
    """One migration, from the user's request on.

    outcome   its status at the end
    silent_s  how long the guest was silent
    moments   {RPC or what it ended in: seconds since the epoch}
    calls     of nova-conductor
    size      bytes on the bus
    """

    def __init__(self, outcome, silent_s, trace):
        self.outcome = outcome
        self.silent_s = silent_s
        self.moments = {}
        self.calls = self.size = 0
        self._replies = {}
        for record in self._own(trace):
            self._note(record)

    @staticmethod
    def _own(trace):
        """The messages of its request, and the answers to them."""
        messages = trace.messages()
        request = next(
            each['oslo_message']['_context_request_id'] for each in messages
            if each.get('oslo_message', {}).get('method') ==
            'live_migrate_instance')
        ids = set()
        for record in messages:
            inner = record.get('oslo_message', {})
            if inner.get('_context_request_id') == request:
                ids.add(inner.get('_msg_id'))
                yield record
            elif inner.get('_msg_id') in ids - {None}:
                yield record

    def _note(self, record):
        inner = record['oslo_message']
        method = inner.get('method')
        self.size += len(json.dumps(record['body'], separators=(',', ':')))
        self.calls += method in CONDUCTOR
        if method is None:
            done = self._replies.get(inner.get('_msg_id'))
            if done and inner.get('ending'):
                self.moments[done] = record['ts']
            return
        self.moments.setdefault(method, record['ts'])
        for call, done in (('pre_live_migration', 'prepared'),
                           ('post_live_migration_at_destination', 'posted')):
            if method == call:
                self._replies[inner['_msg_id']] = done
        if method == 'object_action' and inner['args'][
                'objmethod'] == 'save' and inner['args']['objinst'][
                    'nova_object.data'].get('status') in ENDS:
            self.moments['completed'] = record['ts']

    @property
    def ended(self):
        """Itself, once its end is known; the conductor's is not on the bus."""
        return self if 'completed' in self.moments or \
            self.outcome != 'completed' else None

    def seconds(self, start, end):
        if start in self.moments and end in self.moments:
            return self.moments[end] - self.moments[start]
        return float('nan')


def status_at_end(api, server, number):
    wait_for(lambda: api.migration(server, number)['status'] in ENDS, 600,
             'the migration ends', interval=0.5)
    return api.migration(server, number)['status']


def measure(cloud, guest, path):
    """Moves it to the other host."""
    trace = cloud.trace()
    wait_alive(guest.address)
    dest = OTHER[guest.host]
    with Pings(guest.address, path) as pings:
        outcome = status_at_end(cloud.api, guest.server, guest.move())
        if outcome == 'completed' and not guest.answers(pings):
            outcome = 'guest died'  # Not the agents' doing, see there.
    if outcome == 'completed':
        guest.check_is_at(dest)
    # The recorder is a little behind.
    return wait_for(lambda: Move(outcome, pings.longest_gap(), trace).ended,
                    60, 'the end is in the trace', interval=0.5)


def median(moves, number):
    """Of those that completed."""
    numbers = [number(each) for each in moves if each.outcome == 'completed']
    return statistics.median(numbers) if numbers else float('nan')


def stage(cloud, storage, kinds):
    """A new guest, its host and the other of these kinds."""
    cloud.clear()
    for agent in cloud.agents.values():
        agent.become('nova', storage, MORE['nova'])
    guest = Guest(cloud, storage)
    for agent, kind in zip(cloud.agents.values(), kinds):
        agent.become(kind, storage, MORE[kind])
    return guest


def n_completed(moves):
    return sum(each.outcome == 'completed' for each in moves)


def moves(cloud, wanted, storage):
    """Back and forth, between each two kinds of agents."""
    results = collections.defaultdict(list)
    path = pathlib.Path(cloud.places.top) / 'pings'
    for kinds in ('nova', 'nova'), ('drover', 'nova'), ('drover', 'drover'):
        guest = None
        n = wanted.same if len(set(kinds)) == 1 else wanted.migrations
        # Back and forth, until so many went well each way; or more than twice
        # as many tries were not enough.
        directions = {kinds, kinds[::-1]}
        tries = 2 * len(directions) * n
        while tries and min(n_completed(results[each])
                            for each in directions) < n:
            tries -= 1
            guest = guest or stage(cloud, storage, kinds)
            source = guest.host
            move = measure(cloud, guest, path)
            results[cloud.agents[source].kind,
                    cloud.agents[OTHER[source]].kind].append(move)
            if move.outcome != 'completed':
                guest = None
    cloud.clear()
    print_moves(storage, results)


def print_moves(storage, results):
    nova = results['nova', 'nova']

    def total(move):
        return move.seconds('live_migrate_instance', 'completed')

    rows, steps = [], []
    for kinds, ours in results.items():
        name = '%s to %s' % tuple(NAMES[kind] for kind in kinds)
        seconds, theirs = median(ours, total), median(nova, total)
        outcomes = collections.Counter(each.outcome for each in ours)
        rows.append((
            name, ', '.join('%d %s' % (n, what)
                            for what, n in outcomes.items()),
            '%.2f' % seconds, '%.2f' % (seconds / theirs),
            '%.2f' % median(ours, lambda each: each.silent_s),
            '%.0f' % median(ours, lambda each: each.calls),
            '%.0f' % (median(ours, lambda each: each.size) / 1024)))
        steps.append((name, *('%.2f' % median(
            ours, lambda each, step=step: each.seconds(*step[1:]))
                              for step in STEPS)))
    table('Migrations, %s: medians, from the request to "completed"' % storage,
          ('', 'outcomes', 's', 'of nova', 's silent', 'conductor calls',
           'KiB on the bus'), rows)
    table('Where the time went, %s: s' % storage,
          ('', *(step[0] for step in STEPS)), steps)
