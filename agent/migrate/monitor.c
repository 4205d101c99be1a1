#include <config.h>

#include "agent/migrate/monitor.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/migrate/data.h"
#include "agent/migrate/plan.h"

LOG_MODULE(migrate);

#define ADOPTED_IDLE_ROUNDS 4

static void schedule(struct migrate_monitor *mm);
static void round_start(uv_timer_t *timer);
static void round_stats(void *aux, struct error *error,
                        const struct job_stats *stats);
static void note_job_end(struct migrate_monitor *mm);
static void round_run(struct migrate_monitor *mm);
static void act(struct migrate_monitor *mm, const struct monitor_output *out);
static void ask_presence(struct migrate_monitor *mm);
static void ask_peer(struct migrate_monitor *mm);
static void save_progress(struct migrate_monitor *mm);
static void conclude(struct migrate_monitor *mm);
static void conclude_stats(void *aux, struct error *error,
                           const struct job_stats *stats);
static void tell(struct migrate_monitor *mm);
static void migrate_returned(void *aux, struct error *error);
static void put(struct migrate_monitor *mm);
static void timer_closed(uv_handle_t *handle);
static struct monitor_options core_options(const struct migration *m);

struct migrate_monitor *
migrate_monitor_start(struct op *op, struct op_ticket *ticket,
                      struct migrate_request *request)
{
    struct migration *m = op_data(op);
    struct migrate_monitor *mm = xzalloc(sizeof *mm);
    struct monitor_options options = core_options(m);
    uint64_t age_ms = stamp_age_ms(&m->transfer_started);
    uint64_t now = clock_now_ms();

    mm->agent = m->agent;
    mm->ticket = ticket;
    mm->uuid = xstrdup(object_string(m->instance, "uuid"));
    mm->dest = xstrdup(m->dest);
    mm->dest_uri = migration_dest_uri(m);
    /* Taken up again: its time-out counts from the transfer's beginning. */
    if (!request && age_ms < now) {
        now -= age_ms;
    }
    mm->core = monitor_create(&options, now);
    if (m->settings.holds_downtime) {
        monitor_hold_downtime(mm->core, options.downtime_ms);
    }
    mm->n_pending = 1; /* The timer's. */
    uv_timer_init(m->agent->loop, &mm->timer);
    mm->timer.data = mm;
    if (request) {
        mm->n_pending++;
        driver_migrate(m->agent->driver, request, migrate_returned, mm);
    } else {
        mm->adopted = mm->look_is_due = true;
        mm->input.call_error = ERR_MIGRATION;
        if (m->numbers.used_postcopy) {
            migrate_postcopy_enter(mm);
        }
    }
    schedule(mm);
    return mm;
}

void
migrate_monitor_stop(struct migrate_monitor *mm)
{
    if (!mm || mm->stopped) {
        return;
    }
    mm->stopped = true;
    if (mm->ticket) { /* Of an operation that is no more. */
        op_ticket_done(steal(&mm->ticket), NULL);
    }
    uv_close((uv_handle_t *)&mm->timer, timer_closed);
}

struct abort_call {
    attach_done *done;
    void *aux;
};

static void
abort_asked(void *aux, struct error *error)
{
    struct abort_call *call = aux;

    if (error_code(error) == ERR_INVALID ||
        error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        /* No job any more: too late, which is no failure. (7.1) */
        error_free(error);
        error = NULL;
    }
    call->done(call->aux, error);
    free(call);
}

void
migrate_monitor_abort(struct migrate_monitor *mm, attach_done *done, void *aux)
{
    struct abort_call *call = xzalloc(sizeof *call);

    call->done = done;
    call->aux = aux;
    mm->abort_wanted = true;
    monitor_note_abort(mm->core);
    driver_migrate_abort(mm->agent->driver, mm->uuid, abort_asked, call);
}

void
migrate_monitor_force_complete(struct migrate_monitor *mm)
{
    monitor_force_complete(mm->core);
}

void
migrate_monitor_hold_downtime(struct migrate_monitor *mm, unsigned ms)
{
    monitor_hold_downtime(mm->core, ms);
}

/* Does not wait for the next round. */
static void
hurry(struct migrate_monitor *mm)
{
    if (!mm->stopped && !mm->in_round) {
        uv_timer_start(&mm->timer, round_start, 0, 0);
    }
}

void
migrate_monitor_event(struct migrate_monitor *mm,
                      const struct driver_event *event)
{
    switch (event->type) {
    case DRIVER_EVENT_STOPPED:
        mm->input.stop_seen = true;
        mm->input.stop_detail = event->detail;
        hurry(mm);
        break;
    case DRIVER_EVENT_JOB_COMPLETED:
        hurry(mm);
        break;
    case DRIVER_EVENT_POSTCOPY:
    case DRIVER_EVENT_POSTCOPY_FAILED:
        migrate_postcopy_enter(mm); /* Whoever switched it. */
        hurry(mm);
        break;
    case DRIVER_EVENT_CONNECTED:
        mm->look_is_due = true; /* What was to be told meanwhile is lost. */
        break;
    case DRIVER_EVENT_STARTED:
    case DRIVER_EVENT_SUSPENDED:
    case DRIVER_EVENT_RESUMED:
    case DRIVER_EVENT_DEFINED:
    case DRIVER_EVENT_UNDEFINED:
    case DRIVER_EVENT_DISCONNECTED:
        break;
    }
}

const struct job_stats *
migrate_monitor_stats(const struct migrate_monitor *mm)
{
    return &mm->last;
}

bool
migrate_monitor_is_postcopy(const struct migrate_monitor *mm)
{
    return monitor_is_postcopy(mm->core);
}

static void
schedule(struct migrate_monitor *mm)
{
    if (!mm->stopped) {
        uv_timer_start(&mm->timer, round_start,
                       monitor_interval_ms(mm->core, &mm->last), 0);
    }
}

static void
round_start(uv_timer_t *timer)
{
    struct migrate_monitor *mm = timer->data;

    mm->in_round = true;
    mm->input.presence_known = mm->input.peer_known = false;
    migrate_postcopy_look(mm);
    mm->n_pending++;
    driver_job_get(mm->agent->driver, mm->uuid, false, round_stats, mm);
}

static void
round_stats(void *aux, struct error *error, const struct job_stats *stats)
{
    struct migrate_monitor *mm = aux;

    mm->input.stats_failed = error != NULL;
    mm->input.stats_error = error_code(error);
    if (error) {
        mm->input.stats = (struct job_stats){.type = JOB_NONE};
    } else {
        struct migration *m = migrate_monitor_migration(mm);
        mm->input.stats = *stats;
        if (stats->type != JOB_NONE) {
            mm->last = *stats;
        }
        if (m) {
            migrate_numbers_note(&m->numbers, stats);
        }
    }
    if (mm->adopted) {
        note_job_end(mm);
    }
    error_free(error);
    round_run(mm);
    put(mm);
}

/* What a killed agent asked of libvirt may still be on its way to become a job:
 * only when there has been none for some rounds is it over.  That of a
 * post-copy stays when it breaks. */
static void
note_job_end(struct migrate_monitor *mm)
{
    if (monitor_is_postcopy(mm->core)) {
        mm->input.call_returned = true;
    } else if (mm->input.stats.type != JOB_NONE ||
               mm->input.stats_error == ERR_HYPERVISOR_UNAVAILABLE) {
        mm->n_idle = 0;
    } else if (++mm->n_idle >= ADOPTED_IDLE_ROUNDS || mm->input.stop_seen) {
        mm->input.call_returned = true;
    }
}

static void
round_run(struct migrate_monitor *mm)
{
    struct monitor_output out = {0};

    if (mm->stopped) {
        return;
    }
    monitor_run(mm->core, clock_now_ms(), &mm->input, &out);
    act(mm, &out);
    if (out.outcome != MONITOR_RUNNING) {
        mm->outcome = out.outcome;
        conclude(mm);
    } else if (!(out.actions & (MONITOR_ASK_PRESENCE | MONITOR_ASK_PEER))) {
        mm->in_round = false;
        schedule(mm);
    }
}

void
migrate_monitor_done(struct migrate_monitor *mm, struct error *error)
{
    if (error) {
        log_warn(NULL, "migration of '%s': %s", mm->uuid, error_message(error));
        error_free(error);
    }
    put(mm);
}

static void
action_done(void *aux, struct error *error)
{
    migrate_monitor_done(aux, error);
}

/* Pausing, so that it completes.  A guest that somebody else paused is left to
 * them; that we do it is in the journal before it is done, as who resumes it
 * may be the next run of the agent. */

static void
suspend_done(void *aux, struct error *error)
{
    struct migrate_monitor *mm = aux;
    struct migration *m = migrate_monitor_migration(mm);

    if (error && m) {
        m->paused_here = false;
    }
    action_done(mm, error);
}

static void
suspend_noted(void *aux, struct error *error)
{
    struct migrate_monitor *mm = aux;

    if (error || !migrate_monitor_migration(mm)) {
        suspend_done(mm, error);
    } else {
        driver_suspend(mm->agent->driver, mm->uuid, suspend_done, mm);
    }
}

static void
suspend_asked(void *aux, struct error *error, struct guest *guest)
{
    struct migrate_monitor *mm = aux;
    struct migration *m = migrate_monitor_migration(mm);
    bool runs = guest && guest->power_state == POWER_RUNNING;

    guest_free(guest);
    if (error || !runs || !m) {
        action_done(mm, error);
        return;
    }
    m->paused_here = true;
    op_save(op_ticket_op(mm->ticket), suspend_noted, mm);
}

/* An abort that came before the hypervisor had a job went nowhere: it is asked
 * for again as long as there is one. */
static bool
is_abort_due(const struct migrate_monitor *mm)
{
    return mm->abort_wanted && !mm->input.call_returned && !mm->is_aborting &&
           !monitor_is_postcopy(mm->core) &&
           mm->input.stats.type == JOB_UNBOUNDED;
}

static void
abort_repeated(void *aux, struct error *error)
{
    struct migrate_monitor *mm = aux;

    mm->is_aborting = false;
    error_free(error); /* The job may end at any moment. */
    put(mm);
}

static void
act(struct migrate_monitor *mm, const struct monitor_output *out)
{
    struct driver *driver = mm->agent->driver;
    const struct migration *m = migrate_monitor_migration(mm);

    migrate_adjust(mm, out);
    if (out->actions & MONITOR_ABORT) {
        log_warn(m ? op_log(op_ticket_op(mm->ticket)) : NULL,
                 "migration does not %s: aborting",
                 out->n_stalled ? "converge" : "complete in time");
        mm->abort_wanted = true;
    }
    if (is_abort_due(mm)) {
        mm->n_pending++;
        mm->is_aborting = true;
        driver_migrate_abort(driver, mm->uuid, abort_repeated, mm);
    }
    if (out->actions & MONITOR_SUSPEND) {
        mm->n_pending++;
        driver_guest_get(driver, mm->uuid, suspend_asked, mm);
    }
    if (out->actions & MONITOR_POSTCOPY) {
        migrate_postcopy_start(mm);
    }
    if (out->actions & MONITOR_RESUME_POSTCOPY) {
        migrate_postcopy_resume(mm);
    }
    if (out->actions & MONITOR_SAVE_PROGRESS) {
        save_progress(mm);
    }
    if ((out->actions & MONITOR_LOG_PROGRESS) && m) {
        log_info(op_log(op_ticket_op(mm->ticket)),
                 "%d %% of memory done, %lld MiB left",
                 monitor_progress(&mm->last),
                 (long long)(mm->last.memory_remaining >> 20));
    }
    if (out->actions & MONITOR_ASK_PRESENCE) {
        ask_presence(mm);
    } else if (out->actions & MONITOR_ASK_PEER) {
        ask_peer(mm);
    }
}

/* Evidence.  An answer starts another turn of the core in the same round. */

static void
presence_answered(void *aux, struct error *error, struct guest *guest)
{
    struct migrate_monitor *mm = aux;

    if (!error) {
        mm->input.presence_known = true;
        mm->input.presence = guest->presence;
        migrate_postcopy_note(mm, guest->presence);
    } else if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        mm->input.presence_known = true;
        mm->input.presence = GUEST_ABSENT;
    }
    error_free(error);
    guest_free(guest);
    round_run(mm);
    put(mm);
}

static void
ask_presence(struct migrate_monitor *mm)
{
    mm->n_pending++;
    driver_guest_get(mm->agent->driver, mm->uuid, presence_answered, mm);
}

static void
peer_answered(void *aux, struct error *error, enum guest_presence presence,
              bool has_arrived)
{
    struct migrate_monitor *mm = aux;

    if (error) {
        log_limited(LOG_LEVEL_WARN, NULL, "ask '%s' for guest '%s': %s",
                    mm->dest_uri, mm->uuid, error_message(error));
        error_free(error);
    } else {
        mm->input.peer_known = true;
        mm->input.peer_presence = presence;
        mm->input.peer_has_arrived = has_arrived;
    }
    round_run(mm);
    put(mm);
}

static void
ask_peer(struct migrate_monitor *mm)
{
    mm->n_pending++;
    migration_ask_peer(mm->agent, mm->dest, mm->dest_uri, mm->uuid,
                       peer_answered, mm);
}

/* Progress, coalesced: one save at a time. (4.6) */

static void
progress_saved(void *aux, struct error *error, struct object *record)
{
    struct migrate_monitor *mm = aux;

    mm->is_saving = false;
    object_free(record);
    action_done(mm, error);
}

static void
instance_progress_saved(void *aux, struct error *error, struct object *instance)
{
    progress_saved(aux, error, instance);
}

static void
save_progress(struct migrate_monitor *mm)
{
    struct migration *m = migrate_monitor_migration(mm);

    if (!m || mm->is_saving) {
        return;
    }
    struct records *records = m->agent->records;
    migrate_plan_record_stats(m->record, &mm->last);
    migration_keep_numbers(op_ticket_op(mm->ticket));
    /* Only 'progress' is saved here: what the conductor chose for the
     * destination is stored by the destination. */
    AUTO_OBJECT instance = object_copy(m->instance);
    object_clear_changes(instance);
    object_set_int(instance, "progress", monitor_progress(&mm->last));
    mm->is_saving = true;
    mm->n_pending += 2;
    records->ops->migration_save(records->state, m->context, m->record,
                                 progress_saved, mm);
    records->ops->instance_save(records->state, m->context, instance, NULL,
                                instance_progress_saved, mm);
}

/* The end: the numbers of the ended job first, for people; then the word. */

static void
conclude(struct migrate_monitor *mm)
{
    mm->n_pending++;
    driver_job_get(mm->agent->driver, mm->uuid, true, conclude_stats, mm);
}

static void
conclude_stats(void *aux, struct error *error, const struct job_stats *stats)
{
    struct migrate_monitor *mm = aux;
    struct migration *m = migrate_monitor_migration(mm);

    if (m) {
        migrate_numbers_conclude(&m->numbers, mm->outcome == MONITOR_COMPLETED,
                                 error ? NULL : stats);
        migrate_plan_record_stats(m->record, &m->numbers.stats);
    }
    error_free(error); /* Without numbers the outcome is still the outcome. */
    tell(mm);
    put(mm);
}

static void
tell(struct migrate_monitor *mm)
{
    struct op_ticket *ticket = steal(&mm->ticket);
    struct error *error = NULL;

    if (!ticket) {
        return;
    }
    switch (mm->outcome) {
    case MONITOR_RUNNING:
    case MONITOR_COMPLETED:
        break;
    case MONITOR_CANCELLED:
        error = error_new(ERR_CANCELLED, "the transfer was aborted");
        break;
    case MONITOR_FAILED:
        error = mm->call_error
                    ? error_copy(mm->call_error)
                    : error_new(ERR_MIGRATION, "the hypervisor gave up");
        break;
    case MONITOR_GUEST_ENDED:
        error =
            error_new(ERR_MIGRATION, "the guest ended during its migration");
        break;
    }
    struct op *op = op_ticket_op(ticket);
    if (op) {
        struct migration *m = op_data(op);
        m->monitor = NULL;
        migrate_bandwidth_leave(m);
    }
    migrate_monitor_stop(mm);
    op_ticket_done(ticket, error);
}

struct migration *
migrate_monitor_migration(const struct migrate_monitor *mm)
{
    struct op *op = mm->ticket ? op_ticket_op(mm->ticket) : NULL;

    return op ? op_data(op) : NULL;
}

static void
migrate_returned(void *aux, struct error *error)
{
    struct migrate_monitor *mm = aux;

    mm->input.call_returned = true;
    mm->input.call_error = error_code(error);
    mm->call_error = error;
    hurry(mm);
    put(mm);
}

static void
put(struct migrate_monitor *mm)
{
    if (--mm->n_pending) {
        return;
    }
    monitor_free(mm->core);
    error_free(mm->call_error);
    free(mm->uuid);
    free(mm->dest);
    free(mm->dest_uri);
    free(mm);
}

static void
timer_closed(uv_handle_t *handle)
{
    put(handle->data);
}

static struct monitor_options
core_options(const struct migration *m)
{
    const struct conf *conf = m->agent->conf;
    const struct conf_libvirt *libvirt = &conf->libvirt;
    int memory_mb = (int)object_int(m->instance, "memory_mb");
    double data_gb = migrate_data_gb(memory_mb, m->disks);

    return (struct monitor_options){
        .data_gb = data_gb,
        .downtime_ms = migrate_settings_downtime_ms(&m->settings, conf),
        .downtime_steps = (unsigned)libvirt->live_migration_downtime_steps,
        .downtime_delay_s = (unsigned)libvirt->live_migration_downtime_delay,
        .completion_timeout_s =
            migrate_settings_timeout_s(&m->settings, conf, data_gb),
        .timeout_forces_complete =
            migrate_settings_timeout_forces(&m->settings, conf),
        .permit_postcopy = m->flags & MIGRATE_POSTCOPY,
        .permit_throttle = m->flags & MIGRATE_THROTTLE,
        .convergence = migrate_settings_convergence(&m->settings, conf),
        .silence_s = (unsigned)libvirt->live_migration_silence_timeout,
        .save_interval_s = (unsigned)libvirt->live_migration_monitor_interval,
    };
}
