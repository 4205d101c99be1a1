#ifndef DROVER_NOVA_RESOURCE_PROVIDER_H
#define DROVER_NOVA_RESOURCE_PROVIDER_H

/* This host in Placement: its resource provider, with inventories and traits.
 * (spec/drop-in 6)
 *
 * What was read is remembered, so that nothing is written, and little asked,
 * while it is as it should be.  It is read again when somebody else wrote in
 * between, and from time to time, as operators change traits and ratios.
 *
 * Threads: the loop. */

#include "agent/nova/node_settings.h"
#include "agent/nova/placement_api.h"

struct resource_provider;

/* 'placement' is borrowed for its life, 'settings' too.  'refresh_s' 0: what
 * was read is good until a conflict. */
struct resource_provider *
resource_provider_create(struct service *placement,
                         const struct node_settings *settings,
                         unsigned refresh_s);

/* No update is under way. */
void resource_provider_free(struct resource_provider *provider);

/* Borrowed until it is done. */
struct resource_report {
    const struct json *context;
    const char *uuid, *name; /* Of the host's record. */
    const struct host_resources *host;
    const struct node_cpus *cpus;
    bool is_disabled; /* No builds may come here. */
};

/* One at a time; 'done' perhaps before it returns.  'error' is taken: of
 * Placement, or ERR_PROVIDER_CONFLICT if others wrote again and again. */
void resource_provider_update(struct resource_provider *provider,
                              const struct resource_report *report,
                              void (*done)(void *aux, struct error *error),
                              void *aux);

#endif
