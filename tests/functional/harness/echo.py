"""A service and a client that are nothing but rpc/: see ../rpc_echo.c."""

import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

import pytest

from .droverd import build_directory
from .process import bound, run, tail
from .raw import opened
from .wait import wait_for

PROGRAM = 'tests/functional/rpc_echo'


def program():
    return pathlib.Path(build_directory()) / PROGRAM


# More than what a body of megabytes leaves with the allocator.
GROWTH_MAX = 192 << 20


class Echo:
    """A service on topic compute: echo, sleep, fail, none, count, who, ...

    Where 'has_to_be_unharmed' (see the fixture of that name) it must end as
    it began: two connections, no descriptor more, about the same memory, and
    no error in its log.
    """

    has_to_be_unharmed = False

    def __init__(self, url, host, log, *options, environment=None):
        self.host = host
        self.lines = []
        self.log = log
        with open(log, 'ab') as errors:
            self.process = subprocess.Popen(
                bound([program(), '--url', url, '--host', host, *options,
                       'serve']),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=errors, text=True,
                env={**os.environ, **(environment or {})})
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append({**json.loads(line), 'at': time.monotonic()})

    def find(self, event):
        return [line for line in self.lines if line['event'] == event]

    def wait_for(self, event, count=1, deadline=30.0):
        """The count-th line of that event."""
        return wait_for(
            lambda: self.find(event)[count - 1:count], deadline,
            lambda: 'event %s\n%s' % (event, tail(self.log)))[0]

    def status(self):
        count = len(self.find('status'))
        self.process.send_signal(signal.SIGUSR1)
        return self.wait_for('status', count + 1)

    def meet(self, hosts):
        """Has it ask all services, and so many answer."""
        assert self.meets() == hosts

    def meets(self):
        count = len(self.find('met'))
        self.process.send_signal(signal.SIGUSR2)
        return self.wait_for('met', count + 1)['hosts']

    def connections(self):
        return sum(link.startswith('socket:') for link in self._descriptors())

    def _descriptors(self):
        links = []
        for entry in pathlib.Path('/proc/%d/fd' % self.process.pid).iterdir():
            try:
                links.append(os.readlink(entry))
            except OSError:
                pass  # Closed meanwhile.
        return links

    def _memory(self):
        statm = pathlib.Path('/proc/%d/statm' % self.process.pid).read_text()
        return int(statm.split()[1]) * os.sysconf('SC_PAGE_SIZE')

    def wait_ready(self):
        self.wait_for('up')
        self._n_descriptors = len(self._descriptors())
        self._memory_before = self._memory()

    def check_unharmed(self):
        """As it was when it came up."""
        wait_for(lambda: self.connections() == 2 and
                 len(self._descriptors()) == self._n_descriptors, 10,
                 lambda: 'two connections, %d descriptors; there are %s' % (
                     self._n_descriptors, self._descriptors()))
        maps = pathlib.Path('/proc/%d/maps' % self.process.pid).read_text()
        if 'libasan' not in maps:  # Which keeps what was freed.
            grown = self._memory() - self._memory_before
            assert grown < GROWTH_MAX, 'grew by %d bytes' % grown
        log = self.log.read_text(errors='replace')
        assert '|ERROR|' not in log, log

    def stop(self, deadline=30):
        """Ends it in good order; returns its counters."""
        if self.has_to_be_unharmed:
            self.check_unharmed()
        self.process.send_signal(signal.SIGTERM)
        self.wait_end(deadline)
        return self.find('stopped')[0]

    def wait_end(self, deadline=30):
        status = self.process.wait(deadline)
        self._reader.join(10)
        assert status == 0, 'exit status %d\n%s' % (status, tail(self.log))

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


def run_client(url, *words, timeout=60):
    """Runs rpc_echo as a client; returns its lines."""
    done = run([program(), '--url', url, *words], timeout=timeout,
               check=False)
    assert done.returncode in (0, 1), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def echo(broker, tmp_path):
    """Makes services: echo('host1', '--heartbeat', 8)."""
    if not program().exists():
        pytest.skip('no ' + str(program()))
    services = []

    def make(host='host1', *options, url=None, ready=True, **more):
        log = tmp_path / ('echo%d.log' % len(services))
        service = Echo(url or broker.url, host, log, *map(str, options),
                       **more)
        services.append(service)
        if ready:
            service.wait_ready()
        return service

    yield make
    # All end in good order, which is also when leaks are reported.
    try:
        for service in services:
            if service.process.poll() is None:
                service.stop()
    finally:
        for service in services:
            service.kill()


@pytest.fixture
def unharmed(monkeypatch):
    """What the test does to a service leaves no trace in it."""
    monkeypatch.setattr(Echo, 'has_to_be_unharmed', True)


@pytest.fixture
def own(broker):
    """Runs our own client: own('call', 'echo', '{}', to='host1')."""
    if not program().exists():
        pytest.skip('no ' + str(program()))

    def client(*words, to=None, version='6.0', options=(), url=None):
        if to:
            options = (*options, '--to', to)
        return run_client(url or broker.url, '--version', version, *options,
                          *words)

    return client


@pytest.fixture
def by_hand(raw, own):
    """Has our own client call somebody whose part the test plays.

    by_hand(answer, '--timeout', 2000) calls answer(request) once the request
    has come in, and returns what the client printed.
    """
    queue = raw.listen('compute.byhand')

    def call(answer, *options):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            lines = pool.submit(own, 'call', 'ask', '{}', to='byhand',
                                options=tuple(map(str, options)))
            answer(opened(raw.read(queue)[0].body))
            return lines.result()[0]

    return call


def call(client, method, **words):
    """Calls the service on host1 as a compute service is called."""
    words.setdefault('_version', '6.0')
    words.setdefault('_server', 'host1')
    return client.call(method, **words)


def peer(oslo_server, **methods):
    """A real server on host2: it echoes its arguments, and has 'methods'."""
    return oslo_server('compute', 'host2', {
        'echo': lambda context, args: args, **methods},
        endpoints=[(None, '6.0')])
