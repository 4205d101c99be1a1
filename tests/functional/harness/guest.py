"""The guest that ticks, and what can be read off its ticks.

A guest's serial port goes to one file that both hosts append to.  Twenty times
a second it says there which tick this is and how long it is up.
"""

import collections
import pathlib
import threading
import time
import uuid as uuids
from xml.sax.saxutils import quoteattr

from .process import run
from .wait import wait_for

# What guests said when they broke down, since somebody cleared it.
panics = []
LAST_WORDS = ('Kernel panic', 'Oops:', 'BUG:', 'general protection fault',
              'segfault at')

Tick = collections.namedtuple('Tick', 'arrival number uptime')


class Ticks:
    """Watches a serial port and notes when each tick came in.

    'arrival' is this machine's monotonic clock: the guest's own stands still
    while the guest does.
    """

    PERIOD = 0.005

    def __init__(self, path):
        self._path = pathlib.Path(path)
        self._end = threading.Event()
        self.ticks = []
        self.lines = []  # All others.
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        rest = b''
        self._path.touch()
        with open(self._path, 'rb') as port:
            while not self._end.wait(self.PERIOD):
                now = time.monotonic()
                *lines, rest = (rest + port.read()).split(b'\n')
                for line in lines:
                    self._note(now, line.decode(errors='replace').strip())

    def _note(self, now, line):
        words = line.split()
        if len(words) == 3 and words[0] == 'tick' and words[1].isdigit():
            self.ticks.append(Tick(now, int(words[1]), float(words[2])))
        elif line:
            self.lines.append(line)
            if any(words in line for words in LAST_WORDS):
                panics.append(line)

    def close(self):
        self._end.set()
        self._thread.join()

    @property
    def last(self):
        """The number of the last tick; 0 if there was none."""
        return self.ticks[-1].number if self.ticks else 0

    def longest_gap(self, since=0):
        """Seconds between two ticks, the longest after tick 'since'."""
        times = [tick.arrival for tick in list(self.ticks)
                 if tick.number >= since]
        return max((b - a for a, b in zip(times, times[1:])), default=0.0)

    def wait_more(self, count=5, deadline=60.0):
        """Waits until the guest has ticked 'count' more times."""
        start = self.last

        def stands_still():
            panics.append('no tick after %d' % self.last)
            return 'tick %d (last %d; %s)' % (
                start + count, self.last, self.lines[-5:])

        wait_for(lambda: self.last >= start + count, deadline, stands_still)

    def faults(self):
        """What must never happen: ticks lost, repeated, a disk gone bad.

        A repeated tick means that two copies of the guest ran.  Starts anew
        where the guest was booted again.
        """
        faults = [line for line in list(self.lines)
                  if line.startswith('disk bad') or 'panic' in line]
        ticks = list(self.ticks)
        for before, after in zip(ticks, ticks[1:]):
            if after.number not in (before.number + 1, 1):
                faults.append('tick %d came after tick %d' % (
                    after.number, before.number))
        return faults


class Guest:
    """One guest of the lab, defined on one host.  Made by Lab.boot()."""

    def __init__(self, lab, host, name, memory=128, vcpus=1, dirty=None,
                 disk='qcow2', disk_mib=24, backing=False, persistent=True,
                 machine='q35', cache='none', words='', devices='', cpu='',
                 firmware=''):
        """disk: 'qcow2', 'raw' or None; backing: it is an overlay over an
        image, as Nova's are; dirty: MiB that it rewrites without pause;
        words: more for its kernel's command line; devices, cpu, firmware: XML
        of further devices, of its <cpu>, and of what is in <os> beside the
        kernel."""
        self.lab = lab
        self.name = name
        self.uuid = str(uuids.uuid4())
        self.memory, self.vcpus, self.dirty = memory, vcpus, dirty
        self.disk, self.disk_mib, self.backing = disk, disk_mib, backing
        self.persistent, self.machine, self.cache = persistent, machine, cache
        self.words = words
        self.devices, self.cpu, self.firmware = devices, cpu, firmware
        self.serial = lab.directory / 'serial' / (name + '.log')
        self.serial.unlink(missing_ok=True)
        self.ticks = Ticks(self.serial)
        if disk:
            self.make_disk(host)
        self.define(host)

    # Both hosts call it the same.
    @property
    def directory(self):
        return self.lab.instances / self.uuid

    @property
    def disk_path(self):
        return self.directory / 'disk'

    @property
    def base_path(self):
        return self.lab.instances / '_base' / ('base-%d' % self.disk_mib)

    def make_disk(self, host):
        """Makes the empty disk on 'host': the guest's first one, or what a
        block migration needs at its destination."""
        host.run('mkdir', '-p', self.directory, self.base_path.parent)
        size = '%dM' % self.disk_mib
        options = []
        if self.backing:
            host.run('truncate', '-s', size, self.base_path)
            options = ['-b', self.base_path, '-F', 'raw']
        host.run('qemu-img', 'create', '-q', '-f', self.disk, *options,
                 self.disk_path, size)

    def xml(self):
        disk = ''
        if self.disk:
            disk = '''
    <disk type='file' device='disk'>
      <driver name='qemu' type='%s' cache='%s'/>
      <source file=%s/>
      <target dev='vda' bus='virtio'/>
    </disk>''' % (self.disk, self.cache, quoteattr(str(self.disk_path)))
        return '''<domain type='%(virt)s'>
  <name>%(name)s</name>
  <uuid>%(uuid)s</uuid>
  <memory unit='MiB'>%(memory)d</memory>
  <vcpu>%(vcpus)d</vcpu>
  <os>
    <type arch='x86_64' machine='%(machine)s'>hvm</type>%(firmware)s
    <kernel>%(boot)s/vmlinuz</kernel>
    <initrd>%(boot)s/initrd</initrd>
    <cmdline>console=ttyS0 quiet%(dirty)s</cmdline>
  </os>
  <features><acpi/></features>%(cpu)s
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>%(disk)s
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='file'>
      <source path='%(serial)s' append='on'/>
    </serial>%(devices)s
  </devices>
</domain>
''' % {
            'virt': self.lab.virt_type, 'name': self.name, 'uuid': self.uuid,
            'memory': self.memory, 'vcpus': self.vcpus,
            'machine': self.machine, 'boot': self.lab.boot_directory,
            'dirty': ((' dirty=%d' % self.dirty if self.dirty else '') +
                      (' ' + self.words if self.words else '')),
            'disk': disk, 'serial': self.serial, 'devices': self.devices,
            'cpu': self.cpu, 'firmware': self.firmware}

    def define(self, host):
        path = self.lab.directory / (self.name + '.xml')
        path.write_text(self.xml())
        if self.persistent:
            host.virsh('define', path)
            host.virsh('start', self.name)
        else:
            host.virsh('create', path)

    def wait_up(self, deadline=60.0):
        """Waits until it ticks steadily, and writes if it is to."""
        wait_for(lambda: self.ticks.last >= 10 and (
                     not self.dirty or
                     'memory is rewritten' in self.ticks.lines), deadline,
                 lambda: 'guest %s is up; it said: %s' % (
                     self.name, self.ticks.lines))
        return self

    def states(self):
        """What each host says of it: a state of libvirt's, or None."""
        return {host.name: host.state_of(self.name)
                for host in self.lab.hosts.values()}

    def runs_on(self):
        """Name of the one host it runs on.  Fails if that is not just one."""
        running = [host for host, state in self.states().items()
                   if state == 'running']
        assert len(running) == 1, '%s runs on %s' % (self.name, running)
        return running[0]

    def remove(self):
        """Takes it away from both hosts, with its disks."""
        self.ticks.close()
        for host in self.lab.hosts.values():
            if host.state_of(self.name) is not None:
                host.virsh('destroy', self.name, check=False)
                host.virsh('undefine', self.name, check=False)
        # Not before: a shared disk stays as long as somebody has it open.
        for host in self.lab.hosts.values():
            host.run('rm', '-rf', self.directory,
                     self.lab.instances / (self.uuid + '_resize'))
        run(['rm', '-f', self.lab.directory / (self.name + '.xml')])
