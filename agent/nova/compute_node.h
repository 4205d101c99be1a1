#ifndef DROVER_NOVA_COMPUTE_NODE_H
#define DROVER_NOVA_COMPUTE_NODE_H

/* The record of this host that schedulers and operators look at: a ComputeNode,
 * with the fields that Nova's own agent writes. (spec/drop-in 5)
 *
 * What is set to what it was is not changed, also where Nova keeps a text or a
 * list whose order says nothing, so that a record that another agent wrote is
 * taken over as it is.
 *
 * Pure.
 *
 * Threads: no shared state. */

#include "agent/nova/node_usage.h"
#include "rpc/object.h"

/* A new record, with the host's own figures, to be created. */
struct object *compute_node_create(const struct node_settings *settings,
                                   const struct host_resources *host,
                                   const struct node_cpus *cpus,
                                   const struct node_records *records);

/* Brings a record up to date.  Counts what 'records' say and leaves that in
 * '*ret', to be closed.  What is then marked as changed is to be saved. */
void compute_node_update(struct object *node,
                         const struct node_settings *settings,
                         const struct host_resources *host,
                         const struct node_cpus *cpus,
                         const struct node_records *records,
                         struct node_usage *ret);

#endif
