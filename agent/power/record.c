#include <config.h>

#include "agent/power/internal.h"

LOG_MODULE(power);

/* Where Nova keeps what an instance was before it was suspended. */
#define OLD_STATE_KEY "old_vm_state"

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

static const char *
task_of(const struct power *p)
{
    return p->run.order == ORDER_REBOOT && p->is_hard ? hard_tasks[0]
                                                      : power_info(p)->task;
}

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

void
power_accept_run(struct op *op, struct op_ticket *ticket)
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

/* It was to run, and is off: after a reboot, or as its host was booted. */
static bool
is_broken(const struct power *p)
{
    return (p->run.order == ORDER_REBOOT && p->run.went_off) ||
           (p->run.order == ORDER_START && !p->agent->local &&
            str_eq(object_string(p->instance, "vm_state"), "active"));
}

/* Nova's API has set the task, or power_accept_run(). */
void
power_where_undo(struct op *op, struct op_ticket *ticket)
{
    struct power *p = op_data(op);
    const char *const one[] = {task_of(p), NULL};
    bool is_reboot = p->run.order == ORDER_REBOOT;
    size_t n;

    if (p->agent->local &&
        !records_local_find(p->agent->local, power_uuid(p), &n)) {
        op_ticket_done(ticket, NULL); /* Not this host's; nor to be made so. */
        return;
    }
    set_task(p->instance, NULL);
    if (is_broken(p)) {
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
    const char *vm_state = power_info(p)->vm_state;
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

void
power_record_run(struct op *op, struct op_ticket *ticket)
{
    struct power *p = op_data(op);

    driver_guest_get(p->agent->driver, power_uuid(p), end_known, ticket);
}
