#include <config.h>

#include "agent/migrate/monitor.h"

#include <stdlib.h>

#include "agent/migrate/plan.h"

LOG_MODULE(migrate);

static void
postcopy_saved(void *aux, struct error *error, struct object *record)
{
    struct migrate_monitor *mm = aux;

    object_free(record);
    migrate_monitor_done(mm, error);
}

void
migrate_postcopy_enter(struct migrate_monitor *mm)
{
    struct migration *m = migrate_monitor_migration(mm);

    if (!m || monitor_is_postcopy(mm->core)) {
        return;
    }
    monitor_note_postcopy(mm->core);
    struct records *records = m->agent->records;
    m->numbers.used_postcopy = true;
    object_set_string(m->record, "status", "running (post-copy)");
    op_save(op_ticket_op(mm->ticket), NULL, NULL);
    mm->n_pending++;
    records->ops->migration_save(records->state, m->context, m->record,
                                 postcopy_saved, mm);
}

static void
postcopy_done(void *aux, struct error *error)
{
    struct migrate_monitor *mm = aux;

    if (!error) {
        migrate_postcopy_enter(mm);
    }
    migrate_monitor_done(mm, error);
}

void
migrate_postcopy_start(struct migrate_monitor *mm)
{
    mm->n_pending++;
    driver_migrate_postcopy(mm->agent->driver, mm->uuid, postcopy_done, mm);
}

void
migrate_postcopy_note(struct migrate_monitor *mm, enum guest_presence presence)
{
    if (presence == GUEST_POSTCOPY || presence == GUEST_POSTCOPY_FAILED) {
        migrate_postcopy_enter(mm);
    }
}

static void
looked(void *aux, struct error *error, struct guest *guest)
{
    struct migrate_monitor *mm = aux;

    mm->is_looking = false;
    if (guest) {
        mm->look_is_due = false;
        migrate_postcopy_note(mm, guest->presence);
    }
    guest_free(guest);
    error_free(error); /* It is asked again. */
    migrate_monitor_done(mm, NULL);
}

void
migrate_postcopy_look(struct migrate_monitor *mm)
{
    if (!mm->look_is_due || mm->is_looking) {
        return;
    }
    mm->is_looking = true;
    mm->n_pending++;
    driver_guest_get(mm->agent->driver, mm->uuid, looked, mm);
}

/* A broken post-copy leaves the guest paused, not lost: the same migration,
 * asked for again, fetches the rest. (7.2) */

static void
postcopy_resumed(void *aux, struct error *error)
{
    struct migrate_monitor *mm = aux;

    error_free(mm->call_error);
    mm->call_error = error ? error_copy(error) : NULL;
    mm->input.call_error = error_code(error);
    mm->input.call_returned = true;
    migrate_monitor_done(mm, error);
}

static void
postcopy_resume(void *aux, struct error *error, struct guest *guest)
{
    struct migrate_monitor *mm = aux;
    struct migration *m = migrate_monitor_migration(mm);
    struct migrate_request *request = NULL;

    if (!error && m) {
        error = migrate_plan_request(m->agent->conf, m->dest, m->instance,
                                     m->data, &m->settings, guest, &request);
    }
    guest_free(guest);
    if (error || !m) {
        migrate_request_free(request);
        mm->input.call_returned = true;
        migrate_monitor_done(mm, error);
        return;
    }
    request->flags |= MIGRATE_POSTCOPY | MIGRATE_POSTCOPY_RESUME;
    free(steal(&request->compression)); /* Only pre-copy has any. */
    request->bandwidth_mib_s = m->bandwidth_mib_s;
    driver_migrate(m->agent->driver, request, postcopy_resumed, mm);
}

void
migrate_postcopy_resume(struct migrate_monitor *mm)
{
    log_error(op_log(mm->ticket ? op_ticket_op(mm->ticket) : NULL),
              "post-copy to '%s' broke, the guest is paused: resuming it",
              mm->dest_uri);
    mm->adopted = mm->input.call_returned = false; /* There is one again. */
    mm->n_pending++;
    driver_guest_get(mm->agent->driver, mm->uuid, postcopy_resume, mm);
}
