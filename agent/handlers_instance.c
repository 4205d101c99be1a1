#include <config.h>

#include "agent/handlers.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/call.h"
#include "agent/diagnostics.h"
#include "agent/nova/terminate.h"
#include "agent/power/op.h"
#include "agent/refusals.h"

LOG_MODULE(handlers);

/* Starting, stopping and the like. */

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

    power_start(call->agent, &order, request_log(request), call_end_aux, call);
}

static void
power_method(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_TURN);

    if (call) {
        call_run(call, power_run_call);
    }
}

/* Deleting. */

static void
terminate_run_call(struct call *call)
{
    const struct request *request = call->request;
    const char *id = request_unique_id(request);
    const struct terminate_request order = {
        .context = request_context(request),
        .instance = call->instance,
        .bdms = request_arg(request, "bdms"),
        .key = id ? id : request_log(request)->request,
    };

    terminate_start(call->agent, &order, request_log(request), call_end_aux,
                    call);
}

/* Guests are made and deleted where a control plane says so. */
static void
terminate_instance(void *aux, struct request *request)
{
    struct agent *agent = aux;

    if (!agent->nova) {
        refusals_refuse(aux, request);
        return;
    }
    struct call *call = call_begin(aux, request, WRAP_TURN);
    if (call) {
        call_run(call, terminate_run_call);
    }
}

/* Looking. */

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
static void
counters_known(void *aux, struct error *error, struct guest_counters *counters)
{
    struct call *call = aux;
    struct json *result = NULL;

    if (!error) {
        bool is_legacy =
            str_eq(request_method(call->request), "get_diagnostics");
        result = is_legacy
                     ? diagnostics_legacy(counters)
                     : diagnostics_object(counters, call->instance,
                                          call->agent->conf->libvirt.virt_type,
                                          clock_wall_us());
    }
    guest_counters_free(counters);
    call_end(call, result, error);
}

static const char *
power_name(enum power_state state)
{
    static const char *const names[] = {
        [POWER_NOSTATE] = "pending", [POWER_RUNNING] = "running",
        [POWER_PAUSED] = "paused",   [POWER_SHUTDOWN] = "shutdown",
        [POWER_CRASHED] = "crashed", [POWER_SUSPENDED] = "suspended"};

    return names[state];
}

static void
guest_known(void *aux, struct error *error, struct guest *guest)
{
    struct call *call = aux;
    const char *uuid = object_string(call->instance, "uuid");
    enum power_state power = guest ? guest->power_state : POWER_NOSTATE;

    guest_free(guest);
    if (!error && power != POWER_RUNNING) {
        error = error_new(ERR_INSTANCE_INVALID_STATE, "guest '%s' is %s", uuid,
                          power_name(power));
        error_set_arg(error, "attr", "power state");
        error_set_arg(error, "instance_uuid", uuid);
        error_set_arg(error, "state", power_name(power));
        error_set_arg(error, "method", "get_diagnostics");
    }
    if (error) {
        call_end(call, NULL, error);
    } else {
        driver_guest_counters(call->agent->driver, uuid, counters_known, call);
    }
}

static void
get_diagnostics(void *aux, struct request *request)
{
    struct call *call = call_begin(aux, request, WRAP_FAULT | WRAP_NOTIFY);

    if (call) {
        driver_guest_get(call->agent->driver,
                         object_string(call->instance, "uuid"), guest_known,
                         call);
    }
}

const struct rpc_method handlers_instance_methods[] = {
    {"start_instance", {CALL_ARG("instance")}, power_method},
    {"stop_instance",
     {CALL_ARG("instance"), CALL_ARG("clean_shutdown")},
     power_method},
    {"reboot_instance",
     {CALL_ARG("instance"), CALL_ARG("block_device_info"),
      CALL_ARG("reboot_type")},
     power_method},
    {"pause_instance", {CALL_ARG("instance")}, power_method},
    {"unpause_instance", {CALL_ARG("instance")}, power_method},
    {"suspend_instance", {CALL_ARG("instance")}, power_method},
    {"resume_instance", {CALL_ARG("instance")}, power_method},
    {"terminate_instance",
     {CALL_ARG("instance"), CALL_ARG("bdms")},
     terminate_instance},
    {"get_console_output",
     {CALL_ARG("instance"), CALL_ARG("tail_length")},
     get_console_output},
    {"get_diagnostics", {CALL_ARG("instance")}, get_diagnostics},
    {"get_instance_diagnostics", {CALL_ARG("instance")}, get_diagnostics},
    {.name = NULL},
};
