#ifndef DROVER_AGENT_ATTACH_H
#define DROVER_AGENT_ATTACH_H

/* What of an instance lives elsewhere than on its host: volumes, ports, images,
 * and what is allotted to it.
 *
 * The steps of a migration call these tables, whatever stands behind them.
 * Each function is idempotent, and ends with 'done' on the loop, never before
 * it returned.  'data' is the migrate data.  (spec/live-migration 3.2, 3.4,
 * 5.2, 6.2)
 *
 * Threads: the loop. */

#include "rpc/object.h"

struct agent;
struct prepare_request;
struct vif_list;

typedef void attach_done(void *aux, struct error *error);
typedef void attach_fn(struct agent *agent, const struct json *context,
                       const struct object *instance, const struct object *data,
                       attach_done *done, void *aux);

/* 'data' are the migrate data with what connecting them has changed; the
 * callee's, and null after an error. */
typedef void attach_connected(void *aux, struct error *error,
                              struct object *data);

/* In the middle of it: what was made so far is to be in the journal before
 * 'kept' is called; 'aux' is that of attach_connected. */
typedef void attach_keep(void *aux, const struct object *data,
                         attach_done *kept, void *kept_aux);

/* 'attachments' is what agent/attachments.h keeps, the callee's; null after an
 * error. */
typedef void attach_noted(void *aux, struct error *error,
                          struct json *attachments);

struct volume_ops {
    /* At the source, before the destination is asked: what is recorded
     * elsewhere of the instance's volumes.  Whoever calls the functions for the
     * source puts it into their instance.  Null: its own record has it. */
    void (*note_source)(struct agent *agent, const struct json *context,
                        const struct object *instance, attach_noted *done,
                        void *aux);
    /* In pre_live_migration. */
    void (*connect_dest)(struct agent *agent, const struct json *context,
                         const struct object *instance,
                         const struct object *data, attach_keep *keep,
                         attach_connected *done, void *aux);
    attach_fn *disconnect_dest;   /* Takes that back, at the destination. */
    attach_fn *restore_source;    /* At the source: records as before. */
    attach_fn *disconnect_source; /* After success. */
};

struct vif_ops {
    attach_fn *plug_dest;
    attach_fn *unplug_dest;
    attach_fn *unbind_dest;    /* At the destination, which plugged nothing. */
    attach_fn *activate_dest;  /* At the source: traffic goes there now. */
    attach_fn *restore_source; /* At the source: nothing goes there. */
    attach_fn *unplug_source;
    attach_fn *settle_dest; /* At the destination, after success. */
};

/* At the source.  While an instance moves, what it has here is allotted to its
 * migration, 'migration_uuid'. */
typedef void allocation_fn(struct agent *agent, const struct json *context,
                           const char *instance_uuid,
                           const char *migration_uuid, attach_done *done,
                           void *aux);
struct allocation_ops {
    allocation_fn *give_back; /* It stays. */
    allocation_fn *release;   /* It moved. */
};

/* At the destination, before disks are made: has what they are based on there,
 * if it can be had.  'done' is called perhaps before it
 * returns. (3.3) */
struct image_ops {
    void (*fetch)(struct agent *agent, const struct json *context,
                  const struct object *instance,
                  const struct prepare_request *files, attach_done *done,
                  void *aux);
    /* Ends that with ERR_CANCELLED at once, if it is under way. */
    void (*cancel)(struct agent *agent, const char *instance_uuid);
};

/* What this host does by itself (attach_host.c), with agent->host; what is a
 * control plane's business is nobody's. */
extern const struct volume_ops volume_host;
extern const struct vif_ops vif_host;
extern const struct allocation_ops allocation_host;
extern const struct image_ops image_host;

/* Plugs these here, which must be fit for it (vif_check()), as the tables do.
 */
void attach_host_plug(struct agent *agent, const struct vif_list *vifs,
                      attach_done *done, void *aux);

/* Before the tables are used; and when no ticket is waited for any more: what
 * runs is stopped, and what waits ends with ERR_CANCELLED. */
void attach_host_open(struct agent *agent);
void attach_host_close(struct agent *agent);

#endif
