#include <config.h>

#include "agent/instance_adopt.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/serial_ports.h"

/* Where the domain's name is kept: no field of an instance is meant for it. */
#define DOMAIN_KEY "drover_domain"

static void set_owner_and_image(struct object *);
static void set_history(struct object *, const struct guest *,
                        const struct adopt_place *, int64_t id);
static void set_parts(struct object *, const char *uuid, const char *now);
static void set_identity(struct object *, const struct guest *);
static void set_metadata(struct object *, const char *name, const char *value);
static void set_size(struct object *, const struct guest *);
static void set_flavor(struct object *, const char *now);
static void set_state(struct object *, const struct guest *,
                      const struct adopt_place *);
static const char *vm_state(enum power_state);
static int64_t root_gb(const struct guest *);
static const struct guest_disk *root_disk(const struct guest *);
static struct json *part(const char *name, const char *version,
                         struct json *data);
static char *hostname_of(const char *name);
static void set_nulls(struct object *, const char *const *fields);

struct object *
instance_from_guest(const struct guest *guest, const struct adopt_place *place,
                    int64_t id)
{
    struct object *o = object_create("Instance", "2.7");
    char now[CLOCK_TEXT_SIZE];

    clock_format_iso(clock_wall_us(), now);
    object_set_string(o, "uuid", guest->uuid);
    set_history(o, guest, place, id);
    set_owner_and_image(o);
    set_parts(o, guest->uuid, now);
    set_identity(o, guest);
    set_size(o, guest);
    set_flavor(o, now);
    set_state(o, guest, place);
    object_clear_changes(o);
    return o;
}

void
instance_update_from_guest(struct object *instance, const struct guest *guest,
                           const struct adopt_place *place)
{
    if (object_string(instance, "task_state")) {
        object_set_int(instance, "power_state", guest->power_state);
        return;
    }

    int64_t memory_mb = object_int(instance, "memory_mb");
    int64_t vcpus = object_int(instance, "vcpus");
    int64_t gb = object_int(instance, "root_gb");

    set_identity(instance, guest);
    set_size(instance, guest);
    if (memory_mb != object_int(instance, "memory_mb") ||
        vcpus != object_int(instance, "vcpus") ||
        gb != object_int(instance, "root_gb")) {
        char now[CLOCK_TEXT_SIZE];
        set_flavor(instance, clock_format_iso(clock_wall_us(), now));
    }
    set_state(instance, guest, place);
}

const char *
instance_domain_name(const struct object *instance)
{
    return json_string_of(object_get(instance, "system_metadata"), DOMAIN_KEY);
}

/* Where it comes from and what was never used of it. */
static void
set_history(struct object *o, const struct guest *guest,
            const struct adopt_place *place, int64_t id)
{
    static const char *const nulls[] = {
        "updated_at", "deleted_at", "terminated_at", "task_state", "cell_name",
        "locked_by",  NULL};
    char now[CLOCK_TEXT_SIZE];

    clock_format_iso(clock_wall_us(), now);
    object_set_int(o, "id", id);
    object_set_string(o, "launched_on", place->host);
    object_set_string(o, "availability_zone", place->availability_zone);
    object_set_string(o, "created_at", now);
    object_set_string(o, "launched_at", now);
    object_set_bool(o, "deleted", false);
    object_set_bool(o, "hidden", false);
    object_set_bool(o, "cleaned", false);
    object_set_bool(o, "locked", false);
    object_set_bool(o, "shutdown_terminate", false);
    object_set_bool(o, "disable_terminate", false);
    object_set_int(o, "progress", 0);
    object_set_int(o, "launch_index", 0);
    AUTO_FREE reservation = xasprintf("r-%.8s", guest->uuid);
    object_set_string(o, "reservation_id", reservation);
    set_nulls(o, nulls);
}

static void
set_owner_and_image(struct object *o)
{
    static const char *const nulls[] = {"user_id",      "project_id",
                                        "key_name",     "key_data",
                                        "user_data",    "display_description",
                                        "os_type",      "architecture",
                                        "vm_mode",      "access_ip_v4",
                                        "access_ip_v6", "ephemeral_key_uuid",
                                        "resources",    NULL};

    object_set_string(o, "image_ref", "");
    object_set_string(o, "kernel_id", "");
    object_set_string(o, "ramdisk_id", "");
    object_set_string(o, "config_drive", "");
    object_set_bool(o, "auto_disk_config", false);
    set_nulls(o, nulls);
}

/* Objects within the object. */
static void
set_parts(struct object *o, const char *uuid, const char *now)
{
    static const char *const nulls[] = {"numa_topology", "migration_context",
                                        "old_flavor", "new_flavor", NULL};
    struct json *data = json_object();

    json_set_string(data, "instance_uuid", uuid);
    json_set_string(data, "network_info", "[]");
    json_set_string(data, "created_at", now);
    json_set_null(data, "updated_at");
    json_set_null(data, "deleted_at");
    json_set_bool(data, "deleted", false);
    object_set(o, "info_cache", part("InstanceInfoCache", "1.5", data));

    data = json_object();
    json_set(data, "objects", json_array());
    object_set(o, "security_groups", part("SecurityGroupList", "1.1", data));

    data = json_object();
    json_set_string(data, "instance_uuid", uuid);
    json_set(data, "requests", json_array());
    object_set(o, "pci_requests", part("InstancePCIRequests", "1.1", data));

    object_set(o, "metadata", json_object());
    object_set(o, "system_metadata", json_object());
    set_nulls(o, nulls);
}

/* A name that came with the record stays until the domain's own changes. */
static void
set_identity(struct object *o, const struct guest *guest)
{
    const char *known = instance_domain_name(o);
    const char *name =
        guest->title && *guest->title ? guest->title : guest->name;

    if (known ? !str_eq(known, guest->name)
              : !object_string(o, "display_name")) {
        AUTO_FREE hostname = hostname_of(name);
        object_set_string(o, "display_name", name);
        object_set_string(o, "hostname", hostname);
    }
    set_metadata(o, DOMAIN_KEY, guest->name);
    AUTO_FREE n_serial =
        guest->n_serial_tcp ? xasprintf("%d", guest->n_serial_tcp) : NULL;
    set_metadata(o, SERIAL_PORTS_KEY, n_serial);
}

/* Null: it has no such entry. */
static void
set_metadata(struct object *o, const char *name, const char *value)
{
    const struct json *known = object_get(o, "system_metadata");

    if (str_eq(json_string_of(known, name), value)) {
        return;
    }
    struct json *metadata =
        json_is_object(known) ? json_copy(known) : json_object();
    json_remove(metadata, name);
    if (value) {
        json_set_string(metadata, name, value);
    }
    object_set(o, "system_metadata", metadata);
}

static void
set_size(struct object *o, const struct guest *guest)
{
    static const char *const nulls[] = {"default_ephemeral_device",
                                        "default_swap_device", NULL};
    const struct guest_disk *disk = root_disk(guest);

    object_set_int(o, "memory_mb", guest->memory_mb);
    object_set_int(o, "vcpus", guest->n_vcpus);
    if (root_gb(guest) || !object_has(o, "root_gb")) { /* 0: not known. */
        object_set_int(o, "root_gb", root_gb(guest));
    }
    if (!object_has(o, "ephemeral_gb")) {
        object_set_int(o, "ephemeral_gb", 0);
        set_nulls(o, nulls);
    }
    if (disk) {
        AUTO_FREE device = xasprintf("/dev/%s", disk->target);
        object_set_string(o, "root_device_name", device);
    } else if (!object_has(o, "root_device_name")) {
        object_set_null(o, "root_device_name");
    }
}

static void
set_flavor(struct object *o, const char *now)
{
    int64_t memory_mb = object_int(o, "memory_mb");
    int64_t vcpus = object_int(o, "vcpus");
    AUTO_FREE name =
        xasprintf("drover.%lld-%lld", (long long)memory_mb, (long long)vcpus);
    struct json *data = json_object();

    json_set_int(data, "id", 0);
    json_set_string(data, "name", name);
    json_set_int(data, "memory_mb", memory_mb);
    json_set_int(data, "vcpus", vcpus);
    json_set_int(data, "root_gb", object_int(o, "root_gb"));
    json_set_int(data, "ephemeral_gb", 0);
    json_set_string(data, "flavorid", name);
    json_set_int(data, "swap", 0);
    json_set(data, "rxtx_factor", json_double(1.0));
    json_set_int(data, "vcpu_weight", 0);
    json_set_bool(data, "disabled", false);
    json_set_bool(data, "is_public", true);
    json_set(data, "extra_specs", json_object());
    json_set_null(data, "description");
    json_set_string(data, "created_at", now);
    json_set_null(data, "updated_at");
    json_set_null(data, "deleted_at");
    json_set_bool(data, "deleted", false);
    object_set(o, "flavor", part("Flavor", "1.2", data));
    object_set_int(o, "instance_type_id", 0);
}

static void
set_state(struct object *o, const struct guest *guest,
          const struct adopt_place *place)
{
    const char *state =
        guest->is_saved ? "suspended" : vm_state(guest->power_state);

    object_set_string(o, "host", place->host);
    if (place->node) {
        object_set_string(o, "node", place->node);
    } else if (!object_has(o, "node")) {
        object_set_null(o, "node");
    }
    object_set_int(o, "power_state", guest->power_state);
    if (state) {
        object_set_string(o, "vm_state", state);
    } else if (!object_has(o, "vm_state")) {
        object_set_string(o, "vm_state", "stopped");
    }
}

/* Null: it tells nothing. */
static const char *
vm_state(enum power_state power_state)
{
    switch (power_state) {
    case POWER_RUNNING:
        return "active";
    case POWER_PAUSED:
        return "paused";
    case POWER_SHUTDOWN:
        return "stopped";
    case POWER_CRASHED:
        return "error";
    case POWER_SUSPENDED:
        return "suspended";
    case POWER_NOSTATE:
        break;
    }
    return NULL;
}

static int64_t
root_gb(const struct guest *guest)
{
    const struct guest_disk *disk = root_disk(guest);
    int64_t gib = INT64_C(1) << 30;

    return disk && disk->virtual_size > 0
               ? disk->virtual_size / gib + (disk->virtual_size % gib != 0)
               : 0;
}

static const struct guest_disk *
root_disk(const struct guest *guest)
{
    for (size_t i = 0; i < guest->n_disks; i++) {
        const char *device = guest->disks[i].device;

        if (!device || str_eq(device, "disk") || str_eq(device, "lun")) {
            return &guest->disks[i];
        }
    }
    return NULL;
}

static struct json *
part(const char *name, const char *version, struct json *data)
{
    struct json *json = json_object();

    json_set_string(json, "nova_object.name", name);
    json_set_string(json, "nova_object.namespace", "nova");
    json_set_string(json, "nova_object.version", version);
    json_set(json, "nova_object.data", data);
    return json;
}

/* As Nova makes one of a display name: lower case, blanks and underscores as
 * hyphens, nothing but letters, digits, hyphens and dots, no more than 63. */
static char *
hostname_of(const char *name)
{
    char *hostname = xzalloc(64);
    size_t size = 0;

    for (; *name && size < 63; name++) {
        char c = (char)tolower((unsigned char)*name);

        if (c == ' ' || c == '_') {
            c = '-';
        }
        if ((isascii((unsigned char)c) && isalnum((unsigned char)c)) ||
            ((c == '-' || c == '.') && size)) {
            hostname[size++] = c;
        }
    }
    while (size && !isalnum((unsigned char)hostname[size - 1])) {
        hostname[--size] = '\0';
    }
    return hostname;
}

static void
set_nulls(struct object *o, const char *const *fields)
{
    for (; *fields; fields++) {
        object_set_null(o, *fields);
    }
}
