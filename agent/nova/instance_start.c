#include <config.h>

#include "agent/nova/instance_start.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/incoming/incoming.h"
#include "agent/nova/instance_init.h"
#include "agent/nova/own_order.h"

LOG_MODULE(nova);

struct starting {
    struct nova *nova;
    const struct object *instance;
    int power;
    struct object *migration; /* From here, not over; or null. */
    struct log_context log;
    void (*done)(void *aux);
    void *aux;
};

static void guest_seen(void *aux, struct error *error, struct guest *guest);
static void migrations_known(void *aux, struct error *error,
                             struct object **objects, size_t n);
static bool is_open(const struct starting *s, const struct object *migration);
static void decide(struct starting *s);
static void carry_out(struct starting *s, enum init_action action);
static void order(struct starting *s, enum power_order what);
static void resume(struct starting *s);
static void resume_recorded(void *aux, struct error *error,
                            struct object *instance);
static void save(struct starting *s, const char *vm_state, bool keeps_task);
static void instance_saved(void *aux, struct error *error,
                           struct object *instance);
static void migration_saved(void *aux, struct error *error,
                            struct object *migration);
static void starting_end(struct starting *s);

void
instance_start(struct nova *nova, const struct object *instance,
               void (*done)(void *aux), void *aux)
{
    struct starting *s = xzalloc(sizeof *s);
    const char *uuid = object_string(instance, "uuid");

    s->nova = nova;
    s->instance = instance;
    s->done = done;
    s->aux = aux;
    snprintf(s->log.instance, sizeof s->log.instance, "%s", uuid ? uuid : "");
    driver_guest_get(nova->agent->driver, s->log.instance, guest_seen, s);
}

static void
guest_seen(void *aux, struct error *error, struct guest *guest)
{
    struct starting *s = aux;
    struct records *records = s->nova->agent->records;

    s->power = guest ? (int)guest->power_state : POWER_NOSTATE;
    guest_free(guest);
    if (!s->nova->start) { /* The agent is going. */
        error_free(error);
        starting_end(s);
        return;
    }
    if (error && error_code(error) != ERR_INSTANCE_NOT_FOUND) {
        log_warn(&s->log, "nothing is done about it, as it can't be seen: %s",
                 error_message(error));
        error_free(error);
        starting_end(s);
        return;
    }
    error_free(error);
    if (str_eq(object_string(s->instance, "task_state"), "migrating")) {
        records->ops->migration_list(records->state, NULL, s->log.instance,
                                     migrations_known, s);
    } else {
        decide(s);
    }
}

/* The newest comes first. */
static void
migrations_known(void *aux, struct error *error, struct object **objects,
                 size_t n)
{
    struct starting *s = aux;

    for (size_t i = 0; i < n; i++) {
        if (!s->migration && is_open(s, objects[i])) {
            s->migration = objects[i];
        } else {
            object_free(objects[i]);
        }
    }
    free(objects);
    if (error) {
        log_warn(&s->log, "its migrations are not known: %s",
                 error_message(error));
        error_free(error);
        starting_end(s);
        return;
    }
    decide(s);
}

static bool
is_open(const struct starting *s, const struct object *migration)
{
    static const char *const over[] = {"completed", "failed", "error",
                                       "cancelled", "done",   "confirmed",
                                       "reverted",  NULL};
    const char *status = object_string(migration, "status");

    for (size_t i = 0; over[i]; i++) {
        if (str_eq(status, over[i])) {
            return false;
        }
    }
    return str_eq(object_string(migration, "migration_type"),
                  "live-migration") &&
           str_eq(object_string(migration, "source_compute"),
                  s->nova->agent->conf->host);
}

static bool
has_operation(const struct starting *s)
{
    struct agent *agent = s->nova->agent;

    for (struct op *op = agent->ops ? op_first(agent->ops) : NULL; op;
         op = op_next(op)) {
        if (str_eq(op_log(op)->instance, s->log.instance)) {
            return true;
        }
    }
    return agent->ops && incoming_is_expected(agent, s->log.instance);
}

static void
decide(struct starting *s)
{
    struct agent *agent = s->nova->agent;
    const char *host = object_string(s->instance, "host");
    const struct init_facts facts = {
        .is_of_this_host = str_eq(host, agent->conf->host),
        .vm_state = object_string(s->instance, "vm_state"),
        .task_state = object_string(s->instance, "task_state"),
        .recorded_power = (int)object_int(s->instance, "power_state"),
        .actual_power = s->power,
        .has_operation = has_operation(s),
        .migration_status =
            s->migration ? object_string(s->migration, "status") : NULL,
        .resumes_guests = agent->conf->resume_guests_state_on_host_boot,
    };

    carry_out(s, instance_init_decide(&facts));
}

static void
carry_out(struct starting *s, enum init_action action)
{
    const char *vm_state = object_string(s->instance, "vm_state");
    const char *task_state = object_string(s->instance, "task_state");

    if (action != INIT_NOTHING && action != INIT_SKIP) {
        log_warn(&s->log, "was '%s' with task '%s' when the agent started: %s",
                 vm_state ? vm_state : "", task_state ? task_state : "",
                 init_action_name(action));
    }
    switch (action) {
    case INIT_NOTHING:
    case INIT_SKIP:
    case INIT_ELSEWHERE:
        starting_end(s);
        break;
    case INIT_BUILD_FAILED:
        save(s, "error", false);
        break;
    case INIT_ACTIVE:
        save(s, "active", false);
        break;
    case INIT_RESIZE_BACK: /* As Nova if it fails. */
        save(s, "error", true);
        break;
    case INIT_DELETE:
        order(s, OWN_ORDER_DELETE);
        break;
    case INIT_UNPAUSE:
        order(s, ORDER_UNPAUSE);
        break;
    case INIT_REBOOT:
        order(s, ORDER_REBOOT);
        break;
    case INIT_STOP:
        order(s, ORDER_STOP);
        break;
    case INIT_START:
        order(s, ORDER_START);
        break;
    case INIT_RESUME:
        resume(s);
        break;
    case INIT_CLEAR_TASK:
    case INIT_MIGRATION_LOST:
        save(s, NULL, false);
        break;
    }
}

/* The start of the agent does not wait for it: a guest may take its time. */
static void
order(struct starting *s, enum power_order what)
{
    const char *task = object_string(s->instance, "task_state");
    bool is_hard = str_eq(task, "reboot_pending_hard") ||
                   str_eq(task, "reboot_started_hard");

    own_order_start(s->nova, NULL, s->log.instance, what, is_hard);
    starting_end(s);
}

/* As if its user had said so: until it runs nobody is to take it for one that
 * has been shut down. */
static void
resume(struct starting *s)
{
    static const char *const expected[] = {"", NULL};
    struct records *records = s->nova->agent->records;
    AUTO_OBJECT changed = object_copy(s->instance);

    object_clear_changes(changed);
    object_set_string(changed, "task_state", power_orders[ORDER_START].task);
    records->ops->instance_save(records->state, NULL, changed, expected,
                                resume_recorded, s);
}

static void
resume_recorded(void *aux, struct error *error, struct object *instance)
{
    struct starting *s = aux;

    object_free(instance);
    if (error) {
        log_warn(&s->log, "it is not started: %s", error_message(error));
        error_free(error);
        starting_end(s);
    } else {
        order(s, ORDER_START);
    }
}

/* Only if it still is as it was. */
static void
save(struct starting *s, const char *vm_state, bool keeps_task)
{
    const char *task = object_string(s->instance, "task_state");
    const char *const expected[] = {task ? task : "", NULL};
    struct records *records = s->nova->agent->records;
    AUTO_OBJECT changed = object_copy(s->instance);

    object_clear_changes(changed);
    if (vm_state) {
        object_set_string(changed, "vm_state", vm_state);
    }
    if (!keeps_task) {
        object_set_null(changed, "task_state");
    }
    if (!object_n_changes(changed)) {
        starting_end(s);
        return;
    }
    records->ops->instance_save(records->state, NULL, changed, expected,
                                instance_saved, s);
}

static void
instance_saved(void *aux, struct error *error, struct object *instance)
{
    struct starting *s = aux;
    struct records *records = s->nova->agent->records;

    object_free(instance);
    if (error) {
        log_warn(&s->log, "its record is left as it is: %s",
                 error_message(error));
        error_free(error);
        starting_end(s);
    } else if (s->migration) {
        object_set_string(s->migration, "status", "error");
        records->ops->migration_save(records->state, NULL, s->migration,
                                     migration_saved, s);
    } else {
        starting_end(s);
    }
}

static void
migration_saved(void *aux, struct error *error, struct object *migration)
{
    struct starting *s = aux;

    object_free(migration);
    if (error) {
        log_warn(&s->log, "its migration is left as it is: %s",
                 error_message(error));
        error_free(error);
    }
    starting_end(s);
}

static void
starting_end(struct starting *s)
{
    object_free(s->migration);
    s->done(s->aux);
    free(s);
}
