#ifndef DROVER_NOVA_INFO_CACHE_H
#define DROVER_NOVA_INFO_CACHE_H

/* Keeps what Nova's records say of the ports of instances as Neutron has it.
 * (spec/drop-in 7, 10; spec/live-migration 5.5)
 *
 * Two of one instance are never made at once; nothing is saved where nothing
 * changed.
 *
 * Threads: the loop. */

#include "agent/nova/nova.h"

struct info_cache;

struct info_cache *info_cache_create(struct nova *nova);

/* Before the services and the conductor are: what is under way ends as they
 * do, with ERR_CANCELLED.  Null is fine. */
void info_cache_close(struct info_cache *cache);

enum info_scope {
    INFO_KNOWN, /* Ports that are recorded. */
    INFO_PORT,  /* One of them; or it is new. */
    INFO_ALL,   /* Ports that Neutron has, in the order in which they came. */
};

/* Borrowed for the call. */
struct info_request {
    const struct json *context; /* Null: work of our own. */
    const char *instance, *project;
    enum info_scope scope;
    const char *port; /* Of INFO_PORT. */
};

/* 'done' may be null: a failure is then logged, and one because there is no
 * such instance any more only told.  ERR_INSTANCE_NOT_FOUND,
 * ERR_INFO_CACHE_NOT_FOUND, and those of agent/nova/neutron.h and of
 * rpc/conductor.h. */
void info_cache_refresh(struct info_cache *cache,
                        const struct info_request *request, attach_done *done,
                        void *aux);

#endif
