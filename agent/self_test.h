#ifndef DROVER_AGENT_SELF_TEST_H
#define DROVER_AGENT_SELF_TEST_H

/* Does the agent hear what is sent to it?
 *
 * A queue without binding, a consumer that the broker forgot, a broker that
 * hangs: both connections stand, and yet nothing comes.  So the agent calls
 * its own "ping" over the bus, by the way that every request and every answer
 * takes: publisher, exchange, its queue, consumer, server, reply queue.
 *
 * A ping that nobody takes has everything declared again; so has one that is
 * not answered in time, and if the next, sent at once, is not either, both
 * connections are made anew.  Unless the agent is merely busy, as other
 * requests came in meanwhile, or the broker takes no messages: then there is
 * nothing to mend.  Nothing is tested while the bus is away.
 * (spec/rpc-wire 10)
 *
 * Threads: the loop. */

#include "rpc/client.h"
#include "rpc/link.h"

struct self_test;

/* What the bus says of itself. */
struct self_test_bus {
    bool is_up, is_blocked;
    uint64_t n_connects; /* Grows when a connection is another one. */
    uint64_t n_heard;    /* Requests that came in. */
};

/* All are borrowed for its life. */
struct self_test_options {
    uv_loop_t *loop;
    struct rpc_client *client;
    const char *exchange, *topic, *host;
    unsigned interval_s;
    void (*look)(void *aux, struct self_test_bus *ret);
    void (*repair)(void *aux, enum link_repair how);
    void *aux;
};

enum self_test_state {
    SELF_TEST_WAITING, /* For the bus, or for the first answer. */
    SELF_TEST_OK,
    SELF_TEST_BUSY,
    SELF_TEST_BLOCKED,
    SELF_TEST_FAILED,
};

struct self_test_status {
    enum self_test_state state;
    int64_t ok_ms_ago; /* -1: never. */
    uint64_t n_ok, n_failed;
    uint64_t n_repaired; /* Was well again after it had failed. */
    uint64_t failed_ms;  /* Spent on pings that failed, since the last answer,
                          * while both connections claimed to be up. */
    const char *reason;  /* Why it is not ok; null if it is. */
};

/* Null if the interval is 0: then there is none, which the other functions
 * take for well. */
struct self_test *self_test_start(const struct self_test_options *options);

/* Memory goes when its timer has closed and its ping has ended. */
void self_test_stop(struct self_test *self_test);

struct self_test_status self_test_status(const struct self_test *self_test);
const char *self_test_state_name(enum self_test_state state);

/* Has it failed for so long, with a bus that claims to be well, that only a
 * start from the beginning may help? */
bool self_test_is_hopeless(const struct self_test *self_test);

#endif
