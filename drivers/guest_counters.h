#ifndef DROVER_DRIVERS_GUEST_COUNTERS_H
#define DROVER_DRIVERS_GUEST_COUNTERS_H

/* What a hypervisor has counted of a running guest.
 *
 * Plain records; what it does not tell is left out, or -1.
 *
 * Threads: no shared state; any. */

#include <stddef.h>
#include <stdint.h>

#include "agent/base/mem.h"

struct guest_counters {
    int64_t memory_max_kib, memory_kib;
    struct cpu_counters {
        int id;
        int64_t time_ns;
    } * cpus;
    size_t n_cpus;
    struct disk_counters {
        char *target; /* "vda" */
        int64_t n_reads, read_bytes, n_writes, written_bytes, n_errors;
    } * disks;
    size_t n_disks;
    struct nic_counters {
        char *mac;    /* Null: none. */
        char *device; /* Of its host; null: none, and nothing is counted. */
        int64_t rx_bytes, rx_packets, rx_errors, rx_drops;
        int64_t tx_bytes, tx_packets, tx_errors, tx_drops;
    } * nics;
    size_t n_nics;
    struct memory_counter {
        const char *name; /* Static storage: "actual", "rss"... */
        int64_t value;
    } * memory;
    size_t n_memory;
};

/* Each adds a zeroed one, borrowed until the next. */
struct cpu_counters *guest_counters_add_cpu(struct guest_counters *counters);
struct disk_counters *guest_counters_add_disk(struct guest_counters *counters);
struct nic_counters *guest_counters_add_nic(struct guest_counters *counters);
void guest_counters_add_memory(struct guest_counters *counters,
                               const char *name, int64_t value);

void guest_counters_free(struct guest_counters *counters); /* Null is fine. */
CLEANUP_FUNC(struct guest_counters, guest_counters_free)

#endif
