"""The state on disk: what is done with it that can't be used, and when the
disk is full."""

import contextlib
import resource
import sqlite3

from harness.wait import wait_for
from test_agent import (fake, guests, status, wait_idle, wait_status,
                        world)  # noqa: F401 (a fixture)


@contextlib.contextmanager
def full_disk(agent):
    """The files of the agent can't grow, its database for one."""
    log = agent.state_path / 'state.db-wal'
    before = resource.prlimit(agent.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agent.pid, resource.RLIMIT_FSIZE,
                     (log.stat().st_size, before[1]))
    try:
        yield
    finally:
        if agent.is_running:
            resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, before)


def storage(agent):
    return agent.ctl_json('status')['storage']


def test_full_disk_stops_operations_before_their_next_step(
        droverd, world):  # noqa: F811
    """Neither is anything done that the journal does not name, nor is
    anything lost that is under way."""
    hosta = droverd('hosta', settings=fake(world, 2))
    hostb = droverd('hostb', settings=fake(world))
    first, second = sorted(guests(hosta))
    hosta.ctl('fake', 'hang', 'transfer')
    hosta.ctl('migrate', first, 'hostb')
    wait_status(hosta, first, 'running')
    wait_for(lambda: hosta.ctl_json('op', 'list')[0]['step'] == 'transfer',
             20, 'it is being moved')
    with full_disk(hosta):
        refused = hosta.ctl('migrate', second, 'hostb', check=False)
        assert refused.returncode == 1 and 'database' in refused.stderr
        wait_for(lambda: storage(hosta)['n_unsaved'] > 0, 20, 'it is full')
        assert 'are not on disk' in hosta.ctl('status').stdout
        hosta.ctl('fake', 'release')
        wait_for(lambda: first in hostb.ctl('fake', 'list').stdout, 20,
                 'the guest is there')
        wait_for(lambda: hosta.ctl_json('op', 'list')[0]['waiting_s'] > 0, 20,
                 'the operation waits for the journal')
        op = hosta.ctl_json('op', 'list')[0]
        assert op['committed'] and status(hosta, first) == 'running'
    wait_status(hosta, first, 'completed')
    wait_for(lambda: storage(hosta) == {'n_unsaved': 0, 'reason': None}, 20,
             'all is on disk')
    hosta.ctl('migrate', second, 'hostb', '--watch')
    wait_idle(hosta, hostb)


def test_killed_with_a_full_disk_it_is_taken_up_where_the_journal_is(
        droverd, world):  # noqa: F811
    hosta = droverd('hosta', settings=fake(world, 1))
    hostb = droverd('hostb', settings=fake(world))
    name, = guests(hosta)
    hosta.ctl('fake', 'hang', 'transfer')
    hosta.ctl('migrate', name, 'hostb')
    wait_for(lambda: hosta.ctl_json('op', 'list')[0]['step'] == 'transfer',
             20, 'it is being moved')
    with full_disk(hosta):
        hosta.ctl('fake', 'release')
        wait_for(lambda: hosta.ctl_json('op', 'list')[0]['waiting_s'] > 0, 20,
                 'the operation waits for the journal')
        hosta.kill()
    hosta.start()
    wait_status(hosta, name, 'completed')
    wait_idle(hosta, hostb)
    assert name in guests(hostb) and name not in guests(hosta)


def assert_does_not_start(agent, reason):
    database = agent.state_path / 'state.db'
    before = database.read_bytes()
    agent.start(wait=False)
    assert agent.wait() == 1
    assert reason in agent.log_text()
    assert database.read_bytes() == before
    assert not (agent.state_path / 'state.db-shm').exists()


def test_damaged_database_stops_the_start_and_is_left_alone(
        droverd, world):  # noqa: F811
    agent = droverd('hosta', settings=fake(world, 3))
    agent.stop()
    database = agent.state_path / 'state.db'
    whole = database.read_bytes()
    database.write_bytes(whole[:4096] + b'\x5a' * 4096 + whole[8192:])
    assert_does_not_start(agent, 'restore it, or move it')
    database.write_bytes(whole)
    agent.start()
    assert len(guests(agent)) == 3


def test_newer_database_stops_the_start_and_is_left_alone(
        droverd, world):  # noqa: F811
    agent = droverd('hosta', settings=fake(world, 1))
    agent.stop()
    database = agent.state_path / 'state.db'

    def set_version(number):
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute('PRAGMA user_version = %d' % number)

    set_version(99)
    assert_does_not_start(agent, 'install the newer drover again')
    set_version(1)
    agent.start()
    assert len(guests(agent)) == 1
