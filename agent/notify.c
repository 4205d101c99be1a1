#include <config.h>

#include "agent/notify.h"

#include <stdlib.h>

struct notify {
    struct notifier *notifier;
    const struct conf *conf;
    bool is_legacy, is_versioned;
    char *legacy_publisher, *versioned_publisher;
};

static const struct {
    const char *legacy, *versioned;
    bool with_fixed_ips, with_block_devices;
} events[] = {
#define NOTIFY_EVENT(NAME, LEGACY, VERSIONED, FIXED_IPS, BDMS)            \
    [NOTIFY_##NAME] = {"compute.instance." LEGACY, "instance." VERSIONED, \
                       FIXED_IPS, BDMS},
    NOTIFY_EVENTS
#undef NOTIFY_EVENT
};

static void send_legacy(struct notify *notify, const struct json *context,
                        const char *priority, const char *event_type,
                        struct json *payload);
static void send_versioned(struct notify *notify, const struct json *context,
                           const char *priority, const char *event_type,
                           struct json *payload);

struct notify *
notify_create(struct notifier *notifier, const struct conf *conf)
{
    struct notify *notify = xzalloc(sizeof *notify);
    const char *format = conf->notifications.notification_format;

    notify->notifier = notifier;
    notify->conf = conf;
    notify->is_legacy = !str_eq(format, "versioned");
    notify->is_versioned =
        str_eq(format, "versioned") || str_eq(format, "both");
    notify->legacy_publisher = xasprintf("compute.%s", conf->host);
    notify->versioned_publisher = xasprintf("nova-compute:%s", conf->host);
    return notify;
}

void
notify_free(struct notify *notify)
{
    if (notify) {
        free(notify->legacy_publisher);
        free(notify->versioned_publisher);
        free(notify);
    }
}

void
notify_instance(struct notify *notify, const struct json *context,
                enum notify_event event, enum notify_phase phase,
                const struct object *instance)
{
    const char *end = phase == NOTIFY_START ? "start" : "end";

    if (notify->is_legacy) {
        AUTO_FREE type = xasprintf("%s.%s", events[event].legacy, end);
        send_legacy(notify, context, "INFO", type,
                    notify_legacy_payload(instance, context,
                                          events[event].with_fixed_ips));
    }
    if (notify->is_versioned) {
        AUTO_FREE type = xasprintf("%s.%s", events[event].versioned, end);
        send_versioned(
            notify, context, "INFO", type,
            notify_versioned_payload(
                instance, context,
                events[event].with_block_devices ||
                    notify->conf->notifications.bdms_in_notifications));
    }
}

void
notify_exception(struct notify *notify, const struct json *context,
                 const char *function, const struct object *instance,
                 const struct error *error)
{
    if (notify->is_legacy) {
        send_legacy(notify, context, "ERROR", function,
                    notify_legacy_exception(instance, error));
    }
    if (notify->is_versioned) {
        send_versioned(notify, context, "ERROR", "compute.exception",
                       notify_versioned_exception(function, error));
    }
}

static void
send_legacy(struct notify *notify, const struct json *context,
            const char *priority, const char *event_type, struct json *payload)
{
    notifier_send(
        notify->notifier,
        (const char *const *)notify->conf->oslo_messaging_notifications.topics,
        notify->legacy_publisher, priority, event_type, context, payload);
}

static void
send_versioned(struct notify *notify, const struct json *context,
               const char *priority, const char *event_type,
               struct json *payload)
{
    notifier_send(
        notify->notifier,
        (const char *const *)
            notify->conf->notifications.versioned_notifications_topics,
        notify->versioned_publisher, priority, event_type, context, payload);
}
