#ifndef DROVER_AGENT_CHECK_H
#define DROVER_AGENT_CHECK_H

/* The checks before a live migration, on both sides.  They leave nothing
 * behind but the times of a directory. (spec/live-migration 2.3 to 2.9)
 *
 * Threads: the loop. */

#include "agent/agent.h"

/* Field of the migrate data, between drovers without a control plane: the
 * destination's name. */
#define CHECK_DEST_FIELD "drover_dest"

typedef void check_done(void *aux, struct error *error, struct object *data);

/* check_can_live_migrate_destination: may 'instance' come here?  What is asked
 * for is borrowed; 'block' is -1 for "find out".  'done' gets the migrate
 * data, its to free, or one of the classes that a conductor knows. */
struct check_dest_request {
    const struct json *context;
    const struct object *instance;
    int block_migration;  /* 1, 0, -1: not said. */
    int disk_over_commit; /* 1, 0, -1: not said. */
};
void check_dest(struct agent *agent, const struct check_dest_request *request,
                const struct log_context *log, check_done *done, void *aux);

/* check_can_live_migrate_source: may it leave, and how?  'data' is what the
 * destination says, borrowed; 'dest' the host that asks, null if unknown. */
void check_source(struct agent *agent, const struct json *context,
                  const struct object *instance, const struct object *data,
                  const char *dest, const struct log_context *log,
                  check_done *done, void *aux);

/* check_instance_shared_storage: is there a file of this absolute path?  Only
 * where this host keeps disks. */
void check_shared_file(struct agent *agent, const char *path,
                       driver_bool_done *done, void *aux);

#endif
