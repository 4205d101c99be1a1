#include <config.h>

#include "agent/base/completion.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Longer than the loop delivers without a look at anything else. */
#define LONG_NS 20000000ull

static uv_loop_t loop;
static struct completion_queue *q;
static char order[64];

struct note {
    struct completion completion;
    char name;
    bool is_long, was_last;
    struct note *at_end, *posts; /* Null: none. */
};

static void
note_deliver(struct completion *c)
{
    struct note *note = container_of(c, struct note, completion);
    uint64_t until_ns = uv_hrtime() + LONG_NS;

    strncat(order, &note->name, 1);
    note->was_last = completion_is_last(q);
    if (note->at_end) {
        completion_at_end(q, &note->at_end->completion);
    }
    if (note->posts) {
        completion_post(q, &note->posts->completion);
    }
    while (note->is_long && uv_hrtime() < until_ns) {
    }
}

static struct note
note_of(char name)
{
    return (struct note){.completion = {.deliver = note_deliver}, .name = name};
}

static int
start(void **state)
{
    (void)state;
    uv_loop_init(&loop);
    q = completion_queue_create(&loop);
    order[0] = '\0';
    return 0;
}

static int
stop(void **state)
{
    (void)state;
    completion_queue_close(q);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void
run_until(const char *expected)
{
    while (strlen(order) < strlen(expected)) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert_string_equal(order, expected);
}

static void
test_order_is_kept(void **state)
{
    (void)state;
    struct note a = note_of('a'), b = note_of('b'), c = note_of('c');

    a.posts = &c;
    completion_post(q, &a.completion);
    completion_post(q, &b.completion);
    run_until("abc");
    assert_false(a.was_last);
    assert_true(b.was_last); /* The other was not known of yet. */
    assert_true(c.was_last);
}

static void
test_the_end_comes_after_all_that_waits(void **state)
{
    (void)state;
    struct note a = note_of('a'), b = note_of('b'), c = note_of('c');
    struct note end = note_of('e');

    a.at_end = &end;
    b.posts = &c;
    completion_post(q, &a.completion);
    completion_post(q, &b.completion);
    run_until("abce");
}

static void
test_the_end_comes_when_it_takes_too_long(void **state)
{
    (void)state;
    struct note a = note_of('a'), b = note_of('b'), end = note_of('e');

    a.at_end = &end;
    a.is_long = true;
    completion_post(q, &a.completion);
    completion_post(q, &b.completion);
    run_until("aeb");
}

static void
test_closing_delivers_the_end(void **state)
{
    (void)state;
    struct note a = note_of('a'), end = note_of('e');

    a.at_end = &end;
    completion_post(q, &a.completion);
    completion_queue_close(q);
    assert_string_equal(order, "ae");
    uv_run(&loop, UV_RUN_DEFAULT);
    q = completion_queue_create(&loop);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order_is_kept, start, stop),
        cmocka_unit_test_setup_teardown(test_the_end_comes_after_all_that_waits,
                                        start, stop),
        cmocka_unit_test_setup_teardown(
            test_the_end_comes_when_it_takes_too_long, start, stop),
        cmocka_unit_test_setup_teardown(test_closing_delivers_the_end, start,
                                        stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
