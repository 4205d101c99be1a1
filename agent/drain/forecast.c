#include <config.h>

#include "agent/drain/forecast.h"

#include "agent/forecaster.h"

void
drain_forecast(struct agent *agent,
               const struct drain_forecast_request *request,
               const struct json *context, const struct log_context *log,
               drain_forecast_done *done, void *aux)
{
    struct forecaster_request forecast = {
        .uuid = request->guest->uuid,
        .dest = request->dest,
        .block_migration = request->disk_bytes > 0,
    };

    forecaster_start(agent, &forecast, context, log, done, aux);
}
