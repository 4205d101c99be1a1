#include <config.h>

/* The driver front and the fake: what they do beyond the contract that all
 * drivers share. */

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/driver_contract.h"
#include "tests/unit/fake_fixture.h"

#define IMAGE "c0ffee"

/* Where the modules are that must not be loaded. */
#define BAD_DRIVER_DIR "tests/unit/.libs"

/* Loading. */

static void
assert_not_loaded(const char *directory, const char *name, const char *host,
                  const char *reason)
{
    struct harness *h = harness_create();
    struct driver_options options = fake_options(host, "", 0);
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
    assert_not_loaded(fake_modules(), "none", "hosta", "drover-none.so");
    assert_not_loaded(fake_modules(), "../fake", "hosta", "'../fake'");
    assert_not_loaded(fake_modules(), "", "hosta", "''");
    assert_not_loaded(bad, "hollow", "hosta", "has no 'migrate'");
    assert_not_loaded(bad, "older", "hosta", "version 0");
    assert_not_loaded(fake_modules(), "fake", "../hosta", "'../hosta'");
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
#ifdef WITH_SANITIZERS
    skip(); /* Linked with everything; see configure.ac. */
#endif
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

struct follow_up {
    struct driver *driver;
    struct result first, second;
};

static void
ask_again(void *aux, struct error *error)
{
    struct follow_up *f = aux;

    on_plain(&f->first, error);
    driver_guest_list(f->driver, on_list, &f->second);
}

static void
test_cancelled_calls_end_at_once(void **state)
{
    struct fixture *f = *state;
    struct result moved = {0}, host = {0};
    struct follow_up resumed = {.driver = f->a};

    STEER(f->a, "bandwidth 1");
    STEER(f->a, "slow host_get 200");
    start(f, 0, &moved);
    driver_host_get(f->a, on_host, &host);
    driver_resume(f->a, f->uuid, ask_again, &resumed);
    driver_cancel(f->a);
    assert_error(moved.error, ERR_CANCELLED);
    assert_error(host.error, ERR_CANCELLED);
    assert_null(host.host);
    assert_error(resumed.first.error, ERR_CANCELLED);
    assert_error(resumed.second.error, ERR_CANCELLED);
    harness_unload(f->h, A);
    uv_run(&f->h->loop, UV_RUN_NOWAIT);
    assert_int_equal(moved.n_calls, 1);
    assert_int_equal(host.n_calls, 1);
    assert_int_equal(resumed.first.n_calls, 1);
    assert_int_equal(resumed.second.n_calls, 1);
    result_clear(&moved);
    result_clear(&host);
    result_clear(&resumed.first);
    result_clear(&resumed.second);

    /* The hypervisor has not heard of it. */
    fake_load(f->h, A, "hosta", "", 0);
    f->a = f->h->drivers[A];
    struct result r = {0};
    AWAIT_OK(f->h, r, driver_job_get(f->a, f->uuid, false, on_job, &r));
    assert_int_equal(r.job.type, JOB_UNBOUNDED);
    AWAIT_OK(f->h, r, driver_migrate_abort(f->a, f->uuid, on_plain, &r));
    AWAIT_UNTIL(f->h, r, driver_job_get(f->a, f->uuid, true, on_job, &r),
                r.job.type == JOB_CANCELLED);
}

/* Of a fake image that was not kept. */
static unsigned
count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    unsigned n = 0;

    while ((entry = readdir(dir))) {
        char target[64] = "";

        n += readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1) >
                 0 &&
             strncmp(target, "/memfd:" IMAGE, sizeof "/memfd:" IMAGE - 1) == 0;
    }
    closedir(dir);
    return n;
}

static void
test_descriptor_that_comes_too_late_is_closed(void **state)
{
    struct fixture *f = *state;

    for (int is_told = 0; is_told < 2; is_told++) {
        struct result made = {0}, late = {0};

        AWAIT_OK(f->h, made, driver_image_create(f->a, IMAGE, on_fd, &made));
        assert_int_equal(count_descriptors(), 1);
        result_clear(&made);
        STEER(f->a, "slow image_create 50");
        driver_image_create(f->a, IMAGE, on_fd, &late);
        if (is_told) {
            driver_cancel(f->a);
            assert_error(late.error, ERR_CANCELLED);
            assert_int_equal(late.fd, -1);
        }
        harness_unload(f->h, A);
        fake_load(f->h, A, "hosta", "", 0);
        f->a = f->h->drivers[A];
        AWAIT_OK(f->h, made,
                 driver_image_exists(f->a, IMAGE, on_answer, &made));
        assert_int_equal(late.n_calls, is_told);
        assert_int_equal(count_descriptors(), 0);
        result_clear(&late);
    }
}

static void
test_image_is_kept_though_the_caller_closes_it(void **state)
{
    struct fixture *f = *state;
    struct image_request request = {.name = (char[]){IMAGE},
                                    .format = (char[]){"raw"}};
    struct result made = {0}, kept = {0}, r = {0};

    AWAIT_OK(f->h, made, driver_image_create(f->a, IMAGE, on_fd, &made));
    assert_int_equal(write(made.fd, "image", 5), 5);
    request.fd = made.fd;
    STEER(f->a, "hang image_keep");
    driver_image_keep(f->a, &request, on_plain, &kept);
    result_clear(&made);
    /* Others, more than there are threads in the pool, are not held up. */
    for (int i = 0; i < 5; i++) {
        AWAIT_OK(f->h, r, driver_host_uptime(f->a, on_text, &r));
    }
    assert_false(kept.is_done);
    STEER(f->a, "release");
    harness_wait(f->h, &kept.is_done);
    assert_null(kept.error);
    AWAIT_OK(f->h, r, driver_image_exists(f->a, IMAGE, on_answer, &r));
    assert_true(r.answer);
    assert_int_equal(count_descriptors(), 0);
}

static void
test_image_is_copied_from_the_host_that_has_it(void **state)
{
    struct fixture *f = *state;
    struct image_request request = {.name = (char[]){IMAGE},
                                    .format = (char[]){"raw"},
                                    .host = (char[]){"hosta"}};
    struct result made = {0}, r = {0};

    AWAIT(f->h, r, driver_image_copy(f->b, &request, on_plain, &r));
    assert_error(r.error, ERR_STORAGE);
    AWAIT_OK(f->h, made, driver_image_create(f->a, IMAGE, on_fd, &made));
    assert_int_equal(write(made.fd, "image", 5), 5);
    request.fd = made.fd;
    AWAIT_OK(f->h, r, driver_image_keep(f->a, &request, on_plain, &r));
    AWAIT_OK(f->h, r, driver_image_exists(f->b, IMAGE, on_answer, &r));
    assert_false(r.answer);
    STEER(f->b, "fail image_copy STORAGE");
    AWAIT(f->h, r, driver_image_copy(f->b, &request, on_plain, &r));
    assert_error(r.error, ERR_STORAGE);
    AWAIT_OK(f->h, r, driver_image_copy(f->b, &request, on_plain, &r));
    AWAIT_OK(f->h, r, driver_image_exists(f->b, IMAGE, on_answer, &r));
    assert_true(r.answer);
    AUTO_FREE files = steer(f, f->b, "list");
    assert_non_null(strstr(files, "/_base/" IMAGE " image 5\n"));
    result_clear(&made);
    result_clear(&r);
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
    fake_load(f->h, A, "hosta", "", 0);
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

        fake_load(h, A, "hostc", "", 2);
        AWAIT_OK(h, r, driver_guest_list(h->drivers[A], on_list, &r));
        assert_int_equal(r.list->n, 2);
        assert_string_not_equal(r.list->guests[0]->uuid,
                                r.list->guests[1]->uuid);
        for (int i = 0; i < 2; i++) {
            if (round == 0) {
                snprintf(first[i], sizeof first[i], "%s",
                         r.list->guests[i]->uuid);
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

/* Failing on purpose. */

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
                                        "guest-stop nobody",
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

static int
run_contract(void)
{
    struct driver_contract contract = {
        .name = "fake",
        .directory = fake_modules(),
        .options = fake_options("hosta", "", 1),
        .has_guest = true,
        .peer_uri = URI_B,
        .own_uri = URI_A,
        .peer_options = fake_options("hostb", "", 0),
        .copies_disks = true,
        .dead_uri = "qemu+tcp://nohost/system",
    };

    return driver_contract_run(&contract);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_modules_are_refused),
        FAKE_TEST(test_driver_has_a_name),
        cmocka_unit_test(test_fake_maps_no_libvirt),
        FAKE_TEST(test_hanging_call_does_not_hold_up_others),
        FAKE_TEST(test_many_calls_are_answered_once_each),
        FAKE_TEST(test_closed_driver_calls_nobody),
        FAKE_TEST(test_cancelled_calls_end_at_once),
        FAKE_TEST(test_descriptor_that_comes_too_late_is_closed),
        FAKE_TEST(test_image_is_kept_though_the_caller_closes_it),
        FAKE_TEST(test_image_is_copied_from_the_host_that_has_it),
        FAKE_TEST(test_closing_does_not_wait_for_a_migration),
        cmocka_unit_test(test_guests_are_the_same_every_time),
        FAKE_TEST(test_guests_are_added_and_removed),
        FAKE_TEST(test_stopped_guest_is_off_and_can_be_discarded),
        FAKE_TEST(test_calls_fail_as_often_as_told),
        FAKE_TEST(test_slow_call_takes_its_time),
        FAKE_TEST(test_disconnected_hypervisor_answers_nothing),
        FAKE_TEST(test_shared_storage_shows_probes_of_the_other_host),
        FAKE_TEST(test_wrong_steering_is_refused),
    };

    return cmocka_run_group_tests_name("fake", tests, NULL, NULL) +
           run_contract();
}
