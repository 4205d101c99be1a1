#ifndef DROVER_MIGRATE_URI_H
#define DROVER_MIGRATE_URI_H

/* Where a guest is sent: the addresses that libvirt is given.
 * (spec/live-migration 4.4)
 *
 * Threads: no shared state. */

#include "agent/base/error.h"

struct migrate_uri_options {
    const char *live_migration_uri; /* With one "%s"; null: not set. */
    const char *scheme;             /* Null: "tcp". */
    const char *virt_type;          /* "kvm", "qemu", ... */
    bool tunnelled;
};

/* True if 'name' may stand in a URI as a host: letters, digits, "_.:-". */
bool migrate_uri_is_hostname(const char *name);

/* '*ret_dest_uri' is the libvirt of host 'dest', reached at 'connect_addr'
 * unless that is null; '*ret_migrate_uri' is where the data go, null when
 * libvirt chooses.  The latter may be a null pointer.  Both are the caller's.
 * ERR_INVALID_HOSTNAME; ERR_URI_NOT_AVAILABLE for a virt_type that can't
 * migrate; ERR_CONFIG for a live_migration_uri without exactly one "%s". */
struct error *migrate_uri_make(const struct migrate_uri_options *options,
                               const char *dest, const char *connect_addr,
                               char **ret_dest_uri,
                               char **ret_migrate_uri) WARN_UNUSED;

#endif
