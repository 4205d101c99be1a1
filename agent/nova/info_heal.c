#include <config.h>

#include "agent/nova/info_heal.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/base/sets.h"
#include "agent/incoming/incoming.h"
#include "agent/migrate/migration.h"
#include "agent/nova/cloud.h"
#include "agent/nova/info_cache.h"
#include "agent/nova/ports.h"

LOG_MODULE(info_heal);

struct info_heal {
    struct nova *nova; /* Null: closed. */
    uv_timer_t timer;
    struct text_set uuids;
    size_t next; /* Whose turn it is. */
    struct object *instance;
    struct log_context log;
    bool runs;
    unsigned n_refs; /* The timer, and what is under way. */
};

static void run(uv_timer_t *timer);
static void look_at_next(struct info_heal *heal);
static void end(struct info_heal *heal, struct error *error);
static void timer_closed(uv_handle_t *handle);
static void drop(struct info_heal *heal);

struct info_heal *
info_heal_create(struct nova *nova)
{
    const struct conf *conf = nova->agent->conf;
    int interval_s = conf->heal_instance_info_cache_interval;

    if (interval_s <= 0 || !cloud_has_neutron(conf)) {
        return NULL;
    }
    struct info_heal *heal = xzalloc(sizeof *heal);
    uint64_t ms = (uint64_t)interval_s * 1000;
    heal->nova = nova;
    heal->n_refs = 1;
    heal->timer.data = heal;
    uv_timer_init(nova->agent->loop, &heal->timer);
    uv_timer_start(&heal->timer, run, ms, ms);
    return heal;
}

void
info_heal_close(struct info_heal *heal)
{
    if (heal) {
        heal->nova = NULL;
        uv_close((uv_handle_t *)&heal->timer, timer_closed);
    }
}

static void
listed(void *aux, struct error *error, struct object **objects, size_t n)
{
    struct info_heal *heal = aux;

    for (size_t i = 0; i < n; i++) {
        if (!str_eq(object_string(objects[i], "vm_state"), "building")) {
            text_set_add(&heal->uuids, object_string(objects[i], "uuid"));
        }
        object_free(objects[i]);
    }
    free(objects);
    if (error) {
        end(heal, error);
    } else {
        look_at_next(heal);
    }
}

static void
run(uv_timer_t *timer)
{
    struct info_heal *heal = timer->data;
    struct nova *nova = heal->nova;
    struct json *kwargs;

    if (heal->runs) {
        return;
    }
    heal->runs = true;
    heal->n_refs++;
    if (heal->next < heal->uuids.n) {
        look_at_next(heal);
        return;
    }
    text_set_close(&heal->uuids);
    heal->uuids = (struct text_set){0};
    heal->next = 0;
    kwargs = json_object();
    json_set(kwargs, "expected_attrs", json_array());
    json_set_bool(kwargs, "use_slave", true);
    records_conductor_list(
        nova->records, NULL, "InstanceList", "get_by_host",
        json_append(json_array(), json_string(nova->agent->conf->host)), kwargs,
        listed, heal);
}

/* Its own operation looks after one that moves. */
static bool
is_wanted(const struct info_heal *heal)
{
    struct agent *agent = heal->nova->agent;
    const char *uuid = heal->log.instance;

    return str_eq(object_string(heal->instance, "host"), agent->conf->host) &&
           !str_eq(object_string(heal->instance, "task_state"), "deleting") &&
           !migrate_source_find(agent, uuid) &&
           !incoming_is_expected(agent, uuid);
}

static void
healed(void *aux, struct error *error)
{
    end(aux, error);
}

static void
settled(void *aux, struct error *error)
{
    struct info_heal *heal = aux;

    if (error || !heal->nova) {
        end(heal, error);
        return;
    }
    const struct info_request request = {
        .instance = heal->log.instance,
        .project = object_string(heal->instance, "project_id"),
        .scope = INFO_ALL,
    };
    info_cache_refresh(heal->nova->info_cache, &request, healed, heal);
}

static void
got(void *aux, struct error *error, struct object *instance)
{
    struct info_heal *heal = aux;

    heal->instance = instance;
    if (error_code(error) == ERR_INSTANCE_NOT_FOUND ||
        (!error && heal->nova && !is_wanted(heal))) {
        error_free(error);
        object_free(steal(&heal->instance));
        look_at_next(heal);
        return;
    }
    if (error || !heal->nova) {
        end(heal, error);
        return;
    }
    if (object_string(instance, "task_state")) {
        settled(heal, NULL);
        return;
    }
    const struct conf *conf = heal->nova->agent->conf;
    const char *zone = object_string(instance, "availability_zone");
    const struct ports_of of = {
        .neutron = heal->nova->cloud->neutron,
        .instance = heal->log.instance,
        .project = object_string(instance, "project_id"),
    };
    ports_settle(&of, conf->host, zone ? zone : conf->availability_zone,
                 settled, heal);
}

/* Those that are gone do not cost a run. */
static void
look_at_next(struct info_heal *heal)
{
    if (!heal->nova || heal->next == heal->uuids.n) {
        end(heal, NULL);
        return;
    }
    snprintf(heal->log.instance, sizeof heal->log.instance, "%s",
             heal->uuids.texts[heal->next++]);
    records_conductor_get_bare(heal->nova->records, NULL, heal->log.instance,
                               got, heal);
}

static void
end(struct info_heal *heal, struct error *error)
{
    if (error && heal->nova) {
        log_limited(LOG_LEVEL_WARN, &heal->log,
                    "what is recorded of its ports is not looked after: %s",
                    error_message(error));
    }
    error_free(error);
    object_free(steal(&heal->instance));
    heal->runs = false;
    drop(heal);
}

static void
timer_closed(uv_handle_t *handle)
{
    drop(handle->data);
}

/* The last one takes the memory. */
static void
drop(struct info_heal *heal)
{
    if (--heal->n_refs == 0) {
        text_set_close(&heal->uuids);
        free(heal);
    }
}
