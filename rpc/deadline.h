#ifndef DROVER_RPC_DEADLINE_H
#define DROVER_RPC_DEADLINE_H

/* Many deadlines on one timer: a heap, of which only the earliest arms it.
 *
 * Threads: the loop. */

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/* Part of whatever waits; zeroed is not set. */
struct deadline {
    uint64_t at_ms; /* Of clock_now_ms(). */
    size_t place;   /* In the heap, from 1; 0: not set. */
    void (*due)(struct deadline *deadline); /* Cleared before the call. */
};

struct deadlines;

struct deadlines *deadlines_create(uv_loop_t *loop);

/* None is due any more.  'closed' is called when the timer is gone. */
void deadlines_close(struct deadlines *deadlines, void (*closed)(void *aux),
                     void *aux);

/* Sets or moves; 'due' must have been filled in. */
void deadlines_set(struct deadlines *deadlines, struct deadline *deadline,
                   uint64_t at_ms);
void deadlines_clear(struct deadlines *deadlines, struct deadline *deadline);

#endif
