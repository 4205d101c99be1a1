#ifndef DROVER_DRIVERS_VOLUME_H
#define DROVER_DRIVERS_VOLUME_H

/* Volumes: storage that a guest uses and its host only reaches.
 *
 * A volume comes as a control plane describes it (Nova's connection_info).  Its
 * type has a row in a table: how it is connected to this host and disconnected
 * again, and what the hypervisor is told to open.  Both are idempotent, and
 * disconnecting takes away nothing that another guest uses (drivers/host.h).
 *
 *   local  a file or block device that is there already
 *   nfs    a file of an export, which is mounted
 *   iscsi  a unit of a target, by iscsiadm; of several paths one is used, as
 *          Nova does where multipathd does not run
 *   rbd    an image in Ceph, which QEMU opens itself
 *
 * (spec/live-migration 3.2, 4.3, 5.2)
 *
 * Threads: any; connecting and disconnecting block, on workers. */

#include <stdint.h>

#include "agent/base/error.h"

struct host;

struct volume_path {
    char *portal, *iqn;
    int64_t lun;
};

/* A plain record.  A string may be null where the comment says so, or where
 * the type has no use for it. */
struct volume {
    char *type;        /* driver_volume_type */
    char *id;          /* Also the serial that the guest sees. */
    char *user;        /* UUID of the instance. */
    char *device_path; /* Null until it is connected, but for "local". */
    bool is_file;      /* Of "local": 'device_path' is no block device. */
    char *format;      /* "raw", ... */
    bool readonly, discard;
    char *share;   /* nfs: "server:/directory" */
    char *options; /* nfs: as for mount, beginning with "-o"; null: none. */
    char *name;    /* nfs: of the file; rbd: "pool/image". */
    struct volume_path *paths; /* iscsi */
    size_t n_paths;
    char *auth_method, *auth_username, *auth_password; /* iscsi; or null. */
    char **hosts, **ports; /* rbd: monitors; a port may be null. */
    size_t n_hosts;
    char *ceph_user, *ceph_secret; /* rbd: null: no authentication. */
    /* What the guest sees. */
    char *target, *bus;           /* "vdb", "virtio" */
    char *encryption_secret_uuid; /* Null: not encrypted. */
};
void volume_free(struct volume *volume);
CLEANUP_FUNC(struct volume, volume_free)
struct volume *volume_copy(const struct volume *volume);

/* Any number of them. */
struct volume_list {
    struct volume **volumes;
    size_t n;
};
void volume_list_close(struct volume_list *list);
void volume_list_add(struct volume_list *list, struct volume *volume);
struct volume_list volume_list_copy(const struct volume_list *list);
#define AUTO_VOLUMES CLEANUP(volume_list_close) struct volume_list

/* What the hypervisor opens; borrowed from the volume. */
struct volume_source {
    const char *type; /* As in libvirt: "file", "block", "network". */
    const char *path; /* Of the first two. */
    const char *protocol, *name; /* Of the last, with the hosts, and the user
                                  * if 'volume->ceph_user' is not null. */
};

/* Without I/O: everything is such that it can be an argument of a program, a
 * file's name or a part of XML.  ERR_VALUE; ERR_VOLUME_DRIVER_NOT_FOUND for
 * another type. */
struct error *volume_check(const struct volume *volume) WARN_UNUSED;

/* Sets 'device_path' and 'is_file'.  After an error nothing is connected that
 * was not before.  ERR_STORAGE. */
struct error *volume_connect(const struct host *host,
                             struct volume *volume) WARN_UNUSED;

/* What is not connected is success. */
struct error *volume_disconnect(const struct host *host,
                                const struct volume *volume) WARN_UNUSED;

/* Pure.  ERR_VALUE: it has not been connected anywhere. */
struct error *volume_describe(const struct volume *volume,
                              struct volume_source *ret) WARN_UNUSED;

/* The rows that have a file of their own.  'check' looks at what only this
 * type uses. */
struct volume_type {
    const char *name;
    struct error *(*check)(const struct volume *volume);
    struct error *(*connect)(const struct host *host, struct volume *volume);
    struct error *(*disconnect)(const struct host *host,
                                const struct volume *volume);
    struct error *(*describe)(const struct volume *volume,
                              struct volume_source *ret);
};
extern const struct volume_type volume_type_iscsi; /* volume_iscsi.c */
extern const struct volume_type volume_type_nfs;   /* volume_nfs.c */

/* For them: what a claim is made in the name of; the caller's. */
char *volume_claimant(const struct volume *volume);

/* An absolute path without "..". */
bool volume_is_path(const char *text);

#endif
