#include <config.h>

#include "rpc/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/worker.h"
#include "rpc/envelope.h"
#include "rpc/failure.h"
#include "rpc/server.h"
#include "tests/unit/fake_clock.h"
#include "tests/unit/memory_bus.h"

/* A client on a bus, and a callee who keeps requests until he is told what to
 * answer. */
struct bench {
    uv_loop_t loop;
    struct completion_queue *q; /* Null, as the next, but with_workers(). */
    struct worker_pool *pool;
    struct memory_bus *bus;
    struct transport *transport, *callee;
    struct rpc_client *client;
    struct envelope *requests[64];
    unsigned expirations[64];
    unsigned n_requests;
    unsigned n_done, n_each, n_each_failed, n_end;
    char *result; /* JSON text; null: the call failed. */
    struct error *error;
};

static const struct rpc_target target = {
    .exchange = "nova",
    .topic = "compute",
    .server = "hosta",
    .version = "6.0",
};

static void
requested(void *aux, const struct delivery *delivery)
{
    struct bench *b = aux;
    AUTO_ERROR error = envelope_parse(delivery->body, delivery->size,
                                      &b->requests[b->n_requests]);

    assert_null(error);
    b->expirations[b->n_requests++] = delivery->expiration_ms;
    b->callee->ops->settle(b->callee->state, delivery->tag, TRANSPORT_ACK);
}

static void
call_done(void *aux, struct json **result, struct error *error)
{
    struct bench *b = aux;

    b->n_done++;
    free(b->result);
    error_free(b->error);
    b->result = error     ? NULL
                : *result ? json_print(*result, NULL)
                          : xstrdup("null");
    b->error = error;
}

static void
cast_done(void *aux, struct error *error)
{
    call_done(aux, &(struct json *){NULL}, error);
}

static void
each(void *aux, const struct json *result, const struct error *error)
{
    struct bench *b = aux;

    b->n_each++;
    b->n_each_failed += error != NULL;
    assert_true(error || json_is_string(result));
}

static void
end(void *aux)
{
    struct bench *b = aux;

    b->n_end++;
}

static struct bench *
set_up(void)
{
    struct bench *b = xzalloc(sizeof *b);

    fake_clock_install();
    uv_loop_init(&b->loop);
    b->bus = memory_bus_create(NULL);
    b->transport = memory_bus_attach(b->bus, NULL, "client");
    b->callee = memory_bus_attach(b->bus, "compute", "hosta");
    b->callee->server =
        (struct transport_events){.request = requested, .aux = b};
    b->client = rpc_client_create(&b->loop, b->transport);
    return b;
}

static void
tear_down(struct bench *b)
{
    if (b->client) {
        rpc_client_close(b->client);
    }
    if (b->pool) {
        worker_pool_free(b->pool);
        completion_queue_close(b->q);
    }
    memory_bus_detach(b->bus, b->transport);
    memory_bus_detach(b->bus, b->callee);
    memory_bus_close(b->bus);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    fake_clock_remove();
    for (unsigned i = 0; i < b->n_requests; i++) {
        envelope_free(b->requests[i]);
    }
    free(b->result);
    error_free(b->error);
    free(b);
}

static void
call(struct bench *b, unsigned timeout_ms, unsigned monitor_s)
{
    const struct rpc_options options = {timeout_ms, monitor_s};
    AUTO_JSON args = json_object();

    json_set_int(args, "n", 7);
    rpc_call(b->client, &target, &options, NULL, "work", args, call_done, b);
    memory_bus_deliver_all(b->bus);
}

static void
answer_as(struct bench *b, const struct json *msg_id, const char *result,
          const struct error *error, bool ending)
{
    AUTO_JSON json = NULL;
    AUTO_FREE failure = error ? failure_format(error) : NULL;
    size_t size;

    if (result) {
        AUTO_ERROR bad = json_parse(result, strlen(result), &json);
        assert_null(bad);
    }
    char *body = envelope_format_reply(msg_id, json, failure, ending, &size);
    struct message *message =
        message_create(MESSAGE_REPLY, "", "reply_client", body, size);
    b->callee->ops->publish(b->callee->state, message);
    memory_bus_deliver_all(b->bus);
}

static void
answer(struct bench *b, unsigned i, const char *result,
       const struct error *error, bool ending)
{
    answer_as(b, b->requests[i]->msg_id, result, error, ending);
}

static void
advance(struct bench *b, uint64_t ms)
{
    fake_clock_advance(&b->loop, ms);
    memory_bus_deliver_all(b->bus);
}

static void
test_call_gets_its_result(void **state)
{
    struct bench *b = set_up();

    (void)state;
    call(b, 5000, 0);
    assert_int_equal(b->n_requests, 1);
    assert_string_equal(b->requests[0]->method, "work");
    assert_string_equal(b->requests[0]->reply_q, "reply_client");
    assert_int_equal(json_int_of(b->requests[0]->args, "n"), 7);
    assert_int_equal(b->requests[0]->keepalive_ms, 0);
    assert_int_equal(b->expirations[0], 5000);
    answer(b, 0, "[1,2]", NULL, true);
    assert_int_equal(b->n_done, 1);
    assert_string_equal(b->result, "[1,2]");
    tear_down(b);
}

static void
test_replies_find_their_calls(void **state)
{
    struct bench *b = set_up();

    (void)state;
    call(b, 5000, 0);
    call(b, 5000, 0);
    answer(b, 1, "\"second\"", NULL, true);
    assert_string_equal(b->result, "\"second\"");
    answer(b, 0, "\"first\"", NULL, true);
    assert_string_equal(b->result, "\"first\"");
    assert_int_equal(b->n_done, 2);
    tear_down(b);
}

static void
test_failure_of_the_peer_keeps_its_class(void **state)
{
    struct bench *b = set_up();
    AUTO_ERROR error = error_set_arg(error_new(ERR_INSTANCE_NOT_FOUND, "x"),
                                     "instance_id", "17");

    (void)state;
    call(b, 5000, 0);
    answer(b, 0, NULL, error, true);
    assert_int_equal(error_code(b->error), ERR_INSTANCE_NOT_FOUND);
    tear_down(b);
}

static void
test_call_times_out_and_drops_what_comes_late(void **state)
{
    struct bench *b = set_up();

    (void)state;
    call(b, 5000, 0);
    advance(b, 4999);
    assert_int_equal(b->n_done, 0);
    advance(b, 1);
    assert_int_equal(b->n_done, 1);
    assert_int_equal(error_code(b->error), ERR_TIMEOUT);
    assert_string_equal(error_message(b->error),
                        "no reply to 'work' from 'compute.hosta' in 5 s");
    answer(b, 0, "1", NULL, true);
    assert_int_equal(b->n_done, 1);
    tear_down(b);
}

static void
test_keepalives_do_not_extend_the_timeout(void **state)
{
    struct bench *b = set_up();

    (void)state;
    call(b, 3000, 2);
    assert_int_equal(b->requests[0]->keepalive_ms, 1000);
    advance(b, 1000);
    answer(b, 0, NULL, NULL, false);
    advance(b, 1000);
    answer(b, 0, NULL, NULL, false);
    assert_int_equal(b->n_done, 0);
    advance(b, 1000);
    assert_int_equal(error_code(b->error), ERR_TIMEOUT);
    tear_down(b);
}

static void
test_silence_fails_a_monitored_call(void **state)
{
    struct bench *b = set_up();

    (void)state;
    call(b, 60000, 2);
    advance(b, 1500);
    answer(b, 0, NULL, NULL, false);
    advance(b, 1999);
    assert_int_equal(b->n_done, 0);
    advance(b, 1);
    assert_int_equal(error_code(b->error), ERR_TIMEOUT);
    assert_non_null(strstr(error_message(b->error), "no sign of life"));
    tear_down(b);
}

static void
test_keepalive_nobody_asked_for_is_harmless(void **state)
{
    struct bench *b = set_up();

    (void)state;
    call(b, 5000, 0);
    answer(b, 0, NULL, NULL, false);
    assert_int_equal(b->n_done, 0);
    answer(b, 0, "3", NULL, true);
    assert_string_equal(b->result, "3");
    tear_down(b);
}

static void
test_result_of_an_old_peer_comes_before_its_end(void **state)
{
    struct bench *b = set_up();

    (void)state;
    call(b, 5000, 0);
    answer(b, 0, "42", NULL, false);
    answer(b, 0, NULL, NULL, true);
    assert_string_equal(b->result, "42");
    tear_down(b);
}

static void
test_strange_replies_hurt_nobody(void **state)
{
    struct bench *b = set_up();
    AUTO_JSON unknown = json_string("unknown");
    AUTO_JSON number = json_int(3);

    (void)state;
    call(b, 5000, 0);
    answer_as(b, unknown, "1", NULL, true);
    answer_as(b, number, "1", NULL, true);
    struct message *garbage = message_create(MESSAGE_REPLY, "", "reply_client",
                                             xstrdup("garbage"), 7);
    b->callee->ops->publish(b->callee->state, garbage);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->n_done, 0);
    answer(b, 0, "1", NULL, true);
    assert_int_equal(b->n_done, 1);
    tear_down(b);
}

static void
hear(struct bench *b, bool hears)
{
    b->transport->is_deaf = !hears;
    b->transport->client.state(b->transport->client.aux, hears);
    memory_bus_deliver_all(b->bus);
}

static void
test_calls_wait_until_answers_can_be_heard(void **state)
{
    struct bench *b = set_up();

    (void)state;
    hear(b, false);
    call(b, 1000, 0);
    call(b, 5000, 0);
    call(b, 6000, 0);
    rpc_cast(b->client, &target, NULL, "work", NULL, 1000, cast_done, b);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->n_requests, 1); /* No answer to a cast. */
    advance(b, 1000);
    assert_int_equal(error_code(b->error), ERR_TIMEOUT);
    hear(b, true);
    assert_int_equal(b->n_requests, 3);
    assert_int_equal(b->expirations[1], 4000);
    assert_int_equal(b->expirations[2], 5000);
    answer(b, 2, "3", NULL, true);
    assert_string_equal(b->result, "3");
    tear_down(b);
}

static void
test_calls_that_wait_are_bounded(void **state)
{
    struct bench *b = set_up();
    const struct rpc_options options = {60000, 0};
    AUTO_FREE large = xzalloc((8u << 20) + 1);
    AUTO_JSON args = json_object();

    (void)state;
    memset(large, 'x', 8u << 20);
    json_set_string(args, "text", large);
    hear(b, false);
    for (int i = 0; i < 2; i++) {
        rpc_call(b->client, &target, &options, NULL, "work", args, call_done,
                 b);
    }
    assert_int_equal(b->n_done, 0);
    advance(b, 1);
    assert_int_equal(b->n_done, 1);
    assert_int_equal(error_code(b->error), ERR_UNDELIVERABLE);
    hear(b, true);
    assert_int_equal(b->n_requests, 1);
    tear_down(b);
}

static void
test_missing_server_is_retried_then_given_up(void **state)
{
    struct bench *b = set_up();
    struct rpc_target nowhere = target;
    const struct rpc_options options = {60000, 0};

    (void)state;
    nowhere.server = "hostx";
    rpc_call(b->client, &nowhere, &options, NULL, "work", NULL, call_done, b);
    memory_bus_deliver_all(b->bus);
    for (int i = 0; i < 15; i++) {
        advance(b, 250);
    }
    assert_int_equal(b->n_done, 0);
    for (int i = 0; i < 10; i++) {
        advance(b, 250);
    }
    assert_int_equal(error_code(b->error), ERR_UNDELIVERABLE);
    assert_string_equal(error_message(b->error),
                        "nobody serves 'compute.hostx'");
    assert_in_range(memory_bus_counters(b->bus).n_published, 15, 21);
    tear_down(b);
}

static void
test_server_that_starts_meanwhile_is_reached(void **state)
{
    struct bench *b = set_up();
    struct rpc_target later = target;
    const struct rpc_options options = {60000, 0};

    (void)state;
    later.server = "hostb";
    rpc_call(b->client, &later, &options, NULL, "work", NULL, call_done, b);
    memory_bus_deliver_all(b->bus);
    advance(b, 250);
    struct transport *hostb = memory_bus_attach(b->bus, "compute", "hostb");
    hostb->server = (struct transport_events){.request = requested, .aux = b};
    advance(b, 250);
    /* The request came to the new host; it does not matter who answers. */
    assert_int_equal(b->n_requests, 1);
    answer(b, 0, "1", NULL, true);
    assert_string_equal(b->result, "1");
    memory_bus_detach(b->bus, hostb);
    tear_down(b);
}

static enum memory_fate
lose(void *aux, const struct memory_mail *mail)
{
    (void)aux;
    (void)mail;
    return MEMORY_LOSE;
}

static void
test_unconfirmed_call_waits_for_its_answer(void **state)
{
    struct bench *b = set_up();

    (void)state;
    memory_bus_set_filter(b->bus, lose, NULL);
    call(b, 5000, 0);
    assert_int_equal(b->n_done, 0);
    advance(b, 5000);
    assert_int_equal(error_code(b->error), ERR_TIMEOUT);
    tear_down(b);
}

static void
test_cast_is_told_of_its_confirm(void **state)
{
    struct bench *b = set_up();

    (void)state;
    rpc_cast(b->client, &target, NULL, "work", NULL, 1000, cast_done, b);
    assert_int_equal(b->n_done, 0);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->n_done, 1);
    assert_null(b->error);
    assert_null(b->requests[0]->msg_id);
    assert_int_equal(b->expirations[0], 0);

    rpc_cast(b->client, &target, NULL, "work", NULL, 1000, NULL, NULL);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->n_requests, 2);
    tear_down(b);
}

static void
test_cast_the_broker_does_not_take_times_out(void **state)
{
    struct bench *b = set_up();

    (void)state;
    rpc_cast(b->client, &target, NULL, "work", NULL, 1000, cast_done, b);
    fake_clock_advance(&b->loop, 1000);
    assert_int_equal(error_code(b->error), ERR_TIMEOUT);
    tear_down(b);
}

static void
test_gather_ends_with_the_last_answer(void **state)
{
    struct bench *b = set_up();
    struct transport *hostb = memory_bus_attach(b->bus, "compute", "hostb");
    AUTO_ERROR error = error_new(ERR_UNSUPPORTED_VERSION, "too old");

    (void)state;
    hostb->server = (struct transport_events){.request = requested, .aux = b};
    rpc_gather(b->client, &target, 5000, NULL, "who", NULL, each, end, b);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->n_requests, 2);
    answer(b, 0, "\"hosta\"", NULL, true);
    assert_int_equal(b->n_end, 0);
    answer(b, 1, NULL, error, true);
    assert_int_equal(b->n_each, 2);
    assert_int_equal(b->n_each_failed, 1);
    assert_int_equal(b->n_end, 1);
    memory_bus_detach(b->bus, hostb);
    tear_down(b);
}

static void
test_gather_ends_with_its_time(void **state)
{
    struct bench *b = set_up();

    (void)state;
    rpc_gather(b->client, &target, 5000, NULL, "who", NULL, each, end, b);
    memory_bus_deliver_all(b->bus);
    advance(b, 5000);
    assert_int_equal(b->n_each, 0);
    assert_int_equal(b->n_end, 1);
    answer(b, 0, "\"late\"", NULL, true);
    assert_int_equal(b->n_each, 0);
    tear_down(b);
}

static void
test_gather_without_servers_ends_at_once(void **state)
{
    struct bench *b = set_up();
    struct rpc_target nobody = target;

    (void)state;
    nobody.topic = "nobody";
    rpc_gather(b->client, &nobody, 5000, NULL, "who", NULL, each, end, b);
    memory_bus_deliver_all(b->bus);
    assert_int_equal(b->n_end, 1);
    tear_down(b);
}

static void
test_close_ends_all_calls(void **state)
{
    struct bench *b = set_up();

    (void)state;
    call(b, 5000, 0);
    const struct rpc_options options = {5000, 0};
    rpc_call(b->client, &target, &options, NULL, "unsent", NULL, call_done, b);
    rpc_gather(b->client, &target, 5000, NULL, "who", NULL, each, end, b);
    rpc_client_close(steal(&b->client));
    assert_int_equal(b->n_done, 2);
    assert_int_equal(b->n_end, 1);
    assert_int_equal(error_code(b->error), ERR_CANCELLED);
    tear_down(b);
}

static struct bench *
set_up_with_workers(void)
{
    struct bench *b = set_up();

    b->q = completion_queue_create(&b->loop);
    b->pool = worker_pool_create(b->q, "test", 1);
    rpc_client_set_workers(b->client, b->pool);
    return b;
}

/* JSON text of a string of 'size' bytes. */
static char *
large_text(size_t size)
{
    AUTO_FREE text = xzalloc(size + 1);

    memset(text, 'x', size);
    return xasprintf("\"%s\"", text);
}

static void
wait_for_end(struct bench *b)
{
    while (!b->n_done) {
        uv_run(&b->loop, UV_RUN_ONCE);
        memory_bus_deliver_all(b->bus);
    }
}

static void
test_large_reply_lets_others_go_first(void **state)
{
    struct bench *b = set_up_with_workers();
    AUTO_FREE text = large_text(2 << 20);

    (void)state;
    call(b, 10000, 0);
    call(b, 10000, 0);
    answer(b, 0, text, NULL, true);
    assert_int_equal(b->n_done, 0);
    answer(b, 1, "1", NULL, true);
    assert_int_equal(b->n_done, 1);
    assert_string_equal(b->result, "1");
    b->n_done = 0;
    wait_for_end(b);
    assert_string_equal(b->result, text);
    tear_down(b);
}

static void
test_large_result_of_an_old_peer_is_not_overtaken_by_the_end(void **state)
{
    struct bench *b = set_up_with_workers();
    AUTO_FREE text = large_text(2 << 20);

    (void)state;
    call(b, 10000, 0);
    answer(b, 0, text, NULL, false);
    answer(b, 0, NULL, NULL, true);
    assert_int_equal(b->n_done, 0);
    wait_for_end(b);
    assert_string_equal(b->result, text);
    assert_int_equal(rpc_client_counters(b->client).n_unknown, 0);
    tear_down(b);
}

static void
test_close_forgets_replies_that_are_being_parsed(void **state)
{
    struct bench *b = set_up_with_workers();
    AUTO_FREE text = large_text(2 << 20);

    (void)state;
    call(b, 10000, 0);
    answer(b, 0, text, NULL, false);
    answer(b, 0, NULL, NULL, true);
    rpc_client_close(steal(&b->client));
    assert_int_equal(b->n_done, 1);
    assert_int_equal(error_code(b->error), ERR_CANCELLED);
    tear_down(b);
}

static void
test_context_of_our_own_is_an_admins(void **state)
{
    AUTO_JSON context = rpc_context_create();

    (void)state;
    assert_true(json_bool_of(context, "is_admin"));
    assert_int_equal(strncmp(json_string_of(context, "request_id"), "req-", 4),
                     0);
    assert_true(json_is_null(json_get(context, "auth_token")));
    assert_int_equal(strlen(json_string_of(context, "timestamp")), 26);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call_gets_its_result),
        cmocka_unit_test(test_replies_find_their_calls),
        cmocka_unit_test(test_failure_of_the_peer_keeps_its_class),
        cmocka_unit_test(test_call_times_out_and_drops_what_comes_late),
        cmocka_unit_test(test_keepalives_do_not_extend_the_timeout),
        cmocka_unit_test(test_silence_fails_a_monitored_call),
        cmocka_unit_test(test_keepalive_nobody_asked_for_is_harmless),
        cmocka_unit_test(test_result_of_an_old_peer_comes_before_its_end),
        cmocka_unit_test(test_strange_replies_hurt_nobody),
        cmocka_unit_test(test_calls_wait_until_answers_can_be_heard),
        cmocka_unit_test(test_calls_that_wait_are_bounded),
        cmocka_unit_test(test_missing_server_is_retried_then_given_up),
        cmocka_unit_test(test_server_that_starts_meanwhile_is_reached),
        cmocka_unit_test(test_unconfirmed_call_waits_for_its_answer),
        cmocka_unit_test(test_cast_is_told_of_its_confirm),
        cmocka_unit_test(test_cast_the_broker_does_not_take_times_out),
        cmocka_unit_test(test_gather_ends_with_the_last_answer),
        cmocka_unit_test(test_gather_ends_with_its_time),
        cmocka_unit_test(test_gather_without_servers_ends_at_once),
        cmocka_unit_test(test_close_ends_all_calls),
        cmocka_unit_test(test_large_reply_lets_others_go_first),
        cmocka_unit_test(
            test_large_result_of_an_old_peer_is_not_overtaken_by_the_end),
        cmocka_unit_test(test_close_forgets_replies_that_are_being_parsed),
        cmocka_unit_test(test_context_of_our_own_is_an_admins),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
