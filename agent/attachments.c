#include <config.h>

#include "agent/attachments.h"

#include <stdlib.h>
#include <string.h>

#include "agent/migrate/data.h"

static struct error *parse_text(const char *text, const char *what,
                                struct json **ret);
static struct error *parse_migrate_vif(const struct migrate_vif *row,
                                       bool is_source, struct json **ret);

static bool
is_short_list(const struct json *list)
{
    return !list || json_is_null(list) ||
           (json_is_array(list) && json_size(list) <= ATTACHMENTS_MAX);
}

struct error *
attachments_parse(const struct json *json, const char *uuid, struct json **ret)
{
    const struct json *volumes = json_get(json, "volumes");
    const struct json *vifs = json_get(json, "vifs");

    if (!json_is_object(json) || !is_short_list(volumes) ||
        !is_short_list(vifs)) {
        return error_new(ERR_VALUE, "attachments are an object with the lists "
                                    "'volumes' and 'vifs'");
    }
    json_for_each (row, volumes) {
        CLEANUP(volume_free_at) struct volume *volume = NULL;
        struct error *error = attachments_parse_volume(
            NULL, json_get(row, "connection_info"), uuid, &volume);
        if (!error) {
            error = volume_check(volume);
        }
        if (error) {
            return error;
        }
    }
    json_for_each (row, vifs) {
        CLEANUP(vif_free_at) struct vif *vif = NULL;
        struct error *error = attachments_parse_vif(row, uuid, &vif);
        if (!error) {
            error = vif_check(vif);
        }
        if (error) {
            return error;
        }
    }
    *ret = json_object();
    json_set(*ret, "volumes", volumes ? json_copy(volumes) : json_array());
    json_set(*ret, "vifs", vifs ? json_copy(vifs) : json_array());
    return NULL;
}

const struct json *
attachments_of(const struct object *instance)
{
    const struct json *kept = object_get(instance, ATTACHMENTS_FIELD);

    return json_is_object(kept) ? kept : NULL;
}

/* What is absent, or something else, is an empty object; the caller's. */
static char *
object_text(const struct json *json)
{
    return json_is_object(json) ? json_print(json, NULL) : xstrdup("{}");
}

static void
tell_volumes(const struct json *volumes, struct object *data)
{
    size_t n = 0;
    struct migrate_bdm bdms[ATTACHMENTS_MAX];
    char *texts[ATTACHMENTS_MAX];

    json_for_each (row, volumes) {
        const struct json *info = json_get(row, "connection_info");
        const struct json *order = json_get(row, "boot_index");
        if (n == ATTACHMENTS_MAX) {
            break;
        }
        texts[n] = object_text(info);
        bdms[n] = (struct migrate_bdm){
            .serial = json_string_of(info, "serial"),
            .bus = json_string_of(row, "bus"),
            .dev = json_string_of(row, "dev"),
            .type =
                json_has(row, "type") ? json_string_of(row, "type") : "disk",
            .boot_index = json_is_int(order) ? (int)json_get_int(order) : -1,
            .connection_info_json = texts[n],
            .encryption_secret_uuid =
                json_string_of(row, "encryption_secret_uuid"),
        };
        n++;
    }
    migrate_data_set_bdms(data, bdms, n);
    for (size_t i = 0; i < n; i++) {
        free(texts[i]);
    }
}

static void
tell_vifs(const struct json *rows, struct object *data)
{
    size_t n = 0;
    struct migrate_vif vifs[ATTACHMENTS_MAX];
    char *details[ATTACHMENTS_MAX], *profiles[ATTACHMENTS_MAX],
        *sources[ATTACHMENTS_MAX];

    json_for_each (row, rows) {
        if (n == ATTACHMENTS_MAX) {
            break;
        }
        details[n] = object_text(json_get(row, "details"));
        profiles[n] = object_text(json_get(row, "profile"));
        sources[n] = object_text(row);
        vifs[n] = (struct migrate_vif){
            .port_id = json_string_of(row, "id"),
            .vnic_type = json_string_of(row, "vnic_type"),
            .vif_type = json_string_of(row, "type"),
            .vif_details_json = details[n],
            .profile_json = profiles[n],
            .source_vif = sources[n],
        };
        n++;
    }
    migrate_data_set_vifs(data, vifs, n);
    for (size_t i = 0; i < n; i++) {
        free(details[i]);
        free(profiles[i]);
        free(sources[i]);
    }
}

void
attachments_name_ports(const struct object *instance, struct object *data)
{
    const struct json *cache =
        json_get(object_get(instance, "info_cache"), "nova_object.data");
    const char *text = json_string_of(cache, "network_info");
    AUTO_JSON known = NULL;
    AUTO_ERROR error = text ? json_parse(text, strlen(text), &known) : NULL;
    struct migrate_vif vifs[ATTACHMENTS_MAX] = {{0}};
    char *texts[ATTACHMENTS_MAX];
    size_t n = 0;

    if (migrate_data_has_vifs(data) || error) {
        return;
    }
    json_for_each (vif, known) {
        if (n < ATTACHMENTS_MAX && json_string_of(vif, "id")) {
            texts[n] = json_print(vif, NULL);
            vifs[n].port_id = json_string_of(vif, "id");
            vifs[n].source_vif = texts[n];
            n++;
        }
    }
    migrate_data_set_vifs(data, vifs, n);
    while (n > 0) {
        free(texts[--n]);
    }
}

void
attachments_tell(const struct object *instance, struct object *data)
{
    const struct json *kept = attachments_of(instance);
    const struct json *volumes = json_get(kept, "volumes");
    const struct json *vifs = json_get(kept, "vifs");

    if (json_size(volumes) && !migrate_data_n_bdms(data)) {
        tell_volumes(volumes, data);
    }
    if (json_size(vifs) && !migrate_data_n_vifs(data)) {
        tell_vifs(vifs, data);
    }
}

void
attachments_keep(struct object *instance, const struct object *data)
{
    size_t n_bdms = data ? migrate_data_n_bdms(data) : 0;
    size_t n_vifs = data ? migrate_data_n_vifs(data) : 0;

    if (!n_bdms && !n_vifs) {
        return;
    }
    struct json *volumes = json_array(), *vifs = json_array();
    for (size_t i = 0; i < n_bdms; i++) {
        struct migrate_bdm bdm = migrate_data_bdm(data, i);
        struct json *row = json_object(), *info = NULL;
        error_free(parse_text(bdm.connection_info_json, "", &info));
        json_set(row, "connection_info", info);
        json_set(row, "dev", json_string(bdm.dev));
        json_set(row, "bus", json_string(bdm.bus));
        json_set(row, "type", json_string(bdm.type));
        if (bdm.boot_index >= 0) {
            json_set_int(row, "boot_index", bdm.boot_index);
        }
        if (bdm.encryption_secret_uuid) {
            json_set_string(row, "encryption_secret_uuid",
                            bdm.encryption_secret_uuid);
        }
        json_append(volumes, row);
    }
    for (size_t i = 0; i < n_vifs; i++) {
        struct migrate_vif row = migrate_data_vif(data, i);
        struct json *vif = NULL;
        error_free(parse_migrate_vif(&row, false, &vif));
        json_append(vifs, vif ? vif : json_object());
    }
    struct json *kept = json_object();
    json_set(kept, "volumes", volumes);
    json_set(kept, "vifs", vifs);
    object_set(instance, ATTACHMENTS_FIELD, kept);
}

void
attachments_mark(const struct object *instance, struct guest *guest)
{
    const struct json *rows = json_get(attachments_of(instance), "volumes");

    json_for_each (row, rows) {
        const char *id =
            json_string_of(json_get(row, "connection_info"), "serial");
        for (size_t i = 0; id && i < guest->n_disks; i++) {
            guest->disks[i].is_volume |= str_eq(guest->disks[i].serial, id);
        }
    }
}

struct error *
attachments_volumes(const struct conf *conf, const struct object *data,
                    const char *uuid, struct volume_list *ret)
{
    AUTO_VOLUMES list = {0};
    size_t n = data ? migrate_data_n_bdms(data) : 0;

    for (size_t i = 0; i < n; i++) {
        struct migrate_bdm bdm = migrate_data_bdm(data, i);
        AUTO_JSON info = NULL;
        struct volume *volume = NULL;
        struct error *error = parse_text(bdm.connection_info_json,
                                         "connection_info of a volume", &info);
        if (!error) {
            error = attachments_parse_volume(conf, info, uuid, &volume);
        }
        if (error) {
            return error;
        }
        volume->target = xstrdup_null(bdm.dev);
        volume->bus = xstrdup_null(bdm.bus);
        volume->encryption_secret_uuid =
            xstrdup_null(bdm.encryption_secret_uuid);
        volume_list_add(&list, volume);
    }
    *ret = list;
    list = (struct volume_list){0};
    return NULL;
}

struct error *
attachments_own_volumes(const struct conf *conf, const struct object *instance,
                        struct volume_list *ret)
{
    AUTO_OBJECT data = migrate_data_create();

    attachments_tell(instance, data);
    return attachments_volumes(conf, data, object_string(instance, "uuid"),
                               ret);
}

void
attachments_set_paths(struct object *data, const struct volume_list *volumes)
{
    size_t n = migrate_data_n_bdms(data);
    struct migrate_bdm *bdms = xcalloc(n, sizeof *bdms);
    char **texts = xcalloc(n, sizeof *texts);
    AUTO_OBJECT before = object_copy(data); /* From which is borrowed. */

    for (size_t i = 0; i < n; i++) {
        AUTO_JSON info = NULL;
        bdms[i] = migrate_data_bdm(before, i);
        if (i < volumes->n && volumes->volumes[i]->device_path) {
            error_free(parse_text(bdms[i].connection_info_json, "", &info));
            struct json *inner = json_get(info, "data");
            json_set_string(inner, "device_path",
                            volumes->volumes[i]->device_path);
            if (volumes->volumes[i]->is_file) {
                json_set_string(inner, "device_type", "file");
            }
            texts[i] = json_print(info, NULL);
            bdms[i].connection_info_json = texts[i];
        }
    }
    if (n) {
        migrate_data_set_bdms(data, bdms, n);
    }
    for (size_t i = 0; i < n; i++) {
        free(texts[i]);
    }
    free(texts);
    free(bdms);
}

struct error *
attachments_vifs(const struct object *data, const char *uuid, bool is_source,
                 struct vif_list *ret)
{
    AUTO_VIFS list = {0};
    size_t n = data ? migrate_data_n_vifs(data) : 0;

    for (size_t i = 0; i < n; i++) {
        struct migrate_vif row = migrate_data_vif(data, i);
        AUTO_JSON json = NULL;
        struct vif *vif = NULL;
        struct error *error = parse_migrate_vif(&row, is_source, &json);
        if (!error) {
            error = attachments_parse_vif(json, uuid, &vif);
        }
        if (error) {
            return error;
        }
        vif_list_add(&list, vif);
    }
    *ret = list;
    list = (struct vif_list){0};
    return NULL;
}

static struct error *
parse_text(const char *text, const char *what, struct json **ret)
{
    struct error *error = text ? json_parse(text, strlen(text), ret)
                               : error_new(ERR_VALUE, "it is not said");

    return error_wrap(error, "%s", what);
}

/* As VIFMigrateData.get_dest_vif() does. */
static struct error *
parse_migrate_vif(const struct migrate_vif *row, bool is_source,
                  struct json **ret)
{
    AUTO_JSON vif = NULL;
    AUTO_JSON details = NULL;
    AUTO_JSON profile = NULL;
    struct error *error = parse_text(row->source_vif, "source_vif", &vif);

    if (error || is_source || !row->vif_type) {
        if (!error) {
            *ret = steal(&vif);
        }
        return error;
    }
    error = parse_text(row->vif_details_json ? row->vif_details_json : "{}",
                       "vif_details", &details);
    if (!error) {
        error = parse_text(row->profile_json ? row->profile_json : "{}",
                           "profile", &profile);
    }
    if (!error && !json_is_object(vif)) {
        error = error_new(ERR_VALUE, "source_vif is no object");
    }
    if (error) {
        return error;
    }
    json_set_string(vif, "type", row->vif_type);
    json_set(vif, "vnic_type", json_string(row->vnic_type));
    json_set_bool(vif, "delegate_create",
                  json_bool_of(profile, "os_vif_delegation"));
    json_set(vif, "details", steal(&details));
    json_set(vif, "profile", steal(&profile));
    *ret = steal(&vif);
    return NULL;
}
