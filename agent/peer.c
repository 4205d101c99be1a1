#include <config.h>

#include "agent/peer.h"

#define TOPIC "compute"
#define GATHER_MS 2000

static struct rpc_target compute_target(const struct agent *, const char *host);
static struct rpc_options patience_options(const struct conf *,
                                           enum peer_patience);

void
peer_call(struct agent *agent, const char *host, const char *method,
          struct json *args, const struct json *context,
          enum peer_patience patience, rpc_done *done, void *aux)
{
    struct rpc_target target = compute_target(agent, host);
    struct rpc_options options = patience_options(agent->conf, patience);

    rpc_call(agent->client, &target, &options, context, method, args, done,
             aux);
    json_free(args);
}

void
peer_cast(struct agent *agent, const char *host, const char *method,
          struct json *args, const struct json *context,
          void (*done)(void *aux, struct error *error), void *aux)
{
    struct rpc_target target = compute_target(agent, host);
    unsigned timeout_ms = (unsigned)agent->conf->rpc_response_timeout * 1000;

    rpc_cast(agent->client, &target, context, method, args, timeout_ms, done,
             aux);
    json_free(args);
}

void
peer_call_drover(struct agent *agent, const char *host, const char *method,
                 struct json *args, const struct json *context,
                 enum peer_patience patience, rpc_done *done, void *aux)
{
    struct rpc_target target = compute_target(agent, host);
    struct rpc_options options = patience_options(agent->conf, patience);

    target.name_space = "drover";
    target.version = "1.0";
    rpc_call(agent->client, &target, &options, context, method, args, done,
             aux);
    json_free(args);
}

void
peer_gather(struct agent *agent, const char *method, struct json *args,
            const struct json *context, rpc_each *each, void (*end)(void *aux),
            void *aux)
{
    struct rpc_target target = compute_target(agent, NULL);

    target.name_space = "drover";
    target.version = "1.0";
    rpc_gather(agent->client, &target, GATHER_MS, context, method, args, each,
               end, aux);
    json_free(args);
}

/* Every migration method exists in 6.0, and in 5.0 for a cloud that pins its
 * compute hosts there. */
static struct rpc_target
compute_target(const struct agent *agent, const char *host)
{
    const char *pin = agent->conf->upgrade_levels.compute;
    bool old = pin && pin[0] == '5' && pin[1] == '.';

    return (struct rpc_target){
        .exchange = agent->conf->control_exchange,
        .topic = TOPIC,
        .server = host,
        .version = old ? "5.0" : "6.0",
    };
}

static struct rpc_options
patience_options(const struct conf *conf, enum peer_patience patience)
{
    unsigned response_s = (unsigned)conf->rpc_response_timeout;

    if (patience == PEER_LONG) {
        return (struct rpc_options){
            .timeout_ms = (unsigned)conf->long_rpc_timeout * 1000,
            .monitor_s = response_s,
        };
    }
    return (struct rpc_options){.timeout_ms = response_s * 1000};
}
