#ifndef DROVER_DRIVERS_DISK_PATH_H
#define DROVER_DRIVERS_DISK_PATH_H

/* Which paths a peer may make us touch.
 *
 * A request from the bus names paths.  Only those below one of the operator's
 * directories are allowed, and only if they say plainly where they are: no
 * "..", no ".", no empty component, no control character.  This module decides
 * by the text alone; drivers/disk.h also refuses symbolic links.
 *
 * Threads: no shared state; any. */

#include <stdbool.h>

#include "agent/base/error.h"

struct disk_roots {
    char **paths; /* Absolute, without a slash at the end; the first is
                   * instances_path. */
    size_t n;
};

/* 'images_paths' ends with null, and may be null. */
void disk_roots_init(struct disk_roots *roots, const char *instances_path,
                     const char *const *images_paths);
/* One more, which may be null: none. */
void disk_roots_add(struct disk_roots *roots, const char *path);
void disk_roots_close(struct disk_roots *roots);

/* Finds the root of 'path', which must be below it, not the root itself unless
 * 'or_root'.  '*ret_rest' is what follows the root, without a leading slash;
 * it points into 'path'.  Else ERR_INVALID, naming 'path'. */
struct error *disk_path_resolve(const struct disk_roots *roots,
                                const char *path, bool or_root,
                                const char **ret_root,
                                const char **ret_rest) WARN_UNUSED;

/* Where the image cache has, or would have, the file 'name' (null: the cache
 * itself); the caller's. */
char *disk_path_of_image(const struct disk_roots *roots, const char *name);

/* ERR_INVALID unless 'name' is the name of a file and no more: not empty, no
 * slash, not "." or "..". */
struct error *disk_name_check(const char *name) WARN_UNUSED;

#endif
