#include <config.h>

#include "rpc/dispatch.h"

#include <stdlib.h>

#include "rpc/failure.h"

static const struct rpc_method *find_method(const struct rpc_endpoint *,
                                            const char *name);
static struct error *check_args(const struct rpc_method *, int major,
                                const struct json *args);
static bool takes_arg(const struct rpc_method *, int major, const char *name);
static struct error *missing_args(const struct rpc_method *, int major,
                                  const struct json *args);

struct error *
dispatch_find(const struct rpc_endpoint *endpoints, size_t n,
              const struct envelope *env,
              const struct rpc_endpoint **ret_endpoint,
              const struct rpc_method **ret_method)
{
    bool some_fit = false;

    for (size_t i = 0; i < n; i++) {
        const struct rpc_endpoint *endpoint = &endpoints[i];

        if (!str_eq(endpoint->name_space, env->name_space) ||
            !envelope_version_fits(env->version, endpoint->major,
                                   endpoint->minor)) {
            continue;
        }
        some_fit = true;
        const struct rpc_method *method = find_method(endpoint, env->method);
        if (method) {
            struct error *error =
                check_args(method, endpoint->major, env->args);
            if (!error) {
                *ret_endpoint = endpoint;
                *ret_method = method;
            }
            return error;
        }
    }
    if (some_fit) {
        return error_new(ERR_NO_SUCH_METHOD,
                         "Endpoint does not support RPC method %.*s",
                         FAILURE_QUOTE_MAX, env->method);
    }
    return error_new(ERR_UNSUPPORTED_VERSION,
                     "Endpoint does not support RPC version %.*s. Attempted "
                     "method: %.*s",
                     FAILURE_QUOTE_MAX, env->version, FAILURE_QUOTE_MAX,
                     env->method);
}

static const struct rpc_method *
find_method(const struct rpc_endpoint *endpoint, const char *name)
{
    const struct rpc_method *method = endpoint->methods;

    if (*name == '_') {
        return NULL; /* Private, whatever the table says. */
    }
    while (method->name && !str_eq(method->name, name)) {
        method++;
    }
    return method->name ? method : NULL;
}

static struct error *
check_args(const struct rpc_method *method, int major, const struct json *args)
{
    if (method->takes_anything) {
        return NULL;
    }
    json_for_each (arg, args) {
        const char *name = json_name(arg);

        if (!takes_arg(method, major, name)) {
            return error_new(ERR_TYPE,
                             "%s() got an unexpected keyword argument '%.*s'",
                             method->name, FAILURE_QUOTE_MAX, name);
        }
    }
    return missing_args(method, major, args);
}

static bool
takes_arg(const struct rpc_method *method, int major, const char *name)
{
    for (size_t i = 0; i < RPC_METHOD_N_ARGS && method->args[i].name; i++) {
        const struct rpc_arg *arg = &method->args[i];

        if (str_eq(arg->name, name)) {
            return !arg->only_major || arg->only_major == major;
        }
    }
    return false;
}

/* "f() missing 2 required positional arguments: 'a' and 'b'", and with three
 * "'a', 'b', and 'c'". */
static struct error *
missing_args(const struct rpc_method *method, int major,
             const struct json *args)
{
    const char *missing[RPC_METHOD_N_ARGS];
    size_t n = 0;

    for (size_t i = 0; i < RPC_METHOD_N_ARGS && method->args[i].name; i++) {
        const struct rpc_arg *arg = &method->args[i];

        if (arg->required && takes_arg(method, major, arg->name) &&
            !json_has(args, arg->name)) {
            missing[n++] = arg->name;
        }
    }
    if (!n) {
        return NULL;
    }
    AUTO_FREE list = xasprintf("'%s'", missing[0]);
    for (size_t i = 1; i < n; i++) {
        const char *joint = i < n - 1 ? ", " : n == 2 ? " and " : ", and ";
        char *longer = xasprintf("%s%s'%s'", list, joint, missing[i]);

        free(list);
        list = longer;
    }
    return error_new(ERR_TYPE,
                     "%s() missing %zu required positional argument%s: %s",
                     method->name, n, n == 1 ? "" : "s", list);
}
