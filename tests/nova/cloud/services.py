"""Processes that are the cloud's: in the lab, or on one of its hosts."""

import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request

from harness.process import bound, tail
from harness.wait import wait_for

# Nothing of the machine's own configuration of Python.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items()
       if not name.startswith(('OS_', 'PYTHON', 'PYENV'))},
    'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'}


class Service:
    def __init__(self, places, name, argv, environment=None):
        self.name = name
        self.log = places.logs / (name + '.log')
        self.argv = argv
        self._environment = {**ENVIRONMENT, **(environment or {})}
        self._process = None

    def start(self):
        assert not self.is_running
        with open(self.log, 'ab') as log:
            self._process = subprocess.Popen(
                bound(self.argv), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, env=self._environment)
        return self

    @property
    def is_running(self):
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self):
        return self._process.pid

    def signal(self, number):
        os.kill(self.pid, number)

    def stop(self, deadline=60):
        """Ends it in good order; it has 'deadline' seconds for that."""
        if self.is_running:
            self.signal(signal.SIGTERM)
            try:
                self._process.wait(deadline)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError('%s did not end within %g s\n%s' % (
                    self.name, deadline, tail(self.log))) from None

    def kill(self):
        """Ends it at once, as a crash would."""
        if self.is_running:
            self._process.kill()
            self._process.wait(10)

    def check(self):
        """Fails, with the end of its log, if it ended by itself."""
        assert self.is_running, '%s ended with status %s\n%s' % (
            self.name, self._process.poll(), tail(self.log))
        return False

    def wait_serving(self, address, port, deadline=300):
        """Waits until something listens there."""
        def listens():
            self.check()
            try:
                socket.create_connection((address, port), 5).close()
                return True
            except OSError:
                return False
        wait_for(listens, deadline, '%s listens on %s:%d' % (
            self.name, address, port), interval=0.1)
        return self

    def wait_answering(self, url, deadline=300):
        """Waits until it answers HTTP there, with whatever status."""
        def answers():
            self.check()
            try:
                urllib.request.urlopen(url, timeout=10).close()
                return True
            except urllib.error.HTTPError as error:
                return error.code < 500
            except OSError:
                return False
        wait_for(answers, deadline, '%s answers' % url, interval=0.1)
        return self


class Batch:
    """Commands that run side by side, once each, with one log."""

    def __init__(self, places):
        self._places = places
        self._running = []

    def run(self, name, *commands):
        """Runs commands one after the other, beside those of others."""
        log = self._places.logs / (name + '.log')
        with open(log, 'ab') as output:
            # sh ends at the first that fails.
            text = ' && '.join(
                ' '.join("'%s'" % word for word in command)
                for command in commands)
            self._running.append((name, log, subprocess.Popen(
                bound(['sh', '-c', text]), stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, env=ENVIRONMENT)))

    def wait(self, deadline=1200):
        while self._running:
            name, log, process = self._running.pop(0)
            status = process.wait(deadline)
            assert status == 0, '%s: exit status %d\n%s' % (
                name, status, tail(log))
