#include <config.h>

#include "agent/api/api.h"

#include <stdlib.h>

#include "agent/api/methods.h"
#include "agent/base/fault.h"

LOG_MODULE(api);

/* A call, whichever way it came. */
struct api_call {
    struct agent *agent;
    struct request *request;     /* Over the bus; else null. */
    struct json *args, *context; /* Of a local one. */
    struct log_context log;
    void (*done)(void *aux, struct json *result, struct error *error);
    void *aux;
};

static struct api_call *from_request(void *aux, struct request *request);
static struct error *check_args(const struct rpc_method *method,
                                const struct json *args);
static void api_free(struct api_call *call);

#define API_METHOD(NAME, ...)                                  \
    static void rpc_##NAME(void *aux, struct request *request) \
    {                                                          \
        api_##NAME(from_request(aux, request));                \
    }
API_METHODS
#undef API_METHOD

#define ARG(NAME)                      \
    {                                  \
        .name = NAME, .required = true \
    }
#define OPTIONAL(NAME) \
    {                  \
        .name = NAME   \
    }
#define NO_ARGS      \
    {                \
        .name = NULL \
    }
const struct rpc_method api_methods[] = {
#define API_METHOD(NAME, ...) {#NAME, {__VA_ARGS__}, rpc_##NAME},
    API_METHODS
#undef API_METHOD
    {.name = NULL},
};

static void (*const functions[])(struct api_call *call) = {
#define API_METHOD(NAME, ...) api_##NAME,
    API_METHODS
#undef API_METHOD
};

void
api_call_local(struct agent *agent, const char *method, const struct json *args,
               void (*done)(void *aux, struct json *result,
                            struct error *error),
               void *aux)
{
    size_t i = 0;

    while (api_methods[i].name && !str_eq(api_methods[i].name, method)) {
        i++;
    }
    struct error *error =
        api_methods[i].name
            ? check_args(&api_methods[i], args)
            : error_new(ERR_NO_SUCH_METHOD, "no method '%.64s'", method);
    if (error) {
        done(aux, NULL, error);
        return;
    }

    struct api_call *call = xzalloc(sizeof *call);
    call->agent = agent;
    call->args = json_copy(args);
    call->context = rpc_context_create();
    call->done = done;
    call->aux = aux;
    functions[i](call);
}

struct agent *
api_agent(const struct api_call *call)
{
    return call->agent;
}

const struct json *
api_args(const struct api_call *call)
{
    return call->request ? request_args(call->request) : call->args;
}

const struct json *
api_context(const struct api_call *call)
{
    return call->request ? request_context(call->request) : call->context;
}

const struct log_context *
api_log(const struct api_call *call)
{
    return call->request ? request_log(call->request) : &call->log;
}

void
api_reply(struct api_call *call, struct json *result)
{
    if (call->request) {
        request_reply(call->request, result);
    } else {
        call->done(call->aux, result ? result : json_null(), NULL);
    }
    api_free(call);
}

void
api_fail(struct api_call *call, struct error *error)
{
    if (call->request) {
        request_fail(call->request, error);
    } else {
        call->done(call->aux, NULL, error);
    }
    api_free(call);
}

const char *
api_text(const struct api_call *call, const char *name)
{
    return json_string_of(api_args(call), name);
}

struct error *
api_tristate(const struct api_call *call, const char *name, int *ret)
{
    const struct json *value = json_get(api_args(call), name);

    if (!value || json_is_null(value)) {
        *ret = -1;
        return NULL;
    }
    if (!json_is_bool(value)) {
        return error_new(ERR_VALUE, "%s is neither true, false nor null", name);
    }
    *ret = json_is_true(value);
    return NULL;
}

struct error *
api_find_instance(const struct api_call *call, const char *name,
                  const struct object **ret)
{
    size_t n = 0;

    if (!call->agent->local) {
        return error_new(ERR_NOT_IMPLEMENTED,
                         "instances of a control plane are found there");
    }
    if (!name) {
        return error_new(ERR_VALUE, "no instance is named");
    }
    *ret = records_local_find(call->agent->local, name, &n);
    if (n > 1) {
        return error_new(ERR_INVALID, "'%s' names %zu instances", name, n);
    }
    if (!*ret) {
        return error_set_arg(error_new(ERR_INSTANCE_NOT_FOUND,
                                       "no instance '%s' on host '%s'", name,
                                       call->agent->conf->host),
                             "instance_id", name);
    }
    return NULL;
}

/* The methods that are about the agent itself. */

static void
steered(void *aux, struct error *error, char *text)
{
    struct api_call *call = aux;

    if (error) {
        api_fail(call, error);
        return;
    }
    struct json *result = json_object();
    json_set_string(result, "answer", text);
    free(text);
    api_reply(call, result);
}

void
api_fake(struct api_call *call)
{
    const char *command = api_text(call, "command");

    if (!driver_can_steer(call->agent->driver)) {
        api_fail(call,
                 error_new(ERR_NOT_IMPLEMENTED, "driver '%s' can't be steered",
                           driver_name(call->agent->driver)));
    } else if (!command) {
        api_fail(call, error_new(ERR_VALUE, "command is no text"));
    } else {
        driver_steer(call->agent->driver, command, steered, call);
    }
}

void
api_fault_set(struct api_call *call)
{
    const char *name = api_text(call, "name");
    const char *action = api_text(call, "action");
    struct error *error =
        name && action ? fault_set(name, action)
                       : error_new(ERR_VALUE, "name and action are texts");

    if (error) {
        api_fail(call, error);
    } else {
        api_reply(call, NULL);
    }
}

static void
list_fault(const char *name, const char *action, unsigned n_passed, void *aux)
{
    struct json *point = json_object();

    json_set_string(point, "name", name);
    json_set_string(point, "action", action);
    json_set_int(point, "n_passed", n_passed);
    json_append(aux, point);
}

void
api_fault_list(struct api_call *call)
{
    struct json *list = json_array();

    fault_list(list_fault, list);
    api_reply(call, list);
}

static struct api_call *
from_request(void *aux, struct request *request)
{
    struct api_call *call = xzalloc(sizeof *call);

    call->agent = aux;
    call->request = request;
    return call;
}

/* As the server does for those that come over the bus. */
static struct error *
check_args(const struct rpc_method *method, const struct json *args)
{
    const struct rpc_arg *arg;

    for (arg = method->args; arg->name; arg++) {
        if (arg->required && !json_has(args, arg->name)) {
            return error_new(ERR_TYPE, "%s() needs argument '%s'", method->name,
                             arg->name);
        }
    }
    json_for_each (given, args) {
        for (arg = method->args; arg->name; arg++) {
            if (str_eq(arg->name, json_name(given))) {
                break;
            }
        }
        if (!arg->name) {
            return error_new(ERR_TYPE, "%s() has no argument '%.64s'",
                             method->name, json_name(given));
        }
    }
    return NULL;
}

static void
api_free(struct api_call *call)
{
    json_free(call->args);
    json_free(call->context);
    free(call);
}
