#ifndef DROVER_AGENT_DRAIN_FORECAST_H
#define DROVER_AGENT_DRAIN_FORECAST_H

/* What moving one guest of a plan will take, as far as it can be said without
 * waiting for a measurement.
 *
 * Threads: the loop. */

#include "agent/agent.h"

/* {rate_mib_s, seconds}: the link's rate and the time for the guest's memory
 * and 'disk_bytes' once over it; null where the rate is not known.  The
 * caller's. */
struct json *drain_forecast(const struct agent *agent,
                            const struct guest *guest, int64_t disk_bytes);

#endif
