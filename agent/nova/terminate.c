#include <config.h>

#include "agent/nova/terminate.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/migrate/migration.h"
#include "agent/nova/nova.h"
#include "agent/nova/primitive.h"
#include "agent/nova/terminate_internal.h"
#include "agent/peer.h"
#include "agent/power/where.h"

LOG_MODULE(terminate);

/* A migration that is turned back takes as long as its hypervisors do; one in
 * post-copy goes on to its end. */
#define LOOK_AGAIN_MS 500
#define PATIENCE_MS (15 * 60 * 1000)

#define EVENT "compute_terminate_instance"

static void where_run(struct op *op, struct op_ticket *ticket);
static void where_undo(struct op *op, struct op_ticket *ticket);
static void volumes_run(struct op *op, struct op_ticket *ticket);
static void announce_run(struct op *op, struct op_ticket *ticket);
static void end_run(struct op *op, struct op_ticket *ticket);
static void end_probe(struct op *op, struct op_ticket *ticket);
static void announce_shutdown(struct op *op, struct op_ticket *ticket);
static void mark_run(struct op *op, struct op_ticket *ticket);
static void destroy_run(struct op *op, struct op_ticket *ticket);
static void announce_end(struct op *op, struct op_ticket *ticket);
static struct json *terminate_save(const void *data);
static struct error *terminate_load(void *aux, const struct json *json,
                                    void **ret_data);
static void terminate_free(void *data);
static void terminate_finished(struct op *op, const struct error *error);

/* Nova's order.  Whatever of the cloud does not let go of it now is asked again
 * later: the instance is gone all the same. */
static const struct step steps[] = {
    {.name = "look-where",
     .run = where_run,
     .undo = where_undo,
     .begins_anew = true},
    {.name = "list-volumes", .run = volumes_run, .begins_anew = true},
    {.name = "announce", .run = announce_run, .begins_anew = true},
    /* The commit: the guest is no more. */
    {.name = "end-guest",
     .run = end_run,
     .probe = end_probe,
     .readopt = end_run},
    {.name = "unplug", .run = terminate_unplug, .may_be_left = true},
    {.name = "disconnect", .run = terminate_disconnect, .may_be_left = true},
    {.name = "remove-files",
     .run = terminate_remove_files,
     .may_be_left = true},
    {.name = "release-ports",
     .run = terminate_release_ports,
     .may_be_left = true},
    {.name = "release-volumes",
     .run = terminate_release_volumes,
     .may_be_left = true},
    {.name = "announce-shutdown", .run = announce_shutdown},
    {.name = "delete-volumes", .run = terminate_delete_volumes},
    {.name = "mark", .run = mark_run},
    {.name = "release-allocation",
     .run = terminate_release_allocation,
     .may_be_left = true},
    {.name = "destroy", .run = destroy_run},
    {.name = "announce-end", .run = announce_end},
    {.name = NULL},
};

const struct op_type terminate_type = {
    .name = "terminate",
    .steps = steps,
    .save = terminate_save,
    .load = terminate_load,
    .free_data = terminate_free,
    .finished = terminate_finished,
};

const char *
terminate_uuid(const struct terminate *t)
{
    return object_string(t->instance, "uuid");
}

struct start_call {
    attach_done *done;
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
        struct terminate *t = op_data(op);
        t->done = call->done;
        t->aux = call->aux;
    }
    free(call);
}

void
terminate_start(struct agent *agent, const struct terminate_request *request,
                const struct log_context *log, attach_done *done, void *aux)
{
    struct terminate *t = xzalloc(sizeof *t);
    struct start_call *call = xzalloc(sizeof *call);
    struct log_context about = *log;
    AUTO_FREE key =
        xasprintf("terminate:%s:%s", object_string(request->instance, "uuid"),
                  request->key);

    t->agent = agent;
    t->context =
        request->context ? json_copy(request->context) : rpc_context_create();
    t->instance = object_copy(request->instance);
    t->bdms = request->bdms ? json_copy(request->bdms) : NULL;
    object_clear_changes(t->instance);
    call->done = done;
    call->aux = aux;
    snprintf(about.instance, sizeof about.instance, "%s", terminate_uuid(t));
    op_start(agent->ops, &terminate_type, key, &about, t, accepted, call);
}

static void
turn_came(void *aux UNUSED)
{
}

void
terminate_take_turns(struct agent *agent)
{
    for (struct op *op = op_first(agent->ops); op; op = op_next(op)) {
        if (str_eq(op_type_name(op), terminate_type.name)) {
            struct terminate *t = op_data(op);
            t->has_turn = true;
            instance_queue_enter(agent->queue, terminate_uuid(t), turn_came,
                                 NULL);
        }
    }
}

/* Where it is. */

static void look(struct op *op, struct op_ticket *ticket);

static void
timer_due(uv_timer_t *timer)
{
    struct terminate *t = timer->data;
    struct op_ticket *ticket = steal(&t->wait);

    look(op_ticket_op(ticket), ticket);
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle);
}

static void
look_later(struct terminate *t, struct op_ticket *ticket)
{
    if (!t->timer) {
        t->timer = xzalloc(sizeof *t->timer);
        uv_timer_init(t->agent->loop, t->timer);
        t->timer->data = t;
    }
    t->wait = ticket;
    uv_timer_start(t->timer, timer_due, LOOK_AGAIN_MS, 0);
}

static void
told_other(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (op && !error) {
        struct terminate *t = op_data(op);
        t->is_void = true;
    }
    op_ticket_done(ticket, error_wrap(error, "tell the host that has it"));
}

static void
tell_other(struct op *op, const char *host, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);
    struct json *args = json_object();

    log_warn(op_log(op), "it is on host '%s' now, which is to delete it", host);
    json_set(args, "instance", json_copy(object_json(t->instance)));
    json_set(args, "bdms", t->bdms ? json_copy(t->bdms) : json_null());
    peer_cast(t->agent, host, "terminate_instance", args, t->context,
              told_other, ticket);
}

static void
record_known(void *aux, struct error *error, struct object *instance)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    struct terminate *t = op ? op_data(op) : NULL;

    if (t && error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        log_info(op_log(op), "it was deleted meanwhile");
        error_free(steal(&error));
        t->is_void = true;
    }
    if (!t || error || t->is_void) {
        object_free(instance);
        op_ticket_done(ticket, error_wrap(error, "look for its record"));
        return;
    }
    const char *host = object_string(instance, "host");
    object_free(t->instance);
    t->instance = instance;
    object_clear_changes(instance);
    if (!host) {
        op_ticket_done(ticket, error_new(ERR_INVALID, "it is on no host"));
    } else if (str_eq(host, t->agent->conf->host)) {
        power_where_ask(t->agent, t->context, terminate_uuid(t), true,
                        op_ticket_done_aux, ticket);
    } else {
        tell_other(op, host, ticket);
    }
}

static void
look(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);
    struct records *records = t->agent->records;
    struct op *moving = migrate_source_find(t->agent, terminate_uuid(t));

    if (moving && !t->waits_since_ms) {
        t->waits_since_ms = clock_now_ms();
        log_info(op_log(op), "its migration is turned back first");
        op_cancel(moving,
                  error_new(ERR_MIGRATION, "the instance is being deleted"));
    }
    if (moving && clock_now_ms() - t->waits_since_ms < PATIENCE_MS) {
        look_later(t, ticket);
    } else {
        records->ops->instance_get(records->state, t->context,
                                   terminate_uuid(t), record_known, ticket);
    }
}

static void
where_run(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);
    struct records *records = t->agent->records;

    log_info(op_log(op), "instance is to be deleted");
    records->ops->event_start(records->state, t->context, terminate_uuid(t),
                              EVENT);
    look(op, ticket);
}

static void
taken_back(void *aux, struct error *error, struct object *instance)
{
    object_free(instance);
    if (error_code(error) == ERR_UNEXPECTED_TASK_STATE ||
        error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        error_free(steal(&error)); /* Somebody else has settled it. */
    }
    op_ticket_done(aux, error);
}

/* It is still there, in error as with Nova, and may be deleted again. */
static void
where_undo(struct op *op, struct op_ticket *ticket)
{
    static const char *const expected[] = {"deleting", NULL};
    struct terminate *t = op_data(op);
    struct records *records = t->agent->records;

    if (t->is_void) {
        op_ticket_done(ticket, NULL);
        return;
    }
    object_set_string(t->instance, "vm_state", "error");
    object_set_changed(t->instance, "vm_state");
    object_set_null(t->instance, "task_state");
    object_set_changed(t->instance, "task_state");
    records->ops->instance_save(records->state, t->context, t->instance,
                                expected, taken_back, ticket);
}

/* Its volumes. */

static bool
is_stale(const struct json *bdms)
{
    json_for_each (bdm, primitive_objects(bdms)) {
        if (str_eq(primitive_string(bdm, "destination_type"), "volume") &&
            !primitive_string(bdm, "volume_id")) {
            return true;
        }
    }
    return !bdms;
}

static void
volumes_known(void *aux, struct json **result, struct object *object UNUSED,
              struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (op && !error) {
        struct terminate *t = op_data(op);
        json_free(t->bdms);
        t->bdms = steal(result);
    }
    op_ticket_done(ticket, error_wrap(error, "list its volumes"));
}

static void
volumes_run(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);

    if (t->is_void || !is_stale(t->bdms)) {
        op_ticket_done(ticket, NULL);
        return;
    }
    const struct conductor_work_request request = {
        .context = t->context,
        .class_name = "BlockDeviceMappingList",
        .method = "get_by_instance_uuid",
        .args = json_append(json_array(), json_string(terminate_uuid(t))),
        .patience_ms = (unsigned)t->agent->conf->rpc_response_timeout * 1000,
    };
    conductor_work_start(t->agent->nova->works, &request, volumes_known,
                         ticket);
}

/* What is told. */

static void
tell(struct op *op, enum notify_event event, enum notify_phase phase)
{
    struct terminate *t = op_data(op);

    if (!t->is_void) {
        notify_instance(t->agent->notify, t->context, event, phase,
                        t->instance);
    }
}

static void
announce_run(struct op *op, struct op_ticket *ticket)
{
    tell(op, NOTIFY_DELETE, NOTIFY_START);
    tell(op, NOTIFY_SHUTDOWN, NOTIFY_START);
    op_ticket_done(ticket, NULL);
}

static void
announce_shutdown(struct op *op, struct op_ticket *ticket)
{
    tell(op, NOTIFY_SHUTDOWN, NOTIFY_END);
    op_ticket_done(ticket, NULL);
}

static void
announce_end(struct op *op, struct op_ticket *ticket)
{
    tell(op, NOTIFY_DELETE, NOTIFY_END);
    op_ticket_done(ticket, NULL);
}

/* The guest. */

static void
powered_off(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (!op || error) {
        op_ticket_done(ticket, error);
        return;
    }
    struct terminate *t = op_data(op);
    driver_discard(t->agent->driver, terminate_uuid(t), op_ticket_done_aux,
                   ticket);
}

static void
guest_seen(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    bool is_absent = error_code(error) == ERR_INSTANCE_NOT_FOUND;

    if (!op || is_absent || error) {
        error_free(is_absent ? steal(&error) : NULL);
        op_ticket_done(ticket, error);
    } else if (guest->presence == GUEST_ACTIVE) {
        struct terminate *t = op_data(op);
        log_info(op_log(op), "guest is powered off and removed");
        driver_power_off(t->agent->driver, terminate_uuid(t), powered_off,
                         ticket);
    } else if (guest->presence == GUEST_OFF ||
               guest->presence == GUEST_MIGRATED) {
        log_info(op_log(op), "guest is removed");
        powered_off(ticket, NULL);
    } else {
        op_ticket_done(
            ticket,
            error_new(ERR_INVALID, "the guest is on its way between hosts"));
    }
    guest_free(guest);
}

static void
end_run(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);

    if (t->is_void) {
        op_ticket_done(ticket, NULL);
    } else {
        driver_guest_get(t->agent->driver, terminate_uuid(t), guest_seen,
                         ticket);
    }
}

static void
probed(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    enum probe_answer answer = PROBE_UNKNOWN;

    if (!error) {
        answer = PROBE_NO;
    } else if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        answer = PROBE_YES;
    }
    error_free(error);
    guest_free(guest);
    op_ticket_answer(ticket, answer);
}

static void
end_probe(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);

    if (t->is_void) {
        op_ticket_answer(ticket, PROBE_YES);
    } else {
        driver_guest_get(t->agent->driver, terminate_uuid(t), probed, ticket);
    }
}

/* The record. */

static void
record_written(void *aux, struct error *error, struct object *instance)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        error_free(steal(&error)); /* It is destroyed already. */
    }
    if (op && instance) {
        struct terminate *t = op_data(op);
        object_free(t->instance);
        t->instance = steal(&instance);
        object_clear_changes(t->instance);
    }
    object_free(instance);
    op_ticket_done(ticket, error_wrap(error, "write its record"));
}

static void
mark_run(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);
    struct records *records = t->agent->records;
    char now[CLOCK_TEXT_SIZE];

    if (t->is_void) {
        op_ticket_done(ticket, NULL);
        return;
    }
    clock_format_iso(clock_wall_us(), now);
    object_set_string(t->instance, "vm_state", "deleted");
    object_set_changed(t->instance, "vm_state");
    object_set_null(t->instance, "task_state");
    object_set_changed(t->instance, "task_state");
    object_set_int(t->instance, "power_state", POWER_NOSTATE);
    object_set_string(t->instance, "terminated_at", now);
    records->ops->instance_save(records->state, t->context, t->instance, NULL,
                                record_written, ticket);
}

static void
destroy_run(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);

    if (t->is_void) {
        op_ticket_done(ticket, NULL);
    } else {
        records_conductor_destroy(t->agent->nova->records, t->context,
                                  t->instance, record_written, ticket);
    }
}

/* The journal's side. */

static struct json *
terminate_save(const void *data)
{
    const struct terminate *t = data;
    struct json *json = json_object();

    json_set(json, "context", json_copy(t->context));
    json_set(json, "instance", json_copy(object_json(t->instance)));
    if (t->bdms) {
        json_set(json, "bdms", json_copy(t->bdms));
    }
    json_set_bool(json, "is_void", t->is_void);
    return json;
}

static struct error *
terminate_load(void *aux, const struct json *json, void **ret_data)
{
    struct object *instance = NULL;
    struct error *error =
        object_parse(json_get(json, "instance"), "Instance", &instance);

    if (!error && !object_string(instance, "uuid")) {
        object_free(instance);
        error = error_new(ERR_STORAGE, "an instance has no UUID");
    }
    if (error) {
        return error;
    }
    struct terminate *t = xzalloc(sizeof *t);
    const struct json *bdms = json_get(json, "bdms");
    t->agent = aux;
    t->context = json_copy(json_get(json, "context"));
    t->instance = instance;
    t->bdms = bdms ? json_copy(bdms) : NULL;
    t->is_void = json_bool_of(json, "is_void");
    *ret_data = t;
    return NULL;
}

static void
terminate_free(void *data)
{
    struct terminate *t = data;

    if (!t) {
        return;
    }
    if (t->timer) {
        uv_close((uv_handle_t *)steal(&t->timer), timer_closed);
    }
    if (t->wait) {
        op_ticket_done(t->wait, NULL);
    }
    if (t->done) {
        t->done(t->aux, error_new(ERR_CANCELLED, "the agent is stopping"));
    }
    json_free(t->context);
    json_free(t->bdms);
    object_free(t->instance);
    free(t);
}

/* Observed order on failure: the fault, the event's end, the notifications, the
 * reply. */
static void
terminate_finished(struct op *op, const struct error *error)
{
    struct terminate *t = op_data(op);
    struct agent *agent = t->agent;
    struct records *records = agent->records;

    if (error) {
        log_warn(op_log(op), "instance is not deleted: %s",
                 error_message(error));
        records->ops->fault_create(records->state, t->context,
                                   terminate_uuid(t), error);
    }
    if (error || !t->is_void) {
        records->ops->event_finish(records->state, t->context,
                                   terminate_uuid(t), EVENT, error);
    }
    if (error) {
        notify_exception(agent->notify, t->context, "terminate_instance",
                         t->instance, error);
    } else {
        nova_instance_gone(agent->nova, terminate_uuid(t));
    }
    if (t->has_turn) {
        instance_queue_leave(agent->queue, terminate_uuid(t));
        t->has_turn = false;
    }
    if (t->done) {
        t->done(t->aux, error_copy(error));
        t->done = NULL;
    }
}
