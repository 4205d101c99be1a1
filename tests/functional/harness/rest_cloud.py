"""Keystone, Neutron, Cinder, Glance and Placement on one port, as far as a
migration needs them.

They keep what they are told: ports, their bindings to hosts, attachments of
volumes.  A test puts in what is there first and looks at what became of it.
"""

import hashlib
import http.server
import json
import re
import threading
import urllib.parse
import uuid as uuids


class RestCloud:
    """One server; `with RestCloud() as cloud:`

    ports, networks, subnets, floatingips   {id: what Neutron says of it}
    bindings      {(port, host): ...}, the active one included
    attachments   {id: {'volume_id', 'instance', 'host', 'completed'}}
    volume_type   of the connection_info of attachments
    images        {id: (what Glance says of it, its bytes)}
    providers     {id: name}
    allocations   {(consumer, provider): {class: amount}}
    requests      (method, path below the service's own, body), in order
    refuse        {(method, part of a path): status}, for as long as it is there;
                  of a list each status once; of a function what it
                  returns, where None lets one through
    """

    def __init__(self):
        self.ports, self.networks, self.subnets = {}, {}, {}
        self.floatingips, self.bindings, self.attachments = {}, {}, {}
        self.providers, self.allocations = {}, {}
        self._facts, self._generations = {}, {}
        self.volume_type = 'rbd'
        self.images = {}
        self.requests, self.refuse = [], {}
        self._lock = threading.Lock()
        self._server = http.server.ThreadingHTTPServer(
            ('127.0.0.1', 0), self._handler())
        self._server.daemon_threads = True
        self.url = 'http://127.0.0.1:%d' % self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def settings(self, *services):
        """Of an agent that belongs to it; without names all services."""
        login = {'auth_type': 'password', 'auth_url': self.url + '/identity/v3',
                 'username': 'nova', 'password': 'secret',
                 'project_name': 'service', 'user_domain_name': 'Default',
                 'project_domain_name': 'Default'}
        known = {'neutron': login,
                 'cinder': {**login, 'endpoint_template':
                            self.url + '/volume/v3/p'},
                 'glance': {**login, 'endpoint_override':
                            self.url + '/image'},
                 'placement': {**login, 'endpoint_override':
                               self.url + '/placement'}}
        return {name: known[name] for name in services or known}

    def asked(self, method, pattern):
        """The bodies of the requests whose path matches."""
        return [body for verb, path, body in list(self.requests)
                if verb == method and re.search(pattern, path)]

    # ---- What is there ----------------------------------------------------

    def add_port(self, instance, host, **more):
        """On a network of its own; returns its id."""
        port, network, subnet = (str(uuids.uuid4()) for _ in range(3))
        self.networks[network] = {
            'id': network, 'name': 'net-' + network[:4], 'tenant_id': 'p1',
            'mtu': 1450, 'provider:network_type': 'vxlan',
            'provider:physical_network': None}
        self.subnets[subnet] = {
            'id': subnet, 'network_id': network, 'cidr': '10.7.0.0/24',
            'gateway_ip': '10.7.0.1', 'ip_version': 4, 'enable_dhcp': True,
            'dns_nameservers': ['10.7.0.3'], 'host_routes': [],
            'ipv6_address_mode': None}
        self.ports[port] = {
            'id': port, 'network_id': network, 'tenant_id': 'p1',
            'device_id': instance, 'device_owner': 'compute:nova',
            'mac_address': 'fa:16:3e:' + ':'.join(
                port[i:i + 2] for i in (0, 2, 4)),
            'admin_state_up': True, 'status': 'ACTIVE',
            'fixed_ips': [{'subnet_id': subnet, 'ip_address': '10.7.0.9'}],
            'binding:host_id': host, 'binding:vnic_type': 'normal',
            'binding:vif_type': 'ovs', 'binding:profile': {},
            'binding:vif_details': {'port_filter': True,
                                    'ovs_hybrid_plug': True}}
        self.ports[port].update(more)
        self.bindings[port, host] = {'host': host, 'status': 'ACTIVE'}
        return port

    # ---- Serving ----------------------------------------------------------

    def _handler(self):
        cloud = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *_):
                pass

            def serve(self):
                size = int(self.headers.get('Content-Length') or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                with cloud._lock:
                    status, answer, *header = cloud._answer(
                        self.command, self.path, body)
                text = (b'' if answer is None else
                        answer if isinstance(answer, bytes) else
                        json.dumps(answer).encode())
                self.send_response(status)
                for name, value in header:
                    self.send_header(name, value)
                self.send_header('Content-Type', 'application/json')
                self.send_header('Content-Length', str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PUT = do_POST = do_DELETE = serve

        return Handler

    def _answer(self, method, path, body):
        for prefix, answer in (('/identity/v3', self._keystone),
                               ('/network/v2.0', self._neutron),
                               ('/volume/v3/p', self._cinder),
                               ('/image/v2', self._glance),
                               ('/placement', self._placement)):
            if path.startswith(prefix):
                break
        else:
            return 404, {}
        path = path[len(prefix):]
        if prefix != '/identity/v3':
            self.requests.append((method, path, body))
        status = self._refusal(method, path)
        if status:
            return status, {'error': {'message': 'refused by the test'}}
        where, _, query = path.partition('?')
        return answer(method, where.strip('/').split('/'),
                      urllib.parse.parse_qs(query), body)

    def _refusal(self, method, path):
        for (verb, part), status in list(self.refuse.items()):
            if verb != method or part not in path:
                continue
            if callable(status):
                return status()
            if not isinstance(status, list):
                return status
            if status:
                return status.pop(0)
        return None

    def _keystone(self, _method, _path, _query, _body):
        def service(kind, name, path):
            return {'type': kind, 'name': name, 'endpoints': [
                {'interface': 'public', 'region': 'RegionOne',
                 'url': self.url + path}]}

        return 201, {'token': {'catalog': [
            service('network', 'neutron', '/network/'),
            service('block-storage', 'cinder', '/volume/v3/p')]}}, (
                'X-Subject-Token', 'token-1')

    def _neutron(self, method, path, query, body):
        if path == ['extensions']:
            return 200, {'extensions': [{'alias': 'binding-extended'}]}
        if len(path) == 1:
            rows = [row for row in getattr(self, path[0]).values()
                    if all(name == 'fields' or str(row.get(name)) in values
                           for name, values in query.items())]
            return 200, {path[0]: rows}
        if path[0] == 'ports' and path[1] not in self.ports:
            return 404, {'NeutronError': {'type': 'PortNotFound'}}
        port = self.ports[path[1]]
        if len(path) == 2:
            if method == 'PUT':
                port.update(body['port'])
            return 200, {'port': port}
        if len(path) == 3:
            host = body['binding']['host']
            self.bindings[path[1], host] = {
                **body['binding'], 'status': 'INACTIVE', 'vif_type': 'ovs'}
            return 201, {'binding': self.bindings[path[1], host]}
        return self._binding(method, port, path[3], path[4:])

    def _binding(self, method, port, host, rest):
        binding = self.bindings.get((port['id'], host))
        if not binding:
            return 404, {'NeutronError': {'type': 'PortBindingNotFound'}}
        if method == 'DELETE':
            del self.bindings[port['id'], host]
            return 204, None
        if rest == ['activate']:
            for (other, _), each in self.bindings.items():
                if other == port['id']:
                    each['status'] = 'INACTIVE'
            binding['status'] = 'ACTIVE'
            # The profile is the binding's; a port tells that of the active one.
            port['binding:host_id'] = host
            port['binding:profile'] = binding.get('profile', {})
        return 200, {'binding': binding}

    def _cinder(self, method, path, _query, body):
        if method == 'POST' and path == ['attachments']:
            made = body['attachment']
            name = str(uuids.uuid4())
            self.attachments[name] = {
                'volume_id': made['volume_uuid'],
                'instance': made['instance_uuid'],
                'host': made['connector']['host'],
                'connector': made['connector'], 'completed': False}
            return 200, {'attachment': self._attachment(name)}
        if path[1] not in self.attachments:
            return 404, {'itemNotFound': {'message': 'no such attachment'}}
        if method == 'DELETE':
            del self.attachments[path[1]]
            return 200, {'attachments': []}
        if path[2:] == ['action']:
            self.attachments[path[1]]['completed'] = True
            return 204, None
        return 200, {'attachment': self._attachment(path[1])}

    def add_attachment(self, volume, instance, host):
        name = str(uuids.uuid4())
        self.attachments[name] = {'volume_id': volume, 'instance': instance,
                                  'host': host, 'completed': True}
        return name

    def _attachment(self, name):
        made = self.attachments[name]
        return {
            'id': name, 'volume_id': made['volume_id'],
            'instance': made['instance'], 'attach_mode': 'rw',
            'status': 'attached' if made['completed'] else 'attaching',
            'attached_at': '2026-11-22T05:32:07.000000', 'detached_at': '',
            'connection_info': {
                'driver_volume_type': self.volume_type,
                'name': 'volumes/volume-' + made['volume_id'],
                'hosts': ['10.0.0.1'], 'ports': ['6789'],
                'auth_enabled': False, 'for_host': made['host'],
                'attachment_id': name}}

    # ---- Glance -----------------------------------------------------------

    def add_image(self, data, **more):
        name = str(uuids.uuid4())
        about = {'id': name, 'status': 'active', 'disk_format': 'raw',
                 'container_format': 'bare', 'size': len(data),
                 'checksum': hashlib.md5(data).hexdigest(),
                 'os_hash_algo': 'sha512',
                 'os_hash_value': hashlib.sha512(data).hexdigest(), **more}
        self.images[name] = about, data
        return name

    def _glance(self, _method, path, _query, _body):
        if path[1] not in self.images:
            return 404, {'message': 'no such image'}
        return 200, self.images[path[1]][path[2:] == ['file']]

    # ---- Placement --------------------------------------------------------

    def _placement(self, method, path, query, body):
        if path == ['resource_providers']:
            if method == 'POST':
                self.providers[body['uuid']] = body['name']
            return 200, {'resource_providers': [
                self._provider(uuid) for uuid in self.providers]} \
                if method == 'GET' else self._provider(body['uuid'])
        if path[0] == 'traits':
            return 200, {'traits': query['name'][0][3:].split(',')}
        if path == ['allocations']:
            for consumer, more in body.items():
                self._allocations('PUT', consumer, more)
            return 204, None
        if path[0] == 'allocations':
            return self._allocations(method, path[1], body)
        if path[2] == 'allocations':
            return 200, {'allocations': {
                consumer: {'resources': resources} for (consumer, where),
                resources in self.allocations.items() if where == path[1]},
                'resource_provider_generation': 1}
        name = tuple(path[1:])
        now = self._generations.get(path[1], 0)
        if method == 'PUT':
            if body['resource_provider_generation'] != now:
                return 409, {'errors': [{
                    'code': 'placement.concurrent_update'}]}
            self._facts[name] = body[path[2]]
            now = self._generations[path[1]] = now + 1
        empty = {} if path[2] == 'inventories' else []
        return 200, {path[2]: self._facts.get(name, empty),
                     'resource_provider_generation': now}

    def fact(self, provider, what):
        """Its 'inventories' or 'traits'; None if it was told of none."""
        return self._facts.get((provider, what))

    def add_trait(self, provider, name):
        """As an operator does."""
        with self._lock:
            self._facts[provider, 'traits'].append(name)
            self._generations[provider] += 1

    def _provider(self, uuid):
        return {'uuid': uuid, 'name': self.providers[uuid],
                'generation': self._generations.get(uuid, 0),
                'parent_provider_uuid': None, 'root_provider_uuid': uuid}

    def _allocations(self, method, consumer, body):
        if method in ('PUT', 'DELETE'):
            for key in [key for key in self.allocations if key[0] == consumer]:
                del self.allocations[key]
            if method == 'DELETE':
                return 204, None
            for provider, row in body['allocations'].items():
                self.allocations[consumer, provider] = row['resources']
            return 204, None
        found = {where: {'resources': resources, 'generation': 1}
                 for (who, where), resources in self.allocations.items()
                 if who == consumer}
        return 200, {'allocations': found, **(
            {'project_id': 'p1', 'user_id': 'u1', 'consumer_generation': 1}
            if found else {})}
