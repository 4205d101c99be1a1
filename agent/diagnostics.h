#ifndef DROVER_AGENT_DIAGNOSTICS_H
#define DROVER_AGENT_DIAGNOSTICS_H

/* What was counted of a running guest, as Nova tells it. (spec/drop-in 12)
 *
 * Pure.
 *
 * Threads: no shared state; any. */

#include "drivers/guest_counters.h"
#include "rpc/object.h"

/* What get_diagnostics answers: {"cpu0_time": ..., "vda_read": ...}; the
 * caller's, as the next. */
struct json *diagnostics_legacy(const struct guest_counters *counters);

/* What get_instance_diagnostics answers: a Diagnostics 1.0 of a guest that
 * runs.  'virt_type' is "kvm" or "qemu", 'now_us' a wall time. */
struct json *diagnostics_object(const struct guest_counters *counters,
                                const struct object *instance,
                                const char *virt_type, int64_t now_us);

#endif
