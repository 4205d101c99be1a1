#include <config.h>

#include "agent/monitor.h"

#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct monitor_options defaults = {
    .data_gb = 2,
    .downtime_ms = 500,
    .downtime_steps = 10,
    .downtime_delay_s = 75,
    .completion_timeout_s = 1600,
    .save_interval_s = 5,
};

static const struct job_stats running = {
    .type = JOB_UNBOUNDED,
    .memory_total = 1000,
    .memory_remaining = 500,
};

static struct monitor_output
run_input(struct monitor *monitor, uint64_t now_ms,
          const struct monitor_input *input)
{
    struct monitor_output out;

    monitor_run(monitor, now_ms, input, &out);
    return out;
}

/* A round while the job runs. */
static struct monitor_output
run_running(struct monitor *monitor, uint64_t now_ms)
{
    struct monitor_input input = {.stats = running};

    return run_input(monitor, now_ms, &input);
}

static void
set_policy(struct monitor_options *options, const char *text)
{
    assert_null(convergence_parse(text, &options->convergence));
}

/* The call has failed and there is no job. */
static struct monitor_input
ended_badly(void)
{
    return (struct monitor_input){
        .call_returned = true,
        .call_error = ERR_MIGRATION,
        .stats = {.type = JOB_NONE},
    };
}

static struct monitor_input
ended_well(void)
{
    struct monitor_input input = ended_badly();

    input.call_error = ERR_NONE;
    return input;
}

/* Goes through the questions after 'input' and gives the outcome when 'here'
 * and 'peer' (-1: no answer) are the answers. */
static enum monitor_outcome
settle(struct monitor *monitor, struct monitor_input input, int here, int peer)
{
    struct monitor_output out = run_input(monitor, 1000, &input);

    assert_int_equal(out.outcome, MONITOR_RUNNING);
    assert_int_equal(out.actions, MONITOR_ASK_PRESENCE);
    input.presence_known = here >= 0;
    input.presence = here >= 0 ? (enum guest_presence)here : GUEST_ABSENT;
    out = run_input(monitor, 1001, &input);
    if (out.outcome != MONITOR_RUNNING) {
        return out.outcome;
    }
    assert_int_equal(out.actions, MONITOR_ASK_PEER);
    input.peer_known = peer >= 0;
    input.peer_presence = peer >= 0 ? (enum guest_presence)peer : GUEST_ABSENT;
    out = run_input(monitor, 1002, &input);
    assert_false(out.actions & (MONITOR_ASK_PRESENCE | MONITOR_ASK_PEER));
    return out.outcome;
}

static enum monitor_outcome
settle_new(struct monitor_input input, int here, int peer)
{
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);

    return settle(monitor, input, here, peer);
}

/* Downtime. */

struct downtime_row {
    double memory_gb;
    int64_t disk_gb; /* -1: no disk. */
    unsigned d, s, t;
    double data_gb;
    unsigned delay_s;
    unsigned ms[12]; /* Of the steps; 0 ends. */
};

static const struct downtime_row downtime_rows[] = {
    {2,
     -1,
     500,
     10,
     75,
     2,
     150,
     {50, 95, 140, 185, 230, 275, 320, 365, 410, 455, 500}},
    {8,
     5,
     500,
     10,
     75,
     13,
     975,
     {50, 95, 140, 185, 230, 275, 320, 365, 410, 455, 500}},
    {3,
     -1,
     400,
     10,
     30,
     3,
     90,
     {40, 76, 112, 148, 184, 220, 256, 292, 328, 364, 400}},
    {0.5,
     -1,
     500,
     10,
     75,
     2,
     150,
     {50, 95, 140, 185, 230, 275, 320, 365, 410, 455, 500}},
    {3.5, -1, 1000, 4, 10, 3.5, 35, {250, 437, 625, 812, 1000}},
};

static void
check_downtime_row(const struct downtime_row *row)
{
    int64_t disk = row->disk_gb * (INT64_C(1) << 30);
    struct monitor_options options = defaults;

    options.data_gb =
        monitor_data_gb((int)(row->memory_gb * 1024), &disk, row->disk_gb >= 0);
    assert_true(options.data_gb == row->data_gb);
    options.downtime_ms = row->d;
    options.downtime_steps = row->s;
    options.downtime_delay_s = row->t;
    options.completion_timeout_s = 0;

    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&options, 7000);
    unsigned n = 0;
    for (uint64_t ms = 0; ms <= row->delay_s * (row->s + 2) * UINT64_C(1000);
         ms += 500) {
        struct monitor_output out = run_running(monitor, 7000 + ms);
        if (!(out.actions & MONITOR_SET_DOWNTIME)) {
            continue;
        }
        assert_in_range(n, 0, row->s);
        /* Strictly later than D * i: the round after. */
        assert_int_equal(ms, n * row->delay_s * UINT64_C(1000) + 500);
        assert_int_equal(out.downtime_ms, row->ms[n]);
        n++;
    }
    assert_int_equal(n, row->s + 1);
}

static void
test_27_downtime_grows_as_in_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(downtime_rows); i++) {
        check_downtime_row(&downtime_rows[i]);
    }
}

static void
test_missed_downtime_steps_are_skipped(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);

    struct monitor_output out = run_running(monitor, 700 * 1000);
    assert_true(out.actions & MONITOR_SET_DOWNTIME);
    assert_int_equal(out.downtime_ms, 230); /* 600 s have passed. */
    out = run_running(monitor, 701 * 1000);
    assert_false(out.actions & MONITOR_SET_DOWNTIME);
}

static void
test_downtime_that_was_set_by_hand_stays(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);

    struct monitor_output out = run_running(monitor, 500);
    assert_true(out.actions & MONITOR_SET_DOWNTIME);
    assert_false(out.downtime_is_by_hand);
    monitor_hold_downtime(monitor, 120);
    out = run_running(monitor, 1000);
    assert_true(out.actions & MONITOR_SET_DOWNTIME);
    assert_true(out.downtime_is_by_hand);
    assert_int_equal(out.downtime_ms, 120);
    for (uint64_t s = 2; s < 1590; s++) {
        out = run_running(monitor, s * 1000);
        assert_false(out.actions & MONITOR_SET_DOWNTIME);
    }
}

static void
test_downtime_that_somebody_else_set_stays(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);

    monitor_leave_downtime(monitor);
    for (uint64_t s = 1; s < 1590; s++) {
        assert_false(run_running(monitor, s * 1000).actions &
                     MONITOR_SET_DOWNTIME);
    }
}

static void
test_own_downtimes_are_known_again(void **state)
{
    (void)state;
    struct monitor_options options = defaults;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&options, 0);

    assert_true(monitor_is_own_downtime(monitor, 50));
    assert_true(monitor_is_own_downtime(monitor, 275));
    assert_true(monitor_is_own_downtime(monitor, 500));
    assert_true(monitor_is_own_downtime(monitor, 300)); /* QEMU's own. */
    assert_false(monitor_is_own_downtime(monitor, 100));
    assert_false(monitor_is_own_downtime(monitor, 1000));

    set_policy(&options, "1:downtime");
    CLEANUP(monitor_free_at)
    struct monitor *other = monitor_create(&options, 0);
    assert_true(monitor_is_own_downtime(other, 200));
    assert_true(monitor_is_own_downtime(other, 500));
    assert_false(monitor_is_own_downtime(other, 275));
    assert_false(monitor_is_own_downtime(other, 800));
    assert_false(monitor_is_own_downtime(other, (1u << 31) + 1));
}

static void
test_downtime_waits_for_the_job(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);
    struct monitor_input input = {.stats = {.type = JOB_NONE}};

    struct monitor_output out = run_input(monitor, 5000, &input);
    assert_int_equal(out.actions, 0);
    assert_int_equal(out.outcome, MONITOR_RUNNING);
    assert_true(run_running(monitor, 5500).actions & MONITOR_SET_DOWNTIME);
}

/* Sizes and numbers. */

static void
test_data_gb_has_floors(void **state)
{
    (void)state;
    const int64_t disks[] = {1, INT64_C(5) << 30, -1, INT64_C(3) << 30};

    assert_true(monitor_data_gb(128, NULL, 0) == 2);
    assert_true(monitor_data_gb(2560, NULL, 0) == 2.5);
    /* The third could not be read. */
    assert_true(monitor_data_gb(4096, disks, 4) == 4 + 2 + 5 + 3);
}

static int
progress(int64_t total, int64_t left)
{
    struct job_stats stats = {.memory_total = total, .memory_remaining = left};

    return monitor_progress(&stats);
}

static void
test_progress_is_novas(void **state)
{
    (void)state;
    assert_int_equal(progress(0, 0), 0);
    assert_int_equal(progress(-1, -1), 0);
    assert_int_equal(progress(1000, -1), 0);
    assert_int_equal(progress(1000, 1000), 0);
    assert_int_equal(progress(1000, 0), 100);
    assert_int_equal(progress(1000, 5), 100); /* 0.5 rounds to 0, */
    assert_int_equal(progress(1000, 15), 98); /* 1.5 to 2, */
    assert_int_equal(progress(1000, 25), 98); /* 2.5 to 2: to the even. */
    assert_int_equal(progress(1000, 26), 97);
    assert_int_equal(progress(1000, 2000), 0); /* Dirtied meanwhile. */
    assert_int_equal(progress(INT64_MAX, INT64_MAX / 2), 50);
}

static void
test_rounds_are_closer_when_the_end_is_near(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);
    struct job_stats stats = running;

    assert_int_equal(monitor_interval_ms(monitor, NULL), 500);
    stats.memory_bps = -1;
    assert_int_equal(monitor_interval_ms(monitor, &stats), 500);
    stats.memory_bps = 100;
    assert_int_equal(monitor_interval_ms(monitor, &stats), 500);
    stats.memory_bps = 300;
    assert_int_equal(monitor_interval_ms(monitor, &stats), 100);
}

/* Progress. */

static void
test_progress_is_saved_at_once_and_then_in_intervals(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);
    unsigned n_saves = 0, n_logs = 0;

    for (uint64_t ms = 300; ms <= 60300; ms += 500) {
        struct monitor_output out = run_running(monitor, ms);
        bool saves = out.actions & MONITOR_SAVE_PROGRESS;
        bool logs = out.actions & MONITOR_LOG_PROGRESS;
        assert_int_equal(saves, (ms - 300) % 5000 == 0);
        assert_int_equal(logs, (ms - 300) % 30000 == 0);
        n_saves += saves;
        n_logs += logs;
    }
    assert_int_equal(n_saves, 13);
    assert_int_equal(n_logs, 3);
}

static void
test_a_bounded_job_is_none_of_ours(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);
    struct monitor_input input = {.stats = {.type = JOB_BOUNDED}};

    struct monitor_output out = run_input(monitor, 500, &input);
    assert_int_equal(out.actions, 0);
    assert_int_equal(out.outcome, MONITOR_RUNNING);
}

/* Time-out. */

static void
test_28_timeout_aborts_once(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);

    assert_false(run_running(monitor, 1600 * 1000).actions & MONITOR_ABORT);
    assert_true(run_running(monitor, 1600 * 1000 + 1).actions & MONITOR_ABORT);
    for (unsigned s = 1601; s < 1700; s++) {
        unsigned actions = run_running(monitor, s * UINT64_C(1000)).actions;
        assert_false(actions & (MONITOR_ABORT | MONITOR_SUSPEND));
    }
    assert_int_equal(settle(monitor, ended_badly(), GUEST_ACTIVE, -1),
                     MONITOR_CANCELLED);
}

static void
test_timeout_grows_with_the_guest(void **state)
{
    (void)state;
    struct monitor_options options = defaults;

    options.completion_timeout_s = monitor_timeout_s(800, 13);
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&options, 0);
    assert_false(run_running(monitor, 10400000).actions & MONITOR_ABORT);
    assert_true(run_running(monitor, 10400001).actions & MONITOR_ABORT);
}

static void
test_timeout_can_be_off(void **state)
{
    (void)state;
    struct monitor_options options = defaults;

    options.completion_timeout_s = 0;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&options, 0);
    assert_false(run_running(monitor, UINT64_C(1) << 40).actions &
                 MONITOR_ABORT);
}

static void
test_29_timeout_may_force_completion_once(void **state)
{
    (void)state;
    struct monitor_options options = defaults;

    options.timeout_forces_complete = true;
    for (int permit = 0; permit < 2; permit++) {
        options.permit_postcopy = permit;
        CLEANUP(monitor_free_at)
        struct monitor *monitor = monitor_create(&options, 0);
        const unsigned mask =
            MONITOR_ABORT | MONITOR_SUSPEND | MONITOR_POSTCOPY;

        assert_int_equal(run_running(monitor, 1600001).actions & mask,
                         permit ? MONITOR_POSTCOPY : MONITOR_SUSPEND);
        assert_int_equal(run_running(monitor, 1700000).actions & mask, 0);
    }
}

static void
test_no_timeout_after_an_abort_or_in_postcopy(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *aborted = monitor_create(&defaults, 0);
    monitor_note_abort(aborted);
    assert_false(run_running(aborted, 1700000).actions & MONITOR_ABORT);

    CLEANUP(monitor_free_at)
    struct monitor *postcopy = monitor_create(&defaults, 0);
    monitor_note_postcopy(postcopy);
    assert_int_equal(run_running(postcopy, 1700000).actions,
                     MONITOR_SAVE_PROGRESS | MONITOR_LOG_PROGRESS);
}

/* The policy.  Iteration 'n' begins with 'left' bytes to send. */

static struct monitor_output
run_iteration(struct monitor *monitor, int64_t n, int64_t left)
{
    struct monitor_input input = {.stats = running};

    input.stats.iteration = n;
    input.stats.memory_remaining = left;
    return run_input(monitor, (uint64_t)n * 1000, &input);
}

static const unsigned policy_actions =
    MONITOR_THROTTLE | MONITOR_POSTCOPY | MONITOR_ABORT | MONITOR_SUSPEND;

static struct monitor_options
policy_options(const char *text)
{
    struct monitor_options options = defaults;

    set_policy(&options, text);
    options.permit_postcopy = options.permit_throttle = true;
    return options;
}

static void
test_policy_takes_its_steps_in_turn(void **state)
{
    (void)state;
    static const struct {
        unsigned actions, downtime_ms; /* 0: not set. */
    } turns[] = {
        {0, 50}, /* The first iteration begins, */
        {0, 0},  /* is over, and is what the others are compared with. */
        {0, 0},   {0, 100},
        {0, 200}, {MONITOR_THROTTLE, 400},
        {0, 500}, {MONITOR_POSTCOPY, 0},
        {0, 0},   {MONITOR_ABORT, 0},
        {0, 0},
    };
    struct monitor_options options =
        policy_options("2:downtime,4:throttle,6:postcopy,8:abort");
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&options, 0);

    for (size_t i = 0; i < N_ELEMENTS(turns); i++) {
        struct monitor_output out = run_iteration(monitor, (int64_t)i + 1, 500);
        assert_int_equal(out.actions & policy_actions, turns[i].actions);
        assert_int_equal(out.downtime_ms, turns[i].downtime_ms);
        assert_int_equal(out.n_stalled > 0,
                         turns[i].actions || (i > 0 && out.downtime_ms));
    }
    assert_int_equal(settle(monitor, ended_badly(), GUEST_ACTIVE, -1),
                     MONITOR_CANCELLED);
}

static void
test_policy_without_downtime_accepts_the_longest_at_once(void **state)
{
    (void)state;
    struct monitor_options options = policy_options("9:abort");
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&options, 0);

    assert_int_equal(run_iteration(monitor, 1, 500).downtime_ms, 500);
    for (int64_t i = 2; i < 9; i++) {
        assert_int_equal(run_iteration(monitor, i, 500).downtime_ms, 0);
    }
}

static void
test_policy_leaves_out_what_is_not_permitted(void **state)
{
    (void)state;
    struct monitor_options options =
        policy_options("1:throttle,1:postcopy,2:abort");

    options.permit_postcopy = options.permit_throttle = false;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&options, 0);
    run_iteration(monitor, 1, 500);
    run_iteration(monitor, 2, 500);
    assert_int_equal(run_iteration(monitor, 3, 500).actions & policy_actions,
                     0);
    assert_int_equal(run_iteration(monitor, 4, 500).actions & policy_actions,
                     MONITOR_ABORT);
}

static void
test_policy_keeps_still_once_the_end_is_forced(void **state)
{
    (void)state;
    struct monitor_options options = policy_options("1:abort");

    options.permit_postcopy = false;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&options, 0);
    run_iteration(monitor, 1, 500);
    run_iteration(monitor, 2, 500);
    monitor_force_complete(monitor);
    /* Also in the round in which both would be due. */
    assert_int_equal(run_iteration(monitor, 3, 500).actions & policy_actions,
                     MONITOR_SUSPEND);
    for (int64_t i = 4; i < 20; i++) {
        assert_int_equal(
            run_iteration(monitor, i, 500).actions & policy_actions, 0);
    }
}

static void
test_policy_keeps_still_after_an_abort_and_in_postcopy(void **state)
{
    (void)state;
    struct monitor_options options = policy_options("1:throttle,1:postcopy");
    CLEANUP(monitor_free_at)
    struct monitor *aborted = monitor_create(&options, 0);
    CLEANUP(monitor_free_at)
    struct monitor *switched = monitor_create(&options, 0);

    monitor_note_abort(aborted);
    monitor_note_postcopy(switched);
    for (int64_t i = 1; i < 9; i++) {
        assert_int_equal(
            run_iteration(aborted, i, 500).actions & policy_actions, 0);
        assert_int_equal(
            run_iteration(switched, i, 500).actions & policy_actions, 0);
    }
}

static void
test_policy_leaves_the_timeout_alone(void **state)
{
    (void)state;
    struct monitor_options options = policy_options("1000:downtime");
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&options, 0);
    struct monitor_output out;

    for (int64_t i = 1; i <= 1600; i++) {
        out = run_iteration(monitor, i, 500);
        assert_false(out.actions & MONITOR_ABORT);
    }
    out = run_iteration(monitor, 1601, 400);
    assert_true(out.actions & MONITOR_ABORT);
    assert_int_equal(out.n_stalled, 0); /* It is not for want of gain. */
}

static void
test_policy_raises_no_downtime_that_was_set_by_hand(void **state)
{
    (void)state;
    struct monitor_options options = policy_options("1:downtime");
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&options, 0);

    monitor_hold_downtime(monitor, 60);
    assert_int_equal(run_iteration(monitor, 1, 500).downtime_ms, 60);
    for (int64_t i = 2; i < 20; i++) {
        assert_int_equal(run_iteration(monitor, i, 500).downtime_ms, 0);
    }
}

static void
test_novas_schedule_has_no_policy(void **state)
{
    (void)state;
    struct monitor_options options = policy_options("nova");
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&options, 0);

    assert_int_equal(run_iteration(monitor, 1, 500).downtime_ms, 50);
    for (int64_t i = 2; i < 150; i++) {
        struct monitor_output out = run_iteration(monitor, i, 500);
        assert_int_equal(out.actions & policy_actions, 0);
        assert_int_equal(out.downtime_ms, 0);
    }
}

/* Force-complete. */

static void
test_53_force_complete_pauses_without_postcopy(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);
    struct monitor_input none = {.stats = {.type = JOB_NONE}};

    monitor_force_complete(monitor);
    assert_int_equal(run_input(monitor, 500, &none).actions, 0);
    assert_true(run_running(monitor, 1000).actions & MONITOR_SUSPEND);
    assert_false(run_running(monitor, 1500).actions & MONITOR_SUSPEND);
}

static void
test_force_complete_switches_to_postcopy_once(void **state)
{
    (void)state;
    struct monitor_options options = defaults;

    options.permit_postcopy = true;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&options, 0);
    monitor_force_complete(monitor);
    assert_true(run_running(monitor, 1000).actions & MONITOR_POSTCOPY);
    assert_false(monitor_is_postcopy(monitor));
    monitor_note_postcopy(monitor);
    assert_true(monitor_is_postcopy(monitor));
    monitor_force_complete(monitor);
    assert_false(run_running(monitor, 1500).actions &
                 (MONITOR_POSTCOPY | MONITOR_SUSPEND));
}

static void
test_a_forced_migration_is_not_forced_again_by_time(void **state)
{
    (void)state;
    struct monitor_options options = defaults;

    options.timeout_forces_complete = true;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&options, 0);
    monitor_force_complete(monitor);
    assert_true(run_running(monitor, 1000).actions & MONITOR_SUSPEND);
    assert_false(run_running(monitor, 1700000).actions & MONITOR_SUSPEND);
}

static void
test_a_forced_migration_is_still_aborted_in_time(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);

    monitor_force_complete(monitor);
    assert_true(run_running(monitor, 1000).actions & MONITOR_SUSPEND);
    assert_true(run_running(monitor, 1600001).actions & MONITOR_ABORT);
}

/* While the call is out nothing is decided. */

static void
test_47_gone_is_not_done(void **state)
{
    (void)state;
    static const enum error_code errors[] = {
        ERR_INVALID, ERR_INSTANCE_NOT_FOUND, ERR_INSTANCE_NOT_RUNNING,
        ERR_HYPERVISOR_UNAVAILABLE, ERR_INTERNAL};

    for (size_t i = 0; i < N_ELEMENTS(errors); i++) {
        CLEANUP(monitor_free_at)
        struct monitor *monitor = monitor_create(&defaults, 0);
        struct monitor_input input = {
            .stats_failed = true,
            .stats_error = errors[i],
            .stop_seen = true,
            .stop_detail = STOP_SHUTDOWN,
        };
        for (unsigned n = 1; n < 100; n++) {
            struct monitor_output out = run_input(monitor, n * 500, &input);
            assert_int_equal(out.outcome, MONITOR_RUNNING);
            assert_int_equal(out.actions, 0);
        }
        input.call_returned = true;
        input.call_error = ERR_MIGRATION;
        assert_int_equal(settle(monitor, input, GUEST_ABSENT, GUEST_ABSENT),
                         MONITOR_GUEST_ENDED);
    }
}

static void
test_an_ended_job_waits_for_the_call(void **state)
{
    (void)state;
    static const enum job_type types[] = {JOB_NONE, JOB_COMPLETED, JOB_FAILED,
                                          JOB_CANCELLED};

    for (size_t i = 0; i < N_ELEMENTS(types); i++) {
        CLEANUP(monitor_free_at)
        struct monitor *monitor = monitor_create(&defaults, 0);
        struct monitor_input input = {.stats = {.type = types[i]}};
        struct monitor_output out = run_input(monitor, 500, &input);

        assert_int_equal(out.outcome, MONITOR_RUNNING);
        assert_int_equal(out.actions, 0);
    }
}

static void
test_32_errors_of_the_query_are_ridden_out(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);
    struct monitor_input input = {.stats_failed = true,
                                  .stats_error = ERR_HYPERVISOR_UNAVAILABLE};

    run_running(monitor, 500);
    for (unsigned n = 2; n < 12; n++) {
        assert_int_equal(run_input(monitor, n * 500, &input).actions, 0);
    }
    assert_true(run_running(monitor, 6000).actions & MONITOR_SAVE_PROGRESS);
}

static void
test_a_job_that_goes_on_outlives_its_call(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);
    struct monitor_input input = ended_badly();

    input.call_error = ERR_HYPERVISOR_UNAVAILABLE;
    input.stats = running;
    struct monitor_output out = run_input(monitor, 500, &input);
    assert_int_equal(out.outcome, MONITOR_RUNNING);
    assert_true(out.actions & MONITOR_SAVE_PROGRESS);
}

/* Where is it?  Outcome by what the two hosts say. */

struct verdict {
    int here, peer;                 /* -1: no answer. */
    enum monitor_outcome bad, good; /* The call failed; it succeeded. */
};

#define R MONITOR_RUNNING
#define C MONITOR_COMPLETED
#define F MONITOR_FAILED
#define E MONITOR_GUEST_ENDED

static const struct verdict verdicts[] = {
    /* Plainly here: the peer isn't asked, unless libvirt said it went. */
    {GUEST_ACTIVE, -1, F, R},
    {GUEST_ACTIVE, GUEST_ACTIVE, F, C},
    {GUEST_ACTIVE, GUEST_ABSENT, F, F},
    {GUEST_ACTIVE, GUEST_OFF, F, F},
    {GUEST_ACTIVE, GUEST_INCOMING, F, R},
    /* Plainly there. */
    {GUEST_ABSENT, GUEST_ACTIVE, C, C},
    {GUEST_OFF, GUEST_ACTIVE, C, C},
    {GUEST_MIGRATED, GUEST_ACTIVE, C, C},
    {-1, GUEST_ACTIVE, C, C},
    /* Nowhere: ended by itself, if libvirt does not say that it went. */
    {GUEST_ABSENT, GUEST_ABSENT, E, C},
    {GUEST_ABSENT, GUEST_OFF, R, C}, /* Or it went, and ended there. */
    {GUEST_OFF, GUEST_ABSENT, E, C},
    {GUEST_OFF, GUEST_OFF, E, C},
    {GUEST_OFF, GUEST_MIGRATED, E, C},
    {GUEST_MIGRATED, GUEST_OFF, C, C},
    {GUEST_MIGRATED, GUEST_ABSENT, C, C},
    /* Not known. */
    {GUEST_ABSENT, -1, R, C},
    {GUEST_OFF, -1, R, C},
    {GUEST_MIGRATED, -1, C, C},
    {-1, -1, R, R},
    {-1, GUEST_ABSENT, R, R},
    {-1, GUEST_OFF, R, R},
    {GUEST_ABSENT, GUEST_INCOMING, R, R},
    {GUEST_OFF, GUEST_INCOMING, R, R},
    {GUEST_INCOMING, GUEST_OFF, R, R},
    {GUEST_ABSENT, GUEST_POSTCOPY, R, R},
    /* Post-copy. */
    {GUEST_POSTCOPY, GUEST_ACTIVE, C, C},
    {GUEST_POSTCOPY, GUEST_POSTCOPY, R, R},
    {GUEST_POSTCOPY, -1, R, R},
    {GUEST_POSTCOPY_FAILED, GUEST_POSTCOPY_FAILED, R, R},
    {GUEST_POSTCOPY_FAILED, -1, R, R},
    {GUEST_POSTCOPY_FAILED, GUEST_ABSENT, E, E},
    {GUEST_POSTCOPY, GUEST_OFF, E, E},
};

#undef R
#undef C
#undef F
#undef E

static void
test_outcome_is_decided_by_evidence(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(verdicts); i++) {
        const struct verdict *v = &verdicts[i];
        enum monitor_outcome bad = settle_new(ended_badly(), v->here, v->peer);
        enum monitor_outcome good = settle_new(ended_well(), v->here, v->peer);

        if (bad != v->bad || good != v->good) {
            fail_msg("row %zu (%d, %d): %d and %d", i, v->here, v->peer, bad,
                     good);
        }
    }
}

static void
test_libvirts_word_that_it_went_is_evidence(void **state)
{
    (void)state;
    struct monitor_input input = ended_badly();

    input.stop_seen = true;
    input.stop_detail = STOP_MIGRATED;
    assert_int_equal(settle_new(input, GUEST_ABSENT, -1), MONITOR_COMPLETED);
    input.stop_detail = STOP_CRASHED;
    assert_int_equal(settle_new(input, GUEST_ABSENT, -1), MONITOR_RUNNING);
    assert_int_equal(settle_new(input, GUEST_ABSENT, GUEST_OFF),
                     MONITOR_GUEST_ENDED);

    input = ended_badly();
    input.stats.type = JOB_COMPLETED;
    assert_int_equal(settle_new(input, GUEST_OFF, -1), MONITOR_COMPLETED);
}

static void
test_who_asked_for_the_end_is_told(void **state)
{
    (void)state;
    struct monitor_input input = ended_badly();

    assert_int_equal(settle_new(input, GUEST_ACTIVE, -1), MONITOR_FAILED);
    input.call_error = ERR_CANCELLED;
    assert_int_equal(settle_new(input, GUEST_ACTIVE, -1), MONITOR_CANCELLED);
    input = ended_badly();
    input.stats.type = JOB_CANCELLED;
    assert_int_equal(settle_new(input, GUEST_ACTIVE, -1), MONITOR_CANCELLED);
    input.stats.type = JOB_FAILED;
    assert_int_equal(settle_new(input, GUEST_ACTIVE, -1), MONITOR_FAILED);

    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);
    monitor_note_abort(monitor);
    assert_int_equal(settle(monitor, input, GUEST_ACTIVE, -1),
                     MONITOR_CANCELLED);
}

static void
test_52_an_abort_that_came_too_late_changes_nothing(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);

    monitor_note_abort(monitor);
    assert_int_equal(settle(monitor, ended_well(), GUEST_ABSENT, GUEST_ACTIVE),
                     MONITOR_COMPLETED);
}

static void
test_postcopy_is_not_rolled_back_on_a_guess(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);

    /* The paused half at the source may well be called active. */
    monitor_note_postcopy(monitor);
    assert_int_equal(settle(monitor, ended_badly(), GUEST_ACTIVE, -1),
                     MONITOR_RUNNING);
    CLEANUP(monitor_free_at)
    struct monitor *other = monitor_create(&defaults, 0);
    monitor_note_postcopy(other);
    assert_int_equal(settle(other, ended_badly(), GUEST_ACTIVE, GUEST_ACTIVE),
                     MONITOR_COMPLETED);
}

static void
test_unknown_is_asked_again_at_growing_intervals(void **state)
{
    (void)state;
    static const unsigned pauses[] = {500, 1000, 2000, 4000, 5000, 5000};
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);
    struct monitor_input input = ended_badly();
    uint64_t now = 1000;

    for (size_t i = 0; i < N_ELEMENTS(pauses); i++) {
        input.presence_known = false;
        assert_int_equal(run_input(monitor, now, &input).actions,
                         MONITOR_ASK_PRESENCE);
        input.presence_known = true;
        input.presence = GUEST_ABSENT;
        assert_int_equal(run_input(monitor, now, &input).actions,
                         MONITOR_ASK_PEER);
        struct monitor_output out = run_input(monitor, now, &input);
        assert_int_equal(out.actions, 0);
        assert_int_equal(out.outcome, MONITOR_RUNNING);
        assert_int_equal(monitor_interval_ms(monitor, NULL), pauses[i]);
        /* Not before. */
        input.presence_known = false;
        assert_int_equal(
            run_input(monitor, now + pauses[i] - 1, &input).actions, 0);
        now += pauses[i];
    }
    run_input(monitor, now, &input);
    input.peer_known = true;
    input.peer_presence = GUEST_ACTIVE;
    assert_int_equal(run_input(monitor, now, &input).outcome,
                     MONITOR_COMPLETED);
}

static void
test_answers_that_do_not_come_do_not_make_it_spin(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);
    struct monitor_input input = ended_badly();

    assert_int_equal(run_input(monitor, 0, &input).actions,
                     MONITOR_ASK_PRESENCE);
    assert_int_equal(run_input(monitor, 0, &input).actions, MONITOR_ASK_PEER);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(run_input(monitor, 0, &input).actions, 0);
    }
}

static void
test_a_broken_postcopy_is_mended_with_backoff(void **state)
{
    (void)state;
    CLEANUP(monitor_free_at)
    struct monitor *monitor = monitor_create(&defaults, 0);
    struct monitor_input input = ended_badly();
    unsigned n_mends = 0;
    uint64_t last = 0;

    monitor_note_postcopy(monitor);
    input.presence_known = input.peer_known = true;
    input.presence = input.peer_presence = GUEST_POSTCOPY_FAILED;
    /* libvirt keeps the job. */
    input.stats.type = JOB_UNBOUNDED;
    for (uint64_t now = 0; now <= 300000; now += 500) {
        struct monitor_output out = run_input(monitor, now, &input);
        assert_int_equal(out.outcome, MONITOR_RUNNING);
        if (out.actions & MONITOR_RESUME_POSTCOPY) {
            assert_true(n_mends == 0 || now - last >= 5000);
            last = now;
            n_mends++;
        }
    }
    /* At 0, 5, 15, 35, 75, 135, 195, 255 s. */
    assert_int_equal(n_mends, 8);
}

static void
test_guest_that_was_seen_to_arrive_has_moved_though_it_is_off(
    void **state UNUSED)
{
    struct monitor_input input = ended_badly();

    input.peer_has_arrived = true;
    assert_int_equal(settle_new(input, GUEST_ABSENT, GUEST_OFF),
                     MONITOR_COMPLETED);
    assert_int_equal(settle_new(input, GUEST_OFF, GUEST_OFF),
                     MONITOR_COMPLETED);
    assert_int_equal(settle_new(input, GUEST_ACTIVE, GUEST_OFF),
                     MONITOR_FAILED);
    input.peer_has_arrived = false;
    assert_int_equal(settle_new(input, GUEST_ABSENT, GUEST_OFF),
                     MONITOR_RUNNING);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_guest_that_was_seen_to_arrive_has_moved_though_it_is_off),
        cmocka_unit_test(test_27_downtime_grows_as_in_the_table),
        cmocka_unit_test(test_missed_downtime_steps_are_skipped),
        cmocka_unit_test(test_downtime_that_was_set_by_hand_stays),
        cmocka_unit_test(test_downtime_that_somebody_else_set_stays),
        cmocka_unit_test(test_own_downtimes_are_known_again),
        cmocka_unit_test(test_downtime_waits_for_the_job),
        cmocka_unit_test(test_data_gb_has_floors),
        cmocka_unit_test(test_progress_is_novas),
        cmocka_unit_test(test_rounds_are_closer_when_the_end_is_near),
        cmocka_unit_test(test_progress_is_saved_at_once_and_then_in_intervals),
        cmocka_unit_test(test_a_bounded_job_is_none_of_ours),
        cmocka_unit_test(test_28_timeout_aborts_once),
        cmocka_unit_test(test_timeout_grows_with_the_guest),
        cmocka_unit_test(test_timeout_can_be_off),
        cmocka_unit_test(test_29_timeout_may_force_completion_once),
        cmocka_unit_test(test_no_timeout_after_an_abort_or_in_postcopy),
        cmocka_unit_test(test_policy_takes_its_steps_in_turn),
        cmocka_unit_test(
            test_policy_without_downtime_accepts_the_longest_at_once),
        cmocka_unit_test(test_policy_leaves_out_what_is_not_permitted),
        cmocka_unit_test(test_policy_keeps_still_once_the_end_is_forced),
        cmocka_unit_test(
            test_policy_keeps_still_after_an_abort_and_in_postcopy),
        cmocka_unit_test(test_policy_leaves_the_timeout_alone),
        cmocka_unit_test(test_policy_raises_no_downtime_that_was_set_by_hand),
        cmocka_unit_test(test_novas_schedule_has_no_policy),
        cmocka_unit_test(test_53_force_complete_pauses_without_postcopy),
        cmocka_unit_test(test_force_complete_switches_to_postcopy_once),
        cmocka_unit_test(test_a_forced_migration_is_not_forced_again_by_time),
        cmocka_unit_test(test_a_forced_migration_is_still_aborted_in_time),
        cmocka_unit_test(test_47_gone_is_not_done),
        cmocka_unit_test(test_an_ended_job_waits_for_the_call),
        cmocka_unit_test(test_32_errors_of_the_query_are_ridden_out),
        cmocka_unit_test(test_a_job_that_goes_on_outlives_its_call),
        cmocka_unit_test(test_outcome_is_decided_by_evidence),
        cmocka_unit_test(test_libvirts_word_that_it_went_is_evidence),
        cmocka_unit_test(test_who_asked_for_the_end_is_told),
        cmocka_unit_test(test_52_an_abort_that_came_too_late_changes_nothing),
        cmocka_unit_test(test_postcopy_is_not_rolled_back_on_a_guess),
        cmocka_unit_test(test_unknown_is_asked_again_at_growing_intervals),
        cmocka_unit_test(test_answers_that_do_not_come_do_not_make_it_spin),
        cmocka_unit_test(test_a_broken_postcopy_is_mended_with_backoff),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
