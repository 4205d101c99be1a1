#ifndef DROVER_DRIVERS_DOMAIN_XML_H
#define DROVER_DRIVERS_DOMAIN_XML_H

/* What drover has to know of libvirt's XML, read; domain_edit.h writes.
 *
 * Pure: no I/O, no hypervisor.  The input is whatever a hypervisor sent and
 * may be anything at all; it has 'size' bytes.
 *
 * Threads: any. */

#include <stddef.h>

#include "agent/base/error.h"

struct guest;
struct host_info;

/* The facts of a <domain>.  State, presence, persistence and the sizes of
 * disks are not in it and stay 0.  The title is <title>, else the display name
 * in Nova's metadata.  ERR_VALUE. */
struct error *domain_xml_parse(const char *xml, size_t size,
                               struct guest **ret) WARN_UNUSED;

/* Architecture, CPU, NUMA nodes and sizes of huge pages (none of them free)
 * of the host, from <capabilities>.  Sets these members of 'info' and no
 * other.  ERR_VALUE. */
struct error *domain_xml_parse_host(const char *xml, size_t size,
                                    struct host_info *info) WARN_UNUSED;

/* Adds the firmware files of <domainCapabilities> that 'info' does not have
 * yet.  ERR_VALUE. */
struct error *domain_xml_parse_loaders(const char *xml, size_t size,
                                       struct host_info *info) WARN_UNUSED;

/* domain_ties.c: what ties the <domain> to its host, of enum guest_tie. */
struct _xmlNode;
unsigned domain_ties(const struct _xmlNode *domain);

#endif
