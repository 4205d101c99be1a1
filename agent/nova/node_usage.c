#include <config.h>

#include "agent/nova/node_usage.h"

#include <inttypes.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/nova/numa_topology.h"
#include "agent/nova/primitive.h"

LOG_MODULE(node_usage);

/* A count under way. */
struct count {
    struct node_usage *usage;
    const struct node_records *records;
    struct json *topology;
    struct json *numbers; /* The statistics, as numbers. */
};

static void count_instance(struct count *c, const struct json *instance);
static void count_migration(struct count *c, const struct json *migration);
static bool is_newest(const struct node_records *records,
                      const struct json *migration);
static const struct json *instance_of(const struct node_records *records,
                                      const struct json *migration);
static const struct json *flavor_of(const struct json *instance,
                                    const struct json *migration,
                                    const char *of_resize);
static bool is_moving(const struct json *instance);
static bool holds_nothing(const struct json *instance);
static bool is_here(const struct node_records *records,
                    const struct json *instance);
static bool comes_here(const struct node_records *records,
                       const struct json *migration);
static void take(struct count *c, const struct json *instance,
                 const struct json *flavor, const struct json *numa);
static bool is_volume_backed(const struct node_records *records,
                             const struct json *instance);
static void add_stat(struct count *c, const char *what, const char *which);
static void finish_stats(struct count *c, unsigned n_failed_builds);

void
node_records_strangers(const struct node_records *records, struct text_set *ret)
{
    json_for_each (migration, primitive_objects(records->migrations)) {
        const char *uuid = primitive_string(migration, "instance_uuid");

        if (uuid && !instance_of(records, migration)) {
            text_set_add(ret, uuid);
        }
    }
}

void
node_records_counted(const struct node_records *records, struct text_set *ret)
{
    json_for_each (instance, primitive_objects(records->instances)) {
        text_set_add(ret, primitive_string(instance, "uuid"));
    }
    json_for_each (stranger, records->strangers) {
        text_set_add(ret, json_name(stranger));
    }
}

bool
node_records_is_volume(const struct node_records *records, const char *uuid,
                       const char *target)
{
    json_for_each (device, primitive_objects(records->devices)) {
        const char *name = primitive_string(device, "device_name");
        const char *slash = name ? strrchr(name, '/') : NULL;

        if (str_eq(primitive_string(device, "instance_uuid"), uuid) &&
            str_eq(primitive_string(device, "destination_type"), "volume") &&
            str_eq(slash ? slash + 1 : name, target)) {
            return true;
        }
    }
    return false;
}

void
node_usage_init(struct node_usage *usage, const struct node_settings *settings,
                const struct node_records *records, unsigned n_failed_builds,
                struct json *topology)
{
    AUTO_JSON numbers = json_object();
    struct count c = {usage, records, topology, numbers};

    *usage = (struct node_usage){
        .vcpus = settings->reserved_cpus,
        .memory_mb = settings->reserved_memory_mb,
        .local_gb = settings->reserved_disk_mb / 1024,
        .stats = json_object(),
    };
    json_for_each (instance, primitive_objects(records->instances)) {
        if (!holds_nothing(instance)) {
            count_instance(&c, instance);
        }
    }
    json_for_each (migration, primitive_objects(records->migrations)) {
        count_migration(&c, migration);
    }
    finish_stats(&c, n_failed_builds);
}

void
node_usage_close(struct node_usage *usage)
{
    json_free(usage->stats);
    text_set_close(&usage->tracked);
    text_set_close(&usage->claimed);
    *usage = (struct node_usage){0};
}

/* One that has come, but whose migration is not over, has the NUMA nodes that
 * were found for it here. */
static void
count_instance(struct count *c, const struct json *instance)
{
    const char *uuid = primitive_string(instance, "uuid");
    const struct json *numa = primitive_get(instance, "numa_topology");
    const struct json *context = primitive_get(instance, "migration_context");

    json_for_each (migration, primitive_objects(c->records->migrations)) {
        if (context && !json_is_null(context) &&
            str_eq(primitive_string(migration, "instance_uuid"), uuid) &&
            comes_here(c->records, migration)) {
            numa = primitive_get(context, "new_numa_topology");
        }
    }
    text_set_add(&c->usage->tracked, uuid);
    c->usage->n_instances++;
    add_stat(c, "vm", primitive_string(instance, "vm_state"));
    add_stat(c, "task", primitive_string(instance, "task_state"));
    add_stat(c, "os_type", primitive_string(instance, "os_type"));
    add_stat(c, "proj", primitive_string(instance, "project_id"));
    if (primitive_string(instance, "task_state")) {
        c->usage->workload++;
    }
    take(c, instance, primitive_get(instance, "flavor"), numa);
}

/* A record that is not the one which the instance's own context names is a
 * left-over: it is for those who made it, and takes nothing. */
static void
count_migration(struct count *c, const struct json *migration)
{
    const struct node_records *records = c->records;
    const struct json *instance = instance_of(records, migration);
    const struct json *context = primitive_get(instance, "migration_context");
    const char *uuid = primitive_string(migration, "instance_uuid");
    bool is_in = comes_here(records, migration);
    bool is_out =
        str_eq(primitive_string(migration, "source_compute"), records->host) &&
        str_eq(primitive_string(migration, "source_node"), records->node);
    bool is_resized_here = is_in && is_out;

    /* It came while the records were asked for. */
    if (instance && is_here(records, instance) && !holds_nothing(instance) &&
        !text_set_has(&c->usage->tracked, uuid)) {
        count_instance(c, instance);
        return;
    }
    if (!instance || !is_moving(instance) || !is_newest(records, migration)) {
        return;
    }
    if (json_is_object(context) && primitive_int(context, "migration_id") !=
                                       primitive_int(migration, "id")) {
        log_limited(LOG_LEVEL_WARN, NULL,
                    "migration %" PRId64 " of instance '%s' is not the one "
                    "that it takes part in, %" PRId64 ": it counts for nothing",
                    primitive_int(migration, "id"), uuid,
                    primitive_int(context, "migration_id"));
        return;
    }
    if (text_set_has(&c->usage->tracked, uuid) && !is_resized_here) {
        return; /* Counted already. */
    }
    bool is_new = is_resized_here
                      ? primitive_int(instance, "instance_type_id") ==
                            primitive_int(migration, "old_instance_type_id")
                      : is_in;
    const struct json *flavor =
        is_in || is_out ? flavor_of(instance, migration,
                                    is_new ? "new_flavor" : "old_flavor")
                        : NULL;
    if (json_is_object(flavor)) {
        bool is_dropped =
            records->dropped && text_set_has(records->dropped, uuid);

        text_set_add(&c->usage->claimed, primitive_string(migration, "uuid"));
        take(c, instance, flavor,
             is_dropped ? NULL
                        : primitive_get(context, is_new ? "new_numa_topology"
                                                        : "old_numa_topology"));
    }
}

/* Of several the one that changed last counts; of two that did so at the same
 * time, the first in the list. */
static bool
is_newest(const struct node_records *records, const struct json *migration)
{
    const char *uuid = primitive_string(migration, "instance_uuid");
    const char *time = primitive_string(migration, "updated_at");
    bool is_first = true; /* No other was found before it. */

    time = time ? time : primitive_string(migration, "created_at");
    json_for_each (other, primitive_objects(records->migrations)) {
        const char *its = primitive_string(other, "updated_at");

        its = its ? its : primitive_string(other, "created_at");
        int order = time && its ? strcmp(its, time) : 0;

        if (other == migration) {
            is_first = false;
        } else if (str_eq(primitive_string(other, "instance_uuid"), uuid) &&
                   (order > 0 || (order == 0 && is_first))) {
            return false;
        }
    }
    return true;
}

static const struct json *
instance_of(const struct node_records *records, const struct json *migration)
{
    const char *uuid = primitive_string(migration, "instance_uuid");

    json_for_each (instance, primitive_objects(records->instances)) {
        if (uuid && str_eq(primitive_string(instance, "uuid"), uuid)) {
            return instance;
        }
    }
    return json_get(records->strangers, uuid);
}

/* Only a resize changes it. */
static const struct json *
flavor_of(const struct json *instance, const struct json *migration,
          const char *of_resize)
{
    bool is_resize =
        str_eq(primitive_string(migration, "migration_type"), "resize");

    return primitive_get(instance, is_resize ? of_resize : "flavor");
}

static bool
is_moving(const struct json *instance)
{
    static const char *const tasks[] = {
        "resize_prep",     "resize_migrating", "resize_migrated",
        "resize_finish",   "rebuilding",       "rebuild_block_device_mapping",
        "rebuild_spawning"};
    const char *vm = primitive_string(instance, "vm_state");
    const char *task = primitive_string(instance, "task_state");
    bool is_active = str_eq(vm, "active");

    if (str_eq(vm, "resized")) {
        return true;
    }
    if (str_eq(task, "migrating")) {
        return is_active || str_eq(vm, "paused");
    }
    for (size_t i = 0; i < N_ELEMENTS(tasks); i++) {
        if (str_eq(task, tasks[i])) {
            return is_active || str_eq(vm, "stopped");
        }
    }
    return false;
}

static bool
holds_nothing(const struct json *instance)
{
    const char *vm = primitive_string(instance, "vm_state");
    const char *task = primitive_string(instance, "task_state");

    return str_eq(vm, "deleted") ||
           (str_eq(vm, "shelved_offloaded") && !str_eq(task, "spawning"));
}

static bool
is_here(const struct node_records *records, const struct json *instance)
{
    return str_eq(primitive_string(instance, "host"), records->host) &&
           str_eq(primitive_string(instance, "node"), records->node);
}

static bool
comes_here(const struct node_records *records, const struct json *migration)
{
    return str_eq(primitive_string(migration, "dest_compute"), records->host) &&
           str_eq(primitive_string(migration, "dest_node"), records->node);
}

static void
take(struct count *c, const struct json *instance, const struct json *flavor,
     const struct json *numa)
{
    struct node_usage *usage = c->usage;

    usage->vcpus += primitive_int(flavor, "vcpus");
    usage->memory_mb += primitive_int(flavor, "memory_mb");
    usage->local_gb += is_volume_backed(c->records, instance)
                           ? 0
                           : primitive_int(flavor, "root_gb");
    usage->local_gb += primitive_int(flavor, "ephemeral_gb");
    usage->local_gb += primitive_int(flavor, "swap") / 1024;
    numa_topology_take(c->topology, numa);
}

/* One without a root device in its records is from a time when only those
 * without an image had a volume. */
static bool
is_volume_backed(const struct node_records *records,
                 const struct json *instance)
{
    const char *uuid = primitive_string(instance, "uuid");
    const char *image = primitive_string(instance, "image_ref");

    json_for_each (device, primitive_objects(records->devices)) {
        const struct json *index = primitive_get(device, "boot_index");

        if (str_eq(primitive_string(device, "instance_uuid"), uuid) &&
            json_is_int(index) && json_get_int(index) == 0) {
            return str_eq(primitive_string(device, "destination_type"),
                          "volume");
        }
    }
    return !image || !*image;
}

static void
add_stat(struct count *c, const char *what, const char *which)
{
    AUTO_FREE name = xasprintf("num_%s_%s", what, which ? which : "None");

    json_set_int(c->numbers, name, json_int_of(c->numbers, name) + 1);
}

/* Strings, as Nova stores them.  Without instances there is nothing to say but
 * how many builds failed. */
static void
finish_stats(struct count *c, unsigned n_failed_builds)
{
    static const char *const heavy[] = {
        "num_vm_building",         "num_task_resize_migrating",
        "num_task_rebuilding",     "num_task_resize_prep",
        "num_task_image_snapshot", "num_task_image_backup",
        "num_task_rescuing",       "num_task_unshelving"};
    struct json *numbers = c->numbers;
    int64_t n_heavy = 0;

    for (size_t i = 0; i < N_ELEMENTS(heavy); i++) {
        n_heavy += json_int_of(numbers, heavy[i]);
    }
    if (c->usage->n_instances) {
        json_set_int(numbers, "num_instances", c->usage->n_instances);
        json_set_int(numbers, "io_workload", n_heavy);
    }
    json_set_int(numbers, "failed_builds", n_failed_builds);
    json_for_each (number, numbers) {
        AUTO_FREE text = xasprintf("%" PRId64, json_get_int(number));
        json_set_string(c->usage->stats, json_name(number), text);
    }
}
