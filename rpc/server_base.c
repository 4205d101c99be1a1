#include <config.h>

#include "rpc/server_base.h"

static void ping(void *service, struct request *);
static void get_backdoor_port(void *aux, struct request *);
static void server_ping(void *aux, struct request *);

static const struct rpc_method base_methods[] = {
    {"ping", {{"arg", true}}, ping},
    {"get_backdoor_port", {{NULL}}, get_backdoor_port},
    {NULL},
};

static const struct rpc_method ping_methods[] = {
    {"oslo_rpc_server_ping", {{NULL}}, server_ping},
    {NULL},
};

void
server_base_add(struct rpc_server *server, const char *service)
{
    rpc_server_add(server, (struct rpc_endpoint){
                               .name_space = "baseapi",
                               .major = 1,
                               .minor = 1,
                               .methods = base_methods,
                               .aux = (void *)service,
                           });
}

void
server_base_add_ping(struct rpc_server *server)
{
    rpc_server_add(server, (struct rpc_endpoint){
                               .major = 1,
                               .minor = 0,
                               .methods = ping_methods,
                           });
}

static void
ping(void *service, struct request *request)
{
    struct json *result = json_object();

    json_set_string(result, "service", service);
    json_set(result, "arg", json_copy(request_arg(request, "arg")));
    request_reply(request, result);
}

/* There is none. */
static void
get_backdoor_port(void *aux UNUSED, struct request *request)
{
    request_reply(request, NULL);
}

static void
server_ping(void *aux UNUSED, struct request *request)
{
    request_reply(request, json_string("pong"));
}
