#ifndef DROVER_TESTS_FAKE_CLOCK_H
#define DROVER_TESTS_FAKE_CLOCK_H

/* Time that passes when a test says so.
 *
 * Threads: the loop. */

#include <uv.h>

void fake_clock_install(void); /* It stands at some hour of 2026. */
void fake_clock_remove(void);

/* Lets time pass, and the timers of 'loop' (may be null) notice: those that
 * look at clock_now_ms(), as deadlines do, find out whether they are due. */
void fake_clock_advance(uv_loop_t *loop, uint64_t ms);

#endif
