"""A private RabbitMQ, to be stopped and killed at will."""

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess

from .process import bound, run, tail
from .wait import wait_for

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / 'lab' / 'rabbit.sh'

QUEUES = '''io:format("~s~n", [rabbit_json:encode(
  [[element(4, N), M] || [{name, N}, {messages, M}] <-
    rabbit_amqqueue:info_all(<<"/">>, [name, messages])])]).'''


def free_ports(count, address='127.0.0.1'):
    """The first of 'count' ports in a row that nobody uses.

    Below those that connections are given: one of these may be taken by the
    time that somebody listens there.
    """
    with open('/proc/sys/net/ipv4/ip_local_port_range',
              encoding='ascii') as text:
        end = max(int(text.read().split()[0]), 20000)
    for _ in range(100):
        port = random.randrange(10000, end - count)
        with contextlib.ExitStack() as stack:
            try:
                for more in range(count):
                    other = stack.enter_context(socket.socket())
                    other.bind((address, port + more))
            except OSError:
                continue
            return port
    raise AssertionError('no %d free ports in a row' % count)


class Broker:
    def __init__(self, directory, address='127.0.0.1', port=None, pid=None):
        """One that is to be started, or, given 'pid', that runs already."""
        self.directory = pathlib.Path(directory)
        self.address = address
        self.port = port or free_ports(3, address)
        self._pid = pid
        self._process = None
        self.environment = {}  # For the script, beside what there is.

    @classmethod
    def of_lab(cls):
        """The one that runs in the lab."""
        lab = pathlib.Path(os.environ['DROVER_LAB'])
        address, port = (lab / 'broker/address').read_text().split()
        return cls(lab / 'broker', address, int(port),
                   int((lab / 'broker.pid').read_text()))

    @property
    def url(self):
        return 'rabbit://guest:guest@%s:%d/' % (self.address, self.port)

    @property
    def pid(self):
        return self._pid

    @property
    def is_running(self):
        if self._process:
            return self._process.poll() is None
        if self._pid is None:
            return False
        try:
            stat = pathlib.Path('/proc/%d/stat' % self._pid).read_text()
        except OSError:
            return False
        return stat.rpartition(')')[2].split()[0] != 'Z'

    def start(self, timeout=60):
        """Starts it, if it does not run, and waits until it serves."""
        if not self.is_running:
            self.launch()
        self.wait_ready(timeout)

    def launch(self):
        self._process = subprocess.Popen(
            bound([SCRIPT, 'run', self.directory, self.address, self.port]),
            stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, **self.environment})
        self._pid = self._process.pid

    def wait_ready(self, timeout=60):
        wait_for(self._serves, timeout, lambda: 'broker serves\n' + tail(
            self.directory / 'log/console'), interval=0.05)

    def _serves(self):
        """Whether it speaks AMQP: its first frame is a method."""
        try:
            with socket.create_connection((self.address, self.port), 5) as to:
                to.sendall(b'AMQP\0\0\x09\x01')
                return to.recv(1) == b'\x01'
        except OSError:
            return False

    def stop(self, timeout=60):
        """Ends it in good order: connections are closed, queues are saved."""
        self._end(signal.SIGTERM, timeout)

    def kill(self):
        """Ends it at once, as a power cut would."""
        self._end(signal.SIGKILL, 10)

    def restart(self):
        self.stop()
        self.start()

    def _end(self, number, timeout):
        if self.is_running:
            os.kill(self._pid, number)
        if self._process:
            self._process.wait(timeout)
        else:
            wait_for(lambda: not self.is_running, timeout, 'broker ends')
        self._process = self._pid = None

    def pause(self):
        """Stops it from answering without ending it: a broker that hangs."""
        os.kill(self._pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self._pid, signal.SIGCONT)

    def ctl(self, *words):
        """rabbitmqctl; returns what it printed."""
        return run([SCRIPT, 'ctl', self.directory, *words],
                   env={**os.environ, **self.environment}).stdout

    def list(self, what, *columns):
        """What 'rabbitmqctl list_WHAT' says: a list of dictionaries."""
        return json.loads(
            self.ctl('list_' + what, *columns, '--formatter', 'json') or '[]')

    def queues(self):
        """Name and number of messages of every queue."""
        return dict(json.loads(self.ctl('eval', QUEUES).splitlines()[0]))
