#ifndef DROVER_BASE_COMPLETION_H
#define DROVER_BASE_COMPLETION_H

/* The way from any thread back to the loop.
 *
 * A thread posts a completion; the loop calls its 'deliver'.  Order is kept.
 *
 * Threads: completion_post() any; the rest the loop. */

#include <stdbool.h>

#include <uv.h>

#include "agent/base/mem.h"

struct completion {
    struct completion *next;
    void (*deliver)(struct completion *c); /* On the loop; may free 'c'. */
};

struct completion_queue;

struct completion_queue *completion_queue_create(uv_loop_t *loop);

/* Delivers what is there and stops the handle; the memory goes in its close
 * callback, so the loop must run once more.  No thread may post any more. */
void completion_queue_close(struct completion_queue *q);

/* Gives 'c' and all it points to to the loop. */
void completion_post(struct completion_queue *q, struct completion *c);

/* From within a delivery: 'c' comes after all that waits, or when the loop has
 * delivered for so long that it looks at other things; several in no order.
 * What many deliveries cause can so be done once for all of them. */
void completion_at_end(struct completion_queue *q, struct completion *c);

/* From within a delivery: is it the last there is, as far as the loop knows? */
bool completion_is_last(const struct completion_queue *q);

/* The loop that this queue wakes. */
uv_loop_t *completion_queue_loop(struct completion_queue *q);

/* A callback that takes longer than 'limit_ms' is reported; 'fatal' aborts
 * (debug builds: the loop must never block).  0 turns it off. */
void completion_set_watchdog(struct completion_queue *q, unsigned limit_ms,
                             bool fatal);

#endif
