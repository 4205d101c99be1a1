#ifndef DROVER_MIGRATE_DATA_H
#define DROVER_MIGRATE_DATA_H

/* What the two hosts of a migration tell each other: the migrate data
 * (LibvirtLiveMigrateData 1.10) and the list of disks.
 *
 * Migrate data is a struct object, so what a newer peer put into it is carried
 * through unchanged.  This module knows its fields.  An absent field is not
 * null: it was not said, and a reader asks for it first (..._has_...()).
 *
 * (spec/live-migration 1.10, 3, 5.3)
 *
 * Threads: no shared state. */

#include "drivers/driver.h"
#include "rpc/object.h"

/* An empty one, of version 1.10. */
struct object *migrate_data_create(void);

/* Takes a copy of 'json' as a peer sent it.  Older and newer versions than
 * 1.10 are welcome, as are unknown fields; the known ones must have the right
 * type, and names and addresses be such that they can be used: 'filename' and
 * 'instance_relative_path' bare names, listen addresses IP addresses, ports
 * ports.  ERR_VALUE, ERR_UNSUPPORTED_OBJECT, ERR_INCOMPATIBLE_OBJECT (2.0). */
struct error *migrate_data_parse(const struct json *json,
                                 struct object **ret) WARN_UNUSED;

/* The fields that hold one value: type, whether it may be null.  Each has
 *     bool migrate_data_has_NAME(const struct object *data);
 *     TYPE migrate_data_NAME(const struct object *data);
 *     void migrate_data_set_NAME(struct object *data, TYPE value);
 * A string is borrowed; it is null if the field is null or absent, as a number
 * is then 0 and a bool false. */
#define MIGRATE_DATA_FIELDS                                           \
    MIGRATE_DATA_FIELD(filename, STRING, false)                       \
    MIGRATE_DATA_FIELD(image_type, STRING, false)                     \
    MIGRATE_DATA_FIELD(block_migration, BOOL, false)                  \
    MIGRATE_DATA_FIELD(disk_over_commit, BOOL, false)                 \
    MIGRATE_DATA_FIELD(disk_available_mb, INT, true)                  \
    MIGRATE_DATA_FIELD(is_shared_instance_path, BOOL, false)          \
    MIGRATE_DATA_FIELD(is_shared_block_storage, BOOL, false)          \
    MIGRATE_DATA_FIELD(is_volume_backed, BOOL, false)                 \
    MIGRATE_DATA_FIELD(instance_relative_path, STRING, false)         \
    MIGRATE_DATA_FIELD(graphics_listen_addr_vnc, STRING, true)        \
    MIGRATE_DATA_FIELD(graphics_listen_addr_spice, STRING, true)      \
    MIGRATE_DATA_FIELD(serial_listen_addr, STRING, true)              \
    MIGRATE_DATA_FIELD(target_connect_addr, STRING, true)             \
    MIGRATE_DATA_FIELD(src_supports_native_luks, BOOL, false)         \
    MIGRATE_DATA_FIELD(wait_for_vif_plugged, BOOL, false)             \
    MIGRATE_DATA_FIELD(dst_wants_file_backed_memory, BOOL, false)     \
    MIGRATE_DATA_FIELD(file_backed_memory_discard, BOOL, false)       \
    MIGRATE_DATA_FIELD(src_supports_numa_live_migration, BOOL, false) \
    MIGRATE_DATA_FIELD(dst_supports_numa_live_migration, BOOL, false)

#define MIGRATE_DATA_TYPE_STRING const char *
#define MIGRATE_DATA_TYPE_BOOL bool
#define MIGRATE_DATA_TYPE_INT int64_t
#define MIGRATE_DATA_FIELD(NAME, TYPE, NULLABLE)                             \
    bool migrate_data_has_##NAME(const struct object *data);                 \
    MIGRATE_DATA_TYPE_##TYPE migrate_data_##NAME(const struct object *data); \
    void migrate_data_set_##NAME(struct object *data,                        \
                                 MIGRATE_DATA_TYPE_##TYPE value);
MIGRATE_DATA_FIELDS
#undef MIGRATE_DATA_FIELD

/* The fields that hold several.  The counts are 0 when the field is absent;
 * setting copies and replaces. */

bool migrate_data_has_serial_listen_ports(const struct object *data);
size_t migrate_data_n_serial_listen_ports(const struct object *data);
int migrate_data_serial_listen_port(const struct object *data, size_t i);
bool migrate_data_has_serial_port(const struct object *data, int port);
void migrate_data_set_serial_listen_ports(struct object *data, const int *ports,
                                          size_t n);

bool migrate_data_has_supported_perf_events(const struct object *data);
size_t migrate_data_n_supported_perf_events(const struct object *data);
const char *migrate_data_supported_perf_event(const struct object *data,
                                              size_t i);
/* 'events' ends with null. */
void migrate_data_set_supported_perf_events(struct object *data,
                                            const char *const *events);

/* Volume to attachment.  Without attachments a destination says {}. */
bool migrate_data_has_old_vol_attachment_ids(const struct object *data);
const char *migrate_data_old_vol_attachment_id(const struct object *data,
                                               const char *volume_id);
void migrate_data_set_old_vol_attachment_id(struct object *data,
                                            const char *volume_id,
                                            const char *attachment_id);
/* {}, if it is absent. */
void migrate_data_init_old_vol_attachment_ids(struct object *data);

/* A volume as the destination connected it (LibvirtLiveMigrateBDMInfo 1.1). */
struct migrate_bdm {
    const char *serial, *bus, *dev, *type;
    const char *format; /* Null: not known. */
    int boot_index;     /* -1: none. */
    const char *connection_info_json;
    const char *encryption_secret_uuid; /* Null: absent. */
};
bool migrate_data_has_bdms(const struct object *data);
size_t migrate_data_n_bdms(const struct object *data);
/* What it points to is borrowed from 'data'. */
struct migrate_bdm migrate_data_bdm(const struct object *data, size_t i);
/* All of them; 'bdms' may be null if 'n' is 0. */
void migrate_data_set_bdms(struct object *data, const struct migrate_bdm *bdms,
                           size_t n);

/* A port (VIFMigrateData 1.0).  A null member is absent. */
struct migrate_vif {
    const char *port_id, *vnic_type, *vif_type;
    const char *vif_details_json, *profile_json;
    const char *host;
    const char *source_vif; /* JSON text. */
};
bool migrate_data_has_vifs(const struct object *data);
size_t migrate_data_n_vifs(const struct object *data);
struct migrate_vif migrate_data_vif(const struct object *data, size_t i);
void migrate_data_set_vifs(struct object *data, const struct migrate_vif *vifs,
                           size_t n);

/* Where CPUs and memory of the guest go (LibvirtLiveMigrateNUMAInfo 1.0).
 * Borrowed; null: absent or null.  Pins are {"0": [2, 3]}, sets [0, 1]. */
struct migrate_numa {
    const struct json *cpu_pins, *cell_pins, *emulator_pins, *sched_vcpus;
    bool has_sched_priority;
    int sched_priority;
};
bool migrate_data_has_dst_numa_info(const struct object *data);
struct migrate_numa migrate_data_dst_numa_info(const struct object *data);
/* Copies. */
void migrate_data_set_dst_numa_info(struct object *data,
                                    const struct migrate_numa *numa);

/* The Migration; borrowed primitive, null if absent. */
bool migrate_data_has_migration(const struct object *data);
const struct json *migrate_data_migration(const struct object *data);
void migrate_data_set_migration(struct object *data,
                                const struct object *migration);

/* What is removed where a guest is no longer. (5.3)
 * Nothing that is shared is ever destroyed, and what was not said counts as
 * shared. */
struct migrate_cleanup {
    bool do_cleanup;    /* Remove the instance's directory. */
    bool destroy_disks; /* And its disks. */
};
struct migrate_cleanup migrate_data_cleanup(const struct object *data);

/* The 'disk' argument of pre_live_migration: JSON text, the caller's, of the
 * disks of 'guest' that a block migration copies (migrate_rules_is_copied()).
 */
char *migrate_data_disks_format(const struct guest *guest);

/* The same of the files of a guest at rest that are copied: its disks, if
 * 'copies_disks', and what else is not below 'shared' (null: nothing is).  Each
 * is made with its bytes to come (struct prepare_disk). */
char *migrate_data_files_format(const struct guest_rest *rest,
                                bool copies_disks, const char *shared);

/* The same text from a peer, which may be anything at all; null or "null" is
 * the empty list.  Types are "qcow2" or "raw", sizes are sane, paths absolute
 * and without "." and ".." and named once; whether this host wants files there
 * is the driver's to say.  'directory' may be null; 'uuid' and it are copied.
 * ERR_VALUE. */
struct error *
migrate_data_disks_parse(const char *text, const char *uuid,
                         const char *directory,
                         struct prepare_request **ret) WARN_UNUSED;

/* The size of a guest by which downtime and time-out are reckoned, from its
 * memory and the text above (null: no disk). (4.6) */
double migrate_data_gb(int memory_mb, const char *disks);

#endif
