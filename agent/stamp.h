#ifndef DROVER_AGENT_STAMP_H
#define DROVER_AGENT_STAMP_H

/* A moment, and how long ago it is, also for the next run of the agent.
 *
 * The wall clock may be set meanwhile, and the clock that is never set begins
 * anew when the machine boots.  Both are kept, and which boot it was: the first
 * is for people, the second for whatever times out.
 *
 * Threads: the loop. */

#include <stdint.h>

#include "rpc/json.h"

#define STAMP_BOOT_SIZE 40

/* All zero: never. */
struct stamp {
    int64_t wall_us;
    uint64_t clock_ms;          /* Of clock_now_ms(), in the boot named ... */
    char boot[STAMP_BOOT_SIZE]; /* ... here; "": not known. */
};

void stamp_take(struct stamp *ret);

/* In ms; 0 for never.  By the wall clock if the machine was booted since, and
 * never less than 0. */
uint64_t stamp_age_ms(const struct stamp *stamp);

/* As members of 'object', whose names begin with 'name'.  One that is not there
 * is never; one that an older drover wrote has its wall time only. */
void stamp_save(const struct stamp *stamp, struct json *object,
                const char *name);
void stamp_load(const struct json *object, const char *name, struct stamp *ret);

#endif
