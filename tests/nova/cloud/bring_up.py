"""The whole cloud, from an empty directory, inside the lab.

Nothing has to be taken down: everything ends with the lab's first process.
"""

import subprocess
import time

from harness import lab as labs
from harness.broker import Broker
from harness.process import run
from harness.wait import wait_for

from . import configuration
from .agents import Agent
from .api import Api
from .places import (CONTROLLER, GUEST_NETWORK, PASSWORD, PORTS, REGION,
                     Places, backend_of, url_of)
from .services import ENVIRONMENT, Batch, Service
from .trace import Trace

DATABASES = {'keystone': 'keystone', 'placement': 'placement',
             'glance': 'glance', 'neutron': 'neutron', 'nova': 'nova',
             'nova_api': 'nova', 'nova_cell0': 'nova'}
SERVICES = {'nova': ('compute', '/v2.1'), 'placement': ('placement', ''),
            'glance': ('image', ''), 'neutron': ('network', '')}
HERE = __file__.rsplit('/', 1)[0]


class Cloud:
    def __init__(self):
        self.lab = labs.Lab()
        self.places = Places(self.lab.directory / 'cloud')
        self.broker = Broker.of_lab()
        self.url = self.broker.url
        self.services = {}
        self.agents = {}
        self.api = None
        self.times = []  # (what, seconds), in order.

    def trace(self):
        return Trace(self.places.traces / 'bus.jsonl',
                     self.places.traces / 'rest.jsonl')

    def bring_up(self):
        """All of it; a minute or two."""
        for step in (self._prefer_guests, self._make_network,
                     self._write_configuration,
                     self._start_database, self._fill_databases,
                     self._start_recorders, self._start_keystone,
                     self._fill_keystone, self._start_services,
                     self._start_hosts, self._seed, self._wait_hosts):
            start = time.monotonic()
            step()
            self.times.append((step.__name__.strip('_').replace('_', ' '),
                               time.monotonic() - start))
        return self

    # ---- What is below ------------------------------------------------------

    def _prefer_guests(self):
        """Guests are not preempted, as far as that is allowed.

        One that is emulated may lose a write if it is just then sent (see
        moves.Guest.answers), and a cloud keeps a small machine busy.
        """
        for name in self.lab.hosts:
            pid = (self.lab.directory / name / 'libvirtd.pid').read_text()
            run(['chrt', '--all-tasks', '--rr', '--pid', '1', pid.strip()],
                check=False)

    def _make_network(self):
        """The guests' network, beside that of the lab."""
        run(['ip', 'link', 'add', 'br1', 'type', 'bridge'])
        run(['ip', 'address', 'add', GUEST_NETWORK + '.254/24', 'dev', 'br1'])
        run(['ip', 'link', 'set', 'br1', 'up'])
        for host in self.lab.hosts.values():
            pid = (self.lab.directory / host.name / 'pid').read_text().strip()
            run(['ip', 'link', 'add', host.name + 'g', 'type', 'veth',
                 'peer', 'name', 'eth1', 'netns', pid])
            run(['ip', 'link', 'set', host.name + 'g', 'master', 'br1', 'up'])
            host.run('ip', 'link', 'set', 'eth1', 'up')

    def _write_configuration(self):
        places = self.places
        for name, text in {
                'my.cnf': configuration.mariadb(places),
                'keystone.conf': configuration.keystone(places),
                'placement/placement.conf': configuration.placement(places),
                'glance-api.conf': configuration.glance(places),
                'neutron.conf': configuration.neutron(places, self.url),
                'ml2.ini': configuration.neutron_ml2(places),
                'nova.conf': configuration.nova_control(places, self.url),
        }.items():
            places.of(name).write_text(text)

    def _file(self, name):
        return ['--config-file', str(self.places.of(name))]

    def _service(self, name, argv, environment=None):
        self.services[name] = Service(self.places, name, argv, environment)
        return self.services[name].start()

    # ---- Databases ----------------------------------------------------------

    def _start_database(self):
        run(['mariadb-install-db', '--no-defaults', '--user=root',
             '--auth-root-authentication-method=normal', '--skip-test-db',
             '--datadir=%s' % (self.places.top / 'mysql')],
            env=ENVIRONMENT, timeout=300)
        self._service('mariadbd', ['mariadbd', '--defaults-file=%s' %
                                   self.places.of('my.cnf')])
        wait_for(lambda: self._sql('SELECT 1', check=False) == 0, 180,
                 'the database answers', interval=0.1)
        self._sql(''.join(
            'CREATE DATABASE %s CHARACTER SET utf8;'
            "GRANT ALL ON %s.* TO '%s'@'%%' IDENTIFIED BY '%s';"
            "GRANT ALL ON %s.* TO '%s'@'localhost' IDENTIFIED BY '%s';" % (
                database, database, user, PASSWORD, database, user, PASSWORD)
            for database, user in DATABASES.items()))

    def _sql(self, text, check=True):
        done = run(['mariadb', '--no-defaults', '-S', self.places.socket,
                    '-u', 'root', '-e', text], check=check)
        return done.returncode

    def rows(self, query, database='nova'):
        """What is in a database: a list of dictionaries, all text."""
        text = run(['mariadb', '--no-defaults', '-S', self.places.socket,
                    '-u', 'root', '--batch', '-e', query, database]).stdout
        lines = [line.split('\t') for line in text.splitlines()]
        return [dict(zip(lines[0], line)) for line in lines[1:]]

    def _fill_databases(self):
        for name in ('fernet', 'credential'):
            self.places.directory('keystone', name).chmod(0o700)
        batch = Batch(self.places)
        nova = ['nova-manage', *self._file('nova.conf')]
        batch.run('fill-nova', [*nova, 'api_db', 'sync'],
                  [*nova, 'cell_v2', 'map_cell0'], [*nova, 'db', 'sync'],
                  [*nova, 'cell_v2', 'create_cell', '--name=cell1'])
        keystone = ['keystone-manage', *self._file('keystone.conf')]
        user = ['--keystone-user', 'root', '--keystone-group', 'root']
        at = url_of('keystone') + '/v3'
        batch.run(
            'fill-keystone', [*keystone, 'db_sync'],
            [*keystone, 'fernet_setup', *user],
            [*keystone, 'credential_setup', *user],
            [*keystone, 'bootstrap', '--bootstrap-password', PASSWORD,
             '--bootstrap-admin-url', at, '--bootstrap-internal-url', at,
             '--bootstrap-public-url', at, '--bootstrap-region-id', REGION],
            ['placement-manage',
             *self._file('placement/placement.conf'), 'db', 'sync'],
            ['glance-manage', *self._file('glance-api.conf'), 'db_sync'])
        batch.run('fill-neutron', [
            'neutron-db-manage', *self._file('neutron.conf'),
            *self._file('ml2.ini'), 'upgrade', 'heads'])
        batch.wait()

    # ---- Services -----------------------------------------------------------

    def _start_recorders(self):
        self.broker.ctl('trace_on')
        self._service('bus-recorder', [
            'python3', HERE + '/bus_recorder.py', self.url,
            self.places.traces / 'bus.jsonl'])
        self._service('rest-recorder', [
            'python3', HERE + '/rest_recorder.py',
            self.places.traces / 'rest.jsonl'])
        self.services['rest-recorder'].wait_serving(
            CONTROLLER, PORTS['keystone'])

    def _wsgi(self, name, script, environment):
        address, port = backend_of(name)
        self._service(name, [
            'uwsgi', '--plugin', 'python3', '--master', '--die-on-term',
            '--enable-threads', '--processes', '1', '--threads', '8',
            '--lazy-apps', '--buffer-size', '65535', '--need-app',
            '--add-header', 'Connection: close', '--listen', '100',
            '--socket-timeout', '30', '--disable-logging',
            '--http-socket', '%s:%d' % (address, port),
            '--wsgi-file', script], environment)

    def _start_keystone(self):
        self._wsgi('keystone', '/usr/bin/keystone-wsgi-public', {
            'OS_KEYSTONE_CONFIG_FILES': str(self.places.of('keystone.conf'))})
        self._wsgi('placement', '/usr/bin/placement-api', {
            'OS_PLACEMENT_CONFIG_DIR': str(self.places.top / 'placement')})
        self.services['keystone'].wait_answering(url_of('keystone') + '/v3')
        self.api = Api()

    def _fill_keystone(self):
        call = self.api.keystone
        project = call('POST', '/projects', {'project': {
            'name': 'service', 'domain_id': 'default'}})['project']['id']
        roles = {role['name']: role['id']
                 for role in call('GET', '/roles')['roles']}
        if 'service' not in roles:
            roles['service'] = call('POST', '/roles', {
                'role': {'name': 'service'}})['role']['id']
        for name, (kind, path) in SERVICES.items():
            user = call('POST', '/users', {'user': {
                'name': name, 'password': PASSWORD, 'domain_id': 'default',
                'default_project_id': project}})['user']['id']
            for role in ('admin', 'service'):
                call('PUT', '/projects/%s/users/%s/roles/%s' % (
                    project, user, roles[role]))
            service = call('POST', '/services', {'service': {
                'name': name, 'type': kind}})['service']['id']
            for interface in ('public', 'internal', 'admin'):
                call('POST', '/endpoints', {'endpoint': {
                    'interface': interface, 'service_id': service,
                    'region_id': REGION, 'url': url_of(name) + path}})
        self.api = Api()  # With a catalogue that has all of it.

    def _start_services(self):
        self._service('glance', ['glance-api', *self._file('glance-api.conf')])
        self._service('neutron', ['neutron-server',
                                  *self._file('neutron.conf'),
                                  *self._file('ml2.ini')])
        for name in ('conductor', 'scheduler', 'api'):
            self._service('nova-' + name, ['nova-' + name,
                                           *self._file('nova.conf')])
        self.services['placement'].wait_answering(url_of('placement'))
        for service, name in (('nova', 'nova-api'), ('neutron', 'neutron'),
                              ('glance', 'glance')):
            self.services[name].wait_answering(url_of(service))

    # ---- Hosts --------------------------------------------------------------

    def _start_hosts(self):
        for host in self.lab.hosts.values():
            agent = Agent(self.places, host, self.url, self.api)
            self.agents[host.name] = agent
            agent.start_nova(wait=False)
            agent.bridge_agent.start()

    def _seed(self):
        """Images, flavors, a network: what users need."""
        disk = self.places.of('boot.raw')
        subprocess.run([HERE + '/disk.sh', self.lab.boot_directory, disk,
                        configuration.guest_words()],
                       check=True, stdin=subprocess.DEVNULL, timeout=60)
        self.image = self.api.image_create('tinyboot', disk)
        for number, memory in ('1', 128), ('2', 192):
            self.api.nova('POST', '/flavors', {'flavor': {
                'id': number, 'name': 'm%s' % number, 'ram': memory,
                'disk': 1, 'vcpus': 1}})
        self.flavor = '1'
        self.network = self.api.neutron('POST', '/networks', {'network': {
            'name': 'net1', 'shared': True, 'port_security_enabled': False,
            'provider:network_type': 'flat', 'provider:physical_network':
            configuration.PHYSICAL_NETWORK}})['network']['id']
        self.api.neutron('POST', '/subnets', {'subnet': {
            'name': 'subnet1', 'network_id': self.network, 'ip_version': 4,
            'cidr': GUEST_NETWORK + '.0/24', 'enable_dhcp': False,
            'gateway_ip': None, 'allocation_pools': [{
                'start': GUEST_NETWORK + '.10',
                'end': GUEST_NETWORK + '.99'}]}})

    def _wait_hosts(self):
        for agent in self.agents.values():
            agent.wait_up()

    # ---- In use -------------------------------------------------------------

    def boot(self, name, host, network=True, flavor=None):
        """Creates a server on 'host'; returns its id and its address.

        The guest chooses its address by itself, see tests/lab/init.
        """
        server = self.api.boot(name, self.image, flavor or self.flavor,
                               self.network if network else None, host)
        address = None
        if network:
            port = self.api.neutron(
                'GET', '/ports?device_id=' + server)['ports'][0]
            address = '%s.%d' % (GUEST_NETWORK, 100 + int(
                port['mac_address'].rsplit(':', 1)[1], 16) % 100)
        return server, address

    def clear(self):
        """Deletes all servers, which only nova-compute can do yet."""
        servers = self.api.servers()
        for agent in self.agents.values() if servers else ():
            agent.become('nova', agent.storage, agent.more)
        for server in servers:
            self.api.delete(server['id'])

    def check(self):
        """Fails if a service of the cloud ended by itself."""
        for service in self.services.values():
            service.check()
