"""The demo's play; runs inside the lab."""

import contextlib
import json
import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]
                       / 'functional'))

from harness.droverd import Droverd  # noqa: E402
from harness.lab import Lab  # noqa: E402
from harness.process import bound  # noqa: E402
from harness.wait import wait_for  # noqa: E402

GUEST = 'web1'


def say(text):
    print('\n== ' + text, flush=True)


class Events:
    """`droverctl events`, listened to."""

    def __init__(self, agent):
        self.seen = []
        command = agent._command('droverctl', 'events', '--json')
        self._process = subprocess.Popen(
            bound(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self._process.stderr.readline()  # It is listening.
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self._process.stdout:
            self.seen.append(json.loads(line)['event_type'])

    def legacy(self):
        return [event for event in list(self.seen)
                if event.startswith('compute.instance.live')]

    def close(self):
        self._process.terminate()
        self._process.wait(10)


def show(agent, *words):
    """Runs droverctl as a person would, who sees what it says."""
    print('$ droverctl ' + ' '.join(words), flush=True)
    subprocess.run(bound(agent._command('droverctl', *words)),
                   stdin=subprocess.DEVNULL, check=True, timeout=120)


def newest(agent, name=GUEST):
    return agent.ctl_json('migration', 'show', name)


def wait_settled(agent, name=GUEST):
    final = ('completed', 'failed', 'cancelled', 'error')
    wait_for(lambda: newest(agent, name)['status'] in final, 60,
             'the migration is over')
    return newest(agent, name)


def summary(guest, before, migration, since, events, agents):
    say('what happened')
    rows = [
        ('guest', '%s, alive (tick %d)' % (guest.name, guest.ticks.last)),
        ('ran before on', before),
        ('runs now on', guest.runs_on()),
        ('total time', '%.1f s' % (migration['total_ms'] / 1000)),
        ('downtime by libvirt', '%s ms' % migration['downtime_ms']),
        ('longest gap of ticks', '%.0f ms (they come every 50 ms)' % (
            guest.ticks.longest_gap(since) * 1000)),
        ('ticks lost or repeated', str(len(guest.ticks.faults()))),
        ('notifications', '\n%25s' % ''.join(
            '%s\n%25s' % (event.replace('compute.instance.', ''), '')
            for event in events).rstrip()),
    ]
    for agent in agents:
        resident, private = agent.memory()
        rows.append(('memory of ' + agent.host,
                     '%.1f MiB resident, %.1f MiB private' % (
                         resident / 1024, private / 1024)))
    for name, value in rows:
        print('%23s  %s' % (name, value.strip()))


def move(lab, source, dest, agents):
    guest = lab.boot(lab.hosta, GUEST, disk='qcow2', disk_mib=48)
    wait_for(lambda: [g for g in source.ctl_json('instance', 'list')
                      if g['uuid'] == guest.uuid], 30, 'guest is adopted')
    show(source, 'host', 'list')
    show(source, 'instance', 'list')

    say('moving it while it runs, disk and all')
    with contextlib.closing(Events(dest)) as events:
        since = guest.ticks.last
        show(source, 'migrate', GUEST, 'hostb', '--block-migrate', '--watch')
        guest.ticks.wait_more(20)
        wait_for(lambda: len(events.legacy()) >= 6, 10, 'six notifications')
        migration = newest(source)
        summary(guest, 'hosta', migration, since, events.legacy(), agents)
    assert migration['status'] == 'completed', migration
    assert guest.runs_on() == 'hostb'
    return guest


def turn_back(guest, dest, source):
    say('sending it back, and changing our mind on the way')
    show(dest, 'migrate', GUEST, 'hosta', '--block-migrate')
    wait_for(lambda: newest(dest)['status'] == 'running', 60,
             'the transfer runs')
    show(dest, 'migration', 'abort', GUEST)
    migration = wait_settled(dest)
    print('the migration is %s; %s runs on %s' % (
        migration['status'], GUEST, guest.runs_on()))
    guest.ticks.wait_more(20)
    assert migration['status'] == 'cancelled', migration
    assert guest.runs_on() == 'hostb'
    assert not guest.ticks.faults(), guest.ticks.faults()
    left = list(source.on.outer_instances.glob(guest.uuid))
    print('left over on hosta: %s' % (left or 'nothing'))
    assert not left


def survive(guest, source, dest):
    say('sending it back after all, and killing the agent that does it')
    since = guest.ticks.last
    show(source, 'migrate', GUEST, dest.host, '--block-migrate')
    wait_for(lambda: newest(source)['memory_processed'], 60,
             'memory is on its way')
    source.kill()
    print('droverd on %s: killed (-9), in the middle of it' % source.host)
    start = time.monotonic()
    source.start()
    print('droverd on %s: started again, after %.0f ms it knows where it was' %
          (source.host, (time.monotonic() - start) * 1000))
    wait_for(lambda: newest(source)['elapsed_ms'] or
             newest(source)['status'] != 'running', 60, 'it is taken up')
    show(source, 'migration', 'show', GUEST)
    migration = wait_settled(source)
    guest.ticks.wait_more(20)
    print('the migration is %s; %s runs on %s; ticks lost or repeated: %d, '
          'longest gap %.0f ms' % (
              migration['status'], GUEST, guest.runs_on(),
              len(guest.ticks.faults()),
              guest.ticks.longest_gap(since) * 1000), flush=True)
    assert migration['status'] == 'completed', migration
    assert guest.runs_on() == dest.host
    assert not guest.ticks.faults(), guest.ticks.faults()


def foretell(lab, source, name, dirty):
    """Asks for a forecast, then shows what comes of it."""
    guest = lab.boot(lab.hosta, name, disk=None, memory=192, dirty=dirty)
    wait_for(lambda: [g for g in source.ctl_json('instance', 'list')
                      if g['uuid'] == guest.uuid], 30, 'guest is adopted')
    show(source, 'migrate', name, 'hostb', '--check')
    forecast = source.ctl_json('migrate', name, 'hostb', '--check')['forecast']
    show(source, 'migrate', name, 'hostb')
    # Three passes over memory, and no nearer to the end.
    wait_for(lambda: newest(source, name)['status'] == 'completed' or
             (newest(source, name)['iteration'] or 0) > 3, 60,
             'it is over, or comes to nothing')
    seen = newest(source, name)
    if seen['status'] != 'completed':
        show(source, 'migration', 'abort', name)
    migration = wait_settled(source, name)
    print('forecast       %s' % forecast['text'])
    print('what happened  %s after %.1f s, %s passes, %d ms downtime; %s runs '
          'on %s' % (migration['status'], (seen['elapsed_ms'] or 0) / 1000,
                     seen['iteration'], migration['downtime_ms'] or 0, name,
                     guest.runs_on()), flush=True)
    happened = {'completed': 'converges', 'cancelled': 'diverges'}
    assert happened[migration['status']] == forecast['verdict'], forecast
    guest.remove()


def main():
    start = time.monotonic()
    lab = Lab()
    # Slow enough to be watched; few passes, as QEMU without KVM now and then
    # loses what the guest writes meanwhile.
    settings = {'libvirt': {'live_migration_bandwidth': 24,
                            'live_migration_downtime': 1500,
                            'live_migration_downtime_steps': 3}}
    agents = []
    try:
        say('starting droverd on both')
        for host in (lab.hosta, lab.hostb):
            directory = lab.directory / ('droverd-' + host.name)
            agents.append(Droverd(directory, host.name, lab.url, host,
                                  settings).start())
        say('booting a guest with a disk on hosta; it ticks 20 times a second')
        guest = move(lab, *agents, agents)
        turn_back(guest, agents[1], agents[0])
        survive(guest, agents[1], agents[0])
        say('what is to be expected: of a guest that writes little ...')
        foretell(lab, agents[0], 'calm', None)
        say('... and of one that rewrites 96 MiB without pause')
        foretell(lab, agents[0], 'busy', 96)
    finally:
        for agent in agents:
            if agent.is_running:
                agent.stop()
        lab.restore()
    say('everything is stopped and removed (%.0f s)'
        % (time.monotonic() - start))


main()
