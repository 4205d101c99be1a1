#ifndef DROVER_NOVA_CLOUD_H
#define DROVER_NOVA_CLOUD_H

/* The services of the cloud that this host belongs to, as the configuration
 * names them. (spec/drop-in 13)
 *
 * Nobody is asked, and nothing loaded, before the first request.
 *
 * Threads: the loop. */

#include "agent/nova/cinder.h"
#include "agent/nova/glance.h"
#include "agent/nova/neutron.h"
#include "agent/nova/placement_api.h"
#include "conf/conf.h"

/* To read and not to change; none is null. */
struct cloud {
    struct service *placement; /* For agent/nova/placement_api.h. */
    struct neutron *neutron;
    struct service *cinder, *glance;

    /* The module's own. */
    struct rest *rest;
    struct keystone *keystone;
    struct service *network;
    char *volume_type, *volume_name;
    const char *volume_interfaces[2];
    char *volume_interface;
};

/* 'conf' must last. */
struct cloud *cloud_create(uv_loop_t *loop, struct worker_pool *workers,
                           const struct conf *conf);

/* Whether it is said where Placement is. */
bool cloud_has_placement(const struct conf *conf);
/* The same of Neutron. */
bool cloud_has_neutron(const struct conf *conf);

/* Requests under way end with ERR_CANCELLED, in the call.  The loop must run
 * until the handles are closed.  Null is fine. */
void cloud_close(struct cloud *cloud);

#endif
