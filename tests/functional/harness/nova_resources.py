"""What nova-compute itself makes of a host: prints it as JSON.

    /usr/bin/python3 -m harness.nova_resources CONFIGURATION OUTPUT

Nova's own libvirt driver is asked, as its resource tracker and its report
client ask it, and no service of Nova's is needed: there are no records of
guests, so that no disk counts as a volume.  'uri' and all else are in the
configuration.  Only for processes that run beside the hypervisor.
"""

import importlib.util
import json
import sys

if not importlib.util.find_spec('nova'):
    sys.exit(77)

import nova.monkey_patch  # noqa: E402,F401
import nova.conf  # noqa: E402
from nova import config, objects  # noqa: E402
from nova.compute import provider_tree  # noqa: E402
from nova.virt.libvirt import driver  # noqa: E402

NODE = 'node'


class NoRecords:
    @staticmethod
    def none(*_args, **_words):
        return []


def facts():
    objects.register_all()
    objects.InstanceList.get_by_filters = NoRecords.none
    objects.BlockDeviceMappingList.bdms_by_instance_uuid = NoRecords.none
    made = driver.LibvirtDriver(None)
    made._host.initialize()
    made._update_host_specific_capabilities()
    resources = made.get_available_resource(NODE)
    node = objects.ComputeNode(host='host')
    node.update_from_virt_driver(resources)

    tree = provider_tree.ProviderTree()
    tree.new_root(NODE, '00000000-0000-4000-8000-000000000001', 0)
    made.update_provider_tree(tree, NODE)
    traits = set(tree.data(NODE).traits)
    for trait, is_supported in made.capabilities_as_traits().items():
        (traits.add if is_supported else traits.discard)(trait)
    traits.discard('COMPUTE_REMOTE_MANAGED_PORTS')  # Of PCI devices only.
    traits.add('COMPUTE_NODE')
    return {
        'node': node.obj_to_primitive()['nova_object.data'],
        'inventories': tree.data(NODE).inventory,
        'traits': sorted(traits),
        'managed': sorted(set(made.static_traits)
                          | set(made.capabilities_as_traits())
                          | {'COMPUTE_NODE'}),
    }


def main(argv):
    config.parse_args(['nova-compute', '--config-file', argv[1]])
    nova.conf.neutron.register_dynamic_opts(nova.conf.CONF)
    told = facts()
    with open(argv[2], 'w', encoding='utf-8') as out:
        json.dump(told, out, indent=1, sort_keys=True)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
