"""What tests/bench/soak counted and measured, and the tables of it."""

import collections
import os
import pathlib
import statistics

from place import memory_of, table

# Beyond these an agent has grown, from the middle of the time to its end.  It
# keeps 200 migrations that are over: before there were so many it grows.
MORE_MEMORY_MIB = 0.5
MORE_DESCRIPTORS = 3
MORE_STATE_MIB = 1.0

Sample = collections.namedtuple('Sample', 'when memory descriptors state')


class Figures:
    def __init__(self, team):
        self.team = team
        self.samples = collections.defaultdict(list)  # By host.
        self.outcomes = collections.Counter()
        self.acts = collections.Counter()
        self.settled_s = []
        self.n_rounds = 0

    def sample(self):
        for host, agent in self.team.agents.items():
            self.samples[host].append(Sample(
                self.team.history.age(), memory_of(agent.pid)[1],
                len(os.listdir('/proc/%d/fd' % agent.pid)),
                sum(path.stat().st_size for path in
                    pathlib.Path(agent.state_path).glob('state.db*'))
                / 2 ** 20))

    def count(self, moves, acts, settled_s):
        self.n_rounds += 1
        self.settled_s.append(settled_s)
        self.outcomes.update(move.status or 'not begun' for move in moves)
        self.acts.update(one.name for one in acts)

    def at(self, host, share):
        """Median of what was seen around that share of the time."""
        samples = self.samples[host]
        span = samples[-1].when
        near = [one for one in samples
                if abs(one.when / span - share) <= 0.05] or samples[-1:]
        return [statistics.median(values) for values in list(zip(*near))[1:]]

    def is_flat(self, host):
        early, late = self.at(host, 0.5), self.at(host, 1)
        return all(b - a <= limit for a, b, limit in zip(
            early, late, (MORE_MEMORY_MIB, MORE_DESCRIPTORS,
                          MORE_STATE_MIB)))

    def print(self, n_contradictions):
        team = self.team
        name = team.name
        migrations = sum(self.outcomes.values()) - self.outcomes['not begun']
        rows = [(outcome, count) for outcome, count
                in sorted(self.outcomes.items())]
        rows += [('in all', migrations), ('rounds', self.n_rounds),
                 ('contradictions', n_contradictions)]
        if name == 'real':
            rows.append(('guests that broke down by themselves',
                         team.n_broken))
        table('%s guests, seed %s: migrations by outcome' % (
            name, team.history.seed), ('outcome', 'number'), rows,
            'dust settled after %.1f s (median), %.1f s at most' % (
                statistics.median(self.settled_s), max(self.settled_s))
            if self.settled_s else None)
        table('%s guests: acts' % name, ('act', 'number'),
              sorted(self.acts.items()))
        if self.n_rounds > 1:
            self._print_samples()

    def _print_samples(self):
        rows = []
        for host in self.samples:
            ended = '' if host in self.team.steady else ', ended now and then'
            for number, (what, form) in enumerate((
                    ('private dirty MiB', '%.2f'), ('descriptors', '%.0f'),
                    ('state.db and its log, MiB', '%.2f'))):
                rows.append((host + ended, what, *(
                    form % self.at(host, share)[number]
                    for share in (0.1, 0.5, 1))))
        table('%s guests: what the agents hold' % self.team.name,
              ('agent', 'of', 'at a tenth', 'middle', 'end'), rows,
              'flat from the middle on: ' + ', '.join('%s %s' % (
                  host, 'yes' if self.is_flat(host) else 'NO')
                  for host in self.samples))
