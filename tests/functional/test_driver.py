"""The libvirt driver against libvirt, without an agent around it."""

import os
import pathlib
import signal
import subprocess
import threading

import pytest

from harness.droverd import build_directory
from harness.process import tail
from harness.wait import wait_for

pytestmark = pytest.mark.libvirt

PROGRAM = pathlib.Path(build_directory()) / 'tests/functional/driver_libvirt'
NOBODY = '00000000-0000-4000-8000-000000000000'


def argv(*words):
    if not PROGRAM.exists():
        pytest.skip('no ' + str(PROGRAM))
    return ['env', 'DROVER_DRIVER_PATH=%s/drivers/.libs' % build_directory(),
            PROGRAM, *words]


class Watch:
    """The driver of one host, open; see driver_libvirt.c."""

    def __init__(self, host, log):
        self.log = log
        self.events = []
        self.answers = []
        with open(log, 'wb') as errors:
            self.process = host.popen(
                *argv('watch', host.uri, host.instances),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            words = line.split()
            if words[0] == 'event':
                self.events.append(tuple(words[1:]))
            else:
                self.answers.append(' '.join(words))

    def ask(self, *words, deadline=30):
        count = len(self.answers)
        self.process.stdin.write(' '.join(map(str, words)) + '\n')
        self.process.stdin.flush()
        wait_for(lambda: len(self.answers) > count, deadline,
                 lambda: 'answer to %s\n%s' % (words, tail(self.log)))
        return self.answers[count]

    def wait_event(self, *event, count=1, deadline=30):
        wait_for(lambda: self.events.count(event) >= count, deadline,
                 lambda: 'event %s\n%s' % (event, tail(self.log)))

    def close(self, deadline=60):
        self.process.stdin.close()
        status = self.process.wait(deadline)
        self._reader.join()
        assert status == 0, tail(self.log)


@pytest.fixture
def watch(lab, tmp_path):
    watches = []

    def make(host):
        watches.append(Watch(host, tmp_path / ('%s.log' % host.name)))
        watches[-1].wait_event('connected')
        return watches[-1]

    yield make
    for each in watches:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.mark.shared
def test_driver_holds_the_contract_with_a_real_guest(lab):
    guest = lab.boot(lab.hosta, dirty=16)
    done = lab.hosta.run(
        *argv('contract', lab.hosta.uri, lab.hostb.uri,
              'qemu+tcp://%s:9/system' % lab.hostb.address,
              lab.hosta.instances, guest.uuid), check=False, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert guest.runs_on() == 'hosta'
    assert guest.ticks.faults() == []


def test_driver_comes_back_after_libvirtd(lab, watch):
    guest = lab.boot(lab.hosta, disk=None)
    driver = watch(lab.hosta)
    assert driver.ask('presence', guest.uuid) == 'presence active'

    lab.hosta.libvirtd('kill')
    driver.wait_event('disconnected')
    # At once, and never "there is no such guest".
    assert driver.ask('presence', guest.uuid, deadline=5) == \
        'error HYPERVISOR_UNAVAILABLE'
    assert driver.ask('discard', guest.uuid, deadline=5) == \
        'error HYPERVISOR_UNAVAILABLE'

    lab.hosta.libvirtd('start')
    driver.wait_event('connected', count=2, deadline=60)
    assert driver.ask('presence', guest.uuid) == 'presence active'
    lab.hosta.virsh('suspend', guest.name)
    driver.wait_event('suspended', guest.uuid)
    driver.close()


def test_silent_peer_is_given_up(lab, watch):
    driver = watch(lab.hosta)
    assert driver.ask('peer', lab.hostb.uri, NOBODY) == 'presence absent'

    pid = int((lab.directory / 'hostb' / 'libvirtd.pid').read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        assert driver.ask('peer', lab.hostb.uri, NOBODY, deadline=25) == \
            'error HYPERVISOR_UNAVAILABLE'
        # The other host's trouble is not this one's.
        assert driver.ask('presence', NOBODY, deadline=5) == \
            'error INSTANCE_NOT_FOUND'
        driver.close()
    finally:
        os.kill(pid, signal.SIGCONT)


def test_incoming_guest_is_told_from_a_running_one(lab, watch):
    guest = lab.boot(lab.hosta, disk=None, dirty=32)
    source, dest = watch(lab.hosta), watch(lab.hostb)
    # Slower than it dirties its memory: it stays on its way.
    lab.hosta.virsh('migrate-setspeed', guest.name, '8')
    with lab.hosta.popen(
            'virsh', '-q', '-c', lab.hosta.uri, 'migrate', '--live', '--p2p',
            guest.name, lab.hostb.uri) as migration:
        try:
            wait_for(lambda: dest.ask('presence', guest.uuid) ==
                     'presence incoming', 30, 'guest on its way')
            assert source.ask('presence', guest.uuid) == 'presence active'
            assert source.ask('peer', lab.hostb.uri, guest.uuid) == \
                'presence incoming'
            assert source.ask('discard', guest.uuid) == 'error INVALID'
            # What is only on its way can be thrown away.
            assert dest.ask('discard', guest.uuid) == 'discard'
            assert migration.wait(30) != 0
        finally:
            lab.hosta.virsh('domjobabort', guest.name, check=False)
    assert dest.ask('presence', guest.uuid) == 'error INSTANCE_NOT_FOUND'
    assert guest.runs_on() == 'hosta'
    guest.ticks.wait_more()
    source.close()
    dest.close()
