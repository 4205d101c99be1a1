#ifndef DROVER_NOVA_ATTACH_NOVA_H
#define DROVER_NOVA_ATTACH_NOVA_H

/* Ports and allotments of a host in Nova's place: what the host does itself
 * (agent/attach.h), and what Neutron and Placement are told of it.
 * (spec/live-migration 3.1, 3.4, 5.2, 5.5, 6.2, 6.4)
 *
 * Threads: the loop. */

#include "agent/attach.h"

/* Of an agent with a 'nova'. */
extern const struct vif_ops vif_nova;
extern const struct allocation_ops allocation_nova;

#endif
