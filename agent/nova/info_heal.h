#ifndef DROVER_NOVA_INFO_HEAL_H
#define DROVER_NOVA_INFO_HEAL_H

/* Has what is recorded of the ports of this host's instances looked after, one
 * instance in each run: what was missed, or spoilt, is mended in time.
 * (spec/drop-in 7)
 *
 * Ports of an instance at rest that are bound to another host, or failed to
 * be bound, are bound to this one again.
 *
 * Threads: the loop. */

#include "agent/nova/nova.h"

struct info_heal;

/* Null: heal_instance_info_cache_interval is 0, or there is no Neutron. */
struct info_heal *info_heal_create(struct nova *nova);

/* What is under way ends by itself.  Null is fine. */
void info_heal_close(struct info_heal *heal);

#endif
