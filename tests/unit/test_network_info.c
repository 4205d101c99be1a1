#include <config.h>

#include "agent/nova/network_info.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define P1 "c521973a-7fea-4d80-b09a-b8924934a61c"
#define P2 "d1a2b3c4-0000-4000-8000-00000000000b"
#define N1 "0fcf8e10-fe8e-4a01-b215-4e7bd7017b7f"

/* 'text' with " for '. */
static struct json *
json_of(const char *text)
{
    AUTO_FREE quoted = xstrdup(text);
    struct json *json = NULL;

    for (char *c = quoted; *c; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    AUTO_ERROR error = json_parse(quoted, strlen(quoted), &json);
    assert_string_equal(error_message(error), "success");
    return json;
}

static void
assert_json(const struct json *json, const char *text)
{
    AUTO_JSON wanted = json_of(text);

    if (!json_equal(json, wanted)) {
        AUTO_FREE is = json_print(json, NULL);
        AUTO_FREE should = json_print(wanted, NULL);
        fail_msg("%s\nis not\n%s", is, should);
    }
}

struct cloud {
    struct json *ports, *networks, *subnets, *dhcp_ports, *floating_ips;
    struct network_facts facts;
};

static void
cloud_close(struct cloud *cloud)
{
    json_free(cloud->ports);
    json_free(cloud->networks);
    json_free(cloud->subnets);
    json_free(cloud->dhcp_ports);
    json_free(cloud->floating_ips);
}

static struct network_facts *
facts_of(struct cloud *cloud)
{
    cloud->facts = (struct network_facts){
        .ports = cloud->ports,
        .networks = cloud->networks,
        .subnets = cloud->subnets,
        .dhcp_ports = cloud->dhcp_ports,
        .floating_ips = cloud->floating_ips,
        .ovs_bridge = "br-int",
    };
    return &cloud->facts;
}

/* The cloud of the recorded build of an instance. */
static struct cloud
recorded_cloud(void)
{
    return (struct cloud){
        .ports = json_of(
            "[{'id': '" P1 "', 'network_id': '" N1 "', 'tenant_id': "
            "'642e18c5e1c24d53b1677557fd4d21d2', 'mac_address': "
            "'fa:16:3e:fe:62:f6', 'admin_state_up': true, 'status': 'DOWN', "
            "'fixed_ips': [{'subnet_id': 's1', 'ip_address': '10.79.0.25'}], "
            "'binding:vif_type': 'bridge', 'binding:vnic_type': 'normal', "
            "'binding:profile': {}, 'binding:vif_details': {'connectivity': "
            "'l2', 'port_filter': true, 'bound_drivers': {'0': "
            "'linuxbridge'}}}]"),
        .networks = json_of("[{'id': '" N1 "', 'name': 'net1', 'tenant_id': "
                            "'642e18c5e1c24d53b1677557fd4d21d2', 'mtu': 1500, "
                            "'provider:physical_network': 'physnet1', "
                            "'provider:network_type': 'flat'}]"),
        .subnets = json_of(
            "[{'id': 's1', 'network_id': '" N1 "', 'cidr': '10.79.0.0/24', "
            "'gateway_ip': null, 'enable_dhcp': false, 'dns_nameservers': [], "
            "'host_routes': [], 'ipv6_address_mode': null}]"),
    };
}

/* As nova-compute saved it. */
#define RECORDED                                                              \
    "{'id': '" P1 "', 'address': 'fa:16:3e:fe:62:f6', 'network': {'id': '" N1 \
    "', 'bridge': 'brq0fcf8e10-fe', 'label': 'net1', 'subnets': [{'cidr': "   \
    "'10.79.0.0/24', 'dns': [], 'gateway': {'address': null, 'type': "        \
    "'gateway', 'version': null, 'meta': {}}, 'ips': [{'address': "           \
    "'10.79.0.25', 'type': 'fixed', 'version': 4, 'meta': {}, "               \
    "'floating_ips': []}], 'routes': [], 'version': 4, 'meta': {}}], "        \
    "'meta': {'injected': false, 'tenant_id': "                               \
    "'642e18c5e1c24d53b1677557fd4d21d2', 'mtu': 1500, 'physical_network': "   \
    "'physnet1', 'tunneled': false, 'should_create_bridge': true}}, 'type': " \
    "'bridge', 'details': {'connectivity': 'l2', 'port_filter': true, "       \
    "'bound_drivers': {'0': 'linuxbridge'}}, 'devname': 'tapc521973a-7f', "   \
    "'ovs_interfaceid': null, 'qbh_params': null, 'qbg_params': null, "       \
    "'active': false, 'vnic_type': 'normal', 'profile': {}, "                 \
    "'preserve_on_delete': false, 'delegate_create': true, 'meta': {}}"

static void
test_it_is_what_nova_compute_saved(void **state UNUSED)
{
    struct cloud cloud = recorded_cloud();
    AUTO_JSON known = json_of("[{'id': '" P1 "', 'vnic_type': 'normal'}]");
    AUTO_JSON info = network_info_rebuild(facts_of(&cloud), known);

    assert_json(info, "[" RECORDED "]");
    assert_null(network_info_changed_kind(known, info));
    cloud_close(&cloud);
}

/* Open vSwitch, two subnets, all that a subnet may have, a tunnel. */
static struct cloud
full_cloud(void)
{
    return (struct cloud){
        .ports = json_of(
            "[{'id': '" P2 "', 'network_id': 'n2', 'tenant_id': 't', "
            "'mac_address': 'fa:16:3e:00:00:02', 'admin_state_up': false, "
            "'status': 'DOWN', 'fixed_ips': [{'subnet_id': 's4', "
            "'ip_address': '10.0.0.7'}, {'subnet_id': 's6', 'ip_address': "
            "'fd00::7'}], 'binding:vif_type': 'ovs', 'binding:vif_details': "
            "{'ovs_hybrid_plug': true}, 'binding:profile': null}]"),
        .networks = json_of(
            "[{'id': 'n1'}, {'id': 'n2', 'name': 'blue', 'tenant_id': 'o', "
            "'mtu': 1450, 'provider:physical_network': null, "
            "'provider:network_type': 'geneve'}]"),
        .subnets = json_of(
            "[{'id': 's4', 'cidr': '10.0.0.0/24', 'gateway_ip': '10.0.0.1', "
            "'enable_dhcp': true, 'dns_nameservers': ['10.0.0.3'], "
            "'host_routes': [{'destination': '10.9.0.0/16', 'nexthop': "
            "'10.0.0.2'}]}, {'id': 's5', 'cidr': '10.1.0.0/24'}, {'id': "
            "'s6', 'cidr': 'fd00::/64', 'gateway_ip': 'fd00::1', "
            "'enable_dhcp': true, 'ipv6_address_mode': 'slaac'}]"),
        .dhcp_ports = json_of("[{'fixed_ips': [{'subnet_id': 's4', "
                              "'ip_address': '10.0.0.4'}]}]"),
        .floating_ips = json_of(
            "[{'port_id': '" P2 "', 'fixed_ip_address': '10.0.0.7', "
            "'floating_ip_address': '198.51.100.9'}, {'port_id': 'other', "
            "'fixed_ip_address': '10.0.0.7', 'floating_ip_address': "
            "'198.51.100.8'}]"),
    };
}

static void
test_subnets_have_all_that_neutron_says(void **state UNUSED)
{
    struct cloud cloud = full_cloud();
    AUTO_JSON known =
        json_of("[{'id': '" P2 "', 'preserve_on_delete': true, 'vnic_type': "
                "'direct'}]");
    AUTO_JSON info = network_info_rebuild(facts_of(&cloud), known);
    const struct json *vif = json_at(info, 0);
    const struct json *network = json_get(vif, "network");

    assert_json(
        json_get(network, "subnets"),
        "[{'cidr': '10.0.0.0/24', 'dns': [{'address': '10.0.0.3', 'type': "
        "'dns', 'version': 4, 'meta': {}}], 'gateway': {'address': "
        "'10.0.0.1', 'type': 'gateway', 'version': 4, 'meta': {}}, 'ips': "
        "[{'address': '10.0.0.7', 'type': 'fixed', 'version': 4, 'meta': {}, "
        "'floating_ips': [{'address': '198.51.100.9', 'type': 'floating', "
        "'version': 4, 'meta': {}}]}], 'routes': [{'cidr': '10.9.0.0/16', "
        "'gateway': {'address': '10.0.0.2', 'type': 'gateway', 'version': 4, "
        "'meta': {}}, 'interface': null, 'meta': {}}], 'version': 4, 'meta': "
        "{'dhcp_server': '10.0.0.4'}},"
        "{'cidr': 'fd00::/64', 'dns': [], 'gateway': {'address': 'fd00::1', "
        "'type': 'gateway', 'version': 6, 'meta': {}}, 'ips': [{'address': "
        "'fd00::7', 'type': 'fixed', 'version': 6, 'meta': {}, "
        "'floating_ips': []}], 'routes': [], 'version': 6, 'meta': "
        "{'ipv6_address_mode': 'slaac', 'dhcp_server': 'fd00::1'}}]");
    assert_json(json_get(network, "meta"),
                "{'injected': false, 'tenant_id': 'o', 'mtu': 1450, "
                "'physical_network': null, 'tunneled': true}");
    assert_string_equal(json_string_of(network, "bridge"), "br-int");
    assert_string_equal(json_string_of(vif, "ovs_interfaceid"), P2);
    assert_string_equal(json_string_of(vif, "vnic_type"), "normal");
    assert_true(json_bool_of(vif, "active"));
    assert_true(json_bool_of(vif, "preserve_on_delete"));
    assert_json(json_get(vif, "profile"), "{}");

    /* It was plugged as another kind. */
    const struct json *other = network_info_changed_kind(known, info);
    assert_non_null(other);
    assert_string_equal(json_string_of(other, "vnic_type"), "direct");
    cloud_close(&cloud);
}

static void
test_network_that_is_not_seen_has_its_ports_tenant(void **state UNUSED)
{
    struct cloud cloud = full_cloud();

    json_free(cloud.networks);
    cloud.networks = NULL;
    AUTO_JSON info = network_info_collect(facts_of(&cloud), NULL, NULL);
    const struct json *network = json_get(json_at(info, 0), "network");
    assert_true(json_is_null(json_get(network, "label")));
    assert_string_equal(json_string_of(json_get(network, "meta"), "tenant_id"),
                        "t");
    cloud_close(&cloud);
}

static void
test_first_segment_with_a_physical_network_names_it(void **state UNUSED)
{
    struct cloud cloud = full_cloud();

    json_free(cloud.networks);
    cloud.networks = json_of(
        "[{'id': 'n2', 'segments': [{'provider:network_type': 'vxlan', "
        "'provider:physical_network': null}, {'provider:network_type': 'vlan', "
        "'provider:physical_network': 'physnet2'}]}]");
    AUTO_JSON info = network_info_collect(facts_of(&cloud), NULL, NULL);
    const struct json *meta =
        json_get(json_get(json_at(info, 0), "network"), "meta");
    assert_string_equal(json_string_of(meta, "physical_network"), "physnet2");
    assert_false(json_bool_of(meta, "tunneled"));
    cloud_close(&cloud);
}

static char *
ids_of(const struct json *info)
{
    char *ids = xstrdup("");

    json_for_each (vif, info) {
        char *more = xasprintf("%s %s", ids, json_string_of(vif, "id"));
        free(ids);
        ids = more;
    }
    return ids;
}

#define ASSERT_IDS(INFO, IDS)               \
    do {                                    \
        AUTO_JSON info_ = (INFO);           \
        AUTO_FREE ids_ = ids_of(info_);     \
        assert_string_equal(ids_, " " IDS); \
    } while (0)

static void
test_which_ports_and_in_which_order(void **state UNUSED)
{
    struct cloud cloud = {
        .ports = json_of("[{'id': 'a'}, {'id': 'b'}, {'id': 'c'}]"),
    };
    const struct network_facts *facts = facts_of(&cloud);
    AUTO_JSON known = json_of("[{'id': 'c'}, {'id': 'gone'}, {'id': 'a'}]");
    AUTO_JSON nothing = json_array();
    AUTO_JSON order = json_of("['b', 'gone', 'c', 'b']");

    ASSERT_IDS(network_info_rebuild(facts, known), "c a");
    ASSERT_IDS(network_info_rebuild(facts, nothing), "a b c");
    ASSERT_IDS(network_info_collect(facts, known, order), "b c a");
    ASSERT_IDS(network_info_collect(facts, known, NULL), "a b c");
    ASSERT_IDS(network_info_refresh(facts, known, "a"), "c gone a");
    ASSERT_IDS(network_info_refresh(facts, known, "gone"), "c a");
    ASSERT_IDS(network_info_refresh(facts, known, "b"), "c gone a b");
    ASSERT_IDS(network_info_refresh(facts, NULL, "b"), "a b c");
    cloud_close(&cloud);
}

static void
test_only_the_port_that_changed_is_made_anew(void **state UNUSED)
{
    struct cloud cloud = recorded_cloud();
    AUTO_JSON known = json_of("[{'id': '" P2 "', 'x': 1}, {'id': '" P1 "'}]");
    AUTO_JSON info = network_info_refresh(facts_of(&cloud), known, P1);

    assert_json(info, "[{'id': '" P2 "', 'x': 1}, " RECORDED "]");
    cloud_close(&cloud);
}

/* Neutron says so while it makes another of its bindings the active one. */
static void
test_unbound_port_stays_as_it_was(void **state UNUSED)
{
    struct cloud cloud = recorded_cloud();
    AUTO_JSON bound = json_of("[" RECORDED "]");
    AUTO_JSON never = json_of("[{'id': '" P1 "', 'type': 'unbound'}]");
    json_set_string(json_at(cloud.ports, 0), "binding:vif_type", "unbound");

    AUTO_JSON info = network_info_refresh(facts_of(&cloud), bound, P1);
    assert_json(info, "[" RECORDED "]");
    AUTO_JSON rebuilt = network_info_rebuild(facts_of(&cloud), bound);
    assert_json(rebuilt, "[" RECORDED "]");
    AUTO_JSON other = network_info_refresh(facts_of(&cloud), never, P1);
    assert_string_equal(json_string_of(json_at(other, 0), "type"), "unbound");
    assert_string_equal(json_string_of(json_at(other, 0), "devname"),
                        "tapc521973a-7f");
    cloud_close(&cloud);
}

static void
test_queries_name_each_once(void **state UNUSED)
{
    AUTO_JSON ports =
        json_of("[{'id': 'a', 'network_id': 'n', 'fixed_ips': [{'subnet_id': "
                "'s'}, {'subnet_id': 't'}]}, {'id': 'b', 'network_id': 'n', "
                "'fixed_ips': [{'subnet_id': 's'}]}]");
    AUTO_JSON bare = json_of("[{'id': 'a', 'network_id': 'n', "
                             "'fixed_ips': []}]");
    struct network_queries queries = network_info_queries(ports);

    assert_string_equal(queries.networks, "id=n");
    assert_string_equal(queries.subnets, "id=s&id=t");
    assert_string_equal(queries.dhcp_ports,
                        "network_id=n&device_owner=network:dhcp");
    assert_string_equal(queries.floating_ips, "port_id=a&port_id=b");
    network_queries_close(&queries);

    queries = network_info_queries(bare);
    assert_null(queries.subnets);
    assert_null(queries.dhcp_ports);
    network_queries_close(&queries);
    queries = network_info_queries(NULL);
    assert_null(queries.networks);
    assert_null(queries.floating_ips);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_what_nova_compute_saved),
        cmocka_unit_test(test_subnets_have_all_that_neutron_says),
        cmocka_unit_test(test_network_that_is_not_seen_has_its_ports_tenant),
        cmocka_unit_test(test_first_segment_with_a_physical_network_names_it),
        cmocka_unit_test(test_which_ports_and_in_which_order),
        cmocka_unit_test(test_only_the_port_that_changed_is_made_anew),
        cmocka_unit_test(test_unbound_port_stays_as_it_was),
        cmocka_unit_test(test_queries_name_each_once),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
