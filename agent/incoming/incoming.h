#ifndef DROVER_INCOMING_INCOMING_H
#define DROVER_INCOMING_INCOMING_H

/* A live migration at its destination.
 *
 * One operation spans it: what was prepared, the wait for the guest, and what
 * follows once it runs here.  The commit is the guest's arrival.  The three
 * RPC methods are signals to it.
 * (spec/live-migration 3, 5.5, 6.2 to 6.4; agent/migrate/migration.h has the
 * picture)
 *
 * Threads: the loop. */

#include "agent/agent.h"
#include "agent/migrate/kind.h"

extern const struct op_type incoming_type;
/* The same for a guest that this agent did not prepare: its part after the
 * arrival. */
extern const struct op_type incoming_arrival_type;

/* All taken. */
struct incoming_request {
    struct json *context;
    struct object *instance, *data; /* 'data' may be null after arrival. */
    char *disks;                    /* The 'disk' argument; null: none. */
    enum migrate_kind kind; /* Of a guest at rest it is only expected. */
    const char *key;        /* Of the operation; borrowed.  Null: a new one. */
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

/* Of a guest at rest (agent/relocate.h): what comes of it, its files are to be
 * made; all but 'uuid' is taken.  'done' is called when they are. */
struct incoming_rest {
    char *disks, *name, *definition;
    bool autostart;
};
void incoming_rest_files(struct agent *agent, const char *uuid,
                         struct incoming_rest *rest, attach_done *done,
                         void *aux);
/* One of them may be written, there. */
void incoming_rest_serve(struct agent *agent, const char *uuid,
                         const char *path, driver_text_done *done, void *aux);
/* They are complete. */
void incoming_rest_seal(struct agent *agent, const char *uuid,
                        attach_done *done, void *aux);
/* It is this host's.  'key' is that of its operation; told twice, it answers
 * twice the same. */
void incoming_rest_finish(struct agent *agent, const struct object *instance,
                          const char *key, attach_done *done, void *aux);
extern const struct op_type incoming_rest_type;

/* The guest does not come (rollback_live_migration_at_destination).  What the
 * journal says was prepared is taken back, and nothing else, whatever the
 * caller says of disks.  Refused if the guest runs here; nothing to take back
 * is success. */
void incoming_roll_back(struct agent *agent, struct incoming_request *request,
                        const struct log_context *log, attach_done *done,
                        void *aux);

/* The source says so, and it is not the instance's turn yet: a preparation that
 * nobody needs is not gone on with. */
void incoming_cut_short(struct agent *agent, const char *instance_uuid);

/* True while this instance is on its way here: its record is not this agent's
 * to make. */
bool incoming_is_expected(struct agent *agent, const char *instance_uuid);

/* The migrate data of one that is expected, of that volume alone; the caller's.
 * Null: it is not, or has arrived, or that volume was not connected. */
struct object *incoming_volume(struct agent *agent, const char *instance_uuid,
                               const char *volume);

/* What the hypervisor tells of guests that are waited for. */
void incoming_event(struct agent *agent, const struct driver_event *event);

/* Has this instance, at the newest attempt to bring it here, become this
 * host's, whatever became of it since?  False: no, or nobody saw it. */
bool incoming_has_arrived(struct agent *agent, const char *instance_uuid);

/* Has the source asked at once whether it still sends the guest, and not only
 * in its turn.  ERR_INVALID if this host does not wait for it. */
struct error *incoming_ask_source(struct agent *agent,
                                  const char *instance_uuid) WARN_UNUSED;

/* After a restart: those on their way here have their places, whatever the
 * limit. */
void incoming_take_places(struct agent *agent);

/* How many are on their way here. */
unsigned incoming_count(struct agent *agent);

#endif
