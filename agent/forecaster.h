#ifndef DROVER_AGENT_FORECASTER_H
#define DROVER_AGENT_FORECASTER_H

/* Finds out what agent/forecast.h has to know: has the hypervisor measure how
 * much the guest writes, and looks how fast migrations to the destination were.
 * Nothing of it changes anything.
 *
 * Threads: the loop. */

#include "agent/agent.h"
#include "agent/migrate/settings.h"

struct forecaster_request {
    const char *uuid;                        /* Of a guest here. */
    const char *dest;                        /* Null: not known. */
    int block_migration;                     /* 0: no disk is copied. */
    const struct migrate_settings *settings; /* Null: as configured. */
};

/* 'forecast', the callee's, is
 *   {verdict: "converges", "diverges", "too-slow" or "unknown",
 *    text, reason (why it is not known, else null),
 *    total_ms, downtime_ms, n_passes, needed_bandwidth (MiB/s),
 *    memory, disk, dirty_rate (bytes/s), hot_memory (bytes),
 *    link_rate (bytes/s), link_source: "limit", "measured" or "assumed",
 *    max_downtime_ms, timeout_s (0: none)}
 * where null is what is not known.  It is never a failure not to know.  'done'
 * is called after some seconds, or, when the agent is stopped, by
 * forecaster_cancel(). */
typedef void forecaster_done(void *aux, struct json *forecast);
void forecaster_start(struct agent *agent,
                      const struct forecaster_request *request,
                      const struct json *context, const struct log_context *log,
                      forecaster_done *done, void *aux);

/* Those under way answer now that they were cancelled. */
void forecaster_cancel(struct agent *agent);

#endif
