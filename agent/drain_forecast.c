#include <config.h>

#include "agent/drain_forecast.h"

#include <inttypes.h>

#define MIB (INT64_C(1) << 20)

/* What is to be sent at least, over a link whose rate is configured. */
void
drain_forecast(struct agent *agent,
               const struct drain_forecast_request *request,
               const struct json *context UNUSED,
               const struct log_context *log UNUSED, drain_forecast_done *done,
               void *aux)
{
    int64_t rate = agent->conf->libvirt.live_migration_bandwidth * MIB;
    int64_t amount = request->guest->memory_mb * MIB + request->disk_bytes;
    struct json *json = json_object();
    AUTO_FREE text =
        rate ? xasprintf("not before %" PRId64 " s, at %" PRId64 " MiB/s",
                         (amount + rate - 1) / rate, rate / MIB)
             : NULL;

    json_set_string(json, "text", text);
    json_set(json, "total_ms",
             rate ? json_int((int64_t)((double)amount * 1000 / (double)rate))
                  : json_null());
    json_set(json, "link_rate", rate ? json_int(rate) : json_null());
    done(aux, json);
}
