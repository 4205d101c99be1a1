#include <config.h>

#include "agent/migrate/migration.h"

#include <stdlib.h>

#include "agent/attachments.h"
#include "agent/base/clock.h"
#include "agent/incoming/places.h"
#include "agent/migrate/data.h"
#include "agent/migrate/plugs.h"
#include "agent/migrate/volumes.h"
#include "agent/peer.h"
#include "agent/relocate.h"

LOG_MODULE(migrate);

/* The step that has the destination prepare, and its undo.
 * (spec/live-migration 3.6, 6.2)
 *
 * A destination may have as many incoming migrations as it wants.  Then the
 * migration gives up its place among the outgoing ones of this host and comes
 * back, first for a new place, then to the destination: it never holds one
 * place while it waits for the other.  (agent/incoming/places.h) */

#define FIRST_PAUSE_MS 500
#define LONGEST_PAUSE_MS 5000

/* The wait.  Freed when its timer is closed. */
struct migrate_reserve {
    struct migration *migration;
    struct op_ticket *ticket; /* While it waits; else null. */
    uv_timer_t timer;
    uint64_t start_ms;
    unsigned pause_ms;
    bool is_queued; /* For a place of this host. */
};

static void ask(struct op *op, struct op_ticket *ticket);
static void answered(void *aux, struct json **result, struct error *error);
static void plugged(void *aux, struct error *error);
static void volumes_returned(void *aux);
static void roll_back_dest(struct op *op, struct op_ticket *ticket);
static void busy(struct op *op, struct op_ticket *ticket);
static void failed(struct op *op, struct op_ticket *ticket,
                   struct error *error);
static void pause_over(uv_timer_t *timer);
static void place_granted(void *aux);
static void go_on(struct migrate_reserve *wait);
static void timer_closed(uv_handle_t *handle);

void
migration_reserve_run(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    m->was_prepared = true;
    migrate_plugs_register(m);
    ask(op, ticket);
}

void
migration_reserve_undo(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    if (m->relocation && !m->was_refused) {
        relocate_roll_back(op, ticket);
        return;
    }
    if (!m->announced && !m->relocation) {
        notify_instance(m->agent->notify, m->context, NOTIFY_ROLLBACK,
                        NOTIFY_START, m->instance);
        m->announced = true;
    }

    const char *uuid = object_string(m->instance, "uuid");
    if (migrate_volumes_any(m) && !m->was_refused &&
        migrate_source_find(m->agent, uuid) == op) {
        migrate_volumes_return(op, volumes_returned, ticket);
    } else {
        roll_back_dest(op, ticket);
    }
}

static void
volumes_returned(void *aux)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (op) {
        roll_back_dest(op, ticket);
    } else {
        op_ticket_done(ticket, NULL);
    }
}

static void
roll_back_dest(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    struct migrate_cleanup cleanup = migrate_data_cleanup(m->data);

    /* Nova asks the destination only if there are files to remove; drover
     * always, since the destination remembers what else it prepared. */
    if (m->was_refused || (!cleanup.do_cleanup && !m->agent->local)) {
        op_ticket_done(ticket, NULL);
        return;
    }
    struct json *args = json_object();
    AUTO_OBJECT data = migration_told_data(m);
    json_set(args, "instance", json_copy(object_json(m->instance)));
    json_set_bool(args, "destroy_disks", cleanup.destroy_disks);
    json_set(args, "migrate_data", json_copy(object_json(data)));
    peer_cast(m->agent, m->dest, "rollback_live_migration_at_destination", args,
              m->context, op_ticket_done_aux, ticket);
}

void
migration_reserve_cancel(struct op *op)
{
    struct migration *m = op_data(op);

    m->is_cancelled = true;
    if (m->reserve && m->reserve->ticket) {
        struct op_ticket *ticket = steal(&m->reserve->ticket);
        slot_release(steal(&m->slot));
        migrate_reserve_free(steal(&m->reserve));
        op_ticket_done(ticket, NULL);
    } else {
        migrate_plugs_cancel(m);
    }
}

bool
migrate_reserve_waits(const struct migrate_reserve *wait)
{
    return wait && wait->ticket && !wait->is_queued;
}

void
migrate_reserve_free(struct migrate_reserve *wait)
{
    if (!wait) {
        return;
    }
    if (wait->ticket) {
        op_ticket_done(steal(&wait->ticket), NULL);
    }
    uv_close((uv_handle_t *)&wait->timer, timer_closed);
}

static void
ask(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    struct json *args = json_object();
    AUTO_OBJECT data = object_copy(m->data);

    m->was_refused = false; /* It may prepare from now on. */
    object_set_bool(data, PLACES_WAITS_FIELD, true);
    if (m->relocation) {
        json_free(args);
        relocate_ask(m, data, answered, ticket);
        return;
    }
    if (m->agent->local) {
        attachments_tell(m->instance, data);
    }
    json_set(args, "instance", json_copy(object_json(m->instance)));
    json_set(args, "disk", json_string(m->disks));
    json_set(args, "migrate_data", json_copy(object_json(data)));
    peer_call(m->agent, m->dest, "pre_live_migration", args, m->context,
              PEER_LONG, answered, ticket);
}

static void
answered(void *aux, struct json **result, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    AUTO_OBJECT data = NULL;

    if (!error) {
        error = object_parse(*result, NULL, &data);
    }
    if (!op) {
        op_ticket_done(ticket, error);
        return;
    }
    struct migration *m = op_data(op);
    if (error) {
        failed(op, ticket,
               error_wrap(error, "call pre_live_migration on '%s'", m->dest));
        return;
    }
    if (object_bool(data, PLACES_BUSY_FIELD)) {
        busy(op, ticket);
        return;
    }
    migrate_reserve_free(steal(&m->reserve));
    object_free(m->data);
    m->data = steal(&data);
    migrate_plugs_wait(m, plugged, ticket);
}

static void
plugged(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (op && error) {
        failed(op, ticket, error);
    } else {
        op_ticket_done(ticket, error);
    }
}

static void
busy(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    unsigned limit_s = (unsigned)m->agent->conf->incoming_live_migration_wait;
    uint64_t now_ms = clock_now_ms();

    m->was_refused = true; /* So there is nothing to take back. */
    if (m->is_cancelled) {
        slot_release(steal(&m->slot));
        migrate_reserve_free(steal(&m->reserve));
        op_ticket_done(ticket, NULL);
        return;
    }
    if (!m->reserve) {
        log_info(op_log(op), "'%s' has no place: waiting for one", m->dest);
        m->reserve = xzalloc(sizeof *m->reserve);
        m->reserve->migration = m;
        m->reserve->start_ms = now_ms;
        m->reserve->pause_ms = FIRST_PAUSE_MS;
        m->reserve->timer.data = m->reserve;
        uv_timer_init(m->agent->loop, &m->reserve->timer);
    }
    struct migrate_reserve *wait = m->reserve;
    if (now_ms - wait->start_ms >= limit_s * UINT64_C(1000)) {
        failed(op, ticket,
               error_new(ERR_MIGRATION,
                         "host '%s' had no place for an incoming migration "
                         "in %u s",
                         m->dest, limit_s));
        return;
    }
    wait->ticket = ticket;
    slot_release(steal(&m->slot));
    uv_timer_start(&wait->timer, pause_over, wait->pause_ms, 0);
    wait->pause_ms = wait->pause_ms * 2 < LONGEST_PAUSE_MS ? wait->pause_ms * 2
                                                           : LONGEST_PAUSE_MS;
}

/* A destination that failed may have prepared a part; the status says "error"
 * until the roll-back is through. (3.6 step 5) */

struct failure {
    struct op_ticket *ticket;
    struct error *error;
};

static void
failure_saved(void *aux, struct error *error, struct object *record)
{
    struct failure *failure = aux;

    object_free(record);
    error_free(error); /* The first failure is the one that is told. */
    op_ticket_done(failure->ticket, failure->error);
    free(failure);
}

static void
failed(struct op *op, struct op_ticket *ticket, struct error *error)
{
    struct migration *m = op_data(op);
    struct records *records = m->agent->records;
    struct failure *failure = xzalloc(sizeof *failure);

    migrate_reserve_free(steal(&m->reserve));
    failure->ticket = ticket;
    failure->error = error;
    object_set_string(m->record, "status", "error");
    records->ops->migration_save(records->state, m->context, m->record,
                                 failure_saved, failure);
}

static void
pause_over(uv_timer_t *timer)
{
    struct migrate_reserve *wait = timer->data;
    struct migration *m = wait->migration;

    /* Not from within the request: 'slot' is not known there yet. */
    m->slot = slots_request(m->agent->outgoing, place_granted, wait);
    wait->is_queued = true;
    if (slot_is_granted(m->slot)) {
        go_on(wait);
    }
}

static void
place_granted(void *aux)
{
    struct migrate_reserve *wait = aux;

    if (wait->is_queued) {
        go_on(wait);
    }
}

static void
go_on(struct migrate_reserve *wait)
{
    struct op_ticket *ticket = steal(&wait->ticket);
    struct op *op = op_ticket_op(ticket);

    wait->is_queued = false;
    if (op) {
        ask(op, ticket);
    } else {
        op_ticket_done(ticket, NULL);
    }
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}
