#include <config.h>

#include "rpc/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/envelope.h"
#include "rpc/server_base.h"
#include "rpc/uuid.h"
#include "tests/unit/fake_clock.h"
#include "tests/unit/memory_bus.h"

/* A server on a bus, and a caller who remembers the replies he got. */
struct bench {
    uv_loop_t loop;
    struct memory_bus *bus;
    struct transport *transport, *caller;
    struct rpc_server *server;
    struct request *held[16]; /* By the method "hold", until answered. */
    unsigned n_held, n_none;
    struct reply *replies[64];
    unsigned n_replies;
    bool stopped;
};

static void
none(void *aux, struct request *request)
{
    struct bench *b = aux;

    b->n_none++;
    request_reply(request, NULL);
}

static void
hold(void *aux, struct request *request)
{
    struct bench *b = aux;

    b->held[b->n_held++] = request;
}

static void
echo(void *aux, struct request *request)
{
    (void)aux;
    request_reply(request, json_copy(request_arg(request, "value")));
}

static void
break_down(void *aux, struct request *request)
{
    (void)aux;
    request_fail(request, error_set_arg(error_new(ERR_INSTANCE_NOT_FOUND, "x"),
                                        "instance_id", "17"));
}

static void
describe(void *aux, struct request *request)
{
    struct json *result = json_object();

    (void)aux;
    json_set_string(result, "request", request_log(request)->request);
    json_set_string(result, "instance", request_log(request)->instance);
    json_set_string(result, "method", request_method(request));
    json_set_int(result, "major", request_major(request));
    json_set_bool(result, "has_null", request_arg(request, "extra") != NULL);
    request_reply(request, result);
}

static const struct rpc_method methods[] = {
    {"none", {{NULL}}, none},
    {"hold", {{NULL}}, hold},
    {"echo", {{"value", true}, {"old", false, 5}}, echo},
    {"fail", {{NULL}}, break_down},
    {"three", {{"a", true}, {"b", true}, {"c", true}}, none},
    {"describe", {{"instance", false}, {"extra", false}}, describe},
    {"_private", {{NULL}}, none},
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
set_up(unsigned max_held)
{
    struct bench *b = xzalloc(sizeof *b);
    const struct rpc_server_options options = {
        .max_held = max_held,
        .max_body = 1u << 20,
    };

    fake_clock_install();
    uv_loop_init(&b->loop);
    b->bus = memory_bus_create(NULL);
    b->transport = memory_bus_attach(b->bus, "compute", "hosta");
    b->caller = memory_bus_attach(b->bus, NULL, "caller");
    b->caller->client = (struct transport_events){.reply = caught, .aux = b};
    b->server = rpc_server_create(&b->loop, b->transport, &options);
    rpc_server_add(b->server, (struct rpc_endpoint){NULL, 6, 1, methods, b});
    rpc_server_add(b->server, (struct rpc_endpoint){NULL, 5, 13, methods, b});
    server_base_add(b->server, "compute");
    rpc_server_start(b->server);
    return b;
}

static void
forget_replies(struct bench *b)
{
    while (b->n_replies) {
        reply_free(b->replies[--b->n_replies]);
    }
}

static void
tear_down(struct bench *b)
{
    rpc_server_close(b->server);
    for (unsigned i = 0; i < b->n_held; i++) {
        if (b->held[i]) {
            request_reply(b->held[i], NULL);
        }
    }
    memory_bus_detach(b->bus, b->transport);
    memory_bus_detach(b->bus, b->caller);
    forget_replies(b);
    memory_bus_close(b->bus);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    fake_clock_remove();
    free(b);
}

/* What a test says of its request; the rest is as usual. */
struct ask {
    const char *method, *name_space, *version, *args, *context, *msg_id;
    const char *unique_id, *reply_q;
    bool is_cast, redelivered;
    unsigned monitor_s, expiration_ms;
};

static void
ask(struct bench *b, struct ask a)
{
    char unique_id[UUID_SIZE];
    AUTO_JSON args = NULL;
    AUTO_JSON context = NULL;
    size_t size;
    const char *args_text = a.args ? a.args : "{}";
    const char *context_text = a.context ? a.context : "{}";
    AUTO_ERROR error = json_parse(args_text, strlen(args_text), &args);

    assert_null(error);
    error = json_parse(context_text, strlen(context_text), &context);
    assert_null(error);
    const struct envelope_request request = {
        .method = a.method,
        .name_space = a.name_space,
        .version = a.version ? a.version : "6.0",
        .args = args,
        .context = context,
        .unique_id = a.unique_id ? a.unique_id : uuid_generate_hex(unique_id),
        .msg_id = a.is_cast  ? NULL
                  : a.msg_id ? a.msg_id
                             : "m1",
        .reply_q = a.reply_q ? a.reply_q : "reply_caller",
        .monitor_s = a.monitor_s,
    };
    AUTO_FREE body = envelope_format_request(&request, &size);
    const struct delivery delivery = {
        .body = body,
        .size = size,
        .expiration_ms = a.expiration_ms,
        .redelivered = a.redelivered,
    };

    memory_bus_inject(b->bus, "compute", "hosta", &delivery);
    memory_bus_deliver_all(b->bus);
}

static void
inject(struct bench *b, const char *body, const char *content_type)
{
    const struct delivery delivery = {
        .body = body,
        .size = strlen(body),
        .content_type = content_type,
    };

    memory_bus_inject(b->bus, "compute", "hosta", &delivery);
    memory_bus_deliver_all(b->bus);
}

static const struct reply *
only_reply(const struct bench *b)
{
    assert_int_equal(b->n_replies, 1);
    return b->replies[0];
}

static void
assert_fails(struct bench *b, struct ask a, enum error_code code,
             const char *text)
{
    forget_replies(b);
    ask(b, a);
    const struct error *failure = only_reply(b)->failure;
    assert_non_null(failure);
    assert_int_equal(error_code(failure), code);
    assert_string_equal(error_message(failure), text);
}

static void
test_call_is_answered_and_acknowledged(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    ask(b, (struct ask){.method = "echo",
                        .args = "{\"value\": [1, null]}",
                        .msg_id = "42"});
    const struct reply *reply = only_reply(b);
    AUTO_FREE text = json_print(reply->result, NULL);
    assert_string_equal(text, "[1,null]");
    assert_string_equal(reply->msg_id, "42");
    assert_true(reply->ending);
    assert_null(reply->failure);
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 1);
    tear_down(b);
}

static void
test_cast_is_not_answered(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    ask(b, (struct ask){.method = "none", .is_cast = true});
    ask(b, (struct ask){.method = "fail", .is_cast = true});
    assert_int_equal(b->n_none, 1);
    assert_int_equal(b->n_replies, 0);
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 2);
    tear_down(b);
}

static struct rpc_method_count
count_of(const struct bench *b, const char *method)
{
    const struct rpc_method_count *counts;
    struct rpc_method_count found = {.method = NULL};
    size_t n = rpc_server_method_counts(b->server, &counts);

    for (size_t i = 0; i < n; i++) {
        if (str_eq(counts[i].method->name, method)) {
            assert_null(found.method); /* Each is there once. */
            found = counts[i];
        }
    }
    assert_non_null(found.method);
    return found;
}

static void
test_answers_are_counted_by_method(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    ask(b, (struct ask){.method = "none"});
    ask(b, (struct ask){.method = "none", .version = "5.0"});
    ask(b, (struct ask){.method = "none", .is_cast = true});
    ask(b, (struct ask){.method = "fail"});
    ask(b, (struct ask){.method = "three"}); /* Its arguments are missing. */
    ask(b, (struct ask){.method = "unheard-of"});
    assert_int_equal(count_of(b, "none").n_ok, 3);
    assert_int_equal(count_of(b, "none").n_failed, 0);
    assert_int_equal(count_of(b, "fail").n_ok, 0);
    assert_int_equal(count_of(b, "fail").n_failed, 1);
    assert_int_equal(count_of(b, "three").n_failed, 0);
    assert_int_equal(rpc_server_counters(b->server).n_invalid, 2);
    tear_down(b);
}

static void
test_failure_keeps_its_class(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    ask(b, (struct ask){.method = "fail"});
    const struct error *failure = only_reply(b)->failure;
    assert_int_equal(error_code(failure), ERR_INSTANCE_NOT_FOUND);
    assert_string_equal(error_arg(failure, "instance_id"), "17");
    tear_down(b);
}

static void
test_unknown_methods_are_refused_as_peers_do(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    assert_fails(b, (struct ask){.method = "nosuch"}, ERR_NO_SUCH_METHOD,
                 "Endpoint does not support RPC method nosuch");
    assert_fails(b, (struct ask){.method = "_private"}, ERR_NO_SUCH_METHOD,
                 "Endpoint does not support RPC method _private");
    assert_int_equal(b->n_none, 0);
    tear_down(b);
}

static void
test_versions_fit_as_at_the_peers(void **state)
{
    static const char *const good[] = {"6.0",  "6.1", "6.0.9",
                                       "5.13", "5.0", "5.4.2"};
    static const char *const bad[] = {"6.2", "7.0", "4.0", "5.14", "6.1.1"};
    struct bench *b = set_up(10);

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(good); i++) {
        ask(b, (struct ask){.method = "none", .version = good[i]});
        assert_null(only_reply(b)->failure);
        forget_replies(b);
    }
    for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
        AUTO_FREE text = xasprintf("Endpoint does not support RPC version %s. "
                                   "Attempted method: none",
                                   bad[i]);
        assert_fails(b, (struct ask){.method = "none", .version = bad[i]},
                     ERR_UNSUPPORTED_VERSION, text);
    }
    tear_down(b);
}

static void
test_unknown_namespace_reads_as_version(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    assert_fails(b, (struct ask){.method = "none", .name_space = "nope"},
                 ERR_UNSUPPORTED_VERSION,
                 "Endpoint does not support RPC version 6.0. Attempted "
                 "method: none");
    assert_fails(b, (struct ask){.method = "none", .name_space = ""},
                 ERR_UNSUPPORTED_VERSION,
                 "Endpoint does not support RPC version 6.0. Attempted "
                 "method: none");
    tear_down(b);
}

static void
test_ping_tells_the_service(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    ask(b, (struct ask){.method = "ping",
                        .name_space = "baseapi",
                        .version = "1.0",
                        .args = "{\"arg\": \"x\"}"});
    AUTO_FREE text = json_print(only_reply(b)->result, NULL);
    assert_string_equal(text, "{\"service\":\"compute\",\"arg\":\"x\"}");
    tear_down(b);
}

static void
test_server_ping_is_of_version_1(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    server_base_add_ping(b->server);
    ask(b, (struct ask){.method = "oslo_rpc_server_ping", .version = "1.0"});
    assert_string_equal(json_get_string(only_reply(b)->result), "pong");
    assert_fails(b, (struct ask){.method = "oslo_rpc_server_ping"},
                 ERR_NO_SUCH_METHOD,
                 "Endpoint does not support RPC method oslo_rpc_server_ping");
    tear_down(b);
}

static void
test_arguments_are_checked_in_pythons_words(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    assert_fails(b, (struct ask){.method = "echo", .args = "{\"valeu\": 1}"},
                 ERR_TYPE, "echo() got an unexpected keyword argument 'valeu'");
    assert_fails(b, (struct ask){.method = "echo"}, ERR_TYPE,
                 "echo() missing 1 required positional argument: 'value'");
    assert_fails(b, (struct ask){.method = "three", .args = "{\"b\": 1}"},
                 ERR_TYPE,
                 "three() missing 2 required positional arguments: 'a' and "
                 "'c'");
    assert_fails(b, (struct ask){.method = "three"}, ERR_TYPE,
                 "three() missing 3 required positional arguments: 'a', 'b', "
                 "and 'c'");
    assert_int_equal(b->n_none, 0);
    tear_down(b);
}

static void
test_argument_of_an_old_version_is_unknown_to_the_new(void **state)
{
    struct bench *b = set_up(10);
    const char *args = "{\"value\": 1, \"old\": 2}";

    (void)state;
    ask(b, (struct ask){.method = "echo", .version = "5.0", .args = args});
    assert_null(only_reply(b)->failure);
    assert_fails(b, (struct ask){.method = "echo", .args = args}, ERR_TYPE,
                 "echo() got an unexpected keyword argument 'old'");
    tear_down(b);
}

static void
test_request_carries_its_log_context(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    ask(b, (struct ask){
               .method = "describe",
               .args = "{\"extra\": null, \"instance\": {\"nova_object.data\": "
                       "{\"uuid\": \"0d5e5c6e-0d8f-4a0e-9f1a-0c5c3ed1d3b5\"}}}",
               .context = "{\"request_id\": \"req-1\"}"});
    AUTO_FREE text = json_print(only_reply(b)->result, NULL);
    assert_string_equal(
        text, "{\"request\":\"req-1\",\"instance\":\"0d5e5c6e-0d8f-4a0e-9f1a-"
              "0c5c3ed1d3b5\",\"method\":\"describe\",\"major\":6,"
              "\"has_null\":false}");
    tear_down(b);
}

static void
test_garbage_is_rejected_without_answer(void **state)
{
    static const char *const bad[] = {"", "hello", "[1]", "\"x\"",
                                      ("{\"oslo.version\": \"3.0\", "
                                       "\"oslo.message\": \"{}\"}")};
    struct bench *b = set_up(10);

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(bad); i++) {
        inject(b, bad[i], NULL);
    }
    inject(b, "{\"method\": \"none\", \"version\": \"6.0\"}", "text/plain");
    assert_int_equal(memory_bus_counters(b->bus).n_rejected,
                     N_ELEMENTS(bad) + 1);
    assert_int_equal(b->n_replies, 0);
    ask(b, (struct ask){.method = "none"});
    assert_null(only_reply(b)->failure);
    tear_down(b);
}

static void
test_invalid_request_is_answered(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    inject(b,
           "{\"args\": {}, \"version\": \"6.0\", \"_msg_id\": \"9\", "
           "\"_reply_q\": \"reply_caller\"}",
           NULL);
    assert_int_equal(error_code(only_reply(b)->failure), ERR_NO_SUCH_METHOD);
    tear_down(b);
}

static void
test_duplicate_runs_once(void **state)
{
    struct bench *b = set_up(10);
    char id[UUID_SIZE];

    (void)state;
    ask(b, (struct ask){.method = "none", .unique_id = "first"});
    for (int i = 0; i < 4000; i++) {
        ask(b, (struct ask){.method = "none",
                            .is_cast = true,
                            .unique_id = uuid_generate_hex(id)});
    }
    ask(b, (struct ask){.method = "none", .unique_id = "first"});
    ask(b, (struct ask){
               .method = "none", .unique_id = "first", .redelivered = true});
    assert_int_equal(b->n_none, 4001);
    assert_int_equal(b->n_replies, 1);
    assert_int_equal(rpc_server_counters(b->server).n_duplicates, 2);
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 4003);
    tear_down(b);
}

static void
test_requests_beyond_the_limit_wait_at_the_broker(void **state)
{
    struct bench *b = set_up(1);

    (void)state;
    ask(b, (struct ask){.method = "hold", .msg_id = "1"});
    ask(b, (struct ask){.method = "none", .msg_id = "2"});
    assert_int_equal(b->n_none, 0);
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 1);
    request_reply(steal(&b->held[0]), NULL);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->n_none, 1);
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 2);
    assert_int_equal(b->n_replies, 2);
    tear_down(b);
}

static void
test_call_that_waited_too_long_is_dropped(void **state)
{
    struct bench *b = set_up(1);

    (void)state;
    ask(b, (struct ask){.method = "hold"});
    ask(b, (struct ask){.method = "none", .expiration_ms = 1000});
    fake_clock_advance(&b->loop, 3000);
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 2);
    request_reply(steal(&b->held[0]), NULL);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->n_none, 0);
    assert_int_equal(rpc_server_counters(b->server).n_stale, 1);
    tear_down(b);
}

static void
test_cast_held_too_long_goes_back(void **state)
{
    struct bench *b = set_up(1);

    (void)state;
    ask(b, (struct ask){.method = "hold"});
    ask(b, (struct ask){.method = "none", .is_cast = true});
    fake_clock_advance(&b->loop, 11 * 60 * 1000);
    assert_int_equal(memory_bus_counters(b->bus).n_requeued, 1);
    request_reply(steal(&b->held[0]), NULL);
    assert_int_equal(b->n_none, 0);
    tear_down(b);
}

static void
test_waiting_request_that_comes_again_runs_once(void **state)
{
    struct bench *b = set_up(1);

    (void)state;
    ask(b, (struct ask){.method = "hold"});
    ask(b, (struct ask){.method = "none", .unique_id = "u"});
    ask(b,
        (struct ask){.method = "none", .unique_id = "u", .redelivered = true});
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 1);
    request_reply(steal(&b->held[0]), NULL);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->n_none, 1);
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 2);
    tear_down(b);
}

static void
test_keepalives_come_while_it_runs_and_not_after(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    ask(b, (struct ask){.method = "hold", .monitor_s = 4});
    fake_clock_advance(&b->loop, 1900);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->n_replies, 0);
    for (unsigned i = 1; i <= 3; i++) {
        fake_clock_advance(&b->loop, 2000);
        memory_bus_deliver_all(b->bus);
        assert_int_equal(b->n_replies, i);
        assert_true(reply_is_keepalive(b->replies[i - 1]));
    }
    request_reply(steal(&b->held[0]), json_int(5));
    memory_bus_deliver_all(b->bus);
    fake_clock_advance(&b->loop, 10000);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->n_replies, 4);
    assert_int_equal(json_get_int(b->replies[3]->result), 5);
    tear_down(b);
}

static void
test_keepalives_come_while_it_waits(void **state)
{
    struct bench *b = set_up(1);

    (void)state;
    ask(b, (struct ask){.method = "hold"});
    ask(b, (struct ask){.method = "none", .monitor_s = 4});
    fake_clock_advance(&b->loop, 2000);
    memory_bus_deliver_all(b->bus);
    assert_true(reply_is_keepalive(only_reply(b)));
    tear_down(b);
}

static void
test_no_keepalives_unless_asked_for(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    ask(b, (struct ask){.method = "hold"});
    ask(b, (struct ask){.method = "nosuch", .monitor_s = 2});
    forget_replies(b);
    fake_clock_advance(&b->loop, 60000);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->n_replies, 0);
    tear_down(b);
}

/* After a restart of the broker, say. */
static void
test_caller_whose_queue_comes_back_is_answered_again(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    ask(b, (struct ask){.method = "none",
                        .reply_q = "reply_late",
                        .expiration_ms = 1000});
    fake_clock_advance(&b->loop, 5000);
    memory_bus_deliver_all(b->bus);
    struct transport *late = memory_bus_attach(b->bus, NULL, "late");
    late->client = (struct transport_events){.reply = caught, .aux = b};
    ask(b, (struct ask){.method = "none", .reply_q = "reply_late"});
    assert_int_equal(b->n_replies, 1);
    memory_bus_detach(b->bus, late);
    tear_down(b);
}

static void
test_keepalives_end_when_the_caller_is_gone(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    ask(b, (struct ask){.method = "hold", .monitor_s = 4});
    memory_bus_detach(b->bus, b->caller);
    for (int i = 0; i < 5; i++) {
        fake_clock_advance(&b->loop, 2000);
        memory_bus_deliver_all(b->bus);
    }
    assert_int_equal(rpc_server_counters(b->server).n_keepalives, 1);
    tear_down(b);
}

static void
test_reply_waits_for_its_queue_to_come_back(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    ask(b, (struct ask){.method = "hold"});
    memory_bus_detach(b->bus, b->caller);
    request_reply(steal(&b->held[0]), json_int(7));
    for (int i = 0; i < 10; i++) {
        memory_bus_deliver_all(b->bus);
        fake_clock_advance(&b->loop, 500);
    }
    assert_int_equal(b->n_replies, 0);
    b->caller = memory_bus_attach(b->bus, NULL, "caller");
    b->caller->client = (struct transport_events){.reply = caught, .aux = b};
    fake_clock_advance(&b->loop, 4000);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(json_get_int(only_reply(b)->result), 7);
    tear_down(b);
}

static void
test_queue_that_stays_away_is_given_up(void **state)
{
    struct bench *b = set_up(10);

    (void)state;
    ask(b, (struct ask){.method = "none", .reply_q = "reply_dead"});
    for (int i = 0; i < 70; i++) {
        fake_clock_advance(&b->loop, 1000);
        memory_bus_deliver_all(b->bus);
    }
    assert_int_equal(rpc_server_counters(b->server).n_replies_dropped, 1);
    unsigned n_published = memory_bus_counters(b->bus).n_published;
    assert_in_range(n_published, 15, 25);

    /* The next one is not even tried, and nobody else is affected. */
    ask(b, (struct ask){.method = "none", .reply_q = "reply_dead"});
    assert_int_equal(memory_bus_counters(b->bus).n_published, n_published);
    assert_int_equal(rpc_server_counters(b->server).n_replies_dropped, 2);
    ask(b, (struct ask){.method = "none"});
    assert_int_equal(b->n_replies, 1);
    tear_down(b);
}

static void
test_stop_finishes_what_runs_and_gives_back_what_waits(void **state)
{
    struct bench *b = set_up(1);

    (void)state;
    ask(b, (struct ask){.method = "hold"});
    ask(b, (struct ask){.method = "none"});
    rpc_server_stop(b->server, 10000, stopped, b);
    assert_int_equal(memory_bus_counters(b->bus).n_requeued, 1);
    ask(b, (struct ask){.method = "none"});
    assert_int_equal(memory_bus_counters(b->bus).n_requeued, 2);
    fake_clock_advance(&b->loop, 5000);
    assert_false(b->stopped);
    request_reply(steal(&b->held[0]), json_int(1));
    fake_clock_advance(&b->loop, 0);
    assert_true(b->stopped);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(json_get_int(only_reply(b)->result), 1);
    assert_int_equal(b->n_none, 0);
    tear_down(b);
}

static void
test_stop_ends_with_its_grace(void **state)
{
    struct bench *b = set_up(1);

    (void)state;
    ask(b, (struct ask){.method = "hold"});
    rpc_server_stop(b->server, 10000, stopped, b);
    fake_clock_advance(&b->loop, 10000);
    assert_true(b->stopped);
    memory_bus_deliver_all(b->bus);
    assert_string_equal(error_message(only_reply(b)->failure),
                        "the service is stopping");
    request_reply(steal(&b->held[0]), NULL); /* Too late, and harmless. */
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->n_replies, 1);
    tear_down(b);
}

static void
test_nothing_is_dispatched_before_the_start(void **state)
{
    struct bench *b = set_up(1);
    const struct rpc_server_options options = {.max_held = 10,
                                               .max_body = 1u << 20};

    (void)state;
    rpc_server_close(b->server);
    b->server = rpc_server_create(&b->loop, b->transport, &options);
    rpc_server_add(b->server, (struct rpc_endpoint){NULL, 6, 1, methods, b});
    ask(b, (struct ask){.method = "none"});
    assert_int_equal(b->n_none, 0);
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 0);
    rpc_server_start(b->server);
    assert_int_equal(b->n_none, 1);
    tear_down(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call_is_answered_and_acknowledged),
        cmocka_unit_test(test_cast_is_not_answered),
        cmocka_unit_test(test_answers_are_counted_by_method),
        cmocka_unit_test(test_failure_keeps_its_class),
        cmocka_unit_test(test_unknown_methods_are_refused_as_peers_do),
        cmocka_unit_test(test_versions_fit_as_at_the_peers),
        cmocka_unit_test(test_unknown_namespace_reads_as_version),
        cmocka_unit_test(test_ping_tells_the_service),
        cmocka_unit_test(test_server_ping_is_of_version_1),
        cmocka_unit_test(test_arguments_are_checked_in_pythons_words),
        cmocka_unit_test(test_argument_of_an_old_version_is_unknown_to_the_new),
        cmocka_unit_test(test_request_carries_its_log_context),
        cmocka_unit_test(test_garbage_is_rejected_without_answer),
        cmocka_unit_test(test_invalid_request_is_answered),
        cmocka_unit_test(test_duplicate_runs_once),
        cmocka_unit_test(test_requests_beyond_the_limit_wait_at_the_broker),
        cmocka_unit_test(test_call_that_waited_too_long_is_dropped),
        cmocka_unit_test(test_cast_held_too_long_goes_back),
        cmocka_unit_test(test_waiting_request_that_comes_again_runs_once),
        cmocka_unit_test(test_keepalives_come_while_it_runs_and_not_after),
        cmocka_unit_test(test_keepalives_come_while_it_waits),
        cmocka_unit_test(test_no_keepalives_unless_asked_for),
        cmocka_unit_test(test_caller_whose_queue_comes_back_is_answered_again),
        cmocka_unit_test(test_keepalives_end_when_the_caller_is_gone),
        cmocka_unit_test(test_reply_waits_for_its_queue_to_come_back),
        cmocka_unit_test(test_queue_that_stays_away_is_given_up),
        cmocka_unit_test(
            test_stop_finishes_what_runs_and_gives_back_what_waits),
        cmocka_unit_test(test_stop_ends_with_its_grace),
        cmocka_unit_test(test_nothing_is_dispatched_before_the_start),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
