#ifndef DROVER_NOVA_NUMA_FIT_H
#define DROVER_NOVA_NUMA_FIT_H

/* Which nodes, CPUs and pages of a host an instance with a NUMA topology gets
 * when it comes. (spec/live-migration 2.8)
 *
 * What it asks for is what it has where it is now, but for the numbers of nodes
 * and CPUs: nodes of the same size with the same policies and pages of the same
 * size, which a guest that goes on running can't change.
 *
 * A node of the guest is put on one of the host that has room for it; all go to
 * different ones.  A CPU of its own gets one that nobody has, threads of one
 * core or of different ones as its policy says.  Of several nodes that would do
 * the emptier come first, or the fuller, as the operator says.
 *
 * Pure.
 *
 * Threads: no shared state; any. */

#include "agent/base/error.h"
#include "rpc/json.h"

struct numa_fit_rules {
    /* NUMATopologyLimits, how far what is shared may be given out more than
     * once; null: as far as anybody asks. */
    const struct json *limits;
    bool is_packed; /* The fuller nodes first. */
};

/* 'host' is a NUMATopology from which all was taken that others have (null: it
 * has none), 'instance' an InstanceNUMATopology.  On success '*ret' is another
 * one, the caller's; else ERR_COMPUTE_RESOURCES_UNAVAILABLE with the reason of
 * the node that came nearest, or ERR_VALUE: what is asked for is no topology.
 */
struct error *numa_fit(const struct json *host, const struct json *instance,
                       const struct numa_fit_rules *rules,
                       struct json **ret) WARN_UNUSED;

#endif
