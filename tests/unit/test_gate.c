#include <config.h>

#include "rpc/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/object.h"
#include "tests/unit/fake_clock.h"
#include "tests/unit/fake_conductor.h"

#define TIMEOUT_MS 10000
#define UUID_A "0d5e5c6e-0d8f-4a0e-9f1a-0c5c3ed1d3b5"
#define UUID_B "1d5e5c6e-0d8f-4a0e-9f1a-0c5c3ed1d3b5"

#define INSTANCE(VERSION, UUID)                               \
    "{'nova_object.name':'Instance','nova_object.namespace':" \
    "'nova','nova_object.version':'" VERSION                  \
    "','nova_object.data':{'uuid':'" UUID "','novelty':1}}"
#define OLDER(UUID)                                                        \
    "{'nova_object.name':'Instance','nova_object.namespace':"              \
    "'nova','nova_object.version':'2.7','nova_object.data':{'uuid':'" UUID \
    "'}}"

/* A service with a conductor that is newer than it, and a caller. */
struct bench {
    uv_loop_t loop;
    struct memory_bus *bus;
    struct transport *transport, *caller;
    struct rpc_server *server;
    struct rpc_client *client;
    struct conductor *conductor;
    struct gate *gate;
    struct fake_conductor fake;
    char seen[64]; /* The marks of what has run, in order. */
    struct json *last_args;
    struct reply *replies[16];
    unsigned n_replies;
    bool stopped;
};

/* Notes what it sees and answers with the version of the instance. */
static void
look(void *aux, struct request *request)
{
    struct bench *b = aux;
    const char *mark = json_get_string(request_arg(request, "mark"));

    if (mark) {
        strncat(b->seen, mark, sizeof b->seen - strlen(b->seen) - 1);
    }
    json_free(b->last_args);
    b->last_args = json_copy(request_args(request));
    request_reply(request, json_copy(json_get(request_arg(request, "instance"),
                                              "nova_object.version")));
}

static const struct rpc_method methods[] = {
    {"look", {{"instance"}, {"mark"}, {"others"}}, look},
    {NULL},
};

static void
caught(void *aux, const struct delivery *delivery)
{
    struct bench *b = aux;
    AUTO_ERROR error = envelope_parse_reply(delivery->body, delivery->size,
                                            &b->replies[b->n_replies]);

    assert_null(error);
    b->n_replies++;
}

static void
stopped(void *aux)
{
    struct bench *b = aux;

    b->stopped = true;
}

static struct bench *
set_up(void)
{
    struct bench *b = xzalloc(sizeof *b);
    const struct rpc_server_options options = {.max_held = 100,
                                               .max_body = 1u << 20};
    const struct conductor_options conductor_options = {0};

    fake_clock_install();
    uv_loop_init(&b->loop);
    b->bus = memory_bus_create(NULL);
    b->transport = memory_bus_attach(b->bus, "compute", "hosta");
    b->caller = memory_bus_attach(b->bus, NULL, "caller");
    b->caller->client = (struct transport_events){.reply = caught, .aux = b};
    fake_conductor_attach(&b->fake, b->bus, "{'Instance':'2.9'}");
    b->server = rpc_server_create(&b->loop, b->transport, &options);
    rpc_server_add(b->server, (struct rpc_endpoint){NULL, 6, 1, methods, b});
    b->client = rpc_client_create(&b->loop, b->transport);
    b->conductor = conductor_create(b->client, &conductor_options);
    b->gate = gate_create(b->server, b->conductor, TIMEOUT_MS);
    rpc_server_start(b->server);
    return b;
}

/* In the order that is worked through, which must not matter. */
static void
close_all(struct bench *b, bool server_first)
{
    if (server_first && b->server) {
        rpc_server_close(steal(&b->server));
    }
    if (b->gate) {
        gate_close(steal(&b->gate));
    }
    if (b->conductor) {
        conductor_close(steal(&b->conductor));
    }
    if (b->server) {
        rpc_server_close(steal(&b->server));
    }
    if (b->client) {
        rpc_client_close(steal(&b->client));
    }
}

static void
tear_down(struct bench *b)
{
    close_all(b, false);
    memory_bus_detach(b->bus, b->transport);
    memory_bus_detach(b->bus, b->caller);
    fake_conductor_detach(&b->fake);
    memory_bus_close(b->bus);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    fake_clock_remove();
    for (unsigned i = 0; i < b->n_replies; i++) {
        reply_free(b->replies[i]);
    }
    json_free(b->last_args);
    free(b);
}

struct ask {
    const char *method, *args, *unique_id;
    bool is_cast;
    unsigned expiration_ms;
};

static void
ask(struct bench *b, struct ask a)
{
    static unsigned n;
    AUTO_JSON args = fake_conductor_json(a.args);
    AUTO_JSON context = fake_conductor_json("{'request_id':'req-1','x':1}");
    AUTO_FREE unique_id = xasprintf("unique-%u", ++n);
    size_t size;
    const struct envelope_request request = {
        .method = a.method ? a.method : "look",
        .version = "6.0",
        .args = args,
        .context = context,
        .unique_id = a.unique_id ? a.unique_id : unique_id,
        .msg_id = a.is_cast ? NULL : "m1",
        .reply_q = "reply_caller",
    };
    AUTO_FREE body = envelope_format_request(&request, &size);
    const struct delivery delivery = {
        .body = body,
        .size = size,
        .expiration_ms = a.expiration_ms,
    };

    memory_bus_inject(b->bus, "compute", "hosta", &delivery);
    memory_bus_deliver_all(b->bus);
}

static void
look_at(struct bench *b, const char *instance, const char *mark)
{
    AUTO_FREE args = xasprintf("{'instance':%s,'mark':'%s'}", instance, mark);

    ask(b, (struct ask){.args = args});
}

static void
answer(struct bench *b, unsigned i, const char *result)
{
    fake_conductor_answer(&b->fake, i, result, NULL);
}

static void
advance(struct bench *b, uint64_t ms)
{
    fake_clock_advance(&b->loop, ms);
    memory_bus_deliver_all(b->bus);
}

static void
assert_failed(const struct bench *b, unsigned i, enum error_code code)
{
    assert_true(i < b->n_replies);
    if (error_code(b->replies[i]->failure) != code) {
        fail_msg("%s", error_message(b->replies[i]->failure));
    }
}

static void
test_what_we_understand_goes_straight_on(void **state)
{
    static const char *const args[] = {
        "{}",
        "{'instance':null}",
        "{'instance':" INSTANCE("2.7", UUID_A) "}",
        "{'instance':" INSTANCE("2.1", UUID_A) "}",
        "{'instance':" INSTANCE("2.7.4", UUID_A) "}",
        "{'others':{'nova_object.name':'Novelty','nova_object.version':'9.9'}}",
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(args); i++) {
        struct bench *b = set_up();

        ask(b, (struct ask){.args = args[i]});
        assert_int_equal(b->n_replies, 1);
        assert_null(b->replies[0]->failure);
        assert_int_equal(b->fake.n_learnt, 0);
        tear_down(b);
    }
}

static void
test_a_fix_of_our_version_is_our_version(void **state)
{
    struct bench *b = set_up();

    (void)state;
    look_at(b, INSTANCE("2.7.4", UUID_A), "a");
    assert_string_equal(json_get_string(b->replies[0]->result), "2.7");
    tear_down(b);
}

static void
test_a_newer_object_is_made_older_once_before_the_method_runs(void **state)
{
    struct bench *b = set_up();

    (void)state;
    look_at(b, INSTANCE("2.8", UUID_A), "a");
    assert_string_equal(b->seen, "");
    assert_int_equal(gate_n_waiting(b->gate), 1);
    assert_int_equal(b->fake.n_requests, 1);
    assert_string_equal(b->fake.requests[0]->method,
                        "object_backport_versions");
    assert_int_equal(json_int_of(b->fake.requests[0]->context, "x"), 1);

    answer(b, 0, OLDER(UUID_A));
    assert_string_equal(b->seen, "a");
    assert_string_equal(json_get_string(b->replies[0]->result), "2.7");
    AUTO_JSON wanted =
        fake_conductor_json("{'instance':" OLDER(UUID_A) ",'mark':'a'}");
    assert_true(json_equal(b->last_args, wanted));
    assert_int_equal(b->fake.n_requests, 1);
    assert_int_equal(gate_n_waiting(b->gate), 0);
    tear_down(b);
}

static void
test_each_outermost_object_is_asked_for(void **state)
{
    struct bench *b = set_up();

    (void)state;
    ask(b,
        (struct ask){
            .args =
                "{'instance':" INSTANCE("2.7", UUID_A) ",'others':[" INSTANCE(
                    "2.8", UUID_A) ",{'k':" INSTANCE("2.9", UUID_B) "}]}"});
    answer(b, 0, OLDER(UUID_A));
    assert_null(b->last_args);
    answer(b, 1, OLDER(UUID_B));
    AUTO_JSON wanted =
        fake_conductor_json("[" OLDER(UUID_A) ",{'k':" OLDER(UUID_B) "}]");
    assert_true(json_equal(json_get(b->last_args, "others"), wanted));
    assert_int_equal(b->fake.n_requests, 2);
    tear_down(b);
}

static void
test_what_stays_too_new_fails_the_call(void **state)
{
    struct bench *b = set_up();

    (void)state;
    look_at(b, INSTANCE("3.0", UUID_A), "a");
    assert_failed(b, 0, ERR_INCOMPATIBLE_OBJECT);
    assert_int_equal(b->fake.n_learnt, 0);
    look_at(b, INSTANCE("2.99", UUID_A), "b"); /* Than the conductor's, too. */
    assert_failed(b, 1, ERR_INCOMPATIBLE_OBJECT);
    assert_int_equal(b->fake.n_requests, 0);
    look_at(b, INSTANCE("2.9", UUID_A), "c");
    answer(b, 0, INSTANCE("2.8", UUID_A));
    assert_failed(b, 2, ERR_INCOMPATIBLE_OBJECT);
    assert_string_equal(b->seen, "");
    assert_string_equal(error_arg(b->replies[2]->failure, "supported"), "2.7");
    tear_down(b);
}

static void
test_a_conductor_that_does_not_answer_fails_the_call(void **state)
{
    struct bench *b = set_up();

    (void)state;
    look_at(b, INSTANCE("2.9", UUID_A), "a");
    advance(b, TIMEOUT_MS);
    assert_failed(b, 0, ERR_TIMEOUT);
    assert_string_equal(b->seen, "");
    tear_down(b);
}

static void
test_a_method_that_there_is_not_needs_no_conductor(void **state)
{
    struct bench *b = set_up();

    (void)state;
    ask(b, (struct ask){.method = "leap",
                        .args = "{'instance':" INSTANCE("2.9", UUID_A) "}"});
    assert_failed(b, 0, ERR_NO_SUCH_METHOD);
    assert_int_equal(b->fake.n_learnt, 0);
    tear_down(b);
}

static void
test_requests_about_one_instance_keep_their_order(void **state)
{
    struct bench *b = set_up();

    (void)state;
    look_at(b, INSTANCE("2.9", UUID_A), "a");
    look_at(b, INSTANCE("2.7", UUID_A), "b");
    look_at(b, INSTANCE("2.9", UUID_A), "c");
    look_at(b, INSTANCE("2.7", UUID_B), "x");
    look_at(b, INSTANCE("2.9", UUID_B), "y");
    look_at(b, INSTANCE("2.7", UUID_A), "d");
    ask(b, (struct ask){.args = "{'mark':'-'}"});
    assert_string_equal(b->seen, "x-");
    answer(b, 1, OLDER(UUID_A)); /* For c. */
    assert_string_equal(b->seen, "x-");
    answer(b, 0, OLDER(UUID_A)); /* For a. */
    assert_string_equal(b->seen, "x-abcd");
    answer(b, 2, OLDER(UUID_B)); /* For y. */
    assert_string_equal(b->seen, "x-abcdy");
    tear_down(b);
}

static void
test_a_duplicate_of_what_waits_is_dropped(void **state)
{
    struct bench *b = set_up();

    (void)state;
    for (int i = 0; i < 2; i++) {
        ask(b, (struct ask){.args = "{'mark':'a','instance':" INSTANCE(
                                "2.9", UUID_A) "}",
                            .unique_id = "same"});
    }
    assert_int_equal(b->fake.n_requests, 1);
    answer(b, 0, OLDER(UUID_A));
    assert_string_equal(b->seen, "a");
    assert_int_equal(rpc_server_counters(b->server).n_duplicates, 1);
    tear_down(b);
}

static void
test_what_has_become_stale_is_dropped(void **state)
{
    static const char args[] =
        "{'mark':'a','instance':" INSTANCE("2.9", UUID_A) "}";
    struct bench *b = set_up();

    (void)state;
    ask(b, (struct ask){.args = args, .expiration_ms = 3000});
    ask(b, (struct ask){.args = args, .expiration_ms = 3000, .is_cast = true});
    advance(b, 4000);
    answer(b, 0, OLDER(UUID_A));
    assert_string_equal(b->seen, "");
    assert_int_equal(rpc_server_counters(b->server).n_stale, 1);
    answer(b, 1, OLDER(UUID_A));
    assert_string_equal(b->seen, "a"); /* The cast: nobody gave up on it. */
    tear_down(b);
}

static void
test_a_server_that_stops_waits_for_it(void **state)
{
    struct bench *b = set_up();

    (void)state;
    look_at(b, INSTANCE("2.9", UUID_A), "a");
    rpc_server_stop(b->server, 5000, stopped, b);
    advance(b, 1000);
    assert_false(b->stopped);
    answer(b, 0, OLDER(UUID_A));
    assert_string_equal(b->seen, "a");
    assert_int_equal(b->n_replies, 1);
    advance(b, 1);
    assert_true(b->stopped);
    tear_down(b);
}

static void
test_when_the_grace_is_over_it_is_answered_once(void **state)
{
    struct bench *b = set_up();

    (void)state;
    look_at(b, INSTANCE("2.9", UUID_A), "a");
    rpc_server_stop(b->server, 5000, stopped, b);
    advance(b, 5000);
    assert_true(b->stopped);
    assert_failed(b, 0, ERR_INTERNAL);
    answer(b, 0, OLDER(UUID_A));
    assert_string_equal(b->seen, "");
    assert_int_equal(b->n_replies, 1);
    tear_down(b);
}

static void
test_everything_may_close_while_requests_wait(void **state)
{
    (void)state;
    for (int server_first = 0; server_first < 2; server_first++) {
        struct bench *b = set_up();

        look_at(b, INSTANCE("2.9", UUID_A), "a");
        look_at(b, INSTANCE("2.7", UUID_A), "b");
        look_at(b, INSTANCE("2.9", UUID_B), "c");
        close_all(b, server_first);
        assert_int_equal(strlen(b->seen), server_first ? 0 : 1);
        tear_down(b);
    }
}

/* As is right without a conductor that could help. */
static void
test_without_a_gate_what_is_newer_is_taken_as_it_is(void **state)
{
    struct bench *b = set_up();

    (void)state;
    gate_close(steal(&b->gate));
    look_at(b, INSTANCE("2.9", UUID_A), "a");
    assert_string_equal(json_get_string(b->replies[0]->result), "2.9");
    AUTO_OBJECT object = NULL;
    AUTO_ERROR error =
        object_parse(json_get(b->last_args, "instance"), "Instance", &object);
    assert_null(error);
    assert_int_equal(object_int(object, "novelty"), 1);
    assert_true(
        json_equal(object_json(object), json_get(b->last_args, "instance")));
    assert_int_equal(b->fake.n_learnt, 0);
    tear_down(b);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_we_understand_goes_straight_on),
        cmocka_unit_test(test_a_fix_of_our_version_is_our_version),
        cmocka_unit_test(
            test_a_newer_object_is_made_older_once_before_the_method_runs),
        cmocka_unit_test(test_each_outermost_object_is_asked_for),
        cmocka_unit_test(test_what_stays_too_new_fails_the_call),
        cmocka_unit_test(test_a_conductor_that_does_not_answer_fails_the_call),
        cmocka_unit_test(test_a_method_that_there_is_not_needs_no_conductor),
        cmocka_unit_test(test_requests_about_one_instance_keep_their_order),
        cmocka_unit_test(test_a_duplicate_of_what_waits_is_dropped),
        cmocka_unit_test(test_what_has_become_stale_is_dropped),
        cmocka_unit_test(test_a_server_that_stops_waits_for_it),
        cmocka_unit_test(test_when_the_grace_is_over_it_is_answered_once),
        cmocka_unit_test(test_everything_may_close_while_requests_wait),
        cmocka_unit_test(test_without_a_gate_what_is_newer_is_taken_as_it_is),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
