#include <config.h>

#include "agent/incoming/internal.h"

#include "agent/attachments.h"
#include "agent/migrate/data.h"
#include "agent/migrate/rules.h"

/* The step by which the records say that the guest is here.
 * (spec/live-migration 5.5)
 *
 * What was claimed for it goes first, as in Nova; but a claim that it uses goes
 * last, when it is its own.
 *
 * Two hosts that both believe it are told apart by the task state: whoever
 * comes second finds another one than "migrating", and looks who was first. */

LOG_MODULE(incoming);

/* Whether this host claimed nodes for it, and the source made use of that; or
 * may have, when another agent prepared it. */
static bool
has_claim(const struct incoming *in)
{
    return !in->agent->local &&
           (in->data ? migrate_data_has_dst_numa_info(in->data)
                     : migrate_rules_has_numa(in->instance));
}

static void
claim_dropped(void *aux, struct error *error, struct object *instance)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    struct incoming *in = op ? op_data(op) : NULL;

    if (in && instance) {
        object_free(in->instance);
        in->instance = steal(&instance);
    }
    object_free(instance);
    op_ticket_done(ticket, error);
}

/* The record says that it is here. */
static void
settled(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);
    struct records *records = in->agent->records;

    if (has_claim(in)) {
        records->ops->instance_drop_claim(records->state, in->context,
                                          in->instance, claim_dropped, ticket);
    } else {
        op_ticket_done(ticket, NULL);
    }
}

/* It said so already: nothing is to be done.  It may have begun to go elsewhere
 * since, and then what is claimed is for that.  Takes 'stored'. */
static void
told_before(struct op *op, struct op_ticket *ticket, struct object *stored)
{
    struct incoming *in = op_data(op);

    object_free(in->instance);
    in->instance = stored;
    if (object_string(stored, "task_state")) {
        op_ticket_done(ticket, NULL);
    } else {
        settled(op, ticket);
    }
}

static void
record_conflict(void *aux, struct error *error, struct object *stored)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    struct incoming *in = op ? op_data(op) : NULL;

    if (!error && in &&
        !str_eq(object_string(stored, "host"), in->agent->conf->host)) {
        log_error(op_log(op),
                  "the guest runs here, but its record says host '%s'",
                  object_string(stored, "host"));
        in->refusal = error_new(ERR_UNEXPECTED_TASK_STATE,
                                "the record was settled by another host");
        error_set_arg(in->refusal, "instance_uuid", incoming_uuid(in));
        error_set_arg(in->refusal, "expected", "migrating");
        error_set_arg(in->refusal, "actual", "None");
    } else if (!error && in) {
        told_before(op, ticket, stored);
        return;
    }
    object_free(stored);
    op_ticket_done(ticket, error);
}

static void
record_saved(void *aux, struct error *error, struct object *stored)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    struct incoming *in = op ? op_data(op) : NULL;

    if (error_code(error) == ERR_UNEXPECTED_TASK_STATE && in) {
        struct records *records = in->agent->records;
        error_free(error);
        records->ops->instance_get(records->state, in->context,
                                   incoming_uuid(in), record_conflict, ticket);
        return;
    }
    if (in && stored) {
        object_free(in->instance);
        in->instance = steal(&stored);
        settled(op, ticket);
        return;
    }
    object_free(stored);
    op_ticket_done(ticket, error);
}

static void
record_take(void *aux, struct error *error, struct guest *guest)
{
    static const char *const expected[] = {"migrating", NULL};
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (error || !op) {
        guest_free(guest);
        op_ticket_done(ticket, error);
        return;
    }
    struct incoming *in = op_data(op);
    struct records *records = in->agent->records;
    object_set_string(in->instance, "host", in->agent->conf->host);
    object_set_string(in->instance, "node",
                      in->agent->node ? in->agent->node
                                      : in->agent->conf->host);
    object_set_int(in->instance, "power_state", guest->power_state);
    if (in->agent->local) {
        attachments_keep(in->instance, in->data);
    }
    /* Saved whatever the request said of them: what is stored is newer. */
    object_set_null(in->instance, "task_state");
    object_set_changed(in->instance, "task_state");
    object_set_int(in->instance, "progress", 0);
    object_set_changed(in->instance, "progress");
    guest_free(guest);
    records->ops->instance_save(records->state, in->context, in->instance,
                                expected, record_saved, ticket);
}

static void
claim_known(void *aux, struct error *error, struct object *instance)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (error || !op) {
        object_free(instance);
        op_ticket_done(ticket, error);
        return;
    }
    struct incoming *in = op_data(op);
    object_free(in->instance);
    in->instance = steal(&instance);
    driver_guest_get(in->agent->driver, incoming_uuid(in), record_take, ticket);
}

static void
take(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);
    struct records *records = in->agent->records;

    if (has_claim(in)) {
        records->ops->instance_take_claim(records->state, in->context,
                                          in->instance, claim_known, ticket);
    } else {
        records->ops->instance_drop_claim(records->state, in->context,
                                          in->instance, claim_known, ticket);
    }
}

static void
arrival_known(void *aux, struct error *error, struct object *stored)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    const struct incoming *in = op ? op_data(op) : NULL;

    if (in && stored &&
        str_eq(object_string(stored, "host"), in->agent->conf->host)) {
        told_before(op, ticket, stored);
        return;
    }
    object_free(stored);
    if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        error_free(steal(&error)); /* Its record comes with it. */
    }
    if (error || !op) {
        op_ticket_done(ticket, error);
    } else {
        take(op, ticket);
    }
}

/* Without a preparation it may have been told before. */
void
incoming_record_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);
    struct records *records = in->agent->records;

    if (in->data) {
        take(op, ticket);
    } else {
        records->ops->instance_get(records->state, in->context,
                                   incoming_uuid(in), arrival_known, ticket);
    }
}
