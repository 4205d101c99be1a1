#include <config.h>

#include "agent/audit/mend.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/adopt.h"
#include "agent/audit/audit.h"
#include "agent/incoming/incoming.h"
#include "rpc/uuid.h"

LOG_MODULE(audit);

struct mend {
    struct agent *agent;
    struct json *context, *finding;
    enum audit_mend kind;
    void (*done)(void *aux, struct error *error); /* Null: nobody waits. */
    void *aux;
};

static void look_run(struct op *op, struct op_ticket *ticket);
static void mend_run(struct op *op, struct op_ticket *ticket);
static void mend_probe(struct op *op, struct op_ticket *ticket);
static struct json *mend_save(const void *data);
static struct error *mend_load(void *aux, const struct json *json,
                               void **ret_data);
static void mend_free(void *data);
static void mend_finished(struct op *op, const struct error *error);

static const struct step steps[] = {
    {.name = "look", .run = look_run, .timeout_s = 60},
    {.name = "mend", .run = mend_run, .probe = mend_probe, .timeout_s = 60},
    {.name = NULL},
};

const struct op_type audit_mend_type = {
    .name = "audit-mend",
    .steps = steps,
    .save = mend_save,
    .load = mend_load,
    .free_data = mend_free,
    .finished = mend_finished,
};

struct start_call {
    void (*done)(void *aux, struct error *error);
    void *aux;
};

static const char *
uuid_of(const struct mend *m)
{
    return json_string_of(m->finding, "instance");
}

static void
accepted(void *aux, struct op *op, struct error *error)
{
    struct start_call *call = aux;

    if (error) {
        call->done(call->aux, error);
    } else {
        struct mend *m = op_data(op);
        m->done = call->done;
        m->aux = call->aux;
    }
    free(call);
}

void
audit_mend_start(struct agent *agent, const struct json *finding,
                 const struct json *context, const struct log_context *log,
                 void (*done)(void *aux, struct error *error), void *aux)
{
    struct mend *m = xzalloc(sizeof *m);
    struct start_call *call = xzalloc(sizeof *call);
    struct log_context about = *log;
    char key[UUID_SIZE];

    m->agent = agent;
    m->context = json_copy(context);
    m->finding = json_copy(finding);
    m->kind = audit_mend_parse(json_string_of(finding, "mend"));
    call->done = done;
    call->aux = aux;
    snprintf(about.instance, sizeof about.instance, "%s", uuid_of(m));
    op_start(agent->ops, &audit_mend_type, uuid_generate_text(key), &about, m,
             accepted, call);
}

/* Looking again. */

static bool
is_anothers(const struct op *op, const struct mend *m)
{
    for (struct op *o = op_first(m->agent->ops); o; o = op_next(o)) {
        if (o != op && str_eq(op_log(o)->instance, uuid_of(m))) {
            return true;
        }
    }
    return false;
}

/* Is the guest as it was when it was found, as far as this host can tell? */
static bool
is_as_found(const struct mend *m, enum guest_presence presence)
{
    bool runs = presence == GUEST_ACTIVE;
    bool is_gone = presence == GUEST_ABSENT || presence == GUEST_MIGRATED;

    switch (m->kind) {
    case AUDIT_ADOPT:
    case AUDIT_CLEAR_TASK:
        return runs || presence == GUEST_OFF;
    case AUDIT_FORGET:
        return is_gone;
    case AUDIT_SET_STATUS:
        return str_eq(json_string_of(m->finding, "value"), "failed")
                   ? runs
                   : is_gone || presence == GUEST_OFF;
    case AUDIT_UNDEFINE:
        return presence == GUEST_OFF;
    case AUDIT_TAKE_BACK:
        return !runs;
    case AUDIT_N_MENDS:
        break;
    }
    return false;
}

static void
looked(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    const struct mend *m = op ? op_data(op) : NULL;
    enum guest_presence presence = guest ? guest->presence : GUEST_ABSENT;

    if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        error_free(error);
        error = NULL;
    }
    if (!error && m && m->kind != AUDIT_TAKE_BACK && is_anothers(op, m)) {
        error = error_new(ERR_INVALID, "an operation has begun meanwhile");
    }
    if (!error && m && !is_as_found(m, presence)) {
        error = error_new(ERR_INVALID, "it is not as it was found any more");
    }
    guest_free(guest);
    op_ticket_done(ticket, error);
}

static void
look_run(struct op *op, struct op_ticket *ticket)
{
    struct mend *m = op_data(op);

    driver_guest_get(m->agent->driver, uuid_of(m), looked, ticket);
}

/* Mending. */

static void
saved(void *aux, struct error *error, struct object *object)
{
    object_free(object);
    op_ticket_done(aux, error);
}

static void
task_known(void *aux, struct error *error, struct object *instance)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (error || !op) {
        object_free(instance);
        op_ticket_done(ticket, error);
        return;
    }
    struct mend *m = op_data(op);
    struct records *records = m->agent->records;
    const char *task = object_string(instance, "task_state");
    AUTO_FREE now = xstrdup(task ? task : "");
    const char *const expected[] = {now, NULL};
    object_clear_changes(instance);
    object_set_null(instance, "task_state");
    object_set_int(instance, "progress", 0);
    records->ops->instance_save(records->state, m->context, instance, expected,
                                saved, ticket);
    object_free(instance);
}

static void
migration_known(void *aux, struct error *error, struct object *record)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (error || !op) {
        object_free(record);
        op_ticket_done(ticket, error);
        return;
    }
    struct mend *m = op_data(op);
    struct records *records = m->agent->records;
    const char *value = json_string_of(m->finding, "value");
    object_clear_changes(record);
    object_set_string(record, "status", value);
    if (m->agent->local && str_eq(value, "failed")) {
        object_set_string(record, "error", "it was found without an operation");
    }
    records->ops->migration_save(records->state, m->context, record, saved,
                                 ticket);
    object_free(record);
}

static void
mend_run(struct op *op, struct op_ticket *ticket)
{
    struct mend *m = op_data(op);
    struct records *records = m->agent->records;
    const char *uuid = uuid_of(m);

    log_warn(op_log(op), "'%s' is mended: %s",
             json_string_of(m->finding, "rule"),
             json_string_of(m->finding, "text"));
    switch (m->kind) {
    case AUDIT_ADOPT:
        op_ticket_done(ticket, NULL); /* It is adopted at the end. */
        break;
    case AUDIT_FORGET:
        records->ops->instance_moved_away(records->state, uuid, "",
                                          op_ticket_done_aux, ticket);
        break;
    case AUDIT_CLEAR_TASK:
        records->ops->instance_get(records->state, m->context, uuid, task_known,
                                   ticket);
        break;
    case AUDIT_SET_STATUS:
        records->ops->migration_get(records->state, m->context, 0,
                                    json_string_of(m->finding, "migration"),
                                    migration_known, ticket);
        break;
    case AUDIT_UNDEFINE:
        driver_discard(m->agent->driver, uuid, op_ticket_done_aux, ticket);
        break;
    case AUDIT_TAKE_BACK:
        op_ticket_done(ticket, incoming_ask_source(m->agent, uuid));
        break;
    case AUDIT_N_MENDS:
        op_ticket_done(ticket, error_new(ERR_INVALID, "it can't be mended"));
        break;
    }
}

/* Whether it was or not, the next audit tells. */
static void
mend_probe(struct op *op UNUSED, struct op_ticket *ticket)
{
    op_ticket_answer(ticket, PROBE_NO);
}

/* The journal's side. */

static struct json *
mend_save(const void *data)
{
    const struct mend *m = data;
    struct json *json = json_object();

    json_set(json, "context", json_copy(m->context));
    json_set(json, "finding", json_copy(m->finding));
    return json;
}

static struct error *
mend_load(void *aux, const struct json *json, void **ret_data)
{
    const struct json *finding = json_get(json, "finding");
    struct mend *m;

    if (!json_string_of(finding, "instance")) {
        return error_new(ERR_STORAGE, "what is mended is about no instance");
    }
    m = xzalloc(sizeof *m);
    m->agent = aux;
    m->context = json_copy(json_get(json, "context"));
    m->finding = json_copy(finding);
    m->kind = audit_mend_parse(json_string_of(finding, "mend"));
    *ret_data = m;
    return NULL;
}

static void
mend_free(void *data)
{
    struct mend *m = data;

    if (!m) {
        return;
    }
    if (m->done) {
        m->done(m->aux, error_new(ERR_CANCELLED, "the agent is stopping"));
    }
    json_free(m->context);
    json_free(m->finding);
    free(m);
}

static void
mend_finished(struct op *op, const struct error *error)
{
    struct mend *m = op_data(op);

    adopt_again(m->agent, uuid_of(m));
    if (m->done) {
        m->done(m->aux, error_copy(error));
        m->done = NULL;
    }
}
