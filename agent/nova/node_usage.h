#ifndef DROVER_NOVA_NODE_USAGE_H
#define DROVER_NOVA_NODE_USAGE_H

/* What the instances of this host, and those on their way to it, take.
 * (spec/drop-in 5)
 *
 * An instance counts while it is recorded here, whether it runs or not.  One
 * that comes in counts from the moment when its migration is recorded, so that
 * what it will need is not given to another.
 *
 * Pure.
 *
 * Threads: no shared state. */

#include "agent/nova/node_settings.h"
#include "rpc/json.h"

/* What the records say; each borrowed, null for none. */
struct node_records {
    const char *host, *node;
    const struct json *instances;  /* InstanceList */
    const struct json *migrations; /* MigrationList: under way or failed */
    /* {uuid: Instance}: those of the migrations that are not recorded here. */
    const struct json *strangers;
    const struct json *devices; /* BlockDeviceMappingList of all those */
    /* UUIDs of instances that do not come for what they claimed; or null. */
    const struct text_set *dropped;
};

/* UUIDs of the instances that 'strangers' should have, and of those whose
 * devices count. */
void node_records_strangers(const struct node_records *records,
                            struct text_set *ret);
void node_records_counted(const struct node_records *records,
                          struct text_set *ret);

/* Whether the guest's device of that name, "vda", is a volume. */
bool node_records_is_volume(const struct node_records *records,
                            const char *uuid, const char *target);

struct node_usage {
    int64_t vcpus, memory_mb, local_gb;
    int n_instances, workload;
    struct json *stats;      /* {"num_instances": "1", ...} */
    struct text_set tracked; /* Instances that are counted here. */
    struct text_set claimed; /* Migrations that are counted: their UUIDs. */
};

/* Starts with what is reserved for the host, and takes from 'topology' (null:
 * the host has none). */
void node_usage_init(struct node_usage *usage,
                     const struct node_settings *settings,
                     const struct node_records *records,
                     unsigned n_failed_builds, struct json *topology);
void node_usage_close(struct node_usage *usage);

#endif
