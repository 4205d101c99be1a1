"""Memory, start and migration: measurements of tests/bench/run."""

import collections
import contextlib
import itertools
import json
import re
import statistics
import subprocess
import threading
import time

import bodies
from harness.process import bound
from harness.wait import wait_for
from place import PROGRAMS, result_of, settled_memory_of, table

# What the project has set itself.
RESIDENT_MIB = {'fake': 8, 'libvirt': 24}
PRIVATE_DIRTY_MIB = 4
START_MS = 150
MIGRATION_ADDED_S = 0.1

N_GUESTS = 100
N_STARTS = 7
N_MIGRATIONS = 8
SPARE_MIB = 2048  # For all else than two copies of a guest.


# ---- Memory -----------------------------------------------------------------

MEMORY_HEAD = ('MiB', 'resident', 'target', 'private dirty', 'target')


def memory_row(name, memory, driver=None):
    resident, private = memory
    return (name, '%.1f' % resident,
            '<= %d' % RESIDENT_MIB[driver] if driver else '-',
            '%.1f' % private,
            '<= %d' % PRIVATE_DIRTY_MIB if driver else '-')


def memory_fake(place):
    rows = []
    for n_guests in (0, N_GUESTS):
        with place.agent(settings={'fake': {'guests': n_guests}}) as agent:
            agent.start()
            rows.append(memory_row(
                'droverd, fake driver, %d guests' % n_guests,
                settled_memory_of(agent.pid), 'fake'))
    table('Memory with the fake driver', MEMORY_HEAD, rows)


def memory_libvirt(place):
    host = place.lab.hosta
    client = host.popen(PROGRAMS['libvirt_client'], 'qemu:///system',
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdout.readline() == b'connected\n'
    bare = settled_memory_of(client.pid)
    client.communicate(timeout=30)
    with place.agent(on=host) as agent:
        agent.start()
        ours = settled_memory_of(agent.pid)
    table('Memory with the libvirt driver', MEMORY_HEAD,
          [memory_row('a bare client of libvirt', bare),
           memory_row('droverd, libvirt driver', ours, 'libvirt')],
          'droverd against the bare client: %.2f resident, %.2f private dirty'
          % (ours[0] / bare[0], ours[1] / bare[1]))


# ---- Start ------------------------------------------------------------------

# Notes the time at which it becomes the agent.
STAMP = ['bash', '-c', 'echo $EPOCHREALTIME > "$0"; exec "$@"']


def start_times(place, on=None):
    """Milliseconds from exec to the answer, of each start."""
    stamp = place.directory / 'started'
    with place.agent(on=on, wrapper=[*STAMP, stamp]) as agent:
        agent.start()  # Declares its queue, which stays.
        agent.stop()
        times = []
        for _ in range(N_STARTS):
            load = place.load('compute.' + agent.host, 1, 1,
                              [bodies.ping()], '--announce')
            assert load.stdout.readline() == 'sent\n'
            agent.start()
            ended_at = result_of(load, 30)['ended_at']
            times.append((ended_at - float(stamp.read_text())) * 1000)
            agent.stop()
    return times


def start_table(driver, times):
    table('From exec to the answer to a request that was waiting, %s driver'
          % driver, ('ms', 'min', 'median', 'max', 'target'),
          [('droverd, %d starts' % len(times), '%.0f' % min(times),
            '%.0f' % statistics.median(times), '%.0f' % max(times),
            '<= %d' % START_MS)])


def start_fake(place):
    start_table('fake', start_times(place))


def start_libvirt(place):
    start_table('libvirt', start_times(place, place.lab.hosta))


# ---- Migration --------------------------------------------------------------

DONE = 'compute.instance.live_migration._post.end'
FAILED = 'compute.instance.live_migration._rollback.end'


class Ends:
    """`droverctl events`, and when it told of the end of a migration."""

    def __init__(self, agent):
        self.ends = []
        self._process = subprocess.Popen(
            bound(agent._command('droverctl', 'events', '--json')),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self._process.stdout:
            now = time.monotonic()
            event = json.loads(line)['event_type']
            if event in (DONE, FAILED):
                self.ends.append((event, now))

    def wait(self, count):
        wait_for(lambda: len(self.ends) >= count, 120, 'the migration ends',
                 interval=0.005)
        event, when = self.ends[count - 1]
        assert event == DONE, event
        return when

    def close(self):
        self._process.terminate()
        self._process.wait(10)


def with_virsh(guest, source, dest):
    """Seconds; with the flags that the agent uses for such a guest."""
    command = source.argv(
        'virsh', '-q', '-c', 'qemu:///system', 'migrate', '--live', '--p2p',
        '--persistent', '--undefinesource', guest.name,
        'qemu+tcp://%s/system' % dest.name)
    start = time.monotonic()
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=120)
    return time.monotonic() - start


def with_drover(guest, agent, dest, ends):
    count = len(ends.ends) + 1
    command = agent._command('droverctl', 'migrate', guest.name, dest.name)
    start = time.monotonic()
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=120,
                   stdout=subprocess.DEVNULL)
    return ends.wait(count) - start


def last_job(guest, dest):
    """Seconds that libvirt counted: of the last transfer, and of the pause in
    it.  It says so once."""
    said = dest.virsh('domjobinfo', guest.name, '--completed')
    return [int(re.search(r'^%s: *(\d+) *ms' % what, said, re.M)[1]) / 1000
            for what in ('Time elapsed', 'Total downtime')]


def wait_known(agents, guest, host):
    """Until the agents agree with libvirt on where the guest is."""
    def known():
        return [(agent.host, instance['host'], instance['vm_state'])
                for agent in agents
                for instance in agent.ctl_json('instance', 'list')
                if instance['uuid'] == guest.uuid]

    wait_for(lambda: {each[1] for each in known()} == {host.name}, 30,
             lambda: 'that %s is on %s is known, instead of %s' % (
                 guest.name, host.name, known()))


Sample = collections.namedtuple('Sample', 'taken transfer downtime gap')


def migration(place):
    for mib in place.guests_mib:
        if 2 * mib + SPARE_MIB > available_mib():
            print('left out: a guest of %d MiB, twice, in %d MiB of memory'
                  % (mib, available_mib()))
        else:
            migrate_one(place, mib)


def migrate_one(place, mib):
    hosts = itertools.cycle([place.lab.hosta, place.lab.hostb])
    samples = {'virsh': [], 'drover': []}
    with contextlib.ExitStack() as stack:
        agents = {host.name: stack.enter_context(place.agent(on=host))
                  for host in place.lab.hosts.values()}
        for agent in agents.values():
            agent.start()
        # Without a disk: what is moved is memory alone, both times.
        guest = place.lab.boot(place.lab.hosta, 'bench%d' % mib, disk=None,
                               memory=mib)
        ends = stack.enter_context(contextlib.closing(
            Ends(agents['hosta'])))
        source = next(hosts)
        # There and back with one, there and back with the other.
        for number in range(2 * N_MIGRATIONS):
            dest = next(hosts)
            wait_known(agents.values(), guest, source)
            guest.ticks.wait_more(20)
            since = guest.ticks.last
            if number // 2 % 2 == 0:
                name, taken = 'virsh', with_virsh(guest, source, dest)
            else:
                name, taken = 'drover', with_drover(
                    guest, agents[source.name], dest, ends)
            guest.ticks.wait_more(20)
            samples[name].append(Sample(
                taken, *last_job(guest, dest), guest.ticks.longest_gap(since)))
            assert guest.runs_on() == dest.name
            source = dest
        faults = guest.ticks.faults()
    assert not faults, faults
    migration_table(samples, mib)
    guest.remove()


def available_mib():
    with open('/proc/meminfo', encoding='ascii') as meminfo:
        return int(re.search(r'^MemAvailable: *(\d+) kB', meminfo.read(),
                             re.M)[1]) // 1024


def migration_table(samples, mib):
    rows, medians = [], {}
    for name, ones in samples.items():
        taken = [one.taken for one in ones]
        median = medians[name] = [statistics.median(values) for values in zip(
            *((one.taken, one.taken - one.transfer, one.transfer,
               one.downtime, one.gap) for one in ones))]
        rows.append([name, '%.2f' % min(taken), '%.2f' % median[0],
                     '%.2f' % max(taken), '%.2f' % median[2],
                     '%.2f' % median[1], '%.3f' % median[3],
                     '%.3f' % median[4]])
    ours, theirs = medians['drover'], medians['virsh']
    table('Live migration of a guest of %d MiB, %d times each'
          % (mib, N_MIGRATIONS),
          ('s', 'min', 'median', 'max', 'transfer', 'all else', 'downtime',
           'longest gap'), rows,
          'added by drover: %+.2f s to the median, %+.2f s to all else '
          '(target: <= %.1f s); against virsh: %.2f of its time, %.2f of its '
          'downtime, %.2f of its gap between two ticks of the guest' % (
              ours[0] - theirs[0], ours[1] - theirs[1], MIGRATION_ADDED_S,
              *(one / other if other else 0 for one, other in zip(
                  (ours[0], ours[3], ours[4]),
                  (theirs[0], theirs[3], theirs[4])))))
