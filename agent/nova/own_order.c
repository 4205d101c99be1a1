#include <config.h>

#include "agent/nova/own_order.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/nova/terminate.h"
#include "agent/power/op.h"

LOG_MODULE(nova);

struct own_order {
    struct agent *agent;
    struct json *context;
    enum power_order order;
    bool is_hard;
    struct log_context log;
};

static void turn_came(void *aux);
static void instance_known(void *aux, struct error *error,
                           struct object *instance);
static void ended(void *aux, struct error *error);

void
own_order_start(struct nova *nova, const struct json *context,
                const char *instance_uuid, enum power_order order, bool is_hard)
{
    struct agent *agent = nova->agent;

    if (instance_queue_is_full(agent->queue, instance_uuid)) {
        return; /* Others decide about it. */
    }
    struct own_order *own = xzalloc(sizeof *own);
    own->agent = agent;
    own->context = context ? json_copy(context) : rpc_context_create();
    own->order = order;
    own->is_hard = is_hard;
    snprintf(own->log.instance, sizeof own->log.instance, "%s", instance_uuid);
    instance_queue_enter(agent->queue, own->log.instance, turn_came, own);
}

static void
turn_came(void *aux)
{
    struct own_order *own = aux;
    struct records *records = own->agent->records;

    if (own->agent->ops) {
        records->ops->instance_get(records->state, own->context,
                                   own->log.instance, instance_known, own);
    } else {
        ended(own, error_new(ERR_CANCELLED, "the agent is stopping"));
    }
}

/* With all that notifications tell of it. */
static void
instance_known(void *aux, struct error *error, struct object *instance)
{
    struct own_order *own = aux;
    const char *key = json_string_of(own->context, "request_id");

    if (!error && !own->agent->ops) {
        error = error_new(ERR_CANCELLED, "the agent is stopping");
    }
    if (error) {
        ended(own, error);
    } else if (own->order == OWN_ORDER_DELETE) {
        const struct terminate_request request = {
            .context = own->context,
            .instance = instance,
            .key = key,
        };
        terminate_start(own->agent, &request, &own->log, ended, own);
    } else {
        const struct power_request request = {
            .context = own->context,
            .instance = instance,
            .order = own->order,
            .is_hard = own->is_hard,
            .key = key,
        };
        power_start(own->agent, &request, &own->log, ended, own);
    }
    object_free(instance);
}

/* An operation has logged why it failed. */
static void
ended(void *aux, struct error *error)
{
    struct own_order *own = aux;

    log_debug(&own->log, "%s", error ? error_message(error) : "it is done");
    error_free(error);
    instance_queue_leave(own->agent->queue, own->log.instance);
    json_free(own->context);
    free(own);
}
