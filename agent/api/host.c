#include <config.h>

#include "agent/api/methods.h"

#include <stdlib.h>

#include "agent/drain/drain.h"

/* What droverctl sees of a host and of its agent. */

static void
set_text(struct json *json, const char *name, const char *text)
{
    json_set(json, name, json_string(text));
}

/* What some guests need. */
static void
set_equipment(struct json *json, const struct host_info *host)
{
    struct json *hugepages = json_array();
    struct json *loaders = json_array();

    for (size_t i = 0; i < host->n_hugepages; i++) {
        struct json *pages = json_object();

        json_set_int(pages, "size_kib", host->hugepages[i].size_kib);
        json_set_int(pages, "n_free", host->hugepages[i].n_free);
        json_append(hugepages, pages);
    }
    for (size_t i = 0; i < host->n_loaders; i++) {
        json_append(loaders, json_string(host->loaders[i]));
    }
    json_set_int(json, "n_nodes", host->n_nodes);
    json_set(json, "hugepages", hugepages);
    json_set(json, "loaders", loaders);
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
                 (int64_t)(stamp_age_ms(&agent->started) / 1000));
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
        set_equipment(json, host);
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

static void
add_name(struct json *names, const char *name, const char *own)
{
    if (!name || str_eq(name, own)) {
        return;
    }
    json_for_each (known, names) {
        if (str_eq(json_get_string(known), name)) {
            return;
        }
    }
    json_append(names, json_string(name));
}

static void
migrations_known(void *aux, struct error *error, struct object **records,
                 size_t n)
{
    struct api_call *call = aux;
    const char *own = api_agent(call)->conf->host;

    if (error) {
        api_fail(call, error);
        return;
    }
    struct json *json = json_object();
    struct json *names = json_array();
    for (size_t i = 0; i < n; i++) {
        add_name(names, object_string(records[i], "source_compute"), own);
        add_name(names, object_string(records[i], "dest_compute"), own);
        object_free(records[i]);
    }
    free(records);
    set_text(json, "host", own);
    json_set(json, "known", names);
    api_reply(call, json);
}

/* Who is away answers nobody; others remember that he was there. */
void
api_host_names(struct api_call *call)
{
    struct records *records = api_agent(call)->records;

    records->ops->migration_list(records->state, api_context(call), NULL,
                                 migrations_known, call);
}
