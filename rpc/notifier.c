#include <config.h>

#include "rpc/notifier.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "rpc/envelope.h"
#include "rpc/uuid.h"

/* A bounded number of attempts, as time: an attempt comes with each pause of
 * the link. */
#define ATTEMPT_MS 2000

struct notifier {
    struct transport *transport;
    struct notifier_options options;
    char *exchange;
};

static struct json *redact(const struct json *context);
static enum message_class class_of(const char *event_type);
static void publish(struct notifier *, const char *topic,
                    const struct envelope_notification *, bool wrapped);

struct notifier *
notifier_create(struct transport *transport,
                const struct notifier_options *options)
{
    struct notifier *notifier = xzalloc(sizeof *notifier);

    notifier->transport = transport;
    notifier->options = *options;
    notifier->exchange = xstrdup(options->exchange);
    return notifier;
}

void
notifier_free(struct notifier *notifier)
{
    if (notifier) {
        free(notifier->exchange);
        free(notifier);
    }
}

void
notifier_send(struct notifier *notifier, const char *const *topics,
              const char *publisher_id, const char *priority,
              const char *event_type, const struct json *context,
              struct json *payload)
{
    AUTO_JSON owned_payload = payload;
    AUTO_JSON redacted = redact(context);
    char message_id[UUID_SIZE], timestamp[CLOCK_TEXT_SIZE];
    const struct envelope_notification n = {
        .message_id = uuid_generate_text(message_id),
        .publisher_id = publisher_id,
        .priority = priority,
        .event_type = event_type,
        .timestamp = clock_format_micro(clock_wall_us(), ' ', timestamp),
        .payload = owned_payload,
        .context = redacted,
    };

    for (; *topics; topics++) {
        if (notifier->options.messaging) {
            publish(notifier, *topics, &n, false);
        }
        if (notifier->options.messagingv2) {
            publish(notifier, *topics, &n, true);
        }
    }
}

/* Who it was, never what he may do: anyone may listen. (spec/rpc-wire 7) */
static struct json *
redact(const struct json *context)
{
    static const char *const kept[] = {
        "request_id",     "global_request_id", "user",
        "user_id",        "user_name",         "project",
        "project_id",     "project_name",      "tenant",
        "domain",         "domain_id",         "domain_name",
        "user_domain",    "user_domain_id",    "user_domain_name",
        "project_domain", "project_domain_id", "project_domain_name",
        "system_scope",   "is_admin",          "is_admin_project",
        "read_only",      "show_deleted",      "read_deleted",
        "roles",          "user_identity",     "resource_uuid",
        "remote_address", "quota_class",       "timestamp",
    };
    struct json *redacted = json_object();

    for (size_t i = 0; i < N_ELEMENTS(kept); i++) {
        const struct json *value = json_get(context, kept[i]);

        if (value) {
            json_set(redacted, kept[i], json_copy(value));
        }
    }
    if (context) {
        json_set_null(redacted, "auth_token");
    }
    return redacted;
}

/* What tells how something ended is never dropped for want of room. */
static enum message_class
class_of(const char *event_type)
{
    const char *last = strrchr(event_type, '.');

    return str_eq(last, ".end") ? MESSAGE_FINAL : MESSAGE_NOTIFICATION;
}

static void
publish(struct notifier *notifier, const char *topic,
        const struct envelope_notification *n, bool wrapped)
{
    size_t size;
    char *body = envelope_format_notification(n, wrapped, &size);
    AUTO_FREE key = xasprintf("%s.%s", topic, n->priority);

    for (char *c = key + strlen(topic); *c; c++) {
        *c = (char)tolower((unsigned char)*c);
    }
    struct message *message = message_create(
        class_of(n->event_type), notifier->exchange, key, body, size);
    message->declares_queue = true;
    if (notifier->options.retry >= 0) {
        message->deadline_ms =
            clock_now_ms() +
            ((unsigned)notifier->options.retry + 1ull) * ATTEMPT_MS;
    }
    notifier->transport->ops->publish(notifier->transport->state, message);
}
