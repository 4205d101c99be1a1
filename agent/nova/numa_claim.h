#ifndef DROVER_NOVA_NUMA_CLAIM_H
#define DROVER_NOVA_NUMA_CLAIM_H

/* What a guest with a NUMA topology will have of this host is claimed before it
 * comes, so that nobody else gets it meanwhile. (spec/live-migration 2.8)
 *
 * A claim is on record: the migration names this host, and the instance has a
 * migration context with the nodes that it has and those that it gets.  From
 * then on each count of the host's resources has it, whoever counts.  When the
 * guest has come they are its own; when it does not come the context goes.
 *
 * Threads: the loop. */

#include "agent/nova/nova.h"

/* All borrowed for the call. */
struct numa_claim_request {
    const struct json *context;
    const char *instance;           /* UUID */
    const struct object *migration; /* The record; null: not said. */
    const struct json *limits;      /* SchedulerLimits; null: none. */
    const struct object *data;      /* Migrate data. */
};

/* 'data' are the migrate data with what the source has to know, the callee's;
 * null after an error, and then what may be on record all the same does not
 * count.  ERR_MIGRATION_PRE_CHECK: there is no room, or it is not known.  An
 * instance without a topology claims nothing.  Called once, perhaps before
 * numa_claim() returns. */
typedef void numa_claimed(void *aux, struct error *error, struct object *data);
void numa_claim(struct nova *nova, const struct numa_claim_request *request,
                numa_claimed *done, void *aux);

/* The instance does not come: what was claimed for it here is free at once.
 * Its records are for the source to write.  Idempotent, also where nothing was
 * claimed. */
void numa_claim_drop(struct nova *nova, const char *instance);

#endif
