"""Hosts that are drained, with a bus and agents that die."""

import json
import subprocess

import pytest

from harness import droverd as agents
from harness.process import bound
from harness.wait import wait_for

GUESTS = 3
PARTLY = 3

# 64 MiB at this rate, in MiB/s, take long enough to be in the middle of.
SLOW = '48'


def settings(world, guests):
    # Who asks an agent that was killed need not wait a minute for its answer.
    return {'instances_path': str(world.parent / 'instances'),
            'rpc_response_timeout': 10,
            'fake': {'world': str(world), 'guests': guests, 'memory_mb': 64}}


@pytest.fixture
def hosts(droverd, tmp_path):
    """hosta, which has three guests, hostb and hostc."""
    if not agents.is_built():
        pytest.skip('no droverctl in ' + str(agents.build_directory()))
    world = tmp_path / 'world'
    world.mkdir()
    made = [droverd(name, settings=settings(world, n))
            for name, n in (('hosta', GUESTS), ('hostb', 0), ('hostc', 0))]
    wait_for(lambda: len(running(made[0])['hosta']) == GUESTS, 20,
             'the guests are known')
    return made


def running(agent):
    """The names of the guests of each host."""
    found = {'hosta': [], 'hostb': [], 'hostc': []}
    for guest in agent.ctl_json('instance', 'list'):
        if guest['power_state'] == 'running':
            found[guest['host']].append(guest['name'])
    return found


def counts(agent):
    return [len(names) for names in running(agent).values()]


def fails(done, status, *texts):
    assert done.returncode == status, (done.stdout, done.stderr)
    for text in texts:
        assert text in done.stderr
    return done


def in_background(agent, *words):
    return subprocess.Popen(
        bound(agent._command('droverctl', *words)), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def shown(agent):
    """Stops the drain of hosta, if it is under way, and says how it is."""
    return agent.ctl_json('host', 'drain', 'hosta', '--stop')


def migrations(agent):
    """How often each guest was moved, by the records of all hosts."""
    moved = {}
    for migration in agent.ctl_json('migration', 'list'):
        if migration['status'] == 'completed':
            name = migration['instance_name']
            moved[name] = moved.get(name, 0) + 1
    return moved


def test_a_host_is_drained_and_restored(hosts):
    hosta, hostb, _ = hosts
    plan = hostb.ctl_json('host', 'drain', 'hosta', '--plan')
    assert sorted(g['dest'] for g in plan['guests']) == [
        'hostb', 'hostb', 'hostc']
    text = hostb.ctl('host', 'drain', 'hosta', '--plan').stdout
    assert 'FREE AFTER' in text and 'hostc' in text
    fails(hostb.ctl('host', 'drain', 'hosta', check=False), 1, '--yes')
    assert counts(hosta) == [3, 0, 0]

    done = hostb.ctl('host', 'drain', 'hosta', '--yes')
    assert 'hosta: drained' in done.stdout
    assert '3 moved' in done.stdout
    assert counts(hosta) == [0, 2, 1]
    assert migrations(hosta) == dict.fromkeys(running(hosta)['hostb'] +
                                              running(hosta)['hostc'], 1)

    # Nobody comes in, until it is restored.
    name = running(hostb)['hostb'][0]
    fails(hostb.ctl('migrate', name, 'hosta', check=False), 1,
          'takes no guests: it is drained')
    fails(hostb.ctl('host', 'drain', 'hostb', '--to', 'hosta', '--plan',
                    check=False), PARTLY)
    assert 'drained' in hostb.ctl('host', 'list').stdout

    lines = [json.loads(line) for line in hostb.ctl(
        'host', 'restore', 'hosta', '--yes', '--json').stdout.splitlines()]
    assert lines[-1]['phase'] == 'restored'
    assert [line for line, more in zip(lines, lines[1:]) if line == more] == []
    assert counts(hosta) == [3, 0, 0]
    assert hosta.ctl_json('op', 'list') == []


def test_a_guest_that_can_not_be_moved_is_told_by_the_exit_status(hosts):
    hosta = hosts[0]
    uuid = hosta.ctl_json('instance', 'list')[0]['uuid']
    hosta.ctl('fake', 'guest-stop', uuid)
    wait_for(lambda: counts(hosta) == [2, 0, 0], 20, 'it is shut off')
    assert 'shut off' in fails(
        hosta.ctl('host', 'drain', 'hosta', '--plan', check=False),
        PARTLY).stdout
    done = fails(hosta.ctl('host', 'drain', 'hosta', '--to', 'hostb', '--yes',
                           check=False), PARTLY)
    assert 'partly drained' in done.stdout
    assert counts(hosta) == [0, 2, 0]
    assert 'given up' in hosta.ctl('host', 'drain', 'hosta', '--end').stdout
    assert hosta.ctl_json('op', 'list') == []


def test_a_drain_is_stopped_resumed_and_undone(hosts):
    hosta = hosts[0]
    hosta.ctl('fake', 'hang', 'transfer')
    watcher = in_background(hosta, 'host', 'drain', 'hosta', '--yes')
    try:
        wait_for(lambda: hosta.ctl_json('migration', 'list'), 20, 'it begins')
        assert shown(hosta)['phase'] == 'stopping'
        hosta.ctl('fake', 'release')
        out, err = watcher.communicate(timeout=60)
        assert watcher.returncode == PARTLY, (out, err)
    finally:
        watcher.kill()
    assert counts(hosta)[0] == GUESTS - 1
    fails(hosta.ctl('host', 'drain', 'hosta', '--yes', check=False), 1,
          'already (stopped)')
    fails(hosta.ctl('host', 'drain', 'hosta', '--stop', '--watch',
                    check=False), PARTLY)
    hosta.ctl('host', 'drain', 'hosta', '--resume', '--yes')
    assert counts(hosta)[0] == 0
    hosta.ctl('host', 'restore', 'hosta', '--yes')
    assert counts(hosta) == [3, 0, 0]
    assert set(migrations(hosta).values()) == {2}


def test_agents_that_are_killed_do_not_end_a_drain(hosts):
    hosta, hostb, hostc = hosts
    hosta.ctl('fake', 'bandwidth', SLOW)
    watcher = in_background(hostc, 'host', 'drain', 'hosta', '--to', 'hostb',
                            '--yes')
    try:
        wait_for(lambda: hosta.ctl_json('migration', 'list'), 20, 'it begins')
        hosta.kill()
        hosta.start()
        wait_for(lambda: len(hosta.ctl_json('migration', 'list')) > 1, 60,
                 'it goes on')
        hostb.kill()
        hostb.start()
        out, err = watcher.communicate(timeout=200)
        assert watcher.returncode == 0, (out, err)
    finally:
        watcher.kill()
    assert counts(hosta) == [0, 3, 0]
    assert set(migrations(hosta).values()) == {1}
    hosta.kill()  # What it knows of the drain outlives it.
    hosta.start()
    assert shown(hostb)['phase'] == 'drained'
    hostb.ctl('host', 'restore', 'hosta', '--yes')
    assert counts(hosta) == [3, 0, 0]


@pytest.mark.libvirt
def test_real_guests_go_and_come_back(lab, droverd):
    hosta, hostb = (droverd(host.name, on=host)
                    for host in (lab.hosta, lab.hostb))
    guests = [lab.boot(lab.hosta) for _ in range(2)]
    wait_for(lambda: len(hosta.ctl_json('instance', 'list')) == 2, 30,
             'the guests are adopted')
    hostb.ctl('host', 'drain', 'hosta', '--yes', timeout=180)
    for guest in guests:
        guest.ticks.wait_more(10)
        assert guest.states() == {'hosta': None, 'hostb': 'running'}
    hostb.ctl('host', 'restore', 'hosta', '--yes', timeout=180)
    for guest in guests:
        guest.ticks.wait_more(10)
        assert guest.states() == {'hosta': 'running', 'hostb': None}
        assert guest.ticks.faults() == []
