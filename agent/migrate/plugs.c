#include <config.h>

#include "agent/migrate/plugs.h"

#include <stdlib.h>
#include <string.h>

#include "agent/event_waits.h"
#include "agent/migrate/data.h"

LOG_MODULE(migrate);

#define EVENT "network-vif-plugged"

/* Freed when its timer is closed. */
struct migrate_plugs {
    struct migration *m;
    struct event_wait *wait;
    uv_timer_t timer;
    attach_done *done; /* Null: it is not looked at yet, or no longer. */
    void *aux;
};

static void heard(void *aux);
static void time_over(uv_timer_t *timer);
static void end(struct migrate_plugs *plugs, struct error *error);
static struct error *failure_of(const struct migrate_plugs *plugs);
static void timer_closed(uv_handle_t *handle);

/* Of the network info; the caller's. */
static struct json *
vifs_of(const struct object *instance)
{
    const struct json *cache =
        json_get(object_get(instance, "info_cache"), "nova_object.data");
    const char *text = json_string_of(cache, "network_info");
    struct json *vifs = NULL;

    if (text) {
        error_free(json_parse(text, strlen(text), &vifs));
    }
    return vifs;
}

static bool
is_told_of_plugging(const struct json *vif)
{
    return json_string_of(vif, "id") &&
           json_bool_of(json_get(vif, "details"), "ovs_hybrid_plug");
}

void
migrate_plugs_register(struct migration *m)
{
    AUTO_JSON vifs = vifs_of(m->instance);

    if (m->plugs || !m->agent->nova || !m->agent->conf->vif_plugging_timeout) {
        return;
    }
    json_for_each (vif, vifs) {
        if (!is_told_of_plugging(vif)) {
            continue;
        }
        if (!m->plugs) {
            m->plugs = xzalloc(sizeof *m->plugs);
            m->plugs->m = m;
            m->plugs->timer.data = m->plugs;
            uv_timer_init(m->agent->loop, &m->plugs->timer);
            m->plugs->wait = event_wait_create(
                m->agent->event_waits, object_string(m->instance, "uuid"),
                heard, m->plugs);
        }
        event_wait_add(m->plugs->wait, EVENT, json_string_of(vif, "id"));
    }
}

/* The time begins now, however long the destination took. */
void
migrate_plugs_wait(struct migration *m, attach_done *done, void *aux)
{
    struct migrate_plugs *plugs = m->plugs;

    if (!plugs || m->is_cancelled ||
        !migrate_data_wait_for_vif_plugged(m->data)) {
        migrate_plugs_free(steal(&m->plugs));
        done(aux, NULL);
        return;
    }
    plugs->done = done;
    plugs->aux = aux;
    log_info(NULL, "instance '%s': %zu ports are still to be plugged at '%s'",
             object_string(m->instance, "uuid"), event_wait_n_open(plugs->wait),
             m->dest);
    uv_timer_start(&plugs->timer, time_over,
                   (uint64_t)m->agent->conf->vif_plugging_timeout * 1000, 0);
    heard(plugs);
}

void
migrate_plugs_cancel(struct migration *m)
{
    if (m->plugs && m->plugs->done) {
        end(m->plugs, NULL);
    }
}

void
migrate_plugs_free(struct migrate_plugs *plugs)
{
    if (plugs) {
        event_wait_free(steal(&plugs->wait));
        uv_close((uv_handle_t *)&plugs->timer, timer_closed);
    }
}

/* One that failed ends it at once, if that is fatal. */
static void
heard(void *aux)
{
    struct migrate_plugs *plugs = aux;
    struct error *error = plugs->done ? failure_of(plugs) : NULL;

    if (plugs->done && (error || !event_wait_n_open(plugs->wait))) {
        end(plugs, error);
    }
}

static void
end(struct migrate_plugs *plugs, struct error *error)
{
    attach_done *done = steal(&plugs->done);
    void *aux = plugs->aux;

    migrate_plugs_free(steal(&plugs->m->plugs));
    done(aux, error);
}

static struct error *
failure_of(const struct migrate_plugs *plugs)
{
    const char *key = event_wait_failed(plugs->wait);
    const char *uuid = object_string(plugs->m->instance, "uuid");

    if (!key) {
        return NULL;
    }
    if (!plugs->m->agent->conf->vif_plugging_is_fatal) {
        if (!event_wait_n_open(plugs->wait)) {
            log_error(NULL,
                      "instance '%s': Neutron reported failure with '%s', and "
                      "the migration goes on",
                      uuid, key);
        }
        return NULL;
    }
    return error_new(ERR_VIF_PLUG,
                     "Neutron reported failure during live migration with %s "
                     "for instance %s",
                     key, uuid);
}

static void
time_over(uv_timer_t *timer)
{
    struct migrate_plugs *plugs = timer->data;
    const struct conf *conf = plugs->m->agent->conf;
    struct error *error = error_new(
        ERR_MIGRATION,
        "no event '%s' in %d s: if that happens often the network of '%s' may "
        "not send it before the guest is there, and "
        "live_migration_wait_for_vif_plug is to be false there",
        event_wait_open(plugs->wait), conf->vif_plugging_timeout,
        plugs->m->dest);

    if (!conf->vif_plugging_is_fatal) {
        log_warn(NULL, "instance '%s' is migrated all the same: %s",
                 object_string(plugs->m->instance, "uuid"),
                 error_message(error));
        error_free(steal(&error));
    }
    end(plugs, error);
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}
