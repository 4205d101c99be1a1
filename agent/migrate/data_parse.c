#include <config.h>

#include "agent/migrate/data.h"

#include <arpa/inet.h>
#include <limits.h>
#include <string.h>

#include "rpc/utf8.h"

/* What a peer sent, before anything is made of it. */

/* Of anything that there are several of; far more than any guest has. */
#define ITEMS_MAX 1024

enum field_type { FIELD_STRING, FIELD_BOOL, FIELD_INT };

static const struct field {
    const char *name;
    enum field_type type;
    bool nullable;
} fields[] = {
#define MIGRATE_DATA_FIELD(FIELD, TYPE, NULLABLE) \
    {#FIELD, FIELD_##TYPE, NULLABLE},
    MIGRATE_DATA_FIELDS
#undef MIGRATE_DATA_FIELD
};

static const char *const bdm_strings[] = {"serial",
                                          "bus",
                                          "dev",
                                          "type",
                                          "format",
                                          "connection_info_json",
                                          "encryption_secret_uuid",
                                          NULL};
static const char *const vif_strings[] = {
    "port_id",      "vnic_type", "vif_type",   "vif_details_json",
    "profile_json", "host",      "source_vif", NULL};

static struct error *check(const struct object *data);
static struct error *check_fields(const struct object *data);
static struct error *check_file_name(const struct object *data,
                                     const char *field);
static struct error *check_address(const struct object *data,
                                   const char *field);
static struct error *check_list(const struct object *data, const char *field,
                                bool (*is_right)(const struct json *),
                                const char *const *strings);
static struct error *check_strings(const struct json *object,
                                   const char *const *names, const char *what);
static struct error *check_map(const struct json *map, const char *field,
                               bool (*is_right)(const struct json *));
static struct error *check_numa(const struct object *data);
static struct error *check_migration(const struct object *data);
static bool is_port(const struct json *value);
static bool is_bdm(const struct json *value);
static bool is_vif(const struct json *value);
static bool is_number_set(const struct json *value);
static const struct json *data_of(const struct json *primitive);

struct error *
migrate_data_parse(const struct json *json, struct object **ret)
{
    AUTO_OBJECT data = NULL;

    struct error *error = object_parse(json, "LibvirtLiveMigrateData", &data);
    if (!error && strncmp(object_version(data), "1.", 2) != 0) {
        error = error_new(ERR_INCOMPATIBLE_OBJECT,
                          "version %s is not understood", object_version(data));
    }
    error = error ? error : check(data);
    if (!error) {
        *ret = steal(&data);
    }
    return error_wrap(error, "migrate data");
}

/* The first of these errors; the rest is not looked at. */
static struct error *
check(const struct object *data)
{
    struct error *error = check_fields(data);

    error = error ? error : check_file_name(data, "filename");
    error = error ? error : check_file_name(data, "instance_relative_path");
    error = error ? error : check_address(data, "graphics_listen_addr_vnc");
    error = error ? error : check_address(data, "graphics_listen_addr_spice");
    error =
        error ? error : check_list(data, "serial_listen_ports", is_port, NULL);
    error =
        error ? error
              : check_list(data, "supported_perf_events", json_is_string, NULL);
    error = error ? error : check_list(data, "bdms", is_bdm, bdm_strings);
    error = error ? error : check_list(data, "vifs", is_vif, vif_strings);
    error = error ? error
                  : check_map(object_get(data, "old_vol_attachment_ids"),
                              "old_vol_attachment_ids", json_is_string);
    error = error ? error : check_numa(data);
    return error ? error : check_migration(data);
}

static struct error *
check_fields(const struct object *data)
{
    for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
        const struct field *field = &fields[i];
        const struct json *value = object_get(data, field->name);
        bool is_right =
            !value || (field->nullable && json_is_null(value)) ||
            (field->type == FIELD_STRING && json_is_string(value)) ||
            (field->type == FIELD_BOOL && json_is_bool(value)) ||
            (field->type == FIELD_INT && json_is_int(value));

        if (!is_right) {
            return error_new(ERR_VALUE, "'%s' has the wrong type", field->name);
        }
    }
    return NULL;
}

/* A name that stays in its directory. */
static struct error *
check_file_name(const struct object *data, const char *field)
{
    const char *name = object_string(data, field);

    if (!name) {
        return NULL;
    }
    size_t size = strlen(name);
    if (size == 0 || size > NAME_MAX || strchr(name, '/') ||
        utf8_has_nul(name) || str_eq(name, ".") || str_eq(name, "..")) {
        return error_new(ERR_VALUE, "'%s' is no bare file name", field);
    }
    return NULL;
}

static struct error *
check_address(const struct object *data, const char *field)
{
    const char *text = object_string(data, field);
    struct in6_addr addr;

    if (text && inet_pton(AF_INET, text, &addr) != 1 &&
        inet_pton(AF_INET6, text, &addr) != 1) {
        return error_new(ERR_VALUE, "'%s' is no IP address", field);
    }
    return NULL;
}

static bool
is_port(const struct json *value)
{
    return json_is_int(value) && json_get_int(value) > 0 &&
           json_get_int(value) <= 65535;
}

static bool
is_bdm(const struct json *value)
{
    const struct json *boot_index = json_get(data_of(value), "boot_index");

    return str_eq(json_string_of(value, "nova_object.name"),
                  "LibvirtLiveMigrateBDMInfo") &&
           (!boot_index || json_is_null(boot_index) ||
            (json_is_int(boot_index) && json_get_int(boot_index) >= -1 &&
             json_get_int(boot_index) <= INT_MAX));
}

static bool
is_vif(const struct json *value)
{
    return str_eq(json_string_of(value, "nova_object.name"), "VIFMigrateData");
}

static struct error *
check_list(const struct object *data, const char *field,
           bool (*is_right)(const struct json *), const char *const *strings)
{
    const struct json *list = object_get(data, field);
    struct error *error = NULL;

    if (!list) {
        return NULL;
    }
    if (!json_is_array(list) || json_size(list) > ITEMS_MAX) {
        return error_new(ERR_VALUE, "'%s' is no list, or too long", field);
    }
    json_for_each (value, list) {
        if (!is_right(value)) {
            return error_new(ERR_VALUE, "'%s' holds something else", field);
        }
        error = strings ? check_strings(data_of(value), strings, field) : NULL;
        if (error) {
            return error;
        }
    }
    return NULL;
}

/* An object whose members are all right. */
static struct error *
check_map(const struct json *map, const char *field,
          bool (*is_right)(const struct json *))
{
    if (!map) {
        return NULL;
    }
    if (!json_is_object(map) || json_size(map) > ITEMS_MAX) {
        return error_new(ERR_VALUE, "'%s' is no object, or too large", field);
    }
    json_for_each (value, map) {
        if (!is_right(value)) {
            return error_new(ERR_VALUE, "'%s' holds something else", field);
        }
    }
    return NULL;
}

static bool
is_number_set(const struct json *value)
{
    json_for_each (number, value) {
        if (!json_is_int(number) || json_get_int(number) < 0 ||
            json_get_int(number) > INT_MAX) {
            return false;
        }
    }
    return json_is_array(value);
}

static struct error *
check_numa(const struct object *data)
{
    const struct json *primitive = object_get(data, "dst_numa_info");
    const struct json *numa = data_of(primitive);

    if (!primitive) {
        return NULL;
    }
    if (!str_eq(json_string_of(primitive, "nova_object.name"),
                "LibvirtLiveMigrateNUMAInfo")) {
        return error_new(ERR_VALUE, "'dst_numa_info' is something else");
    }
    static const char *const sets[] = {"emulator_pins", "sched_vcpus"};
    for (size_t i = 0; i < N_ELEMENTS(sets); i++) {
        const struct json *set = json_get(numa, sets[i]);
        if (set && !is_number_set(set)) {
            return error_new(ERR_VALUE, "'%s' is no set of numbers", sets[i]);
        }
    }
    const struct json *priority = json_get(numa, "sched_priority");
    if (priority && (!json_is_int(priority) || json_get_int(priority) < 0 ||
                     json_get_int(priority) > INT_MAX)) {
        return error_new(ERR_VALUE, "'sched_priority' is no number");
    }
    struct error *error =
        check_map(json_get(numa, "cpu_pins"), "cpu_pins", is_number_set);
    return error ? error
                 : check_map(json_get(numa, "cell_pins"), "cell_pins",
                             is_number_set);
}

static struct error *
check_migration(const struct object *data)
{
    const struct json *value = object_get(data, "migration");

    if (value && !json_is_null(value) &&
        !str_eq(json_string_of(value, "nova_object.name"), "Migration")) {
        return error_new(ERR_VALUE, "'migration' is something else");
    }
    return NULL;
}

/* Absent and null are both fine. */
static struct error *
check_strings(const struct json *object, const char *const *names,
              const char *what)
{
    for (; *names; names++) {
        const struct json *value = json_get(object, *names);
        if (value && !json_is_string(value) && !json_is_null(value)) {
            return error_new(ERR_VALUE, "'%s' in '%s' is no string", *names,
                             what);
        }
    }
    return NULL;
}

static const struct json *
data_of(const struct json *primitive)
{
    return json_get(primitive, "nova_object.data");
}
