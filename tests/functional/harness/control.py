"""What the rest of a cloud does, through a real conductor.

The API writes an instance and its action; the conductor makes the migration
and asks the hosts.  Here the test does it, with the same objects.
"""

import uuid as uuids

from . import nova
from .wait import wait_for

ADMIN = {'user_id': 'u1', 'project_id': 'p1', 'is_admin': True,
         'read_deleted': 'no', 'roles': []}


class Control:
    def __init__(self, client, conductor):
        self.client = client
        self.conductor = conductor
        self.context = {}

    def ask(self, method, **words):
        return self.client.call(method, _topic='conductor', _version='3.0',
                                _context=self.context or ADMIN, **words)

    def act(self, made, method, *args, **kwargs):
        """Runs a method on an object and returns what it is then."""
        updates, _ = self.ask('object_action', objinst=made, objmethod=method,
                              args=list(args), kwargs=kwargs)
        data = {**made['nova_object.data'], **updates}
        data.pop('obj_what_changed', None)
        return {key: value for key, value in made.items()
                if key != 'nova_object.changes'} | {'nova_object.data': data}

    def begin(self, uuid, action='live-migration'):
        """A user's request begins: a context, and the action's record."""
        self.context = nova.context(is_admin=True)
        self.ask('object_class_action_versions', objname='InstanceAction',
                 objmethod='action_start',
                 object_versions={'InstanceAction': '1.2'},
                 args=[uuid, action], kwargs={'want_result': False})

    def create_instance(self, uuid, host, **data):
        whole = nova.instance(uuid, host, **data)['nova_object.data']
        made = {key: value for key, value in whole.items() if key not in (
            'id', 'created_at', 'updated_at', 'deleted_at', 'deleted')}
        flavor = made['flavor']['nova_object.data']
        made['old_flavor'] = made['new_flavor'] = None
        made['flavor'] = nova.primitive('Flavor', '1.2', flavor)
        made['info_cache'] = nova.primitive(
            'InstanceInfoCache', '1.5',
            {'instance_uuid': uuid, 'network_info': '[]'}, ['network_info'])
        return self.act(nova.primitive('Instance', '2.7', made, sorted(made)),
                        'create')

    def add_console_token(self, uuid, host):
        """What a user who looks at its console was given."""
        self.conductor.write(
            'INSERT INTO console_auth_tokens (token_hash, console_type, host, '
            'port, instance_uuid, expires) VALUES (?, ?, ?, ?, ?, ?)',
            uuids.uuid4().hex, 'novnc', host, 5900, uuid, 4000000000)

    def get_instance(self, uuid, *attributes):
        return self.ask(
            'object_class_action_versions', objname='Instance',
            objmethod='get_by_uuid', object_versions={
                'Instance': '2.7', 'Flavor': '1.2', 'InstanceInfoCache': '1.5'},
            args=[uuid], kwargs={'expected_attrs': list(attributes)})

    def create_migration(self, instance, dest, **data):
        about = instance['nova_object.data']
        made = {'source_compute': about['host'], 'dest_compute': dest,
                'source_node': about['node'], 'dest_node': dest,
                'old_instance_type_id': 2, 'new_instance_type_id': 2,
                'instance_uuid': about['uuid'], 'status': 'accepted',
                'migration_type': 'live-migration', 'user_id': 'u1',
                'project_id': 'p1', 'uuid': str(uuids.uuid4()), **data}
        return self.act(nova.primitive('Migration', '1.7', made, sorted(made)),
                        'create')

    def check(self, instance, dest, block=True, migration=None, limits=None):
        return self.client.call(
            'check_can_live_migrate_destination', _server=dest, _version='6.0',
            _context=self.context, _call_monitor_timeout=60, instance=instance,
            block_migration=block, disk_over_commit=False,
            migration=migration, limits=limits)

    def prepare(self, uuid, dest):
        """What is recorded before a host is asked: instance, migration."""
        self.begin(uuid)
        instance = self.get_instance(uuid, 'flavor', 'metadata', 'info_cache',
                                     'system_metadata', 'numa_topology')
        instance['nova_object.data']['task_state'] = 'migrating'
        instance['nova_object.changes'] = ['task_state']
        self.act(instance, 'save', expected_task_state=[None])
        del instance['nova_object.changes']
        return instance, self.create_migration(instance, dest)

    def migrate(self, uuid, dest, block=True, arrange=None):
        """What the user's request comes to; returns the migration's UUID.

        'arrange' may do what the conductor does beside it: it is given the
        migration's UUID and the migrate data.
        """
        instance, migration = self.prepare(uuid, dest)
        data = self.check(instance, dest, block, migration)
        if arrange:
            arrange(migration['nova_object.data']['uuid'],
                    data['nova_object.data'])
        self.client.cast(
            'live_migration', _server=instance['nova_object.data']['host'],
            _version='6.0', _context=self.context, instance=instance,
            dest=dest, block_migration=block, migration=migration,
            migrate_data=data)
        return migration['nova_object.data']['uuid']

    # What the database says.

    def row(self, table, **where):
        """The newest one, or None."""
        rows = self.rows(table, **where)
        return rows[-1] if rows else None

    def rows(self, table, **where):
        condition = ' AND '.join('%s = ?' % name for name in where)
        return self.conductor.rows(
            'SELECT * FROM %s WHERE %s ORDER BY id' % (table, condition),
            *where.values())

    def instance(self, uuid):
        return self.row('instances', uuid=uuid)

    def status(self, migration):
        row = self.row('migrations', uuid=migration)
        return row and row['status']

    def wait_status(self, migration, *wanted, deadline=60):
        wait_for(lambda: self.status(migration) in wanted, deadline,
                 lambda: 'migration is %s, not %s' % (
                     self.status(migration), wanted))

    def events(self, uuid):
        """(event, result) of all actions of an instance, in order."""
        return [(row['event'], row['result']) for row in self.conductor.rows(
            'SELECT e.* FROM instance_actions_events e JOIN instance_actions a'
            ' ON a.id = e.action_id WHERE a.instance_uuid = ? ORDER BY e.id',
            uuid)]
