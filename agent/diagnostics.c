#include <config.h>

#include "agent/diagnostics.h"

#include <stdlib.h>
#include <strings.h>

static void
set(struct json *json, const char *of, const char *what, int64_t value)
{
    AUTO_FREE name = xasprintf("%s%s", of, what);

    json_set_int(json, name, value);
}

struct json *
diagnostics_legacy(const struct guest_counters *counters)
{
    struct json *json = json_object();

    for (size_t i = 0; i < counters->n_cpus; i++) {
        AUTO_FREE name = xasprintf("cpu%d_time", counters->cpus[i].id);
        json_set_int(json, name, counters->cpus[i].time_ns);
    }
    for (size_t i = 0; i < counters->n_disks; i++) {
        const struct disk_counters *disk = &counters->disks[i];
        set(json, disk->target, "_read_req", disk->n_reads);
        set(json, disk->target, "_read", disk->read_bytes);
        set(json, disk->target, "_write_req", disk->n_writes);
        set(json, disk->target, "_write", disk->written_bytes);
        set(json, disk->target, "_errors", disk->n_errors);
    }
    for (size_t i = 0; i < counters->n_nics; i++) {
        const struct nic_counters *nic = &counters->nics[i];
        if (nic->device) {
            set(json, nic->device, "_rx", nic->rx_bytes);
            set(json, nic->device, "_rx_packets", nic->rx_packets);
            set(json, nic->device, "_rx_errors", nic->rx_errors);
            set(json, nic->device, "_rx_drop", nic->rx_drops);
            set(json, nic->device, "_tx", nic->tx_bytes);
            set(json, nic->device, "_tx_packets", nic->tx_packets);
            set(json, nic->device, "_tx_errors", nic->tx_errors);
            set(json, nic->device, "_tx_drop", nic->tx_drops);
        }
    }
    json_set_int(json, "memory", counters->memory_max_kib);
    for (size_t i = 0; i < counters->n_memory; i++) {
        set(json, "memory-", counters->memory[i].name,
            counters->memory[i].value);
    }
    return json;
}

static struct json *
object_of(const char *name, struct json *data)
{
    struct json *json = json_object();

    json_set_string(json, "nova_object.name", name);
    json_set_string(json, "nova_object.namespace", "nova");
    json_set_string(json, "nova_object.version", "1.0");
    return json_set(json, "nova_object.data", data);
}

/* Rates are for hypervisors that know them. */
static struct json *
nic_of(const struct nic_counters *nic)
{
    static const char *const names[] = {
        "rx_octets", "rx_errors", "rx_drop", "rx_packets", "rx_rate",
        "tx_octets", "tx_errors", "tx_drop", "tx_packets", "tx_rate"};
    struct json *data = json_object();

    json_set(data, "mac_address", json_string(nic->mac));
    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        json_set_null(data, names[i]);
    }
    if (nic->device) {
        json_set_int(data, "rx_octets", nic->rx_bytes);
        json_set_int(data, "rx_errors", nic->rx_errors);
        json_set_int(data, "rx_drop", nic->rx_drops);
        json_set_int(data, "rx_packets", nic->rx_packets);
        json_set_int(data, "tx_octets", nic->tx_bytes);
        json_set_int(data, "tx_errors", nic->tx_errors);
        json_set_int(data, "tx_drop", nic->tx_drops);
        json_set_int(data, "tx_packets", nic->tx_packets);
    }
    return object_of("NicDiagnostics", data);
}

static struct json *
disk_of(const struct disk_counters *disk)
{
    struct json *data = json_object();

    json_set_int(data, "read_bytes", disk->read_bytes);
    json_set_int(data, "read_requests", disk->n_reads);
    json_set_int(data, "write_bytes", disk->written_bytes);
    json_set_int(data, "write_requests", disk->n_writes);
    json_set_int(data, "errors_count", disk->n_errors);
    return object_of("DiskDiagnostics", data);
}

static struct json *
cpu_of(const struct cpu_counters *cpu)
{
    struct json *data = json_object();

    json_set_int(data, "id", cpu->id);
    json_set_int(data, "time", cpu->time_ns);
    json_set_null(data, "utilisation");
    return object_of("CpuDiagnostics", data);
}

/* In MiB, as the API documents it; Nova of Zed takes libvirt's KiB for bytes
 * and tells the MiB of those, that is 0 of most guests. */
static struct json *
memory_of(const struct guest_counters *counters)
{
    struct json *data = json_object();

    json_set_int(data, "maximum", counters->memory_max_kib >> 10);
    json_set_int(data, "used", counters->memory_kib >> 10);
    return object_of("MemoryDiagnostics", data);
}

static bool
has_config_drive(const struct object *instance)
{
    const char *recorded = object_string(instance, "config_drive");
    const char *wanted = json_string_of(object_get(instance, "system_metadata"),
                                        "image_img_config_drive");

    return (recorded && *recorded && strcasecmp(recorded, "false") != 0) ||
           str_eq(wanted, "mandatory");
}

struct json *
diagnostics_object(const struct guest_counters *counters,
                   const struct object *instance, const char *virt_type,
                   int64_t now_us)
{
    struct json *data = json_object(), *cpus = json_array(),
                *nics = json_array(), *disks = json_array();
    int64_t since_us;

    for (size_t i = 0; i < counters->n_cpus; i++) {
        json_append(cpus, cpu_of(&counters->cpus[i]));
    }
    for (size_t i = 0; i < counters->n_nics; i++) {
        json_append(nics, nic_of(&counters->nics[i]));
    }
    for (size_t i = 0; i < counters->n_disks; i++) {
        json_append(disks, disk_of(&counters->disks[i]));
    }
    json_set_string(data, "state", "running");
    json_set_string(data, "driver", "libvirt");
    json_set_string(data, "hypervisor", virt_type);
    json_set_string(data, "hypervisor_os", "linux");
    json_set_null(data, "uptime");
    if (object_parse_datetime(object_string(instance, "launched_at"),
                              &since_us)) {
        json_set_int(data, "uptime", (now_us - since_us) / 1000000);
    }
    json_set_bool(data, "config_drive", has_config_drive(instance));
    json_set(data, "memory_details", memory_of(counters));
    json_set(data, "cpu_details", cpus);
    json_set(data, "nic_details", nics);
    json_set(data, "disk_details", disks);
    json_set_int(data, "num_cpus", (int64_t)counters->n_cpus);
    json_set_int(data, "num_nics", (int64_t)counters->n_nics);
    json_set_int(data, "num_disks", (int64_t)counters->n_disks);
    return object_of("Diagnostics", data);
}
