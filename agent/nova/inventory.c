#include <config.h>

#include "agent/nova/inventory.h"

/* Placement knows no class of which there is nothing. */
static void
add_class(struct json *inventories, const char *name, int64_t total,
          int64_t reserved, struct json *ratio)
{
    struct json *class;

    if (total <= 0) {
        json_free(ratio);
        return;
    }
    class = json_object();
    json_set_int(class, "total", total);
    json_set_int(class, "min_unit", 1);
    json_set_int(class, "max_unit", total);
    json_set_int(class, "step_size", 1);
    json_set(class, "allocation_ratio", ratio);
    json_set_int(class, "reserved", reserved);
    json_set(inventories, name, class);
}

static struct json *
ratio_of(const struct node_settings *settings, enum node_ratio which,
         const struct json *current, const char *name)
{
    const struct json *stored =
        json_get(json_get(current, name), "allocation_ratio");

    if (settings->ratios[which] > 0) {
        return json_double(settings->ratios[which]);
    }
    return json_is_number(stored) ? json_copy(stored)
                                  : json_double(settings->first_ratios[which]);
}

struct json *
inventory_wanted(const struct node_settings *settings,
                 const struct host_resources *host,
                 const struct node_cpus *cpus, const struct json *current)
{
    struct json *all = json_object();

    add_class(all, "MEMORY_MB", node_memory_mb(settings, host),
              settings->reserved_memory_mb,
              ratio_of(settings, NODE_RATIO_RAM, current, "MEMORY_MB"));
    add_class(all, "VCPU", (int64_t)cpus->shared.n, settings->reserved_cpus,
              ratio_of(settings, NODE_RATIO_CPU, current, "VCPU"));
    add_class(all, "PCPU", (int64_t)cpus->dedicated.n, 0, json_int(1));
    add_class(all, "DISK_GB", host->disk_total >> 30,
              ((int64_t)settings->reserved_disk_mb + 1023) / 1024,
              ratio_of(settings, NODE_RATIO_DISK, current, "DISK_GB"));
    return all;
}

/* Placement may tell more of a class than it is told. */
static bool
same_class(const struct json *wanted, const struct json *current)
{
    json_for_each (member, wanted) {
        const struct json *stored = json_get(current, json_name(member));
        if (!stored || !json_equal(member, stored)) {
            return false;
        }
    }
    return true;
}

bool
inventory_same(const struct json *wanted, const struct json *current)
{
    json_for_each (class, wanted) {
        if (!same_class(class, json_get(current, json_name(class)))) {
            return false;
        }
    }
    return json_size(wanted) == json_size(current);
}
