"""What has to hold once the dust has settled, for tests/bench/soak."""

import datetime
import json
import re

from harness.wait import wait_for
from soak_team import Contradiction

SETTLED_S = 240
ENDED = ('completed', 'failed', 'cancelled', 'error')
UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
ENDS = {'completed': 'compute.instance.live_migration._post.end',
        'back': 'compute.instance.live_migration._rollback.end'}


class Move:
    """One guest that is to go elsewhere, and what its caller was told."""

    def __init__(self, team, guest, source, dest, bandwidth):
        self.guest, self.source, self.dest = guest, source, dest
        self.bandwidth = bandwidth
        self._before = set()
        self._words = ('migrate', guest, dest, *team.words) + (
            ('--bandwidth', str(bandwidth)) if bandwidth else ())
        self._path = team.directory / ('move-' + guest)
        self._process = None
        self.status = None

    def __str__(self):
        return '%s %s -> %s%s' % (
            self.guest, self.source, self.dest,
            ', %d MiB/s' % self.bandwidth if self.bandwidth else '')

    def begin(self, team):
        self._before = {one['uuid'] for one in self._known(team)}
        with open(self._path, 'wb') as said:
            self._process = team.ask(team.agents[self.source], *self._words,
                                     stdout=said, stderr=said)

    def _known(self, team):
        return team.agents[self.source].ctl_json('migration', 'list',
                                                 self.guest)

    def said(self):
        """What droverctl said, once it has."""
        if self._process.poll() is None:
            return None
        return self._path.read_text(errors='replace').strip()

    def home(self):
        return self.dest if self.status == 'completed' else self.source

    def problems(self, team):
        """What the caller was told, and what the records say of it."""
        said = self.said()
        if said is None:
            return ['droverctl still waits for %s' % self.guest]
        new = [one for one in self._known(team)
               if one['uuid'] not in self._before]
        if len(new) > 1:
            raise Contradiction('%s was moved %d times for one request: %s' % (
                self.guest, len(new), new))
        self.status = new[0]['status'] if new else None
        told = UUID.fullmatch(said)
        if told and (not new or new[0]['uuid'] != said):
            return ['%s: was told of %s, known is %s' % (
                self.guest, said, [one['uuid'] for one in new])]
        if new and self.status not in ENDED:
            return ['%s is %s' % (self.guest, self.status)]
        return []


def look_twice(team, moves):
    """At any time: a guest that has been seen to run at its destination does
    not run at its source after that."""
    for move in moves:
        seen = team.running_at(move.guest, (move.dest, move.source))
        if len(seen) > 1:
            raise Contradiction('%s runs at %s' % (move.guest, seen))


def instances_of(agent):
    """{name: [instance]} of all hosts, as this agent is answered."""
    found = {}
    for one in agent.ctl_json('instance', 'list'):
        found.setdefault(one['name'], []).append(one)
    return found


def agent_problems(team):
    problems = []
    for host, agent in team.agents.items():
        if not agent.is_running:
            raise Contradiction('the agent of %s ended by itself:\n%s' % (
                host, agent.log_text()[-2000:]))
        done = agent.ctl('status', '--json', check=False)
        if done.returncode:
            return ['%s does not answer: %s' % (host, done.stderr.strip())]
        status = json.loads(done.stdout)
        if not status['hypervisor_up']:
            problems.append('%s has no hypervisor' % host)
        if not (status['bus']['consuming'] and status['bus']['publishing']):
            problems.append('%s has no bus' % host)
        problems += ['%s has an operation: %s' % (host, json.dumps(one))
                     for one in agent.ctl_json('op', 'list')]
    return problems


def guest_problems(team, moves):
    """Everything says the same of where each guest is."""
    problems = []
    expected = {move.guest: move for move in moves}
    views = {host: instances_of(agent)
             for host, agent in team.agents.items()}
    for name in team.guests():
        running = team.running_at(name, tuple(team.agents))
        if len(running) != 1:
            problems.append('%s runs at %s' % (name, running))
            continue
        home, = running
        if name in expected and expected[name].home() != home:
            problems.append('%s: %s, and it runs at %s' % (
                expected[name], expected[name].status, home))
        for host, view in views.items():
            known = [(one['host'], one['vm_state'], one['task_state'],
                      one['power_state']) for one in view.get(name, [])]
            if known != [(home, 'active', None, 'running')]:
                problems.append('%s says of %s: %s; it runs at %s' % (
                    host, name, known, home))
        problems += ['%s, which runs at %s, left %s' % (name, home, what)
                     for what in team.residue(name, home)]
    return problems


def audit_problems(team):
    problems = []
    for host, agent in team.agents.items():
        done = agent.ctl('audit', '--json', check=False)
        try:
            said = json.loads(done.stdout)
        except ValueError:
            return ['audit of %s: %s' % (host, done.stderr.strip())]
        problems += ['audit of %s: %s' % (host, one)
                     for one in said['findings']]
        problems += ['audit of %s: %s is silent' % (host, one)
                     for one in said['silent']]
    return problems


def problems_of(team, moves):
    """What does not hold yet; nothing, in the end."""
    look_twice(team, moves)
    try:
        found = agent_problems(team)
        for move in moves:
            found = found or move.problems(team)
        return (found or guest_problems(team, moves) or audit_problems(team))
    except AssertionError as error:  # Of droverctl, asked while all come up.
        return [str(error)]


def settle(team, moves):
    found = []

    def is_settled():
        found[:] = problems_of(team, moves)
        return not found

    try:
        wait_for(is_settled, SETTLED_S, interval=0.2)
    except AssertionError:
        raise Contradiction('after %d s:\n  %s' % (
            SETTLED_S, '\n  '.join(found))) from None
    team.see_alive()


def see_told(team, moves, acts, since):
    """Of the notifications since that time: no end that is not true, and none
    that was told twice.

    They may be lost with their broker, or come late, and an agent that dies
    while it tells of something tells it again.
    """
    guests = team.guests()
    for move in moves:
        seen = [event['event_type'] for event in list(team.listener.events)
                if event['event_type'] in ENDS.values() and
                event['payload'].get('instance_id') == guests.get(move.guest)
                and datetime.datetime.fromisoformat(event['timestamp'])
                >= since]
        true = ENDS['completed' if move.status == 'completed' else 'back']
        if set(seen) - {true}:
            raise Contradiction('%s: %s, and told was %s' % (
                move, move.status, seen))
        if len(seen) > 1 and not any(one.is_kill or one.is_cut
                                     for one in acts):
            raise Contradiction('%s: told was %s' % (move, seen))
    team.listener.clear()
