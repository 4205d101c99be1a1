#include <config.h>

#include "tests/unit/torture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/agent.h"

/* Shapes that a table can have.  The functions are placeholders: the harness
 * puts its own in their place and keeps only which are there. */
static void
work(struct op *op UNUSED, struct op_ticket *ticket)
{
    op_ticket_done(ticket, NULL);
}

static void
ask(struct op *op UNUSED, struct op_ticket *ticket)
{
    op_ticket_answer(ticket, PROBE_UNKNOWN);
}

static void
cancel(struct op *op UNUSED)
{
}

/* As a live migration: undo of most steps, work that outlives the agent, and
 * a tail of which some may be left. */
static const struct step migration_steps[] = {
    {.name = "check", .run = work},
    {.name = "reserve", .run = work, .undo = work, .cancel = cancel},
    {.name = "prepare", .run = work, .undo = work},
    {.name = "transfer",
     .run = work,
     .undo = work,
     .probe = ask,
     .readopt = work,
     .cancel = cancel},
    {.name = "release", .run = work, .may_be_left = true},
    {.name = "finish", .run = work},
    {.name = "tidy", .run = work, .may_be_left = true},
    {.name = NULL},
};
static const struct op_type migration = {.name = "migration",
                                         .steps = migration_steps};

static const struct step single_steps[] = {
    {.name = "only", .run = work, .undo = work, .probe = ask},
    {.name = NULL},
};
static const struct op_type single = {.name = "single", .steps = single_steps};

static const struct step first_steps[] = {
    {.name = "commit", .run = work, .probe = ask},
    {.name = "then", .run = work},
    {.name = NULL},
};
static const struct op_type commit_first = {.name = "commit-first",
                                            .steps = first_steps};

static const struct step last_steps[] = {
    {.name = "a", .run = work, .undo = work},
    {.name = "b", .run = work},
    {.name = "commit", .run = work, .probe = ask},
    {.name = NULL},
};
static const struct op_type commit_last = {.name = "commit-last",
                                           .steps = last_steps};

static void
test_migration_survives_every_failure_and_crash(void **state UNUSED)
{
    unsigned n = torture_type(&migration);

    print_message("%u histories\n", n);
    assert_true(n > 1000);
}

/* Those that an agent has: a new step is in here with its table. */
static void
test_every_type_survives_every_failure_and_crash(void **state UNUSED)
{
    for (const struct op_type *const *t = agent_op_types; *t; t++) {
        unsigned n = torture_type(*t);

        print_message("%s: %u histories\n", (*t)->name, n);
    }
}

static void
test_single_step_survives(void **state UNUSED)
{
    torture_type(&single);
}

static void
test_commit_as_first_step_survives(void **state UNUSED)
{
    torture_type(&commit_first);
}

static void
test_commit_as_last_step_survives(void **state UNUSED)
{
    torture_type(&commit_last);
}

static unsigned n_noticed;

static void
notice(const char *what UNUSED)
{
    n_noticed++;
}

static void
test_what_is_not_taken_back_is_noticed(void **state UNUSED)
{
    n_noticed = 0;
    torture_on_failure = notice;
    torture_broken_undo = 0;
    torture_type(&commit_last);
    torture_broken_undo = -1;
    torture_on_failure = NULL;
    assert_true(n_noticed > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_migration_survives_every_failure_and_crash),
        cmocka_unit_test(test_every_type_survives_every_failure_and_crash),
        cmocka_unit_test(test_single_step_survives),
        cmocka_unit_test(test_commit_as_first_step_survives),
        cmocka_unit_test(test_commit_as_last_step_survives),
        cmocka_unit_test(test_what_is_not_taken_back_is_noticed),
    };

    json_init();
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
