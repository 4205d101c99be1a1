#include <config.h>

#include "agent/nova/power_rules.h"

/* The table of spec/drop-in 9. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/mem.h"
#include "drivers/driver.h"

static const struct power_facts active = {
    .is_of_this_host = true,
    .vm_state = "active",
    .recorded = POWER_RUNNING,
    .actual = POWER_SHUTDOWN,
};

static void
test_each_state(void **state UNUSED)
{
    static const struct {
        const char *vm_state;
        int actual;
        enum power_action action;
    } rows[] = {
        {"active", POWER_RUNNING, POWER_ACT_NOTHING},
        {"active", POWER_SHUTDOWN, POWER_ACT_STOP},
        {"active", POWER_CRASHED, POWER_ACT_STOP},
        {"active", POWER_SUSPENDED, POWER_ACT_STOP},
        {"active", POWER_PAUSED, POWER_ACT_WARN_PAUSED},
        {"active", POWER_NOSTATE, POWER_ACT_WARN_GONE},
        {"paused", POWER_SHUTDOWN, POWER_ACT_STOP},
        {"paused", POWER_CRASHED, POWER_ACT_STOP},
        {"paused", POWER_PAUSED, POWER_ACT_NOTHING},
        {"stopped", POWER_SHUTDOWN, POWER_ACT_NOTHING},
        {"stopped", POWER_NOSTATE, POWER_ACT_NOTHING},
        {"stopped", POWER_RUNNING, POWER_ACT_STOP_HARD},
        {"stopped", POWER_PAUSED, POWER_ACT_STOP_HARD},
        {"deleted", POWER_RUNNING, POWER_ACT_WARN_DELETED},
        {"soft-delete", POWER_RUNNING, POWER_ACT_WARN_DELETED},
        {"building", POWER_SHUTDOWN, POWER_ACT_NOTHING},
        {"rescued", POWER_SHUTDOWN, POWER_ACT_NOTHING},
        {"resized", POWER_SHUTDOWN, POWER_ACT_NOTHING},
        {"suspended", POWER_SHUTDOWN, POWER_ACT_NOTHING},
        {"error", POWER_SHUTDOWN, POWER_ACT_NOTHING},
    };

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct power_facts facts = active;

        facts.vm_state = rows[i].vm_state;
        facts.actual = rows[i].actual;
        struct power_verdict verdict = power_rules_judge(&facts);
        if (verdict.action != rows[i].action ||
            verdict.saves_power != (rows[i].actual != POWER_RUNNING)) {
            fail_msg("row %zu: '%s', %d", i, rows[i].vm_state, rows[i].actual);
        }
        assert_true((power_action_text(verdict.action) != NULL) ==
                    (verdict.action != POWER_ACT_NOTHING));
    }
}

/* Only what was on, and is off. */
static void
test_who_ends_with_its_power(void **state UNUSED)
{
    static const struct {
        const char *vm_state;
        int actual;
        bool disable_terminate, is_unseen;
        enum power_action action;
    } rows[] = {
        {"active", POWER_SHUTDOWN, false, false, POWER_ACT_DELETE},
        {"active", POWER_CRASHED, false, false, POWER_ACT_DELETE},
        {"active", POWER_SHUTDOWN, true, false, POWER_ACT_STOP},
        {"active", POWER_SHUTDOWN, false, true, POWER_ACT_STOP},
        {"active", POWER_SUSPENDED, false, false, POWER_ACT_STOP},
        {"active", POWER_NOSTATE, false, false, POWER_ACT_WARN_GONE},
        {"active", POWER_RUNNING, false, false, POWER_ACT_NOTHING},
        {"paused", POWER_SHUTDOWN, false, false, POWER_ACT_STOP},
        {"stopped", POWER_SHUTDOWN, false, false, POWER_ACT_NOTHING},
        {"error", POWER_SHUTDOWN, false, false, POWER_ACT_NOTHING},
    };

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct power_facts facts = active;

        facts.shutdown_terminate = true;
        facts.vm_state = rows[i].vm_state;
        facts.actual = rows[i].actual;
        facts.disable_terminate = rows[i].disable_terminate;
        facts.has_ended = !rows[i].is_unseen;
        if (power_rules_judge(&facts).action != rows[i].action) {
            fail_msg("row %zu: '%s', %d", i, rows[i].vm_state, rows[i].actual);
        }
    }
    assert_non_null(power_action_text(POWER_ACT_DELETE));
}

static void
assert_left_alone(const struct power_facts *facts)
{
    struct power_verdict verdict = power_rules_judge(facts);

    assert_false(verdict.saves_power);
    assert_int_equal(verdict.action, POWER_ACT_NOTHING);
}

static void
test_who_is_somebody_elses_is_left_alone(void **state UNUSED)
{
    struct power_facts moved = active, busy = active, on_its_way = active;

    moved.is_of_this_host = false;
    assert_left_alone(&moved);
    busy.task_state = "powering-off";
    assert_left_alone(&busy);
    on_its_way.has_operation = true;
    assert_left_alone(&on_its_way);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_state),
        cmocka_unit_test(test_who_ends_with_its_power),
        cmocka_unit_test(test_who_is_somebody_elses_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
