#ifndef DROVER_MIGRATE_RULES_H
#define DROVER_MIGRATE_RULES_H

/* What may move, how, and where to: the decisions of the checks, without
 * asking anything of anybody. (spec/live-migration 2, 4.2, 4.5)
 *
 * Threads: no shared state. */

#include "agent/check/report.h"
#include "drivers/driver.h"
#include "rpc/object.h"

/* Of enum migrate_flag. (4.2)  'n_disks' is how many a block migration would
 * copy: with none it is none. */
struct migrate_rules_options {
    bool tunnelled, native_tls;
    bool permit_post_copy, permit_auto_converge;
    bool has_policy, throttles; /* live_migration_convergence, a step of it. */
};
unsigned migrate_rules_flags(const struct migrate_rules_options *options,
                             bool block_migration, size_t n_disks,
                             const char *vm_state);

/* Connections of a migration with these flags when 'wanted' are configured: 0,
 * for libvirt's own way, where libvirt can't have several. */
unsigned migrate_rules_n_parallel(unsigned wanted, unsigned flags);

/* Whether it has CPUs and pages of particular nodes of its host. */
bool migrate_rules_has_numa(const struct object *instance);

/* Whether a block migration copies this disk: a local file or device that the
 * guest alone writes to, and no volume. */
bool migrate_rules_is_copied(const struct guest_disk *disk);

/* Their targets ("vda"), for struct migrate_request; the caller's, as are the
 * strings.  Null and 0 if there is none. */
char **migrate_rules_disks(const struct guest *guest, size_t *ret_n);

/* Storage, as the source sees it. (2.5) */
enum migrate_block { MIGRATE_BLOCK_AUTO, MIGRATE_BLOCK_NO, MIGRATE_BLOCK_YES };
struct migrate_storage {
    const char *host;             /* Ours; named in errors. */
    const char *uuid;             /* Of the instance. */
    const char *image_type;       /* images_type here ... */
    const char *dest_image_type;  /* ... and there; null: not said. */
    bool is_shared_instance_path; /* The probe file was seen. */
    bool is_volume_backed;
    size_t n_disks; /* Local ones. */
    bool has_volumes, tunnelled;
    enum migrate_block block; /* What is wanted. */
};
struct migrate_storage_answer {
    bool is_shared_block_storage, block_migration;
};
/* ERR_INVALID_LOCAL_STORAGE, ERR_INVALID_SHARED_STORAGE,
 * ERR_MIGRATION_PRE_CHECK; '*ret' is set only on success. */
struct error *
migrate_rules_storage(const struct migrate_storage *storage,
                      struct migrate_storage_answer *ret) WARN_UNUSED;

/* Disk space. (2.6) */

/* disk_available_mb of a destination. */
int64_t migrate_rules_disk_available_mb(const struct host_info *host,
                                        bool over_commit, int64_t reserved_mb);
/* Bytes that the copied disks of 'guest' need. */
int64_t migrate_rules_disk_need(const struct guest *guest, bool over_commit);
/* ERR_MIGRATION_PRE_CHECK with both numbers. */
struct error *migrate_rules_check_disk(const char *uuid, int64_t available_mb,
                                       int64_t need_bytes) WARN_UNUSED;

/* ERR_MIGRATION_PRE_CHECK, with the devices named, if the guest has some that
 * can't move. */
struct error *
migrate_rules_check_devices(const struct guest *guest) WARN_UNUSED;
/* The same of a guest at rest, whose memory or disks are moved as files. */
struct error *
migrate_rules_check_rest_devices(const struct guest *guest) WARN_UNUSED;
/* ERR_MIGRATION_PRE_CHECK if it runs, or waits for going on. */
struct error *migrate_rules_check_off(const struct guest *guest) WARN_UNUSED;
struct error *
migrate_rules_check_snapshots(const struct guest *guest) WARN_UNUSED;

/* A file or device of this host that the guest reads, or shares with others:
 * it is not copied and has to be at the destination already, as the images of
 * CD-ROMs have.  A config drive is one unless it is a disk that is copied. */
bool migrate_rules_is_medium(const struct guest_disk *disk);
bool migrate_rules_is_config_drive(const struct guest_disk *disk);

/* ERR_MIGRATION_PRE_CHECK unless the destination has the medium; 'unseen' says
 * why that is not known, null: it is. */
struct error *
migrate_rules_check_medium(const char *uuid, const struct guest_disk *disk,
                           const char *dest, bool is_there,
                           const struct error *unseen) WARN_UNUSED;

/* 'listen': where the destination serves them, null: it does not. (2.7, 4.2) */
struct error *migrate_rules_check_serial(bool is_served_here,
                                         const char *listen) WARN_UNUSED;

/* A host that might take a guest, and what the guest needs. (2.1, 2.2, 2.8)
 * What is 0 or null is not known, and what the guest does not need. */
struct migrate_candidate {
    const char *host; /* Service host name. */
    bool up;          /* It answered lately. */
    int64_t memory_free_mb;
    const char *hypervisor_type; /* "QEMU" */
    int64_t hypervisor_version;
    int n_cpus, n_nodes;
    const struct host_hugepages *hugepages; /* The default size first. */
    size_t n_hugepages;
    const char *const *loaders;
    size_t n_loaders;
};
struct migrate_demand {
    const char *uuid;
    const char *source; /* Service host name. */
    int memory_mb;
    const char *hypervisor_type; /* Of the source. */
    int64_t hypervisor_version;
    bool skip_version_check;
    bool is_off;          /* It needs no memory. */
    int n_pinned_cpus;    /* Highest CPU of its pins, and one. */
    int n_bound_nodes;    /* Highest NUMA node that it is bound to, and one. */
    int64_t hugepage_kib; /* As in struct guest. */
    const char *loader;   /* Firmware that a host ought to know. */
};

/* Notes what 'candidate' is found to be, each rule about hosts; the same for a
 * host that was chosen and for one that is forced. (rules_host.c)
 * ERR_UNABLE_TO_MIGRATE_TO_SELF, ERR_DESTINATION_HYPERVISOR_TOO_OLD,
 * ERR_MIGRATION_PRE_CHECK. */
void migrate_rules_check_host(const struct migrate_candidate *candidate,
                              const struct migrate_demand *demand,
                              struct check_report *report);

/* The same, only why not: null if 'candidate' will do. */
struct error *
migrate_rules_check_candidate(const struct migrate_candidate *candidate,
                              const struct migrate_demand *demand) WARN_UNUSED;

/* The host with the most free memory of those that will do; of equals the
 * first by name.  ERR_NO_VALID_HOST says why each won't. */
struct error *
migrate_rules_choose_destination(const struct migrate_candidate *candidates,
                                 size_t n, const struct migrate_demand *demand,
                                 size_t *ret_index) WARN_UNUSED;

#endif
