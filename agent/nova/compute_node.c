#include <config.h>

#include "agent/nova/compute_node.h"

#include <ctype.h>
#include <string.h>

#include "agent/nova/numa_topology.h"
#include "agent/nova/primitive.h"

static void set_host(struct object *node, const struct node_settings *settings,
                     const struct host_resources *host,
                     const struct node_cpus *cpus,
                     const struct node_records *records);
static void set_ratios(struct object *node, const double *ratios);
static int64_t available_gb(const struct host_resources *host,
                            const struct node_records *records);
static struct json *cpu_info_of(const struct host_resources *host);
static struct json *kinds_of(const struct host_resources *host);
static char *arch_of(const char *text);
static bool is_one_of(const char *text, const char *const *texts, size_t n);
static void set_same(struct object *node, const char *field,
                     struct json *value);
static void set_text(struct object *node, const char *field,
                     struct json *value);

/* As Nova sends it: with what is in use just now, before anything was
 * counted. */
struct object *
compute_node_create(const struct node_settings *settings,
                    const struct host_resources *host,
                    const struct node_cpus *cpus,
                    const struct node_records *records)
{
    struct object *node = object_create("ComputeNode", "1.19");
    struct json *stats = json_object();

    object_set_string(node, "host", settings->host);
    set_host(node, settings, host, cpus, records);
    object_set_int(node, "vcpus_used", host->n_vcpus_used);
    object_set_int(node, "memory_mb_used", host->memory_used_mb);
    object_set_int(node, "local_gb_used", host->disk_used >> 30);
    set_text(node, "numa_topology", numa_topology_create(host, settings, cpus));
    json_set_string(stats, "failed_builds", "0");
    object_set(node, "stats", stats);
    set_ratios(node, settings->first_ratios);
    return node;
}

void
compute_node_update(struct object *node, const struct node_settings *settings,
                    const struct host_resources *host,
                    const struct node_cpus *cpus,
                    const struct node_records *records, struct node_usage *ret)
{
    struct json *topology = numa_topology_create(host, settings, cpus);
    struct json *no_pools = json_object();

    node_usage_init(ret, settings, records, 0, topology);
    set_host(node, settings, host, cpus, records);
    object_set_int(node, "vcpus_used", ret->vcpus);
    object_set_int(node, "memory_mb_used", ret->memory_mb);
    object_set_int(node, "local_gb_used", ret->local_gb);
    object_set_int(node, "free_ram_mb",
                   object_int(node, "memory_mb") - ret->memory_mb);
    object_set_int(node, "free_disk_gb",
                   object_int(node, "local_gb") - ret->local_gb);
    object_set_int(node, "running_vms", ret->n_instances);
    object_set_int(node, "current_workload", ret->workload);
    set_same(node, "stats", json_copy(ret->stats));
    set_text(node, "numa_topology", topology);
    object_set_string(node, "metrics", "[]");
    set_ratios(node, settings->ratios);
    json_set(no_pools, "objects", json_array());
    if (!json_is_object(object_get(node, "pci_device_pools"))) {
        object_set(node, "pci_device_pools",
                   primitive_create("PciDevicePoolList", "1.1", no_pools));
    } else {
        json_free(no_pools); /* Of devices that are not looked after here. */
    }
}

static void
set_host(struct object *node, const struct node_settings *settings,
         const struct host_resources *host, const struct node_cpus *cpus,
         const struct node_records *records)
{
    object_set_int(node, "vcpus", (int64_t)cpus->shared.n);
    object_set_int(node, "memory_mb", node_memory_mb(settings, host));
    object_set_int(node, "local_gb", host->disk_total >> 30);
    object_set_string(node, "hypervisor_type", host->hypervisor_type);
    object_set_int(node, "hypervisor_version", host->hypervisor_version);
    object_set_string(node, "hypervisor_hostname", records->node);
    object_set_string(node, "host_ip", settings->my_ip);
    object_set_int(node, "disk_available_least", available_gb(host, records));
    set_text(node, "cpu_info", cpu_info_of(host));
    set_same(node, "supported_hv_specs", kinds_of(host));
}

static void
set_ratios(struct object *node, const double *ratios)
{
    static const char *const fields[] = {
        [NODE_RATIO_CPU] = "cpu_allocation_ratio",
        [NODE_RATIO_RAM] = "ram_allocation_ratio",
        [NODE_RATIO_DISK] = "disk_allocation_ratio",
    };

    for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
        if (ratios[i] > 0) {
            object_set(node, fields[i], json_double(ratios[i]));
        }
    }
}

/* What would be left if all files of guests grew to what they show. */
static int64_t
available_gb(const struct host_resources *host,
             const struct node_records *records)
{
    int64_t left = host->disk_free;

    for (size_t i = 0; i < host->n_debts; i++) {
        const struct host_debt *debt = &host->debts[i];
        if (!node_records_is_volume(records, debt->uuid, debt->target)) {
            left -= debt->bytes;
        }
    }
    return left / (INT64_C(1) << 30);
}

static struct json *
cpu_info_of(const struct host_resources *host)
{
    struct json *info = json_object(), *topology = json_object();
    struct json *features = json_array();

    json_set_int(topology, "cells", (int64_t)host->n_cells);
    json_set_int(topology, "sockets", host->n_sockets);
    json_set_int(topology, "cores", host->n_cores);
    json_set_int(topology, "threads", host->n_threads);
    for (size_t i = 0; i < host->cpu_features.n; i++) {
        json_append(features, json_string(host->cpu_features.texts[i]));
    }
    json_set_string(info, "arch", host->arch);
    json_set_string(info, "model", host->cpu_model);
    json_set_string(info, "vendor", host->cpu_vendor);
    json_set(info, "topology", topology);
    return json_set(info, "features", features);
}

/* Those that Nova has words for. */
static struct json *
kinds_of(const struct host_resources *host)
{
    static const char *const hypervisors[] = {
        "baremetal", "bhyve", "docker", "fake", "hyperv", "ironic",
        "kqemu",     "kvm",   "lxc",    "lxd",  "openvz", "parallels",
        "vz",        "phyp",  "qemu",   "test", "uml",    "vbox",
        "vmware",    "xen",   "zvm",    "prsm"};
    static const char *const modes[] = {"hvm", "xen", "uml", "exe"};
    struct json *kinds = json_array();

    for (size_t i = 0; i < host->n_kinds; i++) {
        const struct host_guest_kind *kind = &host->kinds[i];
        AUTO_FREE arch = arch_of(kind->arch);
        struct json *data;

        if (!arch ||
            !is_one_of(kind->hypervisor, hypervisors,
                       N_ELEMENTS(hypervisors)) ||
            !is_one_of(kind->mode, modes, N_ELEMENTS(modes))) {
            continue;
        }
        data = json_object();
        json_set_string(data, "arch", arch);
        json_set_string(data, "hv_type", kind->hypervisor);
        json_set_string(data, "vm_mode", kind->mode);
        json_append(kinds, primitive_create("HVSpec", "1.2", data));
    }
    return kinds;
}

/* The one name that Nova has for it; null: none. */
static char *
arch_of(const char *text)
{
    static const char *const known[] = {
        "alpha",      "armv6",        "armv7l",  "armv7b",   "aarch64",
        "cris",       "i686",         "ia64",    "lm32",     "m68k",
        "microblaze", "microblazeel", "mips",    "mipsel",   "mips64",
        "mips64el",   "openrisc",     "parisc",  "parisc64", "ppc",
        "ppcle",      "ppc64",        "ppc64le", "ppcemb",   "s390",
        "s390x",      "sh4",          "sh4eb",   "sparc",    "sparc64",
        "unicore32",  "x86_64",       "xtensa",  "xtensaeb"};
    static const char *const others[][2] = {
        {"i386", "i686"},   {"i486", "i686"},    {"i586", "i686"},
        {"x86_32", "i686"}, {"x86_32p", "i686"}, {"amd64", "x86_64"}};
    AUTO_FREE name = xstrdup(text);

    for (char *c = name; *c; c++) {
        *c = (char)tolower((unsigned char)*c);
    }
    for (size_t i = 0; i < N_ELEMENTS(others); i++) {
        if (str_eq(name, others[i][0])) {
            return xstrdup(others[i][1]);
        }
    }
    return is_one_of(name, known, N_ELEMENTS(known)) ? steal(&name) : NULL;
}

static bool
is_one_of(const char *text, const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(text, texts[i])) {
            return true;
        }
    }
    return false;
}

/* Takes 'value', also where it says the same in other words. */
static void
set_same(struct object *node, const char *field, struct json *value)
{
    bool is_same = primitive_same(object_get(node, field), value);
    bool was_changed = object_is_changed(node, field);

    object_set(node, field, value);
    if (is_same && !was_changed) {
        object_clear_change(node, field);
    }
}

/* The same for a field that is the text of it; null is none. */
static void
set_text(struct object *node, const char *field, struct json *value)
{
    AUTO_JSON wanted = value;
    AUTO_JSON stored = NULL;
    const char *text = object_string(node, field);
    AUTO_ERROR error = text ? json_parse(text, strlen(text), &stored) : NULL;

    if (!wanted) {
        object_set_null(node, field);
    } else if (error || !primitive_same(stored, wanted)) {
        AUTO_FREE printed = json_print(wanted, NULL);
        object_set_string(node, field, printed);
    }
}
