"""One live migration in a cloud, and what is to be so after it."""

from harness.wait import wait_for

from .pings import wait_alive

# What the agents tell of one that succeeds: nova-compute of Zed does.
AT_SOURCE = ['live_migration._post.start', 'live_migration._post.end']
AT_DESTINATION = ['live_migration.pre.start', 'live_migration.pre.end',
                  'live_migration.post.dest.start',
                  'live_migration.post.dest.end']
# Which RPCs are seen by users as events of the action, and where they run.
EVENTS = {'compute_live_migration': 'source',
          'compute_check_can_live_migrate_source': 'source',
          'compute_check_can_live_migrate_destination': 'destination',
          'compute_pre_live_migration': 'destination',
          'compute_post_live_migration_at_destination': 'destination'}
OTHER = {'hosta': 'hostb', 'hostb': 'hosta'}
# What each kind of agent is told besides, see Agent.become().  Two threads of
# nova-compute, one by libvirt's event, may activate a port at the same time, as
# they do on a busy machine.  Neutron then answers one with an internal error,
# and the server is in error.
MORE = {'nova': {'workarounds': {'handle_virt_lifecycle_events': False}},
        'drover': None}


class Guest:
    """A server that is moved from host to host.

    With 'network', it has a port, and answers pings at 'address'.
    """

    def __init__(self, cloud, storage, network=True, host='hosta',
                 flavor=None):
        self.cloud = cloud
        self.storage = storage
        self.network = network
        self.server, self.address = cloud.boot(
            'mover', host, network=network, flavor=flavor)
        if network:
            wait_alive(self.address)

    def shown(self):
        return self.cloud.api.server(self.server)

    @property
    def host(self):
        return self.shown()['OS-EXT-SRV-ATTR:host']

    def move(self):
        """Starts a migration to the other host; the number of its record."""
        return self.cloud.api.migrate(self.server, OTHER[self.host],
                                      block=self.storage == 'block')

    def settled(self, deadline=300):
        """Waits until it is ACTIVE and nothing is being done with it."""
        return self.cloud.api.wait_status(self.server, 'ACTIVE', deadline)

    def answers(self, pings, deadline=60):
        """Whether it answers pings again; not if its kernel has given up.

        An emulated processor that is preempted between finding that a page is
        marked as written and writing to it may have that write lost, if the
        page is sent just then.  On a busy machine guests die of it, whoever
        moves them.
        """
        try:
            pings.wait_more(deadline)
            return True
        except AssertionError:
            if self.cloud.lab.virt_type == 'kvm' or not self._has_died():
                raise
            return False

    def _has_died(self):
        console = self.cloud.api.action_json(
            self.server, 'os-getConsoleOutput', {'length': 500})['output']
        return 'Kernel panic' in console or 'BUG: ' in console

    def revive(self):
        """Boots it anew, where it is."""
        self.cloud.api.action(self.server, 'reboot', {'type': 'HARD'})
        self.settled()
        wait_alive(self.address)

    # ---- What is to be so ---------------------------------------------------

    def check_is_at(self, host):
        """All that the cloud and the hosts know of it says that host."""
        self.settled()
        assert self.host == host
        self._check_hypervisors(host)
        self._check_allocations(host)
        self._check_ports(host)
        self._check_files(host)

    def _check_hypervisors(self, host):
        hosts = self.cloud.lab.hosts
        assert hosts[host].virsh('domstate', self.server) == 'running'
        uuids = hosts[OTHER[host]].virsh('list', '--all', '--uuid').split()
        assert self.server not in uuids

    def _check_allocations(self, host):
        """Its own on that host alone, and none of its migrations.

        They go after the migration is shown as completed.
        """
        api = self.cloud.api
        names = {each['uuid']: each['name'] for each in api.placement(
            'GET', '/resource_providers')['resource_providers']}

        def of(consumer):
            found = api.placement('GET', '/allocations/' + consumer)
            return {names[provider]: each['resources'] for provider, each
                    in found['allocations'].items()}

        consumers = [each['uuid'] for each in api.migrations(self.server)]
        wait_for(lambda: not any(of(each) for each in consumers), 120,
                 lambda: 'migrations hold nothing: %s' % [
                     of(each) for each in consumers], interval=0.2)
        assert of(self.server) == {
            host: {'VCPU': 1, 'MEMORY_MB': 128, 'DISK_GB': 1}}

    def _check_ports(self, host):
        api = self.cloud.api
        ports = api.neutron(
            'GET', '/ports?device_id=' + self.server)['ports']
        assert len(ports) == self.network
        for port in ports:
            assert port['binding:host_id'] == host
            assert port['binding:vif_type'] == 'bridge'
            assert 'migrating_to' not in port['binding:profile']
            assert [(each['host'], each['status']) for each in api.neutron(
                'GET', '/ports/%s/bindings' % port['id'])['bindings']] == [
                    (host, 'ACTIVE')]
            # As soon as the bridge agent has seen it.
            wait_for(lambda port=port: api.neutron(
                'GET', '/ports/' + port['id'])['port']['status'] == 'ACTIVE',
                     120, 'port is ACTIVE', interval=0.5)

    def files(self, host):
        """What is in its directory on a host; None: there is none."""
        path = self.cloud.places.instances(self.storage) / self.server
        done = self.cloud.lab.hosts[host].run('ls', path, check=False)
        return None if done.returncode else set(done.stdout.split())

    def _check_files(self, host):
        """The disk is here, and gone from where its host has its own.

        What a source still has to remove it has removed when it says
        "completed", or soon after it was started again.
        """
        assert self.files(host) >= {'disk', 'disk.info', 'console.log'}
        if self.storage == 'shared':
            assert self.files(OTHER[host]) == self.files(host)
        else:
            wait_for(lambda: self.files(OTHER[host]) is None, 120,
                     'directory is removed', interval=0.5)


def told(trace, host):
    """Types of the notifications of one host's agent, in order: those of
    both kinds, without "compute.instance." and "instance."."""
    legacy, versioned = [], []
    for each in trace.notifications():
        kind = each['event_type']
        if each['publisher_id'] == 'compute.' + host:
            legacy.append(kind.replace('compute.instance.', '', 1))
        elif each['publisher_id'] == 'nova-compute:' + host:
            versioned.append(kind.replace('instance.', '', 1))
    return legacy, versioned


def _versioned(kind):
    words, phase = kind.rsplit('.', 1)
    return words.replace('._', '_').replace('.', '_') + '.' + phase


def check_told(trace, source, dest):
    """Notifications are those of nova-compute."""
    for host, wanted in (source, AT_SOURCE), (dest, AT_DESTINATION):
        wanted = (wanted, [_versioned(each) for each in wanted])
        wait_for(lambda host=host, wanted=wanted: told(trace, host) == wanted,
                 60, lambda host=host: '%s told %s' % (
                     host, told(trace, host)), interval=0.2)


def check_events(api, server, source, dest):
    """Users see of the last action what they see with nova-compute."""
    hosts = {'source': source, 'destination': dest}
    wanted = {(name, 'Success', hosts[where])
              for name, where in EVENTS.items()}
    wanted.add(('conductor_live_migrate_instance', 'Success', 'controller'))
    path = '/servers/%s/os-instance-actions' % server
    request = api.nova('GET', path)['instanceActions'][0]['request_id']

    def seen():
        events = api.nova('GET', path + '/' + request)['instanceAction']
        return {(each['event'], each['result'], each['host'])
                for each in events['events']}

    wait_for(lambda: seen() == wanted, 60,
             lambda: 'events of the action: %s' % seen(), interval=0.2)
