#include <config.h>

#include "rpc/reconnect.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#define BASE_MS 1000
#define MAX_MS 30000
#define AFTER_LOSS_MS 2000
#define LIVED_LONG_MS 60000

enum state { WAITING, TRYING, CONNECTED };

struct reconnect {
    struct reconnect_options options;
    enum state state;
    uint64_t due_ms;          /* While WAITING. */
    uint64_t connected_at_ms; /* While CONNECTED. */
    unsigned n_rounds;        /* Since a connection lived long: the ladder. */
    size_t n_tried;           /* Of this round. */
    size_t order[];           /* Of this round: indexes of hosts. */
};

static void start_round(struct reconnect *);
static uint64_t ladder_wait(struct reconnect *);
static uint64_t random_below(struct reconnect *, uint64_t n);

struct reconnect *
reconnect_create(const struct reconnect_options *options, uint64_t now_ms)
{
    assert(options->n_hosts > 0);
    struct reconnect *r =
        xzalloc(sizeof *r + options->n_hosts * sizeof r->order[0]);

    r->options = *options;
    r->options.base_ms = options->base_ms ? options->base_ms : BASE_MS;
    r->options.max_ms = options->max_ms ? options->max_ms : MAX_MS;
    r->due_ms = now_ms;
    for (size_t i = 0; i < options->n_hosts; i++) {
        r->order[i] = i;
    }
    start_round(r);
    return r;
}

void
reconnect_free(struct reconnect *r)
{
    free(r);
}

enum reconnect_action
reconnect_run(struct reconnect *r, uint64_t now_ms, size_t *ret_host)
{
    if (r->state != WAITING) {
        return RECONNECT_NONE;
    }
    if (now_ms < r->due_ms) {
        return RECONNECT_WAIT;
    }
    r->state = TRYING;
    *ret_host = r->order[r->n_tried++];
    return RECONNECT_CONNECT;
}

uint64_t
reconnect_due_ms(const struct reconnect *r)
{
    return r->state == WAITING ? r->due_ms : UINT64_MAX;
}

void
reconnect_connected(struct reconnect *r, uint64_t now_ms)
{
    assert(r->state == TRYING);
    r->state = CONNECTED;
    r->connected_at_ms = now_ms;
}

void
reconnect_failed(struct reconnect *r, uint64_t now_ms)
{
    assert(r->state == TRYING);
    r->state = WAITING;
    r->due_ms = now_ms;
    if (r->n_tried == r->options.n_hosts) {
        r->due_ms += ladder_wait(r);
        start_round(r);
    }
}

void
reconnect_lost(struct reconnect *r, uint64_t now_ms)
{
    assert(r->state == CONNECTED);
    bool lived_long = now_ms - r->connected_at_ms >= LIVED_LONG_MS;

    r->state = WAITING;
    r->due_ms = now_ms + random_below(r, AFTER_LOSS_MS);
    if (lived_long) {
        r->n_rounds = 0;
        start_round(r);
    } else if (r->n_tried == r->options.n_hosts) {
        /* A host that lets us in and throws us out is one that failed. */
        uint64_t ladder_due_ms = now_ms + ladder_wait(r);
        r->due_ms = ladder_due_ms > r->due_ms ? ladder_due_ms : r->due_ms;
        start_round(r);
    }
}

/* Shuffles (Fisher and Yates). */
static void
start_round(struct reconnect *r)
{
    r->n_tried = 0;
    for (size_t i = r->options.n_hosts - 1; i > 0; i--) {
        size_t j = (size_t)random_below(r, i + 1);
        size_t host = r->order[i];
        r->order[i] = r->order[j];
        r->order[j] = host;
    }
}

/* Full jitter: anything up to the limit, which doubles with each round. */
static uint64_t
ladder_wait(struct reconnect *r)
{
    uint64_t limit = r->options.base_ms;

    for (unsigned i = 0; i < r->n_rounds && limit < r->options.max_ms; i++) {
        limit *= 2;
    }
    if (limit >= r->options.max_ms) {
        limit = r->options.max_ms;
    } else {
        r->n_rounds++;
    }
    return random_below(r, limit + 1);
}

static uint64_t
random_below(struct reconnect *r, uint64_t n)
{
    return (uint64_t)r->options.random(r->options.aux) * n >> 32;
}
