"""Whatever dies, and whenever: the guest is at one host, and all say which.

On the fake driver, at the points of the step engine: with DROVER_EVERY=1 at
each, otherwise at some, evenly spread.  Needs a build with
--enable-fault-injection.
"""

import os

import pytest

from harness import crash
from harness.crash import BACK, DEST, FORTH, SOURCE, TURNING_POINT
from test_agent import fake, legacy, world  # noqa: F401

pytestmark = pytest.mark.faults

EVERY = int(os.environ.get('DROVER_EVERY', 3))
SIDES = (SOURCE, DEST)
ENDS = {'live_migration._post.end', 'live_migration._rollback.end'}


def walk(points):
    everything = [pytest.param(side, point, id=point.replace('.', '-'))
                  for side in SIDES for point in points[side]]
    return everything[EVERY // 2::EVERY]


@pytest.fixture
def pair(droverd, world):  # noqa: F811
    # A call to one that died is over soon.
    return {SOURCE: droverd('hosta', settings=fake(
                world, 1, rpc_response_timeout=4)),
            DEST: droverd('hostb', settings=fake(
                world, rpc_response_timeout=4))}


@pytest.fixture
def guest(pair):
    return pair[SOURCE].ctl_json('instance', 'list')[0]


def leave(pair, guest):
    crash.migrate(pair[SOURCE], guest['name'], pair[DEST])


def settle(pair, guest, listener, **more):
    """Waits for the end, checks it, and returns the migration's status."""
    agents = tuple(pair.values())
    crash.wait_settled(agents, guest['name'])
    status = crash.assert_told_truly(*agents, guest['name'], **more)
    ends = ENDS & set(legacy(listener, guest['uuid']))
    assert len(ends) <= 1
    # Where it was, it can be moved from again.
    there = pair[SOURCE if status != 'completed' else DEST]
    other = pair[DEST if status != 'completed' else SOURCE]
    for agent in agents:
        crash.disarm(agent)
    there.ctl('migrate', guest['name'], other.host, '--watch')
    assert list(crash.homes(agents, guest['name'])) == [other.host]
    return status


def test_the_points_are_those_that_are_passed(pair, guest):
    """A step that is added is walked over, too."""
    leave(pair, guest)
    crash.wait_settled(tuple(pair.values()), guest['name'])
    for side in SIDES:
        assert crash.passed(pair[side]) == FORTH[side]


def test_the_points_back_are_those_that_are_passed(pair, guest):
    crash.arm(pair[SOURCE], TURNING_POINT, 'error')
    leave(pair, guest)
    crash.wait_settled(tuple(pair.values()), guest['name'])
    for side in SIDES:
        back = [point for point in crash.passed(pair[side])
                if point.split('.')[2].startswith('undo')]
        assert back == BACK[side]


@pytest.mark.parametrize('side, point', walk(FORTH))
def test_killed(pair, guest, listener, side, point):
    crash.arm(pair[side], point)
    leave(pair, guest)
    crash.wait_dead(pair[side])
    pair[side].start()
    settle(pair, guest, listener, started=not point.startswith('conduct.'))


@pytest.mark.parametrize('side, point', walk(BACK))
def test_killed_on_the_way_back(pair, guest, listener, side, point):
    crash.arm(pair[SOURCE], TURNING_POINT, 'error')
    crash.arm(pair[side], point)
    leave(pair, guest)
    crash.wait_dead(pair[side])
    pair[side].start()
    assert settle(pair, guest, listener) == 'failed'


@pytest.mark.parametrize('side, point', walk(FORTH))
def test_step_fails(pair, guest, listener, side, point):
    """With its work not begun, or done and taken for failed."""
    crash.arm(pair[side], point, 'error@1')
    leave(pair, guest)
    settle(pair, guest, listener, started=not point.startswith('conduct.'))
