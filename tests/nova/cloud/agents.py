"""What stands on a compute host: nova-compute, or droverd in its place.

Either is given the same nova.conf (droverd by way of "droverctl
import-nova-conf"), the same instances directory, and the host's own network,
mounts and libvirtd.
"""

from harness import droverd
from harness.process import run
from harness.wait import wait_for

from . import configuration
from .services import Service


class InPlace(droverd.Droverd):
    """droverd as an operator would configure it in nova-compute's place."""

    def __init__(self, directory, name, url, on, nova_conf):
        self._nova_conf = nova_conf
        super().__init__(directory, name, url, on=on)

    def write_config(self, **settings):
        """What the nova.conf says, and where the tests have their files."""
        imported = run([droverd.build_directory() / 'droverctl',
                        'import-nova-conf', self._nova_conf]).stdout
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(imported + droverd.libconfig({
            name: self.settings[name]
            for name in ('state_path', 'control_socket', 'driver_path')}))


class Agent:
    """The agent of one host, of whichever kind.

    host   a lab.Host
    api    an Api, to ask what the cloud thinks of the host
    """

    def __init__(self, places, host, url, api):
        self.host = host
        self.name = host.name
        self._places = places
        self._url = url
        self._api = api
        self.storage = 'shared'
        self.more = {}  # Put over nova.conf: {'section': {'option': value}}.
        self.nova_conf = places.of('nova-%s.conf' % host.name)
        self.nova = Service(
            places, 'nova-compute-' + host.name, host.argv(
                'nova-compute', '--config-file', self.nova_conf))
        self.bridge_agent = Service(
            places, 'bridge-agent-' + host.name, host.argv(
                'neutron-linuxbridge-agent', '--config-file',
                places.of('bridge-%s.ini' % host.name)))
        self._drover = None

    def sections(self):
        return configuration.nova_host(
            self._places, self.name, self._url, self.storage,
            self.host.virt_type, self.more)

    def write_configuration(self):
        self.nova_conf.write_text(configuration.ini(self.sections()))
        self._places.of('bridge-%s.ini' % self.name).write_text(
            configuration.bridge_agent(self._places, self.name, self._url))

    @property
    def kind(self):
        """"nova", "drover" or None."""
        if self.nova.is_running:
            return 'nova'
        return 'drover' if self.drover and self.drover.is_running else None

    @property
    def drover(self):
        """The harness' Droverd, once there was one."""
        return self._drover

    def start_nova(self, wait=True):
        self.write_configuration()
        self.nova.start()
        return self.wait_up() if wait else self

    def start_drover(self, wait=True):
        """droverd in the place of nova-compute, told what that is told."""
        self.write_configuration()
        self._drover = InPlace(
            self._places.directory(self.name, 'drover'), self.name, self._url,
            self.host, self.nova_conf)
        self._drover.start(timeout=300)
        return self.wait_up() if wait else self

    def stop(self):
        """Ends whichever stands there, in good order."""
        if self.nova.is_running:
            self.nova.stop()
        if self._drover and self._drover.is_running:
            self._drover.stop()

    def kill(self):
        self.nova.kill()
        if self._drover:
            self._drover.kill()

    def become(self, kind, storage=None, more=None):
        """Has an agent of that kind there, with that storage and 'more'."""
        wanted = (kind, storage or self.storage, more or {})
        if wanted == (self.kind, self.storage, self.more):
            return self
        self.stop()
        self.storage, self.more = wanted[1:]
        return self.start_nova() if kind == 'nova' else self.start_drover()

    def wait_up(self, deadline=300):
        """Waits until the cloud takes the host for up, by a new report."""
        before = self._report()
        wait_for(lambda: self._check() and self._report() not in (
            None, before), deadline,
            '%s reports to the cloud' % self.name, interval=0.2)
        wait_for(lambda: self.name in self._api.hypervisors(), deadline,
                 '%s is a host of the cell' % self.name, interval=0.5)
        return self

    def _check(self):
        assert self.kind, '%s: its agent ended' % self.name
        return True

    def _report(self):
        """When the cloud heard of it last; None: never, or it is down."""
        record = self._api.compute_services().get(self.name)
        return record['updated_at'] if record and \
            record['state'] == 'up' else None
