#include <config.h>

/* The pure parts beneath the link and the server: what waits to be published,
 * what is to be acknowledged, what has been seen, what is due. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/mem.h"
#include "rpc/ack_window.h"
#include "rpc/deadline.h"
#include "rpc/mismatch.h"
#include "rpc/names.h"
#include "rpc/outbox.h"
#include "rpc/seen.h"
#include "rpc/unconfirmed.h"
#include "tests/unit/fake_clock.h"

/* ---- outbox -------------------------------------------------------------- */

static struct message *
letter(enum message_class class, const char *text, size_t size)
{
    char *body = xzalloc(size + 1);

    return message_create(class, "", text, body, size);
}

static void
free_list(struct message_list *list)
{
    struct message *message;

    while ((message = message_list_pop(list))) {
        message_free(message);
    }
}

static void
assert_pops(struct outbox *box, const char *text)
{
    CLEANUP(message_free_at) struct message *message = outbox_pop(box);

    assert_non_null(message);
    assert_string_equal(message->routing_key, text);
}

static void
test_messages_leave_in_the_order_of_coming(void **state)
{
    struct outbox box = {.max_bytes = 1u << 20};
    struct message_list dropped = {0};

    (void)state;
    outbox_push(&box, letter(MESSAGE_REPLY, "a", 1), &dropped);
    outbox_push(&box, letter(MESSAGE_PROGRESS, "b", 1), &dropped);
    outbox_push(&box, letter(MESSAGE_REPLY, "c", 1), &dropped);
    assert_pops(&box, "a");
    assert_pops(&box, "b");
    assert_pops(&box, "c");
    assert_null(outbox_pop(&box));
    assert_int_equal(box.bytes, 0);
    assert_int_equal(dropped.n, 0);
}

static void
test_what_is_put_back_keeps_its_place(void **state)
{
    struct outbox box = {.max_bytes = 1u << 20};
    struct message_list dropped = {0};
    struct message *popped[3];

    (void)state;
    for (int i = 0; i < 4; i++) {
        const char *const names[] = {"a", "b", "c", "d"};

        outbox_push(&box, letter(MESSAGE_REPLY, names[i], 1), &dropped);
    }
    for (int i = 0; i < 3; i++) {
        popped[i] = outbox_pop(&box);
    }
    outbox_put_back(&box, popped[1], &dropped);
    outbox_put_back(&box, popped[0], &dropped);
    outbox_put_back(&box, popped[2], &dropped);
    assert_int_equal(dropped.n, 0);
    assert_pops(&box, "a");
    assert_pops(&box, "b");
    assert_pops(&box, "c");
    assert_pops(&box, "d");
}

static void
test_least_important_goes_first_when_room_is_scarce(void **state)
{
    struct outbox box = {.max_bytes = 4500};
    struct message_list dropped = {0};

    (void)state;
    outbox_push(&box, letter(MESSAGE_NOTIFICATION, "old", 1000), &dropped);
    outbox_push(&box, letter(MESSAGE_REQUEST, "request", 1000), &dropped);
    outbox_push(&box, letter(MESSAGE_NOTIFICATION, "new", 1000), &dropped);
    assert_int_equal(dropped.n, 0);
    outbox_push(&box, letter(MESSAGE_REPLY, "reply", 1000), &dropped);
    assert_int_equal(dropped.n, 1);
    assert_string_equal(dropped.head->routing_key, "old");
    outbox_push(&box, letter(MESSAGE_FINAL, "final", 8000), &dropped);
    assert_int_equal(dropped.n, 4);
    assert_pops(&box, "final"); /* However large. */
    assert_null(outbox_pop(&box));
    outbox_push(&box, letter(MESSAGE_REPLY, "huge", 8000), &dropped);
    assert_int_equal(dropped.n, 5);
    free_list(&dropped);
}

static void
test_what_is_put_back_finds_no_more_room_than_what_is_new(void **state)
{
    struct outbox box = {.max_bytes = 4500};
    struct message_list dropped = {0};
    struct message *popped[3];

    (void)state;
    outbox_push(&box, letter(MESSAGE_PROGRESS, "progress", 1000), &dropped);
    outbox_push(&box, letter(MESSAGE_FINAL, "final", 1000), &dropped);
    outbox_push(&box, letter(MESSAGE_REPLY, "reply", 1000), &dropped);
    for (int i = 0; i < 3; i++) {
        popped[i] = outbox_pop(&box);
    }
    for (int i = 0; i < 3; i++) {
        outbox_push(&box, letter(MESSAGE_REPLY, "later", 1000), &dropped);
    }
    assert_int_equal(dropped.n, 0);
    outbox_put_back(&box, popped[0], &dropped);
    assert_int_equal(dropped.n, 1);
    assert_string_equal(dropped.tail->routing_key, "progress");
    outbox_put_back(&box, popped[1], &dropped);
    assert_int_equal(dropped.n, 2);
    assert_string_equal(dropped.tail->routing_key, "later");
    /* It is the oldest of its class. */
    outbox_put_back(&box, popped[2], &dropped);
    assert_int_equal(dropped.n, 3);
    assert_string_equal(dropped.tail->routing_key, "reply");
    assert_pops(&box, "final");
    free_list(&dropped);
    assert_pops(&box, "later");
    assert_pops(&box, "later");
    assert_null(outbox_pop(&box));
}

static void
test_memory_is_bounded_whatever_is_sent(void **state)
{
    enum { N = 20000, MAX_BYTES = 1u << 20 };
    struct outbox box = {.max_bytes = MAX_BYTES};
    struct message_list dropped = {0};
    unsigned n_dropped[MESSAGE_FINAL + 1] = {0};
    struct message *message;
    uint32_t x = 1;

    (void)state;
    for (int i = 0; i < N; i++) {
        x = x * 1103515245 + 12345;
        enum message_class class = (x >> 16) % MESSAGE_FINAL;

        outbox_push(&box, letter(class, "any", (x >> 8) % 2000), &dropped);
        assert_true(box.bytes <= MAX_BYTES);
        if (i % 7 == 0 && (message = outbox_pop(&box))) {
            outbox_put_back(&box, message, &dropped);
        }
        while ((message = message_list_pop(&dropped))) {
            n_dropped[message->class]++;
            /* Nothing of less importance was there to go instead. */
            for (int lower = 0; lower < (int)message->class; lower++) {
                assert_null(box.lists[lower].head);
            }
            message_free(message);
        }
    }
    assert_true(n_dropped[MESSAGE_PROGRESS] && n_dropped[MESSAGE_REQUEST]);
    while ((message = outbox_pop(&box))) {
        message_free(message);
    }
}

static void
test_expired_messages_make_room(void **state)
{
    struct outbox box = {.max_bytes = 1u << 20};
    struct message_list list = {0};
    struct message *message = letter(MESSAGE_REQUEST, "late", 1);

    (void)state;
    message->deadline_ms = 100;
    outbox_push(&box, message, &list);
    outbox_push(&box, letter(MESSAGE_REQUEST, "patient", 1), &list);
    outbox_expire(&box, 99, &list);
    assert_int_equal(list.n, 0);
    outbox_expire(&box, 100, &list);
    assert_int_equal(list.n, 1);
    assert_string_equal(list.head->routing_key, "late");
    free_list(&list);
    assert_pops(&box, "patient");
}

/* ---- unconfirmed --------------------------------------------------------- */

static struct unconfirmed
sent(unsigned n)
{
    struct unconfirmed u = {.max_bytes = 1u << 20, .is_trusted = true};

    for (unsigned i = 0; i < n; i++) {
        unconfirmed_add(&u, letter(MESSAGE_REPLY, "reply", 10), 1000);
    }
    return u;
}

static void
free_unconfirmed(struct unconfirmed *u)
{
    struct message_list list = {0};

    unconfirmed_take_all(u, &list);
    free_list(&list);
    assert_int_equal(u->bytes, 0);
    assert_int_equal(u->list.n, 0);
}

static void
test_new_channel_takes_one_message_until_it_is_trusted(void **state)
{
    struct unconfirmed u = {.max_bytes = 1u << 20};
    struct message_list list = {0};

    (void)state;
    unconfirmed_open(&u, 1000);
    assert_int_equal(unconfirmed_room(&u, 1000), 1);
    unconfirmed_add(&u, letter(MESSAGE_REPLY, "a", 10), 1000);
    assert_int_equal(unconfirmed_room(&u, 1999), 0);
    /* A queue that confirms nothing holds up nobody else for long. */
    assert_int_equal(unconfirmed_room(&u, 2000), UNCONFIRMED_MAX - 1);
    unconfirmed_take(&u, 1, false, &list);
    assert_int_equal(unconfirmed_room(&u, 1001), UNCONFIRMED_MAX);
    free_list(&list);
}

static void
test_what_is_under_way_is_bounded_in_number_and_bytes(void **state)
{
    struct unconfirmed u = sent(UNCONFIRMED_MAX - 1);

    (void)state;
    assert_int_equal(unconfirmed_room(&u, 1000), 1);
    unconfirmed_add(&u, letter(MESSAGE_REPLY, "last", 10), 1000);
    assert_int_equal(unconfirmed_room(&u, 1000), 0);
    free_unconfirmed(&u);
    unconfirmed_add(&u, letter(MESSAGE_REPLY, "huge", 2u << 20), 1000);
    assert_int_equal(unconfirmed_room(&u, 1000), 0);
    free_unconfirmed(&u);
}

static void
test_confirms_name_one_or_all_up_to_it(void **state)
{
    struct unconfirmed u = sent(5);
    struct message_list list = {0};

    (void)state;
    unconfirmed_take(&u, 3, false, &list);
    assert_int_equal(list.n, 1);
    assert_int_equal(list.head->tag, 3);
    unconfirmed_take(&u, 3, false, &list); /* Said twice. */
    assert_int_equal(list.n, 1);
    unconfirmed_take(&u, 4, true, &list);
    assert_int_equal(list.n, 4);
    assert_int_equal(u.list.n, 1);
    assert_int_equal(u.bytes, 10);
    free_list(&list);
    free_unconfirmed(&u);
}

static void
test_what_nobody_waits_for_is_given_up(void **state)
{
    struct unconfirmed u = sent(2);
    struct message_list list = {0};

    (void)state;
    u.list.tail->deadline_ms = 5000;
    unconfirmed_take_old(&u, 4999, &list);
    assert_int_equal(list.n, 0);
    unconfirmed_take_old(&u, 5000, &list);
    assert_int_equal(list.n, 1);
    /* What is old stays, as there is room: the broker may be slow. */
    unconfirmed_take_old(&u, 1000 + 10 * UNCONFIRMED_AGE_MS, &list);
    assert_int_equal(list.n, 1);
    free_list(&list);
    free_unconfirmed(&u);
}

static void
test_queue_that_never_confirms_does_not_stop_the_others(void **state)
{
    struct unconfirmed u = sent(UNCONFIRMED_MAX - 1);
    struct message_list list = {0};

    (void)state;
    unconfirmed_add(&u, letter(MESSAGE_FINAL, "final", 10), 1000);
    unconfirmed_take_old(&u, 999 + UNCONFIRMED_AGE_MS, &list);
    assert_int_equal(list.n, 0);
    unconfirmed_take_old(&u, 1000 + UNCONFIRMED_AGE_MS, &list);
    assert_int_equal(list.n, 1);
    assert_int_equal(unconfirmed_room(&u, 1000 + UNCONFIRMED_AGE_MS), 1);
    assert_int_equal(u.list.tail->class, MESSAGE_FINAL);
    free_list(&list);
    free_unconfirmed(&u);
}

static void
test_request_goes_twice_at_most_and_the_guilty_three_times(void **state)
{
    struct unconfirmed u = {.max_bytes = 1u << 20};
    CLEANUP(message_free_at)
    struct message *request = letter(MESSAGE_REQUEST, "request", 10);
    CLEANUP(message_free_at)
    struct message *reply = letter(MESSAGE_REPLY, "reply", 10);
    struct message_list list = {0};

    (void)state;
    unconfirmed_add(&u, request, 1000);
    unconfirmed_take_all(&u, &list);
    message_list_pop(&list);
    assert_true(unconfirmed_goes_again(request, false));
    unconfirmed_add(&u, request, 1000);
    unconfirmed_take_all(&u, &list);
    message_list_pop(&list);
    assert_false(unconfirmed_goes_again(request, false));
    for (int i = 0; i < 100; i++) {
        assert_true(unconfirmed_goes_again(reply, false));
    }
    assert_true(unconfirmed_goes_again(reply, true));
    assert_true(unconfirmed_goes_again(reply, true));
    assert_false(unconfirmed_goes_again(reply, true));
}

static void
test_returned_message_is_known_by_its_body(void **state)
{
    struct unconfirmed u = {.max_bytes = 1u << 20};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct message *message = letter(MESSAGE_REPLY, "reply", 10);

        message->mandatory = true;
        message->body[0] = (char)('a' + i);
        unconfirmed_add(&u, message, 1000);
    }
    const struct message *found =
        unconfirmed_return(&u, "reply", "b\0\0\0\0\0\0\0\0\0", 10);
    assert_non_null(found);
    assert_int_equal(found->tag, 2);
    assert_true(found->returned);
    assert_null(unconfirmed_return(&u, "reply", "b\0\0\0\0\0\0\0\0\0", 10));
    assert_null(unconfirmed_return(&u, "other", "a\0\0\0\0\0\0\0\0\0", 10));
    free_unconfirmed(&u);
}

/* ---- ack_window ---------------------------------------------------------- */

static void
assert_acks(struct ack_window *window, uint64_t tag, bool multiple)
{
    uint64_t got_tag = 0;
    bool got_multiple = false;

    assert_true(ack_window_next(window, &got_tag, &got_multiple));
    assert_int_equal(got_tag, tag);
    assert_int_equal(got_multiple, multiple);
}

static void
assert_no_ack(struct ack_window *window)
{
    uint64_t tag;
    bool multiple;

    assert_false(ack_window_next(window, &tag, &multiple));
}

static void
test_a_run_is_acknowledged_at_once(void **state)
{
    struct ack_window window = {0};

    (void)state;
    for (uint64_t tag = 1; tag <= 200; tag++) {
        ack_window_add(&window, tag);
    }
    for (uint64_t tag = 1; tag <= 150; tag++) {
        assert_true(ack_window_mark(&window, tag));
    }
    assert_acks(&window, 150, true);
    assert_no_ack(&window);
    assert_true(ack_window_mark(&window, 151));
    assert_acks(&window, 151, false);
    ack_window_close(&window);
}

static void
test_what_is_held_is_never_included(void **state)
{
    struct ack_window window = {0};

    (void)state;
    for (uint64_t tag = 1; tag <= 6; tag++) {
        ack_window_add(&window, tag);
    }
    ack_window_mark(&window, 2);
    ack_window_mark(&window, 4);
    assert_acks(&window, 4, false);
    assert_acks(&window, 2, false);
    assert_no_ack(&window);
    /* "All up to 4" would name a tag that is settled: an error. */
    ack_window_mark(&window, 1);
    ack_window_mark(&window, 3);
    assert_acks(&window, 3, true);
    assert_no_ack(&window);
    assert_true(ack_window_forget(&window, 5));
    ack_window_mark(&window, 6);
    assert_acks(&window, 6, false);
    ack_window_close(&window);
}

static void
test_a_tag_is_settled_once(void **state)
{
    struct ack_window window = {0};

    (void)state;
    ack_window_add(&window, 1);
    assert_false(ack_window_mark(&window, 2));
    assert_true(ack_window_forget(&window, 1));
    assert_false(ack_window_mark(&window, 1));
    assert_no_ack(&window);
    ack_window_reset(&window);
    ack_window_add(&window, 1);
    assert_true(ack_window_mark(&window, 1));
    assert_acks(&window, 1, false);
    ack_window_close(&window);
}

/* ---- seen ---------------------------------------------------------------- */

static bool
add(struct seen *seen, unsigned i, uint64_t now_ms)
{
    AUTO_FREE id = xasprintf("%032x", i);

    return seen_add(seen, id, now_ms);
}

static void
test_ids_stay_for_ten_minutes_and_four_thousand(void **state)
{
    CLEANUP(seen_free_at) struct seen *seen = seen_create();

    (void)state;
    for (unsigned i = 0; i < 10000; i++) {
        assert_true(add(seen, i, 1000));
    }
    assert_false(add(seen, 0, SEEN_AGE_MS));
    /* Old ones go as new ones come, down to the least number. */
    for (unsigned i = 10000; i < 10010; i++) {
        assert_true(add(seen, i, 2 * SEEN_AGE_MS));
    }
    assert_true(add(seen, 0, 2 * SEEN_AGE_MS));
    assert_false(add(seen, 9999, 2 * SEEN_AGE_MS));
    assert_false(add(seen, 10010 - SEEN_MIN + 1, 2 * SEEN_AGE_MS));
}

static void
test_a_flood_is_bounded(void **state)
{
    CLEANUP(seen_free_at) struct seen *seen = seen_create();

    (void)state;
    for (unsigned i = 0; i < SEEN_MAX + 100; i++) {
        assert_true(add(seen, i, 1000));
    }
    assert_true(add(seen, 0, 1000));
    assert_false(add(seen, 200, 1000));
    assert_false(seen_has(seen, "something else"));
}

/* ---- deadline ------------------------------------------------------------ */

struct due {
    struct deadline deadline;
    unsigned *log, *n;
    unsigned number;
};

static void
due(struct deadline *deadline)
{
    struct due *d = container_of(deadline, struct due, deadline);

    d->log[(*d->n)++] = d->number;
}

static void
closed(void *aux)
{
    *(bool *)aux = true;
}

static void
test_deadlines_come_in_order(void **state)
{
    enum { N = 100 };
    uv_loop_t loop;
    struct due dues[N] = {0};
    unsigned log[N], n = 0;
    bool is_closed = false;

    (void)state;
    fake_clock_install();
    uv_loop_init(&loop);
    struct deadlines *deadlines = deadlines_create(&loop);
    for (unsigned i = 0; i < N; i++) {
        unsigned number = i * 37 % N;

        dues[i] = (struct due){{.due = due}, log, &n, number};
        deadlines_set(deadlines, &dues[i].deadline, 1000000 + 10 * number);
    }
    for (unsigned i = 0; i < N; i++) {
        if (dues[i].number % 3 == 0) {
            deadlines_clear(deadlines, &dues[i].deadline);
        } else if (dues[i].number % 3 == 1) {
            deadlines_set(deadlines, &dues[i].deadline,
                          1010000 + dues[i].number);
        }
    }
    fake_clock_advance(&loop, 495);
    assert_int_equal(n, 16);
    fake_clock_advance(&loop, 20000);
    assert_int_equal(n, 66);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(log[i], i < 33 ? 3 * i + 2 : 3 * (i - 33) + 1);
    }
    deadlines_set(deadlines, &dues[0].deadline, 1);
    deadlines_close(deadlines, closed, &is_closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(is_closed);
    assert_int_equal(n, 66);
    assert_int_equal(uv_loop_close(&loop), 0);
    fake_clock_remove();
}

/* ---- mismatch ------------------------------------------------------------ */

/* As RabbitMQ 3.10 writes it. */
#define REFUSAL(ARGUMENT, OF)                                       \
    "PRECONDITION_FAILED - inequivalent arg '" ARGUMENT "' for " OF \
    " in vhost '/': received 'true' but current is 'false'"

static void
test_refusal_leads_to_the_option(void **state)
{
    static const struct {
        const char *text;
        enum mismatch_of of;
        const char *option;
    } rows[] = {
        {REFUSAL("durable", "exchange 'nova'"), MISMATCH_SHARED,
         "amqp_durable_queues or rabbit_quorum_queue"},
        {REFUSAL("durable", "queue 'compute'"), MISMATCH_SHARED,
         "amqp_durable_queues or rabbit_quorum_queue"},
        {REFUSAL("durable", "queue 'reply_h:p:1'"), MISMATCH_TRANSIENT,
         "rabbit_transient_quorum_queue"},
        {REFUSAL("auto_delete", "queue 'compute'"), MISMATCH_SHARED,
         "amqp_auto_delete"},
        {REFUSAL("auto_delete", "queue 'reply_h:p:1'"), MISMATCH_TRANSIENT,
         NULL},
        {REFUSAL("x-queue-type", "queue 'compute'"), MISMATCH_SHARED,
         "rabbit_quorum_queue"},
        {REFUSAL("x-queue-type", "queue 'reply_h:p:1'"), MISMATCH_TRANSIENT,
         "rabbit_transient_quorum_queue"},
        {REFUSAL("x-queue-type", "queue 'compute_fanout'"), MISMATCH_STREAM,
         "rabbit_stream_fanout"},
        {REFUSAL("x-max-age", "queue 'compute_fanout'"), MISMATCH_STREAM,
         "rabbit_transient_queues_ttl"},
        {REFUSAL("x-expires", "queue 'reply_h:p:1'"), MISMATCH_TRANSIENT,
         "rabbit_transient_queues_ttl"},
        {REFUSAL("x-expires", "queue 'compute'"), MISMATCH_SHARED, NULL},
        {REFUSAL("x-delivery-limit", "queue 'compute'"), MISMATCH_SHARED,
         "rabbit_quorum_delivery_limit"},
        {REFUSAL("x-max-in-memory-length", "queue 'compute'"), MISMATCH_SHARED,
         "rabbit_quorum_max_memory_length"},
        {REFUSAL("x-max-in-memory-bytes", "queue 'compute'"), MISMATCH_SHARED,
         "rabbit_quorum_max_memory_bytes"},
        {REFUSAL("x-ha-policy", "queue 'compute'"), MISMATCH_SHARED,
         "rabbit_ha_queues"},
        {REFUSAL("type", "exchange 'nova'"), MISMATCH_SHARED,
         "control_exchange"},
        {REFUSAL("x-message-ttl", "queue 'compute'"), MISMATCH_SHARED, NULL},
        {"inequivalent arg 'dur", MISMATCH_SHARED, NULL},
        {"inequivalent arg '", MISMATCH_SHARED, NULL},
        {"", MISMATCH_SHARED, NULL},
    };

    (void)state;
    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        const char *option = mismatch_option(rows[i].text, rows[i].of);

        if (!str_eq(option, rows[i].option)) {
            fail_msg("%s: %s", rows[i].text, option);
        }
    }
}

static void
test_other_failed_preconditions_are_no_mismatch(void **state)
{
    (void)state;
    assert_true(mismatch_is(REFUSAL("durable", "queue 'compute'")));
    assert_false(mismatch_is("PRECONDITION_FAILED - invalid property "
                             "'auto-delete' for queue 'compute'"));
}

/* ---- names --------------------------------------------------------------- */

static void
test_a_name_can_be_taken_away(void **state)
{
    struct names names = {0};

    (void)state;
    names_add(&names, "a");
    names_add(&names, "b");
    names_add(&names, "c");
    names_remove(&names, "a");
    names_remove(&names, "x");
    assert_false(names_has(&names, "a"));
    assert_true(names_has(&names, "b"));
    assert_true(names_has(&names, "c"));
    names_clear(&names);
    assert_false(names_has(&names, "b"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_leave_in_the_order_of_coming),
        cmocka_unit_test(test_what_is_put_back_keeps_its_place),
        cmocka_unit_test(test_least_important_goes_first_when_room_is_scarce),
        cmocka_unit_test(
            test_what_is_put_back_finds_no_more_room_than_what_is_new),
        cmocka_unit_test(test_memory_is_bounded_whatever_is_sent),
        cmocka_unit_test(test_expired_messages_make_room),
        cmocka_unit_test(
            test_new_channel_takes_one_message_until_it_is_trusted),
        cmocka_unit_test(test_what_is_under_way_is_bounded_in_number_and_bytes),
        cmocka_unit_test(test_confirms_name_one_or_all_up_to_it),
        cmocka_unit_test(test_what_nobody_waits_for_is_given_up),
        cmocka_unit_test(
            test_queue_that_never_confirms_does_not_stop_the_others),
        cmocka_unit_test(
            test_request_goes_twice_at_most_and_the_guilty_three_times),
        cmocka_unit_test(test_returned_message_is_known_by_its_body),
        cmocka_unit_test(test_a_run_is_acknowledged_at_once),
        cmocka_unit_test(test_what_is_held_is_never_included),
        cmocka_unit_test(test_a_tag_is_settled_once),
        cmocka_unit_test(test_ids_stay_for_ten_minutes_and_four_thousand),
        cmocka_unit_test(test_a_flood_is_bounded),
        cmocka_unit_test(test_deadlines_come_in_order),
        cmocka_unit_test(test_refusal_leads_to_the_option),
        cmocka_unit_test(test_other_failed_preconditions_are_no_mismatch),
        cmocka_unit_test(test_a_name_can_be_taken_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
