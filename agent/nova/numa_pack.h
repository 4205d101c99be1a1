#ifndef DROVER_NOVA_NUMA_PACK_H
#define DROVER_NOVA_NUMA_PACK_H

/* Which CPUs of a host's node the CPUs that a guest has to itself get.
 *
 * Of the ways to place a guest the one is taken that uses the most threads of
 * each core.  A guest that must not share a core with anybody gets one thread
 * of each of so many free cores; one that must have threads that are siblings
 * gets no single ones.
 *
 * Pure.
 *
 * Threads: no shared state; any. */

#include "agent/base/sets.h"

enum numa_threads {
    NUMA_THREADS_PREFER, /* Siblings if there are; nothing said is the same. */
    NUMA_THREADS_REQUIRE,
    NUMA_THREADS_ISOLATE,
};

/* A node's cores. */
struct numa_cores {
    struct cpu_set *free; /* Of each core the CPUs that nobody has. */
    size_t n;
    size_t n_threads; /* That a core has, free or not: the most of all. */
};
void numa_cores_close(struct numa_cores *cores);

/* For 'n' CPUs, in their order, and 'n_reserved' more for what the hypervisor
 * does for the guest.  False: there is no way, and nothing to be closed. */
struct numa_packing {
    int *pins; /* 'n' of them. */
    struct cpu_set reserved;
};
bool numa_pack(const struct numa_cores *cores, size_t n, size_t n_reserved,
               enum numa_threads threads, struct numa_packing *ret);
void numa_packing_close(struct numa_packing *packing);

#endif
