#include <config.h>

#include "agent/nova/attach_nova.h"

/* What Neutron is told of the ports of a guest that moves, by its source. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/migrate/data.h"
#include "agent/nova/nova.h"
#include "tests/unit/cloud_bench.h"

#define INSTANCE "6366182a-6451-4f45-bd48-1486ecc5705b"
#define PORT "c521973a-7fea-4d80-b09a-b8924934a61c"
#define LIST_A \
    "/ports?device_id=" INSTANCE "&tenant_id=p1&binding%3Ahost_id=hostA"
#define EXTENDED                                                  \
    {                                                             \
        .status = 200,                                            \
        .body = "{'extensions': [{'alias': 'binding-extended'}]}" \
    }

struct fixture {
    struct cloud_bench *bench;
    struct nova nova;
    struct agent agent;
    struct object *instance, *data;
};

/* As a conductor binds ports: it does not say where to. */
static struct object *
data_of(const char *dest)
{
    struct object *data = migrate_data_create();
    AUTO_JSON json = bench_json(
        "{'nova_object.name': 'Migration', 'nova_object.namespace': 'nova', "
        "'nova_object.version': '1.7', 'nova_object.data': {}}");
    AUTO_OBJECT migration = NULL;
    struct migrate_vif vif = {
        .port_id = PORT, .vif_type = "bridge", .source_vif = "{}"};

    migrate_data_set_vifs(data, &vif, 1);
    assert_null(object_parse(json, "Migration", &migration));
    object_set_string(migration, "dest_compute", dest);
    migrate_data_set_migration(data, migration);
    return data;
}

static int
set_up(void **state)
{
    struct fixture *f = xzalloc(sizeof *f);
    AUTO_JSON json = bench_json(
        "{'nova_object.name': 'Instance', 'nova_object.namespace': 'nova', "
        "'nova_object.version': '2.7', 'nova_object.data': {"
        "'uuid': '" INSTANCE "', 'project_id': 'p1', 'host': 'hostA'}}");

    f->bench = cloud_bench_create(NULL);
    f->nova.cloud = f->bench->cloud;
    f->agent.conf = f->bench->conf;
    f->agent.nova = &f->nova;
    assert_null(object_parse(json, "Instance", &f->instance));
    f->data = data_of("hostB");
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    cloud_bench_free(f->bench);
    object_free(f->instance);
    object_free(f->data);
    free(f);
    return 0;
}

static void
ask(struct fixture *f, attach_fn *fn)
{
    fn(&f->agent, f->bench->context, f->instance, f->data, cloud_bench_ended,
       f->bench);
    cloud_bench_run(f->bench);
    assert_null(f->bench->error);
}

static void
assert_asked(struct fixture *f, const char *const *wanted)
{
    size_t n = cloud_bench_n_requests(f->bench);

    for (size_t i = 0; i < n; i++) {
        const struct rest_server_request *request =
            cloud_bench_request(f->bench, i);
        AUTO_FREE text = xasprintf("%s %s", request->method,
                                   strstr(request->path, "/v2.0") + 5);

        assert_non_null(wanted[i]);
        assert_string_equal(text, wanted[i]);
    }
    assert_null(wanted[n]);
}

static void
test_ports_are_activated_where_the_migration_goes(void **state)
{
    static const char *const wanted[] = {
        "GET /extensions", "GET /ports/" PORT "/bindings/hostB",
        "PUT /ports/" PORT "/bindings/hostB/activate", NULL};
    struct fixture *f = *state;

    BENCH_REPLIES(
        f->bench, EXTENDED,
        {.status = 200,
         .body = "{'binding': {'host': 'hostB', 'status': 'INACTIVE'}}"},
        {.status = 200, .body = "{}"});
    ask(f, vif_nova.activate_dest);
    assert_asked(f, wanted);
}

static void
test_roll_back_takes_the_bindings_there_away(void **state)
{
    static const char *const wanted[] = {"GET " LIST_A,
                                         "PUT /ports/" PORT,
                                         "GET /extensions",
                                         "GET " LIST_A,
                                         "DELETE /ports/" PORT
                                         "/bindings/hostB",
                                         NULL};
    struct fixture *f = *state;

    BENCH_REPLIES(
        f->bench,
        {.status = 200,
         .body = "{'ports': [{'id': '" PORT "', 'binding:profile':"
                 "{'migrating_to': 'hostB'}}]}"},
        {.status = 200, .body = "{'port': {}}"}, EXTENDED,
        {.status = 200,
         .body = "{'ports': [{'id': '" PORT "', 'binding:profile': {}}]}"},
        {.status = 204});
    ask(f, vif_nova.restore_source);
    assert_asked(f, wanted);
    bench_assert_body(cloud_bench_request(f->bench, 1),
                      "{'port': {'binding:profile': {}}}");
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_ports_are_activated_where_the_migration_goes, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            test_roll_back_takes_the_bindings_there_away, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
