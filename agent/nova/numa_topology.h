#ifndef DROVER_NOVA_NUMA_TOPOLOGY_H
#define DROVER_NOVA_NUMA_TOPOLOGY_H

/* The NUMA nodes of this host as schedulers see them, and what instances take
 * of them. (spec/drop-in 5)
 *
 * Pure.
 *
 * Threads: no shared state. */

#include "agent/nova/node_settings.h"
#include "rpc/json.h"

/* A NUMATopology of which nothing is taken, the caller's; null for a host
 * without nodes, or of an architecture for which there are none. */
struct json *numa_topology_create(const struct host_resources *host,
                                  const struct node_settings *settings,
                                  const struct node_cpus *cpus);

/* Takes what an InstanceNUMATopology needs; null, on either side, is nothing.
 * What others took already is taken twice without a word: this counts, and
 * does not decide. */
void numa_topology_take(struct json *topology, const struct json *of_instance);

#endif
