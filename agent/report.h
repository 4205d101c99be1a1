#ifndef DROVER_AGENT_REPORT_H
#define DROVER_AGENT_REPORT_H

/* What machines that watch over hosts ask of an agent: its numbers, for
 * Prometheus, and its health.  (agent/http.h serves both)
 *
 * Threads: the loop. */

#include "agent/agent.h"
#include "agent/health.h"

/* In the format of agent/metrics.h; the caller's. */
char *report_metrics(struct agent *agent, size_t *ret_size);

/* A JSON text: {status, reasons, host, version}; see agent/health.h.  The
 * caller's. */
char *report_health(struct agent *agent, enum health *ret, size_t *ret_size);

#endif
