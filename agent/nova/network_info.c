#include <config.h>

#include "agent/nova/network_info.h"

#include <stdlib.h>
#include <string.h>

/* Of an interface's name. */
#define NAME_MAX_CHARS 14

static const struct json *
find(const struct json *list, const char *id)
{
    json_for_each (row, list) {
        if (id && str_eq(json_string_of(row, "id"), id)) {
            return row;
        }
    }
    return NULL;
}

/* What is absent is null. */
static void
set_copy(struct json *object, const char *name, const struct json *value)
{
    json_set(object, name, json_copy(value));
}

/* ---- Queries --------------------------------------------------------------
 */

/* Each value once.  Takes 'query'. */
static char *
add_value(char *query, const char *name, const char *value)
{
    if (!value) {
        return query;
    }
    AUTO_FREE pair = xasprintf("%s=%s", name, value);
    if (!query) {
        return steal(&pair);
    }
    if (strstr(query, pair)) {
        return query;
    }
    char *longer = xasprintf("%s&%s", query, pair);
    free(query);
    return longer;
}

struct network_queries
network_info_queries(const struct json *ports)
{
    struct network_queries queries = {0};

    json_for_each (port, ports) {
        const char *network = json_string_of(port, "network_id");

        queries.networks = add_value(queries.networks, "id", network);
        queries.floating_ips = add_value(queries.floating_ips, "port_id",
                                         json_string_of(port, "id"));
        json_for_each (fixed, json_get(port, "fixed_ips")) {
            queries.subnets = add_value(queries.subnets, "id",
                                        json_string_of(fixed, "subnet_id"));
            queries.dhcp_ports =
                add_value(queries.dhcp_ports, "network_id", network);
        }
    }
    if (queries.dhcp_ports) {
        queries.dhcp_ports =
            add_value(queries.dhcp_ports, "device_owner", "network:dhcp");
    }
    return queries;
}

void
network_queries_close(struct network_queries *queries)
{
    free(queries->networks);
    free(queries->subnets);
    free(queries->dhcp_ports);
    free(queries->floating_ips);
    *queries = (struct network_queries){0};
}

/* ---- Addresses ------------------------------------------------------------
 */

static struct json *
version_of(const char *address)
{
    return address ? json_int(strchr(address, ':') ? 6 : 4) : json_null();
}

static struct json *
address_of(const char *address, const char *type)
{
    struct json *ip = json_object();

    json_set(ip, "address", json_string(address));
    json_set_string(ip, "type", type);
    json_set(ip, "version", version_of(address));
    json_set(ip, "meta", json_object());
    return ip;
}

static struct json *
fixed_ip_of(const struct network_facts *facts, const char *port,
            const char *address)
{
    struct json *ip = address_of(address, "fixed");
    struct json *floating = json_array();

    json_for_each (row, facts->floating_ips) {
        if (str_eq(json_string_of(row, "port_id"), port) &&
            str_eq(json_string_of(row, "fixed_ip_address"), address)) {
            json_append(floating,
                        address_of(json_string_of(row, "floating_ip_address"),
                                   "floating"));
        }
    }
    json_set(ip, "floating_ips", floating);
    return ip;
}

/* ---- Subnets --------------------------------------------------------------
 */

static const char *
dhcp_server_of(const struct network_facts *facts, const struct json *subnet)
{
    const char *found = NULL;

    json_for_each (port, facts->dhcp_ports) {
        json_for_each (fixed, json_get(port, "fixed_ips")) {
            if (str_eq(json_string_of(fixed, "subnet_id"),
                       json_string_of(subnet, "id"))) {
                found = json_string_of(fixed, "ip_address");
                break;
            }
        }
    }
    return found;
}

/* Whoever asks for metadata is told of a DHCP server wherever there is to be
 * one, even if Neutron has none itself. */
static struct json *
subnet_meta_of(const struct network_facts *facts, const struct json *subnet)
{
    struct json *meta = json_object();
    const char *mode = json_string_of(subnet, "ipv6_address_mode");
    const char *server = dhcp_server_of(facts, subnet);

    if (mode && *mode) {
        json_set_string(meta, "ipv6_address_mode", mode);
    }
    if (server) {
        json_set_string(meta, "dhcp_server", server);
    } else if (json_bool_of(subnet, "enable_dhcp")) {
        set_copy(meta, "dhcp_server", json_get(subnet, "gateway_ip"));
    }
    return meta;
}

static struct json *
dns_of(const struct json *subnet)
{
    struct json *dns = json_array();

    json_for_each (server, json_get(subnet, "dns_nameservers")) {
        json_append(dns, address_of(json_get_string(server), "dns"));
    }
    return dns;
}

static struct json *
routes_of(const struct json *subnet)
{
    struct json *routes = json_array();

    json_for_each (row, json_get(subnet, "host_routes")) {
        struct json *route = json_object();

        set_copy(route, "cidr", json_get(row, "destination"));
        json_set(route, "gateway",
                 address_of(json_string_of(row, "nexthop"), "gateway"));
        json_set_null(route, "interface");
        json_set(route, "meta", json_object());
        json_append(routes, route);
    }
    return routes;
}

/* Null: the port has no address there. */
static struct json *
ips_of(const struct network_facts *facts, const struct json *port,
       const struct json *subnet)
{
    struct json *ips = NULL;

    json_for_each (fixed, json_get(port, "fixed_ips")) {
        if (str_eq(json_string_of(fixed, "subnet_id"),
                   json_string_of(subnet, "id"))) {
            ips = ips ? ips : json_array();
            json_append(ips, fixed_ip_of(facts, json_string_of(port, "id"),
                                         json_string_of(fixed, "ip_address")));
        }
    }
    return ips;
}

static struct json *
subnets_of(const struct network_facts *facts, const struct json *port)
{
    struct json *subnets = json_array();

    json_for_each (row, facts->subnets) {
        struct json *ips = ips_of(facts, port, row);
        if (!ips) {
            continue;
        }
        struct json *subnet = json_object();
        set_copy(subnet, "cidr", json_get(row, "cidr"));
        json_set(subnet, "dns", dns_of(row));
        json_set(subnet, "gateway",
                 address_of(json_string_of(row, "gateway_ip"), "gateway"));
        json_set(subnet, "ips", ips);
        json_set(subnet, "routes", routes_of(row));
        json_set(subnet, "version", version_of(json_string_of(row, "cidr")));
        json_set(subnet, "meta", subnet_meta_of(facts, row));
        json_append(subnets, subnet);
    }
    return subnets;
}

/* ---- Network --------------------------------------------------------------
 */

static char *
shortened(char *name)
{
    if (name && strlen(name) > NAME_MAX_CHARS) {
        name[NAME_MAX_CHARS] = '\0';
    }
    return name;
}

static char *
named_bridge(const struct json *port, const char *otherwise)
{
    const char *name =
        json_string_of(json_get(port, "binding:vif_details"), "bridge_name");

    return xstrdup(name ? name : otherwise);
}

static bool
is_on_ovs(const struct json *port)
{
    const char *type = json_string_of(port, "binding:vif_type");
    const struct json *details = json_get(port, "binding:vif_details");

    return str_eq(type, "ovs") || str_eq(type, "agilio_ovs") ||
           (str_eq(type, "vhostuser") &&
            json_bool_of(details, "vhostuser_ovs_plug"));
}

/* Null: it has none. */
static char *
bridge_of(const struct network_facts *facts, const struct json *port)
{
    const char *type = json_string_of(port, "binding:vif_type");
    const char *network = json_string_of(port, "network_id");
    const struct json *details = json_get(port, "binding:vif_details");
    AUTO_FREE usual = xasprintf("brq%s", network);

    if (is_on_ovs(port)) {
        return shortened(named_bridge(port, facts->ovs_bridge));
    }
    if (str_eq(type, "bridge") ||
        (str_eq(type, "vhostuser") &&
         json_bool_of(details, "vhostuser_fp_plug"))) {
        return shortened(named_bridge(port, usual));
    }
    return str_eq(type, "dvs") ? xstrdup(network) : NULL;
}

/* Of several segments that of the first one that has any. */
static const char *
physical_network_of(const struct json *network)
{
    json_for_each (segment, json_get(network, "segments")) {
        const char *name = json_string_of(segment, "provider:physical_network");
        if (name && *name) {
            return name;
        }
    }
    return json_string_of(network, "provider:physical_network");
}

static bool
is_tunneled(const struct json *network)
{
    const char *type = json_string_of(network, "provider:network_type");

    return str_eq(type, "vxlan") || str_eq(type, "gre") ||
           str_eq(type, "geneve");
}

/* A network that is not seen has what its port says. */
static struct json *
network_of(const struct network_facts *facts, const struct json *port)
{
    const char *id = json_string_of(port, "network_id");
    const struct json *row = find(facts->networks, id);
    AUTO_FREE bridge = bridge_of(facts, port);
    struct json *network = json_object(), *meta = json_object();

    json_set(network, "id", json_string(id));
    json_set(network, "bridge", json_string(bridge));
    set_copy(network, "label", json_get(row, "name"));
    json_set(network, "subnets", subnets_of(facts, port));
    json_set(network, "meta", meta);
    json_set_bool(meta, "injected", false);
    set_copy(meta, "tenant_id", json_get(row ? row : port, "tenant_id"));
    set_copy(meta, "mtu", json_get(row, "mtu"));
    json_set(meta, "physical_network", json_string(physical_network_of(row)));
    json_set_bool(meta, "tunneled", is_tunneled(row));
    if (str_eq(json_string_of(port, "binding:vif_type"), "bridge")) {
        json_set_bool(meta, "should_create_bridge", true);
    }
    return network;
}

/* ---- Ports ----------------------------------------------------------------
 */

static struct json *
object_or_empty(const struct json *value)
{
    return json_is_object(value) ? json_copy(value) : json_object();
}

static bool
is_active(const struct json *port)
{
    const struct json *is_up = json_get(port, "admin_state_up");

    return (json_is_bool(is_up) && !json_is_true(is_up)) ||
           str_eq(json_string_of(port, "status"), "ACTIVE");
}

/* While Neutron activates its binding to another host. */
static bool
is_between_bindings(const struct json *port, const struct json *before)
{
    const char *type = json_string_of(before, "type");

    return str_eq(json_string_of(port, "binding:vif_type"), "unbound") &&
           type && !str_eq(type, "unbound") && !str_eq(type, "binding_failed");
}

/* Of a port that is bound nowhere at the moment what was known stays: guests
 * are moved by it. */
static struct json *
vif_of(const struct network_facts *facts, const struct json *port,
       const struct json *known)
{
    const char *id = json_string_of(port, "id");
    const char *kind = json_string_of(port, "binding:vnic_type");
    const struct json *before = find(known, id);
    AUTO_FREE device = shortened(xasprintf("tap%s", id));

    if (is_between_bindings(port, before)) {
        return json_copy(before);
    }
    struct json *vif = json_object();
    json_set_string(vif, "id", id);
    set_copy(vif, "address", json_get(port, "mac_address"));
    json_set(vif, "network", network_of(facts, port));
    set_copy(vif, "type", json_get(port, "binding:vif_type"));
    json_set(vif, "details",
             object_or_empty(json_get(port, "binding:vif_details")));
    json_set_string(vif, "devname", device);
    json_set(vif, "ovs_interfaceid", json_string(is_on_ovs(port) ? id : NULL));
    json_set_null(vif, "qbh_params");
    json_set_null(vif, "qbg_params");
    json_set_bool(vif, "active", is_active(port));
    json_set_string(vif, "vnic_type", kind ? kind : "normal");
    json_set(vif, "profile",
             object_or_empty(json_get(port, "binding:profile")));
    json_set_bool(vif, "preserve_on_delete",
                  json_bool_of(before, "preserve_on_delete"));
    json_set_bool(vif, "delegate_create", true);
    json_set(vif, "meta", json_object());
    return vif;
}

struct json *
network_info_rebuild(const struct network_facts *facts,
                     const struct json *known)
{
    struct json *vifs = json_array();

    if (!json_is_array(known) || !json_size(known)) {
        json_free(vifs);
        return network_info_collect(facts, known, NULL);
    }
    json_for_each (before, known) {
        const struct json *port =
            find(facts->ports, json_string_of(before, "id"));
        if (port) {
            json_append(vifs, vif_of(facts, port, known));
        }
    }
    return vifs;
}

struct json *
network_info_collect(const struct network_facts *facts,
                     const struct json *known, const struct json *order)
{
    struct json *vifs = json_array();

    json_for_each (id, order) {
        const struct json *port = find(facts->ports, json_get_string(id));
        if (port && !find(vifs, json_get_string(id))) {
            json_append(vifs, vif_of(facts, port, known));
        }
    }
    json_for_each (port, facts->ports) {
        const char *id = json_string_of(port, "id");
        if (id && !find(vifs, id)) {
            json_append(vifs, vif_of(facts, port, known));
        }
    }
    return vifs;
}

struct json *
network_info_refresh(const struct network_facts *facts,
                     const struct json *known, const char *id)
{
    const struct json *port = find(facts->ports, id);
    struct json *vifs = json_array();

    if (!json_is_array(known) || !json_size(known)) {
        json_free(vifs);
        return network_info_collect(facts, known, NULL);
    }
    json_for_each (before, known) {
        if (!str_eq(json_string_of(before, "id"), id)) {
            json_append(vifs, json_copy(before));
        } else if (port) {
            json_append(vifs, vif_of(facts, port, known));
        }
    }
    if (port && !find(known, id)) {
        json_append(vifs, vif_of(facts, port, known));
    }
    return vifs;
}

const struct json *
network_info_changed_kind(const struct json *known, const struct json *now)
{
    json_for_each (vif, now) {
        const struct json *before = find(known, json_string_of(vif, "id"));
        const char *kind = json_string_of(before, "vnic_type");
        if (kind && !str_eq(kind, json_string_of(vif, "vnic_type"))) {
            return before;
        }
    }
    return NULL;
}
