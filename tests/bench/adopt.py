"""How soon an agent that was killed has taken up all it had again."""

import contextlib
import statistics
import time
import uuid as uuids

import bodies
from harness.wait import wait_for
from measure import STAMP, wait_known
from place import result_of, table

TARGET_MS = 1000

N_GUESTS = 100
N_MOVING = 5
N_TIMES = 5
MIB_S = 1  # So slowly that none arrives meanwhile.
SOON = {'rpc_response_timeout': 4}

AT_REST = '''<domain type='%s'>
  <name>rest%d</name>
  <uuid>%s</uuid>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
</domain>
'''


def adopt_fake(place):
    world = place.directory / 'adopt-world'
    common = {**SOON, 'max_concurrent_live_migrations': N_MOVING,
              'instances_path': str(place.directory / 'adopt-instances')}

    def settings(n_guests):
        return {**common, 'fake': {'world': str(world), 'memory_mb': 512,
                                   'guests': n_guests}}

    stamp = place.directory / 'adopt-started'
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(place.agent(
            settings=settings(N_GUESTS), wrapper=[*STAMP, stamp]))
        dest = stack.enter_context(place.agent(settings=settings(0)))
        source.start()
        dest.start()
        names = [one['name'] for one in source.ctl_json('instance', 'list')]
        print_times('the fake driver', [
            killed_and_back(place, source, dest, names[:N_MOVING], stamp)
            for _ in range(N_TIMES)], N_MOVING)


def adopt_libvirt(place):
    host, other = place.lab.hosta, place.lab.hostb
    stamp = place.directory / 'adopt-started'
    with contextlib.ExitStack() as stack:
        stack.callback(place.lab.restore)
        guests = [place.lab.boot(host, 'adopt%d' % number, disk=None)
                  for number in range(2)]
        paths = []
        for number in range(N_GUESTS - len(guests)):
            paths.append(place.directory / ('rest%d.xml' % number))
            paths[-1].write_text(AT_REST % (
                place.lab.virt_type, number, uuids.uuid4()))
        host.virsh('; '.join('define %s' % path for path in paths))
        source = stack.enter_context(place.agent(
            on=host, settings=SOON, wrapper=[*STAMP, stamp]))
        dest = stack.enter_context(place.agent(on=other, settings=SOON))
        source.start()
        dest.start()
        for guest in guests:
            wait_known((source, dest), guest, host)
        print_times('libvirt', [
            killed_and_back(place, source, dest, [guests[0].name], stamp)
            for _ in range(N_TIMES)], 1)


def killed_and_back(place, source, dest, moving, stamp):
    """Milliseconds from exec until it says that all is taken up, and until a
    request was answered that waited for it."""
    for name in moving:
        source.ctl('migrate', name, dest.host, '--bandwidth', str(MIB_S))
    wait_for(lambda: statuses(source, moving) == {'running'}, 60,
             lambda: 'all are on their way: %s' % statuses(source, moving))
    source.kill()
    load = place.load('compute.' + source.host, 1, 1, [bodies.ping()],
                      '--announce')
    assert load.stdout.readline() == 'sent\n'
    source.start()
    ready_at = time.time()
    answered_at = result_of(load, 30)['ended_at']
    began_at = float(stamp.read_text())
    assert len(source.ctl_json('--host', source.host, 'instance',
                               'list')) == N_GUESTS
    for name in moving:
        source.ctl('migration', 'abort', name, check=False)
    wait_for(lambda: not any(agent.ctl_json('op', 'list')
                             for agent in (source, dest)), 120,
             'all is over')
    assert statuses(source, moving) <= {'cancelled', 'failed'}
    return [(at - began_at) * 1000 for at in (ready_at, answered_at)]


def statuses(agent, names):
    return {agent.ctl_json('migration', 'show', name)['status']
            for name in names}


def print_times(driver, times, n_moving):
    rows = [(what, '%.0f' % min(column), '%.0f' % statistics.median(column),
             '%.0f' % max(column), '<= %d' % TARGET_MS)
            for what, column in zip(('all is taken up',
                                     'a waiting request is answered'),
                                    zip(*times))]
    table('From exec after a kill -9, with %s: %d guests, %d of them moving, '
          '%d times' % (driver, N_GUESTS, n_moving, len(times)),
          ('ms until', 'min', 'median', 'max', 'target'), rows)
