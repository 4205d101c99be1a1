#include <config.h>

#include "agent/nova/power_sync.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/incoming/incoming.h"
#include "agent/migrate/migration.h"
#include "agent/nova/own_order.h"
#include "agent/nova/power_rules.h"

LOG_MODULE(power);

#define STOP_DELAY_MS 15000
#define LATE_MAX 10000

/* A guest that stopped, to be looked at later. */
struct late {
    struct late *next;
    uint64_t due_ms;
    bool has_ended; /* By itself. */
    char uuid[40];
};

struct power_sync {
    struct nova *nova; /* Null: closed. */
    uv_timer_t regular, delay;
    struct late *late, **late_tail; /* Soonest first. */
    unsigned n_late;
    bool is_listing;
    struct object **instances; /* As they were listed. */
    size_t n_instances;
    unsigned n_refs; /* The owner, the two timers, and what is under way. */
};

/* One guest and its record. */
struct look {
    struct power_sync *sync;
    struct log_context log;
    int power;
    bool has_ended; /* By itself, as was seen. */
    bool is_second;
    struct object *instance;
    enum power_action action; /* A stop, or deletion, that is asked for. */
    struct json *context;     /* Of it. */
};

static void list_all(uv_timer_t *timer);
static void instances_known(void *aux, struct error *error,
                            struct object **objects, size_t n);
static void guests_known(void *aux, struct error *error,
                         struct guest_list *list);
static void listing_end(struct power_sync *sync, struct error *error);
static int power_of(const struct guest_list *list, const char *uuid);
static bool is_late(const struct power_sync *sync, const char *uuid);
static void look_at(struct power_sync *sync, const char *uuid, bool has_ended);
static void guest_known(void *aux, struct error *error, struct guest *guest);
static void record_known(void *aux, struct error *error,
                         struct object *instance);
static bool is_busy(struct agent *agent, const char *uuid);
static struct power_verdict judge(const struct nova *nova,
                                  const struct object *instance, int power,
                                  bool has_ended);
static bool is_order(enum power_action action);
static void act(struct look *look);
static void saved(void *aux, struct error *error, struct object *instance);
static void record_order(struct look *look);
static void order_recorded(void *aux, struct json **result,
                           struct object *object, struct error *error);
static void look_end(struct look *look, struct error *error);
static void stopped(struct power_sync *sync, const char *uuid, bool by_itself);
static void started(struct power_sync *sync, const char *uuid);
static void delay_over(uv_timer_t *timer);
static void set_delay(struct power_sync *sync);
static void timer_closed(uv_handle_t *handle);
static void drop(struct power_sync *sync);

/* As Nova has it, 0 is "as often as the default says". */
struct power_sync *
power_sync_create(struct nova *nova)
{
    struct power_sync *sync = xzalloc(sizeof *sync);
    int interval_s = nova->agent->conf->sync_power_state_interval;
    uint64_t ms = (uint64_t)(interval_s ? interval_s : 600) * 1000;

    sync->nova = nova;
    sync->late_tail = &sync->late;
    sync->n_refs = 3;
    uv_timer_init(nova->agent->loop, &sync->regular);
    uv_timer_init(nova->agent->loop, &sync->delay);
    sync->regular.data = sync->delay.data = sync;
    if (interval_s >= 0) {
        uv_timer_start(&sync->regular, list_all, 0, ms);
    }
    return sync;
}

void
power_sync_event(struct power_sync *sync, const struct driver_event *event)
{
    const struct conf *conf = sync->nova->agent->conf;

    if (!conf->workarounds.handle_virt_lifecycle_events &&
        event->type != DRIVER_EVENT_CONNECTED) {
        return;
    }
    switch (event->type) {
    case DRIVER_EVENT_STOPPED:
        if (event->detail != STOP_MIGRATED) {
            stopped(sync, event->uuid,
                    event->detail == STOP_SHUTDOWN ||
                        event->detail == STOP_CRASHED);
        }
        break;
    case DRIVER_EVENT_STARTED:
        started(sync, event->uuid);
        look_at(sync, event->uuid, false);
        break;
    case DRIVER_EVENT_SUSPENDED:
    case DRIVER_EVENT_RESUMED:
        look_at(sync, event->uuid, false);
        break;
    case DRIVER_EVENT_CONNECTED:
        list_all(&sync->regular);
        break;
    case DRIVER_EVENT_POSTCOPY:
    case DRIVER_EVENT_POSTCOPY_FAILED:
    case DRIVER_EVENT_DEFINED:
    case DRIVER_EVENT_UNDEFINED:
    case DRIVER_EVENT_JOB_COMPLETED:
    case DRIVER_EVENT_DISCONNECTED:
        break;
    }
}

void
power_sync_close(struct power_sync *sync)
{
    sync->nova = NULL;
    uv_close((uv_handle_t *)&sync->regular, timer_closed);
    uv_close((uv_handle_t *)&sync->delay, timer_closed);
    drop(sync);
}

/* All of them. */

static void
list_all(uv_timer_t *timer)
{
    struct power_sync *sync = timer->data;
    struct nova *nova = sync->nova;
    struct json *kwargs = json_object();

    if (sync->is_listing) {
        json_free(kwargs);
        return;
    }
    sync->is_listing = true;
    sync->n_refs++;
    json_set(kwargs, "expected_attrs", json_array());
    json_set_bool(kwargs, "use_slave", true);
    records_conductor_list(
        nova->records, NULL, "InstanceList", "get_by_host",
        json_append(json_array(), json_string(nova->agent->conf->host)), kwargs,
        instances_known, sync);
}

static void
instances_known(void *aux, struct error *error, struct object **objects,
                size_t n)
{
    struct power_sync *sync = aux;

    sync->instances = objects;
    sync->n_instances = n;
    if (error || !sync->nova) {
        listing_end(sync, error);
    } else {
        driver_guest_list(sync->nova->agent->driver, guests_known, sync);
    }
}

/* The list is only a hint: what seems wrong is looked at by itself. */
static void
guests_known(void *aux, struct error *error, struct guest_list *list)
{
    struct power_sync *sync = aux;

    if (error || !sync->nova) {
        guest_list_free(list);
        listing_end(sync, error);
        return;
    }
    if (list->n != sync->n_instances) {
        log_limited(LOG_LEVEL_WARN, NULL,
                    "%zu instances are recorded for this host, and %zu guests "
                    "are on it",
                    sync->n_instances, list->n);
    }
    for (size_t i = 0; i < sync->n_instances; i++) {
        const struct object *instance = sync->instances[i];
        const char *uuid = object_string(instance, "uuid");
        struct power_verdict verdict =
            judge(sync->nova, instance, power_of(list, uuid), false);

        if ((verdict.saves_power || verdict.action != POWER_ACT_NOTHING) &&
            !is_late(sync, uuid)) {
            look_at(sync, uuid, false);
        }
    }
    guest_list_free(list);
    listing_end(sync, NULL);
}

static void
listing_end(struct power_sync *sync, struct error *error)
{
    if (error && sync->nova) {
        log_limited(LOG_LEVEL_WARN, NULL, "power states are not compared: %s",
                    error_message(error));
    }
    error_free(error);
    for (size_t i = 0; i < sync->n_instances; i++) {
        object_free(sync->instances[i]);
    }
    free(steal(&sync->instances));
    sync->n_instances = 0;
    sync->is_listing = false;
    drop(sync);
}

static int
power_of(const struct guest_list *list, const char *uuid)
{
    for (size_t i = 0; i < list->n; i++) {
        if (str_eq(list->guests[i]->uuid, uuid)) {
            return (int)list->guests[i]->power_state;
        }
    }
    return POWER_NOSTATE;
}

/* One of them. */

static void
look_at(struct power_sync *sync, const char *uuid, bool has_ended)
{
    struct look *look = xzalloc(sizeof *look);

    look->sync = sync;
    look->has_ended = has_ended;
    sync->n_refs++;
    snprintf(look->log.instance, sizeof look->log.instance, "%s", uuid);
    driver_guest_get(sync->nova->agent->driver, look->log.instance, guest_known,
                     look);
}

static void
guest_known(void *aux, struct error *error, struct guest *guest)
{
    struct look *look = aux;
    struct nova *nova = look->sync->nova;

    look->power = guest ? (int)guest->power_state : POWER_NOSTATE;
    guest_free(guest);
    if (nova && is_busy(nova->agent, look->log.instance)) {
        error_free(error);
        look_end(look, NULL);
        return;
    }
    if (!nova || (error && error_code(error) != ERR_INSTANCE_NOT_FOUND)) {
        look_end(look, error);
        return;
    }
    error_free(error);
    records_conductor_get_bare(nova->records, NULL, look->log.instance,
                               record_known, look);
}

static void
record_known(void *aux, struct error *error, struct object *instance)
{
    struct look *look = aux;
    struct nova *nova = look->sync->nova;

    object_free(look->instance);
    look->instance = instance;
    if (error || !nova) {
        if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
            error_free(steal(&error)); /* A guest that is none of Nova's. */
        }
        look_end(look, error);
        return;
    }
    struct power_verdict verdict =
        judge(nova, instance, look->power, look->has_ended);
    if (!look->is_second && is_order(verdict.action)) {
        look->is_second = true;
        driver_guest_get(nova->agent->driver, look->log.instance, guest_known,
                         look);
        return;
    }
    act(look);
}

/* What is being done with it decides about its record, and alone. */
static bool
is_busy(struct agent *agent, const char *uuid)
{
    return migrate_source_find(agent, uuid) ||
           incoming_is_expected(agent, uuid) ||
           instance_queue_length(agent->queue, uuid);
}

static struct power_verdict
judge(const struct nova *nova, const struct object *instance, int power,
      bool has_ended)
{
    struct agent *agent = nova->agent;
    const char *uuid = object_string(instance, "uuid");
    const struct power_facts facts = {
        .is_of_this_host =
            str_eq(object_string(instance, "host"), agent->conf->host),
        .has_operation = is_busy(agent, uuid),
        .vm_state = object_string(instance, "vm_state"),
        .task_state = object_string(instance, "task_state"),
        .shutdown_terminate = object_bool(instance, "shutdown_terminate"),
        .disable_terminate = object_bool(instance, "disable_terminate"),
        .recorded = (int)object_int(instance, "power_state"),
        .actual = power,
        .has_ended = has_ended,
    };

    return power_rules_judge(&facts);
}

static bool
is_order(enum power_action action)
{
    return action == POWER_ACT_STOP || action == POWER_ACT_STOP_HARD ||
           action == POWER_ACT_DELETE;
}

/* Saved only while nobody else has begun anything with it. */
static void
act(struct look *look)
{
    static const char *const expected[] = {"", NULL};
    struct records *records = look->sync->nova->agent->records;
    struct power_verdict verdict =
        judge(look->sync->nova, look->instance, look->power, look->has_ended);

    if (power_action_text(verdict.action)) {
        log_warn(&look->log, "%s", power_action_text(verdict.action));
    }
    object_clear_changes(look->instance);
    if (verdict.saves_power) {
        log_info(&look->log, "its power state was recorded as %lld and is %d",
                 (long long)object_int(look->instance, "power_state"),
                 look->power);
        object_set_int(look->instance, "power_state", look->power);
    }
    if (is_order(verdict.action)) { /* As Nova's API. */
        look->action = verdict.action;
        object_set_string(look->instance, "task_state",
                          verdict.action == POWER_ACT_DELETE ? "deleting"
                                                             : "powering-off");
        object_set_int(look->instance, "progress", 0);
    }
    if (!object_n_changes(look->instance)) {
        look_end(look, NULL);
        return;
    }
    records->ops->instance_save(records->state, NULL, look->instance, expected,
                                saved, look);
}

static void
saved(void *aux, struct error *error, struct object *instance)
{
    struct look *look = aux;

    object_free(instance);
    if (!error && look->sync->nova && is_order(look->action)) {
        record_order(look);
    } else {
        look_end(look, error);
    }
}

/* The user sees it among the instance's actions. */
static void
record_order(struct look *look)
{
    struct json *args = json_array(), *kwargs = json_object();

    look->context = rpc_context_create();
    json_append(args, json_string(look->log.instance));
    json_append(args, json_string(look->action == POWER_ACT_DELETE ? "delete"
                                                                   : "stop"));
    json_set_bool(kwargs, "want_result", false);
    const struct conductor_work_request request = {
        .context = look->context,
        .class_name = "InstanceAction",
        .method = "action_start",
        .args = args,
        .kwargs = kwargs,
        .only_once = true,
    };
    conductor_work_start(look->sync->nova->works, &request, order_recorded,
                         look);
}

static void
order_recorded(void *aux, struct json **result UNUSED,
               struct object *object UNUSED, struct error *error)
{
    struct look *look = aux;

    if (look->sync->nova) {
        own_order_start(look->sync->nova, look->context, look->log.instance,
                        look->action == POWER_ACT_DELETE ? OWN_ORDER_DELETE
                                                         : ORDER_STOP,
                        look->action == POWER_ACT_STOP_HARD);
    }
    look_end(look, error_wrap(error, "record that as an action"));
}

static void
look_end(struct look *look, struct error *error)
{
    if (error && look->sync->nova) {
        log_limited(LOG_LEVEL_WARN, &look->log,
                    "its power state is not compared: %s",
                    error_message(error));
    }
    error_free(error);
    object_free(look->instance);
    json_free(look->context);
    drop(look->sync);
    free(look);
}

/* Those that stopped. */

static void
stopped(struct power_sync *sync, const char *uuid, bool by_itself)
{
    if (sync->n_late == LATE_MAX) {
        return; /* The regular look finds it. */
    }
    struct late *late = xzalloc(sizeof *late);
    late->due_ms = clock_now_ms() + STOP_DELAY_MS;
    late->has_ended = by_itself;
    snprintf(late->uuid, sizeof late->uuid, "%s", uuid);
    *sync->late_tail = late;
    sync->late_tail = &late->next;
    sync->n_late++;
    set_delay(sync);
}

static void
started(struct power_sync *sync, const char *uuid)
{
    struct late **link = &sync->late;

    while (*link) {
        struct late *late = *link;

        if (str_eq(late->uuid, uuid)) {
            *link = late->next;
            free(late);
            sync->n_late--;
        } else {
            link = &late->next;
        }
    }
    sync->late_tail = link;
    set_delay(sync);
}

/* It is looked at when it is known whether it starts again. */
static bool
is_late(const struct power_sync *sync, const char *uuid)
{
    for (const struct late *late = sync->late; late; late = late->next) {
        if (str_eq(late->uuid, uuid)) {
            return true;
        }
    }
    return false;
}

static void
delay_over(uv_timer_t *timer)
{
    struct power_sync *sync = timer->data;
    uint64_t now_ms = clock_now_ms();

    while (sync->late && sync->late->due_ms <= now_ms) {
        struct late *late = sync->late;

        sync->late = late->next;
        if (!sync->late) {
            sync->late_tail = &sync->late;
        }
        sync->n_late--;
        look_at(sync, late->uuid, late->has_ended);
        free(late);
    }
    set_delay(sync);
}

static void
set_delay(struct power_sync *sync)
{
    uint64_t now_ms = clock_now_ms();

    if (!sync->late) {
        uv_timer_stop(&sync->delay);
        return;
    }
    uint64_t due_ms = sync->late->due_ms;
    uv_timer_start(&sync->delay, delay_over,
                   due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

static void
timer_closed(uv_handle_t *handle)
{
    drop(handle->data);
}

/* The last one takes the memory. */
static void
drop(struct power_sync *sync)
{
    if (--sync->n_refs > 0) {
        return;
    }
    while (sync->late) {
        struct late *late = sync->late;
        sync->late = late->next;
        free(late);
    }
    free(sync);
}
