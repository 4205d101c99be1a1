#include <config.h>

#include "agent/nova/numa_info.h"

#include <ctype.h>
#include <strings.h>

#include "agent/base/mem.h"
#include "agent/migrate/data.h"
#include "agent/nova/primitive.h"

struct pins {
    const struct numa_info *info;
    const char *emulator_policy;
    struct cpu_set realtime; /* CPUs of the guest. */
    struct cpu_set emulator; /* CPUs of the host, as all below. */
    struct json *cpus, *cells;
};

static struct error *read_realtime(const struct numa_info *info,
                                   struct cpu_set *ret);
static bool is_yes(const char *text);
static const struct json *node_of(const struct numa_info *info, int64_t id);
static void pin_cell(struct pins *pins, const struct json *cell);
static void pin_cpu(struct pins *pins, const struct json *cell,
                    const struct json *node, const struct json *cpu);
static void pins_close(struct pins *pins);

struct error *
numa_info_set(const struct numa_info *info, struct object *migrate_data)
{
    CLEANUP(pins_close)
    struct pins pins = {
        .info = info,
        .emulator_policy =
            primitive_string(info->fitted, "emulator_threads_policy"),
        .cpus = json_object(),
        .cells = json_object(),
    };
    struct error *error = read_realtime(info, &pins.realtime);

    if (error) {
        return error;
    }
    json_for_each (cell, primitive_get(info->fitted, "cells")) {
        pin_cell(&pins, cell);
    }
    if (str_eq(pins.emulator_policy, "share") && info->shared) {
        for (size_t i = 0; i < info->shared->n; i++) {
            cpu_set_add(&pins.emulator, info->shared->cpus[i]);
        }
    }
    AUTO_JSON emulator = primitive_cpus(&pins.emulator);
    AUTO_JSON realtime =
        pins.realtime.n ? primitive_cpus(&pins.realtime) : NULL;
    const struct migrate_numa numa = {
        .cpu_pins = pins.cpus,
        .cell_pins = pins.cells,
        .emulator_pins = emulator,
        .sched_vcpus = realtime,
        .has_sched_priority = pins.realtime.n > 0,
        .sched_priority = info->realtime_priority,
    };
    migrate_data_set_dst_numa_info(migrate_data, &numa);
    return NULL;
}

/* The image's word is above the flavor's.  One that only takes out takes out of
 * all. */
static struct error *
read_realtime(const struct numa_info *info, struct cpu_set *ret)
{
    const struct json *flavor = object_get(info->instance, "flavor");
    const struct json *specs = primitive_get(flavor, "extra_specs");
    int last = (int)primitive_int(flavor, "vcpus") - 1;
    const char *mask =
        json_string_of(object_get(info->instance, "system_metadata"),
                       "image_hw_cpu_realtime_mask");

    if (!is_yes(json_string_of(specs, "hw:cpu_realtime"))) {
        return NULL;
    }
    mask = mask && *mask ? mask : json_string_of(specs, "hw:cpu_realtime_mask");
    while (mask && isspace((unsigned char)*mask)) {
        mask++;
    }
    AUTO_FREE text = !mask || !*mask ? xasprintf("0-%d", last)
                     : *mask == '^'  ? xasprintf("0-%d,%s", last, mask)
                                     : xstrdup(mask);
    if (!cpu_set_parse(text, last, ret) || ret->n == 0) {
        cpu_set_close(ret);
        return error_new(ERR_INVALID,
                         "'%s' names no CPUs that can run in real time", text);
    }
    return NULL;
}

static bool
is_yes(const char *text)
{
    static const char *const words[] = {"1", "t", "true", "on", "y", "yes"};

    for (size_t i = 0; text && i < N_ELEMENTS(words); i++) {
        if (strcasecmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static const struct json *
node_of(const struct numa_info *info, int64_t id)
{
    json_for_each (node, primitive_get(info->host, "cells")) {
        if (primitive_int(node, "id") == id) {
            return node;
        }
    }
    return NULL;
}

static void
pin_cell(struct pins *pins, const struct json *cell)
{
    static const char *const sets[] = {"cpuset", "pcpuset"};
    int64_t id = primitive_int(cell, "id");
    const struct json *node = node_of(pins->info, id);
    AUTO_FREE name = xasprintf("%zu", json_size(pins->cells));

    json_set(pins->cells, name, json_append(json_array(), json_int(id)));
    for (size_t i = 0; i < N_ELEMENTS(sets); i++) {
        json_for_each (cpu, primitive_get(cell, sets[i])) {
            pin_cpu(pins, cell, node, cpu);
        }
    }
    if (str_eq(pins->emulator_policy, "isolate")) {
        json_for_each (cpu, primitive_get(cell, "cpuset_reserved")) {
            cpu_set_add(&pins->emulator, (int)json_get_int(cpu));
        }
    }
}

/* One without a CPU of its own floats over those of its node that guests share.
 * The emulator is where the guest is, but out of the way of real time. */
static void
pin_cpu(struct pins *pins, const struct json *cell, const struct json *node,
        const struct json *cpu)
{
    int number = (int)json_get_int(cpu);
    AUTO_FREE name = xasprintf("%d", number);
    const struct json *own =
        json_get(primitive_get(cell, "cpu_pinning_raw"), name);
    bool has_emulator =
        !str_eq(pins->emulator_policy, "isolate") &&
        !(str_eq(pins->emulator_policy, "share") && pins->info->shared) &&
        !cpu_set_has(&pins->realtime, number);
    struct json *set = own ? json_append(json_array(), json_copy(own))
                           : json_copy(primitive_get(node, "cpuset"));

    json_for_each (pin, has_emulator ? set : NULL) {
        cpu_set_add(&pins->emulator, (int)json_get_int(pin));
    }
    json_set(pins->cpus, name, set ? set : json_array());
}

static void
pins_close(struct pins *pins)
{
    cpu_set_close(&pins->realtime);
    cpu_set_close(&pins->emulator);
    json_free(pins->cpus);
    json_free(pins->cells);
}
