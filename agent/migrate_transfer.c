#include <config.h>

#include "agent/migration.h"

#include <stdlib.h>

#include "agent/attachments.h"
#include "agent/base/clock.h"
#include "agent/migrate_plan.h"

LOG_MODULE(migrate);

/* The step that moves the guest, the commit of a migration.
 * (spec/live-migration 4) */

char *
migration_dest_uri(const struct migration *m)
{
    char *uri = NULL;
    struct error *error =
        migrate_plan_uris(m->agent->conf, m->dest, m->data, &uri, NULL);

    error_free(error); /* Those who need it to be right ask themselves. */
    return uri ? uri : xstrdup("");
}

/* What the job begins with, for a later run of the agent. */
static void
begin(struct op *op)
{
    struct migration *m = op_data(op);

    m->told_bandwidth_mib_s = m->bandwidth_mib_s;
    m->bandwidth_is_due = m->bandwidth_is_asked_for = false;
    m->transfer_started_us = clock_wall_us();
    op_save(op, NULL, NULL);
}

static void
transfer_start(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    struct migration *m = op ? op_data(op) : NULL;
    struct migrate_request *request = NULL;

    if (!error && m) {
        attachments_mark(m->instance, guest);
        error =
            m->is_cancelled
                ? error_new(ERR_CANCELLED, "aborted before the transfer")
                : migrate_plan_request(m->agent->conf, m->dest, m->instance,
                                       m->data, &m->settings, guest, &request);
    }
    guest_free(guest);
    if (error || !m) {
        op_ticket_done(ticket, error);
        return;
    }
    m->flags = request->flags;
    request->bandwidth_mib_s = migrate_bandwidth_join(m);
    begin(op);
    log_info(op_log(op), "transfer to '%s' starts, %zu disks",
             request->dest_uri, request->n_disks);
    m->monitor = migrate_monitor_start(op, ticket, request);
}

void
migration_transfer_run(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    driver_guest_get(m->agent->driver, object_string(m->instance, "uuid"),
                     transfer_start, ticket);
}

/* After a restart: libvirt went on without us. */
void
migration_transfer_readopt(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    m->flags = migrate_plan_flags(m->agent->conf, m->data, &m->settings,
                                  m->disks ? 1 : 0,
                                  object_string(m->instance, "vm_state"));
    migrate_bandwidth_join(m);
    if (!m->transfer_started_us) { /* The agent died before it was written. */
        begin(op);
    }
    log_info(op_log(op), "transfer to '%s' is taken up again", m->dest);
    m->monitor = migrate_monitor_start(op, ticket, NULL);
}

/* Where does it run?  The own hypervisor is asked first, then, unless the guest
 * plainly runs here, the other. */

struct probe {
    struct op_ticket *ticket;
    bool is_defined_here;
};

static void
peer_probed(void *aux, struct error *error, enum guest_presence presence)
{
    struct probe *probe = aux;
    struct op_ticket *ticket = probe->ticket;
    struct op *op = op_ticket_op(ticket);
    enum probe_answer answer;

    if (error) {
        answer = PROBE_UNKNOWN;
        if (op) {
            log_warn(op_log(op), "where the guest runs is not known: %s",
                     error_message(error));
        }
        error_free(error);
    } else if (presence == GUEST_ACTIVE || presence == GUEST_POSTCOPY) {
        answer = PROBE_YES;
    } else if (presence == GUEST_POSTCOPY_FAILED) {
        answer = PROBE_UNKNOWN; /* Half of its memory is here. */
    } else if (presence == GUEST_INCOMING) {
        answer = PROBE_UNKNOWN; /* libvirt is about to decide. */
    } else if (presence == GUEST_OFF && !probe->is_defined_here) {
        answer = PROBE_UNKNOWN; /* It may have arrived, and ended since. */
        if (op) {
            log_warn(op_log(op),
                     "the guest is defined at '%s' only, and is "
                     "off: did it arrive there?",
                     ((const struct migration *)op_data(op))->dest);
        }
    } else {
        answer = PROBE_NO;
    }
    op_ticket_answer(ticket, answer);
    free(probe);
}

static void
own_probed(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    bool runs_here = guest && guest->presence == GUEST_ACTIVE &&
                     guest->power_state == POWER_RUNNING;
    bool is_unknown = error && error_code(error) != ERR_INSTANCE_NOT_FOUND;
    bool is_defined = guest && guest->presence != GUEST_ABSENT &&
                      guest->presence != GUEST_MIGRATED;

    error_free(error);
    guest_free(guest);
    if (!op || runs_here) {
        op_ticket_answer(ticket, PROBE_NO);
        return;
    }
    if (is_unknown) {
        op_ticket_answer(ticket, PROBE_UNKNOWN);
        return;
    }
    struct migration *m = op_data(op);
    AUTO_FREE uri = migration_dest_uri(m);
    struct probe *probe = xzalloc(sizeof *probe);
    *probe = (struct probe){ticket, is_defined};
    driver_peer_presence(m->agent->driver, uri,
                         object_string(m->instance, "uuid"), peer_probed,
                         probe);
}

void
migration_transfer_probe(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    driver_guest_get(m->agent->driver, object_string(m->instance, "uuid"),
                     own_probed, ticket);
}

static void
resumed(void *aux, struct error *error)
{
    if (error_code(error) == ERR_INSTANCE_NOT_FOUND ||
        error_code(error) == ERR_INVALID) {
        error_free(error); /* It ended, or runs already. */
        error = NULL;
    }
    op_ticket_done(aux, error);
}

/* libvirt undoes the transfer itself; a guest that we paused is ours to
 * resume. */
void
migration_transfer_undo(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    if (m->paused_here) {
        driver_resume(m->agent->driver, object_string(m->instance, "uuid"),
                      resumed, ticket);
    } else {
        op_ticket_done(ticket, NULL);
    }
}

static void
cancel_asked(void *aux UNUSED, struct error *error)
{
    error_free(error);
}

void
migration_transfer_cancel(struct op *op)
{
    struct migration *m = op_data(op);

    m->is_cancelled = true;
    if (m->monitor) {
        migrate_monitor_abort(m->monitor, cancel_asked, NULL);
    }
}
