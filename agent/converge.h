#ifndef DROVER_AGENT_CONVERGE_H
#define DROVER_AGENT_CONVERGE_H

/* Whether a migration still gains, and what is due when it does not: a pure
 * core, of agent/monitor.c.
 *
 * A pass over the guest's memory is an iteration.  What it leaves is what was
 * written meanwhile: the memory that remains when the next one begins.  It
 * gains if it leaves at least a twentieth less than any before it; a smaller
 * difference may come from the moment of the look.  The first iteration, of
 * all memory, is only what the others are compared with.  Iterations without
 * gain are counted, also those that were over between two looks; one with gain
 * begins the count anew.
 *
 * A step of the policy is due when the count comes to its number; "downtime"
 * is due at each further iteration without gain, too.  An agent that was
 * restarted counts anew, and compares with what it sees from then on.
 *
 * Threads: no shared state. */

#include <stdint.h>

#include "conf/convergence.h"
#include "drivers/driver.h"

/* To read. */
struct converge {
    struct convergence policy;
    int64_t iteration; /* The last one seen; 0: none. */
    int64_t best;      /* Bytes; -1: no iteration is over. */
    unsigned n_stalled;
};

void converge_init(struct converge *converge, const struct convergence *policy);

/* A look at the running job.  A set of enum convergence_action: what is due
 * now. */
unsigned converge_run(struct converge *converge, const struct job_stats *stats);

#endif
