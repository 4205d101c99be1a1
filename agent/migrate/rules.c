#include <config.h>

#include "agent/migrate/rules.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MIB (INT64_C(1) << 20)

/* How Nova calls the file. */
#define CONFIG_DRIVE "disk.config"

static bool is_shared_by_nature(const char *image_type);
static bool is_kept_in_files(const char *image_type);
static bool is_block_storage_shared(const struct migrate_storage *storage);
static struct error *check_block(const struct migrate_storage *storage,
                                 bool is_shared);
static struct error *storage_error(enum error_code code, const char *host,
                                   const char *reason);

unsigned
migrate_rules_flags(const struct migrate_rules_options *options,
                    bool block_migration, size_t n_disks, const char *vm_state)
{
    unsigned flags = 0;

    /* Without a list of disks libvirt would copy all, volumes too. */
    if (block_migration && n_disks > 0) {
        flags |= MIGRATE_BLOCK;
    }
    if (options->tunnelled) {
        flags |= MIGRATE_TUNNELLED;
    }
    if (options->native_tls) {
        flags |= MIGRATE_TLS;
    }
    if (options->permit_post_copy) {
        /* A guest that does not run dirties nothing: it needs no help. */
        flags |= str_eq(vm_state, "paused") ? 0 : MIGRATE_POSTCOPY;
    } else if (options->permit_auto_converge && !options->has_policy) {
        flags |= MIGRATE_AUTO_CONVERGE;
    }
    if (options->throttles && options->permit_auto_converge &&
        !str_eq(vm_state, "paused")) {
        flags |= MIGRATE_THROTTLE;
    }
    return flags;
}

unsigned
migrate_rules_n_parallel(unsigned wanted, unsigned flags)
{
    bool has_one = flags & (MIGRATE_TUNNELLED | MIGRATE_POSTCOPY);

    return wanted > 1 && !has_one ? wanted : 0;
}

bool
migrate_rules_has_numa(const struct object *instance)
{
    return json_is_object(object_get(instance, "numa_topology"));
}

bool
migrate_rules_is_copied(const struct guest_disk *disk)
{
    return disk->path && !disk->readonly && !disk->shareable &&
           !disk->is_volume && !str_eq(disk->device, "cdrom");
}

char **
migrate_rules_disks(const struct guest *guest, size_t *ret_n)
{
    char **targets = NULL;
    size_t n = 0;

    for (size_t i = 0; i < guest->n_disks; i++) {
        if (migrate_rules_is_copied(&guest->disks[i])) {
            targets = xrealloc(targets, (n + 1) * sizeof *targets);
            targets[n++] = xstrdup(guest->disks[i].target);
        }
    }
    *ret_n = n;
    return targets;
}

/* Storage. */

struct error *
migrate_rules_storage(const struct migrate_storage *storage,
                      struct migrate_storage_answer *ret)
{
    bool is_block_shared = is_block_storage_shared(storage);
    bool is_shared = is_block_shared || storage->is_shared_instance_path;
    bool block = storage->block == MIGRATE_BLOCK_AUTO
                     ? !is_shared
                     : storage->block == MIGRATE_BLOCK_YES;
    struct error *error = NULL;

    if (block) {
        error = check_block(storage, is_shared);
    } else if (!is_shared) {
        error = storage_error(ERR_INVALID_SHARED_STORAGE, storage->host,
                              "Shared storage live-migration requires either "
                              "shared storage or boot-from-volume with no "
                              "local disks.");
    }
    if (!error) {
        ret->is_shared_block_storage = is_block_shared;
        ret->block_migration = block;
    }
    return error;
}

static struct error *
check_block(const struct migrate_storage *storage, bool is_shared)
{
    if (is_shared) {
        return storage_error(ERR_INVALID_LOCAL_STORAGE, storage->host,
                             "Block migration can not be used with shared "
                             "storage.");
    }
    if (storage->has_volumes && storage->tunnelled) {
        return error_new(ERR_MIGRATION_PRE_CHECK,
                         "Cannot block migrate instance %s with mapped "
                         "volumes. Selective block device migration is not "
                         "supported with tunnelled block migrations.",
                         storage->uuid);
    }
    return NULL;
}

/* Nova names the host where its message says path. */
static struct error *
storage_error(enum error_code code, const char *host, const char *reason)
{
    struct error *error = error_new(code, "%s", reason);

    error_set_arg(error, "path", host);
    return error_set_arg(error, "reason", reason);
}

static bool
is_block_storage_shared(const struct migrate_storage *storage)
{
    if (str_eq(storage->image_type, storage->dest_image_type) &&
        is_shared_by_nature(storage->image_type)) {
        return true;
    }
    if (storage->is_shared_instance_path &&
        is_kept_in_files(storage->image_type)) {
        return true;
    }
    return storage->is_volume_backed && storage->n_disks == 0;
}

static bool
is_shared_by_nature(const char *image_type)
{
    return str_eq(image_type, "rbd");
}

static bool
is_kept_in_files(const char *image_type)
{
    return str_eq(image_type, "default") || str_eq(image_type, "qcow2") ||
           str_eq(image_type, "raw") || str_eq(image_type, "flat");
}

/* Disk space. */

int64_t
migrate_rules_disk_available_mb(const struct host_info *host, bool over_commit,
                                int64_t reserved_mb)
{
    int64_t gb =
        over_commit ? host->disk_free_gb : host->disk_available_least_gb;

    return gb * 1024 - reserved_mb;
}

int64_t
migrate_rules_disk_need(const struct guest *guest, bool over_commit)
{
    int64_t need = 0;

    for (size_t i = 0; i < guest->n_disks; i++) {
        const struct guest_disk *disk = &guest->disks[i];
        int64_t size = over_commit ? disk->allocated_size : disk->virtual_size;
        if (migrate_rules_is_copied(disk) && size > 0 &&
            __builtin_add_overflow(need, size, &need)) {
            return INT64_MAX;
        }
    }
    return need;
}

struct error *
migrate_rules_check_disk(const char *uuid, int64_t available_mb,
                         int64_t need_bytes)
{
    /* A destination that has less than it reserves for itself has none. */
    int64_t available = 0;

    if (available_mb > 0 &&
        __builtin_mul_overflow(available_mb, MIB, &available)) {
        available = INT64_MAX;
    }
    if (need_bytes <= available) {
        return NULL;
    }
    return error_new(ERR_MIGRATION_PRE_CHECK,
                     "Unable to migrate %s: Disk of instance is too "
                     "large(available on destination host:%" PRId64
                     " < need:%" PRId64 ")",
                     uuid, available, need_bytes);
}

/* Devices. */

struct error *
migrate_rules_check_devices(const struct guest *guest)
{
    static const struct {
        enum guest_tie tie;
        const char *text;
    } ties[] = {
#define GUEST_TIE(NAME, TEXT) {GUEST_TIE_##NAME, TEXT},
        GUEST_TIES
#undef GUEST_TIE
    };
    AUTO_FREE list = NULL;

    for (size_t i = 0; i < N_ELEMENTS(ties); i++) {
        if (guest->ties & ties[i].tie) {
            char *longer = xasprintf("%s%s%s", list ? list : "",
                                     list ? ", and " : "", ties[i].text);
            free(list);
            list = longer;
        }
    }
    return list ? error_new(ERR_MIGRATION_PRE_CHECK,
                            "instance %s has %s, which can't move; detach it "
                            "first",
                            guest->uuid, list)
                : NULL;
}

/* An emulated TPM keeps its state in a directory of its own, which libvirt
 * sends along with a running guest only. */
struct error *
migrate_rules_check_rest_devices(const struct guest *guest)
{
    struct error *error = migrate_rules_check_devices(guest);

    if (!error && guest->has_tpm_state) {
        error = error_new(ERR_MIGRATION_PRE_CHECK,
                          "instance %s has an emulated TPM, whose state would "
                          "stay; move it live",
                          guest->uuid);
    }
    return error;
}

struct error *
migrate_rules_check_off(const struct guest *guest)
{
    if (guest->presence == GUEST_OFF && !guest->is_saved) {
        return NULL;
    }
    return guest->is_saved
               ? error_new(ERR_MIGRATION_PRE_CHECK,
                           "instance %s has its memory saved; move it with "
                           "--static",
                           guest->uuid)
               : error_new(ERR_MIGRATION_PRE_CHECK,
                           "instance %s is not shut off; move it live, or with "
                           "--static",
                           guest->uuid);
}

/* libvirt moves no guest that has some. */
struct error *
migrate_rules_check_snapshots(const struct guest *guest)
{
    return guest->n_snapshots
               ? error_new(ERR_MIGRATION_PRE_CHECK,
                           "instance %s has %d snapshots, which libvirt does "
                           "not move; delete them first",
                           guest->uuid, guest->n_snapshots)
               : NULL;
}

/* Media. */

bool
migrate_rules_is_medium(const struct guest_disk *disk)
{
    return disk->path && !disk->is_volume && !migrate_rules_is_copied(disk);
}

bool
migrate_rules_is_config_drive(const struct guest_disk *disk)
{
    const char *slash = disk->path ? strrchr(disk->path, '/') : NULL;

    return slash && str_eq(slash + 1, CONFIG_DRIVE);
}

struct error *
migrate_rules_check_medium(const char *uuid, const struct guest_disk *disk,
                           const char *dest, bool is_there,
                           const struct error *unseen)
{
    if (unseen) {
        return error_new(ERR_MIGRATION_PRE_CHECK,
                         "instance %s reads '%s' (%s '%s'), which is not "
                         "copied, and whether host %s has it is not known: %s",
                         uuid, disk->path, disk->device, disk->target, dest,
                         error_message(unseen));
    }
    if (is_there) {
        return NULL;
    }
    if (migrate_rules_is_config_drive(disk)) {
        return error_new(ERR_MIGRATION_PRE_CHECK,
                         "config drive '%s' of instance %s is read-only, so "
                         "that it is not copied, and is not on host %s; put it "
                         "there, or use a config drive in vfat",
                         disk->path, uuid, dest);
    }
    return error_new(ERR_MIGRATION_PRE_CHECK,
                     "instance %s reads '%s' (%s '%s'), which is not copied "
                     "and not on host %s; eject it, or put it there",
                     uuid, disk->path, disk->device, disk->target, dest);
}

/* Consoles. */

struct error *
migrate_rules_check_serial(bool is_served_here, const char *listen)
{
    return is_served_here && !listen
               ? error_new(ERR_MIGRATION_PRE_CHECK,
                           "serial consoles are enabled here (serial_console), "
                           "but not at the destination")
               : NULL;
}
