"""Where it is measured, and how results are printed."""

import contextlib
import itertools
import json
import pathlib
import subprocess

from harness.droverd import Droverd, build_directory
from harness.process import bound
from harness.wait import wait_for

build = build_directory()
PROGRAMS = {name: build / 'tests' / 'bench' / name
            for name in ('echo', 'load', 'libvirt_client')}


class Place:
    """Where it is measured: a directory, a broker and, perhaps, a lab."""

    _numbers = itertools.count(1)

    n_calls = 100000  # Of "flat".
    n_agents = 500  # Of "many".
    guests_mib = (128, 1024, 4096)  # Of "migration".

    def __init__(self, directory, broker, lab=None):
        self.directory = pathlib.Path(directory)
        self.broker = broker
        self.lab = lab

    @contextlib.contextmanager
    def agent(self, host=None, on=None, settings=None, **more):
        """An agent that ends with the block; on a host of the lab it is that
        host's and has libvirt, elsewhere a new one's."""
        host = host or (on.name if on else 'bench%d' % next(self._numbers))
        directory = self.directory / ('droverd-%s-%d' % (
            host, next(self._numbers)))
        agent = Droverd(directory, host, self.broker.url, on=on,
                        settings=settings, **more)
        try:
            yield agent
            if agent.is_running:
                agent.stop()
        finally:
            agent.kill()

    def load(self, key, in_flight, calls, requests, *options):
        """Starts a load; its result is what result_of() reads."""
        return subprocess.Popen(
            bound([PROGRAMS['load'], *options, self.broker.address,
                   self.broker.port, key, in_flight, calls,
                   *(request.write(self.directory) for request in requests)]),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def result_of(load, timeout=120):
    text, _ = load.communicate(timeout=timeout)
    if load.returncode:
        raise AssertionError('load failed, status %d' % load.returncode)
    return json.loads(text.splitlines()[-1])


def table(title, head, rows, note=None):
    rows = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    print('\n%s\n' % title)
    for number, row in enumerate(rows):
        first, *rest = zip(row, widths)
        print('  ' + first[0].ljust(first[1]) + ''.join(
            '  ' + cell.rjust(width) for cell, width in rest))
        if number == 0:
            print('  ' + '  '.join('-' * width for width in widths))
    if note:
        print('\n  ' + note)
    print(end='', flush=True)


def memory_of(pid):
    """Resident and private dirty MiB."""
    sums = {}
    rollup = pathlib.Path('/proc/%d/smaps_rollup' % pid).read_text()
    for line in rollup.splitlines()[1:]:
        name, value, _ = line.split()
        sums[name] = int(value) / 1024
    return sums['Rss:'], sums['Private_Dirty:']


def settled_memory_of(pid, n_same=10):
    """The same, once it no longer changes."""
    seen = [memory_of(pid)]

    def is_settled():
        seen.append(memory_of(pid))
        return len(seen) > n_same and len(set(seen[-n_same:])) == 1

    wait_for(is_settled, 60, 'memory no longer changes', interval=0.1)
    return seen[-1]
