#include <config.h>

#include "agent/self_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "rpc/server.h"
#include "rpc/server_base.h"
#include "tests/unit/fake_clock.h"
#include "tests/unit/memory_bus.h"

#define INTERVAL_MS 10000

/* An agent on a bus that the test may make lose things, and what the link
 * would be told. */
struct bench {
    uv_loop_t loop;
    struct memory_bus *bus;
    struct transport *transport;
    struct rpc_server *server;
    struct rpc_client *client;
    struct self_test *test;
    struct self_test_bus state;
    bool loses; /* Whatever is sent is lost. */
    unsigned n_redeclared, n_reconnected;
    bool mends; /* A repair helps. */
};

static enum memory_fate
filter(void *aux, const struct memory_mail *mail)
{
    const struct bench *b = aux;

    (void)mail;
    return b->loses ? MEMORY_DROP : MEMORY_DELIVER;
}

static void
look(void *aux, struct self_test_bus *ret)
{
    const struct bench *b = aux;

    *ret = b->state;
}

static void
repair(void *aux, enum link_repair how)
{
    struct bench *b = aux;

    b->n_redeclared += how == LINK_REDECLARE;
    b->n_reconnected += how == LINK_RECONNECT;
    b->state.n_connects += 2 * (how == LINK_RECONNECT);
    b->loses = b->loses && !b->mends;
}

static void
start(struct bench *b, unsigned interval_s)
{
    const struct self_test_options options = {
        .loop = &b->loop,
        .client = b->client,
        .exchange = "nova",
        .topic = "compute",
        .host = "hosta",
        .interval_s = interval_s,
        .look = look,
        .repair = repair,
        .aux = b,
    };

    b->test = self_test_start(&options);
}

static struct bench *
set_up(void)
{
    static const struct rpc_server_options options = {.max_held = 10,
                                                      .max_body = 1u << 20};
    struct bench *b = xzalloc(sizeof *b);

    fake_clock_install();
    uv_loop_init(&b->loop);
    b->bus = memory_bus_create(NULL);
    memory_bus_set_filter(b->bus, filter, b);
    b->transport = memory_bus_attach(b->bus, "compute", "hosta");
    b->client = rpc_client_create(&b->loop, b->transport);
    b->server = rpc_server_create(&b->loop, b->transport, &options);
    server_base_add(b->server, "compute");
    rpc_server_start(b->server);
    b->state = (struct self_test_bus){.is_up = true, .n_connects = 2};
    start(b, INTERVAL_MS / 1000);
    return b;
}

static void
tear_down(struct bench *b)
{
    self_test_stop(b->test);
    rpc_server_close(b->server);
    rpc_client_close(b->client);
    memory_bus_detach(b->bus, b->transport);
    memory_bus_close(b->bus);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    fake_clock_remove();
    free(b);
}

/* Time passes, second by second, and what is sent arrives. */
static void
pass(struct bench *b, uint64_t ms)
{
    for (uint64_t i = 0; i <= ms; i += 1000) {
        fake_clock_advance(&b->loop, i ? 1000 : 0);
        memory_bus_deliver_all(b->bus);
    }
}

static unsigned
n_sent(const struct bench *b)
{
    return memory_bus_counters(b->bus).n_published;
}

static void
assert_state(const struct bench *b, enum self_test_state state)
{
    assert_string_equal(self_test_state_name(self_test_status(b->test).state),
                        self_test_state_name(state));
}

static void
test_ping_goes_round_at_each_interval(void **state)
{
    struct bench *b = set_up();

    (void)state;
    assert_state(b, SELF_TEST_WAITING);
    assert_int_equal(self_test_status(b->test).ok_ms_ago, -1);
    pass(b, 0);
    assert_state(b, SELF_TEST_OK);
    assert_int_equal(n_sent(b), 2); /* A request and its reply. */
    pass(b, 9000);
    assert_int_equal(n_sent(b), 2);
    assert_int_equal(self_test_status(b->test).ok_ms_ago, 9000);
    pass(b, 1000);
    assert_int_equal(n_sent(b), 4);
    pass(b, 50000);
    assert_int_equal(n_sent(b), 14);
    assert_int_equal(self_test_status(b->test).n_ok, 7);
    assert_null(self_test_status(b->test).reason);
    assert_int_equal(b->n_redeclared + b->n_reconnected, 0);
    tear_down(b);
}

static void
test_unanswered_ping_has_everything_declared_again(void **state)
{
    struct bench *b = set_up();

    (void)state;
    pass(b, 0);
    b->loses = b->mends = true;
    pass(b, INTERVAL_MS + 9000);
    assert_state(b, SELF_TEST_OK); /* Not answered, but there is time yet. */
    assert_int_equal(b->n_redeclared, 0);
    pass(b, 1000);
    /* The next goes at once, and is answered. */
    assert_int_equal(b->n_redeclared, 1);
    assert_int_equal(b->n_reconnected, 0);
    pass(b, 0);
    assert_state(b, SELF_TEST_OK);
    assert_int_equal(self_test_status(b->test).n_failed, 1);
    assert_int_equal(self_test_status(b->test).n_repaired, 1);
    assert_int_equal(self_test_status(b->test).failed_ms, 0);
    tear_down(b);
}

static void
test_second_failure_in_a_row_makes_new_connections(void **state)
{
    struct bench *b = set_up();

    (void)state;
    b->loses = true;
    pass(b, 10000);
    assert_int_equal(b->n_redeclared, 1);
    assert_state(b, SELF_TEST_FAILED);
    assert_string_equal(self_test_status(b->test).reason,
                        "no reply to 'ping' from 'compute.hosta' in 10 s");
    pass(b, 10000);
    assert_int_equal(b->n_redeclared, 1);
    assert_int_equal(b->n_reconnected, 1);
    pass(b, 12000);
    assert_int_equal(b->n_redeclared, 2);
    b->mends = true;
    pass(b, 12000);
    assert_int_equal(b->n_reconnected, 2);
    assert_state(b, SELF_TEST_OK);
    tear_down(b);
}

static void
test_ping_that_nobody_takes_is_a_failure(void **state)
{
    struct bench *b = set_up();

    (void)state;
    pass(b, 0);
    memory_bus_detach(b->bus, b->transport);
    b->transport = memory_bus_attach(b->bus, NULL, "hosta");
    pass(b, INTERVAL_MS);
    assert_state(b, SELF_TEST_FAILED);
    assert_int_equal(b->n_redeclared, 1);
    assert_int_equal(b->n_reconnected, 0);
    pass(b, 0); /* It failed at once, twice; after that there is no hurry. */
    assert_int_equal(b->n_redeclared, 1);
    assert_int_equal(b->n_reconnected, 1);
    pass(b, 9000);
    assert_int_equal(b->n_redeclared, 1);
    pass(b, 1000);
    assert_int_equal(b->n_redeclared, 2);
    assert_int_equal(self_test_status(b->test).failed_ms, 0);
    tear_down(b);
}

static void
test_busy_agent_is_not_deaf(void **state)
{
    struct bench *b = set_up();

    (void)state;
    pass(b, 0);
    b->loses = true;
    pass(b, INTERVAL_MS);
    b->state.n_heard++;
    pass(b, 10000);
    assert_state(b, SELF_TEST_BUSY);
    assert_int_equal(b->n_redeclared, 0);
    assert_int_equal(self_test_status(b->test).n_failed, 0);
    for (int i = 0; i < 2; i++) {
        pass(b, 1000); /* The next is on its way. */
        b->state.n_heard++;
        pass(b, 10000);
    }
    /* Declaring again does no harm; connecting again would. */
    assert_int_equal(b->n_redeclared, 1);
    assert_int_equal(b->n_reconnected, 0);
    tear_down(b);
}

static void
test_blocked_broker_is_not_a_failure(void **state)
{
    struct bench *b = set_up();

    (void)state;
    pass(b, 0);
    b->loses = true;
    pass(b, INTERVAL_MS);
    b->state.is_blocked = true; /* The ping was what made it say so. */
    pass(b, 10000);
    assert_state(b, SELF_TEST_BLOCKED);
    unsigned sent = n_sent(b);
    pass(b, 60000);
    assert_state(b, SELF_TEST_BLOCKED);
    assert_int_equal(n_sent(b), sent); /* What for? */
    assert_int_equal(b->n_redeclared + b->n_reconnected, 0);
    b->loses = b->state.is_blocked = false;
    pass(b, 1000);
    assert_state(b, SELF_TEST_OK);
    assert_int_equal(self_test_status(b->test).n_failed, 0);
    tear_down(b);
}

static void
test_lost_connection_is_the_links_affair(void **state)
{
    struct bench *b = set_up();

    (void)state;
    pass(b, 0);
    b->loses = true;
    pass(b, INTERVAL_MS);
    b->state.is_up = false;
    pass(b, 3600000);
    assert_state(b, SELF_TEST_WAITING);
    assert_false(self_test_is_hopeless(b->test));
    b->state = (struct self_test_bus){.is_up = true, .n_connects = 4};
    b->loses = false;
    pass(b, 1000);
    assert_state(b, SELF_TEST_OK);

    /* Lost and back within the time of one ping. */
    b->loses = true;
    pass(b, INTERVAL_MS);
    b->state.n_connects++;
    pass(b, 9000);
    b->loses = false;
    pass(b, 1000);
    assert_state(b, SELF_TEST_OK);
    assert_int_equal(b->n_redeclared + b->n_reconnected, 0);
    tear_down(b);
}

static void
test_only_lasting_deafness_of_a_bus_that_is_up_is_hopeless(void **state)
{
    struct bench *b = set_up();

    (void)state;
    b->loses = true;
    pass(b, 100000);
    assert_state(b, SELF_TEST_FAILED);
    assert_false(self_test_is_hopeless(b->test));
    pass(b, 50000);
    assert_true(self_test_is_hopeless(b->test));
    b->state.is_up = false; /* The broker, then. */
    assert_false(self_test_is_hopeless(b->test));
    b->state.is_up = true;
    b->loses = false;
    pass(b, 12000);
    assert_state(b, SELF_TEST_OK);
    assert_false(self_test_is_hopeless(b->test));
    b->loses = true;
    pass(b, 60000);
    assert_state(b, SELF_TEST_FAILED);
    assert_false(self_test_is_hopeless(b->test)); /* It counts anew. */
    tear_down(b);
}

static void
test_without_an_interval_there_is_none(void **state)
{
    struct bench *b = set_up();

    (void)state;
    self_test_stop(b->test);
    start(b, 0);
    assert_null(b->test);
    assert_false(self_test_is_hopeless(b->test));
    assert_state(b, SELF_TEST_OK);
    tear_down(b);
}

static void
test_stop_in_the_middle_of_a_ping_is_clean(void **state)
{
    struct bench *b = set_up();

    (void)state;
    fake_clock_advance(&b->loop, 0); /* Sent, and nothing is delivered. */
    self_test_stop(b->test);
    b->test = NULL;
    fake_clock_advance(&b->loop, 60000);
    memory_bus_deliver_all(b->bus);
    tear_down(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ping_goes_round_at_each_interval),
        cmocka_unit_test(test_unanswered_ping_has_everything_declared_again),
        cmocka_unit_test(test_second_failure_in_a_row_makes_new_connections),
        cmocka_unit_test(test_ping_that_nobody_takes_is_a_failure),
        cmocka_unit_test(test_busy_agent_is_not_deaf),
        cmocka_unit_test(test_blocked_broker_is_not_a_failure),
        cmocka_unit_test(test_lost_connection_is_the_links_affair),
        cmocka_unit_test(
            test_only_lasting_deafness_of_a_bus_that_is_up_is_hopeless),
        cmocka_unit_test(test_without_an_interval_there_is_none),
        cmocka_unit_test(test_stop_in_the_middle_of_a_ping_is_clean),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
