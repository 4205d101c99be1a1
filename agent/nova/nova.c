#include <config.h>

#include "agent/nova/nova.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/nova/attach_nova.h"
#include "agent/nova/cloud.h"
#include "agent/nova/info_cache.h"
#include "agent/nova/image_nova.h"
#include "agent/nova/info_heal.h"
#include "agent/nova/power_sync.h"
#include "agent/nova/scheduler_info.h"
#include "agent/nova/start.h"
#include "agent/nova/volume_nova.h"
#include "agent/self_test.h"
#include "rpc/gate.h"

LOG_MODULE(nova);

/* A hypervisor that says nothing for so long, neither yes nor no, hangs. */
#define PROBE_MS 60000

static struct conductor *conductor_of(struct agent *agent);
static bool is_alive(void *aux, const char **ret_reason);
static void probe(struct nova *nova);
static void probed(void *aux, struct error *error, char *text);

struct nova *
nova_create(struct agent *agent)
{
    const struct conf *conf = agent->conf;
    struct nova *nova = xzalloc(sizeof *nova);

    nova->agent = agent;
    nova->conductor = conductor_of(agent);
    nova->beat_conductor = conductor_of(agent);
    nova->works = conductor_works_create(agent->loop, nova->conductor);
    nova->gate = gate_create(agent->server, nova->conductor,
                             (unsigned)conf->rpc_response_timeout * 1000);
    const struct records_conductor_options records = {
        .q = agent->q,
        .works = nova->works,
        .host = conf->host,
        .read_patience_ms = (unsigned)conf->rpc_response_timeout * 1000,
        .save_patience_ms = (unsigned)conf->long_rpc_timeout * 1000,
    };
    nova->records = records_conductor_create(&records);
    nova->cloud = cloud_create(agent->loop, agent->parsers, conf);
    if (!cloud_has_placement(conf)) {
        log_warn(NULL, "[placement] says nothing: nobody is told what this "
                       "host's guests have");
    }
    nova->info_cache = info_cache_create(nova);
    agent->volumes = &volume_nova;
    agent->vifs = &vif_nova;
    agent->allocations = &allocation_nova;
    agent->images = &image_nova;
    const struct service_record_options service = {
        .loop = agent->loop,
        .conductor = nova->beat_conductor,
        .host = conf->host,
        .version = conf->service_version,
        .report_interval_s = (unsigned)conf->report_interval,
        .is_alive = is_alive,
        .aux = nova,
    };
    nova->service = service_record_create(&service);
    nova->schedulers = scheduler_info_create(nova);
    return nova;
}

struct records *
nova_records(struct nova *nova)
{
    return records_conductor_records(nova->records);
}

void
nova_begin(struct nova *nova, void (*ready)(void *aux, struct error *error),
           void *aux)
{
    struct agent *agent = nova->agent;
    const struct update_resources_options resources = {
        .loop = agent->loop,
        .driver = agent->driver,
        .conductor = nova->conductor,
        .conf = agent->conf,
        .placement =
            cloud_has_placement(agent->conf) ? nova->cloud->placement : NULL,
    };
    nova->resources = update_resources_create(&resources);
    nova_start_begin(nova, ready, aux);
}

void
nova_tell_able(struct nova *nova)
{
    bool is_able = driver_is_connected(nova->agent->driver);

    service_record_set_able(nova->service, is_able,
                            is_able ? NULL : "Connection to libvirt lost: 1");
    nova->tells_able = true;
}

void
nova_serve(struct nova *nova)
{
    /* The record may not have been there when it was told. */
    if (!driver_is_connected(nova->agent->driver)) {
        nova_tell_able(nova);
    }
    service_record_start_beating(nova->service);
    nova->power = power_sync_create(nova);
    nova->info_heal = info_heal_create(nova);
    scheduler_info_begin(nova->schedulers);
}

void
nova_guests_changed(struct nova *nova)
{
    if (nova->resources) {
        update_resources_soon(nova->resources);
    }
}

void
nova_instance_gone(struct nova *nova, const char *uuid)
{
    scheduler_info_delete(nova->schedulers, uuid);
    nova_guests_changed(nova);
}

void
nova_instance_came(struct nova *nova, struct object *instance)
{
    scheduler_info_update(nova->schedulers, &instance, 1);
    nova_guests_changed(nova);
}

void
nova_event(struct nova *nova, const struct driver_event *event)
{
    bool is_of_connection = event->type == DRIVER_EVENT_CONNECTED ||
                            event->type == DRIVER_EVENT_DISCONNECTED;

    if (is_of_connection && nova->tells_able) {
        nova_tell_able(nova);
    }
    if (event->type == DRIVER_EVENT_CONNECTED && nova->resources) {
        update_resources_soon(nova->resources);
    }
    if (nova->power) {
        power_sync_event(nova->power, event);
    }
}

void
nova_close(struct nova *nova)
{
    nova_start_cancel(nova);
    scheduler_info_close(steal(&nova->schedulers));
    if (nova->power) {
        power_sync_close(steal(&nova->power));
    }
    info_heal_close(steal(&nova->info_heal));
    info_cache_close(steal(&nova->info_cache));
    if (nova->resources) {
        update_resources_close(steal(&nova->resources));
    }
    cloud_close(steal(&nova->cloud));
    gate_close(nova->gate);
    conductor_works_close(nova->works);
    conductor_close(nova->conductor);
    conductor_close(nova->beat_conductor);
    service_record_close(nova->service);
}

void
nova_free(struct nova *nova)
{
    if (nova) {
        records_conductor_free(nova->records);
        conductor_works_free(nova->works);
        free(nova);
    }
}

static struct conductor *
conductor_of(struct agent *agent)
{
    const struct conductor_options options = {
        .exchange = agent->conf->control_exchange,
        .timeout_ms = (unsigned)agent->conf->rpc_response_timeout * 1000,
    };

    return conductor_create(agent->client, &options);
}

/* The loop lives, as this runs.  A hypervisor that is known to be away is told
 * of by disabling the service; one that hangs leaves the host of no use. */
static bool
is_alive(void *aux, const char **ret_reason)
{
    struct nova *nova = aux;
    struct self_test_status test = self_test_status(nova->agent->self_test);

    if (nova->agent->self_test && test.state == SELF_TEST_FAILED) {
        *ret_reason = "the agent does not hear requests";
        return false;
    }
    if (nova->is_probed && clock_now_ms() - nova->probe_ms >= PROBE_MS) {
        *ret_reason = "the hypervisor hangs";
        return false;
    }
    if (!nova->is_probed) {
        probe(nova);
    }
    return true;
}

static void
probe(struct nova *nova)
{
    nova->is_probed = true;
    nova->probe_ms = clock_now_ms();
    driver_host_uptime(nova->agent->driver, probed, nova);
}

static void
probed(void *aux, struct error *error, char *text)
{
    struct nova *nova = aux;

    nova->is_probed = false;
    error_free(error);
    free(text);
}
