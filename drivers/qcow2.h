#ifndef DROVER_DRIVERS_QCOW2_H
#define DROVER_DRIVERS_QCOW2_H

/* Which file a qcow2 image is laid over, from its header.
 *
 * A hypervisor that does not have the image open does not say.  The name in
 * the header was written by whoever made the image; no guest can change it.
 *
 * Pure.  Threads: any. */

#include <stddef.h>

#include "agent/base/error.h"

/* So much of an image is enough. */
#define QCOW2_HEADER_MAX 65536

/* 'data' may be anything at all, 'path' is the image's.  '*ret_backing' is the
 * backing file's path, absolute, or null without one; '*ret_format' its
 * format, or null if the header does not tell.  Both are the caller's.
 * ERR_VALUE: it is no qcow2, or what is named is no file. */
struct error *qcow2_backing(const void *data, size_t size, const char *path,
                            char **ret_backing, char **ret_format) WARN_UNUSED;

#endif
