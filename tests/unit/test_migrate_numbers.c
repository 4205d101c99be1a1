#include <config.h>

#include "agent/migrate/numbers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/mem.h"

static const struct job_stats running = {
    .type = JOB_UNBOUNDED,
    .elapsed_ms = 4000,
    .downtime_ms = 300,
    .downtime_net_ms = -1,
    .memory_total = 1000,
    .memory_processed = 700,
    .memory_remaining = 300,
    .disk_total = 0,
    .disk_processed = 0,
    .disk_remaining = 0,
    .memory_bps = 175,
    .disk_bps = -1,
    .iteration = 3,
    .dirty_rate_pages = 2,
    .page_size = 4096,
    .auto_converge_percent = 30,
};

static const struct job_stats ended = {
    .type = JOB_COMPLETED,
    .elapsed_ms = 5000,
    .downtime_ms = 44,
    .downtime_net_ms = 41,
    .memory_total = 1000,
    .memory_processed = 1200,
    .memory_remaining = 0,
    .disk_total = 300,
    .disk_processed = 300,
    .disk_remaining = 0,
    .memory_bps = 240,
    .disk_bps = 0,
    .iteration = 4,
    .dirty_rate_pages = 1,
    .page_size = 4096,
    .auto_converge_percent = -1,
};

static void
assert_shown(const struct migrate_numbers *numbers, bool is_running,
             const char *name, int64_t expected)
{
    AUTO_JSON json = json_object();

    migrate_numbers_describe(numbers, is_running, json);
    assert_true(json_has(json, name));
    if (expected < 0) {
        assert_true(json_is_null(json_get(json, name)));
    } else {
        assert_true(json_is_number(json_get(json, name)));
        assert_int_equal(json_int_of(json, name), expected);
    }
}

static void
test_at_first_nothing_is_known(void **state UNUSED)
{
    static const char *const names[] = {
        "elapsed_ms",           "total_ms",  "downtime_ms", "downtime_net_ms",
        "expected_downtime_ms", "iteration", "rate",        "dirty_rate",
        "throttle_percent"};
    struct migrate_numbers numbers;

    migrate_numbers_init(&numbers);
    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        assert_shown(&numbers, true, names[i], -1);
        assert_shown(&numbers, false, names[i], -1);
    }
}

static void
test_downtime_of_a_running_job_is_only_expected(void **state UNUSED)
{
    struct migrate_numbers numbers;

    migrate_numbers_init(&numbers);
    migrate_numbers_note(&numbers, &running);
    assert_shown(&numbers, true, "expected_downtime_ms", 300);
    assert_shown(&numbers, true, "downtime_ms", -1);
    assert_shown(&numbers, true, "rate", 175);
    assert_shown(&numbers, true, "dirty_rate", 8192);
}

static void
test_downtime_of_the_completed_job_is_measured(void **state UNUSED)
{
    struct migrate_numbers numbers;

    migrate_numbers_init(&numbers);
    migrate_numbers_note(&numbers, &running);
    migrate_numbers_conclude(&numbers, true, &ended);
    assert_shown(&numbers, false, "downtime_ms", 44);
    assert_shown(&numbers, false, "downtime_net_ms", 41);
    assert_shown(&numbers, false, "expected_downtime_ms", -1);
    assert_shown(&numbers, false, "iteration", 4);
    assert_shown(&numbers, false, "rate", 300); /* 1500 bytes in 5 s. */
    assert_shown(&numbers, false, "elapsed_ms", 5000);
}

static void
test_no_other_job_is_believed(void **state UNUSED)
{
    struct job_stats none = {.type = JOB_NONE};
    struct job_stats failed = ended;
    const struct {
        bool has_moved;
        const struct job_stats *final;
    } rows[] = {
        {true, NULL},
        {true, &none},
        {true, &failed},
        {false, &ended},
    };

    failed.type = JOB_FAILED;
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct migrate_numbers numbers;

        migrate_numbers_init(&numbers);
        migrate_numbers_note(&numbers, &running);
        migrate_numbers_conclude(&numbers, rows[i].has_moved, rows[i].final);
        assert_shown(&numbers, false, "downtime_ms", -1);
        assert_shown(&numbers, false, "downtime_net_ms", -1);
        assert_shown(&numbers, false, "elapsed_ms", 4000);
        assert_shown(&numbers, false, "iteration", 3);
    }
}

static void
test_highest_throttle_is_kept(void **state UNUSED)
{
    struct migrate_numbers numbers;
    struct job_stats stats = running;

    migrate_numbers_init(&numbers);
    migrate_numbers_note(&numbers, &stats);
    stats.auto_converge_percent = 70;
    migrate_numbers_note(&numbers, &stats);
    stats.auto_converge_percent = 0;
    migrate_numbers_note(&numbers, &stats);
    migrate_numbers_conclude(&numbers, true, &ended);
    assert_shown(&numbers, false, "throttle_percent", 70);
}

static void
test_silence_does_not_replace_what_was_known(void **state UNUSED)
{
    struct job_stats none = {.type = JOB_NONE};
    struct migrate_numbers numbers;

    migrate_numbers_init(&numbers);
    migrate_numbers_note(&numbers, &running);
    migrate_numbers_note(&numbers, &none);
    assert_shown(&numbers, true, "elapsed_ms", 4000);
}

static void
test_what_is_kept_comes_back(void **state UNUSED)
{
    struct migrate_numbers numbers, loaded;

    migrate_numbers_init(&numbers);
    migrate_numbers_note(&numbers, &running);
    migrate_numbers_conclude(&numbers, true, &ended);
    numbers.total_ms = 6000;
    numbers.used_postcopy = true;

    AUTO_JSON kept = migrate_numbers_format(&numbers);
    migrate_numbers_parse(kept, &loaded);
    AUTO_JSON before = json_object();
    AUTO_JSON after = json_object();
    migrate_numbers_describe(&numbers, false, before);
    migrate_numbers_describe(&loaded, false, after);
    AUTO_FREE text = json_print(before, NULL);
    AUTO_FREE text_after = json_print(after, NULL);
    assert_string_equal(text, text_after);
    assert_true(json_is_true(json_get(after, "postcopy")));
    assert_int_equal(json_int_of(after, "throttle_percent"), 30);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_first_nothing_is_known),
        cmocka_unit_test(test_downtime_of_a_running_job_is_only_expected),
        cmocka_unit_test(test_downtime_of_the_completed_job_is_measured),
        cmocka_unit_test(test_no_other_job_is_believed),
        cmocka_unit_test(test_highest_throttle_is_kept),
        cmocka_unit_test(test_silence_does_not_replace_what_was_known),
        cmocka_unit_test(test_what_is_kept_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
