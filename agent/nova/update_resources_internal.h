#ifndef DROVER_NOVA_UPDATE_RESOURCES_INTERNAL_H
#define DROVER_NOVA_UPDATE_RESOURCES_INTERNAL_H

/* What the files of agent/nova/update_resources.h share:
 *
 *   update_resources.c         its life, rounds, what Placement is told
 *   update_resources_node.c    the record of this host
 *   update_resources_guests.c  who has what of it
 *   update_resources_claims.c  who wants some of what is left
 *
 * Threads: the loop. */

#include "agent/nova/compute_node.h"
#include "agent/nova/update_resources.h"

struct alloc_auditor;
struct resource_claim;
struct resource_provider;

struct update_resources {
    struct update_resources_options o; /* No conductor: closed. */
    struct node_settings settings;
    uv_timer_t timer;
    char *hostname;      /* The hypervisor's, as it was first; null: unknown. */
    struct object *node; /* Null: not known yet. */
    struct resource_provider *provider; /* Null: Placement is not told. */
    struct alloc_auditor *auditor;      /* Null: nor asked. */
    bool is_pci_known;   /* Whether there are records of devices. */
    struct round *round; /* Under way; else null. */
    bool has_begun, again;
    struct resource_claim *claims; /* That wait, the first first. */
    struct text_set dropped; /* Instances whose claims count for nothing. */
    char *claimant; /* The instance for which there is a claim under way. */
    void (*done)(void *aux); /* Of the first round; or null. */
    void *aux;
    struct update_resources_status status;
    uint64_t ok_ms;
    char *error;
    unsigned n_refs; /* The owner's, the timer's, and a round's. */
};

/* One round, and what it found out. */
struct round {
    struct update_resources *u;
    struct json *context;
    size_t step;
    struct json *nodes; /* ComputeNodeList of this host. */
    struct host_resources *host;
    struct node_cpus cpus;
    struct json *instances, *migrations, *strangers, *devices;
    struct text_set uuids; /* To be asked about in this step ... */
    size_t next;           /* ... which is at this one. */
    struct object *orphan; /* Being removed. */
    bool is_disabled;
    bool has_let; /* Whoever waited first has claimed. */
    struct node_usage usage;
    struct node_records records; /* Of the audit. */
};

/* The end of a step. */
void round_go_on(struct round *r, struct error *error);

/* Asks the conductor: the step's 'take' gets the answer.  Takes 'args' and
 * 'kwargs'; the latter may be null. */
void round_ask(struct round *r, const char *class_name, const char *method,
               struct json *args, struct json *kwargs);
/* The same of an action on an object. */
void round_act(struct round *r, struct object *object, const char *method);

struct json *round_place(const struct update_resources *u,
                         const char *node); /* [host, node] */
struct json *round_names(const char *const *names, size_t n);
struct node_records round_records(const struct round *r);

/* Steps, and what takes their answers; see update_resources.c. */
void round_list_nodes(struct round *r);
void round_describe_host(struct round *r);
void round_find_node(struct round *r);
void round_create_node(struct round *r);
void round_look_for_devices(struct round *r);
void round_save_node(struct round *r);
void round_remove_orphans(struct round *r);
void round_list_instances(struct round *r);
void round_list_migrations(struct round *r);
void round_get_strangers(struct round *r);
void round_list_volumes(struct round *r);
void round_let_claim(struct round *r);
typedef struct error *round_take(struct round *r, struct json **result,
                                 struct error *error, bool *ret_is_over);
round_take round_nodes_listed;
round_take round_node_found;
round_take round_node_created;
round_take round_devices_found;
round_take round_node_saved;
round_take round_orphan_seen;
round_take round_instances_listed;
round_take round_migrations_listed;
round_take round_stranger_got;
round_take round_volumes_listed;

/* At the end of a round: who still waits has the next one, unless this one did
 * not come so far. */
void round_refuse_claims(struct round *r, const struct error *error);

#endif
