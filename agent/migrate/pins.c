#include <config.h>

#include "agent/migrate/pins.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/migrate/data.h"

static void fill(const struct json *map, struct guest_pins *ret);
static char *set_text(const struct json *set);
static char *union_text(const struct json *map);
static void print_set(FILE *out, const struct json *set, bool *is_first);

void
migrate_pins_of(const struct object *data, struct dest_pins *ret)
{
    *ret = (struct dest_pins){.has_priority = false};
    if (!migrate_data_has_dst_numa_info(data)) {
        return;
    }
    struct migrate_numa numa = migrate_data_dst_numa_info(data);

    fill(numa.cpu_pins, &ret->cpus);
    fill(numa.cell_pins, &ret->cells);
    ret->all_cells = union_text(numa.cell_pins);
    ret->emulator = set_text(numa.emulator_pins);
    ret->realtime = set_text(numa.sched_vcpus);
    ret->has_priority = numa.has_sched_priority;
    ret->priority = numa.sched_priority;
}

/* An empty set would hold the guest to nothing at all: it is left out. */
static void
fill(const struct json *map, struct guest_pins *ret)
{
    ret->pins = xcalloc(json_size(map), sizeof *ret->pins);
    json_for_each (set, map) {
        char *text = set_text(set);

        if (text) {
            ret->pins[ret->n].id = xstrdup(json_name(set));
            ret->pins[ret->n++].set = text;
        }
    }
}

/* Null: there is none, or it is empty. */
static char *
set_text(const struct json *set)
{
    char *text = NULL;
    size_t size;
    bool is_first = true;

    if (json_size(set) == 0) {
        return NULL;
    }
    FILE *out = open_memstream(&text, &size);
    print_set(out, set, &is_first);
    fclose(out);
    return text;
}

static char *
union_text(const struct json *map)
{
    char *text = NULL;
    size_t size;
    bool is_first = true;
    FILE *out = open_memstream(&text, &size);

    json_for_each (set, map) {
        print_set(out, set, &is_first);
    }
    fclose(out);
    if (is_first) {
        free(text);
        return NULL;
    }
    return text;
}

/* libvirt takes a number that stands twice. */
static void
print_set(FILE *out, const struct json *set, bool *is_first)
{
    json_for_each (number, set) {
        fprintf(out, "%s%lld", *is_first ? "" : ",",
                (long long)json_get_int(number));
        *is_first = false;
    }
}
