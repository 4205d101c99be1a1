"""The agent under test, and droverctl."""

import copy
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

from .process import bound, run, tail

TOP = pathlib.Path(__file__).resolve().parents[3]


def build_directory():
    return pathlib.Path(os.environ.get('DROVER_BUILDDIR', TOP))


def is_built():
    return os.access(build_directory() / 'droverd', os.X_OK)


def _value(value):
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return '"%s"' % value.replace('\\', '\\\\').replace('"', '\\"')
    if isinstance(value, (list, tuple)):
        return '[ %s ]' % ', '.join(map(_value, value))
    raise TypeError(value)


def libconfig(settings, indent=''):
    """A dictionary as a configuration file; inner ones become groups."""
    text = ''
    for name, value in settings.items():
        if isinstance(value, dict):
            text += '%s%s :\n%s{\n%s%s};\n' % (
                indent, name, indent, libconfig(value, indent + '    '),
                indent)
        elif value is not None:
            text += '%s%s = %s;\n' % (indent, name, _value(value))
    return text


def merge(base, more):
    """'base' with 'more' put over it, group by group.  None takes away."""
    merged = copy.deepcopy(base)
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = merge(merged[name], value)
        else:
            merged[name] = value
    return merged


class Droverd:
    """One agent with a state directory of its own.

    directory   its configuration, state and log go there
    on          a lab.Host to run it on, with libvirt; None: here, the fake
    settings    put over the configuration made here, see merge()
    wrapper     words to put before the command, such as valgrind
    """

    def __init__(self, directory, host, url, on=None, settings=None,
                 wrapper=()):
        self.directory = pathlib.Path(directory)
        self.host = host
        self.url = url
        self.on = on
        self.wrapper = list(wrapper)
        self.config_file = self.directory / 'droverd.conf'
        self.log = self.directory / 'droverd.log'
        self.state_path = self.directory / 'state'
        # Paths of sockets have to be short.
        self._run = tempfile.TemporaryDirectory(prefix='drv.')
        self.settings = merge(self._defaults(), settings or {})
        self._process = None
        self._notify = None
        self._told = {}
        self._asking = []
        self.state_path.mkdir(parents=True, exist_ok=True)
        self.write_config()

    def _defaults(self):
        if self.on:
            instances = self.on.instances
            driver = {'compute_driver': 'libvirt', 'libvirt': {
                'connection_uri': 'qemu:///system',
                'virt_type': self.on.virt_type}}
        else:
            instances = self.directory / 'instances'
            instances.mkdir(parents=True, exist_ok=True)
            driver = {'compute_driver': 'fake'}
        return {
            'host': self.host,
            'transport_url': self.url,
            'state_path': str(self.state_path),
            'control_socket': self._run.name + '/droverd.sock',
            'instances_path': str(instances),
            'driver_path': str(build_directory() / 'drivers' / '.libs'),
            **driver,
            'oslo_messaging_notifications': {'driver': ['messagingv2']},
            'notifications': {'notification_format': 'both'},
        }

    def write_config(self, **settings):
        """Writes the configuration again, 'settings' put over it."""
        self.settings = merge(self.settings, settings)
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(libconfig(self.settings))

    # ---- Life -------------------------------------------------------------

    @property
    def pid(self):
        return self._process.pid

    @property
    def is_running(self):
        return self._process is not None and self._process.poll() is None

    @property
    def control_socket(self):
        return self.settings['control_socket']

    def _command(self, program, *words):
        path = build_directory() / program
        argv = [*self.wrapper, path, '--config-file', self.config_file, *words]
        return self.on.argv(*argv) if self.on else argv

    def start(self, timeout=30, wait=True, environment=None):
        """Starts it and, unless told not to, waits until it says it serves."""
        assert not self.is_running
        path = self.directory / 'notify'
        path.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(path))
        self._told = {}
        with open(self.log, 'ab') as log:
            self._process = subprocess.Popen(
                bound(self._command('droverd')), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, 'NOTIFY_SOCKET': str(path),
                     **(environment or {})})
        if wait:
            self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout=30):
        self.wait_told('READY', '1', timeout)

    def wait_told(self, name, value, timeout=30):
        """Waits for NAME=VALUE in what it tells its service manager."""
        deadline = time.monotonic() + timeout
        while self._told.get(name) != value:
            self._notify.settimeout(0.1)
            try:
                text = self._notify.recv(65536).decode()
            except socket.timeout:
                status = self._process.poll()
                if status is not None:
                    raise AssertionError(
                        '%s ended, status %d, before it said %s=%s:\n%s' % (
                            self.host, status, name, value,
                            tail(self.log))) from None
                if time.monotonic() > deadline:
                    raise AssertionError(
                        '%s did not say %s=%s within %g s:\n%s' % (
                            self.host, name, value, timeout,
                            tail(self.log))) from None
                continue
            self._told.update(line.split('=', 1)
                              for line in text.splitlines() if '=' in line)

    def forget_told(self, name):
        """So that it is waited for until it is told again."""
        self._told.pop(name, None)

    def signal(self, number):
        os.kill(self.pid, number)

    def reload(self):
        self.signal(signal.SIGHUP)

    def wait(self, timeout=30):
        """Waits for its end and returns the exit status."""
        return self._process.wait(timeout)

    def stop(self, timeout=30):
        """Ends it in good order, and insists that it does."""
        self.signal(signal.SIGTERM)
        try:
            status = self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError('%s did not end within %g s of SIGTERM:\n%s'
                                 % (self.host, timeout,
                                    tail(self.log))) from None
        assert status == 0, '%s ended with status %d:\n%s' % (
            self.host, status, tail(self.log))

    def kill(self):
        """Ends it at once, as a crash would."""
        if self.is_running:
            self._process.kill()
            self._process.wait(10)
        while self._asking:
            asking = self._asking.pop()
            asking.kill()
            asking.wait(10)

    def restart(self, **more):
        self.stop()
        self.start(**more)

    # ---- Looking at it ----------------------------------------------------

    def log_text(self):
        return self.log.read_text(errors='replace')

    def memory(self):
        """Resident and private dirty memory in KiB."""
        sums = {}
        with open('/proc/%d/smaps_rollup' % self.pid,
                  encoding='ascii') as rollup:
            for line in rollup:
                words = line.split()
                if words[-1] == 'kB':
                    sums[words[0].rstrip(':')] = int(words[1])
        return sums['Rss'], sums['Private_Dirty']

    def ctl(self, *words, check=True, timeout=60):
        """Runs droverctl; returns it with 'stdout' and 'stderr'."""
        return run(self._command('droverctl', *words), check=check,
                   timeout=timeout)

    def ctl_begin(self, *words):
        """Runs droverctl, and leaves it alone; it ends with the agent."""
        self._asking.append(subprocess.Popen(
            bound(self._command('droverctl', *words)),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL))

    def ctl_json(self, *words, timeout=60):
        """Runs droverctl with --json; returns what that says."""
        return json.loads(
            self.ctl(*words, '--json', timeout=timeout).stdout)

    def ctl_events(self, *words, timeout=300):
        """Runs droverctl with --json where it prints a line per event."""
        text = self.ctl(*words, '--json', timeout=timeout).stdout
        return [json.loads(line) for line in text.splitlines()]
