#ifndef DROVER_AGENT_INCOMING_H
#define DROVER_AGENT_INCOMING_H

/* A live migration at its destination.
 *
 * One operation spans it: what was prepared, the wait for the guest, and what
 * follows once it runs here.  The commit is the guest's arrival.  The three
 * RPC methods are signals to it.
 * (spec/live-migration 3, 5.5, 6.2 to 6.4; agent/migration.h has the picture)
 *
 * Threads: the loop. */

#include "agent/agent.h"

extern const struct op_type incoming_type;
/* The same for a guest that this agent did not prepare: its part after the
 * arrival. */
extern const struct op_type incoming_arrival_type;

/* All taken. */
struct incoming_request {
    struct json *context;
    struct object *instance, *data; /* 'data' may be null after arrival. */
    char *disks;                    /* The 'disk' argument; null: none. */
};

/* Prepares (pre_live_migration).  'done' gets the migrate data to answer with,
 * its to free; or an error, and then nothing is left of the preparation.  What
 * an earlier attempt left is taken back first. */
void incoming_prepare(struct agent *agent, struct incoming_request *request,
                      const struct log_context *log,
                      void (*done)(void *aux, struct error *error,
                                   struct object *data),
                      void *aux);

/* The guest is here (post_live_migration_at_destination).  Told twice, it
 * answers twice the same. */
void incoming_take_over(struct agent *agent, struct incoming_request *request,
                        const struct log_context *log, attach_done *done,
                        void *aux);

/* The guest does not come (rollback_live_migration_at_destination).  What the
 * journal says was prepared is taken back, and nothing else, whatever the
 * caller says of disks.  Refused if the guest runs here; nothing to take back
 * is success. */
void incoming_roll_back(struct agent *agent, struct incoming_request *request,
                        const struct log_context *log, attach_done *done,
                        void *aux);

/* True while this instance is on its way here: its record is not this agent's
 * to make. */
bool incoming_is_expected(struct agent *agent, const char *instance_uuid);

/* Has the source asked at once whether it still sends the guest, and not only
 * in its turn.  ERR_INVALID if this host does not wait for it. */
struct error *incoming_ask_source(struct agent *agent,
                                  const char *instance_uuid) WARN_UNUSED;

/* How many are on their way here. */
unsigned incoming_count(struct agent *agent);

#endif
