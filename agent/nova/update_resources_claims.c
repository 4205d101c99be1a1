#include <config.h>

#include "agent/nova/update_resources_internal.h"

#include <stdlib.h>

#include "agent/nova/numa_topology.h"
#include "agent/nova/primitive.h"

struct resource_claim {
    struct resource_claim *next;
    resources_granted *granted;
    void *aux;
};

static void forget_dropped(struct round *r);
static bool is_moving(const struct round *r, const char *instance);
static void set_dropped(struct update_resources *u, struct text_set *kept);

void
update_resources_claim(struct update_resources *u, resources_granted *granted,
                       void *aux)
{
    struct resource_claim *claim = xzalloc(sizeof *claim);
    struct resource_claim **last = &u->claims;

    claim->granted = granted;
    claim->aux = aux;
    while (*last) {
        last = &(*last)->next;
    }
    *last = claim;
    update_resources_soon(u);
}

void
update_resources_claimed(struct update_resources *u, const char *instance)
{
    struct text_set kept = {0};

    for (size_t i = 0; i < u->dropped.n; i++) {
        if (!str_eq(u->dropped.texts[i], instance)) {
            text_set_add(&kept, u->dropped.texts[i]);
        }
    }
    set_dropped(u, &kept);
    u->again = u->again || instance;
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
    struct node_records records = round_records(r);
    struct node_usage usage;

    forget_dropped(r);
    if (!claim) {
        round_go_on(r, NULL);
        return;
    }
    u->claims = claim->next;
    AUTO_JSON topology = numa_topology_create(r->host, &u->settings, &r->cpus);
    node_usage_init(&usage, &u->settings, &records, 0, topology);
    node_usage_close(&usage);
    bool is_set = u->settings.shared_set && *u->settings.shared_set;
    const struct resources_left left = {
        .node = u->hostname,
        .topology = topology,
        .shared = is_set ? &r->cpus.shared : NULL,
    };
    claim->granted(claim->aux, NULL, &left);
    free(claim);
}

void
round_refuse_claims(struct round *r, const struct error *error)
{
    struct resource_claim *claim = error ? r->u->claims : NULL;

    r->u->again = r->u->again || r->u->claims;
    if (error) {
        r->u->claims = NULL;
    }
    while (claim) {
        struct resource_claim *next = claim->next;

        claim->granted(claim->aux, error_copy(error), NULL);
        free(claim);
        claim = next;
    }
}

/* What is over is in no list any more. */
static void
forget_dropped(struct round *r)
{
    struct update_resources *u = r->u;
    struct text_set kept = {0};

    for (size_t i = 0; i < u->dropped.n; i++) {
        if (is_moving(r, u->dropped.texts[i])) {
            text_set_add(&kept, u->dropped.texts[i]);
        }
    }
    set_dropped(u, &kept);
}

static bool
is_moving(const struct round *r, const char *instance)
{
    json_for_each (migration, primitive_objects(r->migrations)) {
        if (str_eq(primitive_string(migration, "instance_uuid"), instance)) {
            return true;
        }
    }
    return false;
}

static void
set_dropped(struct update_resources *u, struct text_set *kept)
{
    text_set_close(&u->dropped);
    u->dropped = *kept;
}
