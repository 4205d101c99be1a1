#ifndef DROVER_DRIVERS_DISK_INTERNAL_H
#define DROVER_DRIVERS_DISK_INTERNAL_H

/* What disk.c and disk_probe.c share.  For nobody else. */

#include "drivers/disk.h"
#include "drivers/disk_path.h"

struct disk_store {
    struct disk_roots roots;
};

/* Component by component; the descriptor is the caller's. */
struct error *disk_open_directory(const struct disk_store *store,
                                  const char *path, int *ret) WARN_UNUSED;

/* Of errno. */
struct error *disk_failed(const char *what, const char *path) WARN_UNUSED;

void disk_close_fd(int *fd); /* -1 is fine. */
#define AUTO_CLOSE CLEANUP(disk_close_fd) int

#endif
