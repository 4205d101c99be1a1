#include <config.h>

#include "agent/power_op.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/adopt.h"
#include "agent/base/clock.h"
#include "agent/power_where.h"

LOG_MODULE(power);

/* How often a guest is looked at that takes its time; an event of it is
 * quicker. */
#define LOOK_AGAIN_MS 500

/* Where Nova keeps what an instance was before it was suspended, and what its
 * image says of its patience. */
#define OLD_STATE_KEY "old_vm_state"
#define PATIENCE_KEY "image_os_shutdown_timeout"

struct power {
    struct agent *agent;
    struct json *context;
    struct object *instance; /* Never null. */
    bool is_hard;
    struct power_run run;

    /* Not in the journal. */
    const char *const *tasks; /* Of a reboot: those that are yet to be. */
    struct op_ticket *wait;   /* While it waits to look again. */
    uv_timer_t *timer;        /* Null: none yet. */
    bool has_turn;            /* At its instance, since a restart. */
    void (*done)(void *aux, struct error *error); /* Null: nobody waits. */
    void *aux;
};

static void where_run(struct op *op, struct op_ticket *ticket);
static void where_undo(struct op *op, struct op_ticket *ticket);
static void accept_run(struct op *op, struct op_ticket *ticket);
static void act_run(struct op *op, struct op_ticket *ticket);
static void act_probe(struct op *op, struct op_ticket *ticket);
static void record_run(struct op *op, struct op_ticket *ticket);
static struct json *power_save(const void *data);
static struct error *power_load(void *aux, const struct json *json,
                                void **ret_data);
static void power_free(void *data);
static void power_finished(struct op *op, const struct error *error);

static const struct step steps[] = {
    {.name = "look-where",
     .run = where_run,
     .undo = where_undo,
     .timeout_s = 120},
    {.name = "accept", .run = accept_run},
    /* The commit: the guest is as it was asked to be. */
    {.name = "act", .run = act_run, .probe = act_probe, .readopt = act_run},
    {.name = "record", .run = record_run},
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

/* By enum power_order. */
static const enum notify_event events[] = {
    [ORDER_START] = NOTIFY_POWER_ON,  [ORDER_STOP] = NOTIFY_POWER_OFF,
    [ORDER_REBOOT] = NOTIFY_REBOOT,   [ORDER_PAUSE] = NOTIFY_PAUSE,
    [ORDER_UNPAUSE] = NOTIFY_UNPAUSE, [ORDER_SUSPEND] = NOTIFY_SUSPEND,
    [ORDER_RESUME] = NOTIFY_RESUME,
};

/* The tasks of a reboot, one after the other, after that which Nova's API sets;
 * each may be there already. */
static const char *const soft_tasks[] = {"rebooting", "reboot_pending",
                                         "reboot_started", NULL};
static const char *const hard_tasks[] = {
    "rebooting_hard", "reboot_pending_hard", "reboot_started_hard", NULL};

static const struct power_order_info *
info_of(const struct power *p)
{
    return &power_orders[p->run.order];
}

static const char *
uuid_of(const struct power *p)
{
    return object_string(p->instance, "uuid");
}

static const char *
task_of(const struct power *p)
{
    return p->run.order == ORDER_REBOOT && p->is_hard ? hard_tasks[0]
                                                      : info_of(p)->task;
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
    snprintf(about.instance, sizeof about.instance, "%s", uuid_of(p));
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
            instance_queue_enter(agent->queue, uuid_of(p), turn_came, NULL);
        }
    }
}

static void
look_now(struct power *p)
{
    if (p->wait) {
        struct op_ticket *ticket = steal(&p->wait);

        uv_timer_stop(p->timer);
        act_run(op_ticket_op(ticket), ticket);
    }
}

void
power_event(struct agent *agent, const struct driver_event *event)
{
    for (struct op *op = op_first(agent->ops), *next; op; op = next) {
        next = op_next(op);
        if (str_eq(op_type_name(op), power_type.name)) {
            struct power *p = op_data(op);
            if (str_eq(uuid_of(p), event->uuid)) {
                look_now(p);
            }
        }
    }
}

/* Records. */

/* Whoever saved it in between, or this agent before it died, has settled it. */
static struct error *
unless_settled(struct op *op, struct error *error)
{
    if (error_code(error) == ERR_UNEXPECTED_TASK_STATE ||
        error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        log_info(op_log(op), "instance is settled already: %s",
                 error_message(error));
        error_free(error);
        return NULL;
    }
    return error;
}

static void
keep(struct power *p, struct object *instance)
{
    if (instance) {
        object_free(p->instance);
        p->instance = instance;
        object_clear_changes(p->instance);
    }
}

static void
set_task(struct object *instance, const char *task)
{
    if (task) {
        object_set_string(instance, "task_state", task);
    } else {
        object_set_null(instance, "task_state");
    }
    object_set_changed(instance, "task_state");
}

static void
save(struct power *p, const char *const *expected, records_object_done *done,
     struct op_ticket *ticket)
{
    struct records *records = p->agent->records;

    records->ops->instance_save(records->state, p->context, p->instance,
                                expected, done, ticket);
}

static void next_task(struct op *op, struct op_ticket *ticket);

static void
task_saved(void *aux, struct error *error, struct object *instance)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (!op || error) {
        object_free(instance);
        op_ticket_done(ticket, error_wrap(error, "save the task"));
        return;
    }
    keep(op_data(op), instance);
    next_task(op, ticket);
}

/* Of a reboot, in Nova. */
static void
next_task(struct op *op, struct op_ticket *ticket)
{
    struct power *p = op_data(op);

    if (!p->tasks || !*p->tasks) {
        op_ticket_done(ticket, NULL);
        return;
    }
    /* The first of them may follow on any of the row, as a reboot that was
     * under way before is none any more. */
    bool is_first =
        str_eq(*p->tasks, p->is_hard ? hard_tasks[1] : soft_tasks[1]);
    const char *const before[] = {p->tasks[-1], NULL};

    set_task(p->instance, *p->tasks);
    if (is_first) {
        notify_instance(p->agent->notify, p->context, events[p->run.order],
                        NOTIFY_START, p->instance);
    }
    p->tasks++;
    save(p, is_first ? (p->is_hard ? hard_tasks : soft_tasks) : before,
         task_saved, ticket);
}

static void
accept_run(struct op *op, struct op_ticket *ticket)
{
    static const char *const nothing[] = {"", NULL};
    struct power *p = op_data(op);

    if (!p->agent->local && p->run.order == ORDER_REBOOT) {
        p->tasks = (p->is_hard ? hard_tasks : soft_tasks) + 1;
        next_task(op, ticket);
        return;
    }
    if (p->agent->local) { /* Nova's API has done it. */
        set_task(p->instance, task_of(p));
    }
    notify_instance(p->agent->notify, p->context, events[p->run.order],
                    NOTIFY_START, p->instance);
    if (p->agent->local) {
        save(p, nothing, task_saved, ticket);
    } else {
        op_ticket_done(ticket, NULL);
    }
}

static void
taken_back(void *aux, struct error *error, struct object *instance)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    object_free(instance);
    op_ticket_done(ticket, op ? unless_settled(op, error) : error);
}

/* Nova's API has set the task, or accept_run().  A guest that was to be
 * rebooted and is off now is not what its user has. */
static void
where_undo(struct op *op, struct op_ticket *ticket)
{
    struct power *p = op_data(op);
    const char *const one[] = {task_of(p), NULL};
    bool is_reboot = p->run.order == ORDER_REBOOT;
    size_t n;

    if (p->agent->local &&
        !records_local_find(p->agent->local, uuid_of(p), &n)) {
        op_ticket_done(ticket, NULL); /* Not this host's; nor to be made so. */
        return;
    }
    set_task(p->instance, NULL);
    if (is_reboot && p->run.went_off) {
        object_set_string(p->instance, "vm_state", "error");
        object_set_changed(p->instance, "vm_state");
    }
    save(p,
         !is_reboot   ? one
         : p->is_hard ? hard_tasks
                      : soft_tasks,
         taken_back, ticket);
}

static void
recorded(void *aux, struct error *error, struct object *instance)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (op) {
        struct power *p = op_data(op);

        error = unless_settled(op, error);
        keep(p, steal(&instance));
        if (!error) {
            notify_instance(p->agent->notify, p->context, events[p->run.order],
                            NOTIFY_END, p->instance);
        }
    }
    object_free(instance);
    op_ticket_done(ticket, error_wrap(error, "save the instance"));
}

/* A suspended instance goes back to what it was. */
static void
set_end(struct power *p, const struct guest *guest)
{
    const char *vm_state = info_of(p)->vm_state;
    struct json *metadata =
        json_copy(object_get(p->instance, "system_metadata"));
    AUTO_FREE old = xstrdup_null(json_string_of(metadata, OLD_STATE_KEY));

    if (p->run.order == ORDER_SUSPEND && metadata) {
        json_set_string(metadata, OLD_STATE_KEY,
                        object_string(p->instance, "vm_state"));
        object_set(p->instance, "system_metadata", steal(&metadata));
    } else if (p->run.order == ORDER_RESUME && old) {
        vm_state = old;
        json_remove(metadata, OLD_STATE_KEY);
        object_set(p->instance, "system_metadata", steal(&metadata));
    }
    json_free(metadata);
    object_set_int(p->instance, "power_state", guest->power_state);
    object_set_changed(p->instance, "power_state");
    object_set_string(p->instance, "vm_state", vm_state);
    object_set_changed(p->instance, "vm_state");
    set_task(p->instance, NULL);
}

static void
end_known(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (error || !op) {
        op_ticket_done(ticket, error);
    } else {
        struct power *p = op_data(op);
        const char *const expected[] = {task_of(p), NULL};

        set_end(p, guest);
        save(p, p->run.order == ORDER_REBOOT ? NULL : expected, recorded,
             ticket);
    }
    guest_free(guest);
}

static void
record_run(struct op *op, struct op_ticket *ticket)
{
    struct power *p = op_data(op);

    driver_guest_get(p->agent->driver, uuid_of(p), end_known, ticket);
}

/* The guest. */

static void
where_run(struct op *op, struct op_ticket *ticket)
{
    struct power *p = op_data(op);
    struct records *records = p->agent->records;
    AUTO_FREE event = xasprintf("compute_%s", info_of(p)->method);

    log_info(op_log(op), "guest is to %s%s", info_of(p)->name,
             p->is_hard ? ", hard" : "");
    records->ops->event_start(records->state, p->context, uuid_of(p), event);
    power_where_ask(p->agent, p->context, uuid_of(p),
                    power_order_starts(p->run.order), op_ticket_done_aux,
                    ticket);
}

static void
timer_due(uv_timer_t *timer)
{
    look_now(timer->data);
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle);
}

static void
look_later(struct power *p, struct op_ticket *ticket)
{
    if (!p->timer) {
        p->timer = xzalloc(sizeof *p->timer);
        uv_timer_init(p->agent->loop, p->timer);
        p->timer->data = p;
    }
    p->wait = ticket;
    uv_timer_start(p->timer, timer_due, LOOK_AGAIN_MS, 0);
}

static void
moved(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (!op || error) {
        op_ticket_done(ticket, error);
    } else {
        act_run(op, ticket);
    }
}

/* A guest that can't be asked is one that does not listen. */
static void
asked(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (!op) {
        op_ticket_done(ticket, error);
        return;
    }
    if (error) {
        log_info(op_log(op), "%s", error_message(error));
        error_free(error);
    }
    act_run(op, ticket);
}

static void
off_noted(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (!op || error) {
        op_ticket_done(ticket, error);
    } else {
        struct power *p = op_data(op);
        driver_power_on(p->agent->driver, uuid_of(p), moved, ticket);
    }
}

static void
move(struct op *op, enum power_move what, struct op_ticket *ticket)
{
    struct power *p = op_data(op);
    struct driver *driver = p->agent->driver;

    switch (what) {
    case MOVE_SHUT_DOWN:
        log_info(op_log(op), "guest is asked to shut down");
        driver_shut_down(driver, uuid_of(p), asked, ticket);
        break;
    case MOVE_POWER_OFF:
        log_info(op_log(op), "guest is powered off");
        driver_power_off(driver, uuid_of(p), moved, ticket);
        break;
    case MOVE_POWER_ON:
        log_info(op_log(op), "guest is started");
        op_save(op, off_noted, ticket); /* That it was off. */
        break;
    case MOVE_SUSPEND:
        driver_suspend(driver, uuid_of(p), moved, ticket);
        break;
    case MOVE_RESUME:
        driver_resume(driver, uuid_of(p), moved, ticket);
        break;
    case MOVE_SAVE:
        driver_save(driver, uuid_of(p), moved, ticket);
        break;
    case MOVE_NONE:
        look_later(p, ticket);
        break;
    case MOVE_DONE:
    case MOVE_REFUSE:
        op_ticket_done(ticket, NULL);
        break;
    }
}

static void
looked(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (!op || error) {
        op_ticket_done(ticket, error);
    } else {
        struct power *p = op_data(op);
        enum power_move what =
            power_next(&p->run, guest, clock_now_ms(), &error);

        if (what == MOVE_REFUSE) {
            op_ticket_done(ticket, error);
        } else {
            move(op, what, ticket);
        }
    }
    guest_free(guest);
}

static void
act_run(struct op *op, struct op_ticket *ticket)
{
    struct power *p = op_data(op);

    driver_guest_get(p->agent->driver, uuid_of(p), looked, ticket);
}

static void
probed(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    enum probe_answer answer = PROBE_UNKNOWN;

    if (op && !error) {
        struct power *p = op_data(op);
        answer = power_is_reached(&p->run, guest) ? PROBE_YES : PROBE_NO;
    } else if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        answer = PROBE_NO;
    }
    error_free(error);
    guest_free(guest);
    op_ticket_answer(ticket, answer);
}

static void
act_probe(struct op *op, struct op_ticket *ticket)
{
    struct power *p = op_data(op);

    driver_guest_get(p->agent->driver, uuid_of(p), probed, ticket);
}

/* The journal's side. */

static struct json *
power_save(const void *data)
{
    const struct power *p = data;
    struct json *json = json_object();

    json_set(json, "context", json_copy(p->context));
    json_set(json, "instance", json_copy(object_json(p->instance)));
    json_set_string(json, "order", info_of(p)->name);
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
    if (p->timer) {
        uv_close((uv_handle_t *)steal(&p->timer), timer_closed);
    }
    if (p->wait) {
        op_ticket_done(p->wait, NULL);
    }
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
    const char *method = info_of(p)->method;
    AUTO_FREE event = xasprintf("compute_%s", method);

    if (error) {
        log_warn(op_log(op), "guest did not %s: %s", info_of(p)->name,
                 error_message(error));
        records->ops->fault_create(records->state, p->context, uuid_of(p),
                                   error);
    }
    records->ops->event_finish(records->state, p->context, uuid_of(p), event,
                               error);
    if (error) {
        notify_exception(agent->notify, p->context, method, p->instance, error);
    }
    adopt_again(agent, uuid_of(p));
    if (p->has_turn) {
        instance_queue_leave(agent->queue, uuid_of(p));
        p->has_turn = false;
    }
    if (p->done) {
        p->done(p->aux, error_copy(error));
        p->done = NULL;
    }
}
