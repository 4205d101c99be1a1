#ifndef DROVER_AGENT_ATTACH_H
#define DROVER_AGENT_ATTACH_H

/* What of an instance lives elsewhere than on its host: volumes and ports.
 *
 * The steps of a migration call these tables, whatever stands behind them; a
 * host without a control plane has neither, and its tables do nothing.  Each
 * function is idempotent, and ends with 'done' on the loop, never before it
 * returned.  'data' is the migrate data.  (spec/live-migration 3.2, 3.4, 5.2,
 * 6.2)
 *
 * Threads: the loop. */

#include "rpc/object.h"

struct agent;

typedef void attach_done(void *aux, struct error *error);
typedef void attach_fn(struct agent *agent, const struct json *context,
                       const struct object *instance, const struct object *data,
                       attach_done *done, void *aux);

struct volume_ops {
    attach_fn *connect_dest;      /* In pre_live_migration. */
    attach_fn *disconnect_dest;   /* Takes that back, at the destination. */
    attach_fn *restore_source;    /* At the source: records as before. */
    attach_fn *disconnect_source; /* After success. */
};

struct vif_ops {
    attach_fn *plug_dest;
    attach_fn *unplug_dest;
    attach_fn *activate_dest; /* At the source: traffic goes there now. */
    attach_fn *unplug_source;
    attach_fn *settle_dest; /* At the destination, after success. */
};

extern const struct volume_ops volume_none;
extern const struct vif_ops vif_none;

#endif
