#include <config.h>

#include "agent/api_methods.h"

#include "agent/base/clock.h"
#include "agent/drain.h"

/* What droverctl sees of a host and of its agent. */

static void
set_text(struct json *json, const char *name, const char *text)
{
    json_set(json, name, json_string(text));
}

static void
host_known(void *aux, struct error *error, struct host_info *host)
{
    struct api_call *call = aux;
    struct agent *agent = api_agent(call);
    struct json *json = json_object();

    set_text(json, "host", agent->conf->host);
    set_text(json, "driver", driver_name(agent->driver));
    set_text(json, "version", PACKAGE_VERSION);
    set_text(json, "availability_zone", agent->conf->availability_zone);
    json_set_bool(json, "hypervisor_up", !error);
    json_set_string(json, "drain", drain_bars(agent));
    json_set_int(json, "uptime_s",
                 (clock_wall_us() - agent->started_us) / 1000000);
    json_set_int(json, "n_instances",
                 agent->local ? (int64_t)records_local_n_instances(agent->local)
                              : 0);
    if (!error) {
        set_text(json, "node", host->hostname);
        set_text(json, "hypervisor_type", host->hypervisor_type);
        json_set_int(json, "hypervisor_version", host->hypervisor_version);
        json_set_int(json, "libvirt_version", host->libvirt_version);
        set_text(json, "arch", host->arch);
        set_text(json, "cpu_model", host->cpu_model);
        set_text(json, "cpu_xml", host->cpu_xml);
        json_set_int(json, "n_cpus", host->n_cpus);
        json_set_int(json, "memory_mb", host->memory_mb);
        json_set_int(json, "memory_free_mb",
                     host->memory_free_mb -
                         agent->conf->reserved_host_memory_mb);
        json_set_int(json, "disk_total_gb", host->disk_total_gb);
        json_set_int(json, "disk_free_gb", host->disk_free_gb);
    }
    error_free(error);
    host_info_free(host);
    api_reply(call, json);
}

void
api_host_show(struct api_call *call)
{
    driver_host_get(api_agent(call)->driver, host_known, call);
}
