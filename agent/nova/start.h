#ifndef DROVER_NOVA_START_H
#define DROVER_NOVA_START_H

/* What a compute service does before it takes requests, in the order in which
 * the control plane is used to see it. (spec/drop-in 2)
 *
 * A step that fails as long as a service is away is tried again for ever: the
 * services of a cloud may be started in any order.
 *
 * Threads: the loop. */

#include "agent/nova/nova.h"

void nova_start_begin(struct nova *nova,
                      void (*ready)(void *aux, struct error *error), void *aux);

/* Its callback is not called any more. */
void nova_start_cancel(struct nova *nova);

#endif
