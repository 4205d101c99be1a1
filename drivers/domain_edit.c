#include <config.h>

#include "drivers/domain_edit.h"

#include <stdint.h>

#include "drivers/driver.h"
#include "drivers/xml.h"

static void edit_graphics(xmlNode *devices, const char *type,
                          const char *listen);
static void edit_consoles(xmlNode *devices, const char *name,
                          const struct migrate_request *request);
static void edit_memory_backing(xmlNode *domain, bool is_file_backed);
static void remove_cpu_shares(xmlNode *domain);

struct error *
domain_edit_for_destination(const char *xml, size_t size,
                            const struct migrate_request *request, char **ret)
{
    AUTO_XML doc = NULL;
    struct error *error = xml_parse(xml, size, "domain", &doc);
    if (error) {
        return error;
    }

    xmlNode *domain = xmlDocGetRootElement(doc);
    xmlNode *devices = xml_child(domain, "devices");

    edit_graphics(devices, "vnc", request->vnc_listen);
    edit_graphics(devices, "spice", request->spice_listen);
    edit_consoles(devices, "serial", request);
    edit_consoles(devices, "console", request);
    /* Which events the destination's CPU can count is not known. */
    xml_remove_children(domain, "perf");
    edit_memory_backing(domain, request->file_backed_memory);
    if (request->remove_cpu_shares) {
        remove_cpu_shares(domain);
    }
    domain_edit_pins(domain, &request->pins);
    error = domain_edit_volumes(devices, &request->volumes);
    if (!error) {
        error = domain_edit_vifs(devices, &request->vifs);
    }
    if (error) {
        return error;
    }

    *ret = xml_format(doc);
    return NULL;
}

char *
domain_edit_redact(const char *xml, size_t size)
{
    AUTO_XML doc = NULL;
    AUTO_ERROR error = xml_parse(xml, size, "domain", &doc);
    if (error) {
        return xstrdup("");
    }

    xmlNode *domain = xmlDocGetRootElement(doc);
    xml_for_each (graphics, xml_child(domain, "devices"), "graphics") {
        if (xml_has_attr(graphics, "passwd")) {
            xml_set_attr(graphics, "passwd", "***");
        }
    }
    return xml_format(doc);
}

/* The listen address stands in one place or in two that must agree. */
static void
edit_graphics(xmlNode *devices, const char *type, const char *listen)
{
    if (!listen) {
        return;
    }
    xml_for_each (graphics, devices, "graphics") {
        if (!xml_attr_is(graphics, "type", type)) {
            continue;
        }
        if (xml_has_attr(graphics, "listen")) {
            xml_set_attr(graphics, "listen", listen);
        }
        xmlNode *child = xml_child(graphics, "listen");
        if (xml_has_attr(child, "address")) {
            xml_set_attr(child, "address", listen);
        }
    }
}

static void
edit_consoles(xmlNode *devices, const char *name,
              const struct migrate_request *request)
{
    xml_for_each (node, devices, name) {
        xmlNode *source = xml_child(node, "source");
        if (!source || !xml_attr_is(node, "type", "tcp")) {
            continue;
        }
        if (request->serial_listen && xml_has_attr(source, "host")) {
            xml_set_attr(source, "host", request->serial_listen);
        }

        AUTO_FREE port = xml_attr(xml_child(node, "target"), "port");
        int64_t n = xml_number(port, INT32_MAX);
        if (n >= 0 && (uint64_t)n < request->n_serial_ports) {
            AUTO_FREE service = xasprintf("%d", request->serial_ports[n]);
            xml_set_attr(source, "service", service);
        }
    }
}

static void
edit_memory_backing(xmlNode *domain, bool is_file_backed)
{
    xmlNode *backing = xml_child(domain, "memoryBacking");

    xml_remove_children(backing, "access");
    xml_remove_children(backing, "source");
    xml_remove_children(backing, "allocation");
    xml_remove_children(backing, "discard");
    if (!is_file_backed) {
        return;
    }
    if (!backing) {
        backing = xml_add_child(domain, "memoryBacking");
    }
    xml_set_attr(xml_add_child(backing, "source"), "type", "file");
    xml_set_attr(xml_add_child(backing, "access"), "mode", "shared");
    xml_set_attr(xml_add_child(backing, "allocation"), "mode", "immediate");
    xml_add_child(backing, "discard");
}

/* Hosts with control groups v2 refuse the old default of 1024 a vCPU. */
static void
remove_cpu_shares(xmlNode *domain)
{
    xmlNode *cputune = xml_child(domain, "cputune");

    xml_remove_children(cputune, "shares");
    if (cputune && !xmlFirstElementChild(cputune)) {
        xml_remove(cputune);
    }
}
