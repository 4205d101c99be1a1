"""A service and a client that are nothing but rpc/: see ../rpc_echo.c."""

import json
import os
import pathlib
import signal
import subprocess
import threading

import pytest

from .droverd import build_directory
from .process import bound, run, tail
from .wait import wait_for

PROGRAM = 'tests/functional/rpc_echo'


def program():
    return pathlib.Path(build_directory()) / PROGRAM


class Echo:
    """A service on topic compute: echo, sleep, fail, none, count, who."""

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
            self.lines.append(json.loads(line))

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
        count = len(self.find('met'))
        self.process.send_signal(signal.SIGUSR2)
        assert self.wait_for('met', count + 1)['hosts'] == hosts

    def stop(self, deadline=30):
        """Ends it in good order; returns its counters."""
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
            service.wait_for('up')
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
def own(broker):
    """Runs our own client: own('call', 'echo', '{}', to='host1')."""
    if not program().exists():
        pytest.skip('no ' + str(program()))

    def client(*words, to=None, version='6.0', options=()):
        if to:
            options = (*options, '--to', to)
        return run_client(broker.url, '--version', version, *options, *words)

    return client
