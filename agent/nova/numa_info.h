#ifndef DROVER_NOVA_NUMA_INFO_H
#define DROVER_NOVA_NUMA_INFO_H

/* What the source of a guest with a NUMA topology is told of where its CPUs
 * and memory go, so that it writes that into the guest's definition.
 * (spec/live-migration 1.10, 2.8)
 *
 * Pure.
 *
 * Threads: no shared state; any. */

#include "agent/base/error.h"
#include "agent/base/sets.h"
#include "rpc/object.h"

/* All borrowed. */
struct numa_info {
    const struct json *host;       /* NUMATopology */
    const struct json *fitted;     /* InstanceNUMATopology, of numa_fit() */
    const struct object *instance; /* With its flavor, and the image's words. */
    const struct cpu_set *shared;  /* cpu_shared_set; null: not set. */
    int realtime_priority;
};

/* ERR_INVALID: the flavor or the image says of real-time CPUs what they can't
 * be. */
struct error *numa_info_set(const struct numa_info *info,
                            struct object *migrate_data) WARN_UNUSED;

#endif
