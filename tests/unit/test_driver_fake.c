#include <config.h>

/* The driver front and the fake: what they do beyond the contract that all
 * drivers share.  The program is also its own victim: with an argument it is
 * an agent that is killed in the middle of a migration. */

#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "driver_contract.h"
#include "driver_harness.h"

#ifndef DRIVER_BUILD_DIR
#define DRIVER_BUILD_DIR "drivers/.libs"
#endif
#ifndef BAD_DRIVER_DIR
#define BAD_DRIVER_DIR "tests/unit/.libs"
#endif

#define URI_A "qemu+tcp://hosta/system"
#define URI_B "qemu+tcp://hostb/system"

enum { A, B };

struct fixture {
    struct harness *h;
    struct driver *a, *b;
    char uuid[40]; /* Runs at A: 64 MiB, and a disk of 16. */
};

extern char **environ;

static const char *
modules(void)
{
    const char *directory = getenv("DROVER_DRIVER_PATH");

    return directory ? directory : DRIVER_BUILD_DIR;
}

static struct driver_options
options_of(const char *host, const char *world, unsigned n_guests)
{
    return (struct driver_options){
        .host = host,
        .connection_uri = "",
        .virt_type = "fake",
        .instances_path = "/instances",
        .fake_world = world,
        .fake_guests = n_guests,
    };
}

static void
load(struct harness *h, int slot, const char *host, const char *world,
     unsigned n_guests)
{
    struct driver_options options = options_of(host, world, n_guests);
    AUTO_ERROR error = harness_load(h, slot, modules(), "fake", &options);

    if (error) {
        fail_msg("%s", error_message(error));
    }
}

static int
setup(void **state)
{
    struct fixture *f = xzalloc(sizeof *f);
    struct result r = {0};

    f->h = harness_create();
    load(f->h, A, "hosta", "", 1);
    load(f->h, B, "hostb", "", 0);
    f->a = f->h->drivers[A];
    f->b = f->h->drivers[B];
    AWAIT_OK(f->h, r, driver_guest_list(f->a, on_list, &r));
    assert_int_equal(r.list->n, 1);
    strcpy(f->uuid, r.list->guests[0]->uuid);
    result_clear(&r);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};

    /* A test that failed may have left calls hanging. */
    if (f->h->drivers[A]) {
        AWAIT(f->h, r, driver_steer(f->a, "release", on_text, &r));
        result_clear(&r);
    }
    harness_free(f->h);
    free(f);
    return 0;
}

/* The answer is the caller's. */
static char *steer(struct fixture *f, struct driver *driver, const char *fmt,
                   ...) PRINTF_FORMAT(3, 4);
static char *
steer(struct fixture *f, struct driver *driver, const char *fmt, ...)
{
    struct result r = {0};
    va_list args;

    va_start(args, fmt);
    AUTO_FREE text = xvasprintf(fmt, args);
    va_end(args);
    AWAIT_OK(f->h, r, driver_steer(driver, text, on_text, &r));
    return steal(&r.text);
}

#define STEER(...) free(steer(f, __VA_ARGS__))

static struct migrate_request *
request_for(struct fixture *f, unsigned flags)
{
    struct migrate_request *request = xzalloc(sizeof *request);

    request->uuid = xstrdup(f->uuid);
    request->dest_uri = xstrdup(URI_B);
    request->flags = flags;
    if (flags & MIGRATE_BLOCK) {
        request->disks = xcalloc(1, sizeof *request->disks);
        request->disks[0] = xstrdup("vda");
        request->n_disks = 1;
    }
    return request;
}

static struct prepare_request *
disks_of(struct fixture *f)
{
    struct prepare_request *request = xzalloc(sizeof *request);

    request->uuid = xstrdup(f->uuid);
    request->directory = xasprintf("/instances/%s", f->uuid);
    request->disks = xcalloc(1, sizeof *request->disks);
    request->n_disks = 1;
    request->disks[0].path = xasprintf("%s/disk", request->directory);
    request->disks[0].format = xstrdup("qcow2");
    request->disks[0].virtual_size = 16 << 20;
    return request;
}

static void
prepare_at_b(struct fixture *f)
{
    CLEANUP(prepare_request_free_at)
    struct prepare_request *request = disks_of(f);
    struct result r = {0};

    AWAIT_OK(f->h, r, driver_prepare(f->b, request, on_plain, &r));
}

static enum guest_presence
presence_at(struct fixture *f, const char *uri)
{
    struct result r = {0};

    AWAIT_OK(f->h, r,
             driver_peer_presence(f->a, uri, f->uuid, on_presence, &r));
    return r.presence;
}

static enum power_state
power_at(struct fixture *f, struct driver *driver)
{
    struct result r = {0};

    AWAIT_OK(f->h, r, driver_guest_get(driver, f->uuid, on_guest, &r));
    enum power_state power_state = r.guest->power_state;
    result_clear(&r);
    return power_state;
}

/* Prepares, and starts a migration that is seen to be under way. */
static void
start(struct fixture *f, unsigned flags, struct result *moved)
{
    struct result r = {0};

    prepare_at_b(f);
    driver_migrate(f->a, request_for(f, flags | MIGRATE_BLOCK), on_plain,
                   moved);
    AWAIT_UNTIL(f->h, r, driver_job_get(f->a, f->uuid, false, on_job, &r),
                r.job.type == JOB_UNBOUNDED);
}

static void
assert_moved(struct fixture *f)
{
    assert_int_equal(presence_at(f, URI_A), GUEST_ABSENT);
    assert_int_equal(presence_at(f, URI_B), GUEST_ACTIVE);
}

static void
assert_stayed(struct fixture *f)
{
    assert_int_equal(presence_at(f, URI_A), GUEST_ACTIVE);
    assert_int_equal(presence_at(f, URI_B), GUEST_ABSENT);
}

/* Loading. */

static void
assert_not_loaded(const char *directory, const char *name, const char *host,
                  const char *reason)
{
    struct harness *h = harness_create();
    struct driver_options options = options_of(host, "", 0);
    AUTO_ERROR error = harness_load(h, A, directory, name, &options);

    assert_error(error, ERR_CONFIG);
    assert_non_null(strstr(error_message(error), reason));
    harness_free(h);
}

static void
test_wrong_modules_are_refused(UNUSED void **state)
{
    const char *bad = getenv("DROVER_BAD_DRIVER_PATH");

    bad = bad ? bad : BAD_DRIVER_DIR;
    assert_not_loaded(modules(), "none", "hosta", "drover-none.so");
    assert_not_loaded(modules(), "../fake", "hosta", "'../fake'");
    assert_not_loaded(modules(), "", "hosta", "''");
    assert_not_loaded(bad, "hollow", "hosta", "has no 'migrate'");
    assert_not_loaded(bad, "older", "hosta", "version 0");
    assert_not_loaded(modules(), "fake", "../hosta", "'../hosta'");
}

static void
test_driver_has_a_name(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(driver_name(f->a), "fake");
    assert_true(driver_can_steer(f->a));
}

static void
test_fake_maps_no_libvirt(UNUSED void **state)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];

    while (fgets(line, sizeof line, maps)) {
        assert_null(strstr(line, "libvirt"));
    }
    fclose(maps);
}

/* The front. */

static void
test_hanging_call_does_not_hold_up_others(void **state)
{
    struct fixture *f = *state;
    struct result hung = {0}, r = {0};

    STEER(f->a, "hang host_get");
    driver_host_get(f->a, on_host, &hung);
    AWAIT_OK(f->h, r, driver_host_uptime(f->a, on_text, &r));
    assert_false(hung.is_done);
    STEER(f->a, "release");
    harness_wait(f->h, &hung.is_done);
    assert_null(hung.error);
    assert_non_null(hung.host);
    result_clear(&hung);
    result_clear(&r);
}

static void
test_many_calls_are_answered_once_each(void **state)
{
    enum { N = 200 };
    struct fixture *f = *state;
    struct result *results = xcalloc(N, sizeof *results);

    for (int i = 0; i < N; i++) {
        driver_guest_get(f->a, f->uuid, on_guest, &results[i]);
    }
    for (int i = 0; i < N; i++) {
        harness_wait(f->h, &results[i].is_done);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(results[i].n_calls, 1);
        assert_non_null(results[i].guest);
        result_clear(&results[i]);
    }
    free(results);
}

static void
test_closed_driver_calls_nobody(void **state)
{
    struct fixture *f = *state;
    struct result results[20] = {0}, steered = {0};
    unsigned n_events = f->h->events[A].n;

    for (size_t i = 0; i < N_ELEMENTS(results); i++) {
        driver_guest_list(f->a, on_list, &results[i]);
    }
    driver_steer(f->a, "guest-add other 64 1", on_text, &steered);
    harness_unload(f->h, A);
    for (int i = 0; i < 100; i++) {
        uv_run(&f->h->loop, UV_RUN_NOWAIT);
    }
    for (size_t i = 0; i < N_ELEMENTS(results); i++) {
        assert_int_equal(results[i].n_calls, 0);
    }
    assert_int_equal(steered.n_calls, 0);
    assert_int_equal(f->h->events[A].n, n_events);
}

static void
test_closing_does_not_wait_for_a_migration(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0}, r = {0};

    STEER(f->a, "bandwidth 1");
    start(f, 0, &moved);
    harness_unload(f->h, A);
    assert_false(moved.is_done);

    /* As after a restart: the hypervisor has carried on. */
    load(f->h, A, "hosta", "", 0);
    f->a = f->h->drivers[A];
    AWAIT_OK(f->h, r, driver_job_get(f->a, f->uuid, false, on_job, &r));
    assert_int_equal(r.job.type, JOB_UNBOUNDED);
    AWAIT_OK(f->h, r,
             driver_migrate_set_bandwidth(f->a, f->uuid, 0, on_plain, &r));
    AWAIT_OK(f->h, r, driver_suspend(f->a, f->uuid, on_plain, &r));
    AWAIT_OK(f->h, r, driver_migrate_abort(f->a, f->uuid, on_plain, &r));
    AWAIT_UNTIL(f->h, r, driver_job_get(f->a, f->uuid, true, on_job, &r),
                r.job.type == JOB_CANCELLED);
    assert_stayed(f);
    assert_false(moved.is_done);
}

/* Guests. */

static void
test_guests_are_the_same_every_time(UNUSED void **state)
{
    char first[2][40];

    for (int round = 0; round < 2; round++) {
        struct harness *h = harness_create();
        struct result r = {0};

        load(h, A, "hostc", "", 2);
        AWAIT_OK(h, r, driver_guest_list(h->drivers[A], on_list, &r));
        assert_int_equal(r.list->n, 2);
        assert_string_not_equal(r.list->guests[0]->uuid,
                                r.list->guests[1]->uuid);
        for (int i = 0; i < 2; i++) {
            if (round == 0) {
                strcpy(first[i], r.list->guests[i]->uuid);
                assert_int_equal(first[i][14], '5');
            }
            assert_string_equal(r.list->guests[i]->uuid, first[i]);
            assert_non_null(strstr(r.list->guests[i]->name, "fake-hostc-000"));
        }
        result_clear(&r);
        harness_free(h);
    }
}

static void
test_guests_are_added_and_removed(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};
    AUTO_FREE uuid = steer(f, f->a, "guest-add web1 128 2 10");

    harness_wait_event(f->h, A, DRIVER_EVENT_STARTED, uuid, 1);
    AWAIT_OK(f->h, r, driver_guest_get(f->a, uuid, on_guest, &r));
    assert_string_equal(r.guest->name, "web1");
    assert_int_equal(r.guest->memory_mb, 128);
    assert_int_equal(r.guest->n_vcpus, 2);
    assert_int_equal(r.guest->n_disks, 1);
    assert_int_equal(r.guest->disks[0].virtual_size, 10 << 20);
    STEER(f->a, "guest-remove %s", uuid);
    harness_wait_event(f->h, A, DRIVER_EVENT_UNDEFINED, uuid, 1);
    AWAIT(f->h, r, driver_guest_get(f->a, uuid, on_guest, &r));
    assert_error(r.error, ERR_INSTANCE_NOT_FOUND);
    result_clear(&r);
}

static void
test_stopped_guest_is_off_and_can_be_discarded(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};

    STEER(f->a, "guest-stop %s", f->uuid);
    harness_wait_event(f->h, A, DRIVER_EVENT_STOPPED, f->uuid, 1);
    assert_int_equal(presence_at(f, URI_A), GUEST_OFF);
    assert_int_equal(power_at(f, f->a), POWER_SHUTDOWN);
    AWAIT(f->h, r, driver_suspend(f->a, f->uuid, on_plain, &r));
    assert_error(r.error, ERR_INSTANCE_NOT_RUNNING);
    AWAIT_OK(f->h, r, driver_discard(f->a, f->uuid, on_plain, &r));
    assert_int_equal(presence_at(f, URI_A), GUEST_ABSENT);
    result_clear(&r);
}

/* Migrations. */

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

/* Failing on purpose. */

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

static void
test_calls_fail_as_often_as_told(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};

    STEER(f->a, "fail guest-get STORAGE 2");
    for (int i = 0; i < 2; i++) {
        AWAIT(f->h, r, driver_guest_get(f->a, f->uuid, on_guest, &r));
        assert_error(r.error, ERR_STORAGE);
        assert_null(r.guest);
    }
    AWAIT_OK(f->h, r, driver_guest_get(f->a, f->uuid, on_guest, &r));
    result_clear(&r);
}

static void
test_slow_call_takes_its_time(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};
    uint64_t start_ns = uv_hrtime();

    STEER(f->a, "slow probe_create 80");
    AWAIT_OK(f->h, r, driver_probe_create(f->a, NULL, on_text, &r));
    assert_true(uv_hrtime() - start_ns >= 80 * UINT64_C(1000000));
    result_clear(&r);
}

static void
test_disconnected_hypervisor_answers_nothing(void **state)
{
    struct fixture *f = *state;
    struct result r = {0};

    STEER(f->b, "disconnect");
    harness_wait_event(f->h, B, DRIVER_EVENT_DISCONNECTED, NULL, 1);
    assert_false(driver_is_connected(f->b));
    AWAIT(f->h, r, driver_guest_list(f->b, on_list, &r));
    assert_error(r.error, ERR_HYPERVISOR_UNAVAILABLE);
    AWAIT(f->h, r, driver_peer_presence(f->a, URI_B, f->uuid, on_presence, &r));
    assert_error(r.error, ERR_HYPERVISOR_UNAVAILABLE);
    AWAIT(f->h, r,
          driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &r));
    assert_error(r.error, ERR_MIGRATION);
    STEER(f->b, "connect");
    harness_wait_event(f->h, B, DRIVER_EVENT_CONNECTED, NULL, 2);
    assert_true(driver_is_connected(f->b));
    AWAIT_OK(f->h, r, driver_guest_list(f->b, on_list, &r));
    result_clear(&r);
}

static void
test_shared_storage_shows_probes_of_the_other_host(void **state)
{
    struct fixture *f = *state;
    struct result made = {0}, r = {0};

    AWAIT_OK(f->h, made, driver_probe_create(f->b, NULL, on_text, &made));
    AWAIT_OK(f->h, r,
             driver_probe_exists(f->a, NULL, made.text, on_answer, &r));
    assert_false(r.answer);
    STEER(f->a, "shared on");
    AWAIT_OK(f->h, r,
             driver_probe_exists(f->a, NULL, made.text, on_answer, &r));
    assert_true(r.answer);
    STEER(f->a, "shared off");
    AWAIT_OK(f->h, r, driver_probe_remove(f->b, NULL, made.text, on_plain, &r));
    AUTO_FREE left = steer(f, f->b, "list");
    assert_string_equal(left, "");
    result_clear(&made);
}

static void
test_wrong_steering_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "dance",
                                        "fail",
                                        "fail dance",
                                        "fail migrate DANCE",
                                        "slow migrate x",
                                        "shared",
                                        "shared maybe",
                                        "guest-add web1 x 1",
                                        "bandwidth 0",
                                        "guest-stop " URI_A,
                                        "outcome good"};
    struct fixture *f = *state;
    struct result r = {0};

    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        AWAIT(f->h, r, driver_steer(f->a, texts[i], on_text, &r));
        assert_non_null(r.error);
        assert_null(r.text);
    }
    AWAIT_OK(f->h, r, driver_steer(f->a, "help", on_text, &r));
    assert_non_null(strstr(r.text, "guest-add NAME MEMORY_MB VCPUS"));
    result_clear(&r);
}

/* A world in a directory. */

static void
remove_world(const char *world)
{
    AUTO_FREE command = xstrdup(world);
    char rm[] = "rm", rf[] = "-rf";
    char *argv[] = {rm, rf, command, NULL};
    pid_t pid;
    int status;

    assert_int_equal(posix_spawnp(&pid, "rm", NULL, NULL, argv, environ), 0);
    waitpid(pid, &status, 0);
}

static int
count_files(const char *world, const char *uuid)
{
    static const char *const hosts[] = {"hosta", "hostb"};
    int n = 0;

    for (size_t i = 0; i < N_ELEMENTS(hosts); i++) {
        AUTO_FREE path = xasprintf("%s/%s/%s", world, hosts[i], uuid);

        n += !access(path, F_OK);
    }
    return n;
}

static void
test_guest_of_a_directory_outlives_its_agent(UNUSED void **state)
{
    char world[] = "/tmp/drover-world-XXXXXX";
    struct fixture fixture = {.uuid = ""}, *f = &fixture;
    struct result r = {0};

    assert_non_null(mkdtemp(world));
    for (int round = 0; round < 2; round++) {
        f->h = harness_create();
        load(f->h, A, "hosta", world, 1);
        load(f->h, B, "hostb", world, 0);
        f->a = f->h->drivers[A];
        f->b = f->h->drivers[B];
        AWAIT_OK(f->h, r, driver_guest_list(round ? f->b : f->a, on_list, &r));
        assert_int_equal(r.list->n, 1);
        strcpy(f->uuid, r.list->guests[0]->uuid);
        if (round == 0) {
            prepare_at_b(f);
            AWAIT_OK(f->h, r,
                     driver_migrate(f->a, request_for(f, MIGRATE_BLOCK),
                                    on_plain, &r));
        }
        assert_int_equal(count_files(world, f->uuid), 1);
        assert_moved(f);
        result_clear(&r);
        harness_free(f->h);
    }
    remove_world(world);
}

/* An agent of hosta with a migration that never ends. */
static int
be_victim(const char *world)
{
    struct fixture fixture = {.uuid = ""}, *f = &fixture;
    struct result moved = {0}, r = {0};

    f->h = harness_create();
    load(f->h, A, "hosta", world, 1);
    f->a = f->h->drivers[A];
    AWAIT_OK(f->h, r, driver_guest_list(f->a, on_list, &r));
    strcpy(f->uuid, r.list->guests[0]->uuid);
    STEER(f->a, "bandwidth 1");
    driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &moved);
    harness_wait(f->h, &moved.is_done);
    return 1;
}

static void
test_killed_agent_leaves_the_guest_at_the_source(UNUSED void **state)
{
    char world[] = "/tmp/drover-world-XXXXXX";
    struct fixture fixture = {.uuid = ""}, *f = &fixture;
    struct result r = {0};
    pid_t pid;
    int status;

    assert_non_null(mkdtemp(world));
    char self[] = "/proc/self/exe";
    char *argv[] = {self, world, NULL};
    f->h = harness_create();
    load(f->h, A, "hosta", world, 1);
    load(f->h, B, "hostb", world, 0);
    f->a = f->h->drivers[A];
    f->b = f->h->drivers[B];
    AWAIT_OK(f->h, r, driver_guest_list(f->a, on_list, &r));
    strcpy(f->uuid, r.list->guests[0]->uuid);
    prepare_at_b(f);

    assert_int_equal(posix_spawn(&pid, self, NULL, NULL, argv, environ), 0);
    AWAIT_UNTIL(f->h, r,
                driver_peer_presence(f->a, URI_B, f->uuid, on_presence, &r),
                r.presence == GUEST_INCOMING);
    AWAIT(f->h, r, driver_guest_list(f->b, on_list, &r));
    assert_int_equal(r.list->n, 1);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_stayed(f);
    assert_int_equal(count_files(world, f->uuid), 1);

    /* What is left of it is in nobody's way. */
    AWAIT_OK(f->h, r,
             driver_migrate(f->a, request_for(f, MIGRATE_BLOCK), on_plain, &r));
    assert_moved(f);
    assert_int_equal(count_files(world, f->uuid), 1);
    result_clear(&r);
    harness_free(f->h);
    remove_world(world);
}

static int
run_contract(const char *world)
{
    struct driver_contract contract = {
        .name = "fake",
        .directory = modules(),
        .options = options_of("hosta", world, 1),
        .has_guest = true,
        .peer_uri = URI_B,
        .own_uri = URI_A,
        .peer_options = options_of("hostb", world, 0),
        .copies_disks = true,
        .dead_uri = "qemu+tcp://nohost/system",
    };

    return driver_contract_run(&contract);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int
main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_modules_are_refused),
        TEST(test_driver_has_a_name),
        TEST(test_fake_maps_no_libvirt),
        TEST(test_hanging_call_does_not_hold_up_others),
        TEST(test_many_calls_are_answered_once_each),
        TEST(test_closed_driver_calls_nobody),
        TEST(test_closing_does_not_wait_for_a_migration),
        cmocka_unit_test(test_guests_are_the_same_every_time),
        TEST(test_guests_are_added_and_removed),
        TEST(test_stopped_guest_is_off_and_can_be_discarded),
        TEST(test_migration_leaves_only_what_it_must),
        TEST(test_both_hosts_are_told_in_order),
        TEST(test_busy_guest_moves_once_more_downtime_is_allowed),
        TEST(test_suspended_guest_converges_and_runs_over_there),
        TEST(test_paused_guest_stays_paused),
        TEST(test_bandwidth_slows_and_speeds_a_migration),
        TEST(test_postcopy_runs_the_guest_over_there_first),
        TEST(test_broken_postcopy_is_taken_up_again),
        TEST(test_postcopy_must_have_been_asked_for),
        TEST(test_guest_that_ends_by_itself_has_not_moved),
        TEST(test_discarded_destination_ends_the_migration),
        TEST(test_migration_needs_its_disks_over_there),
        TEST(test_lost_answer_is_no_failure),
        TEST(test_failure_at_the_last_moment_leaves_the_guest),
        TEST(test_calls_fail_as_often_as_told),
        TEST(test_slow_call_takes_its_time),
        TEST(test_disconnected_hypervisor_answers_nothing),
        TEST(test_shared_storage_shows_probes_of_the_other_host),
        TEST(test_wrong_steering_is_refused),
        cmocka_unit_test(test_guest_of_a_directory_outlives_its_agent),
        cmocka_unit_test(test_killed_agent_leaves_the_guest_at_the_source),
    };
    char world[] = "/tmp/drover-world-XXXXXX";

    if (argc > 1) {
        return be_victim(argv[1]);
    }
    int n_failed = cmocka_run_group_tests_name("fake", tests, NULL, NULL);
    n_failed += run_contract("");
    n_failed += !mkdtemp(world) || run_contract(world);
    remove_world(world);
    return n_failed;
}
