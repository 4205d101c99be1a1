#include <config.h>

#include "rpc/server.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#include "agent/base/worker.h"
#include "rpc/bulk.h"
#include "rpc/envelope.h"
#include "rpc/uuid.h"
#include "tests/unit/fake_clock.h"
#include "tests/unit/memory_bus.h"

/* What large and many requests do to a server: see rpc/intake.c. */

#define BODY_MAX (8u << 20)

/* A server with workers on a bus, and a caller who keeps the last reply. */
struct bench {
    uv_loop_t loop;
    struct completion_queue *q;
    struct worker_pool *pool;
    struct memory_bus *bus;
    struct transport *transport, *caller;
    struct rpc_server *server;
    struct request *held[64];
    unsigned n_held, n_replies;
    struct reply *reply;
    char diary[256]; /* First letters of what was echoed. */
    bool stopped;
};

static void
echo(void *aux, struct request *request)
{
    struct bench *b = aux;
    const char *value = json_get_string(request_arg(request, "value"));

    strncat(b->diary, value ? value : "", 1);
    request_reply(request, json_copy(request_arg(request, "value")));
}

static void
hold(void *aux, struct request *request)
{
    struct bench *b = aux;

    b->held[b->n_held++] = request;
}

static const struct rpc_method methods[] = {
    {"echo", {{"value", true}}, echo},
    {"hold", {{"value"}}, hold},
    {NULL},
};

static void
caught(void *aux, const struct delivery *delivery)
{
    struct bench *b = aux;

    reply_free(steal(&b->reply));
    AUTO_ERROR error =
        envelope_parse_reply(delivery->body, delivery->size, &b->reply);
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
set_up(size_t max_held_bytes)
{
    struct bench *b = xzalloc(sizeof *b);

    fake_clock_install();
    uv_loop_init(&b->loop);
    b->q = completion_queue_create(&b->loop);
    b->pool = worker_pool_create(b->q, "test", 1);
    b->bus = memory_bus_create(NULL);
    b->transport = memory_bus_attach(b->bus, "compute", "hosta");
    b->caller = memory_bus_attach(b->bus, NULL, "caller");
    b->caller->client = (struct transport_events){.reply = caught, .aux = b};
    const struct rpc_server_options options = {
        .max_held = 64,
        .max_held_bytes = max_held_bytes,
        .max_body = BODY_MAX,
        .workers = b->pool,
    };
    b->server = rpc_server_create(&b->loop, b->transport, &options);
    rpc_server_add(b->server, (struct rpc_endpoint){NULL, 6, 1, methods, b});
    rpc_server_start(b->server);
    return b;
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
    worker_pool_free(b->pool);
    completion_queue_close(b->q);
    memory_bus_detach(b->bus, b->transport);
    memory_bus_detach(b->bus, b->caller);
    reply_free(b->reply);
    memory_bus_close(b->bus);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    fake_clock_remove();
    free(b);
}

/* A string of 'size' times 'c'. */
static struct json *
text_of(char c, size_t size)
{
    AUTO_FREE text = xmalloc(size);

    memset(text, c, size);
    return json_string_n(text, size);
}

static char *
body_of(const char *method, const char *unique_id, char c, size_t value_size,
        size_t *ret_size)
{
    char id[UUID_SIZE];
    AUTO_JSON args = json_object();
    const struct envelope_request request = {
        .method = method,
        .version = "6.0",
        .args = args,
        .unique_id = unique_id ? unique_id : uuid_generate_hex(id),
        .msg_id = "m",
        .reply_q = "reply_caller",
    };

    json_set(args, "value", text_of(c, value_size));
    return envelope_format_request(&request, ret_size);
}

static void
inject(struct bench *b, struct delivery delivery)
{
    memory_bus_inject(b->bus, "compute", "hosta", &delivery);
    memory_bus_deliver_all(b->bus);
}

static void
ask(struct bench *b, const char *method, char c, size_t value_size)
{
    size_t size;
    AUTO_FREE body = body_of(method, NULL, c, value_size, &size);

    inject(b, (struct delivery){.body = body, .size = size});
}

static struct rpc_server_counters
counters(const struct bench *b)
{
    return rpc_server_counters(b->server);
}

/* Until the workers have nothing more to do. */
static void
settle(struct bench *b)
{
    unsigned n_replies;

    do {
        n_replies = b->n_replies;
        while (counters(b).n_parsing) {
            uv_run(&b->loop, UV_RUN_ONCE);
        }
        memory_bus_deliver_all(b->bus);
    } while (n_replies != b->n_replies);
}

static void
wait_for_replies(struct bench *b, unsigned n)
{
    while (b->n_replies < n) {
        uv_run(&b->loop, UV_RUN_ONCE);
        memory_bus_deliver_all(b->bus);
    }
}

static void
test_small_body_is_parsed_at_once(void **state)
{
    struct bench *b = set_up(0);

    (void)state;
    ask(b, "echo", 'a', 1000);
    assert_int_equal(b->n_replies, 1);
    tear_down(b);
}

static void
test_large_body_lets_others_go_first(void **state)
{
    struct bench *b = set_up(0);

    (void)state;
    ask(b, "echo", 'a', 2 << 20);
    assert_int_equal(counters(b).n_parsing, 1);
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 0);
    ask(b, "echo", 'b', 10);
    assert_int_equal(b->n_replies, 1);
    wait_for_replies(b, 2);
    assert_string_equal(b->diary, "ba");
    assert_int_equal(strlen(json_get_string(b->reply->result)), 2 << 20);
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 2);
    assert_int_equal(counters(b).n_held_bytes, 0);
    tear_down(b);
}

static void
test_large_answer_is_the_same_as_a_small_one(void **state)
{
    struct bench *b = set_up(0);
    AUTO_JSON expected = text_of('x', BULK_BYTES);

    (void)state;
    ask(b, "echo", 'x', BULK_BYTES);
    wait_for_replies(b, 1);
    assert_true(json_equal(b->reply->result, expected));
    assert_string_equal(b->reply->msg_id, "m");
    assert_true(b->reply->ending);
    assert_int_equal(counters(b).n_replies, 1);
    assert_int_equal(counters(b).n_held, 0);
    tear_down(b);
}

static void
test_large_request_that_comes_twice_runs_once(void **state)
{
    struct bench *b = set_up(0);
    size_t size;
    AUTO_FREE body = body_of("echo", "same", 'a', 1 << 20, &size);

    (void)state;
    for (int i = 0; i < 3; i++) {
        inject(b, (struct delivery){.body = body, .size = size});
    }
    assert_int_equal(counters(b).n_parsing, 3);
    settle(b);
    wait_for_replies(b, 1);
    assert_string_equal(b->diary, "a");
    assert_int_equal(counters(b).n_duplicates, 2);
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 3);
    tear_down(b);
}

static void
test_stop_gives_back_what_is_being_parsed(void **state)
{
    struct bench *b = set_up(0);

    (void)state;
    ask(b, "echo", 'a', 4 << 20);
    ask(b, "echo", 'b', 4 << 20);
    rpc_server_stop(b->server, 1000, stopped, b);
    assert_int_equal(memory_bus_counters(b->bus).n_requeued, 2);
    assert_int_equal(counters(b).n_parsing, 0);
    assert_int_equal(counters(b).n_held_bytes, 0);
    while (!b->stopped) {
        fake_clock_advance(&b->loop, 10);
    }
    tear_down(b);
}

static void
test_close_gives_back_what_is_being_parsed(void **state)
{
    struct bench *b = set_up(0);

    (void)state;
    ask(b, "hold", 'a', 2 << 20);
    settle(b);
    ask(b, "echo", 'b', 2 << 20);
    struct memory_bus *bus = b->bus;
    assert_int_equal(memory_bus_counters(bus).n_requeued, 0);
    tear_down(b); /* Under the sanitizer: nothing is lost or used again. */
}

static void
test_answer_being_printed_when_the_grace_ends_is_dropped(void **state)
{
    struct bench *b = set_up(0);

    (void)state;
    ask(b, "hold", 'a', 10);
    request_reply(steal(&b->held[0]), text_of('x', 4 << 20));
    rpc_server_stop(b->server, 0, stopped, b);
    fake_clock_advance(&b->loop, 10);
    memory_bus_deliver_all(b->bus);
    assert_true(b->stopped);
    assert_int_equal(b->n_replies, 1); /* One, whichever came first. */
    tear_down(b);
}

static void
test_garbage_is_rejected_wherever_it_is_parsed(void **state)
{
    struct bench *b = set_up(0);
    size_t size = 1 << 20;
    AUTO_FREE open = xmalloc(size);

    (void)state;
    memset(open, '[', size);
    inject(b, (struct delivery){.body = open, .size = size});
    settle(b);
    inject(b, (struct delivery){.body = open, .size = 1000});
    inject(b, (struct delivery){
                  .body = "{}", .size = 2, .content_type = "text/plain"});
    AUTO_FREE large = xzalloc(BODY_MAX + 1);
    inject(b, (struct delivery){.body = large, .size = BODY_MAX + 1});
    settle(b);
    assert_int_equal(memory_bus_counters(b->bus).n_rejected, 4);
    assert_int_equal(counters(b).n_rejected, 4);
    assert_int_equal(counters(b).n_rejected_for[REFUSAL_BODY], 2);
    assert_int_equal(counters(b).n_rejected_for[REFUSAL_TYPE], 1);
    assert_int_equal(counters(b).n_rejected_for[REFUSAL_SIZE], 1);
    assert_int_equal(counters(b).n_held_bytes, 0);
    tear_down(b);
}

static char *
deflated(const char *text, size_t size, size_t *ret_size)
{
    unsigned long n = compressBound(size);
    AUTO_FREE out = xmalloc(n);

    assert_int_equal(compress2((unsigned char *)out, &n,
                               (const unsigned char *)text, size, 9),
                     Z_OK);
    *ret_size = n;
    return steal(&out);
}

static void
test_small_body_may_be_large_inside(void **state)
{
    struct bench *b = set_up(0);
    size_t size, packed_size;
    AUTO_FREE body = body_of("echo", NULL, 'a', 4 << 20, &size);
    AUTO_FREE packed = deflated(body, size, &packed_size);
    AUTO_FREE bomb_text = xzalloc(BODY_MAX + 1);
    size_t bomb_size;
    AUTO_FREE bomb = deflated(bomb_text, BODY_MAX + 1, &bomb_size);

    (void)state;
    assert_true(packed_size < BULK_BYTES && bomb_size < BULK_BYTES);
    inject(b, (struct delivery){.body = packed,
                                .size = packed_size,
                                .compression = "application/x-gzip"});
    assert_int_equal(counters(b).n_parsing, 1);
    wait_for_replies(b, 1);
    inject(b, (struct delivery){.body = bomb,
                                .size = bomb_size,
                                .compression = "application/x-gzip"});
    settle(b);
    bomb[bomb_size / 2] ^= 0x55;
    inject(b, (struct delivery){.body = packed,
                                .size = packed_size / 2,
                                .compression = "application/x-gzip"});
    settle(b);
    assert_int_equal(counters(b).n_rejected_for[REFUSAL_SIZE], 1);
    assert_int_equal(counters(b).n_rejected_for[REFUSAL_COMPRESSION], 1);
    tear_down(b);
}

static void
test_what_does_not_fit_comes_again_when_it_does(void **state)
{
    struct bench *b = set_up(1 << 20);
    size_t size;
    AUTO_FREE body = body_of("hold", "u", 'c', 200 << 10, &size);

    (void)state;
    for (int i = 0; i < 4; i++) {
        ask(b, "hold", 'a', 200 << 10); /* Counts four times, then once. */
    }
    assert_int_equal(b->n_held, 2);
    assert_int_equal(counters(b).n_put_off, 2);
    assert_int_equal(memory_bus_counters(b->bus).n_requeued, 0);
    ask(b, "echo", 'b', 10); /* Behind them, although it would fit. */
    assert_int_equal(counters(b).n_put_off, 3);

    request_reply(steal(&b->held[0]), NULL);
    assert_int_equal(memory_bus_counters(b->bus).n_requeued, 1);
    inject(b,
           (struct delivery){.body = body, .size = size, .redelivered = true});
    assert_int_equal(b->n_held, 3);
    request_reply(steal(&b->held[1]), NULL);
    request_reply(steal(&b->held[2]), NULL);
    assert_int_equal(memory_bus_counters(b->bus).n_requeued, 3);
    assert_int_equal(counters(b).n_held_bytes, 0);
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 3);
    tear_down(b);
}

static void
test_one_alone_fits_however_large(void **state)
{
    struct bench *b = set_up(1000);

    (void)state;
    ask(b, "echo", 'a', 1 << 20);
    ask(b, "echo", 'b', 10);
    assert_int_equal(counters(b).n_put_off, 1);
    wait_for_replies(b, 1);
    assert_int_equal(memory_bus_counters(b->bus).n_requeued, 1);
    tear_down(b);
}

static void
test_call_put_off_beyond_its_time_is_dropped(void **state)
{
    struct bench *b = set_up(1000);
    size_t size;
    AUTO_FREE body = body_of("echo", NULL, 'a', 10, &size);

    (void)state;
    ask(b, "hold", 'a', 10000);
    inject(b, (struct delivery){
                  .body = body, .size = size, .expiration_ms = 3000});
    inject(b, (struct delivery){.body = body, .size = size});
    assert_int_equal(counters(b).n_put_off, 2);
    rpc_server_stop(b->server, 0, stopped, b);
    assert_int_equal(memory_bus_counters(b->bus).n_requeued, 2);
    tear_down(b);

    b = set_up(1000);
    ask(b, "hold", 'a', 10000);
    inject(b, (struct delivery){
                  .body = body, .size = size, .expiration_ms = 3000});
    fake_clock_advance(&b->loop, 4000);
    assert_int_equal(counters(b).n_stale, 1);
    assert_int_equal(memory_bus_counters(b->bus).n_acked, 2);
    assert_int_equal(memory_bus_counters(b->bus).n_requeued, 0);
    tear_down(b);
}

/* A sanitizer's allocator has no such numbers: then 0. */
static size_t
allocated(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* Of each the tree, as malloc sees it, is no more than what is counted. */
static void
test_trees_are_counted_as_what_they_take(void **state)
{
    static const struct {
        const char *open, *each, *close;
        int n;
    } cases[] = {
        {"[1", ",1", "]", 500000},
        {"[\"\"", ",\"\"", "]", 500000},
        {"[{}", ",{}", "]", 500000},
        {"[{\"a\":1}", ",{\"a\":1}", "]", 200000},
        {"[\"x\"", ",\"a string of a name's length\"", "]", 200000},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        char *text = NULL;
        size_t size, counted = 0;
        FILE *out = open_memstream(&text, &size);

        fputs(cases[i].open, out);
        for (int k = 0; k < cases[i].n; k++) {
            fputs(cases[i].each, out);
        }
        fputs(cases[i].close, out);
        fclose(out);

        AUTO_JSON json = NULL;
        size_t before = allocated();
        AUTO_ERROR error = json_parse_sized(text, size, &json, &counted);
        size_t taken = allocated() - before;
        assert_null(error);
        print_message("%-30s %9zu bytes of text, %10zu taken, %10zu counted\n",
                      cases[i].each, size, taken, counted);
        assert_true(json_weight(json, SIZE_MAX) <= counted);
        assert_true(counted >= taken - taken / 4);
        free(text);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_body_is_parsed_at_once),
        cmocka_unit_test(test_large_body_lets_others_go_first),
        cmocka_unit_test(test_large_answer_is_the_same_as_a_small_one),
        cmocka_unit_test(test_large_request_that_comes_twice_runs_once),
        cmocka_unit_test(test_stop_gives_back_what_is_being_parsed),
        cmocka_unit_test(test_close_gives_back_what_is_being_parsed),
        cmocka_unit_test(
            test_answer_being_printed_when_the_grace_ends_is_dropped),
        cmocka_unit_test(test_garbage_is_rejected_wherever_it_is_parsed),
        cmocka_unit_test(test_small_body_may_be_large_inside),
        cmocka_unit_test(test_what_does_not_fit_comes_again_when_it_does),
        cmocka_unit_test(test_one_alone_fits_however_large),
        cmocka_unit_test(test_call_put_off_beyond_its_time_is_dropped),
        cmocka_unit_test(test_trees_are_counted_as_what_they_take),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
