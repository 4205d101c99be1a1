"""Who is killed at which step: the rows of the table, by number.

On the fake hypervisor, at points of the step engine; the table, with the rows
that are tested elsewhere, is in ../README.md, "Killed at step X".  Needs a
build with --enable-fault-injection.
"""

import pytest

from harness import crash
from harness.crash import DEST, SOURCE, TURNING_POINT
from harness.wait import wait_for
from test_agent import (check, fake, legacy, migrate, wait_status,
                        world)  # noqa: F401 (a fixture)
from test_nothing_lost import (guest, leave, pair,
                               settle)  # noqa: F401 (fixtures)

pytestmark = pytest.mark.faults


def killed(pair, guest, listener, side, point, turn=None):  # noqa: F811
    """That agent dies there, is started again, and all comes to its end."""
    if turn:
        crash.arm(pair[SOURCE], turn, 'error')
    crash.arm(pair[side], point)
    leave(pair, guest)
    crash.wait_dead(pair[side])
    pair[side].start()
    return settle(pair, guest, listener)


def source(*words):
    return pytest.mark.parametrize(
        'point', ['live-migration.' + word for word in words])


def destination(*words):
    return pytest.mark.parametrize(
        'point', ['incoming-migration.' + word for word in words])


# ---- The source ---------------------------------------------------------------

@source('accept.run', 'accept.done', 'queue.run', 'queue.done')
def test_row_01_queued_is_queued_again(
        pair, guest, listener, point):  # noqa: F811
    assert killed(pair, guest, listener, SOURCE, point) == 'completed'


def test_row_01_one_that_waits_is_queued_again(droverd, world):  # noqa: F811
    """Behind the one that it waited for, and only once."""
    hosta = droverd('hosta', settings=fake(world, 2))
    hostb = droverd('hostb', settings=fake(world))
    first, second = sorted(
        g['name'] for g in hosta.ctl_json('instance', 'list'))
    hosta.ctl('fake', 'hang', 'transfer')
    hosta.ctl('migrate', first, 'hostb')
    wait_status(hosta, first, 'running')
    hosta.ctl('migrate', second, 'hostb')
    wait_status(hosta, second, 'queued')
    hosta.kill()
    hosta.start()
    wait_status(hosta, second, 'completed', deadline=60)
    crash.wait_settled((hosta, hostb), first)
    assert len([m for m in hosta.ctl_json('migration', 'list')
                if m['instance_name'] == second]) == 1
    assert list(crash.homes((hosta, hostb), second)) == ['hostb']


def test_row_02_during_the_call_to_the_destination(
        client, pair, guest, listener):  # noqa: F811
    data = check(client, guest)
    pair[DEST].ctl('fake', 'hang', 'prepare')  # After the check.
    migrate(client, guest, data)
    wait_for(lambda: pair[DEST].ctl_json('op', 'list'), 30,
             'the destination prepares')
    pair[SOURCE].kill()
    pair[SOURCE].start()
    pair[DEST].ctl('fake', 'release')
    assert settle(pair, guest, listener) == 'failed'


@source('reserve-dest.done', 'start.run', 'start.done')
def test_row_03_when_the_destination_is_prepared(
        pair, guest, listener, point):  # noqa: F811
    assert killed(pair, guest, listener, SOURCE, point) == 'failed'


@source('transfer.done', 'announce-post.run')
def test_row_04_and_06_when_the_guest_has_gone(
        pair, guest, listener, point):  # noqa: F811
    assert killed(pair, guest, listener, SOURCE, point) == 'completed'


@source('activate-ports.done', 'release-volumes.run', 'release-ports.done',
        'release-guest.run', 'release-guest.done')
def test_row_07_while_the_source_is_cleared(
        pair, guest, listener, point):  # noqa: F811
    assert killed(pair, guest, listener, SOURCE, point) == 'completed'


@source('finish-dest.run', 'finish-dest.done')
def test_row_08_during_the_call_that_ends_it(
        pair, guest, listener, point):  # noqa: F811
    assert killed(pair, guest, listener, SOURCE, point) == 'completed'


@source('announce-end.run', 'complete.run', 'complete.done',
        'release-allocations.run', 'forget.run')
def test_row_09_before_it_is_completed(
        pair, guest, listener, point):  # noqa: F811
    assert killed(pair, guest, listener, SOURCE, point) == 'completed'


@source('reserve-dest.undo', 'prepare.undo', 'prepare.undone', 'queue.undo',
        'accept.undo')
def test_row_10_on_the_way_back(pair, guest, listener, point):  # noqa: F811
    assert killed(pair, guest, listener, SOURCE, point,
                  TURNING_POINT) == 'failed'


@source('reserve-dest.undone', 'accept.undone')
def test_row_11_when_the_destination_is_told_to_take_it_back(
        pair, guest, listener, point):  # noqa: F811
    assert killed(pair, guest, listener, SOURCE, point,
                  TURNING_POINT) == 'failed'
    wait_for(lambda: 'live_migration.rollback.dest.end' in
             legacy(listener, guest['uuid']), 20, 'it has taken it back')


def test_row_12_during_the_abort_of_one_that_waits(
        droverd, world):  # noqa: F811
    hosta = droverd('hosta', settings=fake(world, 2))
    hostb = droverd('hostb', settings=fake(world))
    first, second = sorted(
        g['name'] for g in hosta.ctl_json('instance', 'list'))
    hosta.ctl('fake', 'hang', 'transfer')
    hosta.ctl('migrate', first, 'hostb')
    wait_status(hosta, first, 'running')
    hosta.ctl('migrate', second, 'hostb')
    wait_status(hosta, second, 'queued')
    crash.arm(hosta, 'live-migration.accept.undo')
    hosta.ctl_begin('migration', 'abort', second)
    crash.wait_dead(hosta)
    hosta.start()
    wait_status(hosta, second, 'cancelled')
    crash.wait_settled((hosta, hostb), second)
    assert list(crash.homes((hosta, hostb), second)) == ['hosta']


# ---- The destination -------------------------------------------------------------

@destination('announce-pre.run', 'check-disks.done', 'make-disks.run',
             'make-disks.done', 'plug-ports.done', 'answer.done')
def test_row_15_destination_while_it_prepares(
        pair, guest, listener, point):  # noqa: F811
    killed(pair, guest, listener, DEST, point)


@destination('wait.run')
def test_row_16_destination_while_memory_is_copied(
        pair, guest, listener, point):  # noqa: F811
    killed(pair, guest, listener, DEST, point)


@destination('wait.done', 'announce-post.run', 'persist.run', 'persist.done',
             'take-record.run', 'take-record.done', 'announce-end.done')
def test_row_17_destination_while_it_takes_over(
        pair, guest, listener, point):  # noqa: F811
    assert killed(pair, guest, listener, DEST, point) == 'completed'
