#include <config.h>

#include "agent/check/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define AUTO_REPORT CLEANUP(check_report_free_at) struct check_report *

static const char *
outcome(const struct json *rules, enum check_rule rule)
{
    return json_string_of(json_at(rules, rule), "outcome");
}

static const char *
reason(const struct json *rules, enum check_rule rule)
{
    return json_string_of(json_at(rules, rule), "reason");
}

static void
test_every_rule_has_a_line(void **state UNUSED)
{
    AUTO_REPORT report = check_report_create();

    check_report_note(report, CHECK_RULE_CPU, NULL);
    check_report_note(report, CHECK_RULE_MEMORY,
                      error_new(ERR_MIGRATION_PRE_CHECK, "too small"));
    check_report_skip(report, CHECK_RULE_MEDIA, "it has %d", 0);
    AUTO_JSON rules = check_report_rules(report);

    assert_int_equal(json_size(rules), CHECK_N_RULES);
    assert_string_equal(json_string_of(json_at(rules, CHECK_RULE_CPU), "rule"),
                        "cpu");
    assert_non_null(json_string_of(json_at(rules, CHECK_RULE_CPU), "text"));
    assert_string_equal(outcome(rules, CHECK_RULE_CPU), "passed");
    assert_null(reason(rules, CHECK_RULE_CPU));
    assert_string_equal(outcome(rules, CHECK_RULE_MEMORY), "failed");
    assert_string_equal(reason(rules, CHECK_RULE_MEMORY),
                        "Migration pre-check error: too small");
    assert_string_equal(outcome(rules, CHECK_RULE_MEDIA), "n/a");
    assert_string_equal(reason(rules, CHECK_RULE_MEDIA), "it has 0");
    assert_string_equal(outcome(rules, CHECK_RULE_FILES), "n/a");
    assert_string_equal(reason(rules, CHECK_RULE_FILES), "not reached");
}

static void
test_the_first_that_was_broken_counts(void **state UNUSED)
{
    AUTO_REPORT report = check_report_create();

    assert_null(check_report_error(report));
    check_report_note(report, CHECK_RULE_STORAGE, error_new(ERR_VALUE, "one"));
    check_report_note(report, CHECK_RULE_CPU, error_new(ERR_INVALID, "two"));
    assert_string_equal(error_message(check_report_error(report)), "one");
    assert_true(check_report_is_broken(report, CHECK_RULE_CPU));
    assert_false(check_report_is_broken(report, CHECK_RULE_MEMORY));
}

static void
test_what_is_broken_stays_so(void **state UNUSED)
{
    AUTO_REPORT report = check_report_create();

    check_report_note(report, CHECK_RULE_MEDIA, error_new(ERR_VALUE, "one"));
    check_report_note(report, CHECK_RULE_MEDIA, NULL);
    check_report_note(report, CHECK_RULE_MEDIA, error_new(ERR_VALUE, "two"));
    check_report_skip(report, CHECK_RULE_MEDIA, "none");
    AUTO_JSON rules = check_report_rules(report);

    assert_string_equal(outcome(rules, CHECK_RULE_MEDIA), "failed");
    assert_string_equal(reason(rules, CHECK_RULE_MEDIA), "one");
}

static void
test_report_of_a_peer_is_put_over_ours(void **state UNUSED)
{
    AUTO_REPORT theirs = check_report_create();
    AUTO_REPORT ours = check_report_create();
    struct error *shared = error_new(ERR_INVALID_LOCAL_STORAGE, "it is shared");

    error_set_arg(shared, "path", "cmp-03");
    error_set_arg(shared, "reason", "it is shared");
    check_report_note(theirs, CHECK_RULE_STORAGE, shared);
    check_report_note(theirs, CHECK_RULE_CPU, error_new(ERR_VALUE, "later"));
    check_report_note(theirs, CHECK_RULE_RUNNING, NULL);
    check_report_skip(theirs, CHECK_RULE_SERIAL, "not enabled");
    check_report_note(ours, CHECK_RULE_MEMORY, NULL);

    AUTO_JSON json = check_report_format(theirs);
    check_report_merge(ours, json);
    AUTO_JSON rules = check_report_rules(ours);
    AUTO_JSON same = check_report_rules(theirs);
    AUTO_FREE text = error_text(check_report_error(ours));

    assert_int_equal(error_code(check_report_error(ours)),
                     ERR_INVALID_LOCAL_STORAGE);
    assert_string_equal(text, "cmp-03 is not on local storage: it is shared");
    assert_string_equal(outcome(rules, CHECK_RULE_MEMORY), "passed");
    for (int i = 0; i < CHECK_N_RULES; i++) {
        if (i != CHECK_RULE_MEMORY) {
            assert_true(json_equal(json_at(rules, (size_t)i),
                                   json_at(same, (size_t)i)));
        }
    }
}

static void
test_any_input_is_survived(void **state UNUSED)
{
    static const char *const inputs[] = {
        "null",
        "7",
        "{}",
        "[1, null, [], {}]",
        "[{\"rule\": 1}, {\"rule\": \"no-such\"}]",
        "[{\"rule\": \"cpu\", \"failed\": \"no failure\"}]",
    };

    for (size_t i = 0; i < N_ELEMENTS(inputs); i++) {
        AUTO_REPORT report = check_report_create();
        AUTO_JSON json = NULL;
        AUTO_ERROR error = json_parse(inputs[i], strlen(inputs[i]), &json);

        assert_null(error);
        check_report_merge(report, json);
        /* What claims to have failed has. */
        assert_true(check_report_is_broken(report, CHECK_RULE_CPU) ==
                    (i == N_ELEMENTS(inputs) - 1));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_rule_has_a_line),
        cmocka_unit_test(test_the_first_that_was_broken_counts),
        cmocka_unit_test(test_what_is_broken_stays_so),
        cmocka_unit_test(test_report_of_a_peer_is_put_over_ours),
        cmocka_unit_test(test_any_input_is_survived),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
