"""The same as test_nothing_lost.py with real guests, and what else can break.

One guest is moved from host to host, and at each way an agent, or both, dies
at the next point.  Without DROVER_EVERY=1 only some of the points are walked
over, evenly spread.  Needs a build with --enable-fault-injection.
"""

import os
import signal
import time

import pytest

from harness import crash
from harness.crash import (BACK, DEST, FORTH, SOURCE, TRANSFER_BACK,
                           TURNING_POINT)
from harness.guest import panics
from harness.wait import wait_for
from harness.wallclock import WallClock
from test_agent import status, wait_status
from test_migration import boot, files, slowly

pytestmark = [pytest.mark.libvirt, pytest.mark.faults]

EVERY = int(os.environ.get('DROVER_EVERY', 12))
SOON = {'rpc_response_timeout': 4}
FREEZE = int(os.environ.get('DROVER_FREEZE', 20))


@pytest.fixture
def pair(lab, droverd):
    return {host.name: droverd(host.name, on=host, settings=SOON)
            for host in (lab.hosta, lab.hostb)}


class Walk:
    """A guest that is moved on and on between two hosts."""

    def __init__(self, lab, pair, is_block, **options):
        self.lab, self.pair = lab, pair
        self.words = ('--block-migrate',) if is_block else ()
        self.is_local = is_block and lab.storage != 'shared'
        self.options = options
        self.guest = boot(lab, pair['hosta'], **options)
        self.home = 'hosta'
        self.outcomes = []
        self.n_broken = 0

    def sides(self):
        other = 'hostb' if self.home == 'hosta' else 'hosta'
        return {SOURCE: self.pair[self.home], DEST: self.pair[other]}

    def migrate(self):
        sides = self.sides()
        crash.migrate(sides[SOURCE], self.guest.name, sides[DEST],
                      *self.words)

    def settle(self, started=True):
        """Waits for the end of it, and looks at everything."""
        sides = self.sides()
        agents = (sides[SOURCE], sides[DEST])
        crash.wait_settled(agents, self.guest.name)
        outcome = crash.assert_told_truly(*agents, self.guest.name,
                                          started=started)
        self.home, = crash.homes(agents, self.guest.name)
        assert self.guest.runs_on() == self.home
        other = 'hostb' if self.home == 'hosta' else 'hosta'
        assert self.guest.states()[other] is None
        if self.is_local:
            assert files(self.lab.hosts[other], self.guest) == []
        self.see_alive()
        for agent in agents:
            crash.disarm(agent)
        self.outcomes.append(outcome)

    def see_alive(self):
        """Under emulation a guest may break down (see conftest.py); on a long
        walk another one takes its place."""
        try:
            self.guest.ticks.wait_more(5)
            assert self.guest.ticks.faults() == []
        except AssertionError:
            self.n_broken += 1
            if (self.lab.virt_type == 'kvm' or not panics or
                    self.n_broken > len(self.outcomes) // 20 + 1):
                raise
            print('%s broke down: %s' % (self.guest.name, panics.pop()))
            panics.clear()
            self.guest.remove()
            self.guest = boot(self.lab, self.pair[self.home], **self.options)

    def over(self, points, turn=None, both=False, then=None):
        """An agent dies at each of 'points', [(side, point), ...], each time
        in a migration that fails at 'turn', or of which 'then' is done."""
        for side, point in points:
            print('%s dies at %s' % ('each' if both else side, point))
            sides = self.sides()
            if turn:
                crash.arm(sides[SOURCE], turn, 'error')
            crash.arm(sides[side], point)
            self.migrate()
            if then:
                then()
            crash.wait_dead(sides[side])
            if both:
                sides[DEST if side == SOURCE else SOURCE].kill()
            for agent in sides.values():
                if not agent.is_running:
                    agent.start()
            self.settle(started=not point.startswith('conduct.'))
        print('%d outcomes: %s' % (
            len(self.outcomes),
            {str(outcome): self.outcomes.count(outcome)
             for outcome in self.outcomes}))


def some(points):
    all_points = [(side, point) for side in (SOURCE, DEST)
                  for point in points[side]]
    return all_points[EVERY // 2::EVERY] or all_points[-1:]


def test_56_killed_anywhere(lab, pair):
    Walk(lab, pair, is_block=True).over(some(FORTH))


def test_56_both_killed_anywhere(lab, pair):
    Walk(lab, pair, is_block=True).over(some(FORTH)[::2], both=True)


@pytest.mark.shared
def test_56_killed_anywhere_with_shared_storage(lab, pair):
    Walk(lab, pair, is_block=False).over(some(FORTH)[1::2])


def test_56_killed_anywhere_on_the_way_back(lab, pair):
    Walk(lab, pair, is_block=True).over(some(BACK), turn=TURNING_POINT)


def test_56_killed_anywhere_after_an_abort(lab, droverd):
    walk = Walk(lab, {host.name: droverd(host.name, on=host,
                                         settings={**SOON, **slowly(8)})
                      for host in (lab.hosta, lab.hostb)}, is_block=True)

    def abort():
        source = walk.sides()[SOURCE]
        wait_for(lambda: crash.status_of(source, walk.guest.name) == 'running',
                 60, 'the transfer runs')
        source.ctl('migration', 'abort', walk.guest.name, check=False)

    walk.over(some(TRANSFER_BACK), then=abort)
    assert set(walk.outcomes) <= {'cancelled', 'failed'}


def test_56_killed_anywhere_after_post_copy(lab, droverd):
    permit = {'libvirt': {'live_migration_permit_post_copy': True,
                          'live_migration_bandwidth': 8}}
    walk = Walk(lab, {host.name: droverd(host.name, on=host,
                                         settings={**SOON, **permit})
                      for host in (lab.hosta, lab.hostb)}, is_block=False,
                disk=None)

    def switch():
        source = walk.sides()[SOURCE]
        wait_for(lambda: crash.status_of(source, walk.guest.name) == 'running',
                 60, 'the transfer runs')
        source.ctl('migration', 'force-complete', walk.guest.name,
                   check=False)

    after = {side: [point for point in FORTH[side] if
                    FORTH[side].index(point) >= FORTH[side].index(first)]
             for side, first in ((SOURCE, 'live-migration.transfer.done'),
                                 (DEST, 'incoming-migration.wait.done'))}
    walk.over(some(after), then=switch)
    assert set(walk.outcomes) == {'completed'}


# ---- What else can break ----------------------------------------------------

def on_its_way(lab, droverd, wrapper=(), **more):
    """A slow block migration from hosta to hostb, in the middle of it."""
    walk = Walk(lab, {host.name: droverd(host.name, on=host, wrapper=wrapper,
                                         settings={**SOON, **slowly(8)})
                      for host in (lab.hosta, lab.hostb)},
                is_block=True, disk_mib=48, **more)
    hosta = walk.pair['hosta']
    walk.migrate()
    wait_status(hosta, walk.guest.name, 'running', deadline=60)
    wait_for(lambda: (hosta.ctl_json('migration', 'show', walk.guest.name)
                      ['disk_processed'] or 0) > 0, 60, 'data is on its way')
    return walk


@pytest.mark.parametrize('host', ['hosta', 'hostb'])
def test_libvirtd_killed_in_the_middle(lab, droverd, host):
    walk = on_its_way(lab, droverd)
    lab.hosts[host].libvirtd('kill')
    agent = walk.pair[host]
    wait_for(lambda: not agent.ctl_json('status')['hypervisor_up'], 60,
             'libvirt is away')
    lab.hosts[host].libvirtd('start')
    walk.settle()


@pytest.mark.parametrize('host', ['hosta', 'hostb'])
def test_agent_frozen_in_the_middle(lab, droverd, host):
    """As on a machine that swaps: all waits for it, and nothing is lost."""
    walk = on_its_way(lab, droverd)
    agent = walk.pair[host]
    end = time.monotonic() + FREEZE
    agent.signal(signal.SIGSTOP)
    try:
        wait_for(lambda: time.monotonic() > end and
                 walk.guest.states()['hostb'] == 'running', FREEZE + 120,
                 'the guest has arrived, and time has passed')
    finally:
        agent.signal(signal.SIGCONT)
    walk.settle()
    assert walk.home == 'hostb'


@pytest.mark.parametrize('hours', [1, -1])
def test_clock_set_in_the_middle(lab, droverd, tmp_path, hours):
    """Neither does it time out, nor has it lasted for an hour; nor when an
    agent comes back that began it before."""
    clock = WallClock(tmp_path)
    start = time.monotonic()
    walk = on_its_way(lab, droverd, wrapper=clock.wrapper)
    hosta = walk.pair['hosta']
    clock.set(hours * 3600)
    hosta.kill()
    hosta.start()
    name = walk.guest.name  # Settling may put another one in its place.
    walk.settle()
    assert walk.home == 'hostb'
    hosta.restart()
    shown = hosta.ctl_json('migration', 'show', name)
    assert shown['status'] == 'completed'
    assert 0 < shown['total_ms'] < (time.monotonic() - start) * 1000


def test_62_host_of_the_source_dies_in_the_middle(lab, droverd):
    """Row 18 of the table: nothing of it is left at the destination, where the
    guest could be started anew."""
    walk = on_its_way(lab, droverd)
    hosta, hostb = walk.pair['hosta'], walk.pair['hostb']
    guest = walk.guest
    hosta.kill()
    lab.hosta.libvirtd('kill')
    lab.hosta.run('sh', '-c', 'kill -9 $(cat /run/libvirt/qemu/%s.pid)' %
                  guest.name)
    wait_for(lambda: lab.hostb.state_of(guest.name) is None, 120,
             'libvirt ends what it receives')
    lab.hosta.libvirtd('start')
    hosta.start()
    crash.wait_settled((hosta, hostb), guest.name)
    assert status(hosta, guest.name) == 'failed'
    assert guest.states() == {'hosta': 'shut off', 'hostb': None}
    assert files(lab.hostb, guest) == []
    assert 'disk' in files(lab.hosta, guest)


def test_46_network_is_away_for_a_while(lab, droverd):
    walk = on_its_way(lab, droverd)
    before = walk.guest.ticks.last
    lab.hostb.link('down')
    try:
        walk.guest.ticks.wait_more(40)
    finally:
        lab.hostb.link('up')
    assert walk.guest.ticks.last >= before + 40
    walk.settle()


def test_disk_full_at_the_destination(lab, droverd):
    """Large enough for the check, and too small before all has come."""
    def tmpfs(options, **more):
        return lab.hostb.run('mount', '-t', 'tmpfs', '-o', options, 'none',
                             lab.instances, **more)

    def fill():
        """Not below what is used, which grows meanwhile."""
        used = lab.hostb.run('df', '--output=used', '-k', lab.instances)
        size = int(used.stdout.split()[-1]) + 64
        return tmpfs('remount,size=%dk' % size, check=False).returncode == 0

    # All of it has to come, as none of it is zeroes.
    data = lab.instances / 'data'
    lab.hosta.run('dd', 'if=/dev/urandom', 'of=%s' % data, 'bs=1M',
                  'count=32')
    tmpfs('size=4G')
    try:
        walk = on_its_way(lab, droverd, devices="""
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='%s'/>
      <target dev='vdb' bus='virtio'/>
    </disk>""" % data)
        wait_for(fill, 20, 'the disk is nearly full')
        walk.settle()
        assert walk.home == 'hosta'
        assert walk.outcomes == ['failed']
        for agent in walk.pair.values():
            agent.stop()
    finally:
        lab.hostb.run('umount', '--lazy', lab.instances)
        lab.hosta.run('rm', '-f', data)
