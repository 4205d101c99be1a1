#include <config.h>

#include "tests/unit/fake_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifndef DRIVER_BUILD_DIR
#define DRIVER_BUILD_DIR "drivers/.libs"
#endif

const char *
fake_modules(void)
{
    const char *directory = getenv("DROVER_DRIVER_PATH");

    return directory ? directory : DRIVER_BUILD_DIR;
}

struct driver_options
fake_options(const char *host, const char *world, unsigned n_guests)
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

void
fake_load(struct harness *h, int slot, const char *host, const char *world,
          unsigned n_guests)
{
    struct driver_options options = fake_options(host, world, n_guests);
    AUTO_ERROR error = harness_load(h, slot, fake_modules(), "fake", &options);

    if (error) {
        fail_msg("%s", error_message(error));
    }
}

void
fake_fixture_open(struct fixture *f, const char *world)
{
    struct result r = {0};

    f->h = harness_create();
    fake_load(f->h, A, "hosta", world, 1);
    fake_load(f->h, B, "hostb", world, 0);
    f->a = f->h->drivers[A];
    f->b = f->h->drivers[B];
    AWAIT_OK(f->h, r, driver_guest_list(f->a, on_list, &r));
    assert_int_equal(r.list->n, 1);
    snprintf(f->uuid, sizeof f->uuid, "%s", r.list->guests[0]->uuid);
    result_clear(&r);
}

int
fake_setup(void **state)
{
    struct fixture *f = xzalloc(sizeof *f);

    fake_fixture_open(f, "");
    *state = f;
    return 0;
}

int
fake_teardown(void **state)
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

char *
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

struct migrate_request *
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

struct prepare_request *
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

void
prepare_at_b(struct fixture *f)
{
    CLEANUP(prepare_request_free_at)
    struct prepare_request *request = disks_of(f);
    struct result r = {0};

    AWAIT_OK(f->h, r, driver_prepare(f->b, request, on_plain, &r));
}

enum guest_presence
presence_at(struct fixture *f, const char *uri)
{
    struct result r = {0};

    AWAIT_OK(f->h, r,
             driver_peer_presence(f->a, uri, f->uuid, on_presence, &r));
    return r.presence;
}

enum power_state
power_at(struct fixture *f, struct driver *driver)
{
    struct result r = {0};

    AWAIT_OK(f->h, r, driver_guest_get(driver, f->uuid, on_guest, &r));
    enum power_state power_state = r.guest->power_state;
    result_clear(&r);
    return power_state;
}

void
start(struct fixture *f, unsigned flags, struct result *moved)
{
    struct result r = {0};

    prepare_at_b(f);
    driver_migrate(f->a, request_for(f, flags | MIGRATE_BLOCK), on_plain,
                   moved);
    AWAIT_UNTIL(f->h, r, driver_job_get(f->a, f->uuid, false, on_job, &r),
                r.job.type == JOB_UNBOUNDED);
}

void
assert_moved(struct fixture *f)
{
    assert_int_equal(presence_at(f, URI_A), GUEST_ABSENT);
    assert_int_equal(presence_at(f, URI_B), GUEST_ACTIVE);
}

void
assert_stayed(struct fixture *f)
{
    assert_int_equal(presence_at(f, URI_A), GUEST_ACTIVE);
    assert_int_equal(presence_at(f, URI_B), GUEST_ABSENT);
}
