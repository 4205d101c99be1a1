#ifndef DROVER_DRIVERS_QCOW2_H
#define DROVER_DRIVERS_QCOW2_H

/* What the header of a qcow2 image says: above all which file it is laid over.
 *
 * A hypervisor that does not have the image open does not say.  The name in
 * the header was written by whoever made the image; no guest can change it.
 *
 * Pure.  Threads: any. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"

/* So much of an image is enough. */
#define QCOW2_HEADER_MAX 65536

/* 'data' may be anything at all, 'path' is the image's.  '*ret_backing' is the
 * backing file's path, absolute, or null without one; '*ret_format' its
 * format, or null if the header does not tell.  Both are the caller's.
 * ERR_VALUE: it is no qcow2, or what is named is no file. */
struct error *qcow2_backing(const void *data, size_t size, const char *path,
                            char **ret_backing, char **ret_format) WARN_UNUSED;

/* The rest of it. */
struct qcow2_facts {
    uint64_t virtual_size; /* As it stands there. */
    bool has_backing;
    bool has_data_file; /* What it holds is in another file. */
    bool is_encrypted;
};

/* ERR_VALUE: it is no qcow2 of a version that there is. */
struct error *qcow2_look(const void *data, size_t size, const char *path,
                         struct qcow2_facts *ret) WARN_UNUSED;

#endif
