#ifndef DROVER_DRIVERS_DOMAIN_EDIT_H
#define DROVER_DRIVERS_DOMAIN_EDIT_H

/* The definition of a guest, changed for its destination.
 *
 * libvirt moves a guest under the definition it is given, as long as the
 * guest can't tell the difference.  What differs between hosts (addresses to
 * listen on, ports, backing of memory) is edited here, in the tree and never
 * as text; all else is left as it came.  (spec/live-migration 4.3)
 *
 * Pure: no I/O, no hypervisor.  Threads: any. */

#include <stddef.h>

#include "agent/base/error.h"

struct migrate_request;

/* 'xml' is the migratable <domain>, of 'size' bytes.  ERR_VALUE. */
struct error *domain_edit_for_destination(const char *xml, size_t size,
                                          const struct migrate_request *request,
                                          char **ret) WARN_UNUSED;

/* domain_edit_attach.c: the disks whose serial is a volume's id; and the
 * interfaces, all of which must be told of, if one is.  ERR_VALUE. */
struct _xmlNode;
struct vif_list;
struct volume_list;
struct error *
domain_edit_volumes(struct _xmlNode *devices,
                    const struct volume_list *volumes) WARN_UNUSED;
struct error *domain_edit_vifs(struct _xmlNode *devices,
                               const struct vif_list *vifs) WARN_UNUSED;

/* domain_edit_pins.c */
struct dest_pins;
void domain_edit_pins(struct _xmlNode *domain, const struct dest_pins *pins);

/* The same definition without its passwords, fit for a log; what can't be
 * parsed becomes an empty string. */
char *domain_edit_redact(const char *xml, size_t size);

#endif
