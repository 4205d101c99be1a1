#ifndef DROVER_NOVA_NODE_SETTINGS_H
#define DROVER_NOVA_NODE_SETTINGS_H

/* What the operator says of the host's resources, and which CPUs that leaves
 * to guests. (spec/drop-in 5, 6.2)
 *
 * Pure.
 *
 * Threads: no shared state; any. */

#include "agent/base/error.h"
#include "drivers/host_resources.h"

struct conf;

enum node_ratio { NODE_RATIO_CPU, NODE_RATIO_RAM, NODE_RATIO_DISK, N_RATIOS };

/* Borrowed from the configuration. */
struct node_settings {
    const char *host, *my_ip;
    const char *virt_type, *cpu_mode;       /* Null: not set. */
    const char *const *cpu_models;          /* Ends with null; never null. */
    const char *const *cpu_flags;           /* As above: more, or "-less". */
    const char *shared_set, *dedicated_set; /* Null: not set. */
    int reserved_cpus, reserved_memory_mb, reserved_disk_mb;
    int file_backed_memory_mb;     /* 0: none. */
    double ratios[N_RATIOS];       /* 0: not set. */
    double first_ratios[N_RATIOS]; /* Of a node that is new. */
    bool has_swtpm;
    bool has_raw_images_only;
};
void node_settings_init(struct node_settings *settings,
                        const struct conf *conf);

/* CPUs that guests share, and those that are given to one each. */
struct node_cpus {
    struct cpu_set shared, dedicated;
};
void node_cpus_close(struct node_cpus *cpus);

/* ERR_CONFIG: an option is no set, or names CPUs that are not online. */
struct error *node_cpus_of(const struct node_settings *settings,
                           const struct host_resources *host,
                           struct node_cpus *ret) WARN_UNUSED;

/* MiB that guests may have. */
int64_t node_memory_mb(const struct node_settings *settings,
                       const struct host_resources *host);

#endif
