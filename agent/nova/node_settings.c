#include <config.h>

#include "agent/nova/node_settings.h"

#include "conf/conf.h"

#define CPU_MAX 65535

void
node_settings_init(struct node_settings *settings, const struct conf *conf)
{
    const char *images = conf->libvirt.images_type;

    *settings = (struct node_settings){
        .host = conf->host,
        .my_ip = conf->my_ip,
        .virt_type = conf->libvirt.virt_type,
        .cpu_mode = conf->libvirt.cpu_mode,
        .cpu_models = (const char *const *)conf->libvirt.cpu_models,
        .cpu_flags = (const char *const *)conf->libvirt.cpu_model_extra_flags,
        .shared_set = conf->compute.cpu_shared_set,
        .dedicated_set = conf->compute.cpu_dedicated_set,
        .reserved_cpus = conf->reserved_host_cpus,
        .reserved_memory_mb = conf->reserved_host_memory_mb,
        .reserved_disk_mb = conf->reserved_host_disk_mb,
        .file_backed_memory_mb = conf->libvirt.file_backed_memory,
        .ratios = {conf->cpu_allocation_ratio, conf->ram_allocation_ratio,
                   conf->disk_allocation_ratio},
        .first_ratios = {conf->initial_cpu_allocation_ratio,
                         conf->initial_ram_allocation_ratio,
                         conf->initial_disk_allocation_ratio},
        .has_swtpm = conf->libvirt.swtpm_enabled,
        .has_raw_images_only = !conf->force_raw_images &&
                               (str_eq(images, "lvm") || str_eq(images, "rbd")),
    };
}

void
node_cpus_close(struct node_cpus *cpus)
{
    cpu_set_close(&cpus->shared);
    cpu_set_close(&cpus->dedicated);
}

static bool
is_set(const char *text)
{
    return text && *text;
}

static struct error *
read_set(const char *option, const char *text,
         const struct host_resources *host, struct cpu_set *ret)
{
    if (!cpu_set_parse(text, CPU_MAX, ret) || ret->n == 0) {
        return error_new(ERR_CONFIG, "compute.%s: '%s' is no set of CPUs",
                         option, text);
    }
    for (size_t i = 0; i < ret->n; i++) {
        if (!cpu_set_has(&host->online, ret->cpus[i])) {
            return error_new(ERR_CONFIG,
                             "compute.%s: CPU %d of '%s' is not online", option,
                             ret->cpus[i], text);
        }
    }
    return NULL;
}

struct error *
node_cpus_of(const struct node_settings *settings,
             const struct host_resources *host, struct node_cpus *ret)
{
    CLEANUP(node_cpus_close) struct node_cpus cpus = {0};
    struct error *error = NULL;

    if (is_set(settings->shared_set)) {
        error = read_set("cpu_shared_set", settings->shared_set, host,
                         &cpus.shared);
    } else if (!is_set(settings->dedicated_set)) {
        for (size_t i = 0; i < host->online.n; i++) {
            cpu_set_add(&cpus.shared, host->online.cpus[i]);
        }
    }
    if (!error && is_set(settings->dedicated_set)) {
        error = read_set("cpu_dedicated_set", settings->dedicated_set, host,
                         &cpus.dedicated);
    }
    if (!error) {
        *ret = cpus;
        cpus = (struct node_cpus){0};
    }
    return error;
}

int64_t
node_memory_mb(const struct node_settings *settings,
               const struct host_resources *host)
{
    return settings->file_backed_memory_mb ? settings->file_backed_memory_mb
                                           : host->memory_mb;
}
