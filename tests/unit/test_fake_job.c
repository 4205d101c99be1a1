#include <config.h>

/* The model of pre-copy: seconds and bytes, with a clock of our own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "drivers/fake_job.h"

#define MIB ((int64_t)1 << 20)
#define S UINT64_C(1000000)
#define START (UINT64_C(1234) * S)

static const struct fake_job_params idle = {
    .memory = 1000 * MIB, .disk = 500 * MIB, .rate = 100 * MIB};

static struct job_stats
stats_at(struct fake_job *job, uint64_t after_us)
{
    struct job_stats stats;

    fake_job_advance(job, START + after_us);
    fake_job_stats(job, &stats);
    return stats;
}

static void
test_disks_go_before_memory(void **state)
{
    struct fake_job job;
    (void)state;

    fake_job_start(&job, &idle, START);
    struct job_stats stats = stats_at(&job, 2 * S);
    assert_int_equal(stats.type, JOB_UNBOUNDED);
    assert_int_equal(stats.elapsed_ms, 2000);
    assert_int_equal(stats.disk_processed, 200 * MIB);
    assert_int_equal(stats.disk_remaining, 300 * MIB);
    assert_int_equal(stats.memory_processed, 0);
    assert_int_equal(stats.memory_remaining, 1000 * MIB);
    assert_int_equal(stats.iteration, 0);

    stats = stats_at(&job, 8 * S);
    assert_int_equal(stats.disk_remaining, 0);
    assert_int_equal(stats.memory_processed, 300 * MIB);
    assert_int_equal(stats.memory_remaining, 700 * MIB);
    assert_int_equal(stats.iteration, 1);
}

static void
test_idle_guest_moves_in_one_pass(void **state)
{
    struct fake_job job;
    (void)state;

    fake_job_start(&job, &idle, START);
    struct job_stats stats = stats_at(&job, 15 * S - 1000);
    assert_int_equal(stats.type, JOB_UNBOUNDED);
    stats = stats_at(&job, 15 * S);
    assert_int_equal(stats.type, JOB_COMPLETED);
    assert_int_equal(stats.memory_processed, 1000 * MIB);
    assert_int_equal(stats.iteration, 1);
    assert_true(stats.downtime_ms <= 1);
}

/* 10 s, then a fifth of it: 2 s, 0.4 s, 0.08 s; the last is short enough. */
static void
test_passes_get_shorter_until_the_rest_fits(void **state)
{
    struct fake_job_params params = idle;
    struct fake_job job;
    (void)state;

    params.disk = 0;
    params.dirty_rate = 20 * MIB;
    fake_job_start(&job, &params, START);
    struct job_stats stats = stats_at(&job, 11 * S);
    assert_int_equal(stats.iteration, 2);
    assert_in_range(stats.memory_remaining, 99 * MIB, 101 * MIB);
    assert_int_equal(stats.dirty_rate_pages, 20 * MIB / 4096);
    stats = stats_at(&job, 12 * S + 200000);
    assert_int_equal(stats.iteration, 3);
    fake_job_advance(&job, START + 12 * S + 450000);
    assert_int_equal(job.phase, FAKE_STOPPED);
    stats = stats_at(&job, 20 * S);
    assert_int_equal(stats.type, JOB_COMPLETED);
    assert_in_range(stats.downtime_net_ms, 79, 81);
    assert_in_range(stats.elapsed_ms, 12479, 12481);
}

static void
test_busy_guest_never_gets_there(void **state)
{
    struct fake_job_params params = idle;
    struct fake_job job;
    (void)state;

    params.dirty_rate = 200 * MIB;
    fake_job_start(&job, &params, START);
    struct job_stats stats = stats_at(&job, 3600 * S);
    assert_int_equal(stats.type, JOB_UNBOUNDED);
    assert_in_range(stats.iteration, 350, 370);
    assert_true(stats.memory_processed > 300 * 1000 * MIB);
}

static void
test_pausing_ends_the_chase(void **state)
{
    struct fake_job_params params = idle;
    struct fake_job job;
    (void)state;

    params.dirty_rate = 200 * MIB;
    fake_job_start(&job, &params, START);
    fake_job_advance(&job, START + 60 * S);
    fake_job_pause(&job);
    assert_int_equal(job.phase, FAKE_STOPPED);
    fake_job_advance(&job, START + 70 * S);
    assert_int_equal(job.phase, FAKE_DONE);
}

static void
test_more_downtime_ends_the_chase(void **state)
{
    struct fake_job_params params = idle;
    struct fake_job job;
    (void)state;

    params.dirty_rate = 200 * MIB;
    fake_job_start(&job, &params, START);
    fake_job_advance(&job, START + 60 * S);
    job.max_downtime_ms = 10000;
    struct job_stats stats = stats_at(&job, 80 * S);
    assert_int_equal(stats.type, JOB_COMPLETED);
    assert_in_range(stats.downtime_net_ms, 9999, 10000);
}

static void
test_throttling_ends_the_chase(void **state)
{
    struct fake_job_params params = idle;
    struct fake_job job;
    (void)state;

    params.dirty_rate = 200 * MIB;
    params.auto_converge = true;
    fake_job_start(&job, &params, START);
    struct job_stats stats = stats_at(&job, 30 * S);
    assert_true(stats.auto_converge_percent >= 20);
    stats = stats_at(&job, 300 * S);
    assert_int_equal(stats.type, JOB_COMPLETED);
}

static void
test_postcopy_sends_the_rest_once(void **state)
{
    struct fake_job_params params = idle;
    struct fake_job job;
    (void)state;

    params.dirty_rate = 200 * MIB;
    fake_job_start(&job, &params, START);
    fake_job_advance(&job, START + 10 * S);
    fake_job_postcopy(&job);
    fake_job_advance(&job, START + 19 * S);
    assert_int_equal(job.phase, FAKE_POSTCOPY);
    fake_job_advance(&job, START + 21 * S);
    assert_int_equal(job.phase, FAKE_DONE);
}

static void
test_rate_counts_from_its_change(void **state)
{
    struct fake_job job;
    (void)state;

    fake_job_start(&job, &idle, START);
    fake_job_advance(&job, START + 1 * S);
    fake_job_set_rate(&job, 10 * MIB);
    struct job_stats stats = stats_at(&job, 2 * S);
    assert_int_equal(stats.disk_processed, 110 * MIB);
    assert_int_equal(fake_job_due_us(&job), START + 41 * S);
}

static void
test_no_downtime_at_all_still_ends(void **state)
{
    struct fake_job_params params = idle;
    struct fake_job job;
    (void)state;

    params.dirty_rate = 20 * MIB;
    fake_job_start(&job, &params, START);
    job.max_downtime_ms = 0;
    fake_job_advance(&job, START + 3600 * S);
    assert_int_equal(job.phase, FAKE_DONE);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disks_go_before_memory),
        cmocka_unit_test(test_idle_guest_moves_in_one_pass),
        cmocka_unit_test(test_passes_get_shorter_until_the_rest_fits),
        cmocka_unit_test(test_busy_guest_never_gets_there),
        cmocka_unit_test(test_pausing_ends_the_chase),
        cmocka_unit_test(test_more_downtime_ends_the_chase),
        cmocka_unit_test(test_throttling_ends_the_chase),
        cmocka_unit_test(test_postcopy_sends_the_rest_once),
        cmocka_unit_test(test_rate_counts_from_its_change),
        cmocka_unit_test(test_no_downtime_at_all_still_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
