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

/* Architecture, CPU and topology of the host, from <capabilities>.  Sets
 * these members of 'info' and no other.  ERR_VALUE. */
struct error *domain_xml_parse_host(const char *xml, size_t size,
                                    struct host_info *info) WARN_UNUSED;

#endif
