#include <config.h>

#include "drivers/domain_xml.h"

#include <ctype.h>
#include <limits.h>
#include <string.h>

#include "drivers/driver.h"
#include "drivers/xml.h"

#define NOVA_NAMESPACE "http://openstack.org/xmlns/libvirt/nova/"

static bool is_uuid(const char *text);
static char *parse_title(const xmlNode *domain);
static int parse_memory_mb(const xmlNode *domain);
static int parse_vcpus(const xmlNode *domain);
static void parse_disks(const xmlNode *devices, struct guest *guest);
static void parse_links(const xmlNode *devices, struct guest *guest);
static void parse_disk(const xmlNode *disk, struct guest_disk *ret);
static char *source_path(const xmlNode *holder, bool *ret_is_block);
static int count_tcp_serial(const xmlNode *devices);
static char *console_path(const xmlNode *devices);
static bool has_emulated_tpm(const xmlNode *devices);
static char *named_cpu(xmlDoc *doc, const xmlNode *domain);
static int last_pinned_cpu(const xmlNode *domain);
static int last_node(const xmlNode *domain);
static int last_of_set(const xmlNode *node, const char *attribute, int last);
static int64_t hugepage_kib(const xmlNode *domain);
static void parse_cells(const xmlNode *host, struct host_info *info);
static void add_hugepages(const xmlNode *pages, struct host_info *info);
static int64_t page_kib(const xmlNode *page);
static bool has_loader(const struct host_info *info, const char *path);
static int topology_number(const xmlNode *topology, const char *name);

struct error *
domain_xml_parse(const char *xml, size_t size, struct guest **ret)
{
    AUTO_XML doc = NULL;
    struct error *error = xml_parse(xml, size, "domain", &doc);
    if (error) {
        return error;
    }

    const xmlNode *domain = xmlDocGetRootElement(doc);
    const xmlNode *devices = xml_child(domain, "devices");
    CLEANUP(guest_free_at) struct guest *guest = xzalloc(sizeof *guest);

    guest->uuid = xml_text(xml_child(domain, "uuid"));
    guest->name = xml_text(xml_child(domain, "name"));
    if (!guest->uuid || !is_uuid(guest->uuid)) {
        return error_new(ERR_VALUE, "domain has no uuid");
    }
    if (!guest->name) {
        return error_new(ERR_VALUE, "domain '%s' has no name", guest->uuid);
    }
    guest->title = parse_title(domain);
    guest->memory_mb = parse_memory_mb(domain);
    guest->n_vcpus = parse_vcpus(domain);
    if (guest->memory_mb < 0 || guest->n_vcpus < 0) {
        return error_new(ERR_VALUE, "memory or vcpu of '%s' is no size",
                         guest->uuid);
    }
    guest->has_nvram = xml_child(xml_child(domain, "os"), "nvram");
    guest->n_serial_tcp = count_tcp_serial(devices);
    guest->console_path = console_path(devices);
    guest->loader = xml_text(xml_child(xml_child(domain, "os"), "loader"));
    guest->nvram_path = xml_text(xml_child(xml_child(domain, "os"), "nvram"));
    guest->has_tpm_state = has_emulated_tpm(devices);
    guest->ties = domain_ties(domain);
    guest->cpu_xml = named_cpu(doc, domain);
    guest->last_cpu = last_pinned_cpu(domain);
    guest->last_node = last_node(domain);
    guest->hugepage_kib = hugepage_kib(domain);
    parse_disks(devices, guest);
    parse_links(devices, guest);

    *ret = steal(&guest);
    return NULL;
}

struct error *
domain_xml_parse_host(const char *xml, size_t size, struct host_info *info)
{
    AUTO_XML doc = NULL;
    struct error *error = xml_parse(xml, size, "capabilities", &doc);
    if (error) {
        return error;
    }

    const xmlNode *host = xml_child(xmlDocGetRootElement(doc), "host");
    xmlNode *cpu = xml_child(host, "cpu");
    if (!cpu) {
        return error_new(ERR_VALUE, "capabilities have no host cpu");
    }
    const xmlNode *topology = xml_child(cpu, "topology");

    info->arch = xml_text(xml_child(cpu, "arch"));
    if (!info->arch) {
        return error_new(ERR_VALUE, "host cpu has no arch");
    }
    info->cpu_model = xml_text(xml_child(cpu, "model"));
    info->cpu_vendor = xml_text(xml_child(cpu, "vendor"));
    info->cpu_xml = info->cpu_model ? xml_format_node(doc, cpu) : NULL;
    info->n_sockets = topology_number(topology, "sockets");
    info->n_cores = topology_number(topology, "cores");
    info->n_threads = topology_number(topology, "threads");
    parse_cells(host, info);
    return NULL;
}

struct error *
domain_xml_parse_loaders(const char *xml, size_t size, struct host_info *info)
{
    AUTO_XML doc = NULL;
    struct error *error = xml_parse(xml, size, "domainCapabilities", &doc);
    if (error) {
        return error;
    }

    const xmlNode *os = xml_child(xmlDocGetRootElement(doc), "os");
    xml_for_each (value, xml_child(os, "loader"), "value") {
        AUTO_FREE path = xml_text(value);
        if (path && !has_loader(info, path)) {
            info->loaders = xrealloc(info->loaders, (info->n_loaders + 1) *
                                                        sizeof *info->loaders);
            info->loaders[info->n_loaders++] = steal(&path);
        }
    }
    return NULL;
}

static bool
is_uuid(const char *text)
{
    size_t i = 0;

    for (; text[i]; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (i >= 36 ||
            (is_dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))) {
            return false;
        }
    }
    return i == 36;
}

static char *
parse_title(const xmlNode *domain)
{
    char *title = xml_text(xml_child(domain, "title"));
    const xmlNode *nova = xml_child(xml_child(domain, "metadata"), "instance");

    if (!title && nova && nova->ns && nova->ns->href &&
        strncmp((const char *)nova->ns->href, NOVA_NAMESPACE,
                strlen(NOVA_NAMESPACE)) == 0) {
        title = xml_text(xml_child(nova, "name"));
    }
    return title;
}

/* libvirt writes KiB, but takes and may one day write others. */
static int
parse_memory_mb(const xmlNode *domain)
{
    static const struct {
        const char *name;
        int64_t bytes;
    } units[] = {
        {"KiB", 1 << 10}, {"k", 1 << 10},   {"b", 1},
        {"bytes", 1},     {"KB", 1000},     {"MB", 1000000},
        {"M", 1 << 20},   {"MiB", 1 << 20}, {"GB", 1000000000},
        {"G", 1 << 30},   {"GiB", 1 << 30}, {"TiB", INT64_C(1) << 40},
    };
    const xmlNode *memory = xml_child(domain, "memory");
    AUTO_FREE text = xml_text(memory);
    AUTO_FREE unit = xml_attr(memory, "unit");

    for (size_t i = 0; i < N_ELEMENTS(units); i++) {
        if (str_eq(unit ? unit : "KiB", units[i].name)) {
            int64_t n = xml_number(text, INT64_MAX / units[i].bytes);
            int64_t mb = n < 0 ? -1 : n * units[i].bytes >> 20;
            return mb > INT_MAX ? -1 : (int)mb;
        }
    }
    return -1;
}

static int
parse_vcpus(const xmlNode *domain)
{
    const xmlNode *vcpu = xml_child(domain, "vcpu");
    AUTO_FREE most = xml_text(vcpu);
    AUTO_FREE current = xml_attr(vcpu, "current");

    return (int)xml_number(current ? current : most, INT_MAX);
}

static void
parse_disks(const xmlNode *devices, struct guest *guest)
{
    size_t n_room = 0;

    xml_for_each (disk, devices, "disk") {
        if (guest->n_disks == n_room) {
            guest->disks = xgrow(guest->disks, &n_room, sizeof *guest->disks);
        }
        struct guest_disk *ret = &guest->disks[guest->n_disks++];
        *ret = (struct guest_disk){NULL};
        parse_disk(disk, ret);
    }
}

static bool
has_link(const struct guest *guest, const char *name)
{
    for (size_t i = 0; i < guest->n_links; i++) {
        if (str_eq(guest->links[i], name)) {
            return true;
        }
    }
    return false;
}

/* A network of libvirt's own finds its bridge by itself. */
static void
parse_links(const xmlNode *devices, struct guest *guest)
{
    xml_for_each (interface, devices, "interface") {
        const xmlNode *source = xml_child(interface, "source");
        AUTO_FREE name = xml_attr_is(interface, "type", "bridge")
                             ? xml_attr(source, "bridge")
                         : xml_attr_is(interface, "type", "direct")
                             ? xml_attr(source, "dev")
                             : NULL;

        if (name && !has_link(guest, name)) {
            guest->links = xrealloc(guest->links, (guest->n_links + 1) *
                                                      sizeof *guest->links);
            guest->links[guest->n_links++] = steal(&name);
        }
    }
}

static void
parse_disk(const xmlNode *disk, struct guest_disk *ret)
{
    const xmlNode *backing = xml_child(disk, "backingStore");
    bool backing_is_block;

    ret->target = xml_attr(xml_child(disk, "target"), "dev");
    if (!ret->target) {
        ret->target = xstrdup("");
    }
    ret->device = xml_attr(disk, "device");
    if (!ret->device) {
        ret->device = xstrdup("disk");
    }
    ret->format = xml_attr(xml_child(disk, "driver"), "type");
    if (!ret->format) {
        ret->format = xstrdup("raw");
    }
    ret->path = source_path(disk, &ret->is_block_device);
    ret->serial = xml_text(xml_child(disk, "serial"));
    ret->readonly = xml_child(disk, "readonly");
    ret->shareable = xml_child(disk, "shareable");

    ret->backing_path = source_path(backing, &backing_is_block);
    if (ret->backing_path) {
        ret->backing_format = xml_attr(xml_child(backing, "format"), "type");
    }
}

/* Of a <disk> or a <backingStore>; null unless its type says that it is local:
 * a network disk may have attributes of the same names. */
static char *
source_path(const xmlNode *holder, bool *ret_is_block)
{
    const xmlNode *source = xml_child(holder, "source");

    *ret_is_block = xml_attr_is(holder, "type", "block");
    if (*ret_is_block) {
        return xml_attr(source, "dev");
    }
    return xml_attr_is(holder, "type", "file") ? xml_attr(source, "file")
                                               : NULL;
}

static int
count_tcp_serial(const xmlNode *devices)
{
    static const char *const names[] = {"serial", "console"};
    int n = 0;

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        xml_for_each (node, devices, names[i]) {
            AUTO_FREE port = xml_attr(xml_child(node, "target"), "port");
            int64_t number = xml_number(port, INT16_MAX);

            if (xml_attr_is(node, "type", "tcp") && number >= n) {
                n = (int)number + 1;
            }
        }
    }
    return n;
}

/* What its first serial port, or console, writes to a file; a port of another
 * kind may have what it says logged in one. */
static char *
console_path(const xmlNode *devices)
{
    static const char *const names[] = {"serial", "console"};

    for (size_t i = 0; i < N_ELEMENTS(names); i++) {
        xml_for_each (node, devices, names[i]) {
            char *path = xml_attr_is(node, "type", "file")
                             ? xml_attr(xml_child(node, "source"), "path")
                             : xml_attr(xml_child(node, "log"), "file");
            if (path) {
                return path;
            }
        }
    }
    return NULL;
}

static bool
has_emulated_tpm(const xmlNode *devices)
{
    xml_for_each (tpm, devices, "tpm") {
        if (xml_attr_is(xml_child(tpm, "backend"), "type", "emulator")) {
            return true;
        }
    }
    return false;
}

/* The hypervisor replaces "like my host" by what that came to; a CPU that is
 * just passed through has no name. */
static char *
named_cpu(xmlDoc *doc, const xmlNode *domain)
{
    xmlNode *cpu = xml_child(domain, "cpu");

    return xml_attr_is(cpu, "mode", "custom") && xml_child(cpu, "model")
               ? xml_format_node(doc, cpu)
               : NULL;
}

/* Of vCPUs, emulator and I/O threads. */
static int
last_pinned_cpu(const xmlNode *domain)
{
    static const char *const pins[] = {"vcpupin", "emulatorpin", "iothreadpin"};
    const xmlNode *tune = xml_child(domain, "cputune");
    int last = last_of_set(xml_child(domain, "vcpu"), "cpuset", -1);

    for (size_t i = 0; i < N_ELEMENTS(pins); i++) {
        xml_for_each (pin, tune, pins[i]) {
            last = last_of_set(pin, "cpuset", last);
        }
    }
    return last;
}

static int
last_node(const xmlNode *domain)
{
    const xmlNode *tune = xml_child(domain, "numatune");
    int last = last_of_set(xml_child(tune, "memory"), "nodeset", -1);

    xml_for_each (cell, tune, "memnode") {
        last = last_of_set(cell, "nodeset", last);
    }
    return last;
}

/* The highest number of a set like "0-3,^2,8", if it is higher than 'last'. */
static int
last_of_set(const xmlNode *node, const char *attribute, int last)
{
    AUTO_FREE set = xml_attr(node, attribute);

    for (char *at = set, *word; at && (word = strsep(&at, ",-"));) {
        int n = (int)xml_number(word, INT_MAX); /* -1 for what is left out. */
        last = n > last ? n : last;
    }
    return last;
}

/* Of several sizes the first: each guest node has its own. */
static int64_t
hugepage_kib(const xmlNode *domain)
{
    const xmlNode *huge =
        xml_child(xml_child(domain, "memoryBacking"), "hugepages");
    const xmlNode *page = xml_child(huge, "page");

    if (!huge) {
        return 0;
    }
    return page ? page_kib(page) : -1;
}

static void
parse_cells(const xmlNode *host, struct host_info *info)
{
    const xmlNode *cells = xml_child(xml_child(host, "topology"), "cells");

    xml_for_each (cell, cells, "cell") {
        info->n_nodes++;
        xml_for_each (pages, cell, "pages") {
            add_hugepages(pages, info);
        }
    }
}

/* The smallest size is that of ordinary pages, and comes first. */
static void
add_hugepages(const xmlNode *pages, struct host_info *info)
{
    int64_t size_kib = page_kib(pages);
    bool is_known = size_kib < 64;

    for (size_t i = 0; i < info->n_hugepages; i++) {
        is_known |= info->hugepages[i].size_kib == size_kib;
    }
    if (!is_known) {
        info->hugepages = xrealloc(
            info->hugepages, (info->n_hugepages + 1) * sizeof *info->hugepages);
        info->hugepages[info->n_hugepages++] =
            (struct host_hugepages){.size_kib = size_kib};
    }
}

/* libvirt writes KiB.  What is no size is the default one. */
static int64_t
page_kib(const xmlNode *page)
{
    static const struct {
        const char *name;
        int64_t kib;
    } units[] = {{"KiB", 1},       {"k", 1},       {"M", 1 << 10},
                 {"MiB", 1 << 10}, {"G", 1 << 20}, {"GiB", 1 << 20}};
    AUTO_FREE size = xml_attr(page, "size");
    AUTO_FREE unit = xml_attr(page, "unit");

    for (size_t i = 0; i < N_ELEMENTS(units); i++) {
        if (str_eq(unit ? unit : "KiB", units[i].name)) {
            int64_t n = xml_number(size, INT_MAX);
            return n > 0 ? n * units[i].kib : -1;
        }
    }
    return -1;
}

static bool
has_loader(const struct host_info *info, const char *path)
{
    for (size_t i = 0; i < info->n_loaders; i++) {
        if (str_eq(info->loaders[i], path)) {
            return true;
        }
    }
    return false;
}

static int
topology_number(const xmlNode *topology, const char *name)
{
    AUTO_FREE text = xml_attr(topology, name);
    int64_t n = xml_number(text, INT_MAX);

    return n > 0 ? (int)n : 1;
}
