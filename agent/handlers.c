#include <config.h>

#include "agent/handlers.h"

#include <stdlib.h>

#include "agent/api.h"
#include "agent/check.h"
#include "agent/incoming.h"
#include "agent/migrate_data.h"
#include "agent/migration.h"
#include "agent/power_op.h"
#include "agent/refusals.h"
#include "rpc/server_base.h"
#include "rpc/utf8.h"
#include "rpc/uuid.h"

LOG_MODULE(handlers);

/* What is kept of a request is copied and freed on the loop, about 1 ms a
 * megabyte.  An instance with everything takes less than one. */
#define REQUEST_BYTES_MAX (32u << 20)

/* What wraps a method: an action event around it, a fault and two
 * notifications when it fails. (1.7) */
enum wrap {
    WRAP_EVENT = 1 << 0,
    WRAP_FAULT = 1 << 1,
    WRAP_NOTIFY = 1 << 2,
    WRAP_ALL = WRAP_EVENT | WRAP_FAULT | WRAP_NOTIFY,
    WRAP_TURN = 1 << 3, /* None of nova's: it waits its turn, call_run(). */
};

/* One request, from its decoding to its answer. */
struct call {
    struct agent *agent;
    struct request *request;
    struct object *instance, *migration, *data; /* Null: not an argument. */
    unsigned wraps;
    bool in_queue; /* It has its turn at the instance. */
    void (*start)(struct call *call);
};

static struct call *call_begin(void *aux, struct request *request,
                               unsigned wraps);
static void call_end(struct call *call, struct json *result,
                     struct error *error);
static void call_run(struct call *call, void (*start)(struct call *call));
static struct error *decode(struct call *call);
static struct error *check_line(struct call *call);
static int tristate(const struct request *request, const char *name,
                    struct error **error);

/* Checks. */

static void
answer_data(void *aux, struct error *error, struct object *data)
{
    struct json *result = data ? json_copy(object_json(data)) : NULL;

    object_free(data);
    call_end(aux, result, error);
}

static void
check_can_live_migrate_destination(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL);
    struct error *error = NULL;

    if (!call) {
        return;
    }
    struct check_dest_request asked = {
        .context = request_context(request),
        .instance = call->instance,
        .block_migration = tristate(request, "block_migration", &error),
        .disk_over_commit = tristate(request, "disk_over_commit", &error),
    };
    if (error) {
        call_end(call, NULL, error);
        return;
    }
    check_dest(call->agent, &asked, request_log(request), answer_data, call);
}

static void
check_can_live_migrate_source(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL);
    struct object *data = NULL;

    if (!call) {
        return;
    }
    struct error *error =
        migrate_data_parse(request_arg(request, "dest_check_data"), &data);
    if (error) {
        call_end(call, NULL, error);
        return;
    }
    call->data = data;
    struct check_source_request asked = {
        .context = request_context(request),
        .instance = call->instance,
        .data = data,
        .dest = object_string(data, CHECK_DEST_FIELD),
    };
    check_source(call->agent, &asked, request_log(request), answer_data, call);
}

static void
shared_storage_checked(void *aux, struct error *error, bool answer)
{
    call_end(aux, error ? NULL : json_bool(answer), error);
}

static void
check_instance_shared_storage(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_NOTIFY);

    if (!call) {
        return;
    }
    const char *path = json_string_of(request_arg(request, "data"), "filename");
    if (!path || utf8_has_nul(path)) {
        call_end(call, NULL, error_new(ERR_VALUE, "data names no file"));
        return;
    }
    check_shared_file(call->agent, path, shared_storage_checked, call);
}

/* The destination's part. */

static struct incoming_request
incoming_request_of(struct call *call)
{
    const struct request *request = call->request;

    return (struct incoming_request){
        .context = json_copy(request_context(request)),
        .instance = object_copy(call->instance),
        .data = steal(&call->data),
        .disks = xstrdup_null(json_get_string(request_arg(request, "disk"))),
    };
}

static void
pre_live_migration_start(struct call *call)
{
    struct incoming_request request = incoming_request_of(call);

    incoming_prepare(call->agent, &request, request_log(call->request),
                     answer_data, call);
}

static void
pre_live_migration(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL | WRAP_TURN);

    if (!call) {
        return;
    }
    struct error *error =
        migrate_data_parse(request_arg(request, "migrate_data"), &call->data);
    if (error) {
        call_end(call, NULL, error);
        return;
    }
    call_run(call, pre_live_migration_start);
}

static void
answer_null(void *aux, struct error *error)
{
    call_end(aux, NULL, error);
}

static void
post_live_migration_start(struct call *call)
{
    struct incoming_request request = incoming_request_of(call);

    log_info(request_log(call->request), "post operation of migration started");
    incoming_take_over(call->agent, &request, request_log(call->request),
                       answer_null, call);
}

static void
post_live_migration_at_destination(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL | WRAP_TURN);

    if (call) {
        call_run(call, post_live_migration_start);
    }
}

static void
rollback_live_migration_start(struct call *call)
{
    struct incoming_request request = incoming_request_of(call);

    incoming_roll_back(call->agent, &request, request_log(call->request),
                       answer_null, call);
}

static void
rollback_live_migration_at_destination(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL | WRAP_TURN);
    struct error *error = NULL;

    if (!call) {
        return;
    }
    const struct json *data = request_arg(request, "migrate_data");
    if (data) {
        error = migrate_data_parse(data, &call->data);
    }
    if (error) {
        call_end(call, NULL, error);
        return;
    }
    call_run(call, rollback_live_migration_start);
}

static void
remove_volume_connection(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_NOTIFY);

    if (!call) {
        return;
    }
    call->agent->volumes->disconnect_dest(call->agent, request_context(request),
                                          call->instance, NULL, answer_null,
                                          call);
}

/* There is no claim without a NUMA topology, and none is made yet. */
static void
drop_move_claim_at_destination(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_FAULT | WRAP_NOTIFY);

    if (call) {
        call_end(call, NULL, NULL);
    }
}

/* The source's part. */

static void
failure_recorded(void *aux UNUSED, struct error *error, struct object *record)
{
    object_free(record);
    if (error) {
        log_limited(LOG_LEVEL_WARN, NULL,
                    "a migration is not marked as failed: %s",
                    error_message(error));
        error_free(error);
    }
}

/* What did not even begin is in error.  Records of our own have none of it. */
static void
end_live_migration(struct call *call, struct error *error)
{
    struct records *records = call->agent->records;

    if (error && call->migration && call->agent->nova) {
        object_set_string(call->migration, "status", "error");
        records->ops->migration_save(records->state,
                                     request_context(call->request),
                                     call->migration, failure_recorded, NULL);
    }
    call_end(call, NULL, error);
}

static void
live_migration_accepted(void *aux, struct op *op UNUSED, struct error *error)
{
    struct call *call = aux;

    if (error_code(error) == ERR_INVALID) {
        /* Delivered twice: the migration is under way, or was. (8.3) */
        log_info(request_log(call->request), "ignored: %s",
                 error_message(error));
        error_free(error);
        error = NULL;
    }
    end_live_migration(call, error);
}

static void
live_migration(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL);

    if (!call) {
        return;
    }
    const char *dest = json_get_string(request_arg(request, "dest"));
    struct error *error =
        migrate_data_parse(request_arg(request, "migrate_data"), &call->data);
    if (!error && (!dest || !call->migration ||
                   !object_string(call->migration, "uuid"))) {
        error = error_new(ERR_VALUE,
                          "live_migration needs a destination and a migration");
    }
    if (error) {
        end_live_migration(call, error);
        return;
    }
    struct migrate_source_request start = {
        .context = json_copy(request_context(request)),
        .instance = object_copy(call->instance),
        .record = object_copy(call->migration),
        .data = steal(&call->data),
        .dest = dest,
    };
    migrate_source_start(call->agent, &start, request_log(request),
                         live_migration_accepted, call);
}

static struct error *
no_active_migration(const struct object *instance)
{
    return error_set_arg(
        error_new(ERR_NO_ACTIVE_MIGRATION, "no migration of it runs here"),
        "instance_id", object_string(instance, "uuid"));
}

static void
abort_with_record(void *aux, struct error *error, struct object *record)
{
    struct call *call = aux;
    struct op *op = NULL;

    if (!error) {
        op = op_find(call->agent->ops, object_string(record, "uuid"));
    }
    if (!op) {
        notify_instance(call->agent->notify, request_context(call->request),
                        NOTIFY_ABORT, NOTIFY_START, call->instance);
    }
    if (!error && !op) {
        AUTO_FREE id = xasprintf("%lld", (long long)object_int(record, "id"));
        error = error_new(ERR_INVALID_MIGRATION_STATE, "it is not under way");
        error_set_arg(error, "migration_id", id);
        error_set_arg(error, "instance_uuid",
                      object_string(call->instance, "uuid"));
        error_set_arg(error, "state", object_string(record, "status"));
        error_set_arg(error, "method", "abort live migration");
    }
    object_free(record);
    if (error) {
        call_end(call, NULL, error);
        return;
    }
    migrate_source_abort(op, request_context(call->request), answer_null, call);
}

static void
live_migration_abort(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL);

    if (!call) {
        return;
    }
    const struct json *id = request_arg(request, "migration_id");
    if (!json_is_int(id)) {
        call_end(call, NULL,
                 error_new(ERR_VALUE, "migration_id is no integer"));
        return;
    }

    /* A running one is known here, whoever keeps the records. */
    struct op *op =
        migrate_source_find(call->agent, object_string(call->instance, "uuid"));
    struct migration *m = op ? op_data(op) : NULL;
    if (m && object_int(m->record, "id") == json_get_int(id)) {
        migrate_source_abort(op, request_context(call->request), answer_null,
                             call);
        return;
    }
    struct records *records = call->agent->records;
    records->ops->migration_get(records->state, request_context(request),
                                json_get_int(id), NULL, abort_with_record,
                                call);
}

static void
live_migration_force_complete(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_ALL);

    if (!call) {
        return;
    }
    struct op *op =
        migrate_source_find(call->agent, object_string(call->instance, "uuid"));
    if (!op) {
        notify_instance(call->agent->notify, request_context(request),
                        NOTIFY_FORCE_COMPLETE, NOTIFY_START, call->instance);
        call_end(call, NULL, no_active_migration(call->instance));
        return;
    }
    call_end(call, NULL,
             migrate_source_force_complete(op, request_context(request)));
}

/* Starting, stopping and the like. */

static void
power_ended(void *aux, struct error *error)
{
    call_end(aux, NULL, error);
}

/* The operation does what wraps a method: it may outlive the call. */
static void
power_run_call(struct call *call)
{
    const struct request *request = call->request;
    const char *type = json_get_string(request_arg(request, "reboot_type"));
    const struct json *clean = request_arg(request, "clean_shutdown");
    const char *id = request_unique_id(request);
    struct power_request order = {
        .context = request_context(request),
        .instance = call->instance,
        .order = power_order_by_method(request_method(request)),
        .is_hard = str_eq(type, "HARD") || (clean && !json_is_true(clean)),
        .key = id ? id : request_log(request)->request,
    };

    power_start(call->agent, &order, request_log(request), power_ended, call);
}

static void
power_method(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_TURN);

    if (call) {
        call_run(call, power_run_call);
    }
}

static void
console_known(void *aux, struct error *error, char *text)
{
    struct call *call = aux;
    const struct json *lines = request_arg(call->request, "tail_length");
    struct json *result = NULL;

    if (!error) {
        AUTO_FREE tail =
            console_tail(text, json_is_int(lines) ? json_get_int(lines) : -1);
        result = json_string(tail);
    }
    free(text);
    call_end(call, result, error);
}

static void
get_console_output(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_FAULT | WRAP_NOTIFY);

    if (call) {
        driver_console_read(call->agent->driver,
                            object_string(call->instance, "uuid"),
                            console_known, call);
    }
}

/* The rest. */

static void
uptime_known(void *aux, struct error *error, char *text)
{
    struct json *result = error ? NULL : json_string(text);

    free(text);
    call_end(aux, result, error);
}

static void
get_host_uptime(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, 0);

    if (call) {
        driver_host_uptime(call->agent->driver, uptime_known, call);
    }
}

/* Whoever calls it has written the record already. */
static void
set_host_enabled(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, 0);

    if (!call) {
        return;
    }
    const struct json *enabled = request_arg(request, "enabled");
    if (!json_is_bool(enabled)) {
        call_end(call, NULL, error_new(ERR_VALUE, "enabled is no Boolean"));
        return;
    }
    bool is_enabled = json_is_true(enabled);
    log_info(request_log(request), "the host is %s by an operator",
             is_enabled ? "enabled" : "disabled");
    call_end(call, json_string(is_enabled ? "enabled" : "disabled"), NULL);
}

/* Neutron's word on ports.  Nobody waits for one here yet. */
static void
external_instance_event(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, 0);

    if (!call) {
        return;
    }
    if (!json_is_array(request_arg(request, "instances")) ||
        !json_is_array(request_arg(request, "events"))) {
        call_end(call, NULL,
                 error_new(ERR_VALUE, "instances and events are lists"));
        return;
    }
    log_debug(request_log(request), "%zu external events are accepted",
              json_size(request_arg(request, "events")));
    call_end(call, NULL, NULL);
}

#define ARG(NAME)                      \
    {                                  \
        .name = NAME, .required = true \
    }
#define OPTIONAL(NAME) \
    {                  \
        .name = NAME   \
    }
#define ONLY_5(NAME)                  \
    {                                 \
        .name = NAME, .only_major = 5 \
    }

const struct rpc_method handlers_methods[] = {
    {"check_can_live_migrate_destination",
     {ARG("instance"), ARG("block_migration"), ARG("disk_over_commit"),
      OPTIONAL("migration"), OPTIONAL("limits")},
     check_can_live_migrate_destination},
    {"check_can_live_migrate_source",
     {ARG("instance"), ARG("dest_check_data")},
     check_can_live_migrate_source},
    {"check_instance_shared_storage",
     {ONLY_5("instance"), ARG("data")},
     check_instance_shared_storage},
    {"pre_live_migration",
     {ARG("instance"), ONLY_5("block_migration"), ARG("disk"),
      ARG("migrate_data")},
     pre_live_migration},
    {"live_migration",
     {ARG("dest"), ARG("instance"), ARG("block_migration"), ARG("migration"),
      ARG("migrate_data")},
     live_migration},
    {"post_live_migration_at_destination",
     {ARG("instance"), ARG("block_migration")},
     post_live_migration_at_destination},
    {"rollback_live_migration_at_destination",
     {ARG("instance"), ARG("destroy_disks"), ARG("migrate_data")},
     rollback_live_migration_at_destination},
    {"remove_volume_connection",
     {ARG("instance"), ARG("volume_id")},
     remove_volume_connection},
    {"drop_move_claim_at_destination",
     {ARG("instance")},
     drop_move_claim_at_destination},
    {"live_migration_abort",
     {ARG("instance"), ARG("migration_id")},
     live_migration_abort},
    {"live_migration_force_complete",
     {ARG("instance")},
     live_migration_force_complete},
    {"start_instance", {ARG("instance")}, power_method},
    {"stop_instance", {ARG("instance"), ARG("clean_shutdown")}, power_method},
    {"reboot_instance",
     {ARG("instance"), ARG("block_device_info"), ARG("reboot_type")},
     power_method},
    {"pause_instance", {ARG("instance")}, power_method},
    {"unpause_instance", {ARG("instance")}, power_method},
    {"suspend_instance", {ARG("instance")}, power_method},
    {"resume_instance", {ARG("instance")}, power_method},
    {"get_console_output",
     {ARG("instance"), ARG("tail_length")},
     get_console_output},
    {"get_host_uptime", {{.name = NULL}}, get_host_uptime},
    {"set_host_enabled", {ARG("enabled")}, set_host_enabled},
    {"external_instance_event",
     {ARG("instances"), ARG("events")},
     external_instance_event},
    {.name = NULL},
};

void
handlers_register(struct agent *agent)
{
    struct rpc_endpoint endpoints[] = {
        {NULL, 6, 1, handlers_methods, agent},
        {NULL, 5, 13, handlers_methods, agent},
        {NULL, 6, 1, refusals_methods, agent},
        {NULL, 5, 13, refusals_methods, agent},
        {"drover", 1, 0, api_methods, agent},
    };

    for (size_t i = 0; i < N_ELEMENTS(endpoints); i++) {
        rpc_server_add(agent->server, endpoints[i]);
    }
    server_base_add(agent->server, "compute");
    if (agent->conf->rpc_ping_enabled) {
        server_base_add_ping(agent->server);
    }
}

/* The wraps. */

/* Null: the request was no good and is answered. */
static struct call *
call_begin(void *aux, struct request *request, unsigned wraps)
{
    struct call *call = xzalloc(sizeof *call);

    call->agent = aux;
    call->request = request;
    struct error *error = decode(call);
    if (error) {
        call_end(call, NULL, error);
        return NULL;
    }
    if (wraps & WRAP_TURN) {
        error = check_line(call);
        if (error) {
            call_end(call, NULL, error);
            return NULL;
        }
    }
    call->wraps = call->instance ? wraps : 0;
    if (call->wraps & WRAP_EVENT) {
        struct records *records = call->agent->records;
        AUTO_FREE event = xasprintf("compute_%s", request_method(request));
        records->ops->event_start(records->state, request_context(request),
                                  object_string(call->instance, "uuid"), event);
    }
    return call;
}

/* Before anything is written or told of it, as there may be many. */
static struct error *
check_line(struct call *call)
{
    struct agent *agent = call->agent;
    const char *uuid = object_string(call->instance, "uuid");

    if (!instance_queue_is_full(agent->queue, uuid)) {
        return NULL;
    }
    agent->n_instance_busy++;
    struct error *error =
        error_new(ERR_INSTANCE_INVALID_STATE, "%d requests wait for it already",
                  INSTANCE_QUEUE_MAX);
    error_set_arg(error, "instance_uuid", uuid);
    error_set_arg(error, "attr", "request queue");
    error_set_arg(error, "state", "full");
    return error_set_arg(error, "method", request_method(call->request));
}

/* Observed order on failure: the fault, the event's end, the notifications,
 * the reply. */
static void
call_end(struct call *call, struct json *result, struct error *error)
{
    struct records *records = call->agent->records;
    const struct json *context = request_context(call->request);
    const char *method = request_method(call->request);
    const char *uuid =
        call->instance ? object_string(call->instance, "uuid") : NULL;

    if (error && request_is_call(call->request)) { /* Of a cast: rpc/. */
        log_limited(LOG_LEVEL_WARN, request_log(call->request), "%s failed: %s",
                    method, error_message(error));
    }
    if (error && (call->wraps & WRAP_FAULT)) {
        records->ops->fault_create(records->state, context, uuid, error);
    }
    if (call->wraps & WRAP_EVENT) {
        AUTO_FREE event = xasprintf("compute_%s", method);
        records->ops->event_finish(records->state, context, uuid, event, error);
    }
    if (error && (call->wraps & WRAP_NOTIFY) && call->agent->ops) {
        notify_exception(call->agent->notify, context, method, call->instance,
                         error);
    }
    if (call->in_queue) {
        instance_queue_leave(call->agent->queue, uuid);
    }
    if (error) {
        json_free(result);
        request_fail(call->request, error);
    } else {
        request_reply(call->request, result);
    }
    object_free(call->instance);
    object_free(call->migration);
    object_free(call->data);
    free(call);
}

static void
call_turn(void *aux)
{
    struct call *call = aux;

    call->in_queue = true;
    if (call->agent->ops) {
        call->start(call);
    } else { /* It was before us when the agent was freed. */
        call_end(call, NULL, error_new(ERR_CANCELLED, "the agent is stopping"));
    }
}

static void
call_run(struct call *call, void (*start)(struct call *call))
{
    call->start = start;
    instance_queue_enter(call->agent->queue,
                         object_string(call->instance, "uuid"), call_turn,
                         call);
}

static struct error *
decode(struct call *call)
{
    size_t bytes = request_bytes(call->request);

    if (bytes > REQUEST_BYTES_MAX) {
        return error_new(ERR_VALUE, "the request takes %zu bytes", bytes);
    }
    struct json *instance = request_take_arg(call->request, "instance");
    const struct json *migration = request_arg(call->request, "migration");

    if (!instance && json_has(request_args(call->request), "instance")) {
        return error_new(ERR_VALUE, "the instance is null");
    }
    if (instance) {
        struct error *error =
            object_take(instance, "Instance", &call->instance);
        if (error) {
            return error;
        }
        const char *uuid = object_string(call->instance, "uuid");
        if (!uuid || !uuid_is_valid(uuid)) {
            object_free(steal(&call->instance));
            return error_new(ERR_VALUE, "the instance has no valid UUID");
        }
        request_set_instance(call->request, uuid);
    }
    if (migration) {
        return object_parse(migration, "Migration", &call->migration);
    }
    return NULL;
}

/* 1, 0, or -1 for null. */
static int
tristate(const struct request *request, const char *name, struct error **error)
{
    const struct json *value = request_arg(request, name);

    if (!value) {
        return -1;
    }
    if (!json_is_bool(value) && !*error) {
        *error = error_new(ERR_VALUE, "%s is no Boolean", name);
    }
    return json_is_true(value);
}
