#ifndef DROVER_NOVA_OWN_ORDER_H
#define DROVER_NOVA_OWN_ORDER_H

/* What this host asks of itself about an instance, as a request of Nova's API
 * would: what was asked for before it went away, and what follows from a guest
 * that is not as its record says. (spec/drop-in 8, 9)
 *
 * It waits its turn at the instance, as a request does; nobody waits for its
 * end, which is logged and recorded as that of the request would be.
 *
 * Threads: the loop. */

#include "agent/nova/nova.h"
#include "agent/power/power.h"

/* The order of deleting it, beside those of agent/power/power.h. */
#define OWN_ORDER_DELETE ORDER_N

/* 'context' is borrowed; null: a new one. */
void own_order_start(struct nova *nova, const struct json *context,
                     const char *instance_uuid, enum power_order order,
                     bool is_hard);

#endif
