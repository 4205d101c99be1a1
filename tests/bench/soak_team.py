"""Agents, their broker and their guests, as tests/bench/soak disturbs them.

A team knows what is true, from the hypervisors themselves, and how to bring
everything back up.  What is done to it is in soak_acts.py, what must hold in
soak_check.py.
"""

import contextlib
import fcntl
import pathlib
import random
import signal
import subprocess
import threading
import time

from harness.droverd import Droverd
from harness.guest import LAST_WORDS
from harness.oslo import Listener
from harness.process import bound
from harness.wait import wait_for

N_FAKE_GUESTS = 20
N_REAL_GUESTS = 2
# A call to one that died is over soon.
SOON = {'rpc_response_timeout': 4}
# Slow enough that an act falls into the middle of it.
REAL_MIB_S = (6, 12, 0)
FAKE_MIB_S = (12, 32, 100, 0)


class Contradiction(Exception):
    """Something does not hold."""


class History:
    """What was done and seen, with times since the beginning."""

    def __init__(self, path, seed):
        self.began = time.monotonic()
        self.seed = seed
        self._file = open(path, 'a', encoding='utf-8')
        self.path = path

    def age(self):
        return time.monotonic() - self.began

    def note(self, text):
        self._file.write('%9.2f  %s\n' % (self.age(), text))
        self._file.flush()

    def tail(self, n_lines=80):
        return '\n'.join(pathlib.Path(self.path).read_text(
            encoding='utf-8').splitlines()[-n_lines:])


class Team:
    """What both kinds have in common.

    agents      by host
    steady      hosts whose agents are never ended, to see what they leak
    """

    name = None
    steady = ()

    def __init__(self, directory, broker, seed):
        self.directory = pathlib.Path(directory)
        self.broker = broker
        self.random = random.Random('%s %s' % (seed, self.name))
        self.history = History(self.directory / ('history-%s' % self.name),
                               seed)
        self.frozen = set()
        self.agents = {}
        self.listener = None
        self._asking = []
        self._waiting = threading.Event()  # Never set.

    def begin(self):
        for agent in self.agents.values():
            agent.start()
        self.listener = Listener(self.broker.url,
                                 self.directory / 'listener.log')

    def end(self):
        """In good order."""
        for agent in self.agents.values():
            agent.stop()

    def close(self):
        for host in list(self.frozen):
            self.thaw(host)
        for agent in self.agents.values():
            agent.kill()
        for one in self._asking:
            one.kill()
            one.wait(10)
        if self.listener:
            self.listener.close()

    # ---- Agents ---------------------------------------------------------

    def kill(self, host):
        self.agents[host].kill()
        self.frozen.discard(host)

    def freeze(self, host):
        if self.agents[host].is_running:
            self.agents[host].signal(signal.SIGSTOP)
            self.frozen.add(host)

    def thaw(self, host):
        self.frozen.discard(host)
        if self.agents[host].is_running:
            self.agents[host].signal(signal.SIGCONT)

    def start(self, host):
        if not self.agents[host].is_running:
            self.agents[host].start(wait=False)

    def mends(self):
        """What would bring everything up again: [(name, function)]."""
        due = [('thaw %s' % host, lambda host=host: self.thaw(host))
               for host in sorted(self.frozen)]
        due += [('start %s' % host, lambda host=host: self.start(host))
                for host, agent in self.agents.items()
                if not agent.is_running]
        if not self.broker.is_running:
            due.append(('start the broker', self.broker.launch))
        self.random.shuffle(due)
        return due

    def mended(self):
        """Last of all: what must not be left."""
        self.broker.resume()
        self.broker.wait_ready(120)

    def pause(self, least_s, most_s):
        """Of chance length: an act shall come at any moment."""
        self._waiting.wait(self.random.uniform(least_s, most_s))

    def ask(self, agent, *words, **more):
        """Runs droverctl beside us; returns its process."""
        self._asking = [one for one in self._asking if one.poll() is None]
        self._asking.append(subprocess.Popen(
            bound(agent._command('droverctl', *words)),
            stdin=subprocess.DEVNULL, **{
                'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL,
                **more}))
        return self._asking[-1]

    def alive(self):
        """One that can be asked; None: there is none."""
        hosts = [host for host, agent in self.agents.items()
                 if agent.is_running and host not in self.frozen]
        return self.agents[self.random.choice(hosts)] if hosts else None

    # ---- Guests ---------------------------------------------------------

    def guests(self):
        """{name: UUID} of those that there are."""
        raise NotImplementedError

    def running_at(self, name, hosts):
        """Of 'hosts', looked at in this order, those where it runs."""
        raise NotImplementedError

    def residue(self, name, home):
        """What hosts other than 'home' have of it."""
        raise NotImplementedError

    def see_alive(self):
        """Looks at the guests themselves; replaces those that broke down."""


def is_held(path):
    """Whether one that lives holds this key; those of the dead are no more
    (see drivers/fake_store.h)."""
    with contextlib.suppress(FileNotFoundError), open(path, 'rb') as key:
        try:
            fcntl.flock(key, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def has_forgotten(ticks):
    """Whether a guest lost memory, which a second copy of it would not look
    like: its counter fell back once, while its clock went on."""
    backwards = [(before, after) for before, after in zip(ticks, ticks[1:])
                 if after.number != before.number + 1]
    return len(backwards) == 1 and all(
        after.number <= before.number and after.uptime > before.uptime
        for before, after in backwards)


class FakeTeam(Team):
    name = 'fake'
    steady = ('fakec',)
    hosts = ('fakea', 'fakeb', 'fakec')
    words = ()
    mib_s = FAKE_MIB_S

    def __init__(self, directory, broker, seed):
        super().__init__(directory, broker, seed)
        self.world = self.directory / 'world'
        self.world.mkdir()
        for number, host in enumerate(self.hosts):
            self.agents[host] = Droverd(
                self.directory / host, host, broker.url, settings={
                    **SOON, 'max_concurrent_live_migrations': 3,
                    'instances_path': str(self.directory / 'instances'),
                    'fake': {'world': str(self.world), 'memory_mb': 64,
                             'guests': 0 if number else N_FAKE_GUESTS}})
        self.apart = set()  # Hosts whose hypervisor can't be reached.
        self._guests = {}
        self._starts = {}

    def begin(self):
        super().begin()
        self._guests = {guest['name']: guest['uuid'] for guest in
                        self.agents[self.hosts[0]].ctl_json('instance',
                                                            'list')}
        assert len(self._guests) == N_FAKE_GUESTS
        self._starts = {uuid: self._text(self.hosts[0], uuid)['starts']
                        for uuid in self._guests.values()}

    def steer(self, host, *words):
        if self.agents[host].is_running and host not in self.frozen:
            self.agents[host].ctl('fake', *words, check=False)

    def mended(self):
        super().mended()
        for host in self.apart:
            wait_for(lambda: not self.agents[host].ctl(
                'fake', 'connect', check=False).returncode, 60,
                'the hypervisor of %s is back' % host, interval=0.2)
        self.apart.clear()

    def _text(self, host, uuid):
        """What the world says of it; empty: it is not there."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.world / host / uuid).read_text().splitlines()
            return dict(line.partition(' ')[::2] for line in lines)
        return {}

    def guests(self):
        return self._guests

    def running_at(self, name, hosts):
        uuid = self._guests[name]
        found = []
        for host in hosts:
            text = self._text(host, uuid)
            if text.get('starts', self._starts[uuid]) != self._starts[uuid]:
                raise Contradiction('%s was started again' % name)
            if text.get('power') == 'running':
                found.append(host)
        return found

    def residue(self, name, home):
        uuid = self._guests[name]
        found = ['%s/%s' % (path.parent.name, path.name)
                 for path in self.world.glob('.incoming.*/' + uuid)
                 if is_held(path)]
        for host in self.hosts:
            files = list(self.world.glob('.files.%s/*%s*' % (host, uuid)))
            if host != home:
                found += ['%s: %s' % (host, path.name) for path in files]
            elif not any(path.name.endswith('disk') for path in files):
                found.append('no disk at ' + home)
        return found


class RealTeam(Team):
    name = 'real'
    hosts = ('hosta', 'hostb')
    words = ('--block-migrate',)
    mib_s = REAL_MIB_S

    def __init__(self, directory, broker, seed, lab):
        super().__init__(directory, broker, seed)
        self.lab = lab
        self.n_broken = 0
        self.down = set()  # Hosts whose libvirtd was ended.
        self.cut = set()  # Hosts whose cable is not plugged.
        self.was_cut = False  # In this round.
        for host in self.hosts:
            self.agents[host] = Droverd(
                self.directory / host, host, broker.url, on=lab.hosts[host],
                settings={**SOON, 'libvirt': {
                    'live_migration_downtime': 3000,
                    'live_migration_downtime_steps': 3}})
        self._guests = {}

    def begin(self):
        super().begin()
        for number in range(N_REAL_GUESTS):
            self.boot(self.hosts[number % 2])

    def boot(self, host):
        guest = self.lab.boot(self.lab.hosts[host])
        self._guests[guest.name] = guest
        return guest

    def end(self):
        super().end()
        self.lab.restore()

    def mends(self):
        """Cables first: a libvirtd is waited for over them."""
        due = super().mends()
        for host in sorted(self.down):
            due.insert(self.random.randint(0, len(due)), (
                'start libvirtd of ' + host,
                lambda host=host: self.libvirtd(host, 'start')))
        return [('plug ' + host, lambda host=host: self.link(host, 'up'))
                for host in sorted(self.cut)] + due

    def mended(self):
        super().mended()
        self.was_cut = False

    def libvirtd(self, host, order):
        self.lab.hosts[host].libvirtd(order)
        (self.down.discard if order == 'start' else self.down.add)(host)

    def link(self, host, state):
        self.lab.hosts[host].link(state)
        (self.cut.discard if state == 'up' else self.cut.add)(host)

    def guests(self):
        return {name: guest.uuid for name, guest in self._guests.items()}

    def running_at(self, name, hosts):
        return [host for host in hosts if
                host not in self.down | self.cut and
                self.lab.hosts[host].state_of(name) == 'running']

    def residue(self, name, home):
        guest = self._guests[name]
        found = []
        for host in self.hosts:
            there = self.lab.hosts[host]
            files = list((there.outer_instances / guest.uuid).glob('*'))
            if host == home:
                if not any(path.name == 'disk' for path in files):
                    found.append('no disk at ' + home)
                continue
            found += ['%s: %s' % (host, path.name) for path in files]
            state = there.state_of(name)
            if state is not None:
                found.append('%s: %s' % (host, state))
        return found

    def see_alive(self):
        """Without KVM QEMU loses pages of a guest that is migrated now and
        then, whoever asks for it (see test_migration.slowly())."""
        for name, guest in list(self._guests.items()):
            try:
                guest.ticks.wait_more(5, 30)
                is_alive = True
            except AssertionError:
                is_alive = False
            said = [line for line in list(guest.ticks.lines)
                    if any(words in line for words in LAST_WORDS)]
            if said or not is_alive:
                if self.lab.virt_type == 'kvm':
                    raise Contradiction('%s broke down: %s' % (
                        name, said or 'no tick'))
                self.replace(guest, said[0] if said else 'it stands still')
                continue
            faults = guest.ticks.faults()
            if faults and self.lab.virt_type != 'kvm' and has_forgotten(
                    guest.ticks.ticks):
                self.replace(guest, faults[0])
                continue
            if faults:
                raise Contradiction('%s: %s' % (name, faults))
            # What was looked at once need not be again, but for the last.
            del guest.ticks.ticks[:-1]

    def replace(self, guest, why):
        self.n_broken += 1
        self.history.note('%s broke down by itself: %s' % (guest.name, why))
        home, = self.running_at(guest.name, self.hosts) or ['hosta']
        del self._guests[guest.name]
        guest.remove()
        agents = list(self.agents.values())
        wait_for(lambda: not any(
            one['name'] == guest.name for agent in agents
            for one in agent.ctl_json('instance', 'list')), 60,
            '%s is no longer known' % guest.name)
        self.boot(home)
