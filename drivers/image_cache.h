#ifndef DROVER_DRIVERS_IMAGE_CACHE_H
#define DROVER_DRIVERS_IMAGE_CACHE_H

/* The image cache: what disks are based on, in "_base" of instances_path.
 * (spec/live-migration 3.3)
 *
 * A file gets its name there once all of it is on the disk, has been looked at
 * (drivers/image_check.h) and is what disks are based on; before that it has
 * none, and is gone with whoever had it open, however that ended.  What has a
 * name is never replaced: guests run on it.
 *
 * Images are opened, converted and copied by programs that are given
 * descriptors, are held to limits, and end with us (agent/base/process.h).
 *
 * Threads: any.  Keeping and copying block for as long as an hour. */

#include "drivers/disk.h"

/* As the entries of struct driver_ops that are called image_*.  ERR_INVALID:
 * the name is refused, or what has it is no file; ERR_IMAGE_UNACCEPTABLE: the
 * image is; ERR_STORAGE: the file system, or a program, said no. */
struct error *image_cache_exists(const struct disk_store *store,
                                 const char *name, bool *ret) WARN_UNUSED;
struct error *image_cache_create(const struct disk_store *store,
                                 const char *name, int *ret_fd) WARN_UNUSED;
struct error *image_cache_keep(const struct disk_store *store,
                               const struct image_request *r) WARN_UNUSED;
struct error *image_cache_copy(const struct disk_store *store,
                               const struct image_request *r) WARN_UNUSED;

#endif
