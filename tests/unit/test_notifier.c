#include <config.h>

#include "rpc/notifier.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fake_clock.h"
#include "tests/unit/memory_bus.h"

struct bench {
    struct memory_bus *bus;
    struct transport *transport;
    struct notifier *notifier;
    struct json *heard[8]; /* {"key": ..., "message": ...} */
    bool wrapped[8];
    unsigned n_heard;
};

static const char *const one_topic[] = {"notifications", NULL};
static const char *const two_topics[] = {"notifications", "Versioned", NULL};

static void
heard(void *aux, const char *key, const char *body, size_t size)
{
    struct bench *b = aux;
    struct json *outer = NULL;
    AUTO_ERROR error = json_parse(body, size, &outer);
    const char *inner = json_string_of(outer, "oslo.message");
    struct json *line = json_object();

    assert_null(error);
    b->wrapped[b->n_heard] = inner;
    if (inner) {
        struct json *message = NULL;
        AUTO_ERROR bad = json_parse(inner, strlen(inner), &message);

        assert_null(bad);
        json_free(outer);
        outer = message;
    }
    json_set_string(line, "key", key);
    json_set(line, "message", outer);
    b->heard[b->n_heard++] = line;
}

static struct bench *
set_up(bool messaging, bool messagingv2, int retry)
{
    struct bench *b = xzalloc(sizeof *b);
    const struct notifier_options options = {"nova", messaging, messagingv2,
                                             retry};

    fake_clock_install();
    b->bus = memory_bus_create(NULL);
    memory_bus_set_listener(b->bus, heard, b);
    b->transport = memory_bus_attach(b->bus, NULL, "hosta");
    b->notifier = notifier_create(b->transport, &options);
    return b;
}

static void
tear_down(struct bench *b)
{
    notifier_free(b->notifier);
    memory_bus_detach(b->bus, b->transport);
    memory_bus_close(b->bus);
    fake_clock_remove();
    for (unsigned i = 0; i < b->n_heard; i++) {
        json_free(b->heard[i]);
    }
    free(b);
}

static void
notify(struct bench *b, const char *const *topics, const struct json *context)
{
    struct json *payload = json_object();

    json_set_string(payload, "host", "hosta");
    notifier_send(b->notifier, topics, "compute.hosta", "ERROR", "thing.broke",
                  context, payload);
    memory_bus_deliver_all(b->bus);
}

static void
test_notification_has_the_fields_of_the_wire(void **state)
{
    struct bench *b = set_up(false, true, -1);

    (void)state;
    notify(b, one_topic, NULL);
    assert_int_equal(b->n_heard, 1);
    assert_true(b->wrapped[0]);
    assert_string_equal(json_string_of(b->heard[0], "key"),
                        "notifications.error");
    const struct json *m = json_get(b->heard[0], "message");
    assert_string_equal(json_string_of(m, "publisher_id"), "compute.hosta");
    assert_string_equal(json_string_of(m, "priority"), "ERROR");
    assert_string_equal(json_string_of(m, "event_type"), "thing.broke");
    assert_string_equal(json_string_of(m, "timestamp"),
                        "2026-03-02 10:31:07.512000");
    assert_string_equal(json_string_of(json_get(m, "payload"), "host"),
                        "hosta");
    assert_int_equal(strlen(json_string_of(m, "message_id")), 36);
    assert_int_equal(strlen(json_string_of(m, "_unique_id")), 32);
    assert_false(json_has(m, "_msg_id"));
    tear_down(b);
}

static void
test_topics_and_drivers_share_the_message_id(void **state)
{
    struct bench *b = set_up(true, true, -1);

    (void)state;
    notify(b, two_topics, NULL);
    assert_int_equal(b->n_heard, 4);
    const struct json *first = json_get(b->heard[0], "message");
    for (unsigned i = 1; i < 4; i++) {
        const struct json *m = json_get(b->heard[i], "message");

        assert_string_equal(json_string_of(m, "message_id"),
                            json_string_of(first, "message_id"));
        assert_string_not_equal(json_string_of(m, "_unique_id"),
                                json_string_of(first, "_unique_id"));
    }
    assert_false(b->wrapped[0]);
    assert_true(b->wrapped[1]);
    assert_string_equal(json_string_of(b->heard[3], "key"), "Versioned.error");
    tear_down(b);
}

static void
test_no_driver_sends_nothing(void **state)
{
    struct bench *b = set_up(false, false, -1);

    (void)state;
    notify(b, two_topics, NULL);
    assert_int_equal(b->n_heard, 0);
    tear_down(b);
}

static void
test_secrets_of_the_context_stay_here(void **state)
{
    struct bench *b = set_up(false, true, -1);
    AUTO_JSON context = json_object();

    (void)state;
    json_set_string(context, "request_id", "req-1");
    json_set_string(context, "user_id", "alice");
    json_set_string(context, "auth_token", "TOKEN");
    json_set_string(context, "password", "secret");
    json_set(context, "service_catalog",
             json_append(json_array(), json_string("endpoint")));
    json_set(context, "trace_info", json_object());
    notify(b, one_topic, context);
    const struct json *m = json_get(b->heard[0], "message");
    assert_string_equal(json_string_of(m, "_context_request_id"), "req-1");
    assert_string_equal(json_string_of(m, "_context_user_id"), "alice");
    assert_true(json_is_null(json_get(m, "_context_auth_token")));
    assert_false(json_has(m, "_context_password"));
    assert_false(json_has(m, "_context_service_catalog"));
    assert_false(json_has(m, "_context_trace_info"));
    tear_down(b);
}

static void
test_bounded_retry_has_an_end(void **state)
{
    struct bench *b = set_up(false, true, 2);
    struct memory_mail mail;

    (void)state;
    notifier_send(b->notifier, one_topic, "p", "INFO", "e", NULL, NULL);
    assert_true(memory_bus_peek(b->bus, &mail));
    assert_int_equal(mail.message->deadline_ms, 1000000 + 6000);
    assert_int_equal(mail.message->class, MESSAGE_NOTIFICATION);
    assert_false(mail.message->mandatory);
    memory_bus_deliver_all(b->bus);
    assert_true(
        json_is_null(json_get(json_get(b->heard[0], "message"), "payload")));
    tear_down(b);
}

static void
test_what_tells_of_an_end_is_never_dropped(void **state)
{
    struct bench *b = set_up(false, true, -1);
    struct memory_mail mail;

    (void)state;
    notifier_send(b->notifier, one_topic, "p", "INFO", "thing.move.end", NULL,
                  NULL);
    assert_true(memory_bus_peek(b->bus, &mail));
    assert_int_equal(mail.message->class, MESSAGE_FINAL);
    assert_int_equal(mail.message->deadline_ms, 0);
    memory_bus_deliver_all(b->bus);
    notifier_send(b->notifier, one_topic, "p", "INFO", "thing.ending", NULL,
                  NULL);
    assert_true(memory_bus_peek(b->bus, &mail));
    assert_int_equal(mail.message->class, MESSAGE_NOTIFICATION);
    memory_bus_deliver_all(b->bus);
    tear_down(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_tells_of_an_end_is_never_dropped),
        cmocka_unit_test(test_notification_has_the_fields_of_the_wire),
        cmocka_unit_test(test_topics_and_drivers_share_the_message_id),
        cmocka_unit_test(test_no_driver_sends_nothing),
        cmocka_unit_test(test_secrets_of_the_context_stay_here),
        cmocka_unit_test(test_bounded_retry_has_an_end),
    };

    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
