#include <config.h>

#include "agent/converge.h"

/* The policy's text, and what gains and what does not. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct converge
policy(const char *text)
{
    struct convergence convergence;
    struct converge converge;

    assert_null(convergence_parse(text, &convergence));
    converge_init(&converge, &convergence);
    return converge;
}

/* A look in iteration 'n', with 'left' bytes to send. */
static unsigned
look(struct converge *converge, int64_t n, int64_t left)
{
    struct job_stats stats = {
        .type = JOB_UNBOUNDED, .iteration = n, .memory_remaining = left};

    return converge_run(converge, &stats);
}

static void
test_steps_are_read(void **state)
{
    (void)state;
    struct convergence c = {.n_steps = 99};

    assert_null(
        convergence_parse("2:downtime,4:throttle,6:postcopy,8:abort", &c));
    assert_int_equal(c.n_steps, 4);
    assert_int_equal(c.steps[0].after, 2);
    assert_int_equal(c.steps[0].action, CONVERGENCE_DOWNTIME);
    assert_int_equal(c.steps[3].after, 8);
    assert_int_equal(c.steps[3].action, CONVERGENCE_ABORT);
    assert_int_equal(convergence_actions(&c), 15);
    convergence_drop(&c, CONVERGENCE_THROTTLE | CONVERGENCE_ABORT);
    assert_int_equal(c.n_steps, 2);
    assert_int_equal(c.steps[1].action, CONVERGENCE_POSTCOPY);
    assert_null(convergence_parse("3:abort,3:postcopy", &c));
    assert_null(convergence_parse("1000:abort", &c));
    assert_null(convergence_parse("nova", &c));
    assert_int_equal(c.n_steps, 0);
}

static void
test_nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "none",
                                        "Nova",
                                        "2",
                                        ":abort",
                                        "0:abort",
                                        "1001:abort",
                                        "-1:abort",
                                        "2:",
                                        "2:aborted",
                                        "2:abor",
                                        " 2:abort",
                                        "2:abort,",
                                        ",2:abort",
                                        "2:abort,nova",
                                        "4294967298:abort",
                                        "2:abort 3",
                                        "3:abort,2:postcopy",
                                        "1:abort,2:abort",
                                        "2;abort"};

    for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
        struct convergence c = {.n_steps = 7};
        AUTO_ERROR error = convergence_parse(texts[i], &c);

        if (error_code(error) != ERR_CONFIG || c.n_steps != 7) {
            fail_msg("'%s' is taken", texts[i]);
        }
    }
}

static void
test_iterations_without_gain_are_counted(void **state)
{
    (void)state;
    struct converge c = policy("3:abort");

    assert_int_equal(look(&c, 1, 9000), 0);
    assert_int_equal(look(&c, 1, 10), 0); /* The same one. */
    assert_int_equal(look(&c, 2, 1000), 0);
    assert_int_equal(c.best, 1000);
    assert_int_equal(look(&c, 2, 900), 0);
    assert_int_equal(look(&c, 3, 1000), 0);
    assert_int_equal(look(&c, 4, 2000), 0);
    assert_int_equal(c.n_stalled, 2);
    assert_int_equal(look(&c, 5, 1000), CONVERGENCE_ABORT);
    assert_int_equal(look(&c, 6, 1000), 0); /* Once. */
    assert_int_equal(c.best, 1000);
}

static void
test_a_twentieth_is_a_gain_and_less_is_none(void **state)
{
    (void)state;
    struct converge c = policy("3:abort");

    look(&c, 1, 9000);
    look(&c, 2, 1000);
    look(&c, 3, 951);
    assert_int_equal(c.n_stalled, 1);
    look(&c, 4, 950);
    assert_int_equal(c.n_stalled, 0);
    assert_int_equal(c.best, 950);
    look(&c, 5, 949);
    assert_int_equal(c.n_stalled, 1);
    /* So little is left that a twentieth is nothing. */
    look(&c, 6, 10);
    look(&c, 7, 10);
    assert_int_equal(c.n_stalled, 1);
    look(&c, 8, 9);
    assert_int_equal(c.n_stalled, 0);
}

static void
test_a_gain_begins_the_count_anew(void **state)
{
    (void)state;
    struct converge c = policy("2:throttle");
    int64_t n = 1;

    look(&c, n++, 9000);
    look(&c, n++, 1000);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(look(&c, n++, 1000), 0);
        look(&c, n++, c.best / 2);
    }
    look(&c, n++, 1000);
    assert_int_equal(look(&c, n++, 1000), CONVERGENCE_THROTTLE);
    /* It helped for a while. */
    look(&c, n++, 1);
    look(&c, n++, 1000);
    assert_int_equal(look(&c, n++, 1000), CONVERGENCE_THROTTLE);
}

static void
test_iterations_between_two_looks_count_too(void **state)
{
    (void)state;
    struct converge c = policy("2:throttle,4:postcopy,20:abort");

    look(&c, 1, 9000);
    look(&c, 2, 1000);
    assert_int_equal(look(&c, 8, 1000),
                     CONVERGENCE_THROTTLE | CONVERGENCE_POSTCOPY);
    assert_int_equal(c.n_stalled, 6);
    assert_int_equal(look(&c, INT64_MAX, 1000), CONVERGENCE_ABORT);
}

static void
test_downtime_is_due_again_and_again(void **state)
{
    (void)state;
    struct converge c = policy("2:downtime");

    look(&c, 1, 9000);
    look(&c, 2, 1000);
    assert_int_equal(look(&c, 3, 1000), 0);
    assert_int_equal(look(&c, 4, 1000), CONVERGENCE_DOWNTIME);
    assert_int_equal(look(&c, 5, 1000), CONVERGENCE_DOWNTIME);
    assert_int_equal(look(&c, 6, 100), 0);
}

static void
test_disks_and_what_is_not_known_are_passed_over(void **state)
{
    (void)state;
    struct converge c = policy("1:abort");

    for (int i = 0; i < 10; i++) {
        assert_int_equal(look(&c, -1, 0), 0);
        assert_int_equal(look(&c, 0, 1000), 0);
        assert_int_equal(look(&c, 3 + i, -1), 0);
    }
    assert_int_equal(c.iteration, 0);
    assert_int_equal(c.best, -1);
}

static void
test_numbers_that_begin_late_or_anew_are_no_iterations(void **state)
{
    (void)state;
    struct converge c = policy("1:abort");

    /* An earlier attempt, or an earlier run of the agent, counted. */
    assert_int_equal(look(&c, 17, 1000), 0);
    assert_int_equal(look(&c, 18, 1000), 0);
    assert_int_equal(c.best, 1000);
    assert_int_equal(look(&c, 1, 1000), 0);
    assert_int_equal(look(&c, 2, 1000), CONVERGENCE_ABORT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_are_read),
        cmocka_unit_test(test_nonsense_is_refused),
        cmocka_unit_test(test_iterations_without_gain_are_counted),
        cmocka_unit_test(test_a_twentieth_is_a_gain_and_less_is_none),
        cmocka_unit_test(test_a_gain_begins_the_count_anew),
        cmocka_unit_test(test_iterations_between_two_looks_count_too),
        cmocka_unit_test(test_downtime_is_due_again_and_again),
        cmocka_unit_test(test_disks_and_what_is_not_known_are_passed_over),
        cmocka_unit_test(
            test_numbers_that_begin_late_or_anew_are_no_iterations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
