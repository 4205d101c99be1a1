#include <config.h>

#include "agent/call.h"

#include <stdlib.h>

#include "rpc/uuid.h"

LOG_MODULE(handlers);

/* What is kept of a request is copied and freed on the loop, about 1 ms a
 * megabyte.  An instance with everything takes less than one. */
#define REQUEST_BYTES_MAX (32u << 20)

static struct error *decode(struct call *call);
static struct error *check_line(struct call *call);
static void call_turn(void *aux);

struct call *
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

/* Observed order on failure: the fault, the event's end, the notifications,
 * the reply. */
void
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

void
call_end_aux(void *call, struct error *error)
{
    call_end(call, NULL, error);
}

void
call_run(struct call *call, void (*start)(struct call *call))
{
    call->start = start;
    instance_queue_enter(call->agent->queue,
                         object_string(call->instance, "uuid"), call_turn,
                         call);
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
