#include <config.h>

#include "agent/metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void
assert_text(struct metrics *m, const char *expected)
{
    size_t size;
    AUTO_FREE text = metrics_finish(m, &size);

    assert_string_equal(text, expected);
    assert_int_equal(size, strlen(expected));
}

static void
test_nothing_is_an_empty_text(void **state UNUSED)
{
    assert_text(metrics_create(), "");
}

static void
test_a_metric_has_help_type_and_samples(void **state UNUSED)
{
    struct metrics *m = metrics_create();

    metrics_begin(m, METRIC_COUNTER, "x_total", "What it counts.");
    metrics_count(m, 3);
    metrics_begin(m, METRIC_GAUGE, "y", "A state.");
    metrics_label(m, "a", "1");
    metrics_label(m, "b", "two");
    metrics_value(m, -0.25);
    metrics_label(m, "a", "2");
    metrics_value(m, 1);
    assert_text(m, "# HELP x_total What it counts.\n"
                   "# TYPE x_total counter\n"
                   "x_total 3\n"
                   "# HELP y A state.\n"
                   "# TYPE y gauge\n"
                   "y{a=\"1\",b=\"two\"} -0.25\n"
                   "y{a=\"2\"} 1\n");
}

static void
test_what_would_end_a_label_is_escaped(void **state UNUSED)
{
    struct metrics *m = metrics_create();

    metrics_begin(m, METRIC_GAUGE, "x", "a \"b\"\\\nc");
    metrics_label(m, "l", "a \"b\"\\\nc\xc3\xa4");
    metrics_value(m, 0);
    assert_text(m, "# HELP x a \"b\"\\\\\\nc\n"
                   "# TYPE x gauge\n"
                   "x{l=\"a \\\"b\\\"\\\\\\nc\xc3\xa4\"} 0\n");
}

static void
test_numbers_keep_their_digits(void **state UNUSED)
{
    struct metrics *m = metrics_create();

    metrics_begin(m, METRIC_GAUGE, "x", "h");
    metrics_value(m, NAN);
    metrics_value(m, INFINITY);
    metrics_value(m, -INFINITY);
    metrics_value(m, 1792000000.125);
    metrics_value(m, 1e300);
    metrics_count(m, UINT64_MAX);
    assert_text(m, "# HELP x h\n"
                   "# TYPE x gauge\n"
                   "x NaN\n"
                   "x +Inf\n"
                   "x -Inf\n"
                   "x 1792000000.125\n"
                   "x 1e+300\n"
                   "x 18446744073709551615\n");
}

static void
test_buckets_of_a_histogram_add_up(void **state UNUSED)
{
    static const double bounds[] = {0.1, 1, 10};
    struct histogram histogram = {.bounds = bounds,
                                  .n_bounds = N_ELEMENTS(bounds)};
    struct metrics *m = metrics_create();

    histogram_note(&histogram, 0.05);
    histogram_note(&histogram, 0.1); /* A bound is in its bucket. */
    histogram_note(&histogram, 5);
    histogram_note(&histogram, 100);
    metrics_begin(m, METRIC_HISTOGRAM, "x_seconds", "h");
    metrics_label(m, "k", "v");
    metrics_histogram(m, &histogram);
    assert_text(m, "# HELP x_seconds h\n"
                   "# TYPE x_seconds histogram\n"
                   "x_seconds_bucket{k=\"v\",le=\"0.1\"} 2\n"
                   "x_seconds_bucket{k=\"v\",le=\"1\"} 2\n"
                   "x_seconds_bucket{k=\"v\",le=\"10\"} 3\n"
                   "x_seconds_bucket{k=\"v\",le=\"+Inf\"} 4\n"
                   "x_seconds_sum{k=\"v\"} 105.15\n"
                   "x_seconds_count{k=\"v\"} 4\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_an_empty_text),
        cmocka_unit_test(test_a_metric_has_help_type_and_samples),
        cmocka_unit_test(test_what_would_end_a_label_is_escaped),
        cmocka_unit_test(test_numbers_keep_their_digits),
        cmocka_unit_test(test_buckets_of_a_histogram_add_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
