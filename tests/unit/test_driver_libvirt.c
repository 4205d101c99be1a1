#include <config.h>

#include "driver_contract.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "driver_harness.h"

/* The libvirt driver without a hypervisor: libvirt's client brings one of its
 * own, "test", that pretends.  It has a guest and can do little with it, and
 * nothing of migration; the functional tests have QEMU. */

#define GUEST "6695eb01-f6a4-8304-79aa-97f2502e193f" /* libvirt's, for ever */

static char directory[] = "/tmp/drover-test-XXXXXX";

static struct driver_options
options_of(const char *uri)
{
    return (struct driver_options){
        .host = "hosta",
        .connection_uri = uri,
        .virt_type = "qemu",
        .instances_path = directory,
    };
}

static struct harness *
load(const char *uri)
{
    struct harness *h = harness_create();
    struct driver_options options = options_of(uri);
    AUTO_ERROR error =
        harness_load(h, 0, getenv("DROVER_DRIVER_PATH"), "libvirt", &options);

    if (error) {
        fail_msg("%s", error_message(error));
    }
    return h;
}

static void
unload(struct harness *h)
{
    harness_unload(h, 0);
    harness_free(h);
}

static void
test_connection_is_announced(void **state UNUSED)
{
    struct harness *h = load("test:///default");

    harness_wait_event(h, 0, DRIVER_EVENT_CONNECTED, NULL, 1);
    assert_true(driver_is_connected(h->drivers[0]));
    assert_int_equal(harness_count(h, 0, DRIVER_EVENT_DISCONNECTED, NULL), 0);
    unload(h);
}

static void
test_guest_is_suspended_and_resumed(void **state UNUSED)
{
    struct harness *h = load("test:///default");
    struct driver *d = h->drivers[0];
    struct result r = {0};

    AWAIT_OK(h, r, driver_suspend(d, GUEST, on_plain, &r));
    harness_wait_event(h, 0, DRIVER_EVENT_SUSPENDED, GUEST, 1);
    AWAIT_OK(h, r, driver_guest_get(d, GUEST, on_guest, &r));
    assert_string_equal(r.guest->name, "test");
    assert_int_equal(r.guest->power_state, POWER_PAUSED);
    assert_int_equal(r.guest->presence, GUEST_ACTIVE);
    AWAIT_OK(h, r, driver_resume(d, GUEST, on_plain, &r));
    harness_wait_event(h, 0, DRIVER_EVENT_RESUMED, GUEST, 1);
    /* Running already is what was asked for. */
    AWAIT_OK(h, r, driver_resume(d, GUEST, on_plain, &r));
    result_clear(&r);
    unload(h);
}

static void
test_running_guest_and_its_files_are_safe(void **state UNUSED)
{
    struct harness *h = load("test:///default");
    struct driver *d = h->drivers[0];
    struct result r = {0};
    struct prepare_request request = {.uuid = (char *)GUEST};

    AWAIT(h, r, driver_discard(d, GUEST, on_plain, &r));
    assert_error(r.error, ERR_INVALID);
    AWAIT(h, r, driver_unprepare(d, &request, on_plain, &r));
    assert_error(r.error, ERR_INVALID);
    AWAIT_OK(h, r, driver_guest_list(d, on_list, &r));
    assert_int_equal(r.list->n, 1);
    result_clear(&r);
    unload(h);
}

/* As with a libvirt or a hypervisor that is too old. */
static void
test_what_can_not_be_measured_is_told(void **state UNUSED)
{
    struct harness *h = load("test:///default");
    struct driver *d = h->drivers[0];
    struct result r = {0};

    AWAIT(h, r, driver_dirty_rate_start(d, GUEST, 1, on_plain, &r));
    assert_error(r.error, ERR_NOT_IMPLEMENTED);
    result_clear(&r);
    unload(h);
}

static void
test_peer_is_asked(void **state UNUSED)
{
    struct harness *h = load("test:///default");
    struct driver *d = h->drivers[0];
    struct result r = {0};

    AWAIT_OK(
        h, r,
        driver_peer_presence(d, "test:///default", GUEST, on_presence, &r));
    assert_int_equal(r.presence, GUEST_ACTIVE);
    AWAIT_OK(h, r,
             driver_peer_presence(d, "test:///default",
                                  "00000000-0000-4000-8000-000000000000",
                                  on_presence, &r));
    assert_int_equal(r.presence, GUEST_ABSENT);
    result_clear(&r);
    unload(h);
}

/* "Unknown" must never be taken for "absent". */
static void
test_hypervisor_that_is_away_is_unavailable(void **state UNUSED)
{
    AUTO_FREE uri =
        xasprintf("qemu+unix:///system?socket=%s/no-socket", directory);
    struct harness *h = load(uri);
    struct driver *d = h->drivers[0];
    struct prepare_request request = {.uuid = (char *)GUEST};
    struct result r = {0};

    AWAIT(h, r, driver_guest_get(d, GUEST, on_guest, &r));
    assert_error(r.error, ERR_HYPERVISOR_UNAVAILABLE);
    assert_non_null(strstr(error_message(r.error), "no-socket"));
    AWAIT(h, r, driver_guest_list(d, on_list, &r));
    assert_error(r.error, ERR_HYPERVISOR_UNAVAILABLE);
    AWAIT(h, r, driver_discard(d, GUEST, on_plain, &r));
    assert_error(r.error, ERR_HYPERVISOR_UNAVAILABLE);
    AWAIT(h, r, driver_unprepare(d, &request, on_plain, &r));
    assert_error(r.error, ERR_HYPERVISOR_UNAVAILABLE);
    AWAIT(h, r, driver_peer_presence(d, uri, GUEST, on_presence, &r));
    assert_error(r.error, ERR_HYPERVISOR_UNAVAILABLE);
    assert_false(driver_is_connected(d));
    assert_int_equal(harness_count(h, 0, DRIVER_EVENT_CONNECTED, NULL), 0);
    result_clear(&r);
    unload(h);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connection_is_announced),
        cmocka_unit_test(test_guest_is_suspended_and_resumed),
        cmocka_unit_test(test_running_guest_and_its_files_are_safe),
        cmocka_unit_test(test_what_can_not_be_measured_is_told),
        cmocka_unit_test(test_peer_is_asked),
        cmocka_unit_test(test_hypervisor_that_is_away_is_unavailable),
    };

    if (!mkdtemp(directory)) {
        perror("mkdtemp");
        return EXIT_FAILURE;
    }
    struct driver_contract contract = {
        .name = "libvirt",
        .directory = getenv("DROVER_DRIVER_PATH"),
        .options = options_of("test:///default"),
        .tells_no_machines = true,
    };
    int n_failed = driver_contract_run(&contract);
    n_failed += cmocka_run_group_tests_name("libvirt", tests, NULL, NULL);
    AUTO_FREE name = driver_contract_image();
    AUTO_FREE cache = xasprintf("%s/_base", directory);
    AUTO_FREE image = xasprintf("%s/%s", cache, name);
    if (unlink(image) != 0 || rmdir(cache) != 0 || rmdir(directory) != 0) {
        perror(directory); /* Something was left in it. */
        n_failed++;
    }
    return n_failed;
}
