#ifndef DROVER_BASE_CLOCK_H
#define DROVER_BASE_CLOCK_H

/* Time, read in one place, so that a test can stand in for it.
 *
 * Threads: any; clock_set_fake() from tests only, before threads start. */

#include <stddef.h>
#include <stdint.h>

/* Milliseconds of a clock that never goes back; not related to any date. */
uint64_t clock_now_ms(void);

/* Microseconds since 1970-01-01 UTC; may jump. */
int64_t clock_wall_us(void);

/* "2026-11-22T05:38:10Z" of a wall time; 'buf' has CLOCK_TEXT_SIZE bytes. */
#define CLOCK_TEXT_SIZE 40
char *clock_format_iso(int64_t wall_us, char *buf);

/* "2026-11-22T05:38:10.011781", and the same with a blank for the T. */
char *clock_format_micro(int64_t wall_us, char separator, char *buf);

/* Null for 'now_ms' goes back to the real clock. */
void clock_set_fake(uint64_t (*now_ms)(void), int64_t (*wall_us)(void));

#endif
