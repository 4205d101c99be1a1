#include <config.h>

#include "rpc/reconnect.h"

#include <assert.h>
#include <stdlib.h>

#define BASE_MS 1000
#define MAX_MS 30000
#define REFUSED_MAX_MS 4000
#define LIVED_LONG_MS 60000

enum state { WAITING, TRYING, CONNECTED };

struct reconnect {
    struct reconnect_options options;
    enum state state;
    uint64_t due_ms;          /* While WAITING. */
    uint64_t connected_at_ms; /* While CONNECTED. */
    uint64_t round_at_ms;     /* When the first host of the round was tried. */
    uint64_t limit_ms;        /* Of the next wait. */
    bool is_reached;          /* A host of this round did not refuse. */
    size_t n_tried;           /* Of this round. */
    size_t order[];           /* Of this round: indexes of hosts. */
};

static void shuffle(struct reconnect *);
static void start_round(struct reconnect *);
static void end_round(struct reconnect *, uint64_t from_ms);
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
    r->limit_ms = r->options.base_ms;
    r->due_ms = now_ms;
    for (size_t i = 0; i < options->n_hosts; i++) {
        r->order[i] = i;
    }
    shuffle(r);
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
    if (r->n_tried == 0) {
        r->round_at_ms = now_ms;
    }
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
    r->is_reached = true;
}

void
reconnect_failed(struct reconnect *r, uint64_t now_ms, bool refused)
{
    assert(r->state == TRYING);
    r->state = WAITING;
    r->due_ms = now_ms;
    r->is_reached |= !refused;
    if (r->n_tried == r->options.n_hosts) {
        end_round(r, r->round_at_ms);
    }
}

void
reconnect_lost(struct reconnect *r, uint64_t now_ms)
{
    assert(r->state == CONNECTED);
    r->state = WAITING;
    r->due_ms = now_ms + random_below(r, 2ull * r->options.delay_ms) +
                random_below(r, r->options.splay_ms);
    if (now_ms - r->connected_at_ms >= LIVED_LONG_MS) {
        r->limit_ms = r->options.base_ms;
        start_round(r);
    } else if (r->n_tried == r->options.n_hosts) {
        /* A host that lets us in and throws us out is one that failed. */
        end_round(r, now_ms);
    }
}

/* Fisher and Yates. */
static void
shuffle(struct reconnect *r)
{
    for (size_t i = r->options.n_hosts - 1; i > 0; i--) {
        size_t j = (size_t)random_below(r, i + 1);
        size_t host = r->order[i];
        r->order[i] = r->order[j];
        r->order[j] = host;
    }
}

/* Unless the order is another each time, those not yet tried come first. */
static void
start_round(struct reconnect *r)
{
    for (; r->n_tried; r->n_tried--) {
        size_t host = r->order[0];

        for (size_t i = 1; i < r->options.n_hosts; i++) {
            r->order[i - 1] = r->order[i];
        }
        r->order[r->options.n_hosts - 1] = host;
    }
    if (r->options.shuffle) {
        shuffle(r);
    }
    r->is_reached = false;
}

static void
end_round(struct reconnect *r, uint64_t from_ms)
{
    uint64_t due_ms = from_ms + ladder_wait(r);

    if (r->due_ms < due_ms) {
        r->due_ms = due_ms;
    }
    start_round(r);
}

/* Full jitter: anything up to the limit. */
static uint64_t
ladder_wait(struct reconnect *r)
{
    const struct reconnect_options *o = &r->options;
    uint64_t max_ms = o->max_ms, limit_ms = r->limit_ms;

    if (!r->is_reached && max_ms > REFUSED_MAX_MS) {
        max_ms = REFUSED_MAX_MS;
    }
    if (limit_ms >= max_ms) {
        limit_ms = max_ms;
    } else if (o->backoff_ms) {
        r->limit_ms += limit_ms > o->backoff_ms ? limit_ms : o->backoff_ms;
    }
    return random_below(r, limit_ms + 1);
}

static uint64_t
random_below(struct reconnect *r, uint64_t n)
{
    return (uint64_t)r->options.random(r->options.aux) * n >> 32;
}
