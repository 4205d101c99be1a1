#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <stdlib.h>
#include <string.h>

/* A notification is published once for each driver and topic that is
 * configured; it is shown once. */
#define N_REMEMBERED 256

struct events {
    struct tool *tool;
    char *seen[N_REMEMBERED]; /* message_id, a ring. */
    size_t next;
};

static const char **make_keys(const struct conf *conf);
static void heard(void *aux, const char *text, size_t size);
static struct error *open_body(const char *text, size_t size,
                               struct json **ret);
static bool is_seen(struct events *events, const char *message_id);
static void print_event(const struct json *event);
static const char *instance_name(const struct json *payload);

struct error *
verb_events(struct tool *tool)
{
    struct events events = {.tool = tool};
    struct conf *conf;
    struct error *error = tool_conf(tool, &conf);

    if (error) {
        return error;
    }
    const char *url = conf->oslo_messaging_notifications.transport_url;
    if (url && !tool->url) {
        free(conf->transport_url);
        conf->transport_url = xstrdup(url);
    }
    const char **keys = make_keys(conf);
    error = bus_listen(tool, keys, heard, &events);
    if (!error) {
        error = bus_catch_signals(tool);
    }
    if (!error) {
        fprintf(stderr, "droverctl: listening to exchange '%s'\n",
                conf->control_exchange);
        while (!bus_is_interrupted(tool)) {
            bus_wait(tool, 60000);
        }
    }
    for (size_t i = 0; keys[i]; i++) {
        free((char *)keys[i]);
    }
    free(keys);
    for (size_t i = 0; i < N_REMEMBERED; i++) {
        free(events.seen[i]);
    }
    return error;
}

/* "notifications.*" and so on: the last part is the priority.  The caller's. */
static const char **
make_keys(const struct conf *conf)
{
    char **lists[] = {
        conf->oslo_messaging_notifications.topics,
        conf->notifications.versioned_notifications_topics,
    };
    size_t n = 0, room = 8;
    const char **keys = xcalloc(room, sizeof *keys);

    for (size_t i = 0; i < N_ELEMENTS(lists); i++) {
        for (char **topic = lists[i]; *topic; topic++) {
            if (n + 1 == room) {
                keys = xgrow(keys, &room, sizeof *keys);
            }
            keys[n++] = xasprintf("%s.*", *topic);
        }
    }
    keys[n] = NULL;
    return keys;
}

static void
heard(void *aux, const char *text, size_t size)
{
    struct events *events = aux;
    AUTO_JSON event = NULL;
    AUTO_ERROR error = open_body(text, size, &event);

    if (error) {
        fprintf(stderr, "droverctl: no notification: %s\n",
                error_message(error));
        return;
    }
    if (is_seen(events, json_string_of(event, "message_id"))) {
        return;
    }
    if (events->tool->as_json) {
        print_json(event);
    } else {
        print_event(event);
    }
    fflush(stdout);
    if (ferror(stdout)) {
        bus_stop_listening(events->tool);
    }
}

/* With or without an envelope: drivers messagingv2 and messaging. */
static struct error *
open_body(const char *text, size_t size, struct json **ret)
{
    AUTO_JSON outer = NULL;
    struct error *error = json_parse(text, size, &outer);
    const char *inner = json_string_of(outer, "oslo.message");

    if (!error && inner) {
        error = json_parse(inner, strlen(inner), ret);
    } else if (!error) {
        *ret = steal(&outer);
    }
    return error;
}

static bool
is_seen(struct events *events, const char *message_id)
{
    for (size_t i = 0; message_id && i < N_REMEMBERED; i++) {
        if (str_eq(events->seen[i], message_id)) {
            return true;
        }
    }
    free(events->seen[events->next]);
    events->seen[events->next] = xstrdup_null(message_id);
    events->next = (events->next + 1) % N_REMEMBERED;
    return false;
}

static void
print_event(const struct json *event)
{
    AUTO_FREE line =
        xasprintf("%-26s  %-5s  %-48s  %-20s  %s", text_of(event, "timestamp"),
                  text_of(event, "priority"), text_of(event, "event_type"),
                  text_of(event, "publisher_id"),
                  instance_name(json_get(event, "payload")));
    AUTO_FREE clean = text_clean(line);

    puts(clean);
}

/* Unversioned payloads are flat, versioned ones are objects. */
static const char *
instance_name(const struct json *payload)
{
    const struct json *data = json_get(payload, "nova_object.data");
    const char *name = json_string_of(data ? data : payload, "display_name");

    return name ? name : text_of(data ? data : payload, "instance_uuid");
}
