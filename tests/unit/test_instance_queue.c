#include <config.h>

#include "agent/instance_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct instance_queue *queue;
static char diary[128];

static void
note(void *aux)
{
    strncat(diary, aux, sizeof diary - strlen(diary) - 1);
}

static void
note_and_leave(void *aux)
{
    note(aux);
    instance_queue_leave(queue, "a");
}

static unsigned n_done, depth;

static void
count_and_leave(void *aux)
{
    (void)aux;
    assert_int_equal(depth, 0); /* No stack frame for each who waits. */
    depth++;
    n_done++;
    instance_queue_leave(queue, "a");
    depth--;
}

static void
enter(const char *uuid, const char *what)
{
    instance_queue_enter(queue, uuid, note, (void *)(uintptr_t)what);
}

static int
setup(void **state)
{
    (void)state;
    queue = instance_queue_create();
    diary[0] = '\0';
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    instance_queue_free(queue);
    return 0;
}

static void
test_first_starts_at_once(void **state)
{
    (void)state;
    assert_int_equal(instance_queue_length(queue, "a"), 0);
    enter("a", "1");
    assert_string_equal(diary, "1");
    assert_int_equal(instance_queue_length(queue, "a"), 1);
    instance_queue_leave(queue, "a");
    assert_int_equal(instance_queue_length(queue, "a"), 0);
}

static void
test_work_for_one_instance_is_done_in_order(void **state)
{
    (void)state;
    enter("a", "1");
    enter("a", "2");
    enter("a", "3");
    assert_string_equal(diary, "1");
    assert_int_equal(instance_queue_length(queue, "a"), 3);
    instance_queue_leave(queue, "a");
    assert_string_equal(diary, "12");
    enter("a", "4");
    instance_queue_leave(queue, "a");
    instance_queue_leave(queue, "a");
    assert_string_equal(diary, "1234");
    instance_queue_leave(queue, "a");
    assert_int_equal(instance_queue_length(queue, "a"), 0);
}

static void
test_different_instances_do_not_wait(void **state)
{
    (void)state;
    enter("a", "a");
    enter("b", "b");
    enter("c", "c");
    assert_string_equal(diary, "abc");
    instance_queue_leave(queue, "b");
    assert_int_equal(instance_queue_length(queue, "a"), 1);
    assert_int_equal(instance_queue_length(queue, "b"), 0);
}

static void
test_work_may_be_over_at_once(void **state)
{
    (void)state;
    instance_queue_enter(queue, "a", note_and_leave, (void *)(uintptr_t) "1");
    assert_int_equal(instance_queue_length(queue, "a"), 0);
    enter("a", "2");
    instance_queue_enter(queue, "a", note_and_leave, (void *)(uintptr_t) "3");
    enter("a", "4");
    instance_queue_leave(queue, "a");
    assert_string_equal(diary, "1234");
    assert_int_equal(instance_queue_length(queue, "a"), 1);
}

static void
test_many_short_works_do_not_nest(void **state)
{
    (void)state;
    n_done = 0;
    enter("a", "");
    for (int i = 0; i < 10000; i++) {
        instance_queue_enter(queue, "a", count_and_leave, NULL);
    }
    instance_queue_leave(queue, "a");
    assert_int_equal(n_done, 10000);
}

static void
test_one_line_is_full_and_others_are_not(void **state)
{
    (void)state;
    for (int i = 0; i < INSTANCE_QUEUE_MAX + 1; i++) {
        assert_false(instance_queue_is_full(queue, "a"));
        enter("a", "");
    }
    assert_true(instance_queue_is_full(queue, "a"));
    assert_false(instance_queue_is_full(queue, "b"));
    instance_queue_leave(queue, "a");
    assert_false(instance_queue_is_full(queue, "a"));
}

/* Of which some share a place in the table. */
static void
test_many_instances_have_a_line_each(void **state)
{
    char uuid[16];

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 1000; i++) {
            snprintf(uuid, sizeof uuid, "uuid-%d", i);
            assert_int_equal(instance_queue_length(queue, uuid), round);
            if (round) {
                instance_queue_leave(queue, uuid);
            } else {
                enter(uuid, "");
            }
        }
    }
    assert_int_equal(instance_queue_length(queue, "uuid-7"), 0);
}

static void
test_freeing_drops_who_waits(void **state)
{
    (void)state;
    enter("a", "1");
    enter("a", "2");
    enter("b", "3");
    instance_queue_free(queue);
    queue = NULL;
    assert_string_equal(diary, "13");
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_first_starts_at_once),
        TEST(test_work_for_one_instance_is_done_in_order),
        TEST(test_different_instances_do_not_wait),
        TEST(test_work_may_be_over_at_once),
        TEST(test_many_short_works_do_not_nest),
        TEST(test_one_line_is_full_and_others_are_not),
        TEST(test_many_instances_have_a_line_each),
        TEST(test_freeing_drops_who_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
