#include <config.h>

#include "agent/handlers.h"

#include <stdlib.h>

#include "agent/api/api.h"
#include "agent/call.h"
#include "agent/nova/external_events.h"
#include "agent/nova/host_enabled.h"
#include "agent/refusals.h"
#include "rpc/server_base.h"

LOG_MODULE(handlers);

static void
uptime_known(void *aux, struct error *error, char *text)
{
    AUTO_FREE whole = error ? NULL : xasprintf("%s\n", text);
    struct json *result = error ? NULL : json_string(whole);

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

static void
enabled_told(void *aux, struct error *error)
{
    struct call *call = aux;
    bool is_enabled = json_is_true(request_arg(call->request, "enabled"));

    call_end(call,
             error ? NULL : json_string(is_enabled ? "enabled" : "disabled"),
             error);
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
    struct nova *nova = call->agent->nova;
    log_info(request_log(request), "the host is %s by an operator",
             is_enabled ? "enabled" : "disabled");
    if (nova) {
        host_enabled_set(nova, request_context(request), is_enabled,
                         enabled_told, call);
    } else {
        enabled_told(call, NULL);
    }
}

/* Neutron's and Cinder's word. */
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
    external_events_take(call->agent, request_context(request),
                         request_arg(request, "instances"),
                         request_arg(request, "events"), request_log(request));
    call_end(call, NULL, NULL);
}
static const struct rpc_method host_methods[] = {
    {"get_host_uptime", {{.name = NULL}}, get_host_uptime},
    {"set_host_enabled", {CALL_ARG("enabled")}, set_host_enabled},
    {"external_instance_event",
     {CALL_ARG("instances"), CALL_ARG("events")},
     external_instance_event},
    {.name = NULL},
};

void
handlers_register(struct agent *agent)
{
    const struct rpc_method *const tables[] = {
        handlers_migration_methods,
        handlers_instance_methods,
        host_methods,
        refusals_methods,
    };
    struct rpc_endpoint endpoints[] = {
        {NULL, 6, 1, NULL, agent},
        {NULL, 5, 13, NULL, agent},
    };
    const struct rpc_endpoint own = {"drover", 1, 0, api_methods, agent};

    for (size_t i = 0; i < N_ELEMENTS(tables); i++) {
        for (size_t j = 0; j < N_ELEMENTS(endpoints); j++) {
            endpoints[j].methods = tables[i];
            rpc_server_add(agent->server, endpoints[j]);
        }
    }
    rpc_server_add(agent->server, own);
    server_base_add(agent->server, "compute");
    if (agent->conf->rpc_ping_enabled) {
        server_base_add_ping(agent->server);
    }
}
