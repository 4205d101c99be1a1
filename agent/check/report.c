#include <config.h>

#include "agent/check/report.h"

#include <stdio.h>
#include <stdlib.h>

#include "rpc/failure.h"

enum outcome { OUTCOME_NONE, OUTCOME_PASSED, OUTCOME_FAILED, OUTCOME_SKIPPED };

struct check_report {
    struct line {
        enum outcome outcome;
        struct error *error; /* If it failed. */
        char *reason;        /* If it was skipped. */
    } lines[CHECK_N_RULES];
    int first_broken; /* -1: none. */
};

static const struct {
    const char *name, *text;
} rules[] = {
#define CHECK_RULE(NAME, WORD, TEXT) {WORD, TEXT},
    CHECK_RULES
#undef CHECK_RULE
};

static void append_line(struct json *list, const struct check_report *report,
                        int rule);
static int rule_of_name(const char *name);

struct check_report *
check_report_create(void)
{
    struct check_report *report = xzalloc(sizeof *report);

    report->first_broken = -1;
    return report;
}

void
check_report_free(struct check_report *report)
{
    if (!report) {
        return;
    }
    for (size_t i = 0; i < CHECK_N_RULES; i++) {
        error_free(report->lines[i].error);
        free(report->lines[i].reason);
    }
    free(report);
}

void
check_report_note(struct check_report *report, enum check_rule rule,
                  struct error *error)
{
    struct line *line = &report->lines[rule];

    if (line->outcome == OUTCOME_FAILED) {
        error_free(error);
        return;
    }
    line->outcome = error ? OUTCOME_FAILED : OUTCOME_PASSED;
    line->error = error;
    if (error && report->first_broken < 0) {
        report->first_broken = (int)rule;
    }
}

void
check_report_skip(struct check_report *report, enum check_rule rule,
                  const char *fmt, ...)
{
    struct line *line = &report->lines[rule];
    va_list args;

    if (line->outcome == OUTCOME_NONE) {
        line->outcome = OUTCOME_SKIPPED;
        va_start(args, fmt);
        line->reason = xvasprintf(fmt, args);
        va_end(args);
    }
}

bool
check_report_is_broken(const struct check_report *report, enum check_rule rule)
{
    return report->lines[rule].outcome == OUTCOME_FAILED;
}

const struct error *
check_report_error(const struct check_report *report)
{
    return report->first_broken < 0 ? NULL
                                    : report->lines[report->first_broken].error;
}

struct json *
check_report_rules(const struct check_report *report)
{
    static const char *const outcomes[] = {"n/a", "passed", "failed", "n/a"};
    struct json *list = json_array();

    for (size_t i = 0; i < CHECK_N_RULES; i++) {
        const struct line *line = &report->lines[i];
        struct json *json = json_object();
        AUTO_FREE text = line->error ? error_text(line->error) : NULL;

        json_set_string(json, "rule", rules[i].name);
        json_set_string(json, "text", rules[i].text);
        json_set_string(json, "outcome", outcomes[line->outcome]);
        json_set_string(json, "reason",
                        line->outcome == OUTCOME_NONE ? "not reached"
                        : text                        ? text
                                                      : line->reason);
        json_append(list, json);
    }
    return list;
}

/* [{rule, failed: failure or null, skipped: text or null}], that which was
 * broken first before the others. */
struct json *
check_report_format(const struct check_report *report)
{
    struct json *list = json_array();

    if (report->first_broken >= 0) {
        append_line(list, report, report->first_broken);
    }
    for (int i = 0; i < CHECK_N_RULES; i++) {
        if (i != report->first_broken &&
            report->lines[i].outcome != OUTCOME_NONE) {
            append_line(list, report, i);
        }
    }
    return list;
}

void
check_report_merge(struct check_report *report, const struct json *json)
{
    json_for_each (from, json) {
        int rule = rule_of_name(json_string_of(from, "rule"));
        const char *failure = json_string_of(from, "failed");
        const char *skipped = json_string_of(from, "skipped");

        if (rule >= 0 && skipped) {
            check_report_skip(report, (enum check_rule)rule, "%s", skipped);
        } else if (rule >= 0) {
            check_report_note(report, (enum check_rule)rule,
                              failure ? failure_parse(failure) : NULL);
        }
    }
}

static void
append_line(struct json *list, const struct check_report *report, int rule)
{
    const struct line *line = &report->lines[rule];
    struct json *json = json_object();
    AUTO_FREE failure = line->error ? failure_format(line->error) : NULL;

    json_set_string(json, "rule", rules[rule].name);
    json_set_string(json, "failed", failure);
    json_set_string(json, "skipped", line->reason);
    json_append(list, json);
}

static int
rule_of_name(const char *name)
{
    for (int i = 0; name && i < CHECK_N_RULES; i++) {
        if (str_eq(rules[i].name, name)) {
            return i;
        }
    }
    return -1;
}
