#ifndef DROVER_NOVA_NUMA_ROOM_H
#define DROVER_NOVA_NUMA_ROOM_H

/* Whether a node of the host has room for one of a guest, and what the guest's
 * is then. (spec/live-migration 2.8)
 *
 * Pure.
 *
 * Threads: no shared state; any. */

#include "agent/base/error.h"
#include "agent/nova/numa_pack.h"
#include "rpc/json.h"

/* A node of the host, from its NUMACell, which is borrowed; memory in MiB. */
struct numa_node {
    const struct json *cell;
    int64_t id, memory, free_memory, cpu_usage;
    size_t n_shared, n_own; /* CPUs that guests share, and for one alone. */
    struct cpu_set free_own;
    bool gives_any; /* Both are the same: the operator named none. */
};

/* A node of the guest, from its InstanceNUMACell, which is borrowed. */
struct numa_want {
    const struct json *cell;
    int64_t memory, page_kib; /* 0: of no particular size. */
    struct cpu_set own;
    size_t n_shared;
    size_t n_reserved; /* More CPUs, for what its hypervisor does. */
    bool has_own, has_shared;
    enum numa_threads threads;
};

/* ERR_VALUE.  Whatever comes back, '*ret' is to be closed. */
struct error *numa_node_read(const struct json *cell,
                             struct numa_node *ret) WARN_UNUSED;
struct error *numa_want_read(const struct json *cell,
                             struct numa_want *ret) WARN_UNUSED;
void numa_node_close(struct numa_node *node);
void numa_want_close(struct numa_want *want);

/* ERR_COMPUTE_RESOURCES_UNAVAILABLE.  'limits' as in numa_fit.h. */
struct error *numa_room_check(const struct numa_node *node,
                              const struct numa_want *want,
                              const struct json *limits) WARN_UNUSED;

/* There is room: the InstanceNUMACell that the guest has then, the caller's. */
struct json *numa_room_give(const struct numa_node *node,
                            const struct numa_want *want);

/* That error, with Nova's words before the reason. */
struct error *numa_no_room(const char *format, ...)
    PRINTF_FORMAT(1, 2) WARN_UNUSED;

#endif
