#ifndef DROVER_AGENT_PLUG_RETRY_H
#define DROVER_AGENT_PLUG_RETRY_H

/* When a port that could not be plugged is tried again.
 *
 * A program that failed (ERR_PROCESS) may succeed in a second, as when the
 * network's own agent is about to make what it needs; all else is final.
 * live_migration_retry_count attempts are made, and one at least.
 * (spec/live-migration 3.4)
 *
 * Pure.  Threads: no shared state. */

#include "agent/base/error.h"

#define PLUG_RETRY_PAUSE_MS 1000

struct plug_retry {
    unsigned n_failed, n_max;
};

/* One more failed; true: wait for that long and try again. */
static inline bool
plug_retry_again(struct plug_retry *retry, enum error_code code)
{
    return ++retry->n_failed < retry->n_max && code == ERR_PROCESS;
}

#endif
