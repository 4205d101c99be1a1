#ifndef DROVER_NOVA_UPDATE_RESOURCES_H
#define DROVER_NOVA_UPDATE_RESOURCES_H

/* Keeps what the cloud knows of this host's resources as it is: its record
 * behind the conductor, at the start, then regularly, and when an instance came
 * or went. (spec/drop-in 5)
 *
 * One round asks the hypervisor and the conductor, one after the other, counts,
 * saves what is new, if anything is, and has Placement know the same.  A round
 * that fails is logged and ends; the next one starts from the beginning.  There
 * is never more than one, so that what is counted is of one moment.
 *
 * Threads: the loop. */

#include <uv.h>

#include "conf/conf.h"
#include "drivers/driver.h"
#include "rpc/conductor.h"

struct service;
struct update_resources;

/* What of this host nobody has, as one round found it out; borrowed. */
struct resources_left {
    const char *node;             /* Its name. */
    const struct json *topology;  /* NUMATopology; null: the host has none. */
    const struct cpu_set *shared; /* cpu_shared_set; null: not set. */
};

/* All borrowed for its life. */
struct update_resources_options {
    uv_loop_t *loop;
    struct driver *driver;
    struct conductor *conductor;
    const struct conf *conf;
    struct service *placement; /* Null: it is not told. */
};

struct update_resources *
update_resources_create(const struct update_resources_options *options);

/* Before the conductor is closed.  What is under way ends by itself, as the
 * conductor and the driver do. */
void update_resources_close(struct update_resources *u);

/* The first round; 'done' when it is over, however it went.  From then on there
 * is one at each interval. */
void update_resources_begin(struct update_resources *u, void (*done)(void *aux),
                            void *aux);

/* Another one, as soon as none is under way; nothing before the first. */
void update_resources_soon(struct update_resources *u);

/* Waits for a moment in which nobody else counts or claims: 'granted' is called
 * once, not before this returns, and either with an error, or with what is
 * left, to which belongs what was claimed before for 'instance', its UUID. Then
 * nothing is counted until update_resources_claimed(), by which time the
 * records have what it claims now, if it does; that is counted at once. */
typedef void resources_granted(void *aux, struct error *error,
                               const struct resources_left *left);
void update_resources_claim(struct update_resources *u, const char *instance,
                            resources_granted *granted, void *aux);
void update_resources_claimed(struct update_resources *u, bool is_claimed);

/* The instance does not come, whatever is recorded of it: the nodes that were
 * claimed for it here are free. */
void update_resources_drop_claim(struct update_resources *u,
                                 const char *instance);

/* The node's name, which is the hypervisor's of this host; null: not known
 * yet.  Null is fine. */
const char *update_resources_node(const struct update_resources *u);

struct update_resources_status {
    uint64_t n_rounds, n_failed, n_saved;
    int64_t ok_ms_ago; /* The last round that went well; -1: none. */
    const char *error; /* Of the last round; null: it went well. */
    const char *uuid;  /* Of the record; null: not known yet. */
};
struct update_resources_status
update_resources_status(const struct update_resources *u);

#endif
