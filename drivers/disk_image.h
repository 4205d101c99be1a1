#ifndef DROVER_DRIVERS_DISK_IMAGE_H
#define DROVER_DRIVERS_DISK_IMAGE_H

/* Puts an empty disk image into a file that is open already.
 *
 * qcow2 is made by qemu-img, which is told the file by its descriptor, so
 * that it cannot open another one than we made.
 *
 * Threads: any.  Blocks, a minute at most. */

#include <stdint.h>

#include "agent/base/error.h"

/* No disk is larger: 1 PiB. */
#define DISK_IMAGE_MAX (INT64_C(1) << 50)

struct disk_image {
    const char *format; /* "raw" or "qcow2" */
    int64_t virtual_size;
    const char *backing_path;   /* Absolute; null: none.  qcow2 only. */
    const char *backing_format; /* Never null if 'backing_path' is not. */
};

/* Without I/O: ERR_INVALID if such an image can't be made. */
struct error *disk_image_check(const struct disk_image *image) WARN_UNUSED;

/* ERR_STORAGE says what went wrong, in the words of qemu-img where it spoke.
 * 'fd' is open for writing, and stays the caller's. */
struct error *disk_image_create(int fd,
                                const struct disk_image *image) WARN_UNUSED;

#endif
