"""Migrations in which an agent is ended at a named point, and what must hold.

The points are those of the step engine, in a build with
--enable-fault-injection: TYPE.STEP.run (recorded, not begun), .done (begun and
done, not recorded), .undo and .undone likewise on the way back.
"""

import json

from .wait import wait_for

SOURCE, DEST = 'source', 'destination'

CONDUCT = ('claim', 'record', 'find-dest', 'hand-over')
LEAVE = ('accept', 'queue', 'prepare', 'list-disks', 'reserve-dest', 'start',
         'transfer', 'announce-post', 'activate-ports', 'finish-dest',
         'release-volumes', 'release-ports', 'release-guest', 'announce-end',
         'revoke-consoles', 'complete', 'release-allocations', 'forget')
ARRIVE = ('announce-pre', 'connect-volumes', 'fetch-images', 'check-disks',
          'make-disks', 'reserve-consoles', 'plug-ports', 'answer', 'wait',
          'announce-post', 'settle-ports', 'persist', 'take-record',
          'announce-end')
LEAVE_BACK = ('reserve-dest', 'prepare', 'queue', 'accept')
ARRIVE_BACK = ('wait', 'plug-ports', 'make-disks', 'connect-volumes')


def _points(kind, steps, before, after):
    return ['%s.%s.%s' % (kind, step, when)
            for step in steps for when in (before, after)]


# What a migration that succeeds passes, in order, by where.
FORTH = {SOURCE: _points('conduct', CONDUCT, 'run', 'done') +
         _points('live-migration', LEAVE, 'run', 'done'),
         DEST: _points('incoming-migration', ARRIVE, 'run', 'done')}
# And one that is taken back when all is prepared, on its way back.
BACK = {SOURCE: _points('live-migration', LEAVE_BACK, 'undo', 'undone'),
        DEST: _points('incoming-migration', ARRIVE_BACK, 'undo', 'undone')}
# And one whose transfer ends without success.
TRANSFER_BACK = {SOURCE: _points('live-migration', ('transfer',) + LEAVE_BACK,
                                 'undo', 'undone'),
                 DEST: BACK[DEST]}
# Fails when the destination is prepared and nothing has moved.
TURNING_POINT = 'live-migration.start.run'


def passed(agent):
    """The points of the step engine that 'agent' has passed, in order."""
    return [point['name'] for point in reversed(agent.ctl_json('fault', 'list'))
            if point['name'].count('.') == 2]


def arm(agent, point, action='crash'):
    agent.ctl('fault', 'set', point, action)


def disarm(agent):
    """The agent lives on, and so does what it was told."""
    for point in agent.ctl_json('fault', 'list'):
        agent.ctl('fault', 'set', point['name'], 'off')


def wait_dead(agent, deadline=60):
    wait_for(lambda: not agent.is_running, deadline,
             lambda: '%s dies; it has passed %s' % (agent.host, passed(agent)))


def migrate(source, guest, dest, *words):
    """Asks for it and does not wait: the agent may die before it answers."""
    source.ctl_begin('migrate', guest, dest.host, *words)


def status_of(agent, guest):
    """The latest migration of 'guest' that 'agent' knows; None: none."""
    done = agent.ctl('migration', 'show', guest, '--json', check=False)
    return json.loads(done.stdout)['status'] if not done.returncode else None


def homes(agents, guest):
    """What the records say: {host: the instance} where it is."""
    found = {}
    for agent in agents:
        for instance in agent.ctl_json('instance', 'list'):
            if instance['name'] == guest:
                found[instance['host']] = instance
    return found


def wait_settled(agents, guest, deadline=120):
    """Nothing is open, and the guest's record is at rest at one host.

    A destination hears of the end in its own time.
    """
    def is_settled():
        places = homes(agents, guest)
        return (not any(agent.ctl_json('op', 'list') for agent in agents) and
                len(places) == 1 and
                all(place['task_state'] is None for place in places.values()))

    def what():
        return 'all is settled: %s %s' % (
            homes(agents, guest),
            [agent.ctl_json('op', 'list') for agent in agents])

    wait_for(is_settled, deadline, what, interval=0.05)


def assert_told_truly(source, dest, guest, started=True):
    """The migration's record says where the guest is, and nothing else does."""
    home = list(homes((source, dest), guest))
    status = status_of(source, guest)
    if status == 'completed':
        assert home == [dest.host]
    else:
        assert status in ('failed', 'cancelled', 'error') or (
            status is None and not started), status
        assert home == [source.host], status
    return status
