#include <config.h>

#include "agent/base/completion.h"

#include <stdlib.h>

#include "agent/base/log.h"
#include "agent/base/clock.h"

LOG_MODULE(completion);

/* So long completions are delivered without a look at timers and sockets. */
#define SLICE_NS 5000000ull

struct completion_queue {
    uv_async_t wakeup;
    struct completion *taken;  /* The loop's: not yet delivered. */
    struct completion *at_end; /* The loop's, too: after those. */
    uv_mutex_t mutex;          /* Guards what follows. */
    struct completion *head, **tail;
    unsigned limit_ms;
    bool fatal;
};

static void wakeup_called(uv_async_t *wakeup);
static bool deliver_some(struct completion_queue *, uint64_t until_ns);
static void deliver_at_end(struct completion_queue *);
static void deliver_timed(struct completion_queue *, struct completion *);
static void queue_closed(uv_handle_t *handle);

struct completion_queue *
completion_queue_create(uv_loop_t *loop)
{
    struct completion_queue *q = xzalloc(sizeof *q);

    q->tail = &q->head;
    uv_mutex_init(&q->mutex);
    uv_async_init(loop, &q->wakeup, wakeup_called);
    q->wakeup.data = q;
    return q;
}

void
completion_queue_close(struct completion_queue *q)
{
    deliver_some(q, UINT64_MAX);
    uv_close((uv_handle_t *)&q->wakeup, queue_closed);
}

void
completion_post(struct completion_queue *q, struct completion *c)
{
    c->next = NULL;
    uv_mutex_lock(&q->mutex);
    *q->tail = c;
    q->tail = &c->next;
    uv_async_send(&q->wakeup); /* Inside: 'q' may go once it is unlocked. */
    uv_mutex_unlock(&q->mutex);
}

void
completion_at_end(struct completion_queue *q, struct completion *c)
{
    c->next = q->at_end;
    q->at_end = c;
}

bool
completion_is_last(const struct completion_queue *q)
{
    return !q->taken;
}

uv_loop_t *
completion_queue_loop(struct completion_queue *q)
{
    return q->wakeup.loop;
}

void
completion_set_watchdog(struct completion_queue *q, unsigned limit_ms,
                        bool fatal)
{
    q->limit_ms = limit_ms;
    q->fatal = fatal;
}

/* What is left waits for the next turn of the loop, before all that is sent
 * from now on: a flood holds up nobody else. */
static void
wakeup_called(uv_async_t *wakeup)
{
    struct completion_queue *q = wakeup->data;

    if (!deliver_some(q, uv_hrtime() + SLICE_NS)) {
        uv_async_send(&q->wakeup);
    }
}

/* libuv may merge any number of sends into one call: take all there is.  False
 * if the time was over before. */
static bool
deliver_some(struct completion_queue *q, uint64_t until_ns)
{
    do {
        if (!q->taken) {
            uv_mutex_lock(&q->mutex);
            q->taken = steal(&q->head);
            q->tail = &q->head;
            uv_mutex_unlock(&q->mutex);
        }
        struct completion *c = q->taken;
        if (!c && !q->at_end) {
            return true;
        }
        if (!c) {
            deliver_at_end(q);
            continue;
        }
        q->taken = c->next; /* 'deliver' may free 'c'. */
        deliver_timed(q, c);
    } while (uv_hrtime() < until_ns);
    deliver_at_end(q);
    return false;
}

static void
deliver_at_end(struct completion_queue *q)
{
    struct completion *next;

    for (struct completion *c = steal(&q->at_end); c; c = next) {
        next = c->next;
        deliver_timed(q, c);
    }
}

static void
deliver_timed(struct completion_queue *q, struct completion *c)
{
    uint64_t start_ms = q->limit_ms ? clock_now_ms() : 0;

    c->deliver(c);
    if (q->limit_ms && clock_now_ms() - start_ms > q->limit_ms) {
        log_warn(NULL, "a completion took %llu ms on the loop",
                 (unsigned long long)(clock_now_ms() - start_ms));
        if (q->fatal) {
            abort();
        }
    }
}

static void
queue_closed(uv_handle_t *handle)
{
    struct completion_queue *q = handle->data;

    uv_mutex_destroy(&q->mutex);
    free(q);
}
