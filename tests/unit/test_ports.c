#include <config.h>

#include "agent/nova/ports.h"

/* Whose the ports of an instance are, told to a Neutron. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/cloud_bench.h"

#define INSTANCE "6366182a-6451-4f45-bd48-1486ecc5705b"
#define PROJECT "642e18c5e1c24d53b1677557fd4d21d2"
#define LIST "/ports?device_id=" INSTANCE "&tenant_id=" PROJECT
#define LIST_A LIST "&binding%3Ahost_id=hostA"
#define EXTENDED                                                  \
    {                                                             \
        .status = 200,                                            \
        .body = "{'extensions': [{'alias': 'binding-extended'}]}" \
    }
#define ASK(FUNC, ...)                                 \
    do {                                               \
        struct ports_of of_ = {                        \
            .neutron = b->cloud->neutron,              \
            .context = b->context,                     \
            .instance = INSTANCE,                      \
            .project = PROJECT,                        \
        };                                             \
        unsigned n_ = b->n_done;                       \
        FUNC(&of_, __VA_ARGS__, cloud_bench_ended, b); \
        assert_int_equal(b->n_done, n_);               \
        cloud_bench_run(b);                            \
    } while (0)

static void
assert_asked(struct cloud_bench *b, const char *const *wanted, size_t n)
{
    assert_int_equal(cloud_bench_n_requests(b), n);
    for (size_t i = 0; i < n; i++) {
        const struct rest_server_request *request = cloud_bench_request(b, i);
        AUTO_FREE text = xasprintf("%s %s", request->method,
                                   strstr(request->path, "/v2.0") + 5);

        assert_string_equal(text, wanted[i]);
    }
}
#define ASSERT_ASKED(...)                                   \
    do {                                                    \
        static const char *const wanted_[] = {__VA_ARGS__}; \
        assert_asked(b, wanted_, N_ELEMENTS(wanted_));      \
    } while (0)

static void
test_ports_on_their_way_are_marked_once(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b,
                  {.status = 200,
                   .body = "{'ports': [{'id': 'p1', 'binding:profile': {}},"
                           "{'id': 'p2', 'binding:profile':"
                           "{'migrating_to': 'hostB'}}]}"},
                  {.status = 200, .body = "{'port': {}}"});
    ASK(ports_set_migrating, "hostA", "hostB");
    assert_null(b->error);
    ASSERT_ASKED("GET " LIST_A, "PUT /ports/p1");
    bench_assert_body(cloud_bench_request(b, 1), "{'port': {'binding:profile':"
                                                 "{'migrating_to': 'hostB'}}}");
    cloud_bench_free(b);
}

static void
test_first_port_that_can_not_be_marked_ends_it(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b,
                  {.status = 200,
                   .body = "{'ports': [{'id': 'p1'},"
                           "{'id': 'p2'}]}"},
                  {.status = 409});
    ASK(ports_set_migrating, "hostA", "hostB");
    assert_int_equal(error_code(b->error), ERR_PORT_UPDATE);
    assert_int_equal(cloud_bench_n_requests(b), 2);
    cloud_bench_free(b);
}

static void
test_marks_are_taken_back_from_all(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(
        b,
        {.status = 200,
         .body = "{'ports': [{'id': 'p1', 'binding:profile': {'a': 1,"
                 "'migrating_to': 'x'}}, {'id': 'p2', 'binding:profile': {}},"
                 "{'id': 'p3', 'binding:profile': {'migrating_to': 'x'}}]}"},
        {.status = 409}, {.status = 200, .body = "{'port': {}}"});
    ASK(ports_set_migrating, "hostA", NULL);
    assert_int_equal(error_code(b->error), ERR_PORT_UPDATE);
    ASSERT_ASKED("GET " LIST_A, "PUT /ports/p1", "PUT /ports/p3");
    bench_assert_body(cloud_bench_request(b, 2),
                      "{'port': {'binding:profile': {}}}");
    cloud_bench_free(b);
}

static void
test_only_what_is_not_active_is_activated(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    AUTO_JSON ids = bench_json("['p1', 'p2', 'p3']");

    BENCH_REPLIES(
        b, EXTENDED,
        {.status = 200,
         .body = "{'binding': {'host': 'hostB', 'status': 'ACTIVE'}}"},
        {.status = 404}, /* Bound some other way. */
        {.status = 200,
         .body = "{'binding': {'host': 'hostB', 'status': 'INACTIVE'}}"},
        {.status = 200, .body = "{}"});
    ASK(ports_activate, ids, "hostB");
    assert_null(b->error);
    ASSERT_ASKED("GET /extensions", "GET /ports/p1/bindings/hostB",
                 "GET /ports/p2/bindings/hostB", "GET /ports/p3/bindings/hostB",
                 "PUT /ports/p3/bindings/hostB/activate");
    cloud_bench_free(b);
}

static void
test_neutron_without_bindings_has_none(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    AUTO_JSON ids = bench_json("['p1']");

    BENCH_REPLIES(b, {.status = 200, .body = "{'extensions': []}"});
    ASK(ports_activate, ids, "hostB");
    assert_null(b->error);
    ASK(ports_release, "hostB", "hostA");
    assert_null(b->error);
    assert_int_equal(cloud_bench_n_requests(b), 1);
    cloud_bench_free(b);
}

static void
test_ports_that_are_elsewhere_are_claimed(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b,
                  {.status = 200,
                   .body =
                       "{'ports': [{'id': 'p1', 'binding:host_id': 'hostA',"
                       "'binding:vif_type': 'ovs', 'binding:profile':"
                       "{'a': 1, 'migrating_to': 'hostA'}},"
                       "{'id': 'p2', 'binding:host_id': 'hostA',"
                       "'binding:vif_type': 'bridge'}, {'id': 'p3',"
                       "'binding:host_id': 'hostB', 'binding:vif_type': 'ovs',"
                       "'binding:profile': {'a': 1, 'migrating_to': 'hostA'}},"
                       "{'id': 'p4', 'binding:host_id': 'hostA',"
                       "'binding:vif_type': 'binding_failed'}]}"},
                  {.status = 200, .body = "{'port': {}}"},
                  {.status = 200, .body = "{'port': {}}"});
    ASK(ports_settle, "hostA", "here");
    assert_null(b->error);
    ASSERT_ASKED("GET " LIST, "PUT /ports/p3", "PUT /ports/p4");
    bench_assert_body(cloud_bench_request(b, 1),
                      "{'port': {'binding:host_id': 'hostA', 'device_owner':"
                      "'compute:here', 'binding:profile': {'a': 1}}}");
    bench_assert_body(cloud_bench_request(b, 2),
                      "{'port': {'binding:host_id': 'hostA', 'device_owner':"
                      "'compute:here'}}");
    cloud_bench_free(b);
}

static void
test_bindings_to_the_other_host_are_deleted(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(
        b, EXTENDED,
        {.status = 200, .body = "{'ports': [{'id': 'p1'}, {'id': 'p2'}]}"},
        {.status = 500}, {.status = 204});
    ASK(ports_release, "hostA", "hostB");
    assert_int_equal(error_code(b->error), ERR_PORT_BINDING_DELETION);
    ASSERT_ASKED("GET /extensions", "GET " LIST_A,
                 "DELETE /ports/p1/bindings/hostB",
                 "DELETE /ports/p2/bindings/hostB");
    cloud_bench_free(b);
}

static void
test_binding_in_use_is_never_deleted(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);

    BENCH_REPLIES(b, EXTENDED);
    ASK(ports_release, "hostA", "hostA");
    assert_null(b->error);
    assert_int_equal(cloud_bench_n_requests(b), 1);
    cloud_bench_free(b);
}

static void
test_ports_of_no_one_are_deleted_or_unbound(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    AUTO_JSON preserved = bench_json("['p2']");

    BENCH_REPLIES(
        b,
        {.status = 200,
         .body = "{'extensions': [{'alias': 'dns-integration'}]}"},
        {.status = 200,
         .body = "{'ports': [{'id': 'p1'}, {'id': 'p2', 'binding:profile':"
                 "{'a': 1, 'pci_slot': 'x', 'migrating_to': 'y'}},"
                 "{'id': 'p3'}]}"},
        {.status = 404}, {.status = 500}, {.status = 204});
    ASK(ports_give_up, preserved);
    /* The others all the same. */
    assert_int_equal(error_code(b->error), ERR_PORT_UPDATE);
    ASSERT_ASKED("GET /extensions", "GET " LIST, "DELETE /ports/p1",
                 "PUT /ports/p2", "DELETE /ports/p3");
    bench_assert_body(cloud_bench_request(b, 3),
                      "{'port': {'device_id': '', 'device_owner': '',"
                      "'binding:host_id': null, 'binding:profile': {'a': 1},"
                      "'dns_name': ''}}");
    cloud_bench_free(b);
}

static void
test_what_is_under_way_ends_with_the_cloud(void **state UNUSED)
{
    struct cloud_bench *b = cloud_bench_create(NULL);
    struct ports_of of = {.neutron = b->cloud->neutron, .instance = INSTANCE};

    BENCH_REPLIES(b, {.manner = HANG});
    ports_set_migrating(&of, "hostA", "hostB", cloud_bench_ended, b);
    while (cloud_bench_n_requests(b) == 0) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    cloud_close(steal(&b->cloud));
    assert_int_equal(b->n_done, 1);
    assert_int_equal(error_code(b->error), ERR_CANCELLED);
    cloud_bench_free(b);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports_on_their_way_are_marked_once),
        cmocka_unit_test(test_first_port_that_can_not_be_marked_ends_it),
        cmocka_unit_test(test_marks_are_taken_back_from_all),
        cmocka_unit_test(test_only_what_is_not_active_is_activated),
        cmocka_unit_test(test_neutron_without_bindings_has_none),
        cmocka_unit_test(test_ports_that_are_elsewhere_are_claimed),
        cmocka_unit_test(test_bindings_to_the_other_host_are_deleted),
        cmocka_unit_test(test_binding_in_use_is_never_deleted),
        cmocka_unit_test(test_ports_of_no_one_are_deleted_or_unbound),
        cmocka_unit_test(test_what_is_under_way_ends_with_the_cloud),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
