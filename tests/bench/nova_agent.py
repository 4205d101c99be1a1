"""What an agent costs that does nothing: a measurement of tests/bench/nova."""

import pathlib
import statistics
import time

import bodies
from cloud.moves import Guest
from place import Place, memory_of, result_of, table

KINDS = {'nova': 'nova-compute', 'drover': 'droverd'}


class Ping:
    """The request, with what either writes into its answer: only one of them
    puts spaces into its JSON."""

    def write(self, directory):
        path = directory / 'nova-ping.request'
        path.write_text('\\"service\\"\n%s\n' % bodies.ping().body)
        return path


def family(pid):
    """A process and all that it started."""
    children = pathlib.Path('/proc/%d/task/%d/children' % (pid, pid))
    found = [pid]
    for child in children.read_text().split():
        found += family(int(child))
    return found


def seconds_used(pid):
    """Processor time of one's threads, without that of children."""
    return sum(int(path.read_text().split()[0]) / 1e9 for path in
               pathlib.Path('/proc/%d/task' % pid).glob('*/schedstat'))


def process_of(agent):
    return agent.nova.pid if agent.kind == 'nova' else agent.drover.pid


def measure_idle(agent, seconds):
    """(MiB resident, MiB with its helpers, seconds used in an hour)."""
    pid = process_of(agent)
    before, start = seconds_used(pid), time.monotonic()
    time.sleep(seconds)
    used = (seconds_used(pid) - before) / (time.monotonic() - start) * 3600
    memory = [memory_of(each)[0] for each in family(pid)]
    return memory[0], sum(memory), used


def measure_start(cloud, place, agent, kind):
    """Seconds from exec to the answer to a request that was waiting."""
    agent.stop()
    load = place.load('compute.' + agent.name, 1, 1, [Ping()],
                      '--announce')
    assert load.stdout.readline() == 'sent\n'
    start = time.time()
    if kind == 'nova':
        agent.start_nova(wait=False)
    else:
        agent.start_drover(wait=False)
    ended_at = result_of(load, 300)['ended_at']
    cloud.check()
    agent.wait_up()
    return ended_at - start


def agents(cloud, wanted):
    """Both kinds at hosta, which has one guest with a port."""
    place = Place(cloud.places.top, cloud.broker)
    agent = cloud.agents['hosta'].become('nova')
    cloud.clear()
    Guest(cloud, agent.storage)
    rows, figures = [], {}
    for kind, name in KINDS.items():
        agent.become(kind)
        resident, whole, used = measure_idle(agent, wanted.idle)
        starts = [measure_start(cloud, place, agent, kind)
                  for _ in range(wanted.starts)]
        figures[kind] = resident, statistics.median(starts), used
        rows.append((name, '%.1f' % resident, '%.1f' % whole,
                     '%.2f' % figures[kind][1], '%.1f' % used))
    cloud.clear()
    table('One agent, idle, with one guest (%d starts; %d s for an hour)' % (
        wanted.starts, wanted.idle),
          ('', 'MiB', 'MiB with helpers', 's to start', 's of CPU an hour'),
          rows, 'droverd against nova-compute: memory %.3f, start %.3f, '
          'CPU %.3f' % tuple(
              ours / theirs if theirs else float('nan') for ours, theirs
              in zip(figures['drover'], figures['nova'])))
