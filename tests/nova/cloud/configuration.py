"""What is written into the files of the services.

As little as makes them find each other; all else is as Debian has it.
"""

from .places import (CONTROLLER, DATABASE_PORT, GUEST_NETWORK, HOSTS, PASSWORD,
                     REGION, backend_of, url_of)

PHYSICAL_NETWORK = 'physnet1'


def ini(sections):
    """{'section': {'option': value}} as the services read it."""
    text = ''
    for section, options in sections.items():
        text += '[%s]\n' % section
        for name, value in options.items():
            text += '%s = %s\n' % (name, value)
    return text


def database(name, user=None):
    return 'mysql+pymysql://%s:%s@127.0.0.1:%d/%s' % (
        user or name, PASSWORD, DATABASE_PORT, name)


def login(user, version='/v3'):
    return {
        'auth_type': 'password', 'auth_url': url_of('keystone') + version,
        'project_name': 'service', 'project_domain_name': 'Default',
        'username': user, 'user_domain_name': 'Default',
        'password': PASSWORD, 'region_name': REGION}


def token_check(user):
    return {**login(user, version=''),
            'www_authenticate_uri': url_of('keystone')}


def mariadb(places):
    return ini({'mysqld': {
        'user': 'root', 'datadir': places.top / 'mysql',
        'socket': places.socket, 'pid-file': places.top / 'mysql.pid',
        'port': DATABASE_PORT, 'bind-address': '127.0.0.1',
        # What is lost with the machine is lost with the cloud.
        'innodb_flush_log_at_trx_commit': 0, 'sync_frm': 0,
        'innodb_buffer_pool_size': '128M', 'innodb_log_file_size': '32M',
        'max_connections': 400, 'character-set-server': 'utf8',
        'performance_schema': 'off'}}) + 'skip-log-bin\n'


def keystone(places):
    return ini({
        'database': {'connection': database('keystone')},
        'token': {'provider': 'fernet'},
        'fernet_tokens': {'key_repository': places.top / 'keystone/fernet'},
        'credential': {'key_repository': places.top / 'keystone/credential'}})


def placement(_):
    return ini({
        'placement_database': {'connection': database('placement')},
        'api': {'auth_strategy': 'keystone'},
        'keystone_authtoken': token_check('placement')})


def glance(places):
    address, port = backend_of('glance')
    return ini({
        'DEFAULT': {'bind_host': address, 'bind_port': port, 'workers': 1,
                    'enabled_backends': 'file:file'},
        'database': {'connection': database('glance')},
        'glance_store': {'default_backend': 'file'},
        'file': {'filesystem_store_datadir':
                 places.directory('glance/images')},
        'os_glance_tasks_store': {'filesystem_store_datadir':
                                  places.directory('glance/tasks')},
        'os_glance_staging_store': {'filesystem_store_datadir':
                                    places.directory('glance/staging')},
        'paste_deploy': {'flavor': 'keystone', 'config_file':
                         '/etc/glance/glance-api-paste.ini'},
        'keystone_authtoken': token_check('glance'),
        'oslo_messaging_notifications': {'driver': 'noop'}})


def neutron(places, transport_url):
    address, port = backend_of('neutron')
    return ini({
        'DEFAULT': {
            'bind_host': address, 'bind_port': port, 'core_plugin': 'ml2',
            'service_plugins': '', 'auth_strategy': 'keystone',
            'api_paste_config': '/etc/neutron/api-paste.ini',
            'state_path': places.directory('neutron/state'),
            'transport_url': transport_url,
            'notify_nova_on_port_status_changes': True,
            'notify_nova_on_port_data_changes': True,
            'api_workers': 1, 'rpc_workers': 1,
            'dhcp_agent_notification': False},
        'database': {'connection': database('neutron')},
        'oslo_concurrency': {'lock_path': places.directory('neutron/lock')},
        'keystone_authtoken': token_check('neutron'),
        'nova': login('nova'),
        'oslo_messaging_notifications': {'driver': 'noop'},
        'experimental': {'linuxbridge': True}})


def neutron_ml2(_):
    return ini({
        'ml2': {'type_drivers': 'flat', 'tenant_network_types': '',
                'mechanism_drivers': 'linuxbridge',
                'extension_drivers': 'port_security'},
        'ml2_type_flat': {'flat_networks': PHYSICAL_NETWORK}})


def bridge_agent(places, host, transport_url):
    return ini({
        'DEFAULT': {'host': host, 'transport_url': transport_url,
                    'state_path': places.directory(host, 'neutron')},
        'oslo_concurrency': {
            'lock_path': places.directory(host, 'neutron/lock')},
        'linux_bridge': {
            'physical_interface_mappings': PHYSICAL_NETWORK + ':eth1'},
        'vxlan': {'enable_vxlan': False},
        'securitygroup': {'enable_security_group': False,
                          'firewall_driver': 'noop'},
        'agent': {'root_helper': 'sudo', 'prevent_arp_spoofing': False},
        'privsep': {'helper_command': 'sudo privsep-helper'},
        'experimental': {'linuxbridge': True}})


def _nova(transport_url, more):
    return {
        'DEFAULT': {'use_stderr': True, 'transport_url': transport_url,
                    'auth_strategy': 'keystone', **more},
        'api': {'auth_strategy': 'keystone'},
        'glance': {'api_servers': url_of('glance')},
        'oslo_messaging_notifications': {'driver': 'messagingv2'},
        'notifications': {
            'notification_format': 'both',
            'notify_on_state_change': 'vm_and_task_state',
            'default_level': 'INFO'},
        'keystone_authtoken': token_check('nova'),
        'placement': login('placement'),
        'neutron': login('neutron'),
        'service_user': {**login('nova'), 'send_service_user_token': False}}


def nova_control(places, transport_url):
    address, port = backend_of('nova')
    state = places.directory('nova')
    return ini({
        **_nova(transport_url, {
            'my_ip': CONTROLLER, 'host': 'controller', 'state_path': state,
            'osapi_compute_listen': address,
            'osapi_compute_listen_port': port, 'osapi_compute_workers': 1,
            'enabled_apis': 'osapi_compute',
            'allow_resize_to_same_host': True}),
        'api_database': {'connection': database('nova_api', 'nova')},
        'database': {'connection': database('nova')},
        'wsgi': {'api_paste_config': '/etc/nova/api-paste.ini'},
        'conductor': {'workers': 1},
        'scheduler': {'workers': 1, 'discover_hosts_in_cells_interval': 5},
        'oslo_concurrency': {'lock_path': places.directory('nova/lock')}})


def nova_host(places, host, transport_url, storage, virt_type, more=None):
    """nova.conf of a compute host: {'section': {'option': value}}.

    'storage' is "shared" or "block"; 'more' is put over the rest.
    """
    path = places.of('nova-%s.conf' % host)
    helper = {'helper_command':
              'sudo privsep-helper --config-file %s' % path}
    sections = {
        **_nova(transport_url, {
            'my_ip': HOSTS[host], 'host': host,
            'state_path': places.directory(host, 'nova'),
            'instances_path': places.instances(storage),
            'compute_driver': 'libvirt.LibvirtDriver',
            # The guest has nothing that listens when it is asked.
            'shutdown_timeout': 5, 'vif_plugging_timeout': 60}),
        'libvirt': {
            'virt_type': virt_type, 'cpu_mode': 'none',
            'live_migration_scheme': 'tcp',
            'live_migration_inbound_addr': HOSTS[host]},
        'vnc': {'enabled': False},
        'oslo_concurrency': {
            'lock_path': places.directory(host, 'nova/lock')},
        'privsep_osbrick': helper, 'nova_sys_admin': helper,
        'vif_plug_linux_bridge_privileged': helper,
        'vif_plug_ovs_privileged': helper}
    for section, options in (more or {}).items():
        sections.setdefault(section, {}).update(options)
    return sections


def guest_words():
    """What the guest of an image is told on its kernel's command line."""
    # The first 32 MiB of its disk are what it boots from.
    return 'console=ttyS0 quiet disk=65536 net=' + GUEST_NETWORK
