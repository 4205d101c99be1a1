#ifndef DROVER_NOVA_INVENTORY_H
#define DROVER_NOVA_INVENTORY_H

/* What Placement is told that this host has to give. (spec/drop-in 6.2)
 *
 * Pure.
 *
 * Threads: no shared state. */

#include "agent/nova/node_settings.h"
#include "rpc/json.h"

/* {"VCPU": {"total": 2, ...}, ...}; the caller's.  'current' is what Placement
 * has, in the same form; null: nothing.  Its ratios stay where the operator
 * sets none here. */
struct json *inventory_wanted(const struct node_settings *settings,
                              const struct host_resources *host,
                              const struct node_cpus *cpus,
                              const struct json *current);

/* Whether there is nothing to tell. */
bool inventory_same(const struct json *wanted, const struct json *current);

#endif
