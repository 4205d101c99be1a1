#include <config.h>

#include "agent/migrate/monitor.h"

LOG_MODULE(migrate);

static void adjust_downtime(struct migrate_monitor *mm);
static void downtime_known(void *aux, struct error *error, unsigned ms);
static void set_downtime(struct migrate_monitor *mm);
static void downtime_set(void *aux, struct error *error);
static void action_done(void *aux, struct error *error);
static const struct log_context *log_of(const struct migrate_monitor *mm);

void
migrate_adjust(struct migrate_monitor *mm, const struct monitor_output *out)
{
    if (out->n_stalled) {
        log_info(
            log_of(mm),
            "no gain in %u iterations, at best %lld MiB were left:%s%s%s%s",
            out->n_stalled, (long long)(out->best_left >> 20),
            out->actions & MONITOR_SET_DOWNTIME ? " longer pause" : "",
            out->actions & MONITOR_THROTTLE ? " throttling" : "",
            out->actions & MONITOR_POSTCOPY ? " post-copy" : "",
            out->actions & MONITOR_ABORT ? " abort" : "");
    }
    migrate_bandwidth_adjust(mm);
    if (out->actions & MONITOR_SET_DOWNTIME) {
        mm->wanted_downtime_ms = out->downtime_ms;
        mm->downtime_is_by_hand = out->downtime_is_by_hand;
        adjust_downtime(mm);
    } else if (mm->downtime_is_due && mm->input.stats.type == JOB_UNBOUNDED) {
        adjust_downtime(mm);
    }
    if (out->actions & MONITOR_THROTTLE) {
        mm->n_pending++;
        driver_migrate_throttle(mm->agent->driver, mm->uuid, action_done, mm);
    }
    if (out->actions & MONITOR_BREAK) {
        log_warn(log_of(mm), "%s: its connections are broken",
                 out->is_silent ? "nothing moves, and the destination can't be "
                                  "reached"
                                : "the abort has no effect");
        mm->n_pending++;
        driver_migrate_break(mm->agent->driver, mm->uuid, action_done, mm);
    }
}

/* Somebody may have set the pause past us, with virsh: it stays. */
static void
adjust_downtime(struct migrate_monitor *mm)
{
    mm->downtime_is_due = false;
    if (mm->downtime_is_by_hand || (!mm->downtime_ms && !mm->adopted)) {
        set_downtime(mm);
    } else if (!mm->is_asking_downtime) {
        mm->is_asking_downtime = true;
        mm->n_pending++;
        driver_migrate_get_downtime(mm->agent->driver, mm->uuid, downtime_known,
                                    mm);
    }
}

static void
downtime_known(void *aux, struct error *error, unsigned ms)
{
    struct migrate_monitor *mm = aux;
    bool is_own = mm->downtime_ms ? ms == mm->downtime_ms
                                  : monitor_is_own_downtime(mm->core, ms);

    mm->is_asking_downtime = false;
    if (!error && is_own) {
        set_downtime(mm);
    } else if (!error) {
        log_info(log_of(mm), "somebody set a pause of %u ms: it stays", ms);
        monitor_leave_downtime(mm->core);
    }
    migrate_monitor_done(mm, error);
}

static void
set_downtime(struct migrate_monitor *mm)
{
    if (mm->is_setting_downtime) {
        return; /* The newest follows at its end. */
    }
    mm->is_setting_downtime = true;
    mm->setting_downtime_ms = mm->wanted_downtime_ms;
    mm->n_pending++;
    driver_migrate_set_downtime(mm->agent->driver, mm->uuid,
                                mm->setting_downtime_ms, downtime_set, mm);
}

static void
downtime_set(void *aux, struct error *error)
{
    struct migrate_monitor *mm = aux;

    mm->is_setting_downtime = false;
    if (!error) {
        mm->downtime_ms = mm->setting_downtime_ms;
    }
    /* The schedule's next step follows anyway; (4.6) what somebody asked for
     * is told in the next round that has a job. */
    if (error_code(error) == ERR_HYPERVISOR_UNAVAILABLE &&
        mm->downtime_is_by_hand) {
        mm->downtime_is_due = true;
    }
    if (mm->wanted_downtime_ms != mm->setting_downtime_ms) {
        set_downtime(mm);
    }
    migrate_monitor_done(mm, error);
}

static void
action_done(void *aux, struct error *error)
{
    migrate_monitor_done(aux, error);
}

static const struct log_context *
log_of(const struct migrate_monitor *mm)
{
    return op_log(mm->ticket ? op_ticket_op(mm->ticket) : NULL);
}
