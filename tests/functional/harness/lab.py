"""Two hosts with libvirt, as tests/lab/lab.sh makes them.

Only for processes that run inside the lab.
"""

import itertools
import os
import pathlib
import subprocess

from .guest import Guest
from .process import bound, run
from .wait import wait_for

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / 'lab' / 'lab.sh'


def is_inside():
    return 'DROVER_LAB' in os.environ


class Host:
    def __init__(self, lab, name, uri):
        self.lab = lab
        self.name = name
        self.uri = uri
        self.address = uri.split('//')[1].split('/')[0]
        self.virt_type = lab.virt_type
        # What the host calls it, and what it is called from outside.
        self.instances = lab.instances
        self.outer_instances = (
            lab.directory / 'shared' if lab.storage == 'shared'
            else lab.directory / name / 'instances')

    def argv(self, *words):
        """A command that becomes the given one, on this host."""
        return [str(SCRIPT), 'in', self.name, *map(str, words)]

    def run(self, *words, check=True, timeout=60):
        return run(self.argv(*words), check=check, timeout=timeout)

    def popen(self, *words, **more):
        return subprocess.Popen(bound(self.argv(*words)), **more)

    def virsh(self, *words, check=True, timeout=120):
        """virsh against this host; returns what it printed."""
        return run(['virsh', '-q', '-c', self.uri, *words], check=check,
                   timeout=timeout).stdout.strip()

    def state_of(self, name):
        """What libvirt says of a guest: "running", ...; None: no such."""
        # With an unknown name virsh fails, as it does without a libvirtd.
        names = self.virsh('list', '--all', '--name').split()
        if name not in names:
            return None
        return self.virsh('domstate', name, check=False) or None

    def libvirtd(self, order):
        """'start', 'stop' or 'kill' its libvirtd.  Guests run on."""
        # Not through a pipe, which the new libvirtd would keep open.
        subprocess.run([SCRIPT, 'libvirtd', self.name, order], check=True,
                       stdin=subprocess.DEVNULL, timeout=180)

    def link(self, state):
        """Plugs its network cable, 'up' or 'down'."""
        run([SCRIPT, 'link', self.name, state])


class Lab:
    def __init__(self):
        self.directory = pathlib.Path(os.environ['DROVER_LAB'])
        self.instances = pathlib.Path(os.environ['INSTANCES'])
        self.boot_directory = pathlib.Path(os.environ['DROVER_LAB_GUEST'])
        self.virt_type = os.environ['DROVER_LAB_VIRT']
        self.storage = os.environ['DROVER_LAB_STORAGE']
        self.url = os.environ.get('DROVER_LAB_URL')
        self.hosts = {
            name: Host(self, name, os.environ['LIBVIRT_' + name.upper()])
            for name in os.environ['DROVER_LAB_HOSTS'].split()}
        self.hosta = self.hosts['hosta']
        self.hostb = self.hosts['hostb']
        self._numbers = itertools.count(1)
        self._guests = []

    def boot(self, host, name=None, wait=True, **options):
        """Boots a guest on 'host'; see Guest for the options."""
        guest = Guest(self, host, name or 'guest%d' % next(self._numbers),
                      **options)
        self._guests.append(guest)
        return guest.wait_up() if wait else guest

    def restore(self):
        """Removes all guests and mends what tests break on purpose."""
        for host in self.hosts.values():
            host.link('up')
            alive = subprocess.run(
                ['virsh', '-q', '-c', host.uri, 'version'],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                timeout=60, check=False)
            if alive.returncode:
                host.libvirtd('start')
        while self._guests:
            self._guests.pop().remove()
        for host in self.hosts.values():
            # Those that were made by the agent and not by boot().
            for name in host.virsh('list', '--all', '--name').split():
                host.virsh('destroy', name, check=False)
                host.virsh('undefine', name, check=False)
            wait_for(lambda: not host.virsh('list', '--all', '--name'), 10,
                     'no guest on ' + host.name)
