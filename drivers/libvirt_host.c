#include <config.h>

#include "drivers/libvirt_internal.h"

#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <utmp.h>

#include "agent/base/log.h"
#include "drivers/disk.h"
#include "drivers/domain_xml.h"

LOG_MODULE(libvirt_host);

static struct error *read_versions(virConnectPtr connection,
                                   struct host_info *info);
static struct error *read_node(virConnectPtr connection,
                               struct host_info *info);
static struct error *read_capabilities(virConnectPtr connection,
                                       struct host_info *info);
static void read_free_hugepages(virConnectPtr connection,
                                struct host_info *info);
static void read_loaders(virConnectPtr connection, struct host_info *info);
static struct error *read_storage(struct libvirt *state,
                                  struct host_info *info);
static unsigned count_users(void);
static char *format_up(long up_s);

struct error *
libvirt_host_get(void *state_, struct host_info **ret)
{
    struct libvirt *state = state_;
    AUTO_CONNECTION connection = NULL;
    CLEANUP(host_info_free_at)
    struct host_info *info = xzalloc(sizeof *info);

    struct error *error = libvirt_connection_get(state, &connection);
    if (!error) {
        error = read_versions(connection, info);
    }
    if (!error) {
        error = read_node(connection, info);
    }
    if (!error) {
        error = read_capabilities(connection, info);
    }
    if (!error) {
        error = read_storage(state, info);
    }
    if (!error) {
        *ret = steal(&info);
    }
    return error_wrap(error, "ask the hypervisor about its host");
}

struct error *
libvirt_host_uptime(void *state UNUSED, char **ret)
{
    double up_s = 0, load[3] = {0, 0, 0};
    time_t now = time(NULL);
    struct tm local;

    FILE *file = fopen("/proc/uptime", "re");
    bool is_known = file && fscanf(file, "%lf", &up_s) == 1;
    if (file) {
        fclose(file);
    }
    if (!is_known || getloadavg(load, 3) != 3 || !localtime_r(&now, &local)) {
        return error_new(ERR_INTERNAL, "the host's uptime is not known");
    }

    unsigned n_users = count_users();
    AUTO_FREE up = format_up((long)up_s);
    *ret = xasprintf(" %02d:%02d:%02d up %s, %2u user%s,  load average: "
                     "%.2f, %.2f, %.2f",
                     local.tm_hour, local.tm_min, local.tm_sec, up, n_users,
                     n_users > 1 ? "s" : "", load[0], load[1], load[2]);
    return NULL;
}

struct error *
libvirt_host_compare_cpu(void *state_, const char *cpu_xml)
{
    struct libvirt *state = state_;
    AUTO_CONNECTION connection = NULL;

    if (!cpu_xml) {
        return NULL;
    }
    struct error *error = libvirt_connection_get(state, &connection);
    if (error) {
        return error;
    }
    if (virConnectCompareCPU(connection, cpu_xml,
                             VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE) > 0) {
        return NULL;
    }
    if (virGetLastErrorCode() == VIR_ERR_NO_SUPPORT) {
        log_debug(NULL, "this hypervisor can't compare cpus");
        return NULL;
    }

    AUTO_ERROR reason = libvirt_error(ERR_INVALID_CPU_INFO, NULL);
    if (error_code(reason) == ERR_HYPERVISOR_UNAVAILABLE) {
        return steal(&reason);
    }
    return error_new(ERR_INVALID_CPU_INFO, "%s", error_message(reason));
}

int64_t
libvirt_host_free_memory_kib(virConnectPtr connection)
{
    static const char *const fields[] = {
        VIR_NODE_MEMORY_STATS_FREE,
        VIR_NODE_MEMORY_STATS_BUFFERS,
        VIR_NODE_MEMORY_STATS_CACHED,
    };
    virNodeMemoryStats stats[16];
    int n = N_ELEMENTS(stats);
    int64_t sum = 0;

    if (virNodeGetMemoryStats(connection, VIR_NODE_MEMORY_STATS_ALL_CELLS, NULL,
                              &n, 0) < 0 ||
        n > (int)N_ELEMENTS(stats) ||
        virNodeGetMemoryStats(connection, VIR_NODE_MEMORY_STATS_ALL_CELLS,
                              stats, &n, 0) < 0) {
        return (int64_t)(virNodeGetFreeMemory(connection) >> 10);
    }
    for (int i = 0; i < n; i++) {
        for (size_t j = 0; j < N_ELEMENTS(fields); j++) {
            if (str_eq(stats[i].field, fields[j])) {
                sum += (int64_t)stats[i].value;
            }
        }
    }
    return sum;
}

static struct error *
read_versions(virConnectPtr connection, struct host_info *info)
{
    unsigned long hypervisor, library;
    const char *type = virConnectGetType(connection);

    if (!type || virConnectGetVersion(connection, &hypervisor) < 0 ||
        virConnectGetLibVersion(connection, &library) < 0) {
        return libvirt_error(ERR_INTERNAL, NULL);
    }
    char *hostname = virConnectGetHostname(connection);
    if (!hostname) {
        return libvirt_error(ERR_INTERNAL, NULL);
    }
    info->hostname = hostname; /* From malloc(), as ours. */
    info->hypervisor_type = xstrdup(type);
    info->hypervisor_version = (int64_t)hypervisor;
    info->libvirt_version = (int64_t)library;
    return NULL;
}

static struct error *
read_node(virConnectPtr connection, struct host_info *info)
{
    virNodeInfo node;
    int n_active = virConnectNumOfDomains(connection);

    if (n_active < 0 || virNodeGetInfo(connection, &node) < 0) {
        return libvirt_error(ERR_INTERNAL, NULL);
    }
    info->n_guests_active = n_active;
    info->n_cpus = (int)node.cpus;
    info->memory_mb = (int64_t)(node.memory >> 10);
    info->memory_free_mb = libvirt_host_free_memory_kib(connection) >> 10;
    return NULL;
}

static struct error *
read_capabilities(virConnectPtr connection, struct host_info *info)
{
    AUTO_FREE xml = virConnectGetCapabilities(connection);
    struct error *error = xml ? domain_xml_parse_host(xml, strlen(xml), info)
                              : libvirt_error(ERR_INTERNAL, NULL);

    if (!error) {
        read_free_hugepages(connection, info);
        read_loaders(connection, info);
    }
    return error;
}

/* What can't be counted is not free. */
static void
read_free_hugepages(virConnectPtr connection, struct host_info *info)
{
    for (size_t i = 0; i < info->n_hugepages; i++) {
        struct host_hugepages *pages = &info->hugepages[i];
        unsigned size = (unsigned)pages->size_kib;

        for (int node = 0; node < info->n_nodes; node++) {
            unsigned long long n = 0;
            if (virNodeGetFreePages(connection, 1, &size, node, 1, &n, 0) > 0) {
                pages->n_free += (int64_t)n;
            }
        }
    }
}

/* Which firmware fits depends on the machine; a hypervisor that does not tell
 * is not asked again. */
static void
read_loaders(virConnectPtr connection, struct host_info *info)
{
    static const char *const machines[] = {"q35", "pc"};
    bool is_x86 = str_eq(info->arch, "x86_64");

    for (size_t i = 0; i < (is_x86 ? N_ELEMENTS(machines) : 1); i++) {
        AUTO_FREE xml = virConnectGetDomainCapabilities(
            connection, NULL, info->arch, is_x86 ? machines[i] : NULL, NULL, 0);
        AUTO_ERROR error =
            xml ? domain_xml_parse_loaders(xml, strlen(xml), info)
                : libvirt_error(ERR_INTERNAL, NULL);
        if (error) {
            log_debug(NULL, "which firmware there is is not told: %s",
                      error_message(error));
        }
    }
}

/* Nova's "disk_available_least": what would be left if every disk grew to the
 * size that its guest sees; below zero if that can't be. */
static struct error *
read_storage(struct libvirt *state, struct host_info *info)
{
    CLEANUP(guest_list_free_at) struct guest_list *list = NULL;
    int64_t owed = 0;

    struct error *error =
        disk_space(state->store, &info->disk_total_gb, &info->disk_free_gb);
    if (!error) {
        error = libvirt_guest_list(state, &list);
    }
    if (error) {
        return error;
    }
    for (size_t i = 0; i < list->n; i++) {
        const struct guest *guest = list->guests[i];
        for (size_t j = 0; j < guest->n_disks; j++) {
            const struct guest_disk *disk = &guest->disks[j];
            int64_t growth = disk->virtual_size - disk->allocated_size;
            if (disk->path && !disk->is_block_device && growth > 0) {
                owed += growth;
            }
        }
    }
    info->disk_available_least_gb = info->disk_free_gb - (owed >> 30);
    return NULL;
}

static unsigned
count_users(void)
{
    struct utmp buffer, *entry;
    unsigned n = 0;

    setutent();
    while (getutent_r(&buffer, &entry) == 0) {
        n += entry->ut_type == USER_PROCESS && entry->ut_user[0] != '\0';
    }
    endutent();
    return n;
}

/* "3 days,  4:05", "1 day, 7 min", "12 min" */
static char *
format_up(long up_s)
{
    long days = up_s / 86400, hours = up_s / 3600 % 24,
         minutes = up_s / 60 % 60;
    AUTO_FREE prefix =
        days ? xasprintf("%ld day%s, ", days, days == 1 ? "" : "s")
             : xstrdup("");

    return hours ? xasprintf("%s%2ld:%02ld", prefix, hours, minutes)
                 : xasprintf("%s%ld min", prefix, minutes);
}
