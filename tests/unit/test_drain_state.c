#include <config.h>

#include "agent/drain/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/error.h"

#define MIGRATION "2f1f4b3e-2b5c-4f0e-9a55-0a1c7f3b6d10"

static struct drain_state
make(size_t n)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    struct drain_state state = {.moves = NULL};

    for (size_t i = 0; i < n; i++) {
        drain_state_plan(&state, names[i], names[i], 64, "hostb", NULL);
    }
    return state;
}

static struct drain_move *
next(const struct drain_state *state, unsigned limit, uint64_t now_ms)
{
    uint64_t due_ms;

    return drain_state_next(state, limit, now_ms, &due_ms);
}

static void
move_all(struct drain_state *state)
{
    for (size_t i = 0; i < state->n; i++) {
        drain_move_begin(&state->moves[i], MIGRATION);
        drain_move_done(&state->moves[i]);
    }
}

static void
test_no_more_begin_than_are_allowed(void **state UNUSED)
{
    struct drain_state drain = make(3);

    drain_move_begin(next(&drain, 2, 0), MIGRATION);
    drain_move_begin(next(&drain, 2, 0), MIGRATION);
    assert_null(next(&drain, 2, 0));
    assert_non_null(next(&drain, 0, 0));
    drain_move_done(&drain.moves[0]);
    assert_ptr_equal(next(&drain, 2, 0), &drain.moves[2]);
    drain_state_close(&drain);
}

static void
test_failures_are_tried_again_later_and_not_for_ever(void **state UNUSED)
{
    struct drain_state drain = make(1);
    struct drain_move *move = &drain.moves[0];
    uint64_t now_ms = 1000, due_ms;

    for (unsigned i = 1; i < DRAIN_TRIES; i++) {
        drain_move_begin(move, MIGRATION);
        drain_move_failed(move, "no", false, now_ms);
        assert_int_equal(move->state, DRAIN_PLANNED);
        assert_null(drain_state_next(&drain, 0, now_ms, &due_ms));
        assert_int_equal(due_ms, now_ms + i * DRAIN_PAUSE_MS);
        now_ms = due_ms;
        assert_ptr_equal(next(&drain, 0, now_ms), move);
        assert_int_equal(drain_state_phase(&drain), DRAIN_DRAINING);
    }
    drain_move_begin(move, MIGRATION);
    drain_move_failed(move, "no", false, now_ms);
    assert_int_equal(move->state, DRAIN_FAILED);
    assert_string_equal(move->reason, "no");
    assert_int_equal(drain_state_phase(&drain), DRAIN_PARTLY);
    drain_state_close(&drain);
}

static void
test_a_final_failure_is_not_tried_again(void **state UNUSED)
{
    struct drain_state drain = make(1);

    drain_move_begin(&drain.moves[0], MIGRATION);
    drain_move_failed(&drain.moves[0], "cancelled", true, 0);
    assert_int_equal(drain.moves[0].state, DRAIN_FAILED);
    drain_state_close(&drain);
}

static void
test_waiting_for_another_is_no_failure(void **state UNUSED)
{
    struct drain_state drain = make(1);

    for (unsigned i = 0; i < 2 * DRAIN_TRIES; i++) {
        drain_move_begin(&drain.moves[0], MIGRATION);
        drain_move_wait(&drain.moves[0], "busy", 0);
    }
    assert_int_equal(drain.moves[0].state, DRAIN_PLANNED);
    assert_int_equal(drain.moves[0].n_tries, 0);
    drain_state_close(&drain);
}

static void
test_stopping_lets_those_under_way_end(void **state UNUSED)
{
    struct drain_state drain = make(2);

    drain_move_begin(next(&drain, 1, 0), MIGRATION);
    drain.is_stopped = true;
    assert_int_equal(drain_state_phase(&drain), DRAIN_STOPPING);
    drain_move_done(&drain.moves[0]);
    assert_int_equal(drain_state_phase(&drain), DRAIN_STOPPED);
    assert_null(next(&drain, 1, 0));
    drain_state_resume(&drain);
    assert_ptr_equal(next(&drain, 1, 0), &drain.moves[1]);
    drain_state_close(&drain);
}

static void
test_a_stop_that_came_too_late_stopped_nothing(void **state UNUSED)
{
    struct drain_state drain = make(1);

    drain_move_begin(&drain.moves[0], MIGRATION);
    drain.is_stopped = true;
    drain_move_done(&drain.moves[0]);
    assert_int_equal(drain_state_phase(&drain), DRAIN_DRAINED);
    drain_state_close(&drain);
}

static void
test_those_moved_return_and_no_others(void **state UNUSED)
{
    struct drain_state drain = make(4);

    drain_move_begin(&drain.moves[0], MIGRATION);
    drain_move_done(&drain.moves[0]);
    drain_move_begin(&drain.moves[1], MIGRATION);
    drain_move_failed(&drain.moves[1], "no", true, 0);
    drain_state_plan(&drain, "c", "c", 64, NULL, "it is shut off");
    drain.is_stopped = true;
    drain_state_return(&drain);
    assert_int_equal(drain_state_phase(&drain), DRAIN_RESTORING);
    assert_ptr_equal(next(&drain, 0, 0), &drain.moves[0]);
    assert_int_equal(drain.moves[1].state, DRAIN_FAILED);
    assert_int_equal(drain.moves[2].state, DRAIN_STUCK);
    assert_int_equal(drain.moves[3].state, DRAIN_STUCK);
    drain_move_begin(&drain.moves[0], MIGRATION);
    assert_int_equal(drain.moves[0].state, DRAIN_RETURNING);
    drain_move_done(&drain.moves[0]);
    assert_int_equal(drain.moves[0].state, DRAIN_RETURNED);
    assert_int_equal(drain_state_phase(&drain), DRAIN_RESTORED);
    drain_state_close(&drain);
}

static void
test_who_does_not_return_can_be_asked_again(void **state UNUSED)
{
    struct drain_state drain = make(2);

    move_all(&drain);
    drain_state_return(&drain);
    drain_move_begin(&drain.moves[0], MIGRATION);
    drain_move_failed(&drain.moves[0], "no", true, 0);
    drain_move_begin(&drain.moves[1], MIGRATION);
    drain_move_away(&drain.moves[1], "gone");
    assert_int_equal(drain.moves[0].state, DRAIN_NOT_RETURNED);
    assert_int_equal(drain_state_phase(&drain), DRAIN_RESTORED_PARTLY);
    drain_state_return(&drain);
    assert_ptr_equal(next(&drain, 0, 0), &drain.moves[0]);
    assert_int_equal(drain.moves[1].state, DRAIN_AWAY);
    drain_state_resume(&drain);
    assert_int_equal(drain.moves[0].state, DRAIN_MOVED);
    drain_state_close(&drain);
}

static void
test_a_new_plan_replaces_what_is_not_under_way(void **state UNUSED)
{
    struct drain_state drain = make(2);

    drain_move_begin(&drain.moves[0], MIGRATION);
    drain_state_plan(&drain, "a", "a", 64, "hostc", NULL);
    drain_state_plan(&drain, "b", "b", 64, "hostc", NULL);
    assert_int_equal(drain.n, 2);
    assert_string_equal(drain.moves[0].host, "hostb");
    assert_string_equal(drain.moves[1].host, "hostc");
    drain_state_close(&drain);
}

static void
test_the_journal_gives_back_what_it_got(void **state UNUSED)
{
    struct drain_state drain = make(3), back;

    drain_move_begin(&drain.moves[0], MIGRATION);
    drain_move_failed(&drain.moves[1], "no", true, 0);
    drain_state_plan(&drain, "c", NULL, 64, NULL, "it is shut off");
    drain.is_stopped = true;
    AUTO_JSON json = drain_state_format(&drain);
    AUTO_ERROR error = drain_state_parse(json, &back);
    assert_null(error);
    AUTO_JSON again = drain_state_format(&back);
    assert_true(json_equal(json, again));
    assert_true(back.moves[0].is_written);
    drain_state_close(&drain);
    drain_state_close(&back);
}

static void
test_a_state_of_a_newer_drover_is_an_error(void **state UNUSED)
{
    struct drain_state drain = make(1);
    AUTO_JSON json = drain_state_format(&drain);

    json_set_string(json_at(json_get(json, "moves"), 0), "state", "flying");
    drain_state_close(&drain);
    AUTO_ERROR error = drain_state_parse(json, &drain);
    assert_int_equal(error_code(error), ERR_STORAGE);
    assert_int_equal(drain.n, 0);
}

static void
test_reasons_are_cut_off_at_a_character(void **state UNUSED)
{
    struct drain_state drain = make(1);
    char reason[2 * DRAIN_REASON_MAX + 2] = "x"; /* Then they are odd. */

    for (size_t i = 0; i < DRAIN_REASON_MAX; i++) {
        memcpy(reason + 1 + 2 * i, "\xC3\xA4", 3);
    }
    drain_move_failed(&drain.moves[0], reason, true, 0);
    size_t size = strlen(drain.moves[0].reason);
    assert_in_range(size, DRAIN_REASON_MAX - 1, DRAIN_REASON_MAX);
    assert_string_equal(drain.moves[0].reason + size - 5, "\xC3\xA4...");
    drain_state_plan(&drain, "a", "a", 64, NULL, reason);
    assert_int_equal(strlen(drain.moves[0].reason), size);
    drain_state_close(&drain);
}

static void
test_who_is_away_makes_room_for_others(void **state UNUSED)
{
    struct drain_state drain = {.moves = NULL};
    char uuid[16];

    for (int i = 0; i < DRAIN_MOVES_MAX; i++) {
        snprintf(uuid, sizeof uuid, "%d", i);
        drain_state_plan(&drain, uuid, NULL, 64, NULL, "no");
    }
    drain_move_away(drain_state_find(&drain, "7"), "gone");
    drain_state_plan(&drain, "new", NULL, 64, NULL, "no");
    assert_int_equal(drain.n, DRAIN_MOVES_MAX);
    assert_null(drain_state_find(&drain, "7"));
    assert_non_null(drain_state_find(&drain, "new"));
    drain_state_plan(&drain, "newer", NULL, 64, NULL, "no");
    assert_non_null(drain_state_find(&drain, "newer")); /* None is missed. */
    drain_state_close(&drain);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_more_begin_than_are_allowed),
        cmocka_unit_test(test_failures_are_tried_again_later_and_not_for_ever),
        cmocka_unit_test(test_a_final_failure_is_not_tried_again),
        cmocka_unit_test(test_waiting_for_another_is_no_failure),
        cmocka_unit_test(test_stopping_lets_those_under_way_end),
        cmocka_unit_test(test_a_stop_that_came_too_late_stopped_nothing),
        cmocka_unit_test(test_those_moved_return_and_no_others),
        cmocka_unit_test(test_who_does_not_return_can_be_asked_again),
        cmocka_unit_test(test_a_new_plan_replaces_what_is_not_under_way),
        cmocka_unit_test(test_the_journal_gives_back_what_it_got),
        cmocka_unit_test(test_a_state_of_a_newer_drover_is_an_error),
        cmocka_unit_test(test_reasons_are_cut_off_at_a_character),
        cmocka_unit_test(test_who_is_away_makes_room_for_others),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
