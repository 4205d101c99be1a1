#ifndef DROVER_AGENT_TALLY_H
#define DROVER_AGENT_TALLY_H

/* What this run of the agent has done, counted: how migrations ended, what
 * they moved, how long guests stood still.  (agent/report.h tells it)
 *
 * Threads: no shared state. */

#include "agent/base/error.h"
#include "agent/metrics.h"
#include "agent/migrate/numbers.h"

#define MIGRATION_OUTCOMES       \
    MIGRATION_OUTCOME(completed) \
    MIGRATION_OUTCOME(cancelled) \
    MIGRATION_OUTCOME(failed)
enum migration_outcome {
#define MIGRATION_OUTCOME(NAME) MIGRATION_##NAME,
    MIGRATION_OUTCOMES
#undef MIGRATION_OUTCOME
        N_MIGRATION_OUTCOMES
};
const char *migration_outcome_name(enum migration_outcome outcome);

/* To read. */
struct tally {
    uint64_t n_outgoing[N_MIGRATION_OUTCOMES];
    uint64_t n_incoming[N_MIGRATION_OUTCOMES];
    uint64_t memory_bytes, disk_bytes; /* That were sent. */
    struct histogram downtime_s;       /* Measured ones. */
    struct histogram duration_s;       /* Of those that completed. */
};

void tally_init(struct tally *tally);

/* A migration ended as 'error' (borrowed; null: the guest has moved) says. */
void tally_outgoing(struct tally *tally, const struct error *error,
                    const struct migrate_numbers *numbers);
void tally_incoming(struct tally *tally, const struct error *error);

#endif
