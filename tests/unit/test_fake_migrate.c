#include <config.h>

/* Migrations between fakes: that they end, and where the guest is then. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fake_fixture.h"

static void
test_migration_leaves_only_what_it_must(void **state)
{
    struct fixture *f = *state;
    CLEANUP(prepare_request_free_at)
    struct prepare_request *disks = disks_of(f);
    struct result moved = {0}, r = {0};

    AUTO_FREE empty = steer(f, f->b, "list");
    assert_string_equal(empty, "");
    prepare_at_b(f);
    AWAIT_OK(
        f->h, moved,
        driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &moved));
    assert_moved(f);
    AWAIT_OK(f->h, r, driver_unprepare(f->a, disks, on_plain, &r));
    AUTO_FREE at_a = steer(f, f->a, "list");
    assert_string_equal(at_a, "");
    AUTO_FREE at_b = steer(f, f->b, "list");
    AUTO_FREE expected = xasprintf("guest %s fake-hosta-0001 active 1\n"
                                   "file /instances/%s dir\n"
                                   "file /instances/%s/disk disk qcow2\n",
                                   f->uuid, f->uuid, f->uuid);
    assert_string_equal(at_b, expected);
}

static void
test_both_hosts_are_told_in_order(void **state)
{
    static const enum driver_event_type at_source[] = {
        DRIVER_EVENT_CONNECTED, DRIVER_EVENT_SUSPENDED,
        DRIVER_EVENT_JOB_COMPLETED, DRIVER_EVENT_STOPPED,
        DRIVER_EVENT_UNDEFINED};
    static const enum driver_event_type at_dest[] = {
        DRIVER_EVENT_CONNECTED, DRIVER_EVENT_STARTED, DRIVER_EVENT_RESUMED,
        DRIVER_EVENT_DEFINED};
    struct fixture *f = *state;
    struct result moved = {0};

    prepare_at_b(f);
    AWAIT_OK(
        f->h, moved,
        driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &moved));
    harness_wait_event(f->h, A, DRIVER_EVENT_UNDEFINED, f->uuid, 1);
    harness_wait_event(f->h, B, DRIVER_EVENT_DEFINED, f->uuid, 1);
    assert_int_equal(f->h->events[A].n, N_ELEMENTS(at_source));
    for (size_t i = 0; i < N_ELEMENTS(at_source); i++) {
        assert_int_equal(f->h->events[A].events[i].type, at_source[i]);
    }
    assert_int_equal(f->h->events[A].events[3].detail, STOP_MIGRATED);
    assert_int_equal(f->h->events[B].n, N_ELEMENTS(at_dest));
    for (size_t i = 0; i < N_ELEMENTS(at_dest); i++) {
        assert_int_equal(f->h->events[B].events[i].type, at_dest[i]);
    }
}

static void
test_busy_guest_moves_once_more_downtime_is_allowed(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0}, r = {0};

    /* 64 MiB take 0.4 s, in which all of them are written again. */
    STEER(f->a, "bandwidth 160");
    STEER(f->a, "dirty-rate %s 300", f->uuid);
    start(f, 0, &moved);
    AWAIT_UNTIL(f->h, r, driver_job_get(f->a, f->uuid, false, on_job, &r),
                r.job.iteration > 2);
    assert_false(moved.is_done);
    assert_true(r.job.dirty_rate_pages > 0);
    assert_true(r.job.memory_processed > r.job.memory_total);
    AWAIT_OK(f->h, r,
             driver_migrate_set_downtime(f->a, f->uuid, 5000, on_plain, &r));
    harness_wait(f->h, &moved.is_done);
    assert_null(moved.error);
    assert_moved(f);
    AWAIT_OK(f->h, r, driver_job_get(f->a, f->uuid, true, on_job, &r));
    assert_int_equal(r.job.type, JOB_COMPLETED);
    assert_true(r.job.downtime_ms >= 100);
    assert_int_equal(r.job.memory_remaining, 0);
    assert_int_equal(r.job.disk_remaining, 0);
    assert_int_equal(r.job.disk_total, 16 << 20);
}

static void
test_busy_guest_moves_once_it_is_throttled(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0}, r = {0};

    STEER(f->a, "bandwidth 400");
    STEER(f->a, "dirty-rate %s 500", f->uuid);
    start(f, MIGRATE_THROTTLE, &moved);
    AWAIT_OK(f->h, r,
             driver_migrate_set_downtime(f->a, f->uuid, 1, on_plain, &r));
    AWAIT_UNTIL(f->h, r, driver_job_get(f->a, f->uuid, false, on_job, &r),
                r.job.iteration > 4);
    assert_false(r.job.auto_converge_percent > 0); /* Not by itself. */
    assert_false(moved.is_done);
    AWAIT_OK(f->h, r, driver_migrate_throttle(f->a, f->uuid, on_plain, &r));
    AWAIT_UNTIL(f->h, r, driver_job_get(f->a, f->uuid, false, on_job, &r),
                r.job.auto_converge_percent > 0);
    AWAIT_OK(f->h, r,
             driver_migrate_set_downtime(f->a, f->uuid, 5000, on_plain, &r));
    harness_wait(f->h, &moved.is_done);
    assert_null(moved.error);
    assert_moved(f);
}

static void
test_what_was_not_started_for_it_is_not_throttled(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0}, r = {0};

    STEER(f->a, "hang transfer");
    start(f, 0, &moved);
    AWAIT(f->h, r, driver_migrate_throttle(f->a, f->uuid, on_plain, &r));
    assert_int_equal(error_code(r.error), ERR_INVALID);
    result_clear(&r);
    STEER(f->a, "release");
    harness_wait(f->h, &moved.is_done);
    assert_null(moved.error);
}

static void
test_suspended_guest_converges_and_runs_over_there(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0}, r = {0};

    STEER(f->a, "bandwidth 160");
    STEER(f->a, "dirty-rate * 1000");
    start(f, 0, &moved);
    AWAIT_OK(f->h, r, driver_suspend(f->a, f->uuid, on_plain, &r));
    harness_wait(f->h, &moved.is_done);
    assert_null(moved.error);
    assert_moved(f);
    assert_int_equal(power_at(f, f->b), POWER_RUNNING);
}

static void
test_paused_guest_stays_paused(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0};

    STEER(f->a, "guest-pause %s", f->uuid);
    prepare_at_b(f);
    AWAIT_OK(
        f->h, moved,
        driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &moved));
    assert_moved(f);
    assert_int_equal(power_at(f, f->b), POWER_PAUSED);
}

static void
test_bandwidth_slows_and_speeds_a_migration(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0}, r = {0};
    struct migrate_request *request = request_for(f, MIGRATE_BLOCK);

    prepare_at_b(f);
    request->bandwidth_mib_s = 1;
    driver_migrate(f->a, request, on_plain, &moved);
    AWAIT_UNTIL(f->h, r, driver_job_get(f->a, f->uuid, false, on_job, &r),
                r.job.type == JOB_UNBOUNDED && r.job.disk_processed > 0);
    assert_int_equal(r.job.disk_bps, 1 << 20);
    AWAIT_OK(f->h, r,
             driver_migrate_set_bandwidth(f->a, f->uuid, 0, on_plain, &r));
    harness_wait(f->h, &moved.is_done);
    assert_null(moved.error);
    assert_moved(f);
}

static void
test_postcopy_runs_the_guest_over_there_first(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0}, r = {0};

    STEER(f->a, "bandwidth 50");
    STEER(f->a, "dirty-rate * 1000");
    STEER(f->a, "hang transfer");
    start(f, MIGRATE_POSTCOPY, &moved);
    AWAIT_OK(f->h, r, driver_migrate_postcopy(f->a, f->uuid, on_plain, &r));
    harness_wait_event(f->h, A, DRIVER_EVENT_POSTCOPY, f->uuid, 1);
    assert_int_equal(presence_at(f, URI_A), GUEST_POSTCOPY);
    assert_int_equal(presence_at(f, URI_B), GUEST_POSTCOPY);
    assert_int_equal(power_at(f, f->a), POWER_PAUSED);
    assert_int_equal(power_at(f, f->b), POWER_RUNNING);
    AWAIT(f->h, r, driver_migrate_abort(f->a, f->uuid, on_plain, &r));
    assert_error(r.error, ERR_INVALID);
    AWAIT(f->h, r, driver_discard(f->a, f->uuid, on_plain, &r));
    assert_error(r.error, ERR_INVALID);
    STEER(f->a, "bandwidth 1000");
    STEER(f->a, "release transfer");
    harness_wait(f->h, &moved.is_done);
    assert_null(moved.error);
    assert_moved(f);
    result_clear(&r);
}

static void
test_broken_postcopy_is_taken_up_again(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0}, r = {0};

    STEER(f->a, "bandwidth 100");
    STEER(f->a, "dirty-rate * 1000");
    STEER(f->a, "fail transfer");
    start(f, MIGRATE_POSTCOPY, &moved);
    AWAIT_OK(f->h, r, driver_migrate_postcopy(f->a, f->uuid, on_plain, &r));
    harness_wait(f->h, &moved.is_done);
    assert_error(moved.error, ERR_MIGRATION);
    assert_int_equal(presence_at(f, URI_A), GUEST_POSTCOPY_FAILED);
    assert_int_equal(presence_at(f, URI_B), GUEST_POSTCOPY_FAILED);
    assert_int_equal(power_at(f, f->b), POWER_PAUSED);
    harness_wait_event(f->h, A, DRIVER_EVENT_POSTCOPY_FAILED, f->uuid, 1);
    AWAIT_OK(f->h, moved,
             driver_migrate(f->a,
                            request_for(f, MIGRATE_BLOCK | MIGRATE_POSTCOPY |
                                               MIGRATE_POSTCOPY_RESUME),
                            on_plain, &moved));
    assert_moved(f);
    assert_int_equal(power_at(f, f->b), POWER_RUNNING);
    result_clear(&r);
}

static void
test_postcopy_must_have_been_asked_for(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0}, r = {0};

    STEER(f->a, "bandwidth 1");
    prepare_at_b(f);
    driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &moved);
    AWAIT_UNTIL(f->h, r, driver_job_get(f->a, f->uuid, false, on_job, &r),
                r.job.type == JOB_UNBOUNDED);
    AWAIT(f->h, r, driver_migrate_postcopy(f->a, f->uuid, on_plain, &r));
    assert_error(r.error, ERR_INVALID);
    AWAIT_OK(f->h, r, driver_migrate_abort(f->a, f->uuid, on_plain, &r));
    harness_wait(f->h, &moved.is_done);
    result_clear(&moved);
}

static void
test_guest_that_ends_by_itself_has_not_moved(void **state)
{
    static const char *const ways[] = {"guest-stop", "guest-crash"};
    struct fixture *f = *state;
    struct result moved = {0};

    prepare_at_b(f);
    for (size_t i = 0; i < N_ELEMENTS(ways); i++) {
        STEER(f->a, "guest-start %s", f->uuid);
        STEER(f->a, "hang transfer");
        result_clear(&moved);
        driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &moved);
        harness_wait_event(f->h, B, DRIVER_EVENT_STARTED, f->uuid,
                           (unsigned)i + 1);
        STEER(f->a, "%s %s", ways[i], f->uuid);
        harness_wait(f->h, &moved.is_done);
        assert_error(moved.error, ERR_MIGRATION);
        assert_int_equal(presence_at(f, URI_A), GUEST_OFF);
        assert_int_equal(presence_at(f, URI_B), GUEST_ABSENT);
        harness_wait_event(f->h, B, DRIVER_EVENT_STOPPED, f->uuid,
                           (unsigned)i + 1);
    }
    result_clear(&moved);
}

static void
test_discarded_destination_ends_the_migration(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0}, r = {0};

    STEER(f->a, "hang transfer");
    start(f, 0, &moved);
    assert_int_equal(presence_at(f, URI_B), GUEST_INCOMING);
    AWAIT_OK(f->h, r, driver_guest_get(f->b, f->uuid, on_guest, &r));
    assert_int_equal(r.guest->power_state, POWER_PAUSED);
    assert_string_equal(r.guest->name, "fake-hosta-0001");
    AWAIT_OK(f->h, r, driver_discard(f->b, f->uuid, on_plain, &r));
    harness_wait(f->h, &moved.is_done);
    assert_error(moved.error, ERR_MIGRATION);
    assert_stayed(f);
    result_clear(&moved);
}

static void
test_migration_needs_its_disks_over_there(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0};

    AWAIT(
        f->h, moved,
        driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &moved));
    assert_error(moved.error, ERR_MIGRATION);
    AWAIT(f->h, moved,
          driver_migrate(f->a, request_for(f, 0), on_plain, &moved));
    assert_error(moved.error, ERR_MIGRATION);
    assert_stayed(f);
    STEER(f->a, "shared on");
    AWAIT_OK(f->h, moved,
             driver_migrate(f->a, request_for(f, 0), on_plain, &moved));
    assert_moved(f);
}

static void
test_lost_answer_is_no_failure(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0};

    prepare_at_b(f);
    STEER(f->a, "outcome lose-answer");
    AWAIT(
        f->h, moved,
        driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &moved));
    assert_error(moved.error, ERR_MIGRATION);
    assert_moved(f);
    result_clear(&moved);
}

static void
test_failure_at_the_last_moment_leaves_the_guest(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0}, r = {0};

    prepare_at_b(f);
    STEER(f->a, "fail transfer HYPERVISOR_UNAVAILABLE");
    AWAIT(
        f->h, moved,
        driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &moved));
    assert_error(moved.error, ERR_HYPERVISOR_UNAVAILABLE);
    assert_stayed(f);
    AWAIT_OK(f->h, r, driver_job_get(f->a, f->uuid, true, on_job, &r));
    assert_int_equal(r.job.type, JOB_FAILED);
    AWAIT_OK(
        f->h, moved,
        driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &moved));
    assert_moved(f);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        FAKE_TEST(test_migration_leaves_only_what_it_must),
        FAKE_TEST(test_both_hosts_are_told_in_order),
        FAKE_TEST(test_busy_guest_moves_once_more_downtime_is_allowed),
        FAKE_TEST(test_busy_guest_moves_once_it_is_throttled),
        FAKE_TEST(test_what_was_not_started_for_it_is_not_throttled),
        FAKE_TEST(test_suspended_guest_converges_and_runs_over_there),
        FAKE_TEST(test_paused_guest_stays_paused),
        FAKE_TEST(test_bandwidth_slows_and_speeds_a_migration),
        FAKE_TEST(test_postcopy_runs_the_guest_over_there_first),
        FAKE_TEST(test_broken_postcopy_is_taken_up_again),
        FAKE_TEST(test_postcopy_must_have_been_asked_for),
        FAKE_TEST(test_guest_that_ends_by_itself_has_not_moved),
        FAKE_TEST(test_discarded_destination_ends_the_migration),
        FAKE_TEST(test_migration_needs_its_disks_over_there),
        FAKE_TEST(test_lost_answer_is_no_failure),
        FAKE_TEST(test_failure_at_the_last_moment_leaves_the_guest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
