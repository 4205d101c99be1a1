#ifndef DROVER_NOVA_CONNECTOR_H
#define DROVER_NOVA_CONNECTOR_H

/* What Cinder is told of this host, so that it exports a volume to it.
 * (spec/live-migration 3.2, spec/drop-in 13)
 *
 * Threads: the loop. */

#include "agent/agent.h"

/* 'connector' is the callee's: {"host", "ip", "platform", "os_type",
 * "multipath", "initiator", ...}. */
typedef void connector_done(void *aux, struct json *connector);
void connector_get(struct agent *agent, connector_done *done, void *aux);

/* connector_get() without the thread: of the files below 'root'. */
struct json *connector_read(const struct conf *conf, const char *root);

#endif
