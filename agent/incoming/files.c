#include <config.h>

#include "agent/incoming/internal.h"

#include "agent/leftover.h"
#include "agent/migrate/plan.h"

/* The steps that have the files of a guest ready before it comes.
 * (spec/live-migration 3.3) */

struct error *
incoming_files_of(const struct incoming *in, struct prepare_request **ret)
{
    return in->kind == MIGRATE_LIVE
               ? migrate_plan_files(in->agent->conf, in->data,
                                    incoming_uuid(in), in->disks, ret)
               : migrate_plan_rest_files(in->agent->conf, in->data,
                                         incoming_uuid(in), in->disks, ret);
}

/* Null: the step is over, as there are none, or they can't be told. */
static struct prepare_request *
files_or_end(const struct incoming *in, struct op_ticket *ticket)
{
    struct prepare_request *files = NULL;
    struct error *error = incoming_files_of(in, &files);

    if (error || !files) {
        op_ticket_done(ticket, error);
    }
    return files;
}

void
incoming_images_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);
    CLEANUP(prepare_request_free_at)
    struct prepare_request *files = files_or_end(in, ticket);

    if (files) {
        in->agent->images->fetch(in->agent, in->context, in->instance, files,
                                 op_ticket_done_aux, ticket);
    }
}

void
incoming_images_cancel(struct op *op)
{
    struct incoming *in = op_data(op);

    in->agent->images->cancel(in->agent, incoming_uuid(in));
}

static void
prepare_files(struct op *op, struct op_ticket *ticket, bool only_check)
{
    struct incoming *in = op_data(op);
    CLEANUP(prepare_request_free_at)
    struct prepare_request *files = files_or_end(in, ticket);

    if (files) {
        files->only_check = only_check;
        driver_prepare(in->agent->driver, files, op_ticket_done_aux, ticket);
    }
}

/* A step of its own, so that once the journal names "make-disks" whatever
 * stands there is ours to remove. */
void
incoming_disks_check(struct op *op, struct op_ticket *ticket)
{
    prepare_files(op, ticket, true);
}

void
incoming_disks_run(struct op *op, struct op_ticket *ticket)
{
    prepare_files(op, ticket, false);
}

void
incoming_disks_undo(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);
    CLEANUP(prepare_request_free_at) struct prepare_request *files = NULL;
    struct error *error = incoming_files_of(in, &files);

    if (error || !files ||
        error_code(op_error(op)) == ERR_DESTINATION_DISK_EXISTS) {
        /* There is nothing, or somebody made it after our check: what stands
         * there is not ours. */
        error_free(error);
        op_ticket_done(ticket, NULL);
        return;
    }
    leftover_remove_files(in->agent, steal(&files), ticket);
}
