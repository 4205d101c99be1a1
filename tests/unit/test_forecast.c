#include <config.h>

#include "agent/forecast.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MIB INT64_C(1048576)
#define GIB (1024 * MIB)

static struct forecast_input
guest_of(int64_t memory, int64_t dirty_mib_s, int64_t link_mib_s)
{
    return (struct forecast_input){
        .memory = memory,
        .dirty = {.per_s = dirty_mib_s * MIB},
        .link_bps = link_mib_s * MIB,
        .downtime_ms = 500,
        .downtime_steps = 10,
        .downtime_delay_ms = 150000,
    };
}

static struct forecast
make(const struct forecast_input *input)
{
    struct forecast forecast;

    forecast_make(input, &forecast);
    return forecast;
}

static void
assert_text(const struct forecast_input *input, const char *expected)
{
    struct forecast forecast = make(input);
    AUTO_FREE text = forecast_text(input, &forecast);

    assert_string_equal(text, expected);
}

/* The model of what is written. */

static void
test_steady_writing_is_told_from_a_hot_set(void **state UNUSED)
{
    /* 100 different MiB in each second. */
    struct forecast_dirty steady = forecast_dirty_of(1, 100, 2, 100);
    assert_int_equal(steady.hot, 0);
    assert_int_equal(steady.per_s, 100);

    /* The same 100 MiB again and again. */
    struct forecast_dirty hot = forecast_dirty_of(1, 100, 2, 50);
    assert_int_equal(hot.hot, 100);
    assert_int_equal(hot.per_s, 0);

    /* Of both. */
    struct forecast_dirty both = forecast_dirty_of(1, 100, 2, 60);
    assert_int_equal(both.hot, 80);
    assert_int_equal(both.per_s, 20);
}

static void
test_uneven_writing_is_no_negative_amount(void **state UNUSED)
{
    struct forecast_dirty fewer = forecast_dirty_of(1, 100, 2, 10);
    assert_int_equal(fewer.hot, 100);
    assert_int_equal(fewer.per_s, 0);

    struct forecast_dirty more = forecast_dirty_of(1, 10, 2, 100);
    assert_int_equal(more.hot, 0);
    assert_int_equal(more.per_s, 10);

    struct forecast_dirty idle = forecast_dirty_of(1, 0, 2, 0);
    assert_int_equal(idle.hot + idle.per_s, 0);
}

/* The passes. */

static void
test_idle_guest_takes_the_time_of_its_memory(void **state UNUSED)
{
    struct forecast_input input = guest_of(GIB, 0, 64);
    struct forecast forecast = make(&input);

    assert_int_equal(forecast.verdict, FORECAST_CONVERGES);
    assert_int_equal(forecast.total_ms, 16050);
    assert_int_equal(forecast.downtime_ms, 50); /* The switch itself. */
    assert_int_equal(forecast.n_passes, 1);
    assert_int_equal(forecast.needed_mib_s, 0);
    assert_text(&input, "will converge in about 17 s with 50 ms downtime");
}

static void
test_disks_come_first(void **state UNUSED)
{
    struct forecast_input input = guest_of(GIB, 0, 64);

    input.disk = GIB;
    assert_int_equal(make(&input).total_ms, 32050);
}

/* 16 s, then 4 s, 1 s and so on, as each pass is a quarter of the last; 250 ms,
 * then 62, are more than the first step of 50 ms, 15.6 are not. */
static void
test_passes_shrink_until_the_rest_fits(void **state UNUSED)
{
    struct forecast_input input = guest_of(GIB, 16, 64);
    struct forecast forecast = make(&input);

    assert_int_equal(forecast.verdict, FORECAST_CONVERGES);
    assert_int_equal(forecast.downtime_ms, 66);
    assert_int_equal(forecast.n_passes, 5);
    assert_in_range(forecast.total_ms, 21350, 21400);
}

static void
test_a_rest_that_needs_a_longer_pause_waits_for_it(void **state UNUSED)
{
    struct forecast_input input = guest_of(GIB, 0, 64);

    input.dirty.hot = 16 * MIB; /* 250 ms of the link; step 5 has 275. */
    struct forecast forecast = make(&input);
    assert_int_equal(forecast.verdict, FORECAST_CONVERGES);
    assert_int_equal(forecast.downtime_ms, 300);
    assert_int_equal(forecast.total_ms, 5 * 150000 + 300);

    input.downtime_delay_ms = 0; /* The longest pause at once. */
    assert_in_range(make(&input).total_ms, 16000, 17000);
    input.downtime_steps = 0;
    assert_in_range(make(&input).total_ms, 16000, 17000);
}

static void
test_what_writes_faster_than_the_link_does_not_converge(void **state UNUSED)
{
    struct forecast_input input = guest_of(GIB, 100, 64);
    struct forecast forecast = make(&input);

    assert_int_equal(forecast.verdict, FORECAST_DIVERGES);
    assert_in_range(forecast.needed_mib_s, 100, 102);
    input.link_bps = forecast.needed_mib_s * MIB;
    assert_int_equal(make(&input).verdict, FORECAST_CONVERGES);
    input.link_bps -= MIB;
    assert_int_equal(make(&input).verdict, FORECAST_DIVERGES);
}

static void
test_a_hot_set_that_is_no_pause_of_the_link_does_not_converge(
    void **state UNUSED)
{
    struct forecast_input input = guest_of(128 * MIB, 0, 16);

    input.dirty.hot = 32 * MIB; /* 2 s; 500 ms need 64 MiB/s. */
    struct forecast forecast = make(&input);
    assert_int_equal(forecast.verdict, FORECAST_DIVERGES);
    assert_int_equal(forecast.needed_mib_s, 64);
    assert_text(&input, "will not converge: needs post-copy, throttling or at "
                        "least 64 MiB/s");
    input.permit_postcopy = true;
    assert_text(&input, "will not converge: needs post-copy (permitted), "
                        "throttling or at least 64 MiB/s");
    input.permit_postcopy = false;
    input.permit_throttle = true;
    assert_text(&input, "will not converge: needs post-copy, throttling "
                        "(permitted) or at least 64 MiB/s");
}

/* It would fit into one pause as a whole, were it not for the first pass. */
static void
test_nothing_is_moved_without_a_first_pass(void **state UNUSED)
{
    struct forecast_input input = guest_of(MIB, 0, 64);

    assert_int_equal(make(&input).n_passes, 1);
}

static void
test_what_takes_longer_than_it_may_is_too_slow(void **state UNUSED)
{
    struct forecast_input input = guest_of(GIB, 0, 64);

    input.timeout_s = 16;
    struct forecast forecast = make(&input);
    assert_int_equal(forecast.verdict, FORECAST_TOO_SLOW);
    assert_int_equal(forecast.total_ms, 16050);
    assert_in_range(forecast.needed_mib_s, 65, 66);
    assert_text(&input,
                "will not converge in time: it takes about 17 s and is ended "
                "after 16 s: needs a longer completion time-out, post-copy, "
                "throttling or at least 65 MiB/s");
    input.timeout_s = 17;
    assert_int_equal(make(&input).verdict, FORECAST_CONVERGES);
}

/* Whatever the numbers, it comes to an end, and a faster link is no worse. */
static void
test_it_always_ends(void **state UNUSED)
{
    static const int64_t memories[] = {0, 1, MIB, GIB, 4096 * GIB};
    static const int64_t rates[] = {0, 1, MIB, 100 * MIB, 100 * GIB};

    for (size_t i = 0; i < N_ELEMENTS(memories) * 125; i++) {
        struct forecast_input input = {
            .memory = memories[i / 125],
            .disk = rates[i % 5],
            .dirty = {.hot = rates[i / 5 % 5], .per_s = rates[i / 25 % 5]},
            .link_bps = 7 * MIB,
            .downtime_ms = 100,
            .downtime_steps = 3,
            .downtime_delay_ms = 3000,
            .timeout_s = i % 2 ? 100 : 0,
        };
        struct forecast slow = make(&input);
        AUTO_FREE text = forecast_text(&input, &slow);
        assert_non_null(text);
        if (slow.needed_mib_s) {
            input.link_bps = slow.needed_mib_s * MIB;
            assert_int_equal(make(&input).verdict, FORECAST_CONVERGES);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steady_writing_is_told_from_a_hot_set),
        cmocka_unit_test(test_uneven_writing_is_no_negative_amount),
        cmocka_unit_test(test_idle_guest_takes_the_time_of_its_memory),
        cmocka_unit_test(test_disks_come_first),
        cmocka_unit_test(test_passes_shrink_until_the_rest_fits),
        cmocka_unit_test(test_a_rest_that_needs_a_longer_pause_waits_for_it),
        cmocka_unit_test(
            test_what_writes_faster_than_the_link_does_not_converge),
        cmocka_unit_test(
            test_a_hot_set_that_is_no_pause_of_the_link_does_not_converge),
        cmocka_unit_test(test_nothing_is_moved_without_a_first_pass),
        cmocka_unit_test(test_what_takes_longer_than_it_may_is_too_slow),
        cmocka_unit_test(test_it_always_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
