#ifndef DROVER_DRIVERS_DISK_H
#define DROVER_DRIVERS_DISK_H

/* Local files of guests: storage probes, and the directory and empty disks
 * that a destination makes for a block migration.  (spec/live-migration 2.5,
 * 3.3, 5.3)
 *
 * Everything a peer names is opened component by component from one of the
 * operator's directories, never through a symbolic link, and everything is
 * made with O_EXCL: a request can neither reach nor replace what exists.
 * Whether a guest still uses the files is for the caller to know.
 *
 * Threads: a store is read-only once it is used; any.  May block. */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/error.h"
#include "drivers/driver.h"

struct disk_store;

/* The paths are copied; 'images_paths' ends with null, and may be null. */
struct disk_store *disk_store_create(const char *instances_path,
                                     const char *const *images_paths);
/* One more directory, in which files of other kinds may be made. */
void disk_store_allow(struct disk_store *store, const char *path);
void disk_store_free(struct disk_store *store);
CLEANUP_FUNC(struct disk_store, disk_store_free)

/* As the entries of the same name of struct driver_ops. ERR_INVALID: the path
 * or name is refused; ERR_NOT_FOUND: a directory is missing; ERR_STORAGE: the
 * file system said no. */
struct error *disk_probe_create(const struct disk_store *store,
                                const char *directory,
                                char **ret_name) WARN_UNUSED;
struct error *disk_probe_exists(const struct disk_store *store,
                                const char *directory, const char *name,
                                bool *ret) WARN_UNUSED;
struct error *disk_probe_remove(const struct disk_store *store,
                                const char *directory,
                                const char *name) WARN_UNUSED;
/* Removes those of instances_path that are hours old: whoever made them was
 * killed in a check. (8.3) */
void disk_probes_sweep(const struct disk_store *store);
struct error *disk_prepare(const struct disk_store *store,
                           const struct prepare_request *request) WARN_UNUSED;

/* The caller has made sure that no guest uses them.  Files on another file
 * system inside the directory are left, with ERR_STORAGE. */
struct error *disk_unprepare(const struct disk_store *store,
                             const struct prepare_request *request) WARN_UNUSED;

/* Puts a file that disk_prepare() made on the disk for good, with the entry of
 * its directory.  ERR_MIGRATION if it does not have this size, but for zeroes
 * up to a whole sector, which are cut off. */
struct error *disk_seal(const struct disk_store *store, const char *path,
                        int64_t size) WARN_UNUSED;
/* ERR_INVALID unless 'path' is a regular file where disk_prepare() makes
 * some. */
struct error *disk_check_file(const struct disk_store *store,
                              const char *path) WARN_UNUSED;

/* Size of, and room for ordinary users on, the file system of instances_path,
 * in GiB. */
struct error *disk_space(const struct disk_store *store, int64_t *ret_total_gb,
                         int64_t *ret_free_gb) WARN_UNUSED;
/* The same in bytes, and what is taken by anyone. */
struct error *disk_room(const struct disk_store *store, int64_t *ret_total,
                        int64_t *ret_free, int64_t *ret_used) WARN_UNUSED;

#endif
