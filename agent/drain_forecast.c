#include <config.h>

#include "agent/drain_forecast.h"

#define MIB (INT64_C(1) << 20)

struct json *
drain_forecast(const struct agent *agent, const struct guest *guest,
               int64_t disk_bytes)
{
    int64_t rate = agent->conf->libvirt.live_migration_bandwidth;
    int64_t amount = guest->memory_mb + (disk_bytes + MIB - 1) / MIB;
    struct json *json = json_object();

    json_set(json, "rate_mib_s", rate ? json_int(rate) : json_null());
    json_set(json, "seconds",
             rate ? json_int((amount + rate - 1) / rate) : json_null());
    return json;
}
