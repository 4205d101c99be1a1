#include <config.h>

#include "agent/migrate/migration.h"

#include "agent/leftover.h"
#include "agent/migrate/data.h"
#include "agent/migrate/plan.h"
#include "agent/nova/console_tokens.h"
#include "agent/peer.h"

LOG_MODULE(migrate);

/* The steps of a migration after the guest arrived.  There is no way back from
 * here; ports and the destination's record go first, since they make the guest
 * reachable. (spec/live-migration 5.2) */

void
migration_announce_post(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    notify_instance(m->agent->notify, m->context, NOTIFY_POST, NOTIFY_START,
                    m->instance);
    op_ticket_done(ticket, NULL);
}

void
migration_activate(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    AUTO_OBJECT data = migration_told_data(m);

    m->agent->vifs->activate_dest(m->agent, m->context, m->instance, data,
                                  op_ticket_done_aux, ticket);
}

static void
dest_finished(void *aux, struct json **result UNUSED, struct error *error)
{
    struct op_ticket *ticket = aux;

    op_ticket_done(ticket,
                   error_wrap(error, "post_live_migration_at_destination"));
}

void
migration_finish_dest(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    struct json *args = json_object();

    json_set(args, "instance", json_copy(object_json(m->instance)));
    json_set_bool(args, "block_migration",
                  migrate_data_block_migration(m->data));
    peer_call(m->agent, m->dest, "post_live_migration_at_destination", args,
              m->context, PEER_LONG, dest_finished, ticket);
}

void
migration_release_volumes(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    AUTO_OBJECT instance = migration_attached_instance(m);

    m->agent->volumes->disconnect_source(m->agent, m->context, instance,
                                         m->data, op_ticket_done_aux, ticket);
}

void
migration_release_vifs(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    m->agent->vifs->unplug_source(m->agent, m->context, m->instance, m->data,
                                  op_ticket_done_aux, ticket);
}

/* What is left here of the guest: a definition, and the files that were
 * copied. (5.3) */
void
migration_release_guest(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    const char *uuid = object_string(m->instance, "uuid");
    struct migrate_cleanup cleanup = migrate_data_cleanup(m->data);
    CLEANUP(prepare_request_free_at) struct prepare_request *files = NULL;
    struct error *error = NULL;

    if (cleanup.do_cleanup) {
        error =
            migrate_plan_files(m->agent->conf, m->data, uuid,
                               cleanup.destroy_disks ? m->disks : NULL, &files);
    }
    if (error) {
        op_ticket_done(ticket, error);
        return;
    }
    leftover_remove(m->agent, uuid, steal(&files), ticket);
}

void
migration_announce_end(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    notify_instance(m->agent->notify, m->context, NOTIFY_POST, NOTIFY_END,
                    m->instance);
    op_ticket_done(ticket, NULL);
}

void
migration_revoke_consoles(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    if (m->agent->nova) {
        console_tokens_revoke(m->agent->nova, m->context,
                              object_string(m->instance, "uuid"),
                              op_ticket_done_aux, ticket);
    } else {
        op_ticket_done(ticket, NULL);
    }
}

void
migration_complete(struct op *op, struct op_ticket *ticket)
{
    migration_keep_numbers(op);
    migration_set_status(op, "completed", ticket);
}

void
migration_release_allocations(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    m->agent->allocations->release(
        m->agent, m->context, object_string(m->instance, "uuid"),
        object_string(m->record, "uuid"), op_ticket_done_aux, ticket);
}

void
migration_forget(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    struct records *records = m->agent->records;

    records->ops->instance_moved_away(records->state,
                                      object_string(m->instance, "uuid"),
                                      m->dest, op_ticket_done_aux, ticket);
}
