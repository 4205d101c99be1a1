#include <config.h>

#include "agent/notify.h"

#include <string.h>

#include "agent/base/clock.h"
#include "drivers/driver.h"

/* What Nova's receivers know, key for key.  An instance of the conductor's has
 * everything; one of the local records may lack much. */

#define IMAGE_PREFIX "image_"

static void copy_field(struct json *to, const char *name,
                       const struct object *instance, const char *field);
static void copy_number(struct json *to, const char *name,
                        const struct object *instance, const char *field);
static void copy_text(struct json *to, const char *name,
                      const struct object *instance, const char *field);
static void legacy_flavor(struct json *payload, const struct object *instance);
static void legacy_dates(struct json *payload, const struct object *instance);
static void set_legacy_date(struct json *payload, const char *name,
                            const struct object *instance);
static struct json *image_url(const struct object *instance,
                              const struct json *context);
static const char *image_endpoint(const struct json *context);
static struct json *image_meta(const struct object *instance);
static struct json *fixed_ips(const struct object *instance);
static void versioned_dates(struct json *data, const struct object *instance);
static struct json *flavor_payload(const struct object *instance);
static struct json *ip_payloads(const struct object *instance);
static struct json *ip_payload(const struct json *vif, const struct json *ip);
static struct json *power_state_name(const struct object *instance);
static struct json *payload_object(const char *name, const char *version,
                                   struct json *data);
static struct json *network_info(const struct object *instance);
static void each_ip(const struct json *network_info, struct json *list,
                    struct json *(*make)(const struct json *vif,
                                         const struct json *ip));
static struct json *labelled_ip(const struct json *vif, const struct json *ip);
static const struct json *nested(const struct object *instance,
                                 const char *field);
static struct json *copy_or_null(const struct json *value);
static struct json *copy_dict(const struct json *value);
static int64_t flavor_int(const struct object *instance, const char *field);

struct json *
notify_legacy_payload(const struct object *instance, const struct json *context,
                      bool with_fixed_ips)
{
    struct json *payload = json_object();

    copy_field(payload, "tenant_id", instance, "project_id");
    copy_field(payload, "user_id", instance, "user_id");
    copy_field(payload, "instance_id", instance, "uuid");
    copy_field(payload, "display_name", instance, "display_name");
    copy_field(payload, "reservation_id", instance, "reservation_id");
    copy_field(payload, "hostname", instance, "hostname");
    legacy_flavor(payload, instance);
    copy_field(payload, "architecture", instance, "architecture");
    copy_field(payload, "host", instance, "host");
    copy_field(payload, "node", instance, "node");
    copy_field(payload, "availability_zone", instance, "availability_zone");
    copy_text(payload, "cell_name", instance, "cell_name");
    legacy_dates(payload, instance);
    json_set(payload, "image_ref_url", image_url(instance, context));
    copy_field(payload, "os_type", instance, "os_type");
    copy_field(payload, "kernel_id", instance, "kernel_id");
    copy_field(payload, "ramdisk_id", instance, "ramdisk_id");
    copy_field(payload, "state", instance, "vm_state");
    copy_text(payload, "state_description", instance, "task_state");
    json_set(payload, "progress",
             object_int(instance, "progress")
                 ? json_int(object_int(instance, "progress"))
                 : json_string(""));
    copy_field(payload, "access_ip_v4", instance, "access_ip_v4");
    copy_field(payload, "access_ip_v6", instance, "access_ip_v6");
    if (with_fixed_ips) {
        json_set(payload, "fixed_ips", fixed_ips(instance));
    }
    json_set(payload, "image_meta", image_meta(instance));
    json_set(payload, "metadata", copy_dict(object_get(instance, "metadata")));
    return payload;
}

struct json *
notify_versioned_payload(const struct object *instance,
                         const struct json *context, bool with_block_devices)
{
    const struct json *meta = object_get(instance, "system_metadata");
    bool is_locked = object_bool(instance, "locked");
    struct json *data = json_object();

    copy_field(data, "uuid", instance, "uuid");
    copy_field(data, "user_id", instance, "user_id");
    copy_field(data, "tenant_id", instance, "project_id");
    copy_field(data, "reservation_id", instance, "reservation_id");
    copy_field(data, "display_name", instance, "display_name");
    copy_field(data, "display_description", instance, "display_description");
    copy_field(data, "host_name", instance, "hostname");
    copy_field(data, "host", instance, "host");
    copy_field(data, "node", instance, "node");
    copy_field(data, "os_type", instance, "os_type");
    copy_field(data, "architecture", instance, "architecture");
    copy_field(data, "availability_zone", instance, "availability_zone");
    json_set(data, "flavor", flavor_payload(instance));
    copy_field(data, "image_uuid", instance, "image_ref");
    copy_field(data, "key_name", instance, "key_name");
    copy_field(data, "kernel_id", instance, "kernel_id");
    copy_field(data, "ramdisk_id", instance, "ramdisk_id");
    versioned_dates(data, instance);
    copy_field(data, "state", instance, "vm_state");
    json_set(data, "power_state", power_state_name(instance));
    copy_field(data, "task_state", instance, "task_state");
    copy_number(data, "progress", instance, "progress");
    json_set(data, "ip_addresses", ip_payloads(instance));
    /* There are no volumes to list; not asked for is null. */
    json_set(data, "block_devices",
             with_block_devices ? json_array() : json_null());
    json_set(data, "metadata", copy_dict(object_get(instance, "metadata")));
    json_set_bool(data, "locked", is_locked);
    json_set_string(data, "locked_reason",
                    is_locked ? json_string_of(meta, "locked_reason") : NULL);
    json_set_string(data, "auto_disk_config",
                    object_bool(instance, "auto_disk_config") ? "AUTO"
                                                              : "MANUAL");
    json_set_string(data, "request_id", json_string_of(context, "request_id"));
    json_set_string(data, "action_initiator_user",
                    json_string_of(context, "user_id"));
    json_set_string(data, "action_initiator_project",
                    json_string_of(context, "project_id"));
    json_set_null(data, "fault");
    return payload_object("InstanceActionPayload", "1.8", data);
}

/* The legacy payload's parts. */

static void
legacy_flavor(struct json *payload, const struct object *instance)
{
    const struct json *flavor = nested(instance, "flavor");
    int64_t root_gb = flavor_int(instance, "root_gb");
    int64_t ephemeral_gb = flavor_int(instance, "ephemeral_gb");

    json_set(payload, "instance_type", copy_or_null(json_get(flavor, "name")));
    copy_field(payload, "instance_type_id", instance, "instance_type_id");
    json_set(payload, "instance_flavor_id",
             copy_or_null(json_get(flavor, "flavorid")));
    json_set_int(payload, "memory_mb", flavor_int(instance, "memory_mb"));
    json_set_int(payload, "disk_gb", root_gb + ephemeral_gb);
    json_set_int(payload, "vcpus", flavor_int(instance, "vcpus"));
    json_set_int(payload, "root_gb", root_gb);
    json_set_int(payload, "ephemeral_gb", ephemeral_gb);
}

static void
legacy_dates(struct json *payload, const struct object *instance)
{
    char text[CLOCK_TEXT_SIZE];
    int64_t us;

    set_legacy_date(payload, "terminated_at", instance);
    set_legacy_date(payload, "deleted_at", instance);
    set_legacy_date(payload, "launched_at", instance);

    /* This one is Python's str(), without a fraction that is zero. */
    if (!object_parse_datetime(object_string(instance, "created_at"), &us)) {
        json_set_string(payload, "created_at", "");
        return;
    }
    clock_format_micro(us, ' ', text);
    char *dot = strchr(text, '.');
    if (dot && us % 1000000 == 0) {
        *dot = '\0';
    }
    AUTO_FREE created = xasprintf("%s+00:00", text);
    json_set_string(payload, "created_at", created);
}

static void
set_legacy_date(struct json *payload, const char *name,
                const struct object *instance)
{
    char text[CLOCK_TEXT_SIZE];
    int64_t us;

    json_set_string(payload, name,
                    object_parse_datetime(object_string(instance, name), &us)
                        ? clock_format_micro(us, 'T', text)
                        : "");
}

/* The image service of the request's catalog; without one Nova, too, sends
 * the bare id. */
static struct json *
image_url(const struct object *instance, const struct json *context)
{
    const char *image = object_string(instance, "image_ref");
    const char *endpoint = image_endpoint(context);

    if (!image || !*image || !endpoint) {
        return json_string(image ? image : "");
    }
    size_t size = strlen(endpoint);
    while (size > 0 && endpoint[size - 1] == '/') {
        size--;
    }
    AUTO_FREE url = xasprintf("%.*s/images/%s", (int)size, endpoint, image);
    return json_string(url);
}

static const char *
image_endpoint(const struct json *context)
{
    json_for_each (service, json_get(context, "service_catalog")) {
        if (str_eq(json_string_of(service, "type"), "image")) {
            const struct json *endpoint =
                json_at(json_get(service, "endpoints"), 0);
            const char *internal = json_string_of(endpoint, "internalURL");
            return internal ? internal : json_string_of(endpoint, "publicURL");
        }
    }
    return NULL;
}

static struct json *
image_meta(const struct object *instance)
{
    const struct json *all = object_get(instance, "system_metadata");
    size_t n = strlen(IMAGE_PREFIX);
    struct json *meta = json_object();

    if (json_is_object(all)) {
        json_for_each (value, all) {
            if (strncmp(json_name(value), IMAGE_PREFIX, n) == 0) {
                json_set(meta, json_name(value) + n, json_copy(value));
            }
        }
    }
    return meta;
}

static struct json *
fixed_ips(const struct object *instance)
{
    AUTO_JSON vifs = network_info(instance);
    struct json *list = json_array();

    each_ip(vifs, list, labelled_ip);
    return list;
}

static struct json *
labelled_ip(const struct json *vif, const struct json *ip)
{
    struct json *copy = json_copy(ip);

    json_set(copy, "label",
             copy_or_null(json_get(json_get(vif, "network"), "label")));
    json_set(copy, "vif_mac", copy_or_null(json_get(vif, "address")));
    return copy;
}

/* The versioned payload's parts. */

static void
versioned_dates(struct json *data, const struct object *instance)
{
    static const char *const names[] = {"created_at", "launched_at",
                                        "terminated_at", "deleted_at",
                                        "updated_at"};

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        const char *text = object_string(instance, names[i]);
        char buf[CLOCK_TEXT_SIZE];
        int64_t us;

        json_set_string(data, names[i],
                        object_parse_datetime(text, &us)
                            ? clock_format_iso(us, buf)
                            : NULL);
    }
}

static struct json *
flavor_payload(const struct object *instance)
{
    const struct json *flavor = nested(instance, "flavor");
    const struct json *factor = json_get(flavor, "rxtx_factor");
    const struct json *is_public = json_get(flavor, "is_public");
    const char *name = json_string_of(flavor, "name");
    const char *id = json_string_of(flavor, "flavorid");
    struct json *data = json_object();

    json_set_string(data, "flavorid", id ? id : "");
    json_set_int(data, "memory_mb", flavor_int(instance, "memory_mb"));
    json_set_int(data, "vcpus", flavor_int(instance, "vcpus"));
    json_set_int(data, "root_gb", flavor_int(instance, "root_gb"));
    json_set_int(data, "ephemeral_gb", flavor_int(instance, "ephemeral_gb"));
    json_set_string(data, "name", name ? name : "");
    json_set_int(data, "swap", json_int_of(flavor, "swap"));
    json_set(data, "rxtx_factor",
             factor ? json_copy(factor) : json_double(1.0));
    json_set_int(data, "vcpu_weight", json_int_of(flavor, "vcpu_weight"));
    json_set_bool(data, "disabled", json_bool_of(flavor, "disabled"));
    json_set_bool(data, "is_public", !is_public || json_is_true(is_public));
    json_set(data, "extra_specs", copy_dict(json_get(flavor, "extra_specs")));
    json_set(data, "projects", copy_or_null(json_get(flavor, "projects")));
    json_set(data, "description",
             copy_or_null(json_get(flavor, "description")));
    return payload_object("FlavorPayload", "1.4", data);
}

static struct json *
ip_payloads(const struct object *instance)
{
    AUTO_JSON vifs = network_info(instance);
    struct json *list = json_array();

    each_ip(vifs, list, ip_payload);
    return list;
}

static struct json *
ip_payload(const struct json *vif, const struct json *ip)
{
    struct json *data = json_object();

    json_set(data, "label",
             copy_or_null(json_get(json_get(vif, "network"), "label")));
    json_set(data, "mac", copy_or_null(json_get(vif, "address")));
    json_set(data, "meta", copy_dict(json_get(vif, "meta")));
    json_set(data, "port_uuid", copy_or_null(json_get(vif, "id")));
    json_set(data, "version", copy_or_null(json_get(ip, "version")));
    json_set(data, "address", copy_or_null(json_get(ip, "address")));
    json_set(data, "device_name", copy_or_null(json_get(vif, "devname")));
    return payload_object("IpPayload", "1.0", data);
}

static struct json *
power_state_name(const struct object *instance)
{
    static const char *const names[] = {
        [POWER_NOSTATE] = "pending", [POWER_RUNNING] = "running",
        [POWER_PAUSED] = "paused",   [POWER_SHUTDOWN] = "shutdown",
        [POWER_CRASHED] = "crashed", [POWER_SUSPENDED] = "suspended",
    };
    const struct json *state = object_get(instance, "power_state");
    int64_t i = json_get_int(state);

    return json_string(json_is_int(state) && i >= 0 &&
                               i < (int64_t)N_ELEMENTS(names)
                           ? names[i]
                           : NULL);
}

static struct json *
payload_object(const char *name, const char *version, struct json *data)
{
    struct json *object = json_object();

    json_set_string(object, "nova_object.name", name);
    json_set_string(object, "nova_object.namespace", "nova");
    json_set_string(object, "nova_object.version", version);
    json_set(object, "nova_object.data", data);
    return object;
}

/* Reading an instance. */

/* The network info, which travels as a text within the object; the caller's,
 * null if there is none. */
static struct json *
network_info(const struct object *instance)
{
    const struct json *cache = nested(instance, "info_cache");
    const char *text = json_string_of(cache, "network_info");
    struct json *vifs = NULL;

    if (!text) {
        return json_copy(json_get(cache, "network_info"));
    }
    /* What is no JSON tells of no address. */
    AUTO_ERROR error = json_parse(text, strlen(text), &vifs);
    return error ? NULL : vifs;
}

static void
each_ip(const struct json *vifs, struct json *list,
        struct json *(*make)(const struct json *vif, const struct json *ip))
{
    json_for_each (vif, vifs) {
        json_for_each (subnet, json_get(json_get(vif, "network"), "subnets")) {
            json_for_each (ip, json_get(subnet, "ips")) {
                if (json_is_object(ip)) {
                    json_append(list, make(vif, ip));
                }
            }
        }
    }
}

/* The data of an object within the instance; null if there is none. */
static const struct json *
nested(const struct object *instance, const char *field)
{
    return json_get(object_get(instance, field), "nova_object.data");
}

/* A size of the flavor, which the instance repeats. */
static int64_t
flavor_int(const struct object *instance, const char *field)
{
    const struct json *value = json_get(nested(instance, "flavor"), field);

    return json_is_int(value) ? json_get_int(value)
                              : object_int(instance, field);
}

static void
copy_field(struct json *to, const char *name, const struct object *instance,
           const char *field)
{
    json_set(to, name, copy_or_null(object_get(instance, field)));
}

/* Null is 0. */
static void
copy_number(struct json *to, const char *name, const struct object *instance,
            const char *field)
{
    json_set_int(to, name, object_int(instance, field));
}

/* Null is "". */
static void
copy_text(struct json *to, const char *name, const struct object *instance,
          const char *field)
{
    const char *text = object_string(instance, field);

    json_set_string(to, name, text ? text : "");
}

static struct json *
copy_or_null(const struct json *value)
{
    return value ? json_copy(value) : json_null();
}

static struct json *
copy_dict(const struct json *value)
{
    return json_is_object(value) ? json_copy(value) : json_object();
}
