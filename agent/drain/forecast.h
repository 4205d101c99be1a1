#ifndef DROVER_DRAIN_FORECAST_H
#define DROVER_DRAIN_FORECAST_H

/* What moving one guest of a plan is expected to take: agent/forecaster.h, as a
 * plan asks for it.
 *
 * Threads: the loop. */

#include "agent/agent.h"

struct drain_forecast_request {
    const struct guest *guest; /* Of this host. */
    const char *dest;
    int64_t disk_bytes; /* To be copied; 0: none. */
};

/* 'forecast', the callee's, is as the forecaster gives it.  'done' is called
 * once, after some seconds.  The request is borrowed for the call only. */
typedef void drain_forecast_done(void *aux, struct json *forecast);
void drain_forecast(struct agent *agent,
                    const struct drain_forecast_request *request,
                    const struct json *context, const struct log_context *log,
                    drain_forecast_done *done, void *aux);

#endif
