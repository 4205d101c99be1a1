#include <config.h>

#include "agent/refusals.h"

#include <stdlib.h>

#include "agent/agent.h"
#include "agent/nova/cloud.h"
#include "agent/nova/nova.h"
#include "rpc/uuid.h"

LOG_MODULE(refusals);

struct refused_cast {
    struct agent *agent;
    struct request *request;
    struct object *instance, *migration; /* The latter may be null. */
    struct error *error;                 /* What is told. */
    bool is_build;
};

static void refuse_build(void *aux, struct request *request);
static void cache_images(void *aux, struct request *request);

/* Whatever their arguments are. */
#define REFUSED(NAME)                                                 \
    {                                                                 \
        .name = NAME, .takes_anything = true, .call = refusals_refuse \
    }

const struct rpc_method refusals_methods[] = {
    {.name = "build_and_run_instance",
     .takes_anything = true,
     .call = refuse_build},
    {.name = "cache_images", .takes_anything = true, .call = cache_images},
    REFUSED("prep_resize"),
    REFUSED("resize_instance"),
    REFUSED("finish_resize"),
    REFUSED("confirm_resize"),
    REFUSED("revert_resize"),
    REFUSED("finish_revert_resize"),
    REFUSED("prep_snapshot_based_resize_at_dest"),
    REFUSED("prep_snapshot_based_resize_at_source"),
    REFUSED("finish_snapshot_based_resize_at_dest"),
    REFUSED("confirm_snapshot_based_resize_at_source"),
    REFUSED("revert_snapshot_based_resize_at_dest"),
    REFUSED("finish_revert_snapshot_based_resize_at_source"),
    REFUSED("soft_delete_instance"),
    REFUSED("restore_instance"),
    REFUSED("rebuild_instance"),
    REFUSED("rescue_instance"),
    REFUSED("unrescue_instance"),
    REFUSED("shelve_instance"),
    REFUSED("shelve_offload_instance"),
    REFUSED("unshelve_instance"),
    REFUSED("snapshot_instance"),
    REFUSED("backup_instance"),
    REFUSED("quiesce_instance"),
    REFUSED("unquiesce_instance"),
    REFUSED("trigger_crash_dump"),
    REFUSED("set_admin_password"),
    REFUSED("inject_network_info"),
    REFUSED("add_fixed_ip_to_instance"),
    REFUSED("remove_fixed_ip_from_instance"),
    REFUSED("reserve_block_device_name"),
    REFUSED("attach_volume"),
    REFUSED("detach_volume"),
    REFUSED("swap_volume"),
    REFUSED("volume_snapshot_create"),
    REFUSED("volume_snapshot_delete"),
    REFUSED("attach_interface"),
    REFUSED("detach_interface"),
    REFUSED("get_vnc_console"),
    REFUSED("get_spice_console"),
    REFUSED("get_serial_console"),
    REFUSED("get_rdp_console"),
    REFUSED("get_mks_console"),
    REFUSED("validate_console_port"),
    REFUSED("host_power_action"),
    REFUSED("host_maintenance_mode"),
    {.name = NULL},
};

static struct refused_cast *cast_create(struct agent *agent,
                                        struct request *request);
static void free_instance(struct refused_cast *refused, const char *vm_state);
static bool is_known(const struct refused_cast *refused);
static void instance_saved(void *aux, struct error *error,
                           struct object *instance);
static void migration_saved(void *aux, struct error *error,
                            struct object *migration);
static void release_allocation(struct refused_cast *refused);
static void released(void *aux, struct error *error);
static void cast_end(struct refused_cast *refused);

static struct error *
not_served(const struct request *request)
{
    return error_new(ERR_NOT_IMPLEMENTED, "'%s' is not served by this host",
                     request_method(request));
}

void
refusals_refuse(void *aux, struct request *request)
{
    struct refused_cast *refused = cast_create(aux, request);

    if (refused) {
        free_instance(refused, NULL);
    }
}

/* What is not built is no instance, and may be deleted. */
static void
refuse_build(void *aux, struct request *request)
{
    struct refused_cast *refused = cast_create(aux, request);

    if (refused) {
        refused->is_build = true;
        free_instance(refused, "error");
    }
}

/* Images are only ever fetched for builds. */
static void
cache_images(void *aux UNUSED, struct request *request)
{
    struct json *result = json_object();

    json_for_each (id, request_arg(request, "image_ids")) {
        const char *text = json_get_string(id);
        if (text) {
            json_set_string(result, text, "unsupported");
        }
    }
    request_reply(request, result);
}

/* Null: it is answered. */
static struct refused_cast *
cast_create(struct agent *agent, struct request *request)
{
    const struct json *migration = request_arg(request, "migration");
    struct object *instance = NULL;
    struct error *error = NULL;

    if (!request_is_call(request)) {
        error = object_parse(request_arg(request, "instance"), "Instance",
                             &instance);
    }
    const char *uuid = instance ? object_string(instance, "uuid") : NULL;
    if (!uuid || !uuid_is_valid(uuid)) {
        object_free(instance);
        error_free(error);
        request_fail(request, not_served(request));
        return NULL;
    }
    struct refused_cast *refused = xzalloc(sizeof *refused);
    refused->agent = agent;
    refused->request = request;
    refused->instance = instance;
    refused->error = not_served(request);
    request_set_instance(request, uuid);
    if (migration && agent->nova) { /* If it is none, it is left alone. */
        error_free(object_parse(migration, "Migration", &refused->migration));
    }
    AUTO_FREE event = xasprintf("compute_%s", request_method(request));
    agent->records->ops->event_start(agent->records->state,
                                     request_context(request), uuid, event);
    return refused;
}

/* Only if nobody has given it another task meanwhile. */
static void
free_instance(struct refused_cast *refused, const char *vm_state)
{
    struct records *records = refused->agent->records;
    const char *task = object_string(refused->instance, "task_state");
    const char *const expected[] = {task ? task : "", NULL};
    AUTO_OBJECT changed = object_copy(refused->instance);

    object_clear_changes(changed);
    if (vm_state) {
        object_set_string(changed, "vm_state", vm_state);
    }
    object_set_null(changed, "task_state");
    if (!object_n_changes(changed) || !is_known(refused)) {
        instance_saved(refused, NULL, NULL);
        return;
    }
    records->ops->instance_save(
        records->state, request_context(refused->request), changed,
        vm_state ? NULL : expected, instance_saved, refused);
}

/* Records of our own would be made for one that is none of ours. */
static bool
is_known(const struct refused_cast *refused)
{
    struct records_local *local = refused->agent->local;

    return !local || records_local_find(
                         local, object_string(refused->instance, "uuid"), NULL);
}

static void
instance_saved(void *aux, struct error *error, struct object *instance)
{
    struct refused_cast *refused = aux;
    struct records *records = refused->agent->records;

    object_free(instance);
    if (error) {
        log_warn(request_log(refused->request),
                 "the instance keeps its task: %s", error_message(error));
        error_free(error);
    }
    if (!refused->migration) {
        release_allocation(refused);
        return;
    }
    object_set_string(refused->migration, "status", "error");
    records->ops->migration_save(records->state,
                                 request_context(refused->request),
                                 refused->migration, migration_saved, refused);
}

/* What the scheduler took for a build is given back, as by Nova. */
static void
release_allocation(struct refused_cast *refused)
{
    struct agent *agent = refused->agent;
    struct cloud *cloud = agent->nova ? agent->nova->cloud : NULL;

    if (refused->is_build && cloud && cloud_has_placement(agent->conf)) {
        placement_allocations_delete(
            cloud->placement, request_context(refused->request),
            object_string(refused->instance, "uuid"), released, refused);
    } else {
        cast_end(refused);
    }
}

static void
released(void *aux, struct error *error)
{
    struct refused_cast *refused = aux;

    if (error) {
        log_warn(request_log(refused->request),
                 "the instance keeps its allocation: %s", error_message(error));
        error_free(error);
    }
    cast_end(refused);
}

static void
migration_saved(void *aux, struct error *error, struct object *migration)
{
    struct refused_cast *refused = aux;

    object_free(migration);
    if (error) {
        log_warn(request_log(refused->request),
                 "the migration is not marked as failed: %s",
                 error_message(error));
        error_free(error);
    }
    cast_end(refused);
}

/* In Nova's order: the fault, the event's end, the notifications. */
static void
cast_end(struct refused_cast *refused)
{
    struct agent *agent = refused->agent;
    struct records *records = agent->records;
    struct request *request = refused->request;
    const struct json *context = request_context(request);
    const char *uuid = object_string(refused->instance, "uuid");
    AUTO_FREE event = xasprintf("compute_%s", request_method(request));

    records->ops->fault_create(records->state, context, uuid, refused->error);
    records->ops->event_finish(records->state, context, uuid, event,
                               refused->error);
    if (agent->ops) { /* It is not going. */
        notify_exception(agent->notify, context, request_method(request),
                         refused->instance, refused->error);
    }
    request_fail(request, refused->error);
    object_free(refused->instance);
    object_free(refused->migration);
    free(refused);
}
