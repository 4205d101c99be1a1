"""The services' REST APIs, as a user of the cloud sees them."""

import time

from keystoneauth1 import exceptions, session
from keystoneauth1.identity import v3

from harness.wait import wait_for

from .places import PASSWORD, REGION, url_of

NOVA_VERSION = '2.90'


class Gone(AssertionError):
    """What was waited for cannot come any more."""


class Api:
    def __init__(self, user='admin', project='admin'):
        auth = v3.Password(
            auth_url=url_of('keystone') + '/v3', username=user,
            password=PASSWORD, project_name=project,
            user_domain_name='Default', project_domain_name='Default')
        self._session = session.Session(auth=auth)
        self._session.additional_user_agent.append(('drover-tests', '1'))

    def call(self, service, method, path, body=None, version=None, **more):
        """Calls 'service' ("compute", ...); returns the answer's JSON."""
        if body is not None:
            more['json'] = body
        if version:
            more['microversion'] = version
        answer = self._session.request(
            path, method, raise_exc=True, endpoint_filter={
                'service_type': service, 'region_name': REGION},
            **more)
        try:
            return answer.json()
        except ValueError:
            return None

    # ---- Nova ---------------------------------------------------------------

    def nova(self, method, path, body=None, version=NOVA_VERSION):
        return self.call('compute', method, path, body, version)

    def server(self, server):
        return self.nova('GET', '/servers/' + server)['server']

    def servers(self):
        return self.nova('GET', '/servers?all_tenants=1')['servers']

    def action(self, server, name, arguments=None, **more):
        """An action of a server: action(id, 'os-stop')."""
        self.nova('POST', '/servers/%s/action' % server, {name: arguments},
                  **more)

    def action_json(self, server, name, arguments=None, **more):
        """One that answers with something, such as os-getConsoleOutput."""
        return self.nova('POST', '/servers/%s/action' % server,
                         {name: arguments}, **more)

    def boot(self, name, image, flavor, network, host, deadline=300):
        """Creates a server with one port on 'host'; waits until it runs."""
        server = self.nova('POST', '/servers', {'server': {
            'name': name, 'imageRef': image, 'flavorRef': flavor,
            'networks': [{'uuid': network}] if network else 'none',
            'host': host}})['server']['id']
        self.wait_status(server, 'ACTIVE', deadline)
        return server

    def wait_status(self, server, status, deadline=180):
        """Waits until a server is settled (no task) in 'status'."""
        seen = {}

        def settled():
            seen.update(self.server(server))
            if seen['status'] == 'ERROR' and status != 'ERROR':
                raise Gone('server is in error: %s' % seen.get('fault'))
            return (seen['status'] == status and
                    seen['OS-EXT-STS:task_state'] is None)

        wait_for(settled, deadline, lambda: 'server %s (%s, %s)' % (
            status, seen['status'], seen['OS-EXT-STS:task_state']),
            interval=0.1)
        return seen

    def delete(self, server, deadline=180):
        self.nova('DELETE', '/servers/' + server)
        self.wait_gone(server, deadline)

    def wait_gone(self, server, deadline=180):
        def gone():
            try:
                self.server(server)
                return False
            except exceptions.NotFound:
                return True
        wait_for(gone, deadline, 'server is deleted', interval=0.1)

    def migrations(self, server):
        """A server's migrations, the latest first."""
        found = self.nova('GET', '/os-migrations?instance_uuid=' +
                          server)['migrations']
        return sorted(found, key=lambda each: each['id'], reverse=True)

    def migrate(self, server, host, block):
        """Starts a live migration; returns the number of its record."""
        before = {each['id'] for each in self.migrations(server)}
        self.action(server, 'os-migrateLive', {
            'host': host, 'block_migration': block})

        def started():
            return [each['id'] for each in self.migrations(server)
                    if each['id'] not in before]
        return wait_for(started, 60, 'the migration has a record',
                        interval=0.1)[0]

    def migration(self, server, number):
        return next(each for each in self.migrations(server)
                    if each['id'] == number)

    def wait_migration(self, server, number, status='completed',
                       deadline=300):
        """Waits until a migration has ended as 'status' says.

        Returns the seconds since this was called.
        """
        start = time.monotonic()
        ends = ('completed', 'failed', 'error', 'cancelled')
        seen = {}

        def ended():
            seen.update(self.migration(server, number))
            if seen['status'] in ends and seen['status'] != status:
                raise Gone('migration ended as %s' % seen['status'])
            return seen['status'] == status
        wait_for(ended, deadline, lambda: 'migration %s (%s)' % (
            status, seen['status']), interval=0.1)
        return time.monotonic() - start

    def compute_services(self):
        """The records of the agents, by host."""
        found = self.nova('GET', '/os-services?binary=nova-compute')
        return {each['host']: each for each in found['services']}

    def hypervisors(self):
        found = self.nova('GET', '/os-hypervisors/detail')['hypervisors']
        return {each['service']['host']: each for each in found}

    # ---- The others ---------------------------------------------------------

    def placement(self, method, path, body=None, version='1.39'):
        return self.call('placement', method, path, body, version)

    def neutron(self, method, path, body=None):
        return self.call('network', method, '/v2.0' + path, body)

    def keystone(self, method, path, body=None):
        return self.call('identity', method, path, body)

    def image_create(self, name, path):
        image = self.call('image', 'POST', '/v2/images', {
            'name': name, 'disk_format': 'raw', 'container_format': 'bare',
            'visibility': 'public'})['id']
        with open(path, 'rb') as content:
            self.call('image', 'PUT', '/v2/images/%s/file' % image,
                      data=content,
                      headers={'Content-Type': 'application/octet-stream'})
        return image
