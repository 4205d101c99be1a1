#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MIB INT64_C(1048576)

static struct error *gather_lists(struct tool *tool, struct json **ret);
static struct json *choose(const struct json *known);
static struct error *ambiguous(const char *name, const struct json *known);
static void print_instance(const struct json *instance);
static void print_disks(const struct json *disks);

struct error *
verb_instance_list(struct tool *tool)
{
    static const struct table_column columns[] = {
        {"NAME", false}, {"UUID", false},  {"HOST", false},  {"STATE", false},
        {"TASK", false}, {"POWER", false}, {"MEMORY", true}, {"VCPUS", true},
    };
    AUTO_JSON list = NULL;
    struct error *error = gather_lists(tool, &list);

    if (error) {
        return error;
    }
    json_sort(&list, "name", "uuid");
    if (tool->as_json) {
        print_json(list);
        return NULL;
    }
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));
    json_for_each (instance, list) {
        AUTO_FREE memory = size_text(number_of(instance, "memory_mb") * MIB);

        table_add_member(table, instance, "name");
        table_add_member(table, instance, "uuid");
        table_add_member(table, instance, "host");
        table_add_member(table, instance, "vm_state");
        table_add_member(table, instance, "task_state");
        table_add_member(table, instance, "power_state");
        table_add(table, memory);
        table_add_member(table, instance, "vcpus");
    }
    print_table(table);
    return NULL;
}

struct error *
verb_instance_show(struct tool *tool)
{
    AUTO_JSON instance = NULL;
    struct error *error = instance_find(tool, tool->args[0], &instance);

    if (error) {
        return error;
    }
    if (tool->as_json) {
        print_json(instance);
    } else {
        print_instance(instance);
    }
    return NULL;
}

struct error *
instance_find(struct tool *tool, const char *name, struct json **ret)
{
    AUTO_JSON args = args_of("instance", name);

    if (tool->host) {
        return bus_ask(tool, tool->host, "instance_show", args,
                       tool->timeout_ms, ret);
    }
    AUTO_ANSWERS answers;
    struct error *error = bus_gather(tool, "instance_show", args, &answers);
    if (error) {
        return error;
    }
    size_t n = json_size(answers.results);
    if (n == 0) {
        return answers_nothing(tool, &answers, ERR_INSTANCE_NOT_FOUND,
                               "instance_id", name);
    }
    *ret = choose(answers.results);
    return *ret ? NULL : ambiguous(name, answers.results);
}

static struct error *
gather_lists(struct tool *tool, struct json **ret)
{
    if (tool->host) {
        return bus_ask(tool, tool->host, "instance_list", NULL,
                       tool->timeout_ms, ret);
    }
    AUTO_ANSWERS answers;
    struct error *error = bus_gather(tool, "instance_list", NULL, &answers);
    if (!error) {
        error = answers_judge(&answers);
    }
    if (error) {
        return error;
    }
    *ret = json_array();
    json_for_each (list, answers.results) {
        json_for_each (instance, list) {
            json_append(*ret, json_copy(instance));
        }
    }
    return NULL;
}

/* A copy of the one that is meant; null if that is not clear.  While an
 * instance moves, both hosts may know it for a moment: the one that is busy
 * with it is the one to talk to. */
static struct json *
choose(const struct json *known)
{
    const struct json *best = json_first(known);

    json_for_each (other, known) {
        if (!str_eq(json_string_of(best, "uuid"),
                    json_string_of(other, "uuid"))) {
            return NULL;
        }
        if (json_string_of(other, "task_state")) {
            best = other;
        }
    }
    return json_copy(best);
}

static struct error *
ambiguous(const char *name, const struct json *known)
{
    AUTO_FREE list = NULL;

    json_for_each (instance, known) {
        char *longer =
            xasprintf("%s%s%s on %s", list ? list : "", list ? ", " : "",
                      text_of(instance, "uuid"), text_of(instance, "host"));
        free(list);
        list = longer;
    }
    return error_new(ERR_INVALID,
                     "'%s' names several instances: %s (use the UUID, or "
                     "--host)",
                     name, list);
}

static void
print_instance(const struct json *instance)
{
    AUTO_FREE memory = size_text(number_of(instance, "memory_mb") * MIB);

    print_member("Name", instance, "name");
    print_member("UUID", instance, "uuid");
    print_member("Host", instance, "host");
    print_member("State", instance, "vm_state");
    print_member("Task", instance, "task_state");
    print_member("Power", instance, "power_state");
    print_field("Memory", "%s", memory);
    print_member("VCPUs", instance, "vcpus");
    if (json_string_of(instance, "task_state")) {
        print_field("Progress", "%" PRId64 " %%",
                    number_of(instance, "progress"));
    }
    if (json_size(json_get(instance, "disks"))) {
        putchar('\n');
        print_disks(json_get(instance, "disks"));
    }
}

static void
print_disks(const struct json *disks)
{
    static const struct table_column columns[] = {
        {"DISK", false}, {"DEVICE", false}, {"FORMAT", false},  {"SIZE", true},
        {"USED", true},  {"PATH", false},   {"BACKING", false},
    };
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));

    json_for_each (disk, disks) {
        AUTO_FREE size = size_text(number_of(disk, "virtual_size"));
        AUTO_FREE used = size_text(number_of(disk, "allocated_size"));

        table_add_member(table, disk, "target");
        table_add_member(table, disk, "device");
        table_add_member(table, disk, "format");
        table_add(table, size);
        table_add(table, used);
        table_add_member(table, disk, "path");
        table_add_member(table, disk, "backing_path");
    }
    print_table(table);
}
