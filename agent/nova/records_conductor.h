#ifndef DROVER_NOVA_RECORDS_CONDUCTOR_H
#define DROVER_NOVA_RECORDS_CONDUCTOR_H

/* Records behind nova-conductor. (spec/live-migration 1.5 to 1.7,
 * spec/drop-in 4)
 *
 * What changes a record is tried until the conductor has done it, for as long
 * as a long call may take; what only reads, for as long as a call may.  Of a
 * save whose answer was lost the next attempt may find its own traces: with an
 * expected task state that is ERR_UNEXPECTED_TASK_STATE, and whoever saves
 * looks who was first.
 *
 * Threads: the loop. */

#include "agent/nova/conductor_work.h"
#include "agent/records.h"

struct completion_queue;
struct records_conductor;

struct records_conductor_options {
    struct completion_queue *q;
    struct conductor_works *works; /* Borrowed for its life. */
    const char *host;              /* Copied. */
    unsigned read_patience_ms, save_patience_ms;
};

struct records_conductor *
records_conductor_create(const struct records_conductor_options *options);

/* After the works are closed and their answers are delivered. */
void records_conductor_free(struct records_conductor *records);
struct records *records_conductor_records(struct records_conductor *records);

/* Lists of Nova's: 'class_name' is "InstanceList" or "MigrationList"; 'args'
 * and 'kwargs' are taken, null for none. */
void records_conductor_list(struct records_conductor *records,
                            const struct json *context, const char *class_name,
                            const char *method, struct json *args,
                            struct json *kwargs, records_list_done *done,
                            void *aux);

/* An instance with no more than the fields of its own. */
void records_conductor_get_bare(struct records_conductor *records,
                                const struct json *context, const char *uuid,
                                records_object_done *done, void *aux);

/* Deletes it; 'done' gets it as it is then.  ERR_INSTANCE_NOT_FOUND if it is
 * deleted already. */
void records_conductor_destroy(struct records_conductor *records,
                               const struct json *context,
                               const struct object *instance,
                               records_object_done *done, void *aux);

#endif
