#ifndef DROVER_NOVA_NOVA_H
#define DROVER_NOVA_NOVA_H

/* The agent in Nova's place: what it is to the control plane besides a host
 * that moves guests. (spec/drop-in 1 to 4)
 *
 * It keeps no records of its own: they are behind nova-conductor, and so is
 * the service record by which the host is known.
 *
 * Threads: the loop. */

#include "agent/agent.h"
#include "agent/nova/records_conductor.h"
#include "agent/nova/service_record.h"
#include "agent/nova/update_resources.h"

struct cloud;
struct gate;
struct info_cache;
struct info_heal;
struct nova_start;
struct power_sync;
struct scheduler_info;

struct nova {
    struct agent *agent;
    struct conductor *conductor, *beat_conductor;
    struct conductor_works *works;
    struct records_conductor *records;
    struct cloud *cloud;
    struct gate *gate;
    struct service_record *service;
    struct update_resources *resources; /* Null before the start. */
    struct nova_start *start;           /* Under way; else null. */
    struct power_sync *power;           /* Null until the start is over. */
    struct info_cache *info_cache;      /* Null: closed. */
    struct info_heal *info_heal;        /* Null until then, or not wanted. */
    struct scheduler_info *schedulers;  /* Null: they are not told. */

    bool tells_able;   /* It was told once whether builds may come. */
    bool is_probed;    /* The hypervisor's answer is waited for, ... */
    uint64_t probe_ms; /* ... since then. */
};

/* With the bus's side of the agent made: its records are nova_records(). */
struct nova *nova_create(struct agent *agent);
struct records *nova_records(struct nova *nova);

/* Does what has to be done before requests may be taken, waiting for the
 * control plane as long as it takes; then 'ready', with an error if this host
 * must not serve this cloud.  Not called if the agent is freed before. */
void nova_begin(struct nova *nova,
                void (*ready)(void *aux, struct error *error), void *aux);

/* Builds may come as long as the hypervisor is connected: tells so, and from
 * now on whenever that changes. */
void nova_tell_able(struct nova *nova);

/* Requests are served from now on. */
void nova_serve(struct nova *nova);

/* The guests of this host, or what they need, are not what they were: the cloud
 * is told soon. */
void nova_guests_changed(struct nova *nova);

/* The same, as this instance is not here any more, or has come. */
void nova_instance_gone(struct nova *nova, const char *uuid);
void nova_instance_came(struct nova *nova, struct object *instance);

void nova_event(struct nova *nova, const struct driver_event *event);

/* All that is open ends; before the server and the client are closed. */
void nova_close(struct nova *nova);
void nova_free(struct nova *nova); /* After nova_close(); null is fine. */

#endif
