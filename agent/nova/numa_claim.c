#include <config.h>

#include "agent/nova/numa_claim.h"

#include <stdlib.h>

#include "agent/migrate/data.h"
#include "agent/nova/numa_fit.h"
#include "agent/nova/numa_info.h"
#include "agent/nova/primitive.h"

LOG_MODULE(nova);

struct numa_claim {
    struct nova *nova;
    struct update_resources *resources;
    struct json *context, *limits;
    struct object *instance, *migration, *data;
    struct json *fitted; /* InstanceNUMATopology; null: not known yet. */
    bool is_granted;
    numa_claimed *done;
    void *aux;
};

static void ask_for_instance(struct numa_claim *claim, const char *uuid);
static void instance_known(void *aux, struct json **result,
                           struct object *object, struct error *error);
static void granted(void *aux, struct error *error,
                    const struct resources_left *left);
static struct error *fit(struct numa_claim *claim,
                         const struct resources_left *left);
static void migration_saved(void *aux, struct json **result,
                            struct object *object, struct error *error);
static struct json *migration_context(const struct numa_claim *claim);
static void instance_saved(void *aux, struct json **result,
                           struct object *object, struct error *error);
static unsigned patience_ms(const struct numa_claim *claim);
static void save(struct numa_claim *claim, const struct object *object,
                 conductor_work_done *done);
static void finish(struct numa_claim *claim, struct error *error);

void
numa_claim(struct nova *nova, const struct numa_claim_request *request,
           numa_claimed *done, void *aux)
{
    struct numa_claim *claim = xzalloc(sizeof *claim);

    claim->nova = nova;
    claim->resources = nova->resources;
    claim->context = json_copy(request->context);
    claim->limits = json_copy(primitive_get(request->limits, "numa_topology"));
    claim->migration = object_copy(request->migration);
    claim->data = object_copy(request->data);
    claim->done = done;
    claim->aux = aux;
    if (claim->migration) {
        ask_for_instance(claim, request->instance);
    } else {
        finish(claim, error_new(ERR_VALUE, "no migration is named"));
    }
}

void
numa_claim_drop(struct nova *nova, const char *instance)
{
    if (nova->resources) {
        update_resources_drop_claim(nova->resources, instance);
    }
}

/* As it is recorded now: what came with the request may be older. */
static void
ask_for_instance(struct numa_claim *claim, const char *uuid)
{
    static const char *const names[] = {
        "flavor",        "info_cache",  "metadata",     "system_metadata",
        "numa_topology", "pci_devices", "pci_requests", "resources"};
    struct json *attrs = json_array(), *kwargs = json_object();

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        json_append(attrs, json_string(names[i]));
    }
    json_set(kwargs, "expected_attrs", attrs);
    const struct conductor_work_request request = {
        .context = claim->context,
        .class_name = "Instance",
        .method = "get_by_uuid",
        .args = json_append(json_array(), json_string(uuid)),
        .kwargs = kwargs,
        .patience_ms = patience_ms(claim),
    };
    conductor_work_start(claim->nova->works, &request, instance_known, claim);
}

static void
instance_known(void *aux, struct json **result, struct object *object UNUSED,
               struct error *error)
{
    struct numa_claim *claim = aux;

    error = error ? error
                  : object_take(steal(result), "Instance", &claim->instance);
    if (!error && !claim->nova->resources) {
        error = error_new(ERR_CANCELLED, "the agent stops");
    }
    if (!error &&
        !str_eq(object_string(claim->instance, "task_state"), "migrating")) {
        error = error_new(ERR_INSTANCE_INVALID_STATE, "it is not moved");
    }
    if (error ||
        !json_is_object(object_get(claim->instance, "numa_topology"))) {
        finish(claim, error);
        return;
    }
    update_resources_claim(claim->resources,
                           object_string(claim->instance, "uuid"), granted,
                           claim);
}

static void
granted(void *aux, struct error *error, const struct resources_left *left)
{
    struct numa_claim *claim = aux;
    const struct conf *conf = claim->nova->agent->conf;

    claim->is_granted = !error;
    error = error ? error : fit(claim, left);
    if (error) {
        finish(claim, error);
        return;
    }
    object_clear_changes(claim->migration);
    object_set_string(claim->migration, "dest_compute", conf->host);
    object_set_string(claim->migration, "dest_node", left->node);
    object_set_string(claim->migration, "dest_host", conf->my_ip);
    save(claim, claim->migration, migration_saved);
}

static struct error *
fit(struct numa_claim *claim, const struct resources_left *left)
{
    const struct conf *conf = claim->nova->agent->conf;
    const struct numa_fit_rules rules = {
        .limits = claim->limits,
        .is_packed = conf->compute.packing_host_numa_cells_allocation_strategy,
    };
    struct error *error =
        numa_fit(left->topology, object_get(claim->instance, "numa_topology"),
                 &rules, &claim->fitted);
    const struct numa_info info = {
        .host = left->topology,
        .fitted = claim->fitted,
        .instance = claim->instance,
        .shared = left->shared,
        .realtime_priority = conf->libvirt.realtime_scheduler_priority,
    };

    return error ? error : numa_info_set(&info, claim->data);
}

/* An object with nothing else: what was read may be old by now. */
static void
migration_saved(void *aux, struct json **result UNUSED, struct object *object,
                struct error *error)
{
    struct numa_claim *claim = aux;
    AUTO_OBJECT change = object_create("Instance", "2.7");

    object_free(object);
    if (error) {
        finish(claim, error);
        return;
    }
    object_set_int(change, "id", object_int(claim->instance, "id"));
    object_set_string(change, "uuid", object_string(claim->instance, "uuid"));
    object_clear_changes(change);
    object_set(change, "migration_context", migration_context(claim));
    save(claim, change, instance_saved);
}

/* Only the nodes are others: devices do not move with a guest that runs. */
static struct json *
migration_context(const struct numa_claim *claim)
{
    static const char *const fields[] = {"numa_topology", "pci_devices",
                                         "pci_requests", "resources"};
    const struct object *instance = claim->instance;
    struct json *data = json_object(), *no_devices = json_object();

    json_set_string(data, "instance_uuid", object_string(instance, "uuid"));
    json_set_int(data, "migration_id", object_int(claim->migration, "id"));
    for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
        const struct json *value = object_get(instance, fields[i]);
        AUTO_FREE old = xasprintf("old_%s", fields[i]);

        json_set(data, old, value ? json_copy(value) : json_null());
    }
    json_set(no_devices, "objects", json_array());
    json_set(data, "new_numa_topology", json_copy(claim->fitted));
    json_set(data, "new_pci_devices",
             primitive_create("PciDeviceList", "1.3", no_devices));
    json_set(data, "new_pci_requests",
             json_copy(json_get(data, "old_pci_requests")));
    json_set_null(data, "new_resources");
    return primitive_create("MigrationContext", "1.2", data);
}

static void
instance_saved(void *aux, struct json **result UNUSED, struct object *object,
               struct error *error)
{
    object_free(object);
    finish(aux, error);
}

/* Of each question: nothing is counted before the last is answered. */
static unsigned
patience_ms(const struct numa_claim *claim)
{
    return (unsigned)claim->nova->agent->conf->rpc_response_timeout * 1000;
}

static void
save(struct numa_claim *claim, const struct object *object,
     conductor_work_done *done)
{
    const struct conductor_work_request request = {
        .context = claim->context,
        .object = object,
        .method = "save",
        .key = object_string(object, "uuid"),
        .patience_ms = patience_ms(claim),
    };

    conductor_work_start(claim->nova->works, &request, done, claim);
}

static void
finish(struct numa_claim *claim, struct error *error)
{
    AUTO_ERROR why = error;

    if (claim->is_granted) {
        update_resources_claimed(claim->resources,
                                 why ? NULL
                                     : object_string(claim->instance, "uuid"));
    }
    if (why) {
        AUTO_FREE text = error_text(why);
        claim->done(claim->aux, error_new(ERR_MIGRATION_PRE_CHECK, "%s", text),
                    NULL);
    } else {
        claim->done(claim->aux, NULL, steal(&claim->data));
    }
    json_free(claim->context);
    json_free(claim->limits);
    json_free(claim->fitted);
    object_free(claim->instance);
    object_free(claim->migration);
    object_free(claim->data);
    free(claim);
}
