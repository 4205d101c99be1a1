#ifndef DROVER_BASE_LOOP_WATCH_H
#define DROVER_BASE_LOOP_WATCH_H

/* Catches a loop that is blocked: a thread that looks on.
 *
 * Only what the loop itself does counts: time on the processor, or asleep
 * anywhere but in its poll.  A thread that merely waits for a processor, as on
 * a busy machine, is not blocked.
 *
 * Threads: the loop. */

#include <uv.h>

struct loop_watch;

/* A report goes to the log at level ERROR; 'fatal' then aborts. */
struct loop_watch *loop_watch_start(uv_loop_t *loop, unsigned limit_ms,
                                    int fatal);

/* Its handles close; memory goes when they have. Null is fine. */
void loop_watch_stop(struct loop_watch *watch);

#endif
