#ifndef DROVER_DRIVERS_CAPABILITIES_XML_H
#define DROVER_DRIVERS_CAPABILITIES_XML_H

/* What libvirt says of a host and of the machines that guests can have there.
 *
 * Pure: no I/O, no hypervisor.  The input is whatever a hypervisor sent and
 * may be anything at all; it has 'size' bytes.
 *
 * Threads: any. */

#include <stddef.h>

#include "agent/base/error.h"
#include "drivers/host_resources.h"

/* Machines that a hypervisor is to be asked about. */
struct machine {
    char *arch;
    char *emulator; /* Null: libvirt knows. */
    char *name;     /* Null: libvirt's choice. */
};
struct machine_list {
    struct machine *machines;
    size_t n;
};
void machine_list_close(struct machine_list *list);

/* <capabilities>: architecture, CPU with the features that stand there, NUMA
 * nodes and kinds of guests are set in 'r'; and which machines of guests of
 * 'virt_type' make up the picture: those that stand for the newest of their
 * kind, and the one that an architecture's guests get, which 'machines'
 * ("arch=machine", ending with null, or null) may name.  '*ret_cpu_xml', unless
 * null, is the host's <cpu>, the caller's; null without a model.
 * ERR_VALUE. */
struct error *capabilities_xml_parse(const char *xml, size_t size,
                                     const char *virt_type,
                                     const char *const *machines,
                                     struct host_resources *r,
                                     struct machine_list *ret,
                                     char **ret_cpu_xml) WARN_UNUSED;

/* <domainCapabilities> of a machine: adds what it has to 'r'.  ERR_VALUE. */
struct error *
capabilities_xml_add_machine(const char *xml, size_t size,
                             struct host_resources *r) WARN_UNUSED;

/* The features of a <cpu> that are not disabled.  ERR_VALUE. */
struct error *capabilities_xml_add_features(const char *xml, size_t size,
                                            struct text_set *ret) WARN_UNUSED;

#endif
