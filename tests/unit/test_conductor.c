#include <config.h>

#include "rpc/conductor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fake_clock.h"
#include "tests/unit/fake_conductor.h"

#define TIMEOUT_MS 10000

#define OBJECT(NAME, VERSION, DATA)                           \
    "{'nova_object.name':'" NAME "','nova_object.namespace':" \
    "'nova','nova_object.version':'" VERSION "','nova_object.data':" DATA "}"

/* A compute service with a conductor. */
struct bench {
    uv_loop_t loop;
    struct memory_bus *bus;
    struct transport *transport;
    struct rpc_client *client;
    struct conductor *conductor; /* Null: closed. */
    struct fake_conductor fake;
    struct object *object;
    unsigned n_done;
    struct json *result; /* Of the last one; null: it failed. */
    struct error *error;
    bool close_when_done;
};

static void
conducted(void *aux, struct json **result, struct error *error)
{
    struct bench *b = aux;

    b->n_done++;
    json_free(b->result);
    error_free(b->error);
    assert_true(error ? !*result : *result != NULL);
    b->result = steal(result);
    b->error = error;
    if (b->close_when_done && b->conductor) {
        conductor_close(steal(&b->conductor));
    }
}

static struct bench *
set_up_with(const char *versions, struct conductor_options options,
            const char *own)
{
    AUTO_JSON own_versions = own ? fake_conductor_json(own) : NULL;
    struct bench *b = xzalloc(sizeof *b);

    fake_clock_install();
    uv_loop_init(&b->loop);
    b->bus = memory_bus_create(NULL);
    b->transport = memory_bus_attach(b->bus, NULL, "client");
    fake_conductor_attach(&b->fake, b->bus, versions);
    b->client = rpc_client_create(&b->loop, b->transport);
    options.timeout_ms = TIMEOUT_MS;
    options.own_versions = own_versions;
    b->conductor = conductor_create(b->client, &options);
    return b;
}

static struct bench *
set_up(const char *versions)
{
    return set_up_with(versions, (struct conductor_options){0}, NULL);
}

static void
tear_down(struct bench *b)
{
    if (b->conductor) {
        conductor_close(b->conductor);
    }
    if (b->client) {
        rpc_client_close(b->client);
    }
    memory_bus_detach(b->bus, b->transport);
    fake_conductor_detach(&b->fake);
    memory_bus_close(b->bus);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    fake_clock_remove();
    object_free(b->object);
    json_free(b->result);
    error_free(b->error);
    free(b);
}

static void
advance(struct bench *b, uint64_t ms)
{
    fake_clock_advance(&b->loop, ms);
    memory_bus_deliver_all(b->bus);
}

static void
get_service(struct bench *b)
{
    AUTO_JSON args = fake_conductor_json("['host1']");

    conductor_class_action(b->conductor, NULL, "Service", "get_by_compute_host",
                           args, NULL, conducted, b);
    memory_bus_deliver_all(b->bus);
}

static void
save(struct bench *b, const char *text)
{
    AUTO_JSON json = fake_conductor_json(text);

    object_free(steal(&b->object));
    AUTO_ERROR error = object_parse(json, NULL, &b->object);
    assert_null(error);
    conductor_object_action(b->conductor, NULL, b->object, "save", NULL, NULL,
                            conducted, b);
    memory_bus_deliver_all(b->bus);
}

static void
backport(struct bench *b, const char *text)
{
    AUTO_JSON json = fake_conductor_json(text);

    conductor_backport(b->conductor, NULL, json, TIMEOUT_MS, conducted, b);
    memory_bus_deliver_all(b->bus);
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

static void
assert_failed(struct bench *b, enum error_code code, const char *part)
{
    assert_int_equal(b->n_done, 1);
    assert_null(b->result);
    if (error_code(b->error) != code ||
        !strstr(error_message(b->error), part)) {
        fail_msg("%s: %s", error_class_name(b->error), error_message(b->error));
    }
}

static void
test_a_class_method_is_run_with_our_versions(void **state)
{
    struct bench *b = set_up("{'Service':'1.22'}");

    (void)state;
    get_service(b);
    assert_int_equal(b->fake.n_learnt, 1);
    assert_int_equal(b->fake.n_requests, 1);
    assert_string_equal(b->fake.requests[0]->method,
                        "object_class_action_versions");
    assert_string_equal(b->fake.requests[0]->version, "3.0");
    assert_json(b->fake.requests[0]->args,
                "{'objname':'Service','objmethod':'get_by_compute_host',"
                "'args':['host1'],'kwargs':{},'object_versions':{"
                "'Service':'1.22','ComputeNode':'1.19','HVSpec':'1.2',"
                "'PciDevicePoolList':'1.1','PciDevicePool':'1.1'}}");
    fake_conductor_answer(&b->fake, 0, OBJECT("Service", "1.22", "{'id':1}"),
                          NULL);
    assert_int_equal(b->n_done, 1);
    assert_json(b->result, OBJECT("Service", "1.22", "{'id':1}"));
    tear_down(b);
}

static void
test_a_context_is_passed_on_whole_or_made(void **state)
{
    struct bench *b = set_up("{'Service':'1.22'}");
    AUTO_JSON context = fake_conductor_json(
        "{'request_id':'req-1','odd':[1],'trace_info':{'hmac_key':'k'}}");

    (void)state;
    conductor_class_action(b->conductor, context, "Service", "get", NULL, NULL,
                           conducted, b);
    memory_bus_deliver_all(b->bus);
    assert_true(json_equal(b->fake.requests[0]->context, context));
    get_service(b);
    assert_true(json_bool_of(b->fake.requests[1]->context, "is_admin"));
    tear_down(b);
}

static void
test_a_result_of_null_is_a_result(void **state)
{
    struct bench *b = set_up("{'Service':'1.22'}");

    (void)state;
    get_service(b);
    fake_conductor_answer(&b->fake, 0, NULL, NULL);
    assert_int_equal(b->n_done, 1);
    assert_true(json_is_null(b->result));
    tear_down(b);
}

static void
test_a_failure_keeps_its_class(void **state)
{
    struct bench *b = set_up("{'Service':'1.22'}");
    AUTO_ERROR error = error_set_arg(
        error_new(ERR_COMPUTE_HOST_NOT_FOUND, "gone"), "host", "host1");

    (void)state;
    get_service(b);
    fake_conductor_answer(&b->fake, 0, NULL, error);
    assert_int_equal(b->n_done, 1);
    assert_int_equal(error_code(b->error), ERR_COMPUTE_HOST_NOT_FOUND);
    assert_string_equal(error_arg(b->error, "host"), "host1");
    assert_int_equal(conductor_counters(b->conductor).n_failed, 1);
    tear_down(b);
}

static void
test_a_version_is_learnt_once_for_some_minutes(void **state)
{
    struct bench *b = set_up("{'Service':'1.22'}");

    (void)state;
    b->fake.is_mute = true;
    get_service(b);
    get_service(b);
    assert_int_equal(b->fake.n_learnt, 1);
    advance(b, TIMEOUT_MS);
    assert_int_equal(b->n_done, 2);
    assert_int_equal(error_code(b->error), ERR_TIMEOUT);

    b->fake.is_mute = false;
    get_service(b);
    get_service(b);
    assert_int_equal(b->fake.n_learnt, 2);
    assert_int_equal(b->fake.n_requests, 2);
    advance(b, 5 * 60 * 1000);
    get_service(b);
    assert_int_equal(b->fake.n_learnt, 3);
    tear_down(b);
}

/* A question that it can't answer is an error in its log. */
static void
test_a_conductor_is_asked_for_no_more_than_matters(void **state)
{
    struct bench *b = set_up("{'Service':'1.22','Flavor':'1.5'}");

    (void)state;
    get_service(b);
    assert_int_equal(b->fake.n_learnt, 1);
    backport(b, OBJECT("Flavor", "1.2", "{}"));
    assert_int_equal(b->fake.n_learnt, 2);
    backport(b, OBJECT("Flavor", "1.4", "{}"));
    backport(b, OBJECT("Flavor", "1.3", "{}"));
    assert_int_equal(b->fake.n_learnt, 3);
    assert_int_equal(b->fake.n_refused, 0);
    assert_int_equal(b->fake.n_requests, 4);
    backport(b, OBJECT("Flavor", "1.6", "{}"));
    backport(b, OBJECT("Flavor", "1.7", "{}"));
    assert_int_equal(b->fake.n_refused, 1);
    assert_int_equal(b->fake.n_requests, 4);
    tear_down(b);
}

/* While it is asked for one. */
static void
test_a_newer_version_is_asked_for_next(void **state)
{
    struct bench *b = set_up("{'Flavor':'1.5'}");
    AUTO_JSON old = fake_conductor_json(OBJECT("Flavor", "1.3", "{}"));
    AUTO_JSON new = fake_conductor_json(OBJECT("Flavor", "1.5", "{}"));

    (void)state;
    conductor_backport(b->conductor, NULL, old, TIMEOUT_MS, conducted, b);
    conductor_backport(b->conductor, NULL, new, TIMEOUT_MS, conducted, b);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->fake.n_learnt, 2);
    assert_int_equal(b->fake.n_refused, 0);
    assert_int_equal(b->fake.n_requests, 2);
    tear_down(b);
}

/* What was known before stays known as it was. */
static void
test_silence_teaches_nothing(void **state)
{
    struct bench *b = set_up("{'Service':'1.22','Flavor':'1.5'}");

    (void)state;
    backport(b, OBJECT("Flavor", "1.3", "{}"));
    assert_int_equal(b->fake.n_learnt, 1);
    b->fake.is_mute = true;
    backport(b, OBJECT("Flavor", "1.5", "{}"));
    assert_int_equal(b->fake.n_learnt, 2);
    advance(b, TIMEOUT_MS);
    assert_int_equal(error_code(b->error), ERR_TIMEOUT);
    b->fake.is_mute = false;
    backport(b, OBJECT("Flavor", "1.5", "{}"));
    assert_int_equal(b->fake.n_learnt, 3);
    assert_int_equal(b->fake.n_requests, 2);

    backport(b, OBJECT("HVSpec", "1.2", "{}"));
    assert_int_equal(error_code(b->error), ERR_UNSUPPORTED_OBJECT);
    advance(b, 5 * 60 * 1000);
    b->fake.is_mute = true;
    backport(b, OBJECT("HVSpec", "1.2", "{}"));
    advance(b, TIMEOUT_MS);
    assert_int_equal(error_code(b->error), ERR_TIMEOUT);
    b->fake.is_mute = false;
    get_service(b);
    assert_int_equal(b->fake.n_requests, 3);
    assert_string_equal(
        json_string_of(fake_conductor_arg(&b->fake, 2, "object_versions"),
                       "HVSpec"),
        "1.2");
    tear_down(b);
}

/* To the question for a method that nobody has. */
static void
test_a_conductor_that_takes_anything_is_not_believed(void **state)
{
    struct bench *b = set_up("{'Service':'1.22'}");

    (void)state;
    b->fake.is_odd = true;
    get_service(b);
    assert_failed(b, ERR_BAD_MESSAGE,
                  "learn the conductor's version of 'Service': it takes any");
    b->fake.is_odd = false;
    get_service(b);
    assert_int_equal(b->fake.n_requests, 1);
    tear_down(b);
}

static void
test_what_the_conductor_refuses_is_learnt_again(void **state)
{
    struct bench *b = set_up("{'Service':'1.22'}");
    AUTO_ERROR error =
        object_incompatible("Service", "1.22", (struct object_version){1, 20});

    (void)state;
    get_service(b);
    fake_conductor_upgrade(&b->fake, "{'Service':'1.20'}");
    fake_conductor_answer(&b->fake, 0, NULL, error);
    assert_failed(b, ERR_INCOMPATIBLE_OBJECT, "");
    get_service(b);
    assert_string_equal(
        json_string_of(fake_conductor_arg(&b->fake, 1, "object_versions"),
                       "Service"),
        "1.20");
    tear_down(b);
}

#define SERVICE_DIRTY                                                \
    "{'nova_object.name':'Service','nova_object.namespace':'nova',"  \
    "'nova_object.version':'1.22','nova_object.data':{'id':2,"       \
    "'uuid':'u','host':'h','report_count':1},'nova_object.changes':" \
    "['report_count','uuid']}"

static void
test_a_method_changes_its_object(void **state)
{
    struct bench *b = set_up("{'Service':'1.22'}");

    (void)state;
    save(b, SERVICE_DIRTY);
    assert_string_equal(b->fake.requests[0]->method, "object_action");
    assert_json(fake_conductor_arg(&b->fake, 0, "objinst"), SERVICE_DIRTY);
    fake_conductor_answer(&b->fake, 0,
                          "[{'last_seen_up':'2026-11-22T05:24:46Z',"
                          "'report_count':'2','disabled_reason':null,"
                          "'obj_what_changed':['host']},[7]]",
                          NULL);
    assert_json(b->result, "[7]");
    assert_json(object_json(b->object),
                "{'nova_object.name':'Service','nova_object.namespace':"
                "'nova','nova_object.version':'1.22','nova_object.data':"
                "{'id':2,'uuid':'u','host':'h','report_count':2,"
                "'last_seen_up':'2026-11-22T05:24:46Z',"
                "'disabled_reason':null},'nova_object.changes':['host']}");
    tear_down(b);
}

static void
test_a_failed_method_leaves_its_object_alone(void **state)
{
    static const char *const answers[] = {"null",
                                          "[]",
                                          "[{}]",
                                          "[{},null,1]",
                                          "[[],null]",
                                          "{'a':1}",
                                          "[{'id':'abc'},null]",
                                          "[{'obj_what_changed':5},null]"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(answers); i++) {
        struct bench *b = set_up("{'Service':'1.22'}");

        save(b, SERVICE_DIRTY);
        fake_conductor_answer(&b->fake, 0, answers[i], NULL);
        assert_int_equal(b->n_done, 1);
        assert_non_null(b->error);
        assert_json(object_json(b->object), SERVICE_DIRTY);
        tear_down(b);
    }
}

static void
test_an_older_conductor_gets_older_objects(void **state)
{
    struct bench *b = set_up("{'Service':'1.20'}");

    (void)state;
    save(b, SERVICE_DIRTY);
    assert_json(fake_conductor_arg(&b->fake, 0, "objinst"),
                "{'nova_object.name':'Service','nova_object.namespace':"
                "'nova','nova_object.version':'1.20','nova_object.data':"
                "{'id':2,'host':'h','report_count':1},"
                "'nova_object.changes':['report_count']}");
    get_service(b);
    assert_string_equal(
        json_string_of(fake_conductor_arg(&b->fake, 1, "object_versions"),
                       "Service"),
        "1.20");
    fake_conductor_answer(&b->fake, 0, "[{'obj_what_changed':[]},null]", NULL);
    assert_string_equal(object_string(b->object, "uuid"), "u");
    tear_down(b);
}

static void
test_objects_within_arguments_are_levelled_too(void **state)
{
    struct bench *b = set_up("{'Service':'1.22','Flavor':'1.1','Tag':'1.1'}");
    AUTO_JSON args =
        fake_conductor_json("[[" OBJECT("Flavor", "1.2",
                                        "{'id':1,"
                                        "'description':'x'}") "]]");
    AUTO_JSON kwargs =
        fake_conductor_json("{'tag':" OBJECT("Tag", "1.1", "{}") "}");

    (void)state;
    conductor_class_action(b->conductor, NULL, "Service", "get", args, kwargs,
                           conducted, b);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->fake.n_learnt, 3);
    assert_json(fake_conductor_arg(&b->fake, 0, "args"),
                "[[" OBJECT("Flavor", "1.1", "{'id':1}") "]]");
    assert_json(fake_conductor_arg(&b->fake, 0, "kwargs"),
                "{'tag':" OBJECT("Tag", "1.1", "{}") "}");
    tear_down(b);
}

static void
test_a_newer_conductor_gets_our_versions(void **state)
{
    struct bench *b = set_up("{'Service':'1.25'}");

    (void)state;
    save(b, SERVICE_DIRTY);
    assert_json(fake_conductor_arg(&b->fake, 0, "objinst"), SERVICE_DIRTY);
    tear_down(b);
}

static void
test_what_a_newer_conductor_answers_is_made_older(void **state)
{
    struct bench *b = set_up("{'Service':'1.22','Flavor':'1.5'}");

    (void)state;
    get_service(b);
    fake_conductor_answer(
        &b->fake, 0,
        "[{'f':" OBJECT("Flavor", "1.5", "{'id':1,'n':2}") "}," OBJECT(
            "Flavor", "1.2.3", "{'id':2}") "]",
        NULL);
    assert_int_equal(b->n_done, 0);
    assert_int_equal(b->fake.n_requests, 2);
    assert_string_equal(b->fake.requests[1]->method,
                        "object_backport_versions");
    assert_json(b->fake.requests[1]->args,
                "{'objinst':" OBJECT(
                    "Flavor", "1.5",
                    "{'id':1,'n':2}") ","
                                      "'object_versions':{'Flavor':'1.2'}}");
    fake_conductor_answer(&b->fake, 1, OBJECT("Flavor", "1.2", "{'id':1}"),
                          NULL);
    assert_int_equal(b->n_done, 1);
    assert_json(b->result,
                "[{'f':" OBJECT("Flavor", "1.2", "{'id':1}") "}," OBJECT(
                    "Flavor", "1.2", "{'id':2}") "]");
    assert_int_equal(conductor_counters(b->conductor).n_backported, 1);
    tear_down(b);
}

static void
test_what_the_conductor_has_not_got_is_not_sent(void **state)
{
    static const struct {
        const char *versions, *text;
        enum error_code code;
    } cases[] = {
        {"{}", OBJECT("Service", "1.22", "{}"), ERR_UNSUPPORTED_OBJECT},
        {"{'Service':'2.0'}", OBJECT("Service", "1.22", "{}"),
         ERR_INCOMPATIBLE_OBJECT},
        {"{'Service':'1.22'}", OBJECT("Service", "2.0", "{}"),
         ERR_INCOMPATIBLE_OBJECT},
        {"{'Novelty':'1.0'}", OBJECT("Novelty", "1.0", "{}"),
         ERR_UNSUPPORTED_OBJECT},
        {"{'Instance':'2.7'}",
         OBJECT("Instance", "2.7",
                "{'flavor':" OBJECT("Flavor", "1.2", "{}") "}"),
         ERR_UNSUPPORTED_OBJECT},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        struct bench *b = set_up(cases[i].versions);

        save(b, cases[i].text);
        assert_failed(b, cases[i].code, "");
        assert_int_equal(b->fake.n_requests, 0);
        tear_down(b);
    }
}

static void
test_classes_of_a_conductor_that_are_not_ours_are_refused(void **state)
{
    static const char *const versions[] = {"{}", "{'Service':'2.0'}"};

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(versions); i++) {
        struct bench *b = set_up(versions[i]);

        get_service(b);
        assert_failed(b, i ? ERR_INCOMPATIBLE_OBJECT : ERR_UNSUPPORTED_OBJECT,
                      "Service");
        assert_int_equal(b->fake.n_requests, 0);
        tear_down(b);
    }
    struct bench *b = set_up("{'Novelty':'1.0'}");
    conductor_class_action(b->conductor, NULL, "Novelty", "get", NULL, NULL,
                           conducted, b);
    assert_failed(b, ERR_UNSUPPORTED_OBJECT, "");
    tear_down(b);
}

static void
test_a_backport_asks_for_our_versions(void **state)
{
    struct bench *b =
        set_up_with("{'Service':'1.22'}", (struct conductor_options){0},
                    "{'Service':'1.20'}");

    (void)state;
    backport(b, OBJECT("Service", "1.22", "{'uuid':'u'}"));
    assert_int_equal(b->fake.n_requests, 1);
    assert_string_equal(
        json_string_of(fake_conductor_arg(&b->fake, 0, "object_versions"),
                       "Service"),
        "1.20");
    assert_json(fake_conductor_arg(&b->fake, 0, "objinst"),
                OBJECT("Service", "1.22", "{'uuid':'u'}"));
    fake_conductor_answer(&b->fake, 0, OBJECT("Service", "1.20", "{}"), NULL);
    assert_json(b->result, OBJECT("Service", "1.20", "{}"));
    tear_down(b);
}

/* The trap of spec/rpc-wire 8.6. */
static void
test_what_is_newer_than_the_conductor_is_never_sent(void **state)
{
    static const char *const texts[] = {
        OBJECT("Service", "1.99", "{}"),
        OBJECT("Service", "2.0", "{}"),
        OBJECT("Service", "1.22", "{'n':" OBJECT("HVSpec", "1.3", "{}") "}"),
        OBJECT("Service", "1.22", "{'n':" OBJECT("Novelty", "1.1", "{}") "}"),
        OBJECT("Service", "1.22", "{'n':" OBJECT("Unheard", "1.0", "{}") "}"),
        OBJECT("Service", "x", "{}"),
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        struct bench *b =
            set_up_with("{'Service':'1.22','HVSpec':'1.2','Novelty':'1.0'}",
                        (struct conductor_options){0}, "{'Service':'1.20'}");

        backport(b, texts[i]);
        assert_int_equal(b->n_done, 1);
        assert_int_equal(error_code(b->error), i == 4
                                                   ? ERR_UNSUPPORTED_OBJECT
                                                   : ERR_INCOMPATIBLE_OBJECT);
        assert_int_equal(b->fake.n_requests, 0);
        tear_down(b);
    }
}

static void
test_a_backport_has_to_give_what_was_asked_for(void **state)
{
    static const struct {
        const char *answer;
        enum error_code code;
    } cases[] = {
        {OBJECT("Service", "1.21", "{}"), ERR_INCOMPATIBLE_OBJECT},
        {OBJECT("Service", "0.1", "{}"), ERR_INCOMPATIBLE_OBJECT},
        {OBJECT("Service", "1.20", "{'f':" OBJECT("Flavor", "1.9", "{}") "}"),
         ERR_INCOMPATIBLE_OBJECT},
        {OBJECT("Flavor", "1.2", "{}"), ERR_BAD_MESSAGE},
        {"null", ERR_BAD_MESSAGE},
        {"[]", ERR_BAD_MESSAGE},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        struct bench *b =
            set_up_with("{'Service':'1.22'}", (struct conductor_options){0},
                        "{'Service':'1.20'}");

        backport(b, OBJECT("Service", "1.22", "{}"));
        fake_conductor_answer(&b->fake, 0, cases[i].answer, NULL);
        assert_failed(b, cases[i].code, "");
        tear_down(b);
    }
}

static void
test_a_call_ends_in_time_whatever_it_waits_for(void **state)
{
    struct bench *b = set_up("{'Service':'1.22'}");

    (void)state;
    b->fake.is_mute = true;
    get_service(b);
    advance(b, TIMEOUT_MS - 1);
    assert_int_equal(b->n_done, 0);
    advance(b, 1);
    assert_failed(b, ERR_TIMEOUT, "learn the conductor's version of 'Service'");

    b->fake.is_mute = false;
    get_service(b);
    advance(b, TIMEOUT_MS - 1);
    assert_int_equal(b->n_done, 1);
    advance(b, 1);
    assert_int_equal(b->n_done, 2);
    assert_int_equal(error_code(b->error), ERR_TIMEOUT);
    assert_int_equal(conductor_counters(b->conductor).n_open, 0);
    tear_down(b);
}

static void
test_only_so_many_calls_are_with_the_conductor(void **state)
{
    struct bench *b = set_up_with(
        "{'Service':'1.22'}",
        (struct conductor_options){.max_sent = 2, .max_calls = 4}, NULL);

    (void)state;
    for (int i = 0; i < 4; i++) {
        get_service(b);
    }
    assert_int_equal(b->fake.n_requests, 2);
    assert_int_equal(b->n_done, 0);
    get_service(b);
    assert_failed(b, ERR_UNDELIVERABLE, "4 calls");
    fake_conductor_answer(&b->fake, 0, "1", NULL);
    assert_int_equal(b->n_done, 2);
    assert_int_equal(b->fake.n_requests, 3);
    advance(b, TIMEOUT_MS);
    assert_int_equal(b->n_done, 5);
    assert_int_equal(error_code(b->error), ERR_TIMEOUT);
    assert_int_equal(b->fake.n_requests, 3);
    assert_int_equal(conductor_counters(b->conductor).n_open, 0);
    tear_down(b);
}

/* While it learns, waits for its turn, is with the conductor, and while its
 * result is made older. */
static void
test_closing_ends_calls_wherever_they_are(void **state)
{
    struct bench *b =
        set_up_with("{'Service':'1.22','Flavor':'1.5'}",
                    (struct conductor_options){.max_sent = 2}, NULL);

    (void)state;
    get_service(b);
    get_service(b);
    get_service(b);
    fake_conductor_answer(&b->fake, 0, OBJECT("Flavor", "1.5", "{}"), NULL);
    b->fake.is_mute = true;
    save(b, OBJECT("Instance", "2.7", "{}"));
    assert_int_equal(b->n_done, 0);
    conductor_close(steal(&b->conductor));
    assert_int_equal(b->n_done, 4);
    assert_int_equal(error_code(b->error), ERR_CANCELLED);
    tear_down(b);
}

static void
test_what_is_answered_after_the_close_is_dropped(void **state)
{
    AUTO_ERROR error =
        object_incompatible("Service", "1.22", (struct object_version){1, 20});

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct bench *b = set_up("{'Service':'1.22'}");

        get_service(b);
        conductor_close(steal(&b->conductor));
        assert_int_equal(b->n_done, 1);
        fake_conductor_answer(&b->fake, 0, i ? "1" : NULL, i ? NULL : error);
        assert_int_equal(b->n_done, 1);
        tear_down(b);
    }
}

static void
test_whoever_is_told_may_close_it(void **state)
{
    (void)state;
    for (int stage = 0; stage < 3; stage++) {
        struct bench *b =
            set_up_with("{'Service':'1.22'}",
                        (struct conductor_options){.max_sent = 2}, NULL);

        b->close_when_done = true;
        b->fake.is_mute = stage == 0;
        for (int i = 0; i < 4; i++) {
            get_service(b);
        }
        if (stage == 1) {
            fake_conductor_answer(&b->fake, 1, "1", NULL);
        } else {
            advance(b, TIMEOUT_MS);
        }
        assert_null(b->conductor);
        assert_int_equal(b->n_done, 4);
        tear_down(b);
    }
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_class_method_is_run_with_our_versions),
        cmocka_unit_test(test_a_context_is_passed_on_whole_or_made),
        cmocka_unit_test(test_a_result_of_null_is_a_result),
        cmocka_unit_test(test_a_failure_keeps_its_class),
        cmocka_unit_test(test_a_version_is_learnt_once_for_some_minutes),
        cmocka_unit_test(test_a_conductor_is_asked_for_no_more_than_matters),
        cmocka_unit_test(test_a_newer_version_is_asked_for_next),
        cmocka_unit_test(test_silence_teaches_nothing),
        cmocka_unit_test(test_a_conductor_that_takes_anything_is_not_believed),
        cmocka_unit_test(test_what_the_conductor_refuses_is_learnt_again),
        cmocka_unit_test(test_a_method_changes_its_object),
        cmocka_unit_test(test_a_failed_method_leaves_its_object_alone),
        cmocka_unit_test(test_an_older_conductor_gets_older_objects),
        cmocka_unit_test(test_objects_within_arguments_are_levelled_too),
        cmocka_unit_test(test_a_newer_conductor_gets_our_versions),
        cmocka_unit_test(test_what_a_newer_conductor_answers_is_made_older),
        cmocka_unit_test(test_what_the_conductor_has_not_got_is_not_sent),
        cmocka_unit_test(
            test_classes_of_a_conductor_that_are_not_ours_are_refused),
        cmocka_unit_test(test_a_backport_asks_for_our_versions),
        cmocka_unit_test(test_what_is_newer_than_the_conductor_is_never_sent),
        cmocka_unit_test(test_a_backport_has_to_give_what_was_asked_for),
        cmocka_unit_test(test_a_call_ends_in_time_whatever_it_waits_for),
        cmocka_unit_test(test_only_so_many_calls_are_with_the_conductor),
        cmocka_unit_test(test_closing_ends_calls_wherever_they_are),
        cmocka_unit_test(test_what_is_answered_after_the_close_is_dropped),
        cmocka_unit_test(test_whoever_is_told_may_close_it),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
