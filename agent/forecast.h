#ifndef DROVER_AGENT_FORECAST_H
#define DROVER_AGENT_FORECAST_H

/* What is to be expected of a migration: a pure core.
 *
 * Disks are copied, then all memory, then in each pass what was written in the
 * one before, until the rest fits into the pause that is accepted
 * (spec/live-migration 1.1, 4.6).  How much a guest writes in a time is
 * modelled as a set of pages that it writes again and again, and others that it
 * writes steadily; two measurements of different length tell both.  It is an
 * estimate, and of the worse side: pages of zeros cost nothing.
 *
 * Threads: no shared state. */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/mem.h"

/* A guest writes 'hot' bytes in any time, and 'per_s' more in each second. */
struct forecast_dirty {
    int64_t hot, per_s;
};

/* From what was found in 'short_s' and in 'long_s' seconds, which is more: each
 * in different bytes a second. */
struct forecast_dirty forecast_dirty_of(unsigned short_s, int64_t short_bps,
                                        unsigned long_s, int64_t long_bps);

struct forecast_input {
    int64_t memory, disk; /* Bytes to move. */
    struct forecast_dirty dirty;
    int64_t link_bps; /* Bytes a second; more than 0. */
    /* The pause that is accepted grows from its n_steps-th part to all of it
     * (4.6); with 0 steps it is all of it at once. */
    unsigned downtime_ms, downtime_steps;
    uint64_t downtime_delay_ms; /* Between two steps. */
    uint64_t timeout_s;         /* After which it is ended; 0: never. */
    bool permit_postcopy, permit_throttle;
};

#define FORECAST_VERDICTS                                              \
    FORECAST_VERDICT(UNKNOWN, "unknown") /* Not of forecast_make(). */ \
    FORECAST_VERDICT(CONVERGES, "converges")                           \
    FORECAST_VERDICT(DIVERGES, "diverges")                             \
    FORECAST_VERDICT(TOO_SLOW, "too-slow") /* For the time-out. */
enum forecast_verdict {
#define FORECAST_VERDICT(NAME, WORD) FORECAST_##NAME,
    FORECAST_VERDICTS
#undef FORECAST_VERDICT
};
const char *forecast_word(enum forecast_verdict verdict);

struct forecast {
    enum forecast_verdict verdict;
    uint64_t total_ms, downtime_ms; /* Of what converges, or is too slow. */
    unsigned n_passes;              /* Over the memory. */
    /* The least that would do, in MiB/s; 0: no link would, or it does. */
    int64_t needed_mib_s;
};
void forecast_make(const struct forecast_input *input, struct forecast *ret);

/* A sentence for people; the caller's. */
char *forecast_text(const struct forecast_input *input,
                    const struct forecast *forecast);

#endif
