"""How long a guest was silent: pings, fifty a second, while one looks away."""

import re
import subprocess

from harness.process import bound, run
from harness.wait import wait_for

PERIOD = 0.02
REPLY = re.compile(r'\[([\d.]+)\].*icmp_seq=(\d+).*time=')


def wait_alive(address, deadline=120):
    """Waits until a guest answers a ping."""
    wait_for(lambda: run(['ping', '-c', '1', '-W', '1', address],
                         check=False).returncode == 0,
             deadline, 'ping of ' + address, interval=0.2)


class Pings:
    """with Pings('10.79.0.117', path) as pings: ...; pings.longest_gap()"""

    def __init__(self, address, path):
        self._address = address
        self._path = path
        self._process = None

    def __enter__(self):
        with open(self._path, 'wb') as output:
            self._process = subprocess.Popen(
                bound(['ping', '-n', '-D', '-i', PERIOD, self._address]),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        wait_for(lambda: len(self._replies()) > 5, 30, 'pings are answered')
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait(10)

    def _replies(self):
        text = self._path.read_text(errors='replace')
        return [(float(when), int(number))
                for when, number in REPLY.findall(text)]

    def wait_more(self, deadline=60):
        """Waits until the guest answers pings that were sent from now on."""
        last = len(self._replies())
        wait_for(lambda: len(self._replies()) > last + 5, deadline,
                 'pings are answered again')

    def longest_gap(self):
        """Seconds between two answers that follow each other, the longest."""
        times = [when for when, _ in self._replies()]
        return max((b - a for a, b in zip(times, times[1:])), default=0.0)
