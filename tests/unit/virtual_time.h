#ifndef DROVER_TESTS_VIRTUAL_TIME_H
#define DROVER_TESTS_VIRTUAL_TIME_H

/* Time that passes only when nothing else is left to do.
 *
 * The program is linked with LINK_VIRTUAL_TIME, which puts this between the
 * agent and libuv's timers: a timer fires when all work of the loop, of the
 * worker pools and of migration threads is done and it is the earliest.  So
 * minutes of waiting take no time, and a slow machine changes nothing.  The
 * clock of agent/base/clock.h goes by it.
 *
 * Threads: the loop. */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

void virtual_time_install(uv_loop_t *loop);
void virtual_time_remove(void); /* The loop must run once more. */

uint64_t virtual_time_now_ms(void); /* Since it was installed. */

/* The wall clock is set, so much later or earlier. */
void virtual_time_step_wall(int64_t us);

/* Counts what the loop does not know of: writes to disk. */
void virtual_time_add_work(int n);

/* While it is true, time goes on beside migrations. */
void virtual_time_leave_migrations(bool left);

/* While it is true, other work that does not end in a while is taken to hang,
 * and time goes on beside it as well. */
void virtual_time_allow_hanging(bool allowed);

/* Runs the loop until nothing is under way but timers.  Blocks while workers
 * work. */
void virtual_time_settle(void);

/* Makes it return as soon as the callback that runs is over. */
void virtual_time_interrupt(void);

/* Lets the earliest timer fire; false if there is none. */
bool virtual_time_advance(void);

#endif
