#include <config.h>

#include "agent/nova/alloc_audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/json.h"

#define GUEST "11111111-0000-4000-8000-000000000001"
#define OTHER "11111111-0000-4000-8000-000000000002"
#define MOVE "22222222-0000-4000-8000-000000000001"

struct fixture {
    struct json *migrations, *allocations;
    struct node_usage usage;
    struct node_records records;
    struct alloc_audit audit;
};

/* Text with ' for ". */
static struct json *
json_of(const char *text)
{
    AUTO_FREE copy = xstrdup(text);
    struct json *json = NULL;

    for (char *c = copy; *c; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    AUTO_ERROR error = json_parse(copy, strlen(copy), &json);
    assert_null(error);
    return json;
}

static struct json *
object_of(const char *data)
{
    AUTO_FREE text = xasprintf("{'nova_object.data': %s}", data);

    return json_of(text);
}

static int
setup(void **state)
{
    struct fixture *f = xzalloc(sizeof *f);

    f->migrations =
        json_of("{'nova_object.data': {'objects': [{'nova_object.data': "
                "{'uuid': '" MOVE "', 'status': 'running'}}]}}");
    f->allocations = json_of("{'" GUEST "': {}, '" MOVE "': {}}");
    text_set_add(&f->usage.tracked, GUEST);
    f->records = (struct node_records){
        .host = "hosta", .node = "nodea", .migrations = f->migrations};
    f->audit = (struct alloc_audit){&f->records, &f->usage, f->allocations};
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    json_free(f->migrations);
    json_free(f->allocations);
    node_usage_close(&f->usage);
    free(f);
    return 0;
}

static void
test_who_is_counted_is_fine(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(alloc_audit_look(&f->audit, GUEST), ALLOC_FINE);
    assert_int_equal(alloc_audit_look(&f->audit, MOVE), ALLOC_FINE);
    assert_int_equal(alloc_audit_look(&f->audit, OTHER), ALLOC_ASK);
}

static void
assert_instance(struct fixture *f, const char *data,
                enum alloc_verdict expected, enum log_level level,
                const char *part)
{
    AUTO_JSON instance = object_of(data);
    CLEANUP(alloc_finding_close)
    struct alloc_finding found =
        alloc_audit_instance(&f->audit, OTHER, instance);

    assert_int_equal(found.verdict, expected);
    assert_int_equal(found.level, level);
    if (part && (!found.text || !strstr(found.text, part))) {
        fail_msg("'%s' does not say '%s'", found.text, part);
    }
}

static void
test_only_of_a_deleted_instance_is_given_back(void **state)
{
    struct fixture *f = *state;

    assert_instance(f, "{'deleted': true, 'hidden': false, 'host': 'hosta'}",
                    ALLOC_REMOVE, LOG_LEVEL_INFO, "was deleted");
    /* In another cell it is alive. */
    assert_instance(f, "{'deleted': true, 'hidden': true, 'host': null}",
                    ALLOC_LEAVE, LOG_LEVEL_DEBUG, "scheduled");
    assert_instance(f, "{'deleted': false, 'host': null}", ALLOC_LEAVE,
                    LOG_LEVEL_DEBUG, "not here yet");
    assert_instance(f, "{'deleted': false, 'host': 'hostb'}", ALLOC_LEAVE,
                    LOG_LEVEL_WARN, "has been moved to 'hostb'");
    assert_instance(f, "{'host': 'hosta', 'node': 'nodea', 'task_state': 'x'}",
                    ALLOC_LEAVE, LOG_LEVEL_DEBUG, "with task 'x'");
    assert_instance(f, "{'host': 'hosta', 'node': 'nodea'}", ALLOC_LEAVE,
                    LOG_LEVEL_WARN, "not counted here");
    assert_instance(f, "{'host': 'hosta', 'node': 'nodeb'}", ALLOC_LEAVE,
                    LOG_LEVEL_DEBUG, NULL);
}

static enum alloc_verdict
verdict_of(struct fixture *f, const char *status, const char *type,
           const char *source, const char *uuid)
{
    AUTO_FREE data = xasprintf(
        "{'status': '%s', 'migration_type': '%s', 'source_compute': '%s', "
        "'instance_uuid': '%s'}",
        status, type, source, uuid);
    AUTO_JSON migration = object_of(data);
    CLEANUP(alloc_finding_close)
    struct alloc_finding found =
        alloc_audit_migration(&f->audit, MOVE, migration);

    return found.verdict;
}

#define LIVE "live-migration"

static void
test_of_a_migration_that_is_over(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(verdict_of(f, "completed", LIVE, "hosta", OTHER),
                     ALLOC_REMOVE);
    /* It came back, and has what it needs under its own name. */
    assert_int_equal(verdict_of(f, "failed", LIVE, "hosta", GUEST),
                     ALLOC_REMOVE);
    assert_int_equal(verdict_of(f, "cancelled", LIVE, "hosta", GUEST),
                     ALLOC_REMOVE);
    /* It may have gone all the same, or not. */
    assert_int_equal(verdict_of(f, "failed", LIVE, "hosta", OTHER),
                     ALLOC_LEAVE);
    /* Another's, another kind, or not over. */
    assert_int_equal(verdict_of(f, "completed", LIVE, "hostb", OTHER),
                     ALLOC_LEAVE);
    assert_int_equal(verdict_of(f, "completed", "resize", "hosta", OTHER),
                     ALLOC_LEAVE);
    assert_int_equal(verdict_of(f, "running", LIVE, "hosta", OTHER),
                     ALLOC_LEAVE);
    assert_int_equal(verdict_of(f, "error", LIVE, "hosta", OTHER), ALLOC_LEAVE);
}

/* What is allocated under the migration's name is all that it has. */
static void
test_nothing_is_taken_from_a_guest_that_is_here(void **state)
{
    struct fixture *f = *state;

    json_remove(f->allocations, GUEST);
    assert_int_equal(verdict_of(f, "failed", LIVE, "hosta", GUEST),
                     ALLOC_LEAVE);
    assert_int_equal(verdict_of(f, "completed", LIVE, "hosta", GUEST),
                     ALLOC_LEAVE);
}

static void
test_nobody_is_left_alone(void **state)
{
    struct fixture *f = *state;
    CLEANUP(alloc_finding_close)
    struct alloc_finding found = alloc_audit_instance(&f->audit, OTHER, NULL);
    CLEANUP(alloc_finding_close)
    struct alloc_finding none = alloc_audit_migration(&f->audit, OTHER, NULL);

    assert_int_equal(found.verdict, ALLOC_ASK);
    assert_int_equal(none.verdict, ALLOC_LEAVE);
    assert_non_null(strstr(none.text, "not found in the database"));
}

int
main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_who_is_counted_is_fine),
        TEST(test_only_of_a_deleted_instance_is_given_back),
        TEST(test_of_a_migration_that_is_over),
        TEST(test_nothing_is_taken_from_a_guest_that_is_here),
        TEST(test_nobody_is_left_alone),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
