"""What a migration told everybody, and what is left of it everywhere.

Two of them, one by nova-compute and one by droverd, are the same but for what
differences() lists.
"""

import collections
import json
import re

UUID = re.compile(
    '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}')
HOSTS = ('hosta', 'hostb')
# How many there are depends on how often a record is saved.
UPDATES = ('compute.instance.update', 'instance.update')


def keys_of(value, at=''):
    """The paths of all members of a payload: {'a', 'a.b', 'a[].c'}."""
    found = set()
    if isinstance(value, dict):
        if 'nova_object.data' in value:
            value = value['nova_object.data']
        for key, inner in value.items():
            found.add(at + key)
            found |= keys_of(inner, at + key + '.')
    elif isinstance(value, list):
        for inner in value:
            found |= keys_of(inner, at[:-1] + '[].')
    return found


class Story:
    """Of the migration 'number' of 'server', from the trace's mark on."""

    def __init__(self, cloud, trace, server, number):
        api = cloud.api
        self._names = {server: '{server}'}
        self._cloud, self._trace, self._server = cloud, trace, server
        self.migration = api.migration(server, number)
        self._names[self.migration['uuid']] = '{migration}'
        for port in api.neutron('GET', '/ports?device_id=' + server)['ports']:
            self._names[port['id']] = '{port}'
        for each in api.placement('GET', '/resource_providers')[
                'resource_providers']:
            self._names[each['uuid']] = '{%s}' % each['name']
        self.seen = {
            'records': self._records(), 'actions': self._actions(),
            'bindings': self._bindings(), 'allocations': self._allocations(),
            'guests': self._guests(), 'files': self._files(),
            'told by': self._told(), 'members told': self._members(),
            'requests': self._requests(), 'changes': self._changes()}

    def _concerns(self, record):
        text = json.dumps(record)
        return any(name in text for name, what in self._names.items()
                   if what in ('{server}', '{migration}', '{port}'))

    # ---- What is left -------------------------------------------------------

    def _records(self):
        shown = self._cloud.api.server(self._server)
        return {
            'migration': self.migration['status'],
            'status': shown['status'],
            'task': shown['OS-EXT-STS:task_state'],
            'vm_state': shown['OS-EXT-STS:vm_state'],
            'power_state': shown['OS-EXT-STS:power_state'],
            'host': shown['OS-EXT-SRV-ATTR:host'],
            'node': shown['OS-EXT-SRV-ATTR:hypervisor_hostname']}

    def _actions(self):
        """Events of the migration's action: {name: result}."""
        api = self._cloud.api
        path = '/servers/%s/os-instance-actions' % self._server
        found = collections.Counter()
        for each in api.nova('GET', path)['instanceActions']:
            if each['action'] in ('live-migration', 'create'):
                continue
            found[each['action']] += 1
        latest = next(each for each in api.nova('GET', path)[
            'instanceActions'] if each['action'] == 'live-migration')
        shown = api.nova('GET', path + '/' + latest['request_id'])[
            'instanceAction']
        for event in shown['events']:
            found['%s: %s' % (event['event'], event['result'])] += 1
        return dict(found)

    def _bindings(self):
        return {'%s %s' % (each['host'], each['status'])
                for each in self._cloud.rows(
                    "SELECT b.host, b.status FROM ml2_port_bindings b, ports p"
                    " WHERE b.port_id = p.id AND p.device_id = '%s'"
                    % self._server, 'neutron')}

    def _allocations(self):
        found = set()
        for consumer in (self._server, self.migration['uuid']):
            for provider, each in self._cloud.api.placement(
                    'GET', '/allocations/' + consumer)['allocations'].items():
                found.add('%s at %s: %s' % (
                    self._names[consumer], self._names[provider],
                    json.dumps(each['resources'], sort_keys=True)))
        return found

    def _guests(self):
        found = {}
        for name, agent in self._cloud.agents.items():
            host = agent.host
            for guest in host.virsh('list', '--all', '--uuid').split():
                if guest == self._server:
                    found[name] = host.virsh('domstate', guest)
        return found

    def _files(self):
        found = set()
        for name, agent in self._cloud.agents.items():
            top = self._cloud.places.instances(agent.storage) / self._server
            # Whoever says no has no such directory.
            for line in agent.host.run(
                    'find', top, check=False).stdout.splitlines():
                found.add(name + line[len(str(top)):])
        return found

    # ---- What was said ------------------------------------------------------

    def _notifications(self):
        for record in self._trace.messages():
            inner = record.get('oslo_message', {})
            if 'event_type' in inner and self._concerns(inner['payload']):
                yield inner

    def _told(self):
        """By host and format: the events in their order, but for updates."""
        found = collections.defaultdict(list)
        for inner in self._notifications():
            name = re.split('[:.]', inner['publisher_id'])[-1]
            if name in HOSTS and inner['event_type'] not in UPDATES:
                form = ('legacy' if inner['event_type'].startswith('compute.')
                        else 'versioned')
                found['%s, %s' % (name, form)].append('%s %s' % (
                    inner['priority'], inner['event_type']))
        return dict(found)

    def _members(self):
        found = collections.defaultdict(set)
        for inner in self._notifications():
            if any(inner['publisher_id'].endswith(name) for name in HOSTS):
                found[inner['event_type']] |= {
                    UUID.sub('{}', key) for key in keys_of(inner['payload'])}
        return dict(found)

    def _requests(self):
        """Between hosts: who asked whom for what, with which arguments."""
        found = []
        for record in self._trace.messages():
            inner = record.get('oslo_message', {})
            key = record['routing_key']
            if inner.get('method') and key.startswith('compute.') and \
                    self._concerns(inner):
                found.append('%s asked %s: %s %s (%s)' % (
                    record.get('from'), key, inner['method'],
                    inner.get('version'), ', '.join(sorted(inner['args']))))
        return sorted(found)

    def _changes(self):
        """What the hosts changed by REST: {"hosta: PUT neutron /...": 1}."""
        found = collections.Counter()
        for call in self._trace.calls():
            if (call['from'] in HOSTS and call['method'] != 'GET' and
                    call['service'] != 'keystone' and self._concerns(call)):
                path = UUID.sub(lambda match: self._names.get(
                    match.group(), '{}'), call['path'])
                found['%s: %s %s %s -> %d' % (
                    call['from'], call['method'], call['service'], path,
                    call['status'])] += 1
        return dict(found)


def differences(reference, other):
    """Lines that say how 'other' is not as 'reference'; both are Story."""
    lines = []
    for what, wanted in reference.seen.items():
        is_this = other.seen[what]
        if what in ('told by', 'members told'):
            # Of what only one has told, that is told by 'told by'.
            both = set(wanted) & set(is_this)
            for key in sorted(both if what == 'members told'
                              else set(wanted) | set(is_this)):
                lines += _of_lists('%s %s' % (what, key),
                                   wanted.get(key, ()), is_this.get(key, ()))
        elif isinstance(wanted, dict):
            for key in sorted(set(wanted) | set(is_this)):
                if wanted.get(key) != is_this.get(key):
                    lines.append('%s, %s: %s, but %s' % (
                        what, key, wanted.get(key), is_this.get(key)))
        else:
            lines += _of_lists(what, wanted, is_this)
    return lines


def _of_lists(what, wanted, is_this):
    all_wanted, all_this = map(collections.Counter, (wanted, is_this))
    if isinstance(wanted, list) and all_wanted == all_this and \
            wanted != is_this:
        return ['%s: in another order: %s, but %s' % (what, wanted, is_this)]
    return (['%s: lacks %s' % (what, each)
             for each in sorted((all_wanted - all_this).elements())] +
            ['%s: has %s' % (what, each)
             for each in sorted((all_this - all_wanted).elements())])
