"""Objects as a conductor sends them: Instance and Migration.

The shapes are those of a Nova Zed on the wire.
"""

import itertools
import uuid as uuids

_numbers = itertools.count(1000)
DATE = '2026-11-22T05:38:10Z'


def primitive(name, version, data, changes=()):
    made = {'nova_object.name': name, 'nova_object.namespace': 'nova',
            'nova_object.version': version, 'nova_object.data': data}
    if changes:
        made['nova_object.changes'] = list(changes)
    return made


def flavor(memory=128, vcpus=1, root_gb=1):
    return primitive('Flavor', '1.2', {
        'id': 2, 'name': 'm1.nano', 'memory_mb': memory, 'vcpus': vcpus,
        'root_gb': root_gb, 'ephemeral_gb': 0, 'flavorid': '1', 'swap': 0,
        'rxtx_factor': 1.0, 'vcpu_weight': 0, 'disabled': False,
        'is_public': True, 'extra_specs': {}, 'description': None,
        'created_at': DATE, 'updated_at': None, 'deleted_at': None,
        'deleted': False})


def instance(uuid, host, name='web1', memory=128, **data):
    """An Instance 2.7 that is about to be migrated."""
    fields = {
        'id': next(_numbers), 'uuid': uuid, 'user_id': 'u1',
        'project_id': 'p1', 'image_ref': '', 'kernel_id': '',
        'ramdisk_id': '', 'hostname': name, 'launch_index': 0,
        'key_name': None, 'power_state': 1, 'vm_state': 'active',
        'task_state': 'migrating', 'memory_mb': memory, 'vcpus': 1,
        'root_gb': 1, 'ephemeral_gb': 0, 'host': host, 'node': host,
        'instance_type_id': 2, 'reservation_id': 'r-4dp1lw9k',
        'launched_at': DATE, 'terminated_at': None,
        'availability_zone': 'nova', 'display_name': name,
        'display_description': None, 'launched_on': host, 'locked': False,
        'os_type': None, 'architecture': None, 'config_drive': '',
        'access_ip_v4': None, 'access_ip_v6': None,
        'auto_disk_config': False, 'progress': 0, 'cell_name': None,
        'metadata': {'k': 'v'},
        'system_metadata': {'image_min_ram': '0', 'image_disk_format': 'raw'},
        'flavor': flavor(memory), 'created_at': DATE, 'updated_at': DATE,
        'deleted_at': None, 'deleted': False}
    fields.update(data)
    return primitive('Instance', '2.7', fields)


def migration(instance_primitive, dest=None, **data):
    """A Migration 1.7 that the conductor just made."""
    about = instance_primitive['nova_object.data']
    fields = {
        'id': next(_numbers), 'uuid': str(uuids.uuid4()),
        'source_compute': about['host'], 'dest_compute': dest,
        'source_node': about['node'], 'dest_node': dest, 'dest_host': None,
        'old_instance_type_id': 2, 'new_instance_type_id': 2,
        'instance_uuid': about['uuid'], 'status': 'accepted',
        'migration_type': 'live-migration', 'hidden': False,
        'memory_total': None, 'memory_processed': None,
        'memory_remaining': None, 'disk_total': None, 'disk_processed': None,
        'disk_remaining': None, 'cross_cell_move': False, 'user_id': 'u1',
        'project_id': 'p1', 'created_at': DATE, 'updated_at': None,
        'deleted_at': None, 'deleted': False}
    fields.update(data)
    return primitive('Migration', '1.7', fields)


def context(**more):
    """A request's context as a user's API call gives it."""
    made = {
        'user': 'u1', 'user_id': 'u1', 'project': 'p1', 'project_id': 'p1',
        'is_admin': False, 'read_deleted': 'no', 'roles': ['member'],
        'auth_token': 'SECRET-TOKEN', 'service_catalog': [],
        'request_id': 'req-' + str(uuids.uuid4()),
        'timestamp': '2026-11-22T05:00:00.123456', 'resource_uuid': None}
    made.update(more)
    return made
