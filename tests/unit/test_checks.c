#include <config.h>

#include "agent/check/report.h"

/* What an agent finds out before a migration, asking another: all rules, and
 * the forecast.  (spec/live-migration 2) */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/api/api.h"
#include "tests/unit/two_agents.h"

#define MIB INT64_C(1048576)

static int
set_up(void **state)
{
    *state = ta_create(2);
    return 0;
}

static int
tear_down(void **state)
{
    ta_free(*state);
    return 0;
}

static struct json *
check(struct two_agents *ta)
{
    struct error *error = NULL;
    struct json *args = json_object();

    json_set_string(args, "instance", ta->uuid);
    json_set_string(args, "dest", "hostb");
    json_set_bool(args, "check", true);
    struct json *answer = ta_api(ta, A, "migrate", args, &error);
    assert_null(error);
    return answer;
}

static struct json *
forecast(struct two_agents *ta)
{
    struct error *error = NULL;
    struct json *args = json_object();

    json_set_string(args, "instance", ta->uuid);
    json_set_string(args, "dest", "hostb");
    struct json *answer = ta_api(ta, A, "forecast", args, &error);
    assert_null(error);
    return answer;
}

static const char *
outcome(const struct json *answer, enum check_rule rule)
{
    const struct json *host = json_first(json_get(answer, "rules"));

    return json_string_of(json_at(json_get(host, "checks"), rule), "outcome");
}

static void
test_all_rules_of_both_hosts_are_told(void **state)
{
    struct two_agents *ta = *state;
    AUTO_JSON answer = check(ta);

    assert_true(json_bool_of(answer, "ok"));
    assert_string_equal(json_string_of(answer, "dest"), "hostb");
    assert_string_equal(outcome(answer, CHECK_RULE_MEMORY), "passed");
    assert_string_equal(outcome(answer, CHECK_RULE_NO_TWIN), "passed");
    assert_string_equal(outcome(answer, CHECK_RULE_STORAGE), "passed");
    assert_string_equal(outcome(answer, CHECK_RULE_FILES), "passed");
    assert_string_equal(outcome(answer, CHECK_RULE_MEDIA), "n/a");
    ta_rest(ta);
}

/* Each time one is broken; those that can be looked at all the same are. */
static void
test_a_broken_rule_stops_only_what_rests_on_it(void **state)
{
    static const struct {
        int host;
        const char *fault;
        enum check_rule rule;
        const char *files; /* What becomes of that rule. */
    } cases[] = {
        {B, "fail compare_cpu INVALID_CPU_INFO", CHECK_RULE_CPU, "passed"},
        {B, "fail probe_create", CHECK_RULE_PROBE, "n/a"},
        {A, "fail probe_exists", CHECK_RULE_PROBE, "n/a"},
        {B, "fail prepare INVALID", CHECK_RULE_FILES, "failed"},
    };
    struct two_agents *ta = *state;

    for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
        ta_steer(ta, cases[i].host, "%s", cases[i].fault);
        AUTO_JSON answer = check(ta);

        assert_false(json_bool_of(answer, "ok"));
        assert_string_equal(outcome(answer, cases[i].rule), "failed");
        assert_string_equal(outcome(answer, CHECK_RULE_FILES), cases[i].files);
        assert_string_equal(outcome(answer, CHECK_RULE_MEMORY), "passed");
        assert_non_null(json_string_of(answer, "reason"));
        assert_true(json_is_null(json_get(answer, "forecast")));
        ta_rest(ta); /* Also of probe files. */
    }
}

static void
test_forecast_is_part_of_the_check(void **state)
{
    struct two_agents *ta = *state;

    ta->hosts[A].conf->libvirt.live_migration_bandwidth = 16;
    AUTO_JSON calm = check(ta);
    ta_steer(ta, A, "dirty-rate %s 30", ta->uuid);
    AUTO_JSON busy = check(ta);
    const struct json *first = json_get(calm, "forecast");
    const struct json *second = json_get(busy, "forecast");

    assert_string_equal(json_string_of(first, "verdict"), "converges");
    assert_int_equal(json_int_of(first, "total_ms"), 5050); /* 80 MiB. */
    assert_int_equal(json_int_of(first, "dirty_rate"), 0);
    assert_string_equal(json_string_of(first, "link_source"), "limit");
    assert_string_equal(json_string_of(second, "verdict"), "diverges");
    assert_int_equal(json_int_of(second, "dirty_rate"), 30 * MIB);
    assert_in_range(json_int_of(second, "needed_bandwidth"), 30, 32);
    assert_true(json_is_null(json_get(second, "total_ms")));
}

static void
test_forecast_is_of_what_is_asked_for(void **state)
{
    struct two_agents *ta = *state;
    struct error *error = NULL;
    struct json *args = json_object(), *settings = json_object();

    ta->hosts[A].conf->libvirt.live_migration_bandwidth = 16;
    ta_steer(ta, A, "dirty-rate %s 30", ta->uuid);
    json_set_string(args, "instance", ta->uuid);
    json_set_int(settings, "bandwidth", 64);
    json_set_int(settings, "downtime", 2000);
    json_set(args, "settings", settings);
    AUTO_JSON answer = ta_api(ta, A, "forecast", args, &error);
    assert_null(error);
    assert_int_equal(json_int_of(answer, "link_rate"), 64 * MIB);
    assert_int_equal(json_int_of(answer, "max_downtime_ms"), 2000);
    assert_string_equal(json_string_of(answer, "verdict"), "converges");
}

static void
test_guest_that_does_not_run_is_not_measured(void **state)
{
    struct two_agents *ta = *state;

    ta_steer(ta, A, "dirty-rate %s 30", ta->uuid);
    ta_steer(ta, A, "fail dirty_rate_start");
    ta_steer(ta, A, "guest-pause %s", ta->uuid);
    ta_settle();
    AUTO_JSON paused = forecast(ta);
    assert_string_equal(json_string_of(paused, "verdict"), "converges");
    assert_int_equal(json_int_of(paused, "dirty_rate"), 0);

    ta_steer(ta, A, "guest-stop %s", ta->uuid);
    ta_settle();
    AUTO_JSON off = forecast(ta);
    assert_string_equal(json_string_of(off, "verdict"), "unknown");
    assert_string_equal(json_string_of(off, "reason"),
                        "the guest does not run");
    assert_true(json_is_null(json_get(off, "dirty_rate")));
}

static void
kept(void *aux, struct error *error, struct object *record)
{
    assert_null(error);
    object_free(record);
    *(bool *)aux = true;
}

static void
test_link_is_what_a_migration_there_came_to(void **state)
{
    struct two_agents *ta = *state;
    struct records *records = ta->hosts[A].agent->records;
    AUTO_OBJECT record = object_create("Migration", "1.7");
    bool is_kept = false;
    AUTO_JSON before = forecast(ta);

    assert_string_equal(json_string_of(before, "link_source"), "assumed");
    struct json *stats = json_object();
    json_set_int(stats, "elapsed_ms", 2000);
    object_set_string(record, "uuid", "11111111-2222-4333-8444-555555555555");
    object_set_string(record, "status", "completed");
    object_set_string(record, "source_compute", "hosta");
    object_set_string(record, "dest_compute", "hostb");
    object_set_int(record, "memory_processed", 80 * MIB);
    object_set_int(record, "disk_processed", 20 * MIB);
    object_set(record, "stats", stats);
    records->ops->migration_create(records->state, NULL, record, kept,
                                   &is_kept);
    ta_until(ta, is_kept);
    AUTO_JSON after = forecast(ta);
    assert_string_equal(json_string_of(after, "link_source"), "measured");
    assert_int_equal(json_int_of(after, "link_rate"), 50 * MIB);
}

struct late {
    unsigned n_calls;
    struct json *answer;
};

static void
answered(void *aux, struct json *result, struct error *error)
{
    struct late *late = aux;

    late->n_calls++;
    late->answer = result;
    assert_null(error);
}

static void
test_agent_that_stops_says_so_in_the_middle(void **state)
{
    struct two_agents *ta = *state;
    struct late late = {0, NULL};
    AUTO_JSON args = json_object();

    json_set_string(args, "instance", ta->uuid);
    api_call_local(ta->hosts[A].agent, "forecast", args, answered, &late);
    ta_settle(); /* It is being measured. */
    assert_int_equal(late.n_calls, 0);
    ta_stop(ta, A);
    assert_int_equal(late.n_calls, 1);
    assert_string_equal(json_string_of(late.answer, "verdict"), "unknown");
    assert_string_equal(json_string_of(late.answer, "reason"),
                        "the agent is stopping");
    json_free(late.answer);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_rules_of_both_hosts_are_told),
        TEST(test_a_broken_rule_stops_only_what_rests_on_it),
        TEST(test_forecast_is_part_of_the_check),
        TEST(test_forecast_is_of_what_is_asked_for),
        TEST(test_guest_that_does_not_run_is_not_measured),
        TEST(test_link_is_what_a_migration_there_came_to),
        TEST(test_agent_that_stops_says_so_in_the_middle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
