#ifndef DROVER_NOVA_HOST_ENABLED_H
#define DROVER_NOVA_HOST_ENABLED_H

/* Has Placement know at once that builds may come to this host, or not any
 * more, as an operator has just said. (spec/drop-in 6.4)
 *
 * The rounds of agent/nova/update_resources.h come to the same, later.
 *
 * Threads: the loop. */

#include "agent/attach.h"
#include "agent/nova/nova.h"

/* 'done' is called once, after it has returned or before.  A host that has no
 * provider yet is told of by its first round. */
void host_enabled_set(struct nova *nova, const struct json *context,
                      bool is_enabled, attach_done *done, void *aux);

#endif
