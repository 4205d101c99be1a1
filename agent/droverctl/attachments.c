#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Far more than any instance's. */
#define FILE_MAX (1u << 20)

static struct error *read_file(const char *path, struct json **ret);
static void print_volumes(const struct json *volumes);
static void print_ports(const struct json *vifs);

struct error *
verb_instance_attachments(struct tool *tool)
{
    AUTO_JSON instance = NULL;
    AUTO_JSON given = NULL;
    AUTO_JSON result = NULL;
    struct error *error = NULL;

    if (tool->n_args > 1) {
        error = read_file(tool->args[1], &given);
    }
    if (!error) {
        error = instance_find(tool, tool->args[0], &instance);
    }
    if (error) {
        return error;
    }
    AUTO_JSON args = args_of("instance", json_string_of(instance, "uuid"));
    if (given) {
        json_set(args, "attachments", steal(&given));
    }
    error = bus_ask(tool, json_string_of(instance, "host"), "attachments", args,
                    tool->timeout_ms, &result);
    if (error) {
        return error;
    }
    if (tool->as_json) {
        print_json(result);
        return NULL;
    }
    print_volumes(json_get(result, "volumes"));
    print_ports(json_get(result, "vifs"));
    return NULL;
}

static struct error *
read_file(const char *path, struct json **ret)
{
    bool is_stdin = str_eq(path, "-");
    FILE *file = is_stdin ? stdin : fopen(path, "re");

    if (!file) {
        return error_new(ERR_INVALID, "open '%s': %s", path, strerror(errno));
    }
    AUTO_FREE text = xmalloc(FILE_MAX);
    size_t size = fread(text, 1, FILE_MAX, file);
    bool is_whole = size < FILE_MAX && !ferror(file);
    if (!is_stdin) {
        fclose(file);
    }
    if (!is_whole) {
        return error_new(ERR_INVALID, "'%s' is too large or can't be read",
                         path);
    }
    return error_wrap(json_parse(text, size, ret), "file '%s'", path);
}

static void
print_volumes(const struct json *volumes)
{
    static const struct table_column columns[] = {
        {"VOLUME", false}, {"TYPE", false}, {"DISK", false}, {"PATH", false}};
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));

    json_for_each (row, volumes) {
        const struct json *info = json_get(row, "connection_info");
        const struct json *data = json_get(info, "data");

        table_add_member(table, info, "serial");
        table_add_member(table, info, "driver_volume_type");
        table_add_member(table, row, "dev");
        table_add_member(table, data,
                         json_has(data, "device_path") ? "device_path"
                                                       : "name");
    }
    print_table(table);
}

static void
print_ports(const struct json *vifs)
{
    static const struct table_column columns[] = {{"PORT", false},
                                                  {"TYPE", false},
                                                  {"ADDRESS", false},
                                                  {"BRIDGE", false},
                                                  {"DEVICE", false}};
    AUTO_TABLE table = table_create(columns, N_ELEMENTS(columns));

    putchar('\n');
    json_for_each (vif, vifs) {
        table_add_member(table, vif, "id");
        table_add_member(table, vif, "type");
        table_add_member(table, vif, "address");
        table_add_member(table, json_get(vif, "network"), "bridge");
        table_add_member(table, vif, "devname");
    }
    print_table(table);
}
