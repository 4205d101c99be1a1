#include <config.h>

#include "agent/api/methods.h"

#include <stdlib.h>

#include "agent/power/op.h"
#include "rpc/uuid.h"

/* An order that waits its turn at the instance, and has it. */
struct turn {
    struct api_call *call;
    char *uuid;
    enum power_order order;
    bool is_hard;
};

static void
turn_end(void *aux, struct error *error)
{
    struct turn *turn = aux;

    instance_queue_leave(api_agent(turn->call)->queue, turn->uuid);
    if (error) {
        api_fail(turn->call, error);
    } else {
        api_reply(turn->call, NULL);
    }
    free(turn->uuid);
    free(turn);
}

static void
turn_came(void *aux)
{
    struct turn *turn = aux;
    struct agent *agent = api_agent(turn->call);
    const struct object *instance;
    char key[UUID_SIZE];

    if (!agent->ops) { /* It was before us when the agent was freed. */
        turn_end(turn, error_new(ERR_CANCELLED, "the agent is stopping"));
        return;
    }
    struct error *error = api_find_instance(turn->call, turn->uuid, &instance);
    if (error) {
        turn_end(turn, error);
        return;
    }
    struct power_request request = {
        .context = api_context(turn->call),
        .instance = instance,
        .order = turn->order,
        .is_hard = turn->is_hard,
        .key = uuid_generate_text(key),
    };
    power_start(agent, &request, api_log(turn->call), turn_end, turn);
}

void
api_instance_power(struct api_call *call)
{
    struct agent *agent = api_agent(call);
    enum power_order order = power_order_by_name(api_text(call, "order"));
    const struct object *instance;
    struct error *error =
        order == ORDER_N
            ? error_new(ERR_VALUE, "there is no such order")
            : api_find_instance(call, api_text(call, "instance"), &instance);

    if (!error &&
        instance_queue_is_full(agent->queue, object_string(instance, "uuid"))) {
        error = error_new(ERR_INVALID, "too much waits for the instance");
    }
    if (error) {
        api_fail(call, error);
        return;
    }
    struct turn *turn = xzalloc(sizeof *turn);
    turn->call = call;
    turn->uuid = xstrdup(object_string(instance, "uuid"));
    turn->order = order;
    turn->is_hard = json_bool_of(api_args(call), "hard");
    instance_queue_enter(agent->queue, turn->uuid, turn_came, turn);
}

static void
console_known(void *aux, struct error *error, char *text)
{
    struct api_call *call = aux;

    if (error) {
        api_fail(call, error);
        return;
    }
    const struct json *lines = json_get(api_args(call), "lines");
    AUTO_FREE tail =
        console_tail(text, json_is_int(lines) ? json_get_int(lines) : -1);
    struct json *json = json_object();
    json_set_string(json, "console", tail);
    free(text);
    api_reply(call, json);
}

void
api_instance_console(struct api_call *call)
{
    const struct object *instance;
    struct error *error =
        api_find_instance(call, api_text(call, "instance"), &instance);

    if (error) {
        api_fail(call, error);
    } else {
        driver_console_read(api_agent(call)->driver,
                            object_string(instance, "uuid"), console_known,
                            call);
    }
}
