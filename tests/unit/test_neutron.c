#include <config.h>

#include "agent/nova/neutron.h"

/* The calls to Neutron, beside those of a real nova-compute. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/cloud_bench.h"
#include "tests/unit/fake_clock.h"

#define PORT "f0dd8bfd-ddd3-4f6d-b735-7cf24f32d07d"
#define INSTANCE "6366182a-6451-4f45-bd48-1486ecc5705b"
#define PROJECT "642e18c5e1c24d53b1677557fd4d21d2"
#define EXTENSIONS \
    "{'extensions': [{'alias': 'binding'}, {'alias': 'binding-extended'}]}"
#define NEUTRON_ERROR(TEXT) \
    "{'NeutronError': {'type': 'T', 'message': '" TEXT "', 'detail': ''}}"

#define CALL(FUNC, ...) FUNC(b->cloud->neutron, b->context, __VA_ARGS__, b)

static void
extension_known(void *aux, bool has, struct error *error)
{
    cloud_bench_done(aux, json_bool(has), error);
}

static struct json *
port_json(const struct neutron_port *port)
{
    struct json *json = json_object();

    json_set_string(json, "id", port->id);
    json_set_string(json, "host", port->host);
    json_set_string(json, "vif_type", port->vif_type);
    json_set_string(json, "vnic_type", port->vnic_type);
    json_set_string(json, "status", port->status);
    json_set_string(json, "owner", port->device_owner);
    return json_set(json, "profile", json_copy(port->profile));
}

static void
ports_known(void *aux, const struct neutron_port *ports, size_t n,
            struct error *error)
{
    struct json *list = json_array();

    for (size_t i = 0; i < n; i++) {
        json_append(list, port_json(&ports[i]));
    }
    cloud_bench_done(aux, list, error);
}

static struct json *
binding_json(const struct neutron_binding *binding)
{
    struct json *json = json_object();

    json_set_string(json, "host", binding->host);
    json_set_bool(json, "active", neutron_binding_is_active(binding));
    json_set_string(json, "vif_type", binding->vif_type);
    json_set(json, "details", json_copy(binding->vif_details));
    return json_set(json, "profile", json_copy(binding->profile));
}

static void
binding_known(void *aux, const struct neutron_binding *binding,
              struct error *error)
{
    assert_true(!binding || !error);
    cloud_bench_done(aux, binding ? binding_json(binding) : NULL, error);
}

static void
bindings_known(void *aux, const struct neutron_binding *bindings, size_t n,
               struct error *error)
{
    struct json *list = json_array();

    for (size_t i = 0; i < n; i++) {
        json_append(list, binding_json(&bindings[i]));
    }
    cloud_bench_done(aux, list, error);
}

static void
list_known(void *aux, const struct json *items, struct error *error)
{
    cloud_bench_done(aux, json_copy(items), error);
}

static void
test_extensions_are_asked_for_now_and_then(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    fake_clock_install();
    BENCH_REPLIES(b, {.status = 200, .body = EXTENSIONS});
    CALL(neutron_has_extension, NEUTRON_BINDING_EXTENDED, extension_known);
    cloud_bench_run(b);
    cloud_bench_assert_result(b, "true");
    cloud_bench_assert_as_recorded(b, 0, "extensions");
    CALL(neutron_has_extension, "other", extension_known);
    assert_int_equal(b->n_done, 1); /* Later, though it is known. */
    cloud_bench_run(b);
    cloud_bench_assert_result(b, "false");
    fake_clock_advance(&b->loop, 601 * 1000);
    BENCH_REPLIES(b, {.status = 503}, {.status = 200, .body = EXTENSIONS},
                  {.status = 404});
    CALL(neutron_has_extension, NEUTRON_BINDING_EXTENDED, extension_known);
    cloud_bench_run(b);
    cloud_bench_assert_result(b, "true");
    fake_clock_advance(&b->loop, 601 * 1000);
    CALL(neutron_has_extension, NEUTRON_BINDING_EXTENDED, extension_known);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_NEUTRON);
    cloud_bench_free(b);
    fake_clock_remove();
}

static void
test_ports(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    struct neutron_port_query query = {
        .device_id = INSTANCE, .project_id = PROJECT, .host = "hostA"};

    BENCH_REPLIES(
        b,
        {.status = 200,
         .body = "{'ports': [{'id': 'p1', 'binding:host_id': 'hostA',"
                 "'binding:vif_type': 'bridge', 'binding:vnic_type': 'normal',"
                 "'status': 'ACTIVE', 'device_owner': 'compute:nova',"
                 "'binding:profile': {'a': 1}}, {'id': 'p2',"
                 "'binding:profile': ''}, {}]}"},
        {.status = 200, .body = "{'ports': []}"},
        {.status = 400, .body = NEUTRON_ERROR("wrong")});
    CALL(neutron_ports, &query, ports_known);
    cloud_bench_run(b);
    cloud_bench_assert_as_recorded(b, 0, "ports_on_host");
    cloud_bench_assert_result(
        b, "[{'id': 'p1', 'host': 'hostA', 'vif_type': 'bridge',"
           "'vnic_type': 'normal', 'status': 'ACTIVE', 'owner':"
           "'compute:nova', 'profile': {'a': 1}}, {'id': 'p2',"
           "'host': null, 'vif_type': null, 'vnic_type': null,"
           "'status': null, 'owner': null, 'profile': null}]");
    query.host = NULL;
    CALL(neutron_ports, &query, ports_known);
    cloud_bench_run(b);
    cloud_bench_assert_as_recorded(b, 1, "ports_of_project");
    CALL(neutron_ports, &query, ports_known);
    cloud_bench_run(b);
    cloud_bench_assert_error(b, ERR_NEUTRON, "neutron: ports: 400, wrong");
    cloud_bench_free(b);
}

static void
test_port_update(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    const struct json *attributes = json_get(
        json_get(cloud_bench_recorded(b, "port_update"), "body"), "port");

    BENCH_REPLIES(b, {.status = 200, .body = "{'port': {}}"}, {.status = 404},
                  {.status = 409, .body = NEUTRON_ERROR("busy")});
    CALL(neutron_port_update, PORT, attributes, cloud_bench_ended);
    cloud_bench_run(b);
    assert_null(b->error);
    cloud_bench_assert_as_recorded(b, 0, "port_update");
    CALL(neutron_port_update, PORT, attributes, cloud_bench_ended);
    cloud_bench_run(b);
    cloud_bench_assert_error(b, ERR_PORT_NOT_FOUND,
                             "Port id " PORT " could not be found.");
    CALL(neutron_port_update, PORT, attributes, cloud_bench_ended);
    cloud_bench_run(b);
    cloud_bench_assert_error(b, ERR_PORT_UPDATE,
                             "Port update failed for port " PORT
                             ": neutron: update port: 409, busy");
    cloud_bench_free(b);
}

static void
assert_profile(const struct neutron_port *port, const char *host,
               const char *text)
{
    AUTO_JSON profile = neutron_profile_migrating(port, host);
    AUTO_JSON wanted = text ? bench_json(text) : NULL;

    assert_true(!profile == !wanted);
    assert_true(!profile || json_equal(profile, wanted));
}

static void
test_profile_tells_where_a_port_migrates_to(void **state UNUSED)
{
    AUTO_JSON some = bench_json("{'os_vif_delegation': true}");
    AUTO_JSON migrates = bench_json("{'a': 1, 'migrating_to': 'hostB'}");
    struct neutron_port port = {.id = PORT};

    assert_profile(&port, "hostB", "{'migrating_to': 'hostB'}");
    assert_profile(&port, NULL, NULL);
    port.profile = some;
    assert_profile(&port, "hostB",
                   "{'os_vif_delegation': true, 'migrating_to': 'hostB'}");
    assert_profile(&port, NULL, NULL);
    port.profile = migrates;
    assert_profile(&port, "hostB", NULL);
    assert_profile(&port, "hostC", "{'a': 1, 'migrating_to': 'hostC'}");
    assert_profile(&port, NULL, "{'a': 1}");
}

static void
test_lists(void **state UNUSED)
{
    static const char *const names[] = {"networks", "subnets", "floatingips",
                                        "dhcp_ports"};
    struct cloud_bench *b = cloud_bench_create(NULL);

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        const char *path =
            json_string_of(cloud_bench_recorded(b, names[i]), "path");
        const char *query = strchr(path, '?') + 1;
        bool is_ports = str_eq(names[i], "dhcp_ports");

        BENCH_REPLIES(b, {.status = 200,
                          .body = "{'networks': [1], 'subnets': [1],"
                                  "'floatingips': [1], 'ports': [1]}"});
        CALL(neutron_list, is_ports ? "ports" : names[i], query, list_known);
        cloud_bench_run(b);
        cloud_bench_assert_result(b, "[1]");
        cloud_bench_assert_as_recorded(b, i, names[i]);
    }
    BENCH_REPLIES(b, {.status = 404}, {.status = 500});
    CALL(neutron_list, "floatingips", "port_id=" PORT, list_known);
    cloud_bench_run(b);
    cloud_bench_assert_result(b, "[]");
    CALL(neutron_list, "floatingips", "port_id=" PORT, list_known);
    cloud_bench_run(b);
    cloud_bench_assert_error(b, ERR_NEUTRON, "neutron: floatingips: 500");
    cloud_bench_free(b);
}

static void
test_bindings(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b,
                  {.status = 200,
                   .body = "{'binding': {'host': 'hostB', 'status': 'INACTIVE',"
                           "'vif_type': 'bridge', 'vif_details': {'a': 1},"
                           "'profile': {}}}"},
                  {.status = 404}, {.status = 500},
                  {"GET", "/v2.0/ports/" PORT "/bindings", 200,
                   "{'bindings': [{'host': 'hostA', 'status': 'ACTIVE'}]}",
                   ANSWER},
                  {.status = 404});
    CALL(neutron_binding_get, PORT, "hostB", binding_known);
    cloud_bench_run(b);
    cloud_bench_assert_as_recorded(b, 0, "binding_get");
    cloud_bench_assert_result(
        b, "{'host': 'hostB', 'active': false, 'vif_type': 'bridge',"
           "'details': {'a': 1}, 'profile': {}}");
    CALL(neutron_binding_get, PORT, "hostB", binding_known);
    cloud_bench_run(b);
    assert_null(b->error);
    assert_null(b->result);
    CALL(neutron_binding_get, PORT, "hostB", binding_known);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_NEUTRON);
    CALL(neutron_bindings, PORT, bindings_known);
    cloud_bench_run(b);
    cloud_bench_assert_result(
        b, "[{'host': 'hostA', 'active': true, 'vif_type': null,"
           "'details': null, 'profile': null}]");
    CALL(neutron_bindings, PORT, bindings_known);
    cloud_bench_run(b);
    assert_int_equal(error_code(b->error), ERR_PORT_NOT_FOUND);
    cloud_bench_free(b);
}

#define OTHER_PORT "c521973a-7fea-4d80-b09a-b8924934a61c"

static void
test_binding_create(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    AUTO_JSON profile = bench_json("{'a': 1}");

    BENCH_REPLIES(b,
                  {.status = 201,
                   .body = "{'binding': {'host': 'hostB', 'status':"
                           "'INACTIVE'}}"},
                  {.status = 409}, {.status = 404});
    CALL(neutron_binding_create, OTHER_PORT, "hostB", "normal", profile,
         binding_known);
    cloud_bench_run(b);
    cloud_bench_assert_as_recorded(b, 0, "binding_create");
    bench_assert_body(cloud_bench_request(b, 0),
                      "{'binding': {'host': 'hostB', 'vnic_type': 'normal',"
                      "'profile': {'a': 1}}}");
    for (int i = 0; i < 2; i++) {
        CALL(neutron_binding_create, OTHER_PORT, "hostB", NULL, NULL,
             binding_known);
        cloud_bench_run(b);
        cloud_bench_assert_error(
            b, ERR_PORT_BINDING,
            "Binding failed for port " OTHER_PORT
            ", please check neutron logs for more information.");
    }
    bench_assert_body(cloud_bench_request(b, 1),
                      "{'binding': {'host': 'hostB'}}");
    cloud_bench_free(b);
}

static void
test_binding_activate(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, {.status = 200, .body = "{'binding': {}}"},
                  {.status = 409}, {.status = 500}, {.status = 404});
    CALL(neutron_binding_activate, PORT, "hostB", cloud_bench_ended);
    cloud_bench_run(b);
    assert_null(b->error);
    cloud_bench_assert_as_recorded(b, 0, "binding_activate");
    CALL(neutron_binding_activate, PORT, "hostB", cloud_bench_ended);
    cloud_bench_run(b);
    assert_null(b->error);
    for (int i = 0; i < 2; i++) {
        CALL(neutron_binding_activate, PORT, "hostB", cloud_bench_ended);
        cloud_bench_run(b);
        cloud_bench_assert_error(
            b, ERR_PORT_BINDING_ACTIVATION,
            "Failed to activate binding for port " PORT
            " on host hostB; please check neutron logs for more "
            "information");
    }
    cloud_bench_free(b);
}

static void
test_binding_delete(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, {.status = 204}, {.status = 404}, {.status = 500});
    CALL(neutron_binding_delete, PORT, "hostA", cloud_bench_ended);
    cloud_bench_run(b);
    assert_null(b->error);
    cloud_bench_assert_as_recorded(b, 0, "binding_delete");
    CALL(neutron_binding_delete, PORT, "hostA", cloud_bench_ended);
    cloud_bench_run(b);
    assert_null(b->error);
    CALL(neutron_binding_delete, PORT, "hostA", cloud_bench_ended);
    cloud_bench_run(b);
    cloud_bench_assert_error(
        b, ERR_PORT_BINDING_DELETION,
        "Failed to delete binding for port(s) " PORT
        " on host hostA; please check neutron logs for more "
        "information");
    cloud_bench_free(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extensions_are_asked_for_now_and_then),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_port_update),
        cmocka_unit_test(test_profile_tells_where_a_port_migrates_to),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_bindings),
        cmocka_unit_test(test_binding_create),
        cmocka_unit_test(test_binding_activate),
        cmocka_unit_test(test_binding_delete),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
