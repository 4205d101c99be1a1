#ifndef DROVER_AGENT_REFUSALS_H
#define DROVER_AGENT_REFUSALS_H

/* The requests of nova's compute RPC that are not served: refused so that
 * nothing waits for them. (spec/drop-in 12, 17)
 *
 * A caller is told NotImplementedError.  Where nobody waits for an answer the
 * instance gets free of the task that the API set, so that it is not stuck, and
 * a fault and the action's event tell its user.
 *
 * Threads: the loop. */

#include "rpc/server.h"

/* Ends with a null name; for endpoints whose 'aux' is the struct agent. */
extern const struct rpc_method refusals_methods[];

/* The one for all of them that are no calls to the host. */
void refusals_refuse(void *aux, struct request *request);

#endif
