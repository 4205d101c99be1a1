#include <config.h>

#include "agent/nova/instance_init.h"

/* The table of spec/drop-in 8, row by row. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/mem.h"
#include "drivers/driver.h"

#define RUNS POWER_RUNNING
#define OFF POWER_SHUTDOWN

static enum init_action
decide(const char *vm_state, const char *task_state, int power)
{
    const struct init_facts facts = {
        .is_of_this_host = true,
        .vm_state = vm_state,
        .task_state = task_state,
        .recorded_power = power,
        .actual_power = power,
    };

    return instance_init_decide(&facts);
}

static void
test_each_row(void **state UNUSED)
{
    static const struct {
        const char *vm_state, *task_state;
        int power;
        enum init_action action;
    } rows[] = {
        {"active", NULL, RUNS, INIT_NOTHING},
        {"stopped", NULL, OFF, INIT_NOTHING},
        {"soft-delete", NULL, OFF, INIT_SKIP},
        {"error", NULL, RUNS, INIT_SKIP},
        {"error", "spawning", OFF, INIT_SKIP},
        {"error", "deleting", OFF, INIT_DELETE},
        {"error", "resize_migrating", OFF, INIT_RESIZE_BACK},
        {"deleted", NULL, OFF, INIT_DELETE},
        {"building", NULL, POWER_NOSTATE, INIT_BUILD_FAILED},
        {"building", "spawning", RUNS, INIT_BUILD_FAILED},
        {"active", "scheduling", RUNS, INIT_BUILD_FAILED},
        {"active", "block_device_mapping", RUNS, INIT_BUILD_FAILED},
        {"active", "networking", RUNS, INIT_BUILD_FAILED},
        {"active", "rebuilding", RUNS, INIT_BUILD_FAILED},
        {"stopped", "rebuild_spawning", OFF, INIT_BUILD_FAILED},
        {"rescued", "rebuilding", RUNS, INIT_NOTHING},
        {"active", "image_snapshot", RUNS, INIT_CLEAR_TASK},
        {"active", "image_snapshot_pending", RUNS, INIT_CLEAR_TASK},
        {"stopped", "image_pending_upload", OFF, INIT_CLEAR_TASK},
        {"active", "image_uploading", RUNS, INIT_CLEAR_TASK},
        {"active", "resize_prep", RUNS, INIT_CLEAR_TASK},
        {"active", "deleting", RUNS, INIT_DELETE},
        {"active", "rebooting", RUNS, INIT_NOTHING}, /* It still comes. */
        {"active", "reboot_pending", RUNS, INIT_REBOOT},
        {"active", "reboot_pending_hard", RUNS, INIT_REBOOT},
        {"active", "reboot_started", OFF, INIT_REBOOT},
        {"active", "reboot_started_hard", OFF, INIT_REBOOT},
        {"active", "reboot_started", RUNS, INIT_ACTIVE},
        {"active", "reboot_started_hard", RUNS, INIT_ACTIVE},
        {"active", "pausing", RUNS, INIT_ACTIVE},
        {"paused", "unpausing", RUNS, INIT_ACTIVE},
        {"paused", "unpausing", POWER_PAUSED, INIT_UNPAUSE},
        {"active", "pausing", POWER_PAUSED, INIT_NOTHING},
        {"active", "powering-off", RUNS, INIT_STOP},
        {"stopped", "powering-on", OFF, INIT_START},
        {"active", "resize_migrating", OFF, INIT_RESIZE_BACK},
    };

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        if (decide(rows[i].vm_state, rows[i].task_state, rows[i].power) !=
            rows[i].action) {
            fail_msg("row %zu: '%s', '%s', %d", i, rows[i].vm_state,
                     rows[i].task_state ? rows[i].task_state : "",
                     rows[i].power);
        }
    }
}

static void
test_another_hosts_is_left_alone_whatever_it_does(void **state UNUSED)
{
    struct init_facts facts = {.vm_state = "building"};

    assert_int_equal(instance_init_decide(&facts), INIT_ELSEWHERE);
    facts.task_state = "deleting";
    assert_int_equal(instance_init_decide(&facts), INIT_ELSEWHERE);
}

/* Only of a guest that is seen here it is known that nobody moves it. */
static void
test_a_migration_is_given_up_only_for_certain(void **state UNUSED)
{
    struct init_facts facts = {
        .is_of_this_host = true,
        .vm_state = "active",
        .task_state = "migrating",
        .recorded_power = POWER_RUNNING,
        .actual_power = POWER_RUNNING,
    };

    assert_int_equal(instance_init_decide(&facts), INIT_MIGRATION_LOST);
    facts.migration_status = "running";
    assert_int_equal(instance_init_decide(&facts), INIT_MIGRATION_LOST);
    facts.actual_power = POWER_PAUSED;
    assert_int_equal(instance_init_decide(&facts), INIT_MIGRATION_LOST);
    facts.migration_status = "accepted"; /* The request waits in the queue. */
    assert_int_equal(instance_init_decide(&facts), INIT_NOTHING);
    facts.migration_status = "running";
    facts.has_operation = true;
    assert_int_equal(instance_init_decide(&facts), INIT_NOTHING);
    facts.has_operation = false;
    facts.actual_power = POWER_NOSTATE; /* It may run there. */
    assert_int_equal(instance_init_decide(&facts), INIT_NOTHING);
    facts.actual_power = POWER_SHUTDOWN;
    facts.resumes_guests = true; /* Nor is it started here. */
    assert_int_equal(instance_init_decide(&facts), INIT_NOTHING);
}

static void
test_what_ran_before_the_boot_is_resumed_if_wanted(void **state UNUSED)
{
    struct init_facts facts = {
        .is_of_this_host = true,
        .vm_state = "active",
        .recorded_power = POWER_RUNNING,
        .actual_power = POWER_SHUTDOWN,
    };

    assert_int_equal(instance_init_decide(&facts), INIT_NOTHING);
    facts.resumes_guests = true;
    assert_int_equal(instance_init_decide(&facts), INIT_RESUME);
    facts.actual_power = POWER_PAUSED;
    assert_int_equal(instance_init_decide(&facts), INIT_NOTHING);
    facts.actual_power = POWER_RUNNING;
    assert_int_equal(instance_init_decide(&facts), INIT_NOTHING);
}

static void
test_each_action_has_a_name(void **state UNUSED)
{
    for (int i = INIT_SKIP; i <= INIT_NOTHING; i++) {
        assert_non_null(init_action_name((enum init_action)i));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_row),
        cmocka_unit_test(test_another_hosts_is_left_alone_whatever_it_does),
        cmocka_unit_test(test_a_migration_is_given_up_only_for_certain),
        cmocka_unit_test(test_what_ran_before_the_boot_is_resumed_if_wanted),
        cmocka_unit_test(test_each_action_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
