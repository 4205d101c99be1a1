#include <config.h>

#include "agent/event_waits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/base/mem.h"

#define PLUGGED "network-vif-plugged"

static void
count(void *aux)
{
    ++*(unsigned *)aux;
}

static void
test_event_wakes_who_waits_for_it_and_nobody_else(void **state UNUSED)
{
    struct event_waits *waits = event_waits_create();
    unsigned n_a = 0, n_b = 0;
    struct event_wait *a = event_wait_create(waits, "a", count, &n_a);
    struct event_wait *b = event_wait_create(waits, "b", count, &n_b);

    event_wait_add(a, PLUGGED, "p1");
    event_wait_add(a, PLUGGED, "p2");
    event_wait_add(b, PLUGGED, "p1");
    assert_true(event_waits_tell(waits, "a", PLUGGED, "p1", true));
    assert_int_equal(n_a, 1);
    assert_int_equal(n_b, 0);
    assert_int_equal(event_wait_n_open(a), 1);
    assert_string_equal(event_wait_open(a), PLUGGED "-p2");
    assert_null(event_wait_failed(a));

    /* A second time it is nobody's; nor is another of the same port. */
    assert_false(event_waits_tell(waits, "a", PLUGGED, "p1", true));
    assert_false(
        event_waits_tell(waits, "a", "network-vif-unplugged", "p2", true));
    assert_false(event_waits_tell(waits, "a", PLUGGED, NULL, true));
    assert_int_equal(n_a, 1);
    assert_true(event_waits_tell(waits, "a", PLUGGED, "p2", false));
    assert_int_equal(event_wait_n_open(a), 0);
    assert_string_equal(event_wait_failed(a), PLUGGED "-p2");

    event_wait_free(a);
    event_wait_free(b);
    event_waits_free(waits);
}

static void
test_event_before_the_wait_is_nobodys(void **state UNUSED)
{
    struct event_waits *waits = event_waits_create();
    unsigned n = 0;

    assert_false(event_waits_tell(waits, "a", PLUGGED, "p1", true));
    struct event_wait *wait = event_wait_create(waits, "a", count, &n);
    event_wait_add(wait, PLUGGED, "p1");
    assert_int_equal(event_wait_n_open(wait), 1);
    assert_int_equal(n, 0);
    event_wait_free(wait);
    assert_false(event_waits_tell(waits, "a", PLUGGED, "p1", true));
    event_waits_free(waits);
}

static void
test_two_who_wait_for_one_event_both_hear_it(void **state UNUSED)
{
    struct event_waits *waits = event_waits_create();
    unsigned n = 0;
    struct event_wait *a = event_wait_create(waits, "a", count, &n);
    struct event_wait *b = event_wait_create(waits, "a", count, &n);

    event_wait_add(a, "volume-reimaged", "v");
    event_wait_add(b, "volume-reimaged", "v");
    assert_true(event_waits_tell(waits, "a", "volume-reimaged", "v", true));
    assert_int_equal(n, 2);
    event_wait_free(b);
    event_wait_free(a);
    event_waits_free(waits);
}

static void
free_it(void *aux)
{
    event_wait_free(steal((struct event_wait **)aux));
}

static void
test_wait_may_end_when_it_hears(void **state UNUSED)
{
    struct event_waits *waits = event_waits_create();
    struct event_wait *wait[3];

    for (size_t i = 0; i < N_ELEMENTS(wait); i++) {
        wait[i] = event_wait_create(waits, "a", free_it, &wait[i]);
        event_wait_add(wait[i], PLUGGED, "p1");
    }
    assert_true(event_waits_tell(waits, "a", PLUGGED, "p1", true));
    for (size_t i = 0; i < N_ELEMENTS(wait); i++) {
        assert_null(wait[i]);
    }
    event_waits_free(waits);
}

static void
test_all_fail_when_it_is_closed(void **state UNUSED)
{
    struct event_waits *waits = event_waits_create();
    unsigned n = 0;
    struct event_wait *wait = event_wait_create(waits, "a", count, &n);
    struct event_wait *over = event_wait_create(waits, "b", count, &n);

    event_wait_add(wait, PLUGGED, "p1");
    event_wait_add(wait, PLUGGED, "p2");
    event_wait_add(over, PLUGGED, "p1");
    assert_true(event_waits_tell(waits, "b", PLUGGED, "p1", true));
    n = 0;
    event_waits_close(waits);
    assert_int_equal(n, 1);
    assert_int_equal(event_wait_n_open(wait), 0);
    assert_string_equal(event_wait_failed(wait), PLUGGED "-p1");
    assert_null(event_wait_failed(over));

    /* As has what is registered too late. */
    struct event_wait *late = event_wait_create(waits, "a", count, &n);
    event_wait_add(late, PLUGGED, "p3");
    assert_string_equal(event_wait_failed(late), PLUGGED "-p3");
    event_waits_free(waits);
    event_wait_free(late);
    event_wait_free(wait);
    event_wait_free(over);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event_wakes_who_waits_for_it_and_nobody_else),
        cmocka_unit_test(test_event_before_the_wait_is_nobodys),
        cmocka_unit_test(test_two_who_wait_for_one_event_both_hear_it),
        cmocka_unit_test(test_wait_may_end_when_it_hears),
        cmocka_unit_test(test_all_fail_when_it_is_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
