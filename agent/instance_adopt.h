#ifndef DROVER_AGENT_INSTANCE_ADOPT_H
#define DROVER_AGENT_INSTANCE_ADOPT_H

/* What an instance is, told from its guest alone: where no control plane made
 * a record of it, the guest as libvirt has it becomes an Instance 2.7 with
 * every field that peers and notifications look for.  What nobody can know
 * (user, project, image) is null or empty as Nova has it.
 * (spec/live-migration 1.5)
 *
 * Threads: no shared state. */

#include "drivers/driver.h"
#include "rpc/object.h"

/* Where the adopting agent is; all borrowed. */
struct adopt_place {
    const char *host, *node, *availability_zone;
};

/* A new instance without changes; 'id' is the record's. */
struct object *instance_from_guest(const struct guest *guest,
                                   const struct adopt_place *place, int64_t id);

/* Brings a known instance up to date; what differed is marked as changed.
 * While it has a task only the power state is. */
void instance_update_from_guest(struct object *instance,
                                const struct guest *guest,
                                const struct adopt_place *place);

/* The name that libvirt knows it by, borrowed; null if it was never adopted
 * here. */
const char *instance_domain_name(const struct object *instance);

#endif
