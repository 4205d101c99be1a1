#include <config.h>

#include "agent/migrate/migration.h"

#include <stdlib.h>

#include "agent/attachments.h"
#include "agent/migrate/plan.h"

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
    stamp_take(&m->transfer_started);
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
        AUTO_OBJECT instance = migration_attached_instance(m);
        attachments_mark(instance, guest);
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
    /* The agent may have died before it was written. */
    if (!m->transfer_started.wall_us) {
        begin(op);
    }
    log_info(op_log(op), "transfer to '%s' is taken up again", m->dest);
    m->monitor = migrate_monitor_start(op, ticket, NULL);
}

/* Where does it run?  The own hypervisor is asked first, then the other.
 *
 * A guest that runs here did not move, with one exception: libvirt lets it go
 * on here if it lost the connection after it had asked the destination to start
 * it and before it had the answer (libvirt 9.0, where
 * qemuMigrationSrcPerformPeer2Peer3 speaks of "a small chance"; seen after the
 * network was away for 20 s).  Two then write, perhaps to one disk.  The one
 * here is paused, which loses nothing of either, and a person decides which of
 * them is to end: the answer then follows from what is left. */

struct probe {
    struct op_ticket *ticket;
    bool is_defined_here, is_active_here, runs_here;
};

static enum probe_answer
answer_of(const struct probe *probe, const struct migration *m,
          enum guest_presence presence, bool has_arrived)
{
    switch (presence) {
    case GUEST_ACTIVE:
        return m && m->has_twin && probe->is_active_here ? PROBE_UNKNOWN
                                                         : PROBE_YES;
    case GUEST_POSTCOPY:
        return PROBE_YES;
    case GUEST_POSTCOPY_FAILED: /* Half of its memory is here. */
    case GUEST_INCOMING:        /* libvirt is about to decide. */
        return PROBE_UNKNOWN;
    case GUEST_OFF: /* It may have arrived, and ended since. */
        if (has_arrived && !probe->is_active_here) {
            return PROBE_YES;
        }
        return probe->is_defined_here ? PROBE_NO : PROBE_UNKNOWN;
    case GUEST_ABSENT:
    case GUEST_MIGRATED:
    default:
        return PROBE_NO;
    }
}

static void
peer_probed(void *aux, struct error *error, enum guest_presence presence,
            bool has_arrived)
{
    struct probe *probe = aux;
    struct op_ticket *ticket = probe->ticket;
    struct op *op = op_ticket_op(ticket);
    const struct migration *m = op ? op_data(op) : NULL;
    enum probe_answer answer =
        error ? PROBE_UNKNOWN : answer_of(probe, m, presence, has_arrived);

    if (m && error) {
        log_warn(op_log(op), "where the guest runs is not known: %s",
                 error_message(error));
    } else if (m && presence == GUEST_OFF && answer == PROBE_UNKNOWN) {
        log_warn(op_log(op),
                 "the guest is defined at '%s' only, and is "
                 "off: did it arrive there?",
                 m->dest);
    }
    error_free(error);
    op_ticket_answer(ticket, answer);
    free(probe);
}

static void
twin_paused(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (op) {
        log_error(op_log(op), "the guest runs here and at '%s': %s%s",
                  ((const struct migration *)op_data(op))->dest,
                  error ? "it can't be paused here: " : "it is paused here",
                  error ? error_message(error) : "");
    }
    error_free(error);
    op_ticket_answer(ticket, PROBE_UNKNOWN);
}

/* As whoever resumes it may be the next run of the agent. */
static void
twin_noted(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (error || !op) {
        twin_paused(ticket, error);
        return;
    }
    struct migration *m = op_data(op);
    driver_suspend(m->agent->driver, object_string(m->instance, "uuid"),
                   twin_paused, ticket);
}

/* It runs here, plainly: does it run there, too?  Told twice, as what failed
 * to arrive may be on its way out.  One that can't be asked does not keep the
 * guest from being where it is. */
static void
twin_probed(void *aux, struct error *error, enum guest_presence presence,
            bool has_arrived UNUSED)
{
    struct probe *probe = aux;
    struct op_ticket *ticket = probe->ticket;
    struct op *op = op_ticket_op(ticket);
    struct migration *m = op ? op_data(op) : NULL;

    free(probe);
    if (m && error) {
        log_info(op_log(op), "the guest runs here; '%s' can't be asked: %s",
                 m->dest, error_message(error));
    }
    if (!m || error || presence != GUEST_ACTIVE) {
        error_free(error);
        op_ticket_answer(ticket, PROBE_NO);
    } else if (!m->saw_twin) {
        log_warn(op_log(op), "the guest runs here, and it seems at '%s', too",
                 m->dest);
        m->saw_twin = true;
        op_ticket_answer(ticket, PROBE_UNKNOWN);
    } else {
        m->paused_here = m->has_twin = true;
        op_save(op, twin_noted, ticket);
    }
}

static void
own_probed(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    bool is_unknown = error && error_code(error) != ERR_INSTANCE_NOT_FOUND;
    struct probe found = {.ticket = ticket};

    if (guest) {
        found.is_defined_here = guest->presence != GUEST_ABSENT &&
                                guest->presence != GUEST_MIGRATED;
        found.is_active_here = guest->presence == GUEST_ACTIVE;
        found.runs_here =
            found.is_active_here && guest->power_state == POWER_RUNNING;
    }
    error_free(error);
    guest_free(guest);
    if (!op || is_unknown) {
        op_ticket_answer(ticket, op ? PROBE_UNKNOWN : PROBE_NO);
        return;
    }
    struct migration *m = op_data(op);
    if (found.runs_here && !m->transfer_started.wall_us) {
        op_ticket_answer(ticket, PROBE_NO);
        return;
    }
    AUTO_FREE uri = migration_dest_uri(m);
    migration_ask_peer(m->agent, m->dest, uri,
                       object_string(m->instance, "uuid"),
                       found.runs_here ? twin_probed : peer_probed,
                       xmemdup(&found, sizeof found));
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
