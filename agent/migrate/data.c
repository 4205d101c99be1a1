#include <config.h>

#include "agent/migrate/data.h"

#define NAME "LibvirtLiveMigrateData"
#define VERSION "1.10"
#define BDM_NAME "LibvirtLiveMigrateBDMInfo"
#define VIF_NAME "VIFMigrateData"
#define NUMA_NAME "LibvirtLiveMigrateNUMAInfo"

static const struct json *data_of(const struct json *primitive);
static const struct json *item(const struct object *data, const char *field,
                               size_t i);
static void set_text(struct object *object, const char *field,
                     const char *value);
static void set_copy(struct object *object, const char *field,
                     const struct json *value);

struct object *
migrate_data_create(void)
{
    return object_create(NAME, VERSION);
}

/* One value. */

#define GET_STRING object_string
#define GET_BOOL object_bool
#define GET_INT object_int
#define SET_STRING object_set_string
#define SET_BOOL object_set_bool
#define SET_INT object_set_int
#define MIGRATE_DATA_FIELD(FIELD, TYPE, NULLABLE)                            \
    bool migrate_data_has_##FIELD(const struct object *data)                 \
    {                                                                        \
        return object_has(data, #FIELD);                                     \
    }                                                                        \
    MIGRATE_DATA_TYPE_##TYPE migrate_data_##FIELD(const struct object *data) \
    {                                                                        \
        return GET_##TYPE(data, #FIELD);                                     \
    }                                                                        \
    void migrate_data_set_##FIELD(struct object *data,                       \
                                  MIGRATE_DATA_TYPE_##TYPE value)            \
    {                                                                        \
        SET_##TYPE(data, #FIELD, value);                                     \
    }
MIGRATE_DATA_FIELDS
#undef MIGRATE_DATA_FIELD

/* Several. */

bool
migrate_data_has_serial_listen_ports(const struct object *data)
{
    return object_has(data, "serial_listen_ports");
}

size_t
migrate_data_n_serial_listen_ports(const struct object *data)
{
    return json_size(object_get(data, "serial_listen_ports"));
}

int
migrate_data_serial_listen_port(const struct object *data, size_t i)
{
    return (int)json_get_int(item(data, "serial_listen_ports", i));
}

bool
migrate_data_has_serial_port(const struct object *data, int port)
{
    for (size_t i = 0; i < migrate_data_n_serial_listen_ports(data); i++) {
        if (migrate_data_serial_listen_port(data, i) == port) {
            return true;
        }
    }
    return false;
}

void
migrate_data_set_serial_listen_ports(struct object *data, const int *ports,
                                     size_t n)
{
    struct json *list = json_array();

    for (size_t i = 0; i < n; i++) {
        json_append(list, json_int(ports[i]));
    }
    object_set(data, "serial_listen_ports", list);
}

bool
migrate_data_has_supported_perf_events(const struct object *data)
{
    return object_has(data, "supported_perf_events");
}

size_t
migrate_data_n_supported_perf_events(const struct object *data)
{
    return json_size(object_get(data, "supported_perf_events"));
}

const char *
migrate_data_supported_perf_event(const struct object *data, size_t i)
{
    return json_get_string(item(data, "supported_perf_events", i));
}

void
migrate_data_set_supported_perf_events(struct object *data,
                                       const char *const *events)
{
    struct json *list = json_array();

    for (; *events; events++) {
        json_append(list, json_string(*events));
    }
    object_set(data, "supported_perf_events", list);
}

bool
migrate_data_has_old_vol_attachment_ids(const struct object *data)
{
    return object_has(data, "old_vol_attachment_ids");
}

const char *
migrate_data_old_vol_attachment_id(const struct object *data,
                                   const char *volume_id)
{
    return json_string_of(object_get(data, "old_vol_attachment_ids"),
                          volume_id);
}

void
migrate_data_set_old_vol_attachment_id(struct object *data,
                                       const char *volume_id,
                                       const char *attachment_id)
{
    const struct json *old = object_get(data, "old_vol_attachment_ids");
    struct json *ids = json_is_object(old) ? json_copy(old) : json_object();

    json_set_string(ids, volume_id, attachment_id);
    object_set(data, "old_vol_attachment_ids", ids);
}

void
migrate_data_init_old_vol_attachment_ids(struct object *data)
{
    if (!migrate_data_has_old_vol_attachment_ids(data)) {
        object_set(data, "old_vol_attachment_ids", json_object());
    }
}

/* Volumes and ports: objects within the object. */

bool
migrate_data_has_bdms(const struct object *data)
{
    return object_has(data, "bdms");
}

size_t
migrate_data_n_bdms(const struct object *data)
{
    return json_size(object_get(data, "bdms"));
}

struct migrate_bdm
migrate_data_bdm(const struct object *data, size_t i)
{
    const struct json *bdm = data_of(item(data, "bdms", i));
    const struct json *boot_index = json_get(bdm, "boot_index");

    return (struct migrate_bdm){
        .serial = json_string_of(bdm, "serial"),
        .bus = json_string_of(bdm, "bus"),
        .dev = json_string_of(bdm, "dev"),
        .type = json_string_of(bdm, "type"),
        .format = json_string_of(bdm, "format"),
        .boot_index =
            json_is_int(boot_index) ? (int)json_get_int(boot_index) : -1,
        .connection_info_json = json_string_of(bdm, "connection_info_json"),
        .encryption_secret_uuid = json_string_of(bdm, "encryption_secret_uuid"),
    };
}

void
migrate_data_set_bdms(struct object *data, const struct migrate_bdm *bdms,
                      size_t n)
{
    struct json *list = json_array();

    for (size_t i = 0; i < n; i++) {
        const struct migrate_bdm *bdm = &bdms[i];
        AUTO_OBJECT o = object_create(BDM_NAME, "1.1");

        object_set_string(o, "serial", bdm->serial);
        object_set_string(o, "bus", bdm->bus);
        object_set_string(o, "dev", bdm->dev);
        object_set_string(o, "type", bdm->type);
        object_set_string(o, "format", bdm->format);
        object_set(o, "boot_index",
                   bdm->boot_index >= 0 ? json_int(bdm->boot_index) : NULL);
        object_set_string(o, "connection_info_json", bdm->connection_info_json);
        set_text(o, "encryption_secret_uuid", bdm->encryption_secret_uuid);
        json_append(list, json_copy(object_json(o)));
    }
    object_set(data, "bdms", list);
}

bool
migrate_data_has_vifs(const struct object *data)
{
    return object_has(data, "vifs");
}

size_t
migrate_data_n_vifs(const struct object *data)
{
    return json_size(object_get(data, "vifs"));
}

struct migrate_vif
migrate_data_vif(const struct object *data, size_t i)
{
    const struct json *vif = data_of(item(data, "vifs", i));

    return (struct migrate_vif){
        .port_id = json_string_of(vif, "port_id"),
        .vnic_type = json_string_of(vif, "vnic_type"),
        .vif_type = json_string_of(vif, "vif_type"),
        .vif_details_json = json_string_of(vif, "vif_details_json"),
        .profile_json = json_string_of(vif, "profile_json"),
        .host = json_string_of(vif, "host"),
        .source_vif = json_string_of(vif, "source_vif"),
    };
}

void
migrate_data_set_vifs(struct object *data, const struct migrate_vif *vifs,
                      size_t n)
{
    struct json *list = json_array();

    for (size_t i = 0; i < n; i++) {
        const struct migrate_vif *vif = &vifs[i];
        AUTO_OBJECT o = object_create(VIF_NAME, "1.0");

        set_text(o, "port_id", vif->port_id);
        set_text(o, "vnic_type", vif->vnic_type);
        set_text(o, "vif_type", vif->vif_type);
        set_text(o, "vif_details_json", vif->vif_details_json);
        set_text(o, "profile_json", vif->profile_json);
        set_text(o, "host", vif->host);
        set_text(o, "source_vif", vif->source_vif);
        json_append(list, json_copy(object_json(o)));
    }
    object_set(data, "vifs", list);
}

/* NUMA. */

bool
migrate_data_has_dst_numa_info(const struct object *data)
{
    return object_has(data, "dst_numa_info");
}

struct migrate_numa
migrate_data_dst_numa_info(const struct object *data)
{
    const struct json *numa = data_of(object_get(data, "dst_numa_info"));
    const struct json *priority = json_get(numa, "sched_priority");

    return (struct migrate_numa){
        .cpu_pins = json_get(numa, "cpu_pins"),
        .cell_pins = json_get(numa, "cell_pins"),
        .emulator_pins = json_get(numa, "emulator_pins"),
        .sched_vcpus = json_get(numa, "sched_vcpus"),
        .has_sched_priority = json_is_int(priority),
        .sched_priority = (int)json_get_int(priority),
    };
}

void
migrate_data_set_dst_numa_info(struct object *data,
                               const struct migrate_numa *numa)
{
    AUTO_OBJECT o = object_create(NUMA_NAME, "1.0");

    set_copy(o, "cpu_pins", numa->cpu_pins);
    set_copy(o, "cell_pins", numa->cell_pins);
    set_copy(o, "emulator_pins", numa->emulator_pins);
    set_copy(o, "sched_vcpus", numa->sched_vcpus);
    if (numa->has_sched_priority) {
        object_set_int(o, "sched_priority", numa->sched_priority);
    }
    object_set(data, "dst_numa_info", json_copy(object_json(o)));
}

bool
migrate_data_has_migration(const struct object *data)
{
    return object_has(data, "migration");
}

const struct json *
migrate_data_migration(const struct object *data)
{
    const struct json *migration = object_get(data, "migration");

    return json_is_object(migration) ? migration : NULL;
}

void
migrate_data_set_migration(struct object *data, const struct object *migration)
{
    object_set(data, "migration", json_copy(object_json(migration)));
}

/* Nova of this day also destroys disks whose directory is shared; later ones
 * learned not to. */
struct migrate_cleanup
migrate_data_cleanup(const struct object *data)
{
    bool is_own_path = migrate_data_has_is_shared_instance_path(data) &&
                       !migrate_data_is_shared_instance_path(data);
    bool is_own_storage = migrate_data_has_is_shared_block_storage(data) &&
                          !migrate_data_is_shared_block_storage(data);

    return (struct migrate_cleanup){
        .do_cleanup = is_own_path,
        .destroy_disks = is_own_path && is_own_storage,
    };
}

static const struct json *
data_of(const struct json *primitive)
{
    return json_get(primitive, "nova_object.data");
}

static const struct json *
item(const struct object *data, const char *field, size_t i)
{
    return json_at(object_get(data, field), i);
}

/* Null: nothing is set. */
static void
set_text(struct object *object, const char *field, const char *value)
{
    if (value) {
        object_set_string(object, field, value);
    }
}

static void
set_copy(struct object *object, const char *field, const struct json *value)
{
    if (value) {
        object_set(object, field, json_copy(value));
    }
}
