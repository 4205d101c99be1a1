#include <config.h>

#include "agent/monitor.h"

#include <stdlib.h>

#include "agent/converge.h"
#include "agent/downtime.h"
#include "agent/stuck.h"

#define ROUND_MS 500u      /* Between two questions, as Nova has it. */
#define ROUND_LAST_MS 100u /* When the end is near. */
#define END_IS_NEAR_MS 2000
#define ASK_MIN_MS 500u /* Between two questions after the end. */
#define ASK_MAX_MS 5000u
#define RESUME_MIN_MS 5000u /* Between two attempts to mend a post-copy. */
#define RESUME_MAX_MS 60000u
#define LOG_MS 30000u
#define GIB 1073741824.0

#define POLICY_ACTIONS \
    (MONITOR_SET_DOWNTIME | MONITOR_THROTTLE | MONITOR_POSTCOPY | MONITOR_ABORT)

/* What is known of a pause that grows. */
struct pause {
    uint64_t until_ms;
    unsigned ms; /* 0: none yet. */
};

struct monitor {
    struct monitor_options options;
    uint64_t start_ms;

    uint64_t saved_ms, logged_ms;
    bool was_saved, was_logged;
    struct downtime downtime;
    struct converge converge;
    struct stuck stuck;

    bool force_wanted, is_forced;
    bool abort_noted, is_postcopy;

    /* Once the call has returned: a cycle of questions, answers, a pause. */
    bool presence_asked, peer_asked;
    bool presence_known;
    enum guest_presence presence;
    struct pause ask, resume;
    uint64_t now_ms; /* Of the last round. */
};

static void run_job(struct monitor *monitor, const struct monitor_input *input,
                    struct monitor_output *ret);
static void report(struct monitor *monitor, struct monitor_output *ret);
static void run_force(struct monitor *monitor, struct monitor_output *ret);
static void run_stuck(struct monitor *monitor,
                      const struct monitor_input *input,
                      struct monitor_output *ret);
static void run_timeout(struct monitor *monitor, uint64_t elapsed_ms,
                        struct monitor_output *ret);
static unsigned run_policy(struct monitor *monitor,
                           const struct job_stats *stats,
                           struct monitor_output *ret);
static void set_downtime(struct monitor *monitor, uint64_t elapsed_ms,
                         unsigned due, struct monitor_output *ret);
static bool is_due(uint64_t now_ms, bool *was, uint64_t *last_ms,
                   uint64_t interval_ms);
static void settle(struct monitor *monitor, const struct monitor_input *input,
                   struct monitor_output *ret);
static bool may_have_ended_there(const struct monitor *monitor,
                                 const struct monitor_input *input);
static bool has_left(const struct monitor_input *input,
                     enum guest_presence here);
static bool is_postcopy_state(enum guest_presence presence);
static enum monitor_outcome judge(const struct monitor *monitor,
                                  const struct monitor_input *input);
static enum monitor_outcome judge_absent(const struct monitor *monitor,
                                         const struct monitor_input *input);
static enum monitor_outcome went_back(const struct monitor *monitor,
                                      const struct monitor_input *input);
static void ask_again(struct monitor *monitor);
static void mend_postcopy(struct monitor *monitor,
                          const struct monitor_input *input,
                          struct monitor_output *ret);
static bool pause_is_over(const struct pause *pause, uint64_t now_ms);
static void pause_start(struct pause *pause, uint64_t now_ms, unsigned min_ms,
                        unsigned max_ms);

struct monitor *
monitor_create(const struct monitor_options *options, uint64_t start_ms)
{
    struct monitor *monitor = xzalloc(sizeof *monitor);

    monitor->options = *options;
    monitor->start_ms = start_ms;
    struct downtime_options downtime = {
        .max_ms = options->downtime_ms,
        .n_steps = options->downtime_steps,
        .delay_ms = (uint64_t)(options->downtime_delay_s * options->data_gb) *
                    UINT64_C(1000),
    };
    struct convergence policy = options->convergence;
    downtime.has_policy = policy.n_steps > 0;
    convergence_drop(&policy,
                     (options->permit_postcopy ? 0 : CONVERGENCE_POSTCOPY) |
                         (options->permit_throttle ? 0 : CONVERGENCE_THROTTLE));
    downtime.policy_raises =
        convergence_actions(&policy) & CONVERGENCE_DOWNTIME;
    downtime_init(&monitor->downtime, &downtime);
    converge_init(&monitor->converge, &policy);
    stuck_init(&monitor->stuck, options->silence_s);
    return monitor;
}

void
monitor_free(struct monitor *monitor)
{
    free(monitor);
}

void
monitor_run(struct monitor *monitor, uint64_t now_ms,
            const struct monitor_input *input, struct monitor_output *ret)
{
    *ret = (struct monitor_output){.outcome = MONITOR_RUNNING};
    monitor->now_ms = now_ms;

    bool is_active =
        !input->stats_failed && (input->stats.type == JOB_UNBOUNDED ||
                                 input->stats.type == JOB_BOUNDED);
    /* libvirt keeps the job of a post-copy that broke, to be resumed. */
    bool may_be_broken = monitor->is_postcopy && input->call_returned;
    if (is_active && !may_be_broken) {
        /* The job goes on, even if the call was lost with a connection.  A
         * bounded one is none of ours. */
        if (input->stats.type == JOB_UNBOUNDED) {
            run_job(monitor, input, ret);
        }
    } else if (input->call_returned) {
        if (is_active) {
            report(monitor, ret);
        }
        settle(monitor, input, ret);
    }
    /* Else nothing is decided while the call is out: the job has not begun,
     * or is just ending, or the hypervisor can't be asked.  That a domain is
     * gone says nothing of where it went. */
}

void
monitor_force_complete(struct monitor *monitor)
{
    monitor->force_wanted = true;
}

void
monitor_note_abort(struct monitor *monitor)
{
    monitor->abort_noted = true;
}

void
monitor_note_postcopy(struct monitor *monitor)
{
    monitor->is_postcopy = true;
}

bool
monitor_is_postcopy(const struct monitor *monitor)
{
    return monitor->is_postcopy;
}

void
monitor_hold_downtime(struct monitor *monitor, unsigned ms)
{
    downtime_hold(&monitor->downtime, ms);
}

void
monitor_leave_downtime(struct monitor *monitor)
{
    downtime_leave(&monitor->downtime);
}

bool
monitor_is_own_downtime(const struct monitor *monitor, unsigned ms)
{
    return downtime_is_own(&monitor->downtime, ms);
}

unsigned
monitor_interval_ms(const struct monitor *monitor,
                    const struct job_stats *stats)
{
    if (monitor->ask.ms) {
        uint64_t until = monitor->ask.until_ms;
        return until > monitor->now_ms ? (unsigned)(until - monitor->now_ms)
                                       : ASK_MIN_MS;
    }
    if (stats && stats->type == JOB_UNBOUNDED && stats->memory_bps > 0 &&
        stats->memory_remaining >= 0 &&
        stats->memory_remaining < stats->memory_bps * (END_IS_NEAR_MS / 1000)) {
        return ROUND_LAST_MS;
    }
    return ROUND_MS;
}

uint64_t
monitor_timeout_s(unsigned s_per_gb, double data_gb)
{
    return (uint64_t)(s_per_gb * data_gb);
}

double
monitor_data_gb(int memory_mb, const int64_t *disk_bytes, size_t n)
{
    double gb = memory_mb / 1024.0;

    if (gb < 2) {
        gb = 2;
    }
    for (size_t i = 0; i < n; i++) {
        if (disk_bytes[i] >= 0) {
            double disk_gb = (double)disk_bytes[i] / GIB;
            gb += disk_gb < 2 ? 2 : disk_gb;
        }
    }
    return gb;
}

int
monitor_progress(const struct job_stats *stats)
{
    int64_t total = stats->memory_total, left = stats->memory_remaining;

    if (total <= 0 || left < 0) {
        return 0;
    }
    if (left > total) {
        left = total;
    }
    /* Both smaller, so that the product fits. */
    while (total > INT64_MAX / 200) {
        total /= 2;
        left /= 2;
    }
    int64_t percent = left * 100 / total;
    int64_t rest = left * 100 % total;
    /* Python's round(): a half goes to the even neighbour. */
    if (rest * 2 > total || (rest * 2 == total && percent % 2)) {
        percent++;
    }
    return (int)(100 - percent);
}

/* While the job runs. */

static void
run_job(struct monitor *monitor, const struct monitor_input *input,
        struct monitor_output *ret)
{
    uint64_t now = monitor->now_ms;
    uint64_t elapsed_ms = now > monitor->start_ms ? now - monitor->start_ms : 0;

    monitor->ask = (struct pause){0};
    monitor->presence_asked = monitor->peer_asked = false;
    monitor->presence_known = false;

    report(monitor, ret);
    if (monitor->is_postcopy) {
        monitor->force_wanted = false; /* It is what was asked for. */
        return;
    }
    run_timeout(monitor, elapsed_ms, ret);
    unsigned due = run_policy(monitor, &input->stats, ret);
    run_force(monitor, ret);
    run_stuck(monitor, input, ret);
    set_downtime(monitor, elapsed_ms, due, ret);
    if (due && ret->actions & POLICY_ACTIONS) {
        ret->n_stalled = monitor->converge.n_stalled;
        ret->best_left = monitor->converge.best;
    }
}

static void
report(struct monitor *monitor, struct monitor_output *ret)
{
    if (is_due(monitor->now_ms, &monitor->was_saved, &monitor->saved_ms,
               monitor->options.save_interval_s * UINT64_C(1000))) {
        ret->actions |= MONITOR_SAVE_PROGRESS;
    }
    if (is_due(monitor->now_ms, &monitor->was_logged, &monitor->logged_ms,
               LOG_MS)) {
        ret->actions |= MONITOR_LOG_PROGRESS;
    }
}

static void
run_force(struct monitor *monitor, struct monitor_output *ret)
{
    if (!monitor->force_wanted) {
        return;
    }
    monitor->force_wanted = false;
    monitor->is_forced = true;
    ret->actions |=
        monitor->options.permit_postcopy ? MONITOR_POSTCOPY : MONITOR_SUSPEND;
}

static void
run_stuck(struct monitor *monitor, const struct monitor_input *input,
          struct monitor_output *ret)
{
    switch (stuck_run(&monitor->stuck, monitor->now_ms, &input->stats,
                      monitor->abort_noted, input->peer_known)) {
    case STUCK_NOT:
        break;
    case STUCK_ASK_PEER:
        ret->actions |= MONITOR_ASK_PEER;
        break;
    case STUCK_SILENT:
        ret->is_silent = true;
        ret->actions |= MONITOR_BREAK;
        break;
    case STUCK_IN_ABORT:
        ret->actions |= MONITOR_BREAK;
        break;
    }
}

static void
run_timeout(struct monitor *monitor, uint64_t elapsed_ms,
            struct monitor_output *ret)
{
    uint64_t limit_s = monitor->options.completion_timeout_s;

    if (limit_s == 0 || elapsed_ms <= limit_s * 1000 || monitor->abort_noted) {
        return;
    }
    if (!monitor->options.timeout_forces_complete) {
        monitor->abort_noted = true;
        ret->actions |= MONITOR_ABORT;
    } else if (!monitor->is_forced) {
        monitor->force_wanted = true;
    }
}

/* What is due of the policy.  A guest that was stopped to force the end writes
 * no more, and an abort is on its way: the policy then has no say. */
static unsigned
run_policy(struct monitor *monitor, const struct job_stats *stats,
           struct monitor_output *ret)
{
    if (monitor->is_forced || monitor->force_wanted || monitor->abort_noted) {
        return 0;
    }
    unsigned due = converge_run(&monitor->converge, stats);
    if (due & CONVERGENCE_ABORT) {
        due = CONVERGENCE_ABORT; /* The rest would be in vain. */
        monitor->abort_noted = true;
        ret->actions |= MONITOR_ABORT;
    }
    if (due & CONVERGENCE_THROTTLE) {
        ret->actions |= MONITOR_THROTTLE;
    }
    if (due & CONVERGENCE_POSTCOPY) {
        ret->actions |= MONITOR_POSTCOPY;
    }
    return due;
}

static void
set_downtime(struct monitor *monitor, uint64_t elapsed_ms, unsigned due,
             struct monitor_output *ret)
{
    bool is_by_hand = monitor->downtime.wanted_ms > 0;
    unsigned ms = downtime_run(&monitor->downtime, elapsed_ms,
                               due & CONVERGENCE_DOWNTIME);

    if (ms) {
        ret->downtime_ms = ms;
        ret->downtime_is_by_hand = is_by_hand;
        ret->actions |= MONITOR_SET_DOWNTIME;
    }
}

static bool
is_due(uint64_t now_ms, bool *was, uint64_t *last_ms, uint64_t interval_ms)
{
    if (*was && now_ms - *last_ms < interval_ms) {
        return false;
    }
    *was = true;
    *last_ms = now_ms;
    return true;
}

/* The call has returned and there is no job: where is the guest?  Asked are
 * first this host, then, unless it is plainly here, the other; if that does
 * not tell, both again after a pause. */

static void
settle(struct monitor *monitor, const struct monitor_input *input,
       struct monitor_output *ret)
{
    if (input->presence_known) {
        monitor->presence = input->presence;
        monitor->presence_known = true;
    }
    if (!monitor->presence_asked && !monitor->presence_known) {
        if (pause_is_over(&monitor->ask, monitor->now_ms)) {
            monitor->presence_asked = true;
            ret->actions |= MONITOR_ASK_PRESENCE;
        }
        return;
    }

    ret->outcome = judge(monitor, input);
    if (ret->outcome != MONITOR_RUNNING) {
        return;
    }
    if (!monitor->peer_asked && !input->peer_known) {
        monitor->peer_asked = true;
        ret->actions |= MONITOR_ASK_PEER;
        return;
    }
    mend_postcopy(monitor, input, ret);
    ask_again(monitor);
}

static void
ask_again(struct monitor *monitor)
{
    monitor->presence_asked = monitor->peer_asked = false;
    monitor->presence_known = false;
    pause_start(&monitor->ask, monitor->now_ms, ASK_MIN_MS, ASK_MAX_MS);
}

static enum monitor_outcome
judge(const struct monitor *monitor, const struct monitor_input *input)
{
    enum guest_presence here = monitor->presence;

    if (input->peer_known && input->peer_presence == GUEST_ACTIVE) {
        return MONITOR_COMPLETED;
    }
    if (!monitor->presence_known) {
        return MONITOR_RUNNING;
    }
    switch (here) {
    case GUEST_ACTIVE:
        /* Plainly here, or so it seems: after a switch to post-copy, or when
         * libvirt says that it went, only the other host can tell. */
        if ((!monitor->is_postcopy && !has_left(input, here)) ||
            (input->peer_known && !is_postcopy_state(input->peer_presence) &&
             input->peer_presence != GUEST_INCOMING)) {
            return went_back(monitor, input);
        }
        return MONITOR_RUNNING;
    case GUEST_ABSENT:
    case GUEST_OFF:
    case GUEST_MIGRATED:
        return judge_absent(monitor, input);
    case GUEST_POSTCOPY:
    case GUEST_POSTCOPY_FAILED:
        /* Its memory is in two halves.  If the other is gone, so is it. */
        if (input->peer_known && (input->peer_presence == GUEST_ABSENT ||
                                  input->peer_presence == GUEST_OFF)) {
            return MONITOR_GUEST_ENDED;
        }
        return MONITOR_RUNNING;
    case GUEST_INCOMING:
        break;
    }
    return MONITOR_RUNNING;
}

/* It is not here.  The word of libvirt that it went counts, even if the other
 * host can't be asked, or the guest has ended over there since: what there is
 * of it is there. */
static enum monitor_outcome
judge_absent(const struct monitor *monitor, const struct monitor_input *input)
{
    if (!input->peer_known) {
        return monitor->peer_asked && has_left(input, monitor->presence)
                   ? MONITOR_COMPLETED
                   : MONITOR_RUNNING;
    }
    switch (input->peer_presence) {
    case GUEST_ACTIVE:
        return MONITOR_COMPLETED;
    case GUEST_ABSENT:
    case GUEST_OFF:
    case GUEST_MIGRATED:
        if (has_left(input, monitor->presence) || input->peer_has_arrived) {
            return MONITOR_COMPLETED;
        }
        return may_have_ended_there(monitor, input) ? MONITOR_RUNNING
                                                    : MONITOR_GUEST_ENDED;
    case GUEST_INCOMING:
    case GUEST_POSTCOPY:
    case GUEST_POSTCOPY_FAILED:
        break; /* Not over yet. */
    }
    return MONITOR_RUNNING;
}

/* Defined over there only, and off: it may well have arrived and ended since,
 * when nobody looked.  Either host's disks may be the guest's. */
static bool
may_have_ended_there(const struct monitor *monitor,
                     const struct monitor_input *input)
{
    return input->peer_presence == GUEST_OFF &&
           monitor->presence != GUEST_OFF && !input->stop_seen;
}

/* Does libvirt say, in any of the ways it has, that the guest went over? */
static bool
has_left(const struct monitor_input *input, enum guest_presence here)
{
    return input->call_error == ERR_NONE || here == GUEST_MIGRATED ||
           (input->stop_seen && input->stop_detail == STOP_MIGRATED) ||
           (!input->stats_failed && input->stats.type == JOB_COMPLETED);
}

static bool
is_postcopy_state(enum guest_presence presence)
{
    return presence == GUEST_POSTCOPY || presence == GUEST_POSTCOPY_FAILED;
}

static enum monitor_outcome
went_back(const struct monitor *monitor, const struct monitor_input *input)
{
    bool is_cancelled =
        monitor->abort_noted || input->call_error == ERR_CANCELLED ||
        (!input->stats_failed && input->stats.type == JOB_CANCELLED);

    return is_cancelled ? MONITOR_CANCELLED : MONITOR_FAILED;
}

/* A broken link in post-copy leaves both halves paused; it is tried to bring
 * them together for as long as there are two. (7.2) */
static void
mend_postcopy(struct monitor *monitor, const struct monitor_input *input,
              struct monitor_output *ret)
{
    bool is_broken =
        (monitor->presence_known &&
         monitor->presence == GUEST_POSTCOPY_FAILED) ||
        (input->peer_known && input->peer_presence == GUEST_POSTCOPY_FAILED);

    if (is_broken && pause_is_over(&monitor->resume, monitor->now_ms)) {
        ret->actions |= MONITOR_RESUME_POSTCOPY;
        pause_start(&monitor->resume, monitor->now_ms, RESUME_MIN_MS,
                    RESUME_MAX_MS);
    }
}

static bool
pause_is_over(const struct pause *pause, uint64_t now_ms)
{
    return pause->ms == 0 || now_ms >= pause->until_ms;
}

static void
pause_start(struct pause *pause, uint64_t now_ms, unsigned min_ms,
            unsigned max_ms)
{
    pause->ms = pause->ms == 0 ? min_ms : pause->ms * 2;
    if (pause->ms > max_ms) {
        pause->ms = max_ms;
    }
    pause->until_ms = now_ms + pause->ms;
}
