#ifndef DROVER_AGENT_HANDLERS_H
#define DROVER_AGENT_HANDLERS_H

/* The methods of Nova's compute RPC that an agent serves: 5.13 and 6.1 in the
 * null namespace. (spec/live-migration 1.3, 1.4, 1.7)
 *
 * Threads: the loop. */

#include "agent/agent.h"

/* handlers_migration.c, handlers_instance.c; those about the host are in
 * handlers.c. */
extern const struct rpc_method handlers_migration_methods[];
extern const struct rpc_method handlers_instance_methods[];

/* Adds the endpoints, with the agent's own namespace and the base ones. */
void handlers_register(struct agent *agent);

#endif
