#ifndef DROVER_NOVA_PLACEMENT_API_H
#define DROVER_NOVA_PLACEMENT_API_H

/* The calls to Placement that a compute host makes: inventories and traits of
 * its resource provider, allocations of instances and migrations.
 * (spec/drop-in 6.1, spec/live-migration 5.2, 6.2)
 *
 * What of a provider is written carries the generation that was read; if it is
 * another's by then the answer is ERR_PROVIDER_CONFLICT, and the caller reads
 * anew and decides again, PLACEMENT_N_TRIES times in all.  Writes of
 * allocations are decided here, and so done again here.
 *
 * Each 'done' is called once, after the function that it was given to has
 * returned; 'error' is taken, other arguments are good for the call only.
 * Besides the errors that are named: ERR_PLACEMENT_CONNECTION,
 * ERR_UNAUTHORIZED, ERR_FORBIDDEN, ERR_CONFIG, ERR_KEYSTONE_CONNECTION,
 * ERR_CANCELLED.  'context' is that of the request for which it is done; null:
 * our own work.
 *
 * Threads: the loop. */

#include <stdint.h>

#include "agent/nova/service.h"

#define PLACEMENT_N_TRIES 4

/* Of the service that the calls are made to. */
extern const struct service_kind placement_kind;

typedef void placement_ended(void *aux, struct error *error);

/* Resource providers. */
struct placement_provider {
    const char *uuid, *name;
    const char *parent_uuid; /* Null: a root. */
    int64_t generation;
};

/* The providers of a tree: 'n' is 0 if there is none. */
typedef void
placement_providers_done(void *aux, const struct placement_provider *providers,
                         size_t n, struct error *error);

/* Those of the tree that 'uuid' is in.  ERR_PROVIDER_RETRIEVAL */
void placement_tree(struct service *placement, const struct json *context,
                    const char *uuid, placement_providers_done *done,
                    void *aux);

/* Those that share with members of these aggregates (a list of UUIDs, which is
 * not empty).  ERR_PROVIDER_RETRIEVAL */
void placement_sharing(struct service *placement, const struct json *context,
                       const struct json *aggregates,
                       placement_providers_done *done, void *aux);

/* 'done' gets the one provider.  ERR_PROVIDER_CREATION: also if the name or the
 * UUID is taken. */
void placement_provider_create(struct service *placement,
                               const struct json *context, const char *uuid,
                               const char *name, placement_providers_done *done,
                               void *aux);

/* One that is not there is deleted.  ERR_PROVIDER_DELETION */
void placement_provider_delete(struct service *placement,
                               const struct json *context, const char *uuid,
                               placement_ended *done, void *aux);

/* What belongs to a provider, as it is after the call. */
struct placement_facts {
    int64_t generation;       /* 0 where Placement gives none: names that are
                               * known. */
    const struct json *items; /* Inventories {class: {total, ...}}, traits and
                               * aggregates [name], allocations {consumer:
                               * {"resources": {class: amount}}}. */
};
typedef void placement_facts_done(void *aux,
                                  const struct placement_facts *facts,
                                  struct error *error);

/* ERR_PROVIDER_RETRIEVAL */
void placement_inventories(struct service *placement,
                           const struct json *context, const char *uuid,
                           placement_facts_done *done, void *aux);
void placement_aggregates(struct service *placement, const struct json *context,
                          const char *uuid, placement_facts_done *done,
                          void *aux);
void placement_traits(struct service *placement, const struct json *context,
                      const char *uuid, placement_facts_done *done, void *aux);
void placement_usage(struct service *placement, const struct json *context,
                     const char *uuid, placement_facts_done *done, void *aux);

/* Replace what is there.  ERR_PROVIDER_CONFLICT, ERR_PROVIDER_UPDATE; of
 * inventories ERR_INVENTORY_IN_USE, too. */
void placement_set_inventories(struct service *placement,
                               const struct json *context, const char *uuid,
                               int64_t generation,
                               const struct json *inventories,
                               placement_facts_done *done, void *aux);
void placement_set_traits(struct service *placement, const struct json *context,
                          const char *uuid, int64_t generation,
                          const struct json *traits, placement_facts_done *done,
                          void *aux);
void placement_set_aggregates(struct service *placement,
                              const struct json *context, const char *uuid,
                              int64_t generation, const struct json *aggregates,
                              placement_facts_done *done, void *aux);

/* Which of these traits (a list) Placement knows.  ERR_PROVIDER_RETRIEVAL */
void placement_known_traits(struct service *placement,
                            const struct json *context,
                            const struct json *traits,
                            placement_facts_done *done, void *aux);

/* Makes a trait of an operator's, "CUSTOM_..."; one that is there stays.
 * ERR_PROVIDER_UPDATE */
void placement_trait_create(struct service *placement,
                            const struct json *context, const char *name,
                            placement_ended *done, void *aux);

/* Allocations of a consumer, that is an instance or a migration. */
struct placement_allocations {
    const struct json *items; /* {provider: {"resources": {class: amount},
                               * "generation": n}}; {}: it has none. */
    const char *project_id, *user_id; /* Null: it has none. */
    int64_t generation;               /* Of the consumer; -1: it has none. */
};
typedef void
placement_allocations_done(void *aux,
                           const struct placement_allocations *allocations,
                           struct error *error);

/* ERR_ALLOCATION_RETRIEVAL */
void placement_allocations(struct service *placement,
                           const struct json *context, const char *consumer,
                           placement_allocations_done *done, void *aux);

/* Takes all of the consumer's allocations away; none is fine.
 * ERR_ALLOCATION_RETRIEVAL, ERR_ALLOCATION_UPDATE */
void placement_allocations_delete(struct service *placement,
                                  const struct json *context,
                                  const char *consumer, placement_ended *done,
                                  void *aux);

/* Gives 'to' the allocations of 'from', in place of those it has.  If 'from'
 * has none nothing is changed, so that it can be done again.
 * ERR_ALLOCATION_RETRIEVAL, ERR_ALLOCATION_UPDATE */
void placement_allocations_move(struct service *placement,
                                const struct json *context, const char *from,
                                const char *to, placement_ended *done,
                                void *aux);

#endif
