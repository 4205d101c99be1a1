#include <config.h>

#include "agent/api/methods.h"

#include <stdlib.h>

static const char *
power_text(int64_t power_state)
{
    switch (power_state) {
    case POWER_RUNNING:
        return "running";
    case POWER_PAUSED:
        return "paused";
    case POWER_SHUTDOWN:
        return "shutdown";
    case POWER_CRASHED:
        return "crashed";
    case POWER_SUSPENDED:
        return "suspended";
    default:
        return "pending";
    }
}

/* agent/api/api.h, "summary". */
static struct json *
summary(const struct object *instance)
{
    static const char *const fields[] = {
        "uuid",       "display_name", "host",  "vm_state",
        "task_state", "memory_mb",    "vcpus", "progress"};
    struct json *json = json_object();

    for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
        json_set(json, fields[i], json_copy(object_get(instance, fields[i])));
    }
    json_set_string(json, "name", object_string(instance, "display_name"));
    json_set_string(json, "power_state",
                    power_text(object_int(instance, "power_state")));
    return json;
}

static void
instances_known(void *aux, struct error *error, struct object **objects,
                size_t n)
{
    struct api_call *call = aux;

    if (error) {
        api_fail(call, error);
        return;
    }
    struct json *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_append(list, summary(objects[i]));
        object_free(objects[i]);
    }
    free(objects);
    api_reply(call, list);
}

void
api_instance_list(struct api_call *call)
{
    struct records *records = api_agent(call)->records;

    records->ops->instance_list(records->state, api_context(call),
                                instances_known, call);
}

struct show {
    struct api_call *call;
    struct json *json;
};

static struct json *
describe_disk(const struct guest_disk *disk)
{
    struct json *json = json_object();

    json_set(json, "target", json_string(disk->target));
    json_set(json, "device", json_string(disk->device));
    json_set(json, "path", json_string(disk->path));
    json_set(json, "format", json_string(disk->format));
    json_set(json, "backing_path", json_string(disk->backing_path));
    json_set_int(json, "virtual_size", disk->virtual_size);
    json_set_int(json, "allocated_size", disk->allocated_size);
    return json;
}

static void
guest_known(void *aux, struct error *error, struct guest *guest)
{
    struct show *show = aux;
    struct json *disks = json_array();

    if (error) {
        /* The record is an answer too; the disks are not known. */
        json_free(disks);
        disks = json_null();
        error_free(error);
    } else {
        for (size_t i = 0; i < guest->n_disks; i++) {
            json_append(disks, describe_disk(&guest->disks[i]));
        }
        json_set_bool(show->json, "persistent", guest->persistent);
    }
    guest_free(guest);
    json_set(show->json, "disks", disks);
    api_reply(show->call, show->json);
    free(show);
}

void
api_instance_show(struct api_call *call)
{
    const struct object *instance;
    struct error *error =
        api_find_instance(call, api_text(call, "instance"), &instance);

    if (error) {
        api_fail(call, error);
        return;
    }
    struct show *show = xzalloc(sizeof *show);
    show->call = call;
    show->json = summary(instance);
    driver_guest_get(api_agent(call)->driver, object_string(instance, "uuid"),
                     guest_known, show);
}
