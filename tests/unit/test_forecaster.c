#include <config.h>

#include "agent/forecaster.h"

/* What it asks and whom it believes; what is made of that is test_forecast's.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/two_agents.h"

#define MIB INT64_C(1048576)
#define N_AT_ONCE 3

struct asked {
    struct json *forecast; /* Null: it is under way. */
};

static int
set_up(void **state)
{
    struct two_agents *ta = ta_create(2);

    ta_steer(ta, A, "dirty-rate * 8");
    *state = ta;
    return 0;
}

static int
tear_down(void **state)
{
    ta_free(*state);
    return 0;
}

static void
made(void *aux, struct json *forecast)
{
    struct asked *asked = aux;

    assert_null(asked->forecast);
    asked->forecast = forecast;
}

static void
ask(struct two_agents *ta, const char *uuid, struct asked *ret)
{
    struct log_context log = {.op = 0};
    struct forecaster_request request = {.uuid = uuid, .dest = "hostb"};

    ret->forecast = NULL;
    forecaster_start(ta->hosts[A].agent, &request, NULL, &log, made, ret);
}

static void
assert_unknown(const struct asked *asked, const char *why)
{
    assert_string_equal(json_string_of(asked->forecast, "verdict"), "unknown");
    assert_true(json_is_null(json_get(asked->forecast, "dirty_rate")));
    assert_true(json_is_null(json_get(asked->forecast, "total_ms")));
    const char *reason = json_string_of(asked->forecast, "reason");
    if (!strstr(reason, why)) {
        fail_msg("'%s' does not say '%s'", reason, why);
    }
}

static void
test_what_the_guest_writes_is_measured(void **state)
{
    struct two_agents *ta = *state;
    struct asked asked;

    ask(ta, ta->uuid, &asked);
    ta_until(ta, asked.forecast);
    assert_int_equal(json_int_of(asked.forecast, "dirty_rate"), 8 * MIB);
    assert_string_equal(json_string_of(asked.forecast, "verdict"), "converges");
    assert_null(json_string_of(asked.forecast, "reason"));
    json_free(asked.forecast);
}

static void
ignored(void *aux, struct error *error)
{
    (void)aux;
    error_free(error);
}

/* Over another time: that says something else, and here nothing. */
static void
test_a_measurement_of_another_is_not_believed(void **state)
{
    struct two_agents *ta = *state;
    struct asked asked;

    ask(ta, ta->uuid, &asked);
    ta_settle(); /* It is being measured. */
    driver_dirty_rate_start(ta->hosts[A].agent->driver, ta->uuid, 32, ignored,
                            NULL);
    ta_until(ta, asked.forecast);
    assert_unknown(&asked, "does not end");
    json_free(asked.forecast);
}

/* There is one measurement of a guest at a time: who comes between gets none
 * rather than that of another. */
static void
test_several_at_once_get_their_own_or_none(void **state)
{
    struct two_agents *ta = *state;
    struct asked asked[N_AT_ONCE];

    for (int i = 0; i < N_AT_ONCE; i++) {
        ask(ta, ta->uuid, &asked[i]);
    }
    for (int i = 0; i < N_AT_ONCE; i++) {
        ta_until(ta, asked[i].forecast);
        if (json_string_of(asked[i].forecast, "reason")) {
            assert_unknown(&asked[i], "does not end");
        } else {
            assert_int_equal(json_int_of(asked[i].forecast, "dirty_rate"),
                             8 * MIB);
        }
        json_free(asked[i].forecast);
    }
}

static void
test_a_guest_that_does_not_run_has_none(void **state)
{
    struct two_agents *ta = *state;
    struct asked asked;

    ask(ta, "2f1f4b3e-2b5c-4f0e-9a55-0a1c7f3b6d10", &asked);
    ta_until(ta, asked.forecast);
    assert_unknown(&asked, "could not be found");
    json_free(asked.forecast);
    ta_steer(ta, A, "guest-stop %s", ta->uuid);
    ask(ta, ta->uuid, &asked);
    ta_until(ta, asked.forecast);
    assert_unknown(&asked, "does not run");
    json_free(asked.forecast);
}

static void
test_a_hypervisor_that_does_not_answer_is_not_waited_for(void **state)
{
    struct two_agents *ta = *state;
    struct asked asked;

    ta_steer(ta, A, "hang dirty_rate_get");
    ask(ta, ta->uuid, &asked);
    ta_until(ta, asked.forecast);
    assert_unknown(&asked, "does not answer in time");
    ta_steer(ta, A, "release");
    ta_rest(ta);
    json_free(asked.forecast);
}

static void
test_what_fails_is_told(void **state)
{
    struct two_agents *ta = *state;
    struct asked asked;

    ta_steer(ta, A, "fail dirty_rate_start");
    ask(ta, ta->uuid, &asked);
    ta_until(ta, asked.forecast);
    assert_unknown(&asked, "told to fail");
    json_free(asked.forecast);
}

static void
test_the_least_of_the_limits_counts(void **state)
{
    struct two_agents *ta = *state;
    struct conf_libvirt *libvirt = &ta->hosts[A].conf->libvirt;
    struct asked asked;

    ask(ta, ta->uuid, &asked);
    ta_until(ta, asked.forecast);
    assert_string_equal(json_string_of(asked.forecast, "link_source"),
                        "assumed");
    json_free(asked.forecast);
    libvirt->live_migration_bandwidth = 30;
    libvirt->live_migration_host_bandwidth = 20;
    ask(ta, ta->uuid, &asked);
    ta_until(ta, asked.forecast);
    assert_string_equal(json_string_of(asked.forecast, "link_source"), "limit");
    assert_int_equal(json_int_of(asked.forecast, "link_rate"), 20 * MIB);
    json_free(asked.forecast);
}

static void
test_who_is_under_way_is_told_when_the_agent_stops(void **state)
{
    struct two_agents *ta = *state;
    struct asked asked[N_AT_ONCE];

    for (int i = 0; i < N_AT_ONCE; i++) {
        ask(ta, ta->uuid, &asked[i]);
    }
    ta_settle();
    forecaster_cancel(ta->hosts[A].agent);
    for (int i = 0; i < N_AT_ONCE; i++) {
        assert_non_null(asked[i].forecast);
        assert_unknown(&asked[i], "stopping");
        json_free(asked[i].forecast);
    }
    ta_rest(ta);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_the_guest_writes_is_measured),
        TEST(test_a_measurement_of_another_is_not_believed),
        TEST(test_several_at_once_get_their_own_or_none),
        TEST(test_a_guest_that_does_not_run_has_none),
        TEST(test_a_hypervisor_that_does_not_answer_is_not_waited_for),
        TEST(test_what_fails_is_told),
        TEST(test_the_least_of_the_limits_counts),
        TEST(test_who_is_under_way_is_told_when_the_agent_stops),
    };

    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
