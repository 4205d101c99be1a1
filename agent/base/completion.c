#include <config.h>

#include "agent/base/completion.h"

#include <stdlib.h>

#include "agent/base/log.h"
#include "agent/base/clock.h"

LOG_MODULE(completion);

struct completion_queue {
    uv_async_t wakeup;
    uv_mutex_t mutex;
    struct completion *head, **tail;
    unsigned limit_ms;
    bool fatal;
};

static void completion_drain(uv_async_t *wakeup);
static void deliver_timed(struct completion_queue *, struct completion *);
static void queue_closed(uv_handle_t *handle);

struct completion_queue *
completion_queue_create(uv_loop_t *loop)
{
    struct completion_queue *q = xzalloc(sizeof *q);

    q->tail = &q->head;
    uv_mutex_init(&q->mutex);
    uv_async_init(loop, &q->wakeup, completion_drain);
    q->wakeup.data = q;
    return q;
}

void
completion_queue_close(struct completion_queue *q)
{
    completion_drain(&q->wakeup);
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

/* libuv may merge any number of sends into one call: take all there is. */
static void
completion_drain(uv_async_t *wakeup)
{
    struct completion_queue *q = wakeup->data;

    uv_mutex_lock(&q->mutex);
    struct completion *c = steal(&q->head);
    q->tail = &q->head;
    uv_mutex_unlock(&q->mutex);

    while (c) {
        struct completion *next = c->next; /* 'deliver' may free 'c'. */
        deliver_timed(q, c);
        c = next;
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
