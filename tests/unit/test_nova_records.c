#include <config.h>

#include "agent/nova/records_conductor.h"

/* Records behind a conductor, and the service record; the conductor is a fake
 * whose answers the test gives. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/completion.h"
#include "agent/nova/service_record.h"
#include "tests/unit/fake_clock.h"
#include "tests/unit/fake_conductor.h"

#define TIMEOUT_MS 60000
#define PATIENCE_MS 1800000
#define UUID "8dc4f765-e09e-4516-8d4c-b0ec1d9c0909"

#define OBJECT(NAME, VERSION, DATA)                           \
    "{'nova_object.name':'" NAME "','nova_object.namespace':" \
    "'nova','nova_object.version':'" VERSION "','nova_object.data':" DATA "}"
#define SERVICE(DATA) OBJECT("Service", "1.22", DATA)
#define VERSIONS                                                         \
    "{'Service':'1.22','Instance':'2.7','InstanceList':'2.6',"           \
    "'Migration':'1.7','MigrationList':'1.5','InstanceFault':'1.2',"     \
    "'InstanceActionEvent':'1.4','InstanceInfoCache':'1.5','Flavor':'1." \
    "2'}"

struct bench {
    uv_loop_t loop;
    struct completion_queue *q;
    struct memory_bus *bus;
    struct transport *transport;
    struct rpc_client *client;
    struct conductor *conductor;
    struct fake_conductor fake;
    struct conductor_works *works;
    struct records_conductor *records;
    struct service_record *service;
    bool is_dead; /* What the heartbeat is told. */
    unsigned n_done, n_objects;
    struct error *error;
    struct object *object;
};

static bool
is_alive(void *aux, const char **ret_reason)
{
    struct bench *b = aux;

    *ret_reason = "it is dead";
    return !b->is_dead;
}

static int
set_up(void **state)
{
    struct bench *b = xzalloc(sizeof *b);
    const struct conductor_options options = {.timeout_ms = TIMEOUT_MS};

    fake_clock_install();
    uv_loop_init(&b->loop);
    b->q = completion_queue_create(&b->loop);
    b->bus = memory_bus_create(NULL);
    b->transport = memory_bus_attach(b->bus, NULL, "client");
    fake_conductor_attach(&b->fake, b->bus, VERSIONS);
    b->client = rpc_client_create(&b->loop, b->transport);
    b->conductor = conductor_create(b->client, &options);
    b->works = conductor_works_create(&b->loop, b->conductor);
    const struct records_conductor_options records = {
        .q = b->q,
        .works = b->works,
        .host = "host1",
        .read_patience_ms = TIMEOUT_MS,
        .save_patience_ms = PATIENCE_MS,
    };
    b->records = records_conductor_create(&records);
    const struct service_record_options service = {
        .loop = &b->loop,
        .conductor = b->conductor,
        .host = "host1",
        .version = 64,
        .report_interval_s = 10,
        .is_alive = is_alive,
        .aux = b,
    };
    b->service = service_record_create(&service);
    *state = b;
    return 0;
}

static int
tear_down(void **state)
{
    struct bench *b = *state;

    conductor_works_close(b->works);
    conductor_close(b->conductor);
    service_record_close(b->service);
    rpc_client_close(b->client);
    memory_bus_detach(b->bus, b->transport);
    fake_conductor_detach(&b->fake);
    memory_bus_close(b->bus);
    completion_queue_close(b->q);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    conductor_works_free(b->works);
    records_conductor_free(b->records);
    fake_clock_remove();
    object_free(b->object);
    error_free(b->error);
    free(b);
    return 0;
}

static void
settle(struct bench *b)
{
    memory_bus_deliver_all(b->bus);
    uv_run(&b->loop, UV_RUN_NOWAIT);
    memory_bus_deliver_all(b->bus);
}

static void
advance(struct bench *b, uint64_t ms)
{
    fake_clock_advance(&b->loop, ms);
    settle(b);
}

static void
object_done(void *aux, struct error *error, struct object *object)
{
    struct bench *b = aux;

    b->n_done++;
    assert_true(!error == (object != NULL));
    error_free(b->error);
    object_free(b->object);
    b->error = error;
    b->object = object;
}

static void
list_done(void *aux, struct error *error, struct object **objects, size_t n)
{
    struct bench *b = aux;

    b->n_done++;
    b->n_objects = (unsigned)n;
    error_free(b->error);
    b->error = error;
    for (size_t i = 0; i < n; i++) {
        object_free(objects[i]);
    }
    free(objects);
}

static struct object *
instance(void)
{
    struct object *made = object_create("Instance", "2.7");

    object_set_string(made, "uuid", UUID);
    object_clear_changes(made);
    return made;
}

static void
save(struct bench *b, const char *field, int64_t value,
     const char *const *expected)
{
    struct records *records = records_conductor_records(b->records);
    AUTO_OBJECT changed = instance();

    object_set_int(changed, field, value);
    records->ops->instance_save(records->state, NULL, changed, expected,
                                object_done, b);
    settle(b);
}

static void
answer(struct bench *b, const char *result, struct error *error)
{
    fake_conductor_answer(&b->fake, b->fake.n_requests - 1, result, error);
    error_free(error);
    settle(b);
}

static const struct json *
sent(const struct bench *b, const char *name)
{
    return fake_conductor_arg(&b->fake, b->fake.n_requests - 1, name);
}

static void
assert_json(const struct json *json, const char *expected)
{
    AUTO_JSON wanted = fake_conductor_json(expected);

    if (!json_equal(json, wanted)) {
        AUTO_FREE text = json ? json_print(json, NULL) : xstrdup("null");
        fail_msg("%s, wanted %s", text, expected);
    }
}

static struct error *
too_late(void)
{
    return error_new(ERR_TIMEOUT, "no answer");
}

/* ---- Records. */

static void
test_a_save_expects_a_task_state(void **state)
{
    static const char *const expected[] = {"", "migrating", NULL};
    struct bench *b = *state;

    save(b, "progress", 7, expected);
    assert_json(sent(b, "kwargs"),
                "{'expected_task_state':[null,'migrating']}");
    assert_json(json_get(sent(b, "objinst"), "nova_object.changes"),
                "['progress']");
    answer(b,
           "[{'updated_at':'2026-11-22T05:26:39Z','obj_what_changed':[]},"
           "null]",
           NULL);
    assert_null(b->error);
    assert_int_equal(object_int(b->object, "progress"), 7);
    assert_int_equal(object_n_changes(b->object), 0);
    assert_string_equal(object_string(b->object, "updated_at"),
                        "2026-11-22T05:26:39Z");
}

static void
test_what_the_conductor_decides_is_told_at_once(void **state)
{
    static const char *const expected[] = {"migrating", NULL};
    struct bench *b = *state;

    save(b, "progress", 7, expected);
    answer(b, NULL, error_new(ERR_UNEXPECTED_TASK_STATE, "no"));
    assert_int_equal(error_code(b->error), ERR_UNEXPECTED_TASK_STATE);
    save(b, "progress", 7, expected);
    answer(b, NULL,
           error_new_remote("UnexpectedDeletingTaskStateError",
                            "nova.exception", "it goes"));
    assert_int_equal(error_code(b->error), ERR_UNEXPECTED_TASK_STATE);
    save(b, "progress", 7, NULL);
    answer(b, NULL, error_new(ERR_INSTANCE_NOT_FOUND, "gone"));
    assert_int_equal(error_code(b->error), ERR_INSTANCE_NOT_FOUND);
    assert_int_equal(b->n_done, 3);
    assert_int_equal(b->fake.n_requests, 3);
}

static void
test_a_save_outlasts_a_conductor_that_is_away(void **state)
{
    struct bench *b = *state;

    save(b, "progress", 7, NULL);
    answer(b, NULL, too_late());
    assert_int_equal(b->n_done, 0);
    advance(b, 400);
    assert_int_equal(b->fake.n_requests, 1);
    advance(b, 200);
    assert_int_equal(b->fake.n_requests, 2);
    answer(b, NULL,
           error_new_remote("DBConnectionError", "oslo_db.exception", "away"));
    assert_int_equal(b->n_done, 0);
    advance(b, 1000);
    assert_int_equal(b->fake.n_requests, 3);
    answer(b, "[{'obj_what_changed':[]},null]", NULL);
    assert_int_equal(b->n_done, 1);
    assert_null(b->error);
}

static void
test_patience_has_an_end(void **state)
{
    struct bench *b = *state;

    save(b, "progress", 7, NULL);
    for (int i = 0; i < 60 && !b->n_done; i++) {
        advance(b, TIMEOUT_MS); /* The call's own end, then the pause's. */
    }
    assert_int_equal(b->n_done, 1);
    assert_int_equal(error_code(b->error), ERR_TIMEOUT);
    assert_true(b->fake.n_requests > 10);
}

/* The later one must not be overtaken, whatever becomes of the first. */
static void
test_saves_of_one_object_keep_their_order(void **state)
{
    struct bench *b = *state;

    save(b, "progress", 1, NULL);
    save(b, "progress", 2, NULL);
    assert_int_equal(b->fake.n_requests, 1);
    answer(b, NULL, too_late());
    assert_int_equal(b->fake.n_requests, 1);
    advance(b, 600);
    assert_int_equal(b->fake.n_requests, 2);
    assert_int_equal(
        json_int_of(json_get(sent(b, "objinst"), "nova_object.data"),
                    "progress"),
        1);
    answer(b, "[{'obj_what_changed':[]},null]", NULL);
    assert_int_equal(b->n_done, 1);
    assert_int_equal(b->fake.n_requests, 3);
    assert_int_equal(
        json_int_of(json_get(sent(b, "objinst"), "nova_object.data"),
                    "progress"),
        2);
    answer(b, NULL, error_new(ERR_INSTANCE_NOT_FOUND, "gone"));
    assert_int_equal(b->n_done, 2);
}

static void
test_a_migration_is_not_made_twice(void **state)
{
    struct bench *b = *state;
    struct records *records = records_conductor_records(b->records);
    AUTO_OBJECT migration = object_create("Migration", "1.7");

    object_set_string(migration, "status", "accepted");
    records->ops->migration_create(records->state, NULL, migration, object_done,
                                   b);
    settle(b);
    assert_non_null(json_string_of(
        json_get(sent(b, "objinst"), "nova_object.data"), "uuid"));
    answer(b, NULL, too_late());
    assert_int_equal(b->n_done, 1);
    assert_int_equal(error_code(b->error), ERR_TIMEOUT);
}

static void
test_lists_ask_as_nova_does(void **state)
{
    struct bench *b = *state;
    struct records *records = records_conductor_records(b->records);

    records->ops->instance_list(records->state, NULL, list_done, b);
    settle(b);
    assert_json(sent(b, "args"), "['host1']");
    answer(b,
           OBJECT("InstanceList", "2.6",
                  "{'objects':[" OBJECT("Instance", "2.7",
                                        "{'uuid':'" UUID "'}") "]}"),
           NULL);
    assert_int_equal(b->n_objects, 1);
    records->ops->migration_list(records->state, NULL, UUID, list_done, b);
    settle(b);
    assert_json(sent(b, "args"),
                "[{'host':'host1','instance_uuid':'" UUID "'}]");
    answer(b, OBJECT("MigrationList", "1.5", "{'objects':[{}]}"), NULL);
    assert_int_equal(error_code(b->error), ERR_VALUE);
    assert_int_equal(b->n_objects, 0);
    records->ops->migration_list(records->state, NULL, NULL, list_done, b);
    settle(b);
    answer(b, "7", NULL);
    assert_int_equal(error_code(b->error), ERR_BAD_MESSAGE);
}

/* Bytes as captured of nova-compute. */
static void
test_events_and_faults_are_novas(void **state)
{
    struct bench *b = *state;
    struct records *records = records_conductor_records(b->records);
    AUTO_ERROR error = error_new(ERR_MIGRATION_PRE_CHECK, "no room");

    records->ops->event_start(records->state, NULL, UUID, "compute_x");
    settle(b);
    assert_json(sent(b, "args"), "['" UUID "','compute_x']");
    assert_json(sent(b, "kwargs"), "{'want_result':false,'host':'host1'}");
    answer(b, "null", NULL);
    records->ops->event_finish(records->state, NULL, UUID, "compute_x", NULL);
    settle(b);
    assert_json(sent(b, "kwargs"),
                "{'exc_val':null,'exc_tb':null,'want_result':false}");
    answer(b, "null", NULL);
    records->ops->event_finish(records->state, NULL, UUID, "compute_x", error);
    settle(b);
    assert_json(sent(b, "kwargs"),
                "{'exc_val':'Migration pre-check error: no room',"
                "'exc_tb':'no room','want_result':false}");
    answer(b, "null", NULL);
    records->ops->fault_create(records->state, NULL, UUID, error);
    settle(b);
    assert_json(json_get(sent(b, "objinst"), "nova_object.data"),
                "{'instance_uuid':'" UUID "','code':500,'message':"
                "'Migration pre-check error: no room','details':'no room',"
                "'host':'host1'}");
    answer(b, "[{'obj_what_changed':[]},null]", NULL);
}

static void
test_a_long_fault_is_cut_between_characters(void **state)
{
    struct bench *b = *state;
    struct records *records = records_conductor_records(b->records);
    char text[300];

    memset(text, 'x', sizeof text);
    memcpy(text + 254, "\xc3\xa4", 3); /* Its second byte would be 256th. */
    AUTO_ERROR error = error_new(ERR_INTERNAL, "%s", text);
    records->ops->fault_create(records->state, NULL, UUID, error);
    settle(b);
    const char *message = json_string_of(
        json_get(sent(b, "objinst"), "nova_object.data"), "message");
    assert_int_equal(strlen(message), 254);
    answer(b, "[{'obj_what_changed':[]},null]", NULL);
}

/* ---- The service record. */

static void
registered(void *aux, struct error *error)
{
    struct bench *b = aux;

    b->n_done++;
    error_free(b->error);
    b->error = error;
}

#define RECORD                                                          \
    "{'id':6,'host':'host1','report_count':41,'version':64,'disabled':" \
    "false,'disabled_reason':null}"

static void
register_known(struct bench *b)
{
    service_record_register(b->service, registered, b);
    settle(b);
    assert_json(sent(b, "args"), "['host1','nova-compute']");
    answer(b, SERVICE(RECORD), NULL);
    assert_int_equal(b->n_done, 1);
    assert_null(b->error);
    service_record_start_beating(b->service);
}

static void
beat(struct bench *b, int64_t expected)
{
    const struct json *made = sent(b, "objinst");

    assert_json(json_get(made, "nova_object.changes"), "['report_count']");
    assert_int_equal(
        json_int_of(json_get(made, "nova_object.data"), "report_count"),
        expected);
}

static void
test_a_record_is_made_where_there_is_none(void **state)
{
    struct bench *b = *state;

    service_record_register(b->service, registered, b);
    settle(b);
    answer(b, "null", NULL);
    assert_json(json_get(sent(b, "objinst"), "nova_object.data"),
                "{'host':'host1','binary':'nova-compute','topic':'compute',"
                "'report_count':0,'version':64}");
    answer(b, "[{'id':6,'obj_what_changed':[]},null]", NULL);
    assert_int_equal(b->n_done, 1);
    assert_null(b->error);
}

static void
test_a_cell_that_does_not_take_the_version_is_no_cell(void **state)
{
    struct bench *b = *state;

    service_record_register(b->service, registered, b);
    settle(b);
    answer(b, "null", NULL);
    answer(b, NULL,
           error_new_remote("ServiceTooOld", "nova.exception", "too old"));
    assert_int_equal(error_code(b->error), ERR_CONFIG);
}

static void
test_it_beats_regularly(void **state)
{
    struct bench *b = *state;

    register_known(b);
    advance(b, 5000);
    assert_int_equal(b->fake.n_requests, 2);
    beat(b, 42);
    answer(b, "[{'obj_what_changed':[]},null]", NULL);
    advance(b, 10000);
    beat(b, 43);
    answer(b, "[{'obj_what_changed':[]},null]", NULL);
    assert_int_equal(service_record_status(b->service).n_beats, 2);
}

/* The number only grows, or the database would not look at it. */
static void
test_a_lost_beat_is_followed_by_a_higher_one(void **state)
{
    struct bench *b = *state;

    register_known(b);
    advance(b, 5100);
    beat(b, 42);
    advance(b, 10000); /* No answer yet: no second one beside it. */
    assert_int_equal(b->fake.n_requests, 2);
    answer(b, NULL, too_late());
    assert_string_equal(service_record_status(b->service).last_error,
                        "no answer");
    advance(b, 10000);
    beat(b, 43);
    answer(b, NULL, error_new(ERR_SERVICE_NOT_FOUND, "gone"));
    advance(b, 10000);
    beat(b, 44);
    answer(b, "[{'obj_what_changed':[]},null]", NULL);
    assert_null(service_record_status(b->service).last_error);
    assert_int_equal(service_record_status(b->service).n_failed, 2);
}

static void
test_a_dead_agent_does_not_beat(void **state)
{
    struct bench *b = *state;

    register_known(b);
    b->is_dead = true;
    advance(b, 5000);
    advance(b, 10000);
    assert_int_equal(b->fake.n_requests, 1);
    assert_int_equal(service_record_status(b->service).n_withheld, 2);
    b->is_dead = false;
    advance(b, 10000);
    beat(b, 42);
    answer(b, "[{'obj_what_changed':[]},null]", NULL);
}

static void
set_able(struct bench *b, bool is_able, const char *data)
{
    service_record_set_able(b->service, is_able, "Connection lost");
    settle(b);
    assert_json(sent(b, "args"), "['host1']");
    AUTO_FREE found = xasprintf(OBJECT("Service", "1.22", "%s"), data);
    answer(b, found, NULL);
}

static void
test_only_what_was_disabled_by_us_is_enabled(void **state)
{
    struct bench *b = *state;

    set_able(b, false, "{'disabled':false,'disabled_reason':null}");
    assert_json(json_get(sent(b, "objinst"), "nova_object.data"),
                "{'disabled':true,'disabled_reason':'AUTO: Connection lost'}");
    answer(b, "[{'obj_what_changed':[]},null]", NULL);
    set_able(b, true, "{'disabled':true,'disabled_reason':'AUTO: x'}");
    assert_json(json_get(sent(b, "objinst"), "nova_object.data"),
                "{'disabled':false,'disabled_reason':null}");
    answer(b, "[{'obj_what_changed':[]},null]", NULL);
    assert_int_equal(b->fake.n_requests, 4);
    set_able(b, true, "{'disabled':true,'disabled_reason':'repair'}");
    set_able(b, false, "{'disabled':true,'disabled_reason':'repair'}");
    set_able(b, true, "{'disabled':false,'disabled_reason':null}");
    assert_int_equal(b->fake.n_requests, 7);
}

/* Of two wishes the later one counts, also if the first is under way. */
static void
test_the_last_wish_counts_and_is_not_forgotten(void **state)
{
    struct bench *b = *state;

    register_known(b);
    service_record_set_able(b->service, false, "lost");
    settle(b);
    service_record_set_able(b->service, true, NULL);
    settle(b);
    assert_int_equal(b->fake.n_requests, 2);
    answer(b, SERVICE("{'disabled':false,'disabled_reason':null}"), NULL);
    answer(b, "[{'obj_what_changed':[]},null]", NULL);
    assert_int_equal(b->fake.n_requests, 4);
    answer(b, NULL, too_late()); /* Again with the next heartbeat. */
    advance(b, 5100);
    assert_int_equal(b->fake.n_requests, 6);
    fake_conductor_answer(
        &b->fake, 4, SERVICE("{'disabled':true,'disabled_reason':'AUTO: l'}"),
        NULL);
    settle(b);
    assert_json(json_get(sent(b, "objinst"), "nova_object.changes"),
                "['disabled','disabled_reason']");
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_save_expects_a_task_state),
        TEST(test_what_the_conductor_decides_is_told_at_once),
        TEST(test_a_save_outlasts_a_conductor_that_is_away),
        TEST(test_patience_has_an_end),
        TEST(test_saves_of_one_object_keep_their_order),
        TEST(test_a_migration_is_not_made_twice),
        TEST(test_lists_ask_as_nova_does),
        TEST(test_events_and_faults_are_novas),
        TEST(test_a_long_fault_is_cut_between_characters),
        TEST(test_a_record_is_made_where_there_is_none),
        TEST(test_a_cell_that_does_not_take_the_version_is_no_cell),
        TEST(test_it_beats_regularly),
        TEST(test_a_lost_beat_is_followed_by_a_higher_one),
        TEST(test_a_dead_agent_does_not_beat),
        TEST(test_only_what_was_disabled_by_us_is_enabled),
        TEST(test_the_last_wish_counts_and_is_not_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
