#include <config.h>

#include "agent/agent.h"

#include <stdlib.h>

#include "agent/adopt.h"
#include "agent/audit/facts.h"
#include "agent/audit/mend.h"
#include "agent/base/worker.h"
#include "agent/conduct.h"
#include "agent/drain/drain.h"
#include "agent/event_waits.h"
#include "agent/forecaster.h"
#include "agent/handlers.h"
#include "agent/incoming/incoming.h"
#include "agent/incoming/places.h"
#include "agent/migrate/migration.h"
#include "agent/nova/nova.h"
#include "agent/nova/terminate.h"
#include "agent/power/op.h"
#include "agent/relocate.h"

LOG_MODULE(agent);

/* Large messages in the works at a time: each takes several times its size. */
#define N_PARSERS 2

const struct op_type *const agent_op_types[] = {
    &migrate_source_type,
    &relocate_type,
    &incoming_type,
    &incoming_rest_type,
    &incoming_arrival_type,
    &conduct_type,
    &drain_type,
    &audit_mend_type,
    &power_type,
    &terminate_type,
    NULL,
};

struct start_call {
    struct agent *agent;
    void (*ready)(void *aux, struct error *error);
    void *aux;
};

static struct error *open_records(struct agent *agent);
static struct error *open_driver(struct agent *agent);
static void agent_gone(struct completion *c);
static void create_bus_side(struct agent *agent);
static bool has_driver(const struct conf *conf, const char *name);
static void guests_listed(void *aux, struct error *error);
static void serve(void *aux, struct error *error);
static void on_driver_event(void *aux, const struct driver_event *event);

struct error *
agent_create(const struct agent_parts *parts, struct agent **ret)
{
    struct agent *agent = xzalloc(sizeof *agent);
    struct error *error;

    agent->q = parts->q;
    agent->loop = completion_queue_loop(parts->q);
    agent->conf = parts->conf;
    agent->transport = parts->transport;
    agent->link = parts->link;
    agent->store = parts->store;
    stamp_take(&agent->started);
    tally_init(&agent->tally);
    agent->queue = instance_queue_create();
    agent->event_waits = event_waits_create();
    attach_host_open(agent);
    agent->outgoing =
        slots_create((unsigned)agent->conf->max_concurrent_live_migrations);
    agent->incoming = incoming_places_create(
        agent->loop,
        (unsigned)agent->conf->max_concurrent_incoming_live_migrations,
        (unsigned)agent->conf->incoming_live_migration_wait);

    create_bus_side(agent);
    error = open_records(agent);
    if (error) {
        return error; /* The process ends: nothing is worth freeing. */
    }
    agent->ops =
        op_engine_create(agent->loop, agent->store, agent_op_types, agent);
    error = op_engine_load(agent->ops);
    if (error) {
        return error_wrap(error, "load the journal");
    }
    migrate_source_take_slots(agent);
    incoming_take_places(agent);
    power_take_turns(agent);
    terminate_take_turns(agent);
    op_engine_prune(agent->ops, (unsigned)agent->conf->journal_retention);
    error = open_driver(agent);
    if (error) {
        return error;
    }
    *ret = agent;
    return NULL;
}

void
agent_start(struct agent *agent, void (*ready)(void *aux, struct error *error),
            void *aux)
{
    struct start_call *call = xzalloc(sizeof *call);

    call->agent = agent;
    call->ready = ready;
    call->aux = aux;
    adopt_all(agent, guests_listed, call);
}

void
agent_stop(struct agent *agent, unsigned grace_ms, void (*stopped)(void *aux),
           void *aux)
{
    agent->stopping = true;
    event_waits_close(agent->event_waits);
    rpc_server_stop(agent->server, grace_ms, stopped, aux);
}

/* Nothing is answered any more, and operations stay as the journal has them,
 * whatever ends from here on.  Whoever waits for anything is told, and tidies
 * up; answers of the records and of the store are still on their way then. */
void
agent_free(struct agent *agent)
{
    agent->stopping = true;
    adopt_regularly_stop(agent);
    if (agent->nova) {
        nova_close(agent->nova);
    }
    rpc_server_close(agent->server);
    incoming_places_stop(agent->incoming);
    op_engine_close(steal(&agent->ops));
    rpc_client_close(agent->client);
    forecaster_cancel(agent);
    attach_host_close(agent);
    audit_facts_cancel(agent);
    driver_cancel(agent->driver);
    driver_close(agent->driver);
    store_close(agent->store);
    agent->gone.deliver = agent_gone;
    completion_post(agent->q, &agent->gone);
}

/* Behind all of them. */
static void
agent_gone(struct completion *c)
{
    struct agent *agent = container_of(c, struct agent, gone);

    notify_free(agent->notify);
    notifier_free(agent->notifier);
    records_local_free(agent->local);
    nova_free(agent->nova);
    slots_free(agent->outgoing);
    incoming_places_free(agent->incoming);
    instance_queue_free(agent->queue);
    event_waits_free(agent->event_waits);
    worker_pool_free(agent->parsers);
    json_free(agent->last_drain);
    free(agent->node);
    free(agent);
}

static struct error *
open_records(struct agent *agent)
{
    const struct conf *conf = agent->conf;

    if (str_eq(conf->control_plane, "nova")) {
        agent->nova = nova_create(agent);
        agent->records = nova_records(agent->nova);
        return NULL;
    }
    struct error *error =
        records_local_create(agent->store, agent->q, conf->host,
                             conf->availability_zone, &agent->local);
    if (!error) {
        agent->records = records_local_records(agent->local);
    }
    return error;
}

static struct error *
open_driver(struct agent *agent)
{
    const struct conf *conf = agent->conf;
    struct driver_options options = {
        .host = conf->host,
        .connection_uri =
            conf->libvirt.connection_uri ? conf->libvirt.connection_uri : "",
        .virt_type = conf->libvirt.virt_type,
        .instances_path = conf->instances_path,
        .images_paths = (const char *const *)conf->images_paths,
        .saved_path = conf->libvirt.managed_save_path,
        .nvram_path = conf->libvirt.nvram_path,
        .fake_world = conf->fake.world ? conf->fake.world : "",
        .fake_guests = (unsigned)conf->fake.guests,
        .fake_memory_mb = (unsigned)conf->fake.memory_mb,
        .fake_dirty_rate_mib_s = (unsigned)conf->fake.dirty_rate,
    };

    return driver_load(agent->q, conf->driver_path, conf->compute_driver,
                       &options, on_driver_event, agent, &agent->driver);
}

static void
create_bus_side(struct agent *agent)
{
    const struct conf *conf = agent->conf;

    agent->parsers = worker_pool_create(agent->q, "bus-parse", N_PARSERS);
    struct rpc_server_options server = {
        .max_held = (unsigned)conf->rpc_max_held,
        .max_held_bytes = (size_t)conf->rpc_max_held_bytes,
        .max_body = (unsigned)conf->rpc_max_body,
        .workers = agent->parsers,
        .reply_patience_s = (unsigned)conf->oslo_messaging_rabbit
                                .kombu_missing_consumer_retry_timeout,
    };
    struct notifier_options notifier = {
        .exchange = conf->control_exchange,
        .messaging = has_driver(conf, "messaging"),
        .messagingv2 = has_driver(conf, "messagingv2"),
        .retry = conf->oslo_messaging_notifications.retry,
    };

    agent->server = rpc_server_create(agent->loop, agent->transport, &server);
    agent->client = rpc_client_create(agent->loop, agent->transport);
    rpc_client_set_workers(agent->client, agent->parsers);
    agent->notifier = notifier_create(agent->transport, &notifier);
    agent->notify = notify_create(agent->notifier, conf);
    handlers_register(agent);
}

static bool
has_driver(const struct conf *conf, const char *name)
{
    for (char **p = conf->oslo_messaging_notifications.driver; *p; p++) {
        if (str_eq(*p, name)) {
            return true;
        }
    }
    return false;
}

/* A hypervisor that does not answer is no reason to be deaf: its operations
 * ask again by themselves, and guests are adopted when it is back. */
static void
guests_listed(void *aux, struct error *error)
{
    struct start_call *call = aux;

    error_free(error);
    if (!call->agent->ops) { /* It goes before it was up. */
        free(call);
        return;
    }
    /* The journal first: what runs is looked after also while the control
     * plane is away. */
    op_engine_resume(call->agent->ops);
    if (call->agent->nova) {
        nova_begin(call->agent->nova, serve, call);
    } else {
        serve(call, NULL);
    }
}

static void
serve(void *aux, struct error *error)
{
    struct start_call *call = aux;
    struct agent *agent = call->agent;

    if (!error) {
        rpc_server_start(agent->server);
        adopt_regularly(agent);
        if (agent->nova) {
            nova_serve(agent->nova);
        }
    }
    call->ready(call->aux, error);
    free(call);
}

static void
on_driver_event(void *aux, const struct driver_event *event)
{
    struct agent *agent = aux;

    if (!agent->stopping) {
        adopt_event(agent, event);
        incoming_event(agent, event);
        if (agent->nova) {
            nova_event(agent->nova, event);
        }
    }
}
