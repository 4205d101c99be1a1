#include <config.h>

#include "agent/stuck.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/mem.h"

static struct stuck stuck;

static enum stuck_answer
round_at(unsigned s, int64_t memory, int64_t disk, bool peer_answered)
{
    struct job_stats stats = {.type = JOB_UNBOUNDED,
                              .memory_processed = memory,
                              .disk_processed = disk};

    return stuck_run(&stuck, s * UINT64_C(1000), &stats, false, peer_answered);
}

static enum stuck_answer
aborted_at(unsigned s, int64_t memory)
{
    struct job_stats stats = {.type = JOB_UNBOUNDED,
                              .memory_processed = memory};

    return stuck_run(&stuck, s * UINT64_C(1000), &stats, true, true);
}

static void
test_what_moves_is_not_stuck(void **state UNUSED)
{
    stuck_init(&stuck, 30);
    for (unsigned s = 0; s < 200; s += 20) {
        assert_int_equal(round_at(s, s, -1, false), STUCK_NOT);
    }
    for (unsigned s = 200; s < 400; s += 20) { /* The disk alone. */
        assert_int_equal(round_at(s, 180, s, false), STUCK_NOT);
    }
}

static void
test_silence_with_nobody_there_is_broken_again_and_again(void **state UNUSED)
{
    stuck_init(&stuck, 30);
    assert_int_equal(round_at(5, 1, 1, false), STUCK_NOT);
    assert_int_equal(round_at(34, 1, 1, false), STUCK_NOT);
    assert_int_equal(round_at(35, 1, 1, false), STUCK_ASK_PEER);
    assert_int_equal(round_at(45, 1, 1, false), STUCK_SILENT);
    assert_int_equal(round_at(46, 1, 1, false), STUCK_NOT);
    assert_int_equal(round_at(75, 1, 1, false), STUCK_ASK_PEER);
    assert_int_equal(round_at(75, 1, 1, false), STUCK_SILENT);
}

static void
test_silence_of_a_host_that_is_there_is_waited_for(void **state UNUSED)
{
    stuck_init(&stuck, 30);
    assert_int_equal(round_at(0, 1, 1, false), STUCK_NOT);
    assert_int_equal(round_at(30, 1, 1, false), STUCK_ASK_PEER);
    assert_int_equal(round_at(31, 1, 1, true), STUCK_NOT);
    assert_int_equal(round_at(60, 1, 1, false), STUCK_NOT);
    assert_int_equal(round_at(61, 1, 1, false), STUCK_ASK_PEER);
    /* Meanwhile it went on. */
    assert_int_equal(round_at(62, 2, 1, false), STUCK_NOT);
    assert_int_equal(round_at(91, 2, 1, false), STUCK_NOT);
    assert_int_equal(round_at(92, 2, 1, false), STUCK_ASK_PEER);
}

static void
test_silence_can_be_allowed(void **state UNUSED)
{
    stuck_init(&stuck, 0);
    assert_int_equal(round_at(0, 1, 1, false), STUCK_NOT);
    assert_int_equal(round_at(86400, 1, 1, false), STUCK_NOT);
}

static void
test_abort_that_has_no_effect_is_made_to_have_one(void **state UNUSED)
{
    stuck_init(&stuck, 0);
    assert_int_equal(round_at(100, 1, 1, false), STUCK_NOT);
    assert_int_equal(aborted_at(101, 2), STUCK_NOT);
    assert_int_equal(aborted_at(110, 3), STUCK_NOT);
    assert_int_equal(aborted_at(111, 4), STUCK_IN_ABORT);
    assert_int_equal(aborted_at(112, 5), STUCK_NOT);
    assert_int_equal(aborted_at(121, 6), STUCK_IN_ABORT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_moves_is_not_stuck),
        cmocka_unit_test(
            test_silence_with_nobody_there_is_broken_again_and_again),
        cmocka_unit_test(test_silence_of_a_host_that_is_there_is_waited_for),
        cmocka_unit_test(test_silence_can_be_allowed),
        cmocka_unit_test(test_abort_that_has_no_effect_is_made_to_have_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
