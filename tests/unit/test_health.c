#include <config.h>

#include "agent/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/tally.h"

static const struct health_facts well = {
    .has_bus = true,
    .bus_is_up = true,
    .hypervisor_is_up = true,
    .has_self_test = true,
    .self_test = SELF_TEST_OK,
};

/* 'what' is that of the only reason; null: there is none. */
static void
assert_judged(const struct health_facts *facts, enum health expected,
              const char *status, const char *what)
{
    AUTO_JSON json = json_object();

    assert_int_equal(health_judge(facts, json), expected);
    assert_string_equal(json_string_of(json, "status"), status);
    const struct json *reasons = json_get(json, "reasons");
    assert_int_equal(json_size(reasons), what ? 1 : 0);
    if (what) {
        const struct json *reason = json_at(reasons, 0);
        assert_string_equal(json_string_of(reason, "what"), what);
        assert_string_equal(json_string_of(reason, "status"), status);
        assert_non_null(json_string_of(reason, "reason"));
    }
}

static void
test_well_is_ok(void **state UNUSED)
{
    struct health_facts facts = well;

    assert_judged(&facts, HEALTH_OK, "ok", NULL);
    facts.self_test = SELF_TEST_WAITING;
    assert_judged(&facts, HEALTH_OK, "ok", NULL);
    facts.has_self_test = false;
    facts.self_test = SELF_TEST_FAILED;
    assert_judged(&facts, HEALTH_OK, "ok", NULL);
    facts.has_bus = facts.bus_is_up = false; /* As in a test. */
    assert_judged(&facts, HEALTH_OK, "ok", NULL);
}

static void
test_what_keeps_it_from_work_is_a_failure(void **state UNUSED)
{
    struct health_facts facts = well;

    facts.bus_is_up = false;
    facts.bus_is_blocked = true; /* Not told as well. */
    assert_judged(&facts, HEALTH_FAILED, "failed", "bus");
    facts = well;
    facts.hypervisor_is_up = false;
    assert_judged(&facts, HEALTH_FAILED, "failed", "hypervisor");
    facts = well;
    facts.self_test = SELF_TEST_FAILED;
    assert_judged(&facts, HEALTH_FAILED, "failed", "self-test");
    facts = well;
    facts.unsaved_reason = "disk full";
    assert_judged(&facts, HEALTH_FAILED, "failed", "storage");
    facts = well;
    facts.is_stopping = true;
    assert_judged(&facts, HEALTH_FAILED, "failed", "agent");
}

static void
test_what_somebody_should_look_at_is_degraded(void **state UNUSED)
{
    struct health_facts facts = well;

    facts.bus_is_blocked = true;
    assert_judged(&facts, HEALTH_DEGRADED, "degraded", "bus");
    facts = well;
    facts.self_test = SELF_TEST_BUSY;
    assert_judged(&facts, HEALTH_DEGRADED, "degraded", "self-test");
    facts = well;
    facts.n_residue = 2;
    assert_judged(&facts, HEALTH_DEGRADED, "degraded", "journal");
}

static void
test_the_worst_counts_and_all_are_told(void **state UNUSED)
{
    struct health_facts facts = well;
    AUTO_JSON json = json_object();

    facts.hypervisor_is_up = false;
    facts.n_residue = 1;
    assert_int_equal(health_judge(&facts, json), HEALTH_FAILED);
    assert_int_equal(json_size(json_get(json, "reasons")), 2);
}

/* Tally. */

static void
test_ends_of_migrations_are_counted(void **state UNUSED)
{
    struct tally tally;
    struct migrate_numbers numbers;
    struct job_stats stats;
    AUTO_ERROR cancelled = error_new(ERR_CANCELLED, "x");
    AUTO_ERROR failed = error_new(ERR_MIGRATION, "x");

    tally_init(&tally);
    migrate_numbers_init(&numbers);
    tally_outgoing(&tally, failed, &numbers); /* It never ran. */
    stats = numbers.stats;
    stats.type = JOB_COMPLETED;
    stats.downtime_ms = 40;
    stats.memory_processed = 1000;
    stats.disk_processed = 10;
    migrate_numbers_note(&numbers, &stats);
    tally_outgoing(&tally, cancelled, &numbers);
    assert_int_equal(tally.memory_bytes, 1000);
    assert_int_equal(tally.n_outgoing[MIGRATION_failed], 1);
    assert_int_equal(tally.n_outgoing[MIGRATION_cancelled], 1);
    assert_true(tally.downtime_s.sum == 0); /* Nobody measured it. */
    assert_true(tally.duration_s.sum == 0);

    migrate_numbers_conclude(&numbers, true, &stats);
    numbers.total_ms = 2000;
    tally_outgoing(&tally, NULL, &numbers);
    tally_incoming(&tally, NULL);
    assert_int_equal(tally.n_outgoing[MIGRATION_completed], 1);
    assert_int_equal(tally.n_incoming[MIGRATION_completed], 1);
    assert_int_equal(tally.memory_bytes, 2000);
    assert_int_equal(tally.disk_bytes, 20);
    assert_true(tally.downtime_s.sum == 0.04);
    assert_true(tally.duration_s.sum == 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_well_is_ok),
        cmocka_unit_test(test_what_keeps_it_from_work_is_a_failure),
        cmocka_unit_test(test_what_somebody_should_look_at_is_degraded),
        cmocka_unit_test(test_the_worst_counts_and_all_are_told),
        cmocka_unit_test(test_ends_of_migrations_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
