#include <config.h>

#include "agent/audit/audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Facts are written with ' for ", "u1" for a UUID, and what is left out is
 * empty. */
#define RECORD(HOST, TASK)                                      \
    "'instances': [{'uuid': 'u1', 'name': 'vm', 'host': '" HOST \
    "', 'task_state': " TASK "}]"
#define GUEST(PRESENCE) \
    "'guests': [{'uuid': 'u1', 'name': 'vm', 'presence': '" PRESENCE "'}]"
#define MIGRATION(STATUS)                                   \
    "'migrations': [{'uuid': 'm1', 'instance_uuid': 'u1', " \
    "'status': '" STATUS "', 'source': 'a', 'dest': 'b'}]"
#define OPERATION(TYPE, STEP)                                         \
    "'operations': [{'op': 7, 'type': '" TYPE "', 'instance': 'u1', " \
    "'step': '" STEP "'}]"
#define DIRECTORY(ID) \
    "'directories': [{'uuid': 'u1', 'path': '/i/u1', 'id': '" ID "'}]"
#define A(FACTS) "{'host': 'a', 'local': true, " FACTS "}"
#define B(FACTS) "{'host': 'b', 'local': true, " FACTS "}"
#define NOTHING "'x': 0"
#define SOUND RECORD("a", "null") ", " GUEST("active") ", " DIRECTORY("1")

static struct json *
parse(const char *text)
{
    AUTO_FREE copy = xstrdup(text);
    struct json *json = NULL;

    for (char *p = copy; *p; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    AUTO_ERROR error = json_parse(copy, strlen(copy), &json);
    assert_string_equal(error_message(error), "success");
    return json;
}

/* "rule@host:mend=value ". */
static char *
judge(const char *facts, const char *silent)
{
    AUTO_FREE list = xasprintf("[%s]", facts);
    AUTO_JSON parsed = parse(list);
    AUTO_JSON away = parse(silent);
    AUTO_JSON found = audit_judge(parsed, away);
    char *all = xstrdup("");

    json_for_each (f, found) {
        const char *mend = json_string_of(f, "mend");
        const char *value = json_string_of(f, "value");
        char *more =
            xasprintf("%s%s@%s%s%s%s%s ", all, json_string_of(f, "rule"),
                      json_string_of(f, "host"), mend ? ":" : "",
                      mend ? mend : "", value ? "=" : "", value ? value : "");

        assert_string_equal(json_string_of(f, "instance"), "u1");
        assert_true(*json_string_of(f, "text"));
        assert_true(!mend || audit_mend_parse(mend) < AUDIT_N_MENDS);
        free(all);
        all = more;
    }
    return all;
}

static const struct {
    const char *what, *facts, *silent, *expected;
} rows[] = {
    {"nothing at all", "", "[]", ""},
    {"a guest at home", A(SOUND) ", " B(NOTHING), "[]", ""},
    {"a guest that moved to b",
     A(MIGRATION("completed")) ", " B(
         RECORD("b", "null") ", " GUEST("active") ", " DIRECTORY("2")),
     "[]", ""},
    {"a guest that is off", A(RECORD("a", "null") ", " GUEST("off")), "[]", ""},
    {"a host with a control plane",
     "{'host': 'a', 'local': false, " GUEST("active") "}", "[]", ""},

    {"it runs twice",
     A(RECORD("a", "null") ", " GUEST("active")) ", " B(
         RECORD("b", "null") ", " GUEST("active")),
     "[]", "runs-twice@a runs-twice@b "},
    {"it runs twice, half of it", A(SOUND) ", " B(GUEST("postcopy-failed")),
     "[]", "runs-twice@a runs-twice@b "},
    {"both while it is moved: one is not yet, or not any more",
     A(SOUND ", " OPERATION("live-migration", "transfer")) ", " B(
         GUEST("active") ", " OPERATION("incoming-migration", "wait")),
     "[]", ""},
    {"what is left of an operation is none",
     A(SOUND
       ", " OPERATION("live-migration", "finished")) ", " B(GUEST("active")),
     "[]", "runs-twice@a runs-twice@b "},

    {"the record is here, the guest at b with its record",
     A(RECORD("a", "null")) ", " B(RECORD("b", "null") ", " GUEST("active")),
     "[]", "record-without-guest@a:forget-record "},
    {"the record is here, the guest at b without one",
     A(RECORD("a", "'migrating'")) ", " B(GUEST("active")), "[]",
     "record-without-guest@a guest-without-record@b:adopt "},
    {"the record is here, the guest nowhere", A(RECORD("a", "null")), "[]",
     "record-without-guest@a:forget-record "},
    {"the same, but b might have it", A(RECORD("a", "null")), "['b']",
     "record-without-guest@a "},
    {"the record is here, what is left of the guest is no guest",
     A(RECORD("a", "null") ", " GUEST("migrated")) ", " B(
         RECORD("b", "null") ", " GUEST("active")),
     "[]", "record-without-guest@a:forget-record "},
    {"the record says another host",
     A(RECORD("b", "null") ", " GUEST("active")), "[]",
     "record-of-another-host@a "},
    {"no record", A(GUEST("active")), "[]", "guest-without-record@a:adopt "},

    {"a task of nobody", A(RECORD("a", "'migrating'") ", " GUEST("active")),
     "[]", "task-without-operation@a:clear-task "},
    {"a task, and b might know of it",
     A(RECORD("a", "'migrating'") ", " GUEST("active")), "['b']",
     "task-without-operation@a "},
    {"a task with an operation elsewhere",
     A(RECORD("a", "'migrating'") ", " GUEST("active")) ", " B(
         OPERATION("conduct", "find-dest")),
     "[]", ""},

    {"a migration of nobody, and it is here",
     A(SOUND ", " MIGRATION("running")) ", " B(NOTHING), "[]",
     "migration-without-operation@a:set-status=failed "},
    {"a migration of nobody, and it is there",
     A(MIGRATION("running")) ", " B(RECORD("b", "null") ", " GUEST("active")),
     "[]", "migration-without-operation@a:set-status=completed "},
    {"a migration of nobody, and it is nowhere", A(MIGRATION("queued")), "[]",
     "migration-without-operation@a "},
    {"a migration of nobody, and b is silent",
     A(SOUND ", " MIGRATION("running")), "['b']",
     "migration-without-operation@a "},
    {"the destination's copy of it is not its own",
     A(SOUND) ", " B(MIGRATION("running")), "[]", ""},

    {"defined here, runs there, as it moved",
     A(GUEST("off") ", " MIGRATION("completed")) ", " B(
         RECORD("b", "null") ", " GUEST("active")),
     "[]", "defined-twice@a:undefine "},
    {"defined here, runs there, nobody knows why",
     A(GUEST("off")) ", " B(RECORD("b", "null") ", " GUEST("active")), "[]",
     "defined-twice@a "},
    {"defined twice, runs nowhere",
     A(RECORD("a", "null") ", " GUEST("off")) ", " B(
         RECORD("b", "null") ", " GUEST("off")),
     "[]", "defined-twice@a defined-twice@b "},

    {"prepared for nobody",
     A(SOUND) ", " B(OPERATION("incoming-migration", "wait")), "[]",
     "reservation-without-source@b:take-back "},
    {"prepared for a host that is silent",
     B(OPERATION("incoming-migration", "wait")), "['a']", ""},
    {"prepared for somebody",
     A(SOUND ", " OPERATION("live-migration", "transfer")) ", " B(
         OPERATION("incoming-migration", "wait")),
     "[]", ""},
    {"an operation without a guest",
     A(OPERATION("live-migration", "finish-dest")), "[]",
     "operation-without-guest@a "},
    {"what mends is not judged", A(OPERATION("audit-mend", "mend")), "[]", ""},

    {"disks of no guest", A(DIRECTORY("1")), "[]", "disks-without-guest@a "},
    {"disks of a guest that may be at b", A(DIRECTORY("1")), "['b']", ""},
    {"disks that a migration left",
     A(DIRECTORY("1")) ", " B(
         RECORD("b", "null") ", " GUEST("active") ", " DIRECTORY("2")),
     "[]", "disks-without-guest@a "},
    {"disks on shared storage",
     A(DIRECTORY("1")) ", " B(
         RECORD("b", "null") ", " GUEST("active") ", " DIRECTORY("1")),
     "[]", ""},
    {"disks of no guest on shared storage, named once",
     A(DIRECTORY("1")) ", " B(DIRECTORY("1")), "[]", "disks-without-guest@a "},
    {"disks that are being made",
     A(SOUND ", " OPERATION("live-migration", "reserve-dest")) ", " B(
         DIRECTORY("2") ", " OPERATION("incoming-migration", "plug-ports")),
     "[]", ""},
};

static void
test_every_contradiction_is_named(void **state UNUSED)
{
    unsigned n_bad = 0;

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        AUTO_FREE found = judge(rows[i].facts, rows[i].silent);

        if (!str_eq(found, rows[i].expected)) {
            print_error("%s: '%s' instead of '%s'\n", rows[i].what, found,
                        rows[i].expected);
            n_bad++;
        }
    }
    assert_int_equal(n_bad, 0);
}

/* Hostile or foreign facts: nothing is assumed. */
static void
test_facts_that_make_no_sense_are_passed_over(void **state UNUSED)
{
    AUTO_FREE found = judge("1, {}, {'host': 'a', 'guests': 5}, {'host': 7}, "
                            "{'host': 'b', 'guests': [{}, 3, {'uuid': null}], "
                            "'operations': [{'op': 1, 'type': 'drain'}]}",
                            "[]");

    assert_string_equal(found, "");
}

static void
test_only_what_is_seen_twice_is_confirmed(void **state UNUSED)
{
    AUTO_JSON first = parse("[{'rule': 'r', 'instance': 'u', 'host': 'a'},"
                            "{'rule': 's', 'instance': 'u', 'host': 'a'}]");
    AUTO_JSON second = parse("[{'rule': 's', 'instance': 'u', 'host': 'b'},"
                             "{'rule': 's', 'instance': 'v', 'host': 'a'},"
                             "{'rule': 'r', 'instance': 'u', 'host': 'a'}]");
    AUTO_JSON both = audit_confirmed(first, second);

    assert_int_equal(json_size(both), 1);
    assert_string_equal(json_string_of(json_at(both, 0), "rule"), "r");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_contradiction_is_named),
        cmocka_unit_test(test_facts_that_make_no_sense_are_passed_over),
        cmocka_unit_test(test_only_what_is_seen_twice_is_confirmed),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
