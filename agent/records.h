#ifndef DROVER_AGENT_RECORDS_H
#define DROVER_AGENT_RECORDS_H

/* Where instances and migrations are kept.
 *
 * The agent speaks in Nova's objects and does not know whether they live in
 * its own database (agent/records_local.h) or behind nova-conductor.  Objects
 * are rpc/object.h primitives: "Instance" 2.7, "Migration" 1.7.
 * (spec/live-migration 1.5, 1.6)
 *
 * Every 'done' is called on the loop, once, never before the call returned;
 * errors and objects are the callee's to free.
 *
 * Threads: the loop. */

#include "rpc/object.h"

typedef void records_done(void *aux, struct error *error);
typedef void records_object_done(void *aux, struct error *error,
                                 struct object *object);
/* 'objects' has 'n' elements; all of it is the callee's to free. */
typedef void records_list_done(void *aux, struct error *error,
                               struct object **objects, size_t n);

struct records_ops {
    /* By UUID. ERR_INSTANCE_NOT_FOUND. */
    void (*instance_get)(void *state, const struct json *context,
                         const char *uuid, records_object_done *done,
                         void *aux);
    void (*instance_list)(void *state, const struct json *context,
                          records_list_done *done, void *aux);

    /* Writes the fields marked as changed.  If 'expected' is not null, only if
     * the stored task_state is one of them (it ends with null; "" stands for
     * none), else ERR_UNEXPECTED_TASK_STATE: of two who finish the same
     * migration one loses.  On success 'done' gets the instance as it is now
     * stored.  An unknown instance is created when its "host" is this host
     * (local records: it moves with its guest), else ERR_INSTANCE_NOT_FOUND.
     */
    void (*instance_save)(void *state, const struct json *context,
                          const struct object *instance,
                          const char *const *expected,
                          records_object_done *done, void *aux);

    /* Forgets what a destination claimed for it (its migration context), also
     * where nothing is; 'done' gets the instance, still with its changes. */
    void (*instance_drop_claim)(void *state, const struct json *context,
                                const struct object *instance,
                                records_object_done *done, void *aux);

    /* 'done' gets the instance with what this host claimed for it as its own,
     * marked as changed and not saved; unchanged where nothing is. */
    void (*instance_take_claim)(void *state, const struct json *context,
                                const struct object *instance,
                                records_object_done *done, void *aux);

    /* The migration gets id, dates, and a uuid if it has none.  Saving one that
     * is unknown keeps it with the id that it has (local records: another's
     * conductor made it), else is ERR_MIGRATION_NOT_FOUND. */
    void (*migration_create)(void *state, const struct json *context,
                             const struct object *migration,
                             records_object_done *done, void *aux);
    void (*migration_save)(void *state, const struct json *context,
                           const struct object *migration,
                           records_object_done *done, void *aux);
    /* By id, or with 'uuid' not null by that. ERR_MIGRATION_NOT_FOUND. */
    void (*migration_get)(void *state, const struct json *context, int64_t id,
                          const char *uuid, records_object_done *done,
                          void *aux);
    /* Newest first; of one instance if 'instance_uuid' is not null. */
    void (*migration_list)(void *state, const struct json *context,
                           const char *instance_uuid, records_list_done *done,
                           void *aux);

    /* An InstanceActionEvent around a method, and an InstanceFault of its
     * failure (spec/live-migration 1.7); 'error' is borrowed, null: success.
     * Nobody waits for them; a failure is logged. */
    void (*event_start)(void *state, const struct json *context,
                        const char *instance_uuid, const char *event);
    void (*event_finish)(void *state, const struct json *context,
                         const char *instance_uuid, const char *event,
                         const struct error *error);
    void (*fault_create)(void *state, const struct json *context,
                         const char *instance_uuid, const struct error *error);

    /* The guest is gone from this host for good and its record with it, as it
     * runs elsewhere (local), or nothing at all (conductor). */
    void (*instance_moved_away)(void *state, const char *uuid, const char *dest,
                                records_done *done, void *aux);
};

struct records {
    const struct records_ops *ops;
    void *state;
};

#endif
