#include <config.h>

#include "drivers/capabilities_xml.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/xml.h"

/* Far above what there is; what is larger is no CPU. */
#define CPU_MAX 65535

static void read_cpu(xmlNode *cpu, struct host_resources *r);
static int topology_number(const xmlNode *topology, const char *name);
static void read_cells(const xmlNode *host, struct host_resources *r);
static void read_cell(const xmlNode *node, struct host_cell *cell);
static void read_cell_cpus(const xmlNode *cpus, struct host_cell *cell);
static void add_siblings(struct host_cell *cell, const char *text);
static void add_kinds(const xmlNode *guest, struct host_resources *r);
static void add_machines(const xmlNode *guest, const char *virt_type,
                         const char *const *machines, struct machine_list *ret);
static void add_machine(struct machine_list *list, const char *arch,
                        const char *emulator, const char *name);
static char *usual_machine(const char *arch, const char *const *machines);
static bool has_elements(const xmlNode *node);
static void add_values(const xmlNode *node, const char *name,
                       struct text_set *ret);
static bool has_value(const xmlNode *node, const char *name, const char *value);
static void add_features(const xmlNode *cpu, struct text_set *ret);

void
machine_list_close(struct machine_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->machines[i].arch);
        free(list->machines[i].emulator);
        free(list->machines[i].name);
    }
    free(list->machines);
    *list = (struct machine_list){0};
}

struct error *
capabilities_xml_parse(const char *xml, size_t size, const char *virt_type,
                       const char *const *machines, struct host_resources *r,
                       struct machine_list *ret, char **ret_cpu_xml)
{
    AUTO_XML doc = NULL;
    struct error *error = xml_parse(xml, size, "capabilities", &doc);
    if (error) {
        return error;
    }

    const xmlNode *root = xmlDocGetRootElement(doc);
    const xmlNode *host = xml_child(root, "host");
    xmlNode *cpu = xml_child(host, "cpu");
    r->arch = xml_text(xml_child(cpu, "arch"));
    if (!r->arch) {
        return error_new(ERR_VALUE, "host cpu has no arch");
    }
    read_cpu(cpu, r);
    read_cells(host, r);
    xml_for_each (guest, root, "guest") {
        add_kinds(guest, r);
        add_machines(guest, virt_type, machines, ret);
    }
    if (ret_cpu_xml) {
        *ret_cpu_xml = r->cpu_model ? xml_format_node(doc, cpu) : NULL;
    }
    return NULL;
}

struct error *
capabilities_xml_add_machine(const char *xml, size_t size,
                             struct host_resources *r)
{
    AUTO_XML doc = NULL;
    struct error *error = xml_parse(xml, size, "domainCapabilities", &doc);
    if (error) {
        return error;
    }

    const xmlNode *root = xmlDocGetRootElement(doc);
    const xmlNode *loader = xml_child(xml_child(root, "os"), "loader");
    const xmlNode *sev = xml_child(xml_child(root, "features"), "sev");
    AUTO_FREE arch = xml_text(xml_child(root, "arch"));

    text_set_add(&r->guest_archs, arch);
    add_values(root, "bus", &r->disk_buses);
    add_values(root, "modelType", &r->video_models);
    r->has_sev |= xml_attr_is(sev, "supported", "yes");
    r->has_secure_boot |=
        str_eq(arch, r->arch) && has_value(loader, "secure", "yes");
    return NULL;
}

struct error *
capabilities_xml_add_features(const char *xml, size_t size,
                              struct text_set *ret)
{
    AUTO_XML doc = NULL;
    struct error *error = xml_parse(xml, size, "cpu", &doc);

    if (!error) {
        add_features(xmlDocGetRootElement(doc), ret);
    }
    return error;
}

static void
read_cpu(xmlNode *cpu, struct host_resources *r)
{
    const xmlNode *topology = xml_child(cpu, "topology");

    r->cpu_model = xml_text(xml_child(cpu, "model"));
    r->cpu_vendor = xml_text(xml_child(cpu, "vendor"));
    r->n_sockets = topology_number(topology, "sockets");
    r->n_cores = topology_number(topology, "cores");
    r->n_threads = topology_number(topology, "threads");
    add_features(cpu, &r->cpu_features);
}

static int
topology_number(const xmlNode *topology, const char *name)
{
    AUTO_FREE text = xml_attr(topology, name);
    int64_t n = xml_number(text, INT_MAX);

    return n > 0 ? (int)n : 1;
}

static void
read_cells(const xmlNode *host, struct host_resources *r)
{
    const xmlNode *cells = xml_child(xml_child(host, "topology"), "cells");

    xml_for_each (node, cells, "cell") {
        r->cells = xrealloc(r->cells, (r->n_cells + 1) * sizeof *r->cells);
        r->cells[r->n_cells] = (struct host_cell){0};
        read_cell(node, &r->cells[r->n_cells++]);
    }
}

/* libvirt writes KiB, of memory and pages. */
static void
read_cell(const xmlNode *node, struct host_cell *cell)
{
    AUTO_FREE id = xml_attr(node, "id");
    AUTO_FREE memory = xml_text(xml_child(node, "memory"));
    int64_t kib = xml_number(memory, INT64_MAX);

    cell->id = (int)xml_number(id, INT_MAX);
    cell->memory_kib = kib > 0 ? kib : 0;
    xml_for_each (pages, node, "pages") {
        AUTO_FREE size = xml_attr(pages, "size");
        AUTO_FREE total = xml_text(pages);
        struct host_pages told = {xml_number(size, INT_MAX),
                                  xml_number(total, INT64_MAX)};

        if (told.size_kib > 0 && told.total >= 0) {
            cell->pages = xrealloc(cell->pages,
                                   (cell->n_pages + 1) * sizeof *cell->pages);
            cell->pages[cell->n_pages++] = told;
        }
    }
    read_cell_cpus(xml_child(node, "cpus"), cell);
}

static void
read_cell_cpus(const xmlNode *cpus, struct host_cell *cell)
{
    bool is_first = true;

    xml_for_each (cpu, cpus, "cpu") {
        AUTO_FREE id = xml_attr(cpu, "id");
        AUTO_FREE socket = xml_attr(cpu, "socket_id");
        AUTO_FREE siblings = xml_attr(cpu, "siblings");
        int64_t number = xml_number(id, CPU_MAX);
        int of = (int)xml_number(socket, INT_MAX);

        if (number < 0) {
            continue;
        }
        cpu_set_add(&cell->cpus, (int)number);
        add_siblings(cell, siblings);
        cell->socket = is_first || cell->socket == of ? of : -1;
        is_first = false;
    }
}

/* Each CPU of a core names them all. */
static void
add_siblings(struct host_cell *cell, const char *text)
{
    CLEANUP(cpu_set_close) struct cpu_set set = {0};

    if (!text || !cpu_set_parse(text, CPU_MAX, &set) || !set.n) {
        return;
    }
    for (size_t i = 0; i < cell->n_siblings; i++) {
        if (cpu_set_has(&cell->siblings[i], set.cpus[0])) {
            return;
        }
    }
    cell->siblings = xrealloc(cell->siblings,
                              (cell->n_siblings + 1) * sizeof *cell->siblings);
    cell->siblings[cell->n_siblings++] = set;
    set = (struct cpu_set){0};
}

static void
add_kinds(const xmlNode *guest, struct host_resources *r)
{
    const xmlNode *arch = xml_child(guest, "arch");

    xml_for_each (domain, arch, "domain") {
        struct host_guest_kind kind = {
            .arch = xml_attr(arch, "name"),
            .hypervisor = xml_attr(domain, "type"),
            .mode = xml_text(xml_child(guest, "os_type")),
        };

        if (!kind.arch || !kind.hypervisor || !kind.mode) {
            free(kind.arch);
            free(kind.hypervisor);
            free(kind.mode);
            continue;
        }
        r->kinds = xrealloc(r->kinds, (r->n_kinds + 1) * sizeof *r->kinds);
        r->kinds[r->n_kinds++] = kind;
    }
}

/* What is said of a <domain> stands in it or, of the ordinary one, which is
 * empty, beside it. */
static void
add_machines(const xmlNode *guest, const char *virt_type,
             const char *const *machines, struct machine_list *ret)
{
    const xmlNode *arch = xml_child(guest, "arch");
    const xmlNode *holder = arch;
    AUTO_FREE name = xml_attr(arch, "name");

    if (!name) {
        return;
    }
    xml_for_each (domain, arch, "domain") {
        if (xml_attr_is(domain, "type", virt_type) && has_elements(domain)) {
            holder = domain;
        }
    }
    AUTO_FREE emulator = xml_text(xml_child(holder, "emulator"));
    AUTO_FREE usual = usual_machine(name, machines);
    add_machine(ret, name, emulator, usual);
    xml_for_each (node, holder, "machine") {
        AUTO_FREE machine = xml_text(node);
        if (machine && xml_has_attr(node, "canonical")) {
            add_machine(ret, name, emulator, machine);
        }
    }
}

static void
add_machine(struct machine_list *list, const char *arch, const char *emulator,
            const char *name)
{
    for (size_t i = 0; i < list->n; i++) {
        if (str_eq(list->machines[i].arch, arch) &&
            str_eq(list->machines[i].name, name)) {
            return;
        }
    }
    list->machines =
        xrealloc(list->machines, (list->n + 1) * sizeof *list->machines);
    list->machines[list->n++] = (struct machine){
        .arch = xstrdup(arch),
        .emulator = xstrdup_null(emulator),
        .name = xstrdup_null(name),
    };
}

/* What Nova gives to guests that name none; null: libvirt's choice. */
static char *
usual_machine(const char *arch, const char *const *machines)
{
    static const char *const usual[][2] = {
        {"armv7", "virt"},
        {"aarch64", "virt"},
        {"ppc64le", "pseries"},
        {"s390", "s390-ccw-virtio"},
        {"s390x", "s390-ccw-virtio"},
        {"i686", "pc"},
        {"x86_64", "pc"},
    };
    size_t size = strlen(arch);

    for (; machines && *machines; machines++) {
        if (strncmp(*machines, arch, size) == 0 && (*machines)[size] == '=') {
            return xstrdup(*machines + size + 1);
        }
    }
    for (size_t i = 0; i < N_ELEMENTS(usual); i++) {
        if (str_eq(usual[i][0], arch)) {
            return xstrdup(usual[i][1]);
        }
    }
    return NULL;
}

static bool
has_elements(const xmlNode *node)
{
    for (const xmlNode *child = node->children; child; child = child->next) {
        if (child->type == XML_ELEMENT_NODE) {
            return true;
        }
    }
    return false;
}

/* The values of all <enum>s of that name, however deep: a bus of any device is
 * taken for one of disks, as Nova does. */
static void
add_values(const xmlNode *node, const char *name, struct text_set *ret)
{
    for (const xmlNode *child = node->children; child; child = child->next) {
        if (child->type != XML_ELEMENT_NODE) {
            continue;
        }
        if (strcmp((const char *)child->name, "enum") == 0 &&
            xml_attr_is(child, "name", name)) {
            xml_for_each (value, child, "value") {
                AUTO_FREE text = xml_text(value);
                text_set_add(ret, text);
            }
        } else {
            add_values(child, name, ret);
        }
    }
}

static bool
has_value(const xmlNode *node, const char *name, const char *value)
{
    CLEANUP(text_set_close) struct text_set values = {0};

    if (node) {
        add_values(node, name, &values);
    }
    return text_set_has(&values, value);
}

static void
add_features(const xmlNode *cpu, struct text_set *ret)
{
    xml_for_each (feature, cpu, "feature") {
        AUTO_FREE name = xml_attr(feature, "name");
        if (!xml_attr_is(feature, "policy", "disable")) {
            text_set_add(ret, name);
        }
    }
}
