#include <config.h>

#include "agent/nova/external_events.h"

#include <stdio.h>

#include "agent/event_waits.h"
#include "agent/nova/cloud.h"
#include "agent/nova/info_cache.h"
#include "agent/nova/primitive.h"

LOG_MODULE(events);

struct event {
    struct agent *agent;
    const struct json *context;
    const struct json *instance; /* Primitive. */
    const char *uuid, *name;
    const char *tag; /* Null: none. */
    bool is_completed;
    struct log_context log;
};

static void wake(const struct event *event);
static void refresh_port(const struct event *event);
static void drop_port(const struct event *event);
static void extend_volume(const struct event *event);
static void update_power(const struct event *event);

/* All others wake who waits for them. */
static const struct {
    const char *name;
    void (*act)(const struct event *event);
} actions[] = {
    {"network-changed", refresh_port},
    {"network-vif-deleted", drop_port},
    {"volume-extended", extend_volume},
    {"power-update", update_power},
};

static const struct json *
instance_of(const struct json *instances, const char *uuid)
{
    json_for_each (instance, instances) {
        if (str_eq(primitive_string(instance, "uuid"), uuid)) {
            return instance;
        }
    }
    return NULL;
}

static void
take(struct event *event)
{
    for (size_t i = 0; i < N_ELEMENTS(actions); i++) {
        if (str_eq(event->name, actions[i].name)) {
            actions[i].act(event);
            return;
        }
    }
    wake(event);
}

void
external_events_take(struct agent *agent, const struct json *context,
                     const struct json *instances, const struct json *events,
                     const struct log_context *log)
{
    json_for_each (row, events) {
        struct event event = {
            .agent = agent,
            .context = context,
            .uuid = primitive_string(row, "instance_uuid"),
            .name = primitive_string(row, "name"),
            .tag = primitive_string(row, "tag"),
            .is_completed =
                str_eq(primitive_string(row, "status"), "completed"),
            .log = *log,
        };

        event.instance = instance_of(instances, event.uuid);
        if (!event.uuid || !event.name || !event.instance) {
            log_limited(LOG_LEVEL_WARN, log,
                        "event '%s' is of no instance that came with it",
                        event.name ? event.name : "");
            continue;
        }
        snprintf(event.log.instance, sizeof event.log.instance, "%s",
                 event.uuid);
        log_debug(&event.log, "event %s-%s", event.name,
                  event.tag ? event.tag : "");
        take(&event);
    }
}

/* Ports are plugged and unplugged as a guest is moved or deleted, at moments
 * when nobody waits for it. */
static bool
is_expected(const struct event *event)
{
    const char *task = primitive_string(event->instance, "task_state");
    bool is_move = str_eq(task, "migrating");

    return (str_eq(event->name, "network-vif-unplugged") &&
            (is_move || str_eq(task, "deleting"))) ||
           (str_eq(event->name, "network-vif-plugged") && is_move);
}

static void
wake(const struct event *event)
{
    const char *vm = primitive_string(event->instance, "vm_state");
    const char *task = primitive_string(event->instance, "task_state");

    if (!event_waits_tell(event->agent->event_waits, event->uuid, event->name,
                          event->tag, event->is_completed)) {
        log_limited(is_expected(event) ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
                    &event->log,
                    "nobody waits for event %s-%s, of an instance with "
                    "vm_state '%s' and task_state '%s'",
                    event->name, event->tag ? event->tag : "", vm ? vm : "",
                    task ? task : "");
    }
}

/* Without a tag it may be any of them. */
static void
refresh_port(const struct event *event)
{
    const struct nova *nova = event->agent->nova;
    const struct info_request request = {
        .context = event->context,
        .instance = event->uuid,
        .project = primitive_string(event->instance, "project_id"),
        .scope = event->tag ? INFO_PORT : INFO_KNOWN,
        .port = event->tag,
    };

    if (!nova || !nova->info_cache || !cloud_has_neutron(event->agent->conf)) {
        log_limited(LOG_LEVEL_WARN, &event->log,
                    "event %s-%s: no Neutron is configured that could be asked",
                    event->name, event->tag ? event->tag : "");
        return;
    }
    info_cache_refresh(nova->info_cache, &request, NULL, NULL);
}

/* Nobody else gives that port to a guest; but the interface is a dead one. */
static void
drop_port(const struct event *event)
{
    log_limited(LOG_LEVEL_ERROR, &event->log,
                "port '%s' was deleted, and its interface stays in the guest "
                "until that is stopped",
                event->tag ? event->tag : "");
    refresh_port(event);
}

/* Cinder has grown it; the hypervisor opens it anew at the next start. */
static void
extend_volume(const struct event *event)
{
    log_limited(LOG_LEVEL_ERROR, &event->log,
                "volume '%s' was extended, and its guest is not told: it sees "
                "the new size when it has been stopped and started",
                event->tag ? event->tag : "");
}

static void
update_power(const struct event *event)
{
    log_limited(LOG_LEVEL_ERROR, &event->log,
                "a hypervisor is not told of its guests' power: power-update "
                "'%s' is ignored",
                event->tag ? event->tag : "");
}
