#include <config.h>

#include "agent/nova/scheduler_info.h"

#include <stdlib.h>

#include "agent/nova/primitive.h"

LOG_MODULE(scheduler);

#define DEFAULT_INTERVAL_S 120

struct scheduler_info {
    struct nova *nova; /* Null: closed. */
    uv_timer_t timer;
    bool is_listing;
    unsigned n_refs; /* The owner, the timer, and a list that was asked for. */
};

static void list_due(uv_timer_t *timer);
static void listed(void *aux, struct error *error, struct object **objects,
                   size_t n);
static void tell(struct scheduler_info *info, const char *method,
                 struct json *args);
static void timer_closed(uv_handle_t *handle);
static void drop(struct scheduler_info *info);

struct scheduler_info *
scheduler_info_create(struct nova *nova)
{
    if (!nova->agent->conf->filter_scheduler.track_instance_changes) {
        return NULL;
    }
    struct scheduler_info *info = xzalloc(sizeof *info);
    info->nova = nova;
    info->n_refs = 2;
    uv_timer_init(nova->agent->loop, &info->timer);
    info->timer.data = info;
    return info;
}

/* As Nova has it, 0 is "as often as the default says". */
void
scheduler_info_begin(struct scheduler_info *info)
{
    if (!info) {
        return;
    }
    int interval_s = info->nova->agent->conf->scheduler_instance_sync_interval;
    uint64_t ms =
        (uint64_t)(interval_s ? interval_s : DEFAULT_INTERVAL_S) * 1000;
    if (interval_s >= 0) {
        uv_timer_start(&info->timer, list_due, ms, ms);
    }
}

void
scheduler_info_update(struct scheduler_info *info,
                      struct object *const *instances, size_t n)
{
    if (!info || n == 0) {
        return;
    }
    struct json *objects = json_array(), *data = json_object();
    struct json *args = json_object();
    for (size_t i = 0; i < n; i++) {
        json_append(objects, object_json_clean(instances[i]));
    }
    json_set(data, "objects", objects);
    json_set(args, "instance_info",
             primitive_create("InstanceList", "2.6", data));
    tell(info, "update_instance_info", args);
}

void
scheduler_info_delete(struct scheduler_info *info, const char *uuid)
{
    if (info) {
        struct json *args = json_object();
        json_set_string(args, "instance_uuid", uuid);
        tell(info, "delete_instance_info", args);
    }
}

void
scheduler_info_close(struct scheduler_info *info)
{
    if (info) {
        info->nova = NULL;
        uv_close((uv_handle_t *)&info->timer, timer_closed);
        drop(info);
    }
}

static void
list_due(uv_timer_t *timer)
{
    struct scheduler_info *info = timer->data;
    struct json *args, *kwargs;

    if (info->is_listing) {
        return;
    }
    info->is_listing = true;
    info->n_refs++;
    args =
        json_append(json_array(), json_string(info->nova->agent->conf->host));
    kwargs = json_object();
    json_set(kwargs, "expected_attrs", json_array());
    json_set_bool(kwargs, "use_slave", true);
    records_conductor_list(info->nova->records, NULL, "InstanceList",
                           "get_by_host", args, kwargs, listed, info);
}

static void
listed(void *aux, struct error *error, struct object **objects, size_t n)
{
    struct scheduler_info *info = aux;
    struct json *uuids = json_array(), *args = json_object();

    for (size_t i = 0; i < n; i++) {
        json_append(uuids, json_string(object_string(objects[i], "uuid")));
        object_free(objects[i]);
    }
    free(objects);
    json_set(args, "instance_uuids", uuids);
    if (!error && info->nova) {
        tell(info, "sync_instance_info", steal(&args));
    } else if (info->nova) {
        log_limited(LOG_LEVEL_WARN, NULL, "schedulers are not told: %s",
                    error_message(error));
    }
    json_free(args);
    error_free(error);
    info->is_listing = false;
    drop(info);
}

/* Takes 'args'. */
static void
tell(struct scheduler_info *info, const char *method, struct json *args)
{
    struct agent *agent = info->nova->agent;
    const struct rpc_target target = {
        .exchange = agent->conf->control_exchange,
        .topic = "scheduler",
        .version = "4.2",
        .is_fanout = true,
    };

    json_set_string(args, "host_name", agent->conf->host);
    rpc_cast(agent->client, &target, NULL, method, args,
             (unsigned)agent->conf->rpc_response_timeout * 1000, NULL, NULL);
    json_free(args);
}

static void
timer_closed(uv_handle_t *handle)
{
    drop(handle->data);
}

/* The last one takes the memory. */
static void
drop(struct scheduler_info *info)
{
    if (--info->n_refs == 0) {
        free(info);
    }
}
