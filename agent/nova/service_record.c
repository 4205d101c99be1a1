#include <config.h>

#include "agent/nova/service_record.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "rpc/object.h"

LOG_MODULE(service);

#define BINARY "nova-compute"
#define TOPIC "compute"
#define FIRST_BEAT_MS 5000

/* By this the conductor refuses one whose version is below all others. */
#define TOO_OLD "ServiceTooOld"

/* What Nova begins a reason with that no operator gave. */
#define AUTO_PREFIX "AUTO: "

enum ability { ABILITY_SETTLED, ABILITY_ABLE, ABILITY_UNABLE };

struct service_record {
    uv_loop_t *loop;
    uv_timer_t timer;
    struct conductor *conductor;
    char *host;
    int version;
    unsigned interval_ms;
    bool (*is_alive)(void *aux, const char **ret_reason);
    void *aux;

    struct object *record; /* Null: not known yet. */
    bool is_beating;       /* A save is under way. */
    bool is_lost;          /* The last one failed, and that was said. */
    bool is_withheld;      /* It is silent, and that was said. */
    uint64_t beat_ms;      /* When the last one was taken; 0: none. */
    struct service_status status;
    char *last_error;

    void (*registered)(void *aux, struct error *error);
    void *registered_aux;

    enum ability wanted; /* What is still to be done. */
    enum ability doing;  /* What is under way. */
    char *reason;
    struct object *seen; /* The record that is being changed for it. */
};

static void record_known(void *aux, struct json **result, struct error *error);
static void record_create(struct service_record *service);
static void record_made(void *aux, struct json **result, struct error *error);
static void register_end(struct service_record *service, struct error *error);
static void beat_due(uv_timer_t *timer);
static bool may_beat(struct service_record *service);
static void beat_taken(void *aux, struct json **result, struct error *error);
static void beat_failed(struct service_record *service, struct error *error);
static void ability_work(struct service_record *service);
static void ability_seen(void *aux, struct json **result, struct error *error);
static bool ability_apply(struct object *record, bool is_able,
                          const char *reason);
static void ability_saved(void *aux, struct json **result, struct error *error);
static void ability_end(struct service_record *service, struct error *error);
static void timer_closed(uv_handle_t *handle);

struct service_record *
service_record_create(const struct service_record_options *options)
{
    struct service_record *service = xzalloc(sizeof *service);

    service->loop = options->loop;
    service->conductor = options->conductor;
    service->host = xstrdup(options->host);
    service->version = options->version;
    service->interval_ms = options->report_interval_s * 1000;
    service->is_alive = options->is_alive;
    service->aux = options->aux;
    uv_timer_init(service->loop, &service->timer);
    service->timer.data = service;
    return service;
}

void
service_record_close(struct service_record *service)
{
    uv_close((uv_handle_t *)&service->timer, timer_closed);
}

void
service_record_register(struct service_record *service,
                        void (*done)(void *aux, struct error *error), void *aux)
{
    AUTO_JSON args = json_array();

    service->registered = done;
    service->registered_aux = aux;
    json_append(args, json_string(service->host));
    json_append(args, json_string(BINARY));
    conductor_class_action(service->conductor, NULL, "Service",
                           "get_by_host_and_binary", args, NULL, record_known,
                           service);
}

void
service_record_start_beating(struct service_record *service)
{
    uv_timer_start(&service->timer, beat_due, FIRST_BEAT_MS,
                   service->interval_ms);
}

void
service_record_set_able(struct service_record *service, bool is_able,
                        const char *reason)
{
    service->wanted = is_able ? ABILITY_ABLE : ABILITY_UNABLE;
    if (reason) { /* What is under way may still need the last one. */
        free(service->reason);
        service->reason = xstrdup(reason);
    }
    ability_work(service);
}

struct service_status
service_record_status(const struct service_record *service)
{
    struct service_status status = service->status;

    status.is_registered = service->record;
    status.beat_ms_ago =
        service->beat_ms ? (int64_t)(clock_now_ms() - service->beat_ms) : -1;
    status.last_error = service->last_error;
    return status;
}

/* The record. */

static void
record_known(void *aux, struct json **result, struct error *error)
{
    struct service_record *service = aux;
    struct object *record = NULL;

    if (!error && *result && !json_is_null(*result)) {
        error = object_take(steal(result), "Service", &record);
    } else if (!error) {
        record_create(service);
        return;
    }
    if (error) {
        register_end(service, error);
        return;
    }
    object_free(service->record);
    service->record = record;
    if (object_int(record, "version") == service->version) {
        register_end(service, NULL);
        return;
    }
    log_info(NULL, "the service's version was %lld and is %d now",
             (long long)object_int(record, "version"), service->version);
    object_set_int(record, "version", service->version);
    conductor_object_action(service->conductor, NULL, record, "save", NULL,
                            NULL, record_made, service);
}

static void
record_create(struct service_record *service)
{
    struct object *record = object_create("Service", "1.22");

    object_set_string(record, "host", service->host);
    object_set_string(record, "binary", BINARY);
    object_set_string(record, "topic", TOPIC);
    object_set_int(record, "report_count", 0);
    object_set_int(record, "version", service->version);
    object_free(service->record);
    service->record = record;
    conductor_object_action(service->conductor, NULL, record, "create", NULL,
                            NULL, record_made, service);
}

static void
record_made(void *aux, struct json **result UNUSED, struct error *error)
{
    struct service_record *service = aux;

    if (error) {
        object_free(steal(&service->record)); /* Looked for once more. */
    } else {
        log_info(NULL, "the service record of host '%s' is written",
                 service->host);
    }
    if (error && str_eq(error_class_name(error), TOO_OLD)) {
        struct error *refusal =
            error_new(ERR_CONFIG, "%s", error_message(error));
        error_free(error);
        error = refusal;
    }
    register_end(service, error_wrap(error, "write the service record"));
}

static void
register_end(struct service_record *service, struct error *error)
{
    void (*done)(void *aux, struct error *error) = service->registered;

    service->registered = NULL;
    done(service->registered_aux, error);
}

/* The heartbeat. */

static void
beat_due(uv_timer_t *timer)
{
    struct service_record *service = timer->data;

    if (service->wanted != ABILITY_SETTLED) {
        ability_work(service);
    }
    if (service->is_beating || !may_beat(service)) {
        return;
    }
    service->is_beating = true;
    object_set_int(service->record, "report_count",
                   object_int(service->record, "report_count") + 1);
    /* Each save tells it, as somebody may have changed it. */
    object_set_int(service->record, "version", service->version);
    conductor_object_action(service->conductor, NULL, service->record, "save",
                            NULL, NULL, beat_taken, service);
}

static bool
may_beat(struct service_record *service)
{
    const char *reason = NULL;
    bool is_alive = service->is_alive(service->aux, &reason);

    if (!is_alive) {
        service->status.n_withheld++;
        if (!service->is_withheld) {
            log_error(NULL, "no heartbeat: %s", reason);
        }
    } else if (service->is_withheld) {
        log_info(NULL, "heartbeats again");
    }
    service->is_withheld = !is_alive;
    return is_alive;
}

static void
beat_taken(void *aux, struct json **result UNUSED, struct error *error)
{
    struct service_record *service = aux;

    service->is_beating = false;
    if (error) {
        beat_failed(service, error);
        return;
    }
    if (service->is_lost) {
        log_info(NULL, "recovered from being unable to report status");
        service->is_lost = false;
    }
    free(steal(&service->last_error));
    service->status.n_beats++;
    service->beat_ms = clock_now_ms();
}

/* It is said once, until one is taken again. */
static void
beat_failed(struct service_record *service, struct error *error)
{
    enum error_code code = error_code(error);

    service->status.n_failed++;
    free(service->last_error);
    service->last_error = xstrdup(error_message(error));
    if (service->is_lost || code == ERR_CANCELLED) {
        error_free(error);
        return;
    }
    service->is_lost = true;
    if (code == ERR_SERVICE_NOT_FOUND) {
        log_error(NULL,
                  "the record of host '%s' was deleted: the host is not known "
                  "any more; start the agent again to make one",
                  service->host);
    } else {
        log_warn(NULL,
                 "lost connection to nova-conductor for reporting service "
                 "status: %s",
                 error_message(error));
    }
    error_free(error);
}

/* Whether builds may come. */

static void
ability_work(struct service_record *service)
{
    AUTO_JSON args = json_array();

    if (service->doing != ABILITY_SETTLED) {
        return; /* Its end looks for what is wanted then. */
    }
    service->doing = service->wanted;
    service->wanted = ABILITY_SETTLED;
    json_append(args, json_string(service->host));
    conductor_class_action(service->conductor, NULL, "Service",
                           "get_by_compute_host", args, NULL, ability_seen,
                           service);
}

static void
ability_seen(void *aux, struct json **result, struct error *error)
{
    struct service_record *service = aux;
    bool is_able = service->doing == ABILITY_ABLE;

    if (!error) {
        error = object_take(steal(result), "Service", &service->seen);
    }
    if (error || !ability_apply(service->seen, is_able, service->reason)) {
        ability_end(service, error);
        return;
    }
    log_warn(NULL, "the service is %s%s%s", is_able ? "enabled" : "disabled",
             is_able ? "" : ": ", is_able ? "" : service->reason);
    conductor_object_action(service->conductor, NULL, service->seen, "save",
                            NULL, NULL, ability_saved, service);
}

/* False if there is nothing to change. */
static bool
ability_apply(struct object *record, bool is_able, const char *reason)
{
    bool is_disabled = object_bool(record, "disabled");
    const char *why = object_string(record, "disabled_reason");
    bool is_ours = why && strncmp(why, AUTO_PREFIX, strlen(AUTO_PREFIX)) == 0;

    if (is_able == !is_disabled || (is_disabled && !is_ours)) {
        return false;
    }
    object_set_bool(record, "disabled", !is_able);
    if (is_able) {
        object_set_null(record, "disabled_reason");
    } else {
        AUTO_FREE text = xasprintf(AUTO_PREFIX "%s", reason);
        object_set_string(record, "disabled_reason", text);
    }
    return true;
}

static void
ability_saved(void *aux, struct json **result UNUSED, struct error *error)
{
    ability_end(aux, error);
}

/* What did not get through is tried again with the next heartbeat. */
static void
ability_end(struct service_record *service, struct error *error)
{
    enum ability done = service->doing;

    service->doing = ABILITY_SETTLED;
    object_free(steal(&service->seen));
    if (error_code(error) == ERR_CANCELLED) {
        error_free(error);
        return;
    }
    if (error_code(error) == ERR_COMPUTE_HOST_NOT_FOUND) {
        log_debug(NULL, "host '%s' is not known yet", service->host);
        error_free(error);
        error = NULL;
    }
    if (service->wanted != ABILITY_SETTLED) {
        error_free(error);
        ability_work(service);
        return;
    }
    if (error) {
        log_limited(LOG_LEVEL_WARN, NULL, "the service can't be %s: %s",
                    done == ABILITY_ABLE ? "enabled" : "disabled",
                    error_message(error));
        service->wanted = done;
        error_free(error);
    }
}

static void
timer_closed(uv_handle_t *handle)
{
    struct service_record *service = handle->data;

    object_free(service->record);
    object_free(service->seen);
    free(service->host);
    free(service->reason);
    free(service->last_error);
    free(service);
}
