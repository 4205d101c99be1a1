#ifndef DROVER_MIGRATE_PINS_H
#define DROVER_MIGRATE_PINS_H

/* What a destination says of the CPUs and nodes that a guest gets there
 * (dst_numa_info), as the hypervisor takes it.  (spec/live-migration 4.3)
 *
 * Threads: no shared state. */

#include "drivers/driver.h"
#include "rpc/object.h"

/* Of checked migrate data; nothing is set if it says nothing.  To be closed
 * with dest_pins_close(). */
void migrate_pins_of(const struct object *data, struct dest_pins *ret);

#endif
