#include <config.h>

#include "agent/power/op.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/adopt.h"
#include "agent/nova/nova.h"
#include "agent/power/internal.h"
#include "agent/power/where.h"

LOG_MODULE(power);

/* Where an image says how long its guests may take to end. */
#define PATIENCE_KEY "image_os_shutdown_timeout"

static void where_run(struct op *op, struct op_ticket *ticket);
static struct json *power_save(const void *data);
static struct error *power_load(void *aux, const struct json *json,
                                void **ret_data);
static void power_free(void *data);
static void power_finished(struct op *op, const struct error *error);

static const struct step steps[] = {
    {.name = "look-where",
     .run = where_run,
     .undo = power_where_undo,
     .timeout_s = 120},
    {.name = "accept", .run = power_accept_run},
    /* The commit: the guest is as it was asked to be. */
    {.name = "act",
     .run = power_act_run,
     .probe = power_act_probe,
     .readopt = power_act_run},
    {.name = "record", .run = power_record_run},
    {.name = NULL},
};

const struct op_type power_type = {
    .name = "power",
    .steps = steps,
    .save = power_save,
    .load = power_load,
    .free_data = power_free,
    .finished = power_finished,
};

const struct power_order_info *
power_info(const struct power *p)
{
    return &power_orders[p->run.order];
}

const char *
power_uuid(const struct power *p)
{
    return object_string(p->instance, "uuid");
}

static void
set_patience(struct power *p)
{
    const struct conf *conf = p->agent->conf;
    const char *of_image = json_string_of(
        object_get(p->instance, "system_metadata"), PATIENCE_KEY);
    int s = p->run.order == ORDER_REBOOT
                ? conf->libvirt.wait_soft_reboot_seconds
                : conf->shutdown_timeout;

    if (of_image && p->run.order == ORDER_STOP) {
        long given = strtol(of_image, NULL, 10);
        s = given < 0 ? 0 : given > 86400 ? 86400 : (int)given;
    }
    p->run.patience_ms = p->is_hard ? 0 : (unsigned)s * 1000;
    p->run.retry_ms = (unsigned)conf->compute.shutdown_retry_interval * 1000;
}

struct start_call {
    void (*done)(void *aux, struct error *error);
    void *aux;
};

static void
accepted(void *aux, struct op *op, struct error *error)
{
    struct start_call *call = aux;

    if (error_code(error) == ERR_INVALID) {
        log_info(NULL, "told twice, and ignored: %s", error_message(error));
        error_free(error);
        call->done(call->aux, NULL);
    } else if (error) {
        call->done(call->aux, error);
    } else {
        struct power *p = op_data(op);
        p->done = call->done;
        p->aux = call->aux;
    }
    free(call);
}

void
power_start(struct agent *agent, const struct power_request *request,
            const struct log_context *log,
            void (*done)(void *aux, struct error *error), void *aux)
{
    struct power *p = xzalloc(sizeof *p);
    struct start_call *call = xzalloc(sizeof *call);
    struct log_context about = *log;
    AUTO_FREE key = xasprintf(
        "power:%s:%s", object_string(request->instance, "uuid"), request->key);

    p->agent = agent;
    p->context = json_copy(request->context);
    p->instance = object_copy(request->instance);
    object_clear_changes(p->instance);
    p->is_hard = request->is_hard;
    p->run.order = request->order;
    set_patience(p);
    call->done = done;
    call->aux = aux;
    snprintf(about.instance, sizeof about.instance, "%s", power_uuid(p));
    op_start(agent->ops, &power_type, key, &about, p, accepted, call);
}

static void
turn_came(void *aux UNUSED)
{
}

void
power_take_turns(struct agent *agent)
{
    for (struct op *op = op_first(agent->ops); op; op = op_next(op)) {
        if (str_eq(op_type_name(op), power_type.name)) {
            struct power *p = op_data(op);
            p->has_turn = true;
            instance_queue_enter(agent->queue, power_uuid(p), turn_came, NULL);
        }
    }
}
void
power_event(struct agent *agent, const struct driver_event *event)
{
    for (struct op *op = op_first(agent->ops), *next; op; op = next) {
        next = op_next(op);
        if (str_eq(op_type_name(op), power_type.name)) {
            struct power *p = op_data(op);
            if (str_eq(power_uuid(p), event->uuid)) {
                power_look_now(p);
            }
        }
    }
}

static void
record_known(void *aux, struct error *error, struct object *instance)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (op && !error) {
        struct power *p = op_data(op);
        object_free(p->instance);
        p->instance = steal(&instance);
        object_clear_changes(p->instance);
    }
    object_free(instance);
    op_ticket_done(ticket, error_wrap(error, "look for its record"));
}

/* Nova's API sends less than notifications tell. */
static void
where_known(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    struct power *p = op ? op_data(op) : NULL;

    if (!p || error || p->agent->local || object_has(p->instance, "flavor")) {
        op_ticket_done(ticket, error);
        return;
    }
    struct records *records = p->agent->records;
    records->ops->instance_get(records->state, p->context, power_uuid(p),
                               record_known, ticket);
}

static void
where_run(struct op *op, struct op_ticket *ticket)
{
    struct power *p = op_data(op);
    struct records *records = p->agent->records;
    AUTO_FREE event = xasprintf("compute_%s", power_info(p)->method);

    log_info(op_log(op), "guest is to %s%s", power_info(p)->name,
             p->is_hard ? ", hard" : "");
    records->ops->event_start(records->state, p->context, power_uuid(p), event);
    power_where_ask(p->agent, p->context, power_uuid(p),
                    power_order_starts(p->run.order), where_known, ticket);
}
/* The journal's side. */

static struct json *
power_save(const void *data)
{
    const struct power *p = data;
    struct json *json = json_object();

    json_set(json, "context", json_copy(p->context));
    json_set(json, "instance", json_copy(object_json(p->instance)));
    json_set_string(json, "order", power_info(p)->name);
    json_set_bool(json, "is_hard", p->is_hard);
    json_set_bool(json, "went_off", p->run.went_off);
    return json;
}

static struct error *
power_load(void *aux, const struct json *json, void **ret_data)
{
    const char *order = json_string_of(json, "order");
    struct object *instance = NULL;
    struct error *error =
        object_parse(json_get(json, "instance"), "Instance", &instance);

    if (!error && (!object_string(instance, "uuid") || !order ||
                   power_order_by_name(order) == ORDER_N)) {
        object_free(instance);
        error = error_new(ERR_STORAGE, "an order of a guest is not known");
    }
    if (error) {
        return error;
    }
    struct power *p = xzalloc(sizeof *p);
    p->agent = aux;
    p->context = json_copy(json_get(json, "context"));
    p->instance = instance;
    p->is_hard = json_bool_of(json, "is_hard");
    p->run.order = power_order_by_name(order);
    p->run.went_off = json_bool_of(json, "went_off");
    set_patience(p);
    *ret_data = p;
    return NULL;
}

static void
power_free(void *data)
{
    struct power *p = data;

    if (!p) {
        return;
    }
    power_look_stop(p);
    if (p->done) {
        p->done(p->aux, error_new(ERR_CANCELLED, "the agent is stopping"));
    }
    json_free(p->context);
    object_free(p->instance);
    free(p);
}

/* Observed order on failure: the fault, the event's end, the notifications, the
 * reply. */
static void
power_finished(struct op *op, const struct error *error)
{
    struct power *p = op_data(op);
    struct agent *agent = p->agent;
    struct records *records = agent->records;
    const char *method = power_info(p)->method;
    AUTO_FREE event = xasprintf("compute_%s", method);

    if (error) {
        log_warn(op_log(op), "guest did not %s: %s", power_info(p)->name,
                 error_message(error));
        records->ops->fault_create(records->state, p->context, power_uuid(p),
                                   error);
    }
    records->ops->event_finish(records->state, p->context, power_uuid(p), event,
                               error);
    if (error) {
        notify_exception(agent->notify, p->context, method, p->instance, error);
    }
    adopt_again(agent, power_uuid(p));
    if (agent->nova) {
        nova_guests_changed(agent->nova);
    }
    if (p->has_turn) {
        instance_queue_leave(agent->queue, power_uuid(p));
        p->has_turn = false;
    }
    if (p->done) {
        p->done(p->aux, error_copy(error));
        p->done = NULL;
    }
}
