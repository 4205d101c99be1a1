#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/power/power.h"
#include "agent/power/where.h"
#include "tests/unit/two_agents.h"

/* The core. */

static struct guest
guest_that_is(enum guest_presence presence, enum power_state power_state)
{
    return (struct guest){
        .uuid = (char *)"u", .presence = presence, .power_state = power_state};
}

/* The moves of an order that has such a guest before it. */
static enum power_move
move_of(struct power_run *run, const struct guest *guest, uint64_t now_ms)
{
    AUTO_ERROR error = NULL;
    enum power_move move = power_next(run, guest, now_ms, &error);

    assert_int_equal(move == MOVE_REFUSE, error != NULL);
    return move;
}

static void
test_each_order_has_a_move_for_each_guest(void **state UNUSED)
{
    static const struct {
        enum power_order order;
        enum power_move running, paused, off, saved;
    } rows[] = {
        {ORDER_START, MOVE_DONE, MOVE_DONE, MOVE_POWER_ON, MOVE_POWER_ON},
        {ORDER_STOP, MOVE_POWER_OFF, MOVE_POWER_OFF, MOVE_DONE, MOVE_DONE},
        {ORDER_REBOOT, MOVE_POWER_OFF, MOVE_POWER_OFF, MOVE_POWER_ON,
         MOVE_POWER_ON},
        {ORDER_PAUSE, MOVE_SUSPEND, MOVE_DONE, MOVE_REFUSE, MOVE_REFUSE},
        {ORDER_UNPAUSE, MOVE_DONE, MOVE_RESUME, MOVE_REFUSE, MOVE_REFUSE},
        {ORDER_SUSPEND, MOVE_SAVE, MOVE_SAVE, MOVE_REFUSE, MOVE_DONE},
        {ORDER_RESUME, MOVE_DONE, MOVE_DONE, MOVE_REFUSE, MOVE_POWER_ON},
    };
    const struct guest running = guest_that_is(GUEST_ACTIVE, POWER_RUNNING);
    const struct guest paused = guest_that_is(GUEST_ACTIVE, POWER_PAUSED);
    const struct guest off = guest_that_is(GUEST_OFF, POWER_SHUTDOWN);
    struct guest saved = off;

    saved.is_saved = true;
    assert_int_equal(N_ELEMENTS(rows), ORDER_N);
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct power_run run = {.order = rows[i].order};
        struct power_run others[] = {run, run, run};

        assert_int_equal(move_of(&run, &running, 0), rows[i].running);
        assert_int_equal(move_of(&others[0], &paused, 0), rows[i].paused);
        assert_int_equal(move_of(&others[1], &off, 0), rows[i].off);
        assert_int_equal(move_of(&others[2], &saved, 0), rows[i].saved);
    }
}

static void
test_what_is_elsewhere_is_left_alone(void **state UNUSED)
{
    static const enum guest_presence elsewhere[] = {
        GUEST_ABSENT, GUEST_INCOMING, GUEST_MIGRATED, GUEST_POSTCOPY,
        GUEST_POSTCOPY_FAILED};

    for (size_t i = 0; i < N_ELEMENTS(elsewhere); i++) {
        struct guest guest = guest_that_is(elsewhere[i], POWER_SHUTDOWN);

        for (enum power_order order = 0; order < ORDER_N; order++) {
            struct power_run run = {.order = order};

            assert_int_equal(move_of(&run, &guest, 0), MOVE_REFUSE);
            assert_false(power_is_reached(&run, &guest));
        }
    }
}

static void
test_a_guest_is_asked_again_and_then_cut_off(void **state UNUSED)
{
    const struct guest guest = guest_that_is(GUEST_ACTIVE, POWER_RUNNING);
    struct power_run run = {
        .order = ORDER_STOP, .patience_ms = 60000, .retry_ms = 10000};
    unsigned n_asked = 0;

    for (uint64_t ms = 5000; ms < 65000; ms += 500) {
        enum power_move move = move_of(&run, &guest, ms);

        assert_true(move == MOVE_SHUT_DOWN || move == MOVE_NONE);
        n_asked += move == MOVE_SHUT_DOWN;
    }
    assert_int_equal(n_asked, 6);
    assert_int_equal(move_of(&run, &guest, 65000), MOVE_POWER_OFF);
}

static void
test_a_reboot_needs_the_guest_off_in_between(void **state UNUSED)
{
    const struct guest running = guest_that_is(GUEST_ACTIVE, POWER_RUNNING);
    const struct guest off = guest_that_is(GUEST_OFF, POWER_SHUTDOWN);
    struct power_run run = {.order = ORDER_REBOOT};

    assert_int_equal(move_of(&run, &running, 0), MOVE_POWER_OFF);
    assert_false(power_is_reached(&run, &running));
    assert_int_equal(move_of(&run, &off, 0), MOVE_POWER_ON);
    assert_int_equal(move_of(&run, &running, 0), MOVE_DONE);
    assert_true(power_is_reached(&run, &running));
    /* One that ends at once is not started for ever. */
    assert_int_equal(move_of(&run, &off, 0), MOVE_REFUSE);
}

static void
test_the_other_host_is_asked_when_the_end_is_not_known(void **state UNUSED)
{
    static const struct {
        const char *status, *source, *dest, *asked;
    } rows[] = {
        {"running", "a", "b", "b"},    {"post-migrating", "a", "b", "b"},
        {"error", "a", "b", "b"},      {"completed", "a", "b", "b"},
        {"completed", "b", "a", NULL}, {"failed", "a", "b", NULL},
        {"cancelled", "a", "b", NULL}, {"running", "b", "a", "b"},
        {"running", "a", NULL, NULL},
    };

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        AUTO_OBJECT migration = object_create("Migration", "1.7");
        object_set_string(migration, "status", rows[i].status);
        object_set_string(migration, "source_compute", rows[i].source);
        object_set_string(migration, "dest_compute", rows[i].dest);
        const char *asked = power_where_doubt(migration, "a");

        if (rows[i].asked) {
            assert_non_null(asked);
            assert_string_equal(asked, rows[i].asked);
        } else {
            assert_null(asked);
        }
    }
}

static void
test_the_tail_of_a_console_is_whole_lines(void **state UNUSED)
{
    static const struct {
        const char *text;
        int lines;
        const char *tail;
    } rows[] = {
        {"a\nb\nc\n", 2, "b\nc\n"},
        {"a\nb\nc", 2, "b\nc"},
        {"a\nb\n", 5, "a\nb\n"},
        {"a\nb\n", -1, "a\nb\n"},
        {"a\nb\n", 0, ""},
        {"", 3, ""},
        {"a\n\xff\n", 1, "\xef\xbf\xbd\n"},
    };

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        AUTO_FREE tail = console_tail(rows[i].text, rows[i].lines);

        assert_string_equal(tail, rows[i].tail);
    }
}

/* The operation. */

static void
order(struct two_agents *ta, const char *name, bool hard,
      struct error **ret_error)
{
    struct json *args = json_object();

    json_set_string(args, "instance", ta->uuid);
    json_set_string(args, "order", name);
    json_set_bool(args, "hard", hard);
    json_free(ta_api(ta, A, "instance_power", args, ret_error));
}

static void
assert_order(struct two_agents *ta, const char *name, const char *vm_state)
{
    AUTO_ERROR error = NULL;

    order(ta, name, false, &error);
    if (error) {
        fail_msg("%s: %s", name, error_message(error));
    }
    AUTO_OBJECT instance = ta_instance(ta, A);
    assert_string_equal(object_string(instance, "vm_state"), vm_state);
    assert_null(object_string(instance, "task_state"));
}

static bool
was_heard(const struct two_agents *ta, const char *event)
{
    for (size_t i = 0; i < ta->n_heard; i++) {
        if (str_eq(ta->heard[i].event, event)) {
            return true;
        }
    }
    return false;
}

static void
test_orders_change_guest_and_record(void **state UNUSED)
{
    static const struct {
        const char *name, *vm_state, *event;
    } rows[] = {
        {"pause", "paused", "pause"},        {"unpause", "active", "unpause"},
        {"suspend", "suspended", "suspend"}, {"resume", "active", "resume"},
        {"stop", "stopped", "power_off"},    {"start", "active", "power_on"},
        {"reboot", "active", "reboot"},
    };
    struct two_agents *ta = ta_create(1);

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        AUTO_FREE start = xasprintf("%s.start", rows[i].event);
        AUTO_FREE end = xasprintf("%s.end", rows[i].event);

        assert_order(ta, rows[i].name, rows[i].vm_state);
        ta_rest(ta);
        assert_true(was_heard(ta, start));
        assert_true(was_heard(ta, end));
    }
    ta_free(ta);
}

static void
test_an_order_that_can_not_be_leaves_all_as_it_was(void **state UNUSED)
{
    struct two_agents *ta = ta_create(1);
    AUTO_ERROR error = NULL;

    assert_order(ta, "stop", "stopped");
    order(ta, "pause", false, &error);
    assert_int_equal(error_code(error), ERR_INSTANCE_NOT_RUNNING);
    ta_rest(ta);
    AUTO_OBJECT instance = ta_instance(ta, A);
    assert_string_equal(object_string(instance, "vm_state"), "stopped");
    assert_null(object_string(instance, "task_state"));
    assert_true(was_heard(ta, "pause_instance"));
    ta_free(ta);
}

static void
test_a_deaf_guest_is_cut_off_after_a_time(void **state UNUSED)
{
    struct two_agents *ta = ta_create(1);

    ta_steer(ta, A, "guest-deaf %s on", ta->uuid);
    uint64_t start_ms = ta_now_ms();
    assert_order(ta, "stop", "stopped");
    assert_true(ta_now_ms() - start_ms >= 60000);
    ta_free(ta);
}

static void
test_a_reboot_that_fails_with_the_guest_off_is_an_error(void **state UNUSED)
{
    struct two_agents *ta = ta_create(1);
    AUTO_ERROR error = NULL;

    ta_steer(ta, A, "fail power_on INTERNAL 9");
    order(ta, "reboot", true, &error);
    assert_int_equal(error_code(error), ERR_INTERNAL);
    ta_steer(ta, A, "release power_on");
    ta_free(ta);
}

static bool
is_asked(struct two_agents *ta)
{
    struct op *op =
        ta->hosts[A].agent ? op_first(ta->hosts[A].agent->ops) : NULL;

    return op && str_eq(op_step_name(op), "act");
}

/* An order under way, which nobody waits for. */
static void
begin(struct two_agents *ta, const char *method, const char *more,
      const char *value)
{
    struct json *args = json_object();
    AUTO_OBJECT instance = ta_instance(ta, A);

    json_set(args, "instance", json_copy(object_json(instance)));
    if (more) {
        json_set(args, more, value ? json_string(value) : json_bool(true));
    }
    if (str_eq(method, "reboot_instance")) {
        json_set_null(args, "block_device_info");
    }
    ta_cast(ta, A, method, args);
    ta_until(ta, is_asked(ta));
}

static void
test_an_agent_that_dies_goes_on_with_the_order(void **state UNUSED)
{
    static const struct {
        const char *method, *more, *value, *vm_state;
    } rows[] = {
        {"stop_instance", "clean_shutdown", NULL, "stopped"},
        {"reboot_instance", "reboot_type", "SOFT", "active"},
    };

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        struct two_agents *ta = ta_create(1);

        ta_steer(ta, A, "guest-deaf %s on", ta->uuid);
        begin(ta, rows[i].method, rows[i].more, rows[i].value);
        ta_crash(ta, A);
        ta_up(ta, A);
        ta_rest(ta);
        AUTO_OBJECT instance = ta_instance(ta, A);
        assert_string_equal(object_string(instance, "vm_state"),
                            rows[i].vm_state);
        assert_null(object_string(instance, "task_state"));
        ta_free(ta);
    }
}

static void
test_a_guest_that_is_on_its_way_gets_no_order(void **state UNUSED)
{
    struct two_agents *ta = ta_create(2);
    AUTO_ERROR error = NULL;
    struct json *args = json_object();
    AUTO_ERROR none = NULL;

    ta_steer(ta, A, "hang transfer");
    ta_leave_migrations(true);
    json_set_string(args, "instance", ta->uuid);
    json_set_string(args, "dest", "hostb");
    json_free(ta_api(ta, A, "migrate", args, &none));
    assert_null(none);
    ta_until(ta, str_eq(ta_status(ta), "running"));
    order(ta, "stop", true, &error);
    assert_int_equal(error_code(error), ERR_INSTANCE_INVALID_STATE);
    ta_steer(ta, A, "release transfer");
    ta_leave_migrations(false);
    ta_rest(ta);
    ta_free(ta);
}

/* Rule (d) of spec/live-migration 8.3. */
static void
test_a_guest_that_runs_elsewhere_is_not_started(void **state UNUSED)
{
    struct two_agents *ta = ta_create(2);
    struct json *args = json_object();
    struct json *more = json_object();
    AUTO_ERROR error = NULL;
    AUTO_ERROR none = NULL;
    AUTO_OBJECT instance = ta_instance(ta, A);

    json_set_string(args, "instance", ta->uuid);
    json_set_string(args, "dest", "hostb");
    json_free(ta_api(ta, A, "migrate", args, &none));
    assert_null(none);
    ta_rest(ta);
    json_set(more, "instance", json_copy(object_json(instance)));
    json_free(ta_call(ta, A, "start_instance", more, &error));
    assert_non_null(error);
    assert_non_null(strstr(error_message(error), "runs at host 'hostb'"));
    ta_rest(ta);
    AUTO_OBJECT moved = ta_instance(ta, A);
    assert_null(moved);
    ta_free(ta);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_order_has_a_move_for_each_guest),
        cmocka_unit_test(test_what_is_elsewhere_is_left_alone),
        cmocka_unit_test(test_a_guest_is_asked_again_and_then_cut_off),
        cmocka_unit_test(test_a_reboot_needs_the_guest_off_in_between),
        cmocka_unit_test(
            test_the_other_host_is_asked_when_the_end_is_not_known),
        cmocka_unit_test(test_the_tail_of_a_console_is_whole_lines),
        cmocka_unit_test(test_orders_change_guest_and_record),
        cmocka_unit_test(test_an_order_that_can_not_be_leaves_all_as_it_was),
        cmocka_unit_test(test_a_deaf_guest_is_cut_off_after_a_time),
        cmocka_unit_test(
            test_a_reboot_that_fails_with_the_guest_off_is_an_error),
        cmocka_unit_test(test_an_agent_that_dies_goes_on_with_the_order),
        cmocka_unit_test(test_a_guest_that_is_on_its_way_gets_no_order),
        cmocka_unit_test(test_a_guest_that_runs_elsewhere_is_not_started),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
