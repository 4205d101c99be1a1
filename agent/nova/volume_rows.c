#include <config.h>

#include "agent/nova/volume_rows.h"

#include <stdlib.h>
#include <string.h>

#include "agent/attachments.h"
#include "agent/migrate/data.h"
#include "agent/nova/primitive.h"

const struct json *
volume_rows_device(const struct json *list, const char *volume)
{
    json_for_each (device, primitive_objects(list)) {
        if (volume && str_eq(primitive_string(device, "volume_id"), volume) &&
            str_eq(primitive_string(device, "destination_type"), "volume")) {
            return device;
        }
    }
    return NULL;
}

/* Where nothing else says so it is in the name, as Nova gives it. */
static const char *
bus_of(const struct json *device, const char *dev)
{
    const char *bus = primitive_string(device, "disk_bus");

    if (bus || !dev) {
        return bus;
    }
    return strncmp(dev, "sd", 2) == 0   ? "scsi"
           : strncmp(dev, "hd", 2) == 0 ? "ide"
                                        : "virtio";
}

static struct json *
row_of(const struct json *device)
{
    const char *name = primitive_string(device, "device_name");
    const char *text = primitive_string(device, "connection_info");
    const char *type = primitive_string(device, "device_type");
    const char *slash = name ? strrchr(name, '/') : NULL;
    const char *dev = slash ? slash + 1 : name;
    const struct json *order = primitive_get(device, "boot_index");
    struct json *row = json_object();
    AUTO_JSON info = NULL;

    json_set_string(row, "volume_id", primitive_string(device, "volume_id"));
    json_set(row, "attachment_id",
             json_string(primitive_string(device, "attachment_id")));
    json_set(row, "device_name", json_string(name));
    json_set(row, "dev", json_string(dev));
    json_set(row, "bus", json_string(bus_of(device, dev)));
    json_set_string(row, "type", type ? type : "disk");
    if (json_is_int(order) && json_get_int(order) >= 0) {
        json_set_int(row, "boot_index", json_get_int(order) + 1);
    }
    if (text) { /* What is none was never connected. */
        error_free(json_parse(text, strlen(text), &info));
    }
    if (json_is_object(info) && json_size(info)) {
        volume_row_connect(row, info);
    }
    return row;
}

struct json *
volume_rows_of(const struct json *list, bool only_connected)
{
    struct json *rows = json_array();

    json_for_each (device, primitive_objects(list)) {
        bool is_volume =
            str_eq(primitive_string(device, "destination_type"), "volume") &&
            primitive_string(device, "volume_id");
        struct json *row = is_volume ? row_of(device) : NULL;

        if (row && (!only_connected || json_has(row, "connection_info"))) {
            json_append(rows, row);
        } else {
            json_free(row);
        }
    }
    return rows;
}

struct error *
volume_rows_check(const struct json *rows)
{
    if (json_size(rows) > ATTACHMENTS_MAX) {
        return error_new(ERR_NOT_IMPLEMENTED, "more than %d volumes",
                         ATTACHMENTS_MAX);
    }
    json_for_each (row, rows) {
        const char *volume = json_string_of(row, "volume_id");
        const struct json *data =
            json_get(json_get(row, "connection_info"), "data");

        if (!json_string_of(row, "attachment_id")) {
            return error_new(ERR_NOT_IMPLEMENTED,
                             "volume '%s' was attached before there were "
                             "attachments in Cinder",
                             volume);
        }
        if (json_bool_of(data, "encrypted")) {
            return error_new(ERR_NOT_IMPLEMENTED, "volume '%s' is encrypted",
                             volume);
        }
    }
    return NULL;
}

void
volume_row_connect(struct json *row, const struct json *connection_info)
{
    struct json *info = json_copy(connection_info);

    if (!json_string_of(info, "serial")) {
        json_set_string(info, "serial", json_string_of(row, "volume_id"));
    }
    json_set(row, "connection_info", info);
}

void
volume_rows_tell(const struct json *rows, struct object *data)
{
    struct migrate_bdm bdms[ATTACHMENTS_MAX];
    char *texts[ATTACHMENTS_MAX];
    size_t n = 0;

    json_for_each (row, rows) {
        const struct json *info = json_get(row, "connection_info");

        if (n == ATTACHMENTS_MAX || !json_size(info)) {
            continue;
        }
        texts[n] = json_print(info, NULL);
        bdms[n] = (struct migrate_bdm){
            .serial = json_string_of(info, "serial"),
            .bus = json_string_of(row, "bus"),
            .dev = json_string_of(row, "dev"),
            .type = json_string_of(row, "type"),
            .boot_index = json_has(row, "boot_index")
                              ? (int)json_int_of(row, "boot_index")
                              : -1,
            .connection_info_json = texts[n],
        };
        n++;
    }
    migrate_data_set_bdms(data, bdms, n);
    while (n > 0) {
        free(texts[--n]);
    }
}
