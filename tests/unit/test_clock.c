#include <config.h>

#include "agent/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void
test_wall_times_are_formatted_in_utc(void **state)
{
    char buf[CLOCK_TEXT_SIZE];

    (void)state;
    assert_ptr_equal(clock_format_iso(1767323045512345, buf), buf);
    assert_string_equal(buf, "2026-01-02T03:04:05Z");
    assert_string_equal(clock_format_iso(0, buf), "1970-01-01T00:00:00Z");
}

static void
test_six_digits_are_always_there(void **state)
{
    char buf[CLOCK_TEXT_SIZE];

    (void)state;
    assert_string_equal(clock_format_micro(1767323045512345, 'T', buf),
                        "2026-01-02T03:04:05.512345");
    assert_string_equal(clock_format_micro(1767323045000000, ' ', buf),
                        "2026-01-02 03:04:05.000000");
    assert_string_equal(clock_format_micro(1767323045000007, ' ', buf),
                        "2026-01-02 03:04:05.000007");
}

static void
test_the_real_clocks_go_on(void **state)
{
    uint64_t before = clock_now_ms();
    int64_t wall_s = clock_wall_us() / 1000000, now_s = time(NULL);

    (void)state;
    assert_true(before > 0);
    assert_true(clock_now_ms() >= before);
    assert_true(wall_s - now_s >= -2 && wall_s - now_s <= 2);
}

static uint64_t
seven_ms(void)
{
    return 7;
}

static int64_t
eight_us(void)
{
    return 8;
}

static void
test_a_fake_stands_in_until_it_is_taken_away(void **state)
{
    (void)state;
    clock_set_fake(seven_ms, eight_us);
    assert_int_equal(clock_now_ms(), 7);
    assert_int_equal(clock_wall_us(), 8);
    clock_set_fake(NULL, NULL);
    assert_true(clock_wall_us() > 1000000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wall_times_are_formatted_in_utc),
        cmocka_unit_test(test_six_digits_are_always_there),
        cmocka_unit_test(test_the_real_clocks_go_on),
        cmocka_unit_test(test_a_fake_stands_in_until_it_is_taken_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
