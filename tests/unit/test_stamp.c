#include <config.h>

#include "agent/stamp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/clock.h"
#include "agent/base/mem.h"

#define HOUR_US (3600 * INT64_C(1000000))

static uint64_t now_ms = 5000;
static int64_t wall_us = 1000 * HOUR_US;

static uint64_t
fake_now_ms(void)
{
    return now_ms;
}

static int64_t
fake_wall_us(void)
{
    return wall_us;
}

static void
pass_ms(unsigned ms)
{
    now_ms += ms;
    wall_us += (int64_t)ms * 1000;
}

static struct stamp
through_the_journal(const struct stamp *stamp)
{
    AUTO_JSON row = json_object();
    struct stamp loaded;

    stamp_save(stamp, row, "started");
    stamp_load(row, "started", &loaded);
    return loaded;
}

static void
test_age_is_the_time_that_passed(void **state UNUSED)
{
    struct stamp stamp;

    stamp_take(&stamp);
    assert_int_equal(stamp.wall_us, wall_us);
    pass_ms(1500);
    assert_int_equal(stamp_age_ms(&stamp), 1500);
}

static void
test_clock_that_is_set_makes_nothing_older_or_younger(void **state UNUSED)
{
    struct stamp stamp;

    stamp_take(&stamp);
    pass_ms(1500);
    wall_us += HOUR_US;
    assert_int_equal(stamp_age_ms(&stamp), 1500);
    wall_us -= 3 * HOUR_US;
    struct stamp loaded = through_the_journal(&stamp);
    assert_int_equal(stamp_age_ms(&loaded), 1500);
}

static void
test_after_a_boot_the_wall_clock_tells(void **state UNUSED)
{
    struct stamp stamp;

    stamp_take(&stamp);
    snprintf(stamp.boot, sizeof stamp.boot, "another");
    struct stamp loaded = through_the_journal(&stamp);
    now_ms = 10;
    wall_us += HOUR_US;
    assert_int_equal(stamp_age_ms(&loaded), 3600 * 1000);
    wall_us -= 2 * HOUR_US;
    assert_int_equal(stamp_age_ms(&loaded), 0);
}

static void
test_row_of_an_older_drover_has_its_wall_time(void **state UNUSED)
{
    AUTO_JSON row = json_object();
    struct stamp loaded;

    stamp_load(row, "started", &loaded);
    assert_int_equal(stamp_age_ms(&loaded), 0); /* Never. */
    json_set_int(row, "started", wall_us - HOUR_US);
    stamp_load(row, "started", &loaded);
    assert_int_equal(stamp_age_ms(&loaded), 3600 * 1000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_age_is_the_time_that_passed),
        cmocka_unit_test(test_clock_that_is_set_makes_nothing_older_or_younger),
        cmocka_unit_test(test_after_a_boot_the_wall_clock_tells),
        cmocka_unit_test(test_row_of_an_older_drover_has_its_wall_time),
    };

    json_init();
    clock_set_fake(fake_now_ms, fake_wall_us);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
