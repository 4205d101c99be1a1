#include <config.h>

#include "drivers/libvirt_internal.h"

#include <libvirt/virterror.h>
#include <string.h>

#include "drivers/xml.h"

/* What libvirt counts of a running guest.  What this hypervisor, or a device,
 * has no counters of is left out. */

/* In the words of libvirt's bindings. */
static const char *const memory_names[] = {
    [VIR_DOMAIN_MEMORY_STAT_SWAP_IN] = "swap_in",
    [VIR_DOMAIN_MEMORY_STAT_SWAP_OUT] = "swap_out",
    [VIR_DOMAIN_MEMORY_STAT_MAJOR_FAULT] = "major_fault",
    [VIR_DOMAIN_MEMORY_STAT_MINOR_FAULT] = "minor_fault",
    [VIR_DOMAIN_MEMORY_STAT_UNUSED] = "unused",
    [VIR_DOMAIN_MEMORY_STAT_AVAILABLE] = "available",
    [VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON] = "actual",
    [VIR_DOMAIN_MEMORY_STAT_RSS] = "rss",
    [VIR_DOMAIN_MEMORY_STAT_USABLE] = "usable",
    [VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE] = "last_update",
    [VIR_DOMAIN_MEMORY_STAT_DISK_CACHES] = "disk_caches",
    [VIR_DOMAIN_MEMORY_STAT_HUGETLB_PGALLOC] = "hugetlb_pgalloc",
    [VIR_DOMAIN_MEMORY_STAT_HUGETLB_PGFAIL] = "hugetlb_pgfail",
};

static void
read_cpus(virDomainPtr domain, int n, struct guest_counters *counters)
{
    AUTO_FREE cpus_ = n > 0 ? xzalloc((size_t)n * sizeof(virVcpuInfo)) : NULL;
    virVcpuInfoPtr cpus = (void *)cpus_;

    n = n > 0 ? virDomainGetVcpus(domain, cpus, n, NULL, 0) : 0;
    for (int i = 0; i < n; i++) {
        struct cpu_counters *cpu = guest_counters_add_cpu(counters);
        cpu->id = (int)cpus[i].number;
        cpu->time_ns = (int64_t)cpus[i].cpuTime;
    }
}

static void
read_disks(virDomainPtr domain, const xmlNode *devices,
           struct guest_counters *counters)
{
    xml_for_each (node, devices, "disk") {
        AUTO_FREE target = xml_attr(xml_child(node, "target"), "dev");
        virDomainBlockStatsStruct stats;

        if (target &&
            virDomainBlockStats(domain, target, &stats, sizeof stats) == 0) {
            struct disk_counters *disk = guest_counters_add_disk(counters);
            disk->target = steal(&target);
            disk->n_reads = stats.rd_req;
            disk->read_bytes = stats.rd_bytes;
            disk->n_writes = stats.wr_req;
            disk->written_bytes = stats.wr_bytes;
            disk->n_errors = stats.errs;
        }
    }
}

static void
read_nic(virDomainPtr domain, const xmlNode *node,
         struct guest_counters *counters)
{
    AUTO_FREE device = xml_attr(xml_child(node, "target"), "dev");
    virDomainInterfaceStatsStruct stats;

    if (device &&
        virDomainInterfaceStats(domain, device, &stats, sizeof stats) < 0) {
        return;
    }
    struct nic_counters *nic = guest_counters_add_nic(counters);
    nic->mac = xml_attr(xml_child(node, "mac"), "address");
    nic->device = steal(&device);
    if (nic->device) {
        nic->rx_bytes = stats.rx_bytes;
        nic->rx_packets = stats.rx_packets;
        nic->rx_errors = stats.rx_errs;
        nic->rx_drops = stats.rx_drop;
        nic->tx_bytes = stats.tx_bytes;
        nic->tx_packets = stats.tx_packets;
        nic->tx_errors = stats.tx_errs;
        nic->tx_drops = stats.tx_drop;
    }
}

static void
read_memory(virDomainPtr domain, struct guest_counters *counters)
{
    virDomainMemoryStatStruct stats[VIR_DOMAIN_MEMORY_STAT_NR];
    int n = virDomainMemoryStats(domain, stats, VIR_DOMAIN_MEMORY_STAT_NR, 0);

    for (int i = 0; i < n; i++) {
        size_t tag = (size_t)stats[i].tag;

        if (tag < N_ELEMENTS(memory_names)) { /* Others are newer than us. */
            guest_counters_add_memory(counters, memory_names[tag],
                                      (int64_t)stats[i].val);
        }
    }
}

struct error *
libvirt_guest_counters(void *state, const char *uuid,
                       struct guest_counters **ret)
{
    CLEANUP(guest_counters_free_at)
    struct guest_counters *counters = xzalloc(sizeof *counters);
    AUTO_DOMAIN domain = NULL;
    AUTO_XML doc = NULL;
    virDomainInfo info;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error && virDomainGetInfo(domain, &info) < 0) {
        error = libvirt_error(ERR_INTERNAL, uuid);
    }
    AUTO_FREE xml = error ? NULL : virDomainGetXMLDesc(domain, 0);
    if (!error && !xml) {
        error = libvirt_error(ERR_INTERNAL, uuid);
    }
    if (!error) {
        error = xml_parse(xml, strlen(xml), "domain", &doc);
    }
    if (error) {
        return error_wrap(error, "count what '%s' does", uuid);
    }
    const xmlNode *devices = xml_child(xmlDocGetRootElement(doc), "devices");
    counters->memory_max_kib = (int64_t)info.maxMem;
    counters->memory_kib = (int64_t)info.memory;
    read_cpus(domain, info.nrVirtCpu, counters);
    read_disks(domain, devices, counters);
    xml_for_each (interface, devices, "interface") {
        read_nic(domain, interface, counters);
    }
    read_memory(domain, counters);
    *ret = steal(&counters);
    return NULL;
}
