#ifndef DROVER_NOVA_POWER_SYNC_H
#define DROVER_NOVA_POWER_SYNC_H

/* Keeps the recorded power states as the hypervisor has them: with each event
 * of it, and regularly for those that were missed. (spec/drop-in 9)
 *
 * A guest that stopped is looked at after a while, as it may only be starting
 * again.  One that runs although it was stopped is powered off.
 *
 * Threads: the loop. */

#include "agent/nova/nova.h"

struct power_sync;

struct power_sync *power_sync_create(struct nova *nova);
void power_sync_event(struct power_sync *sync,
                      const struct driver_event *event);

/* What is under way ends by itself. */
void power_sync_close(struct power_sync *sync);

#endif
