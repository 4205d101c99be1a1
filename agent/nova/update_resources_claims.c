#include <config.h>

#include "agent/nova/update_resources_internal.h"

#include <stdlib.h>

#include "agent/nova/numa_topology.h"
#include "agent/nova/primitive.h"

struct resource_claim {
    struct resource_claim *next;
    char *instance;
    resources_granted *granted;
    void *aux;
};

static void claim_free(struct resource_claim *claim);
static void grant(struct round *r, const struct resource_claim *claim);
static void keep_dropped(struct update_resources *u,
                         const struct text_set *kept);
static bool has_migration(const struct round *r, const char *instance);

void
update_resources_claim(struct update_resources *u, const char *instance,
                       resources_granted *granted, void *aux)
{
    struct resource_claim *claim = xzalloc(sizeof *claim);
    struct resource_claim **last = &u->claims;

    claim->instance = xstrdup(instance);
    claim->granted = granted;
    claim->aux = aux;
    while (*last) {
        last = &(*last)->next;
    }
    *last = claim;
    update_resources_soon(u);
}

void
update_resources_claimed(struct update_resources *u, bool is_claimed)
{
    AUTO_FREE instance = steal(&u->claimant);
    struct text_set kept = {0};

    for (size_t i = 0; i < u->dropped.n; i++) {
        if (!is_claimed || !str_eq(u->dropped.texts[i], instance)) {
            text_set_add(&kept, u->dropped.texts[i]);
        }
    }
    keep_dropped(u, &kept);
    u->again = u->again || is_claimed;
    round_go_on(u->round, NULL);
}

void
update_resources_drop_claim(struct update_resources *u, const char *instance)
{
    text_set_add(&u->dropped, instance);
    update_resources_soon(u);
}

/* One a round, so that what the next one finds is counted. */
void
round_let_claim(struct round *r)
{
    struct update_resources *u = r->u;
    struct resource_claim *claim = u->claims;
    struct text_set kept = {0};

    for (size_t i = 0; i < u->dropped.n; i++) {
        if (has_migration(r, u->dropped.texts[i])) {
            text_set_add(&kept, u->dropped.texts[i]);
        }
    }
    keep_dropped(u, &kept);
    r->has_let = true;
    if (!claim) {
        round_go_on(r, NULL);
        return;
    }
    u->claims = claim->next;
    u->claimant = xstrdup(claim->instance);
    text_set_add(&u->dropped, claim->instance);
    grant(r, claim);
    claim_free(claim);
}

static void
grant(struct round *r, const struct resource_claim *claim)
{
    struct update_resources *u = r->u;
    struct node_records records = round_records(r);
    AUTO_JSON topology = numa_topology_create(r->host, &u->settings, &r->cpus);
    bool is_set = u->settings.shared_set && *u->settings.shared_set;
    const struct resources_left left = {
        .node = u->hostname,
        .topology = topology,
        .shared = is_set ? &r->cpus.shared : NULL,
    };
    struct node_usage usage;

    node_usage_init(&usage, &u->settings, &records, 0, topology);
    node_usage_close(&usage);
    claim->granted(claim->aux, NULL, &left);
}

void
round_refuse_claims(struct round *r, const struct error *error)
{
    struct update_resources *u = r->u;
    struct resource_claim *claim = NULL;

    if (error && (!r->has_let || !u->o.conductor)) {
        claim = steal(&u->claims);
    }
    u->again = u->again || u->claims;
    while (claim) {
        struct resource_claim *next = claim->next;

        claim->granted(claim->aux, error_copy(error), NULL);
        claim_free(claim);
        claim = next;
    }
}

static void
claim_free(struct resource_claim *claim)
{
    free(claim->instance);
    free(claim);
}

static void
keep_dropped(struct update_resources *u, const struct text_set *kept)
{
    text_set_close(&u->dropped);
    u->dropped = *kept;
}

/* One under way, or that failed. */
static bool
has_migration(const struct round *r, const char *instance)
{
    json_for_each (migration, primitive_objects(r->migrations)) {
        if (str_eq(primitive_string(migration, "instance_uuid"), instance)) {
            return true;
        }
    }
    return false;
}
