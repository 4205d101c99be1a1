#ifndef DROVER_NOVA_IMAGE_SUM_H
#define DROVER_NOVA_IMAGE_SUM_H

/* Whether a file is the one that an image service speaks of.
 *
 * Threads: any; reads all of the file. */

#include <stdatomic.h>
#include <stdint.h>

#include "rpc/json.h"

struct image_sum {
    int64_t size;    /* Bytes; 0: not known. */
    char *algorithm; /* "sha512"...; null: none that can be computed here. */
    char *value;     /* In lower-case hexadecimal digits; null with that. */
};

/* Of an image of Glance's: the newer sum, or else the MD5 that all have.  Says
 * so if it has one, and none can be computed here. */
void image_sum_init(struct image_sum *sum, const struct json *image);
void image_sum_close(struct image_sum *sum);

/* ERR_IMAGE_UNACCEPTABLE; ERR_STORAGE; ERR_CANCELLED once '*stop' is set, which
 * may be null. */
struct error *image_sum_check(const struct image_sum *sum, int fd,
                              const atomic_bool *stop) WARN_UNUSED;

/* The name of an image in the caches of compute services: SHA-1 of its id; the
 * caller's. */
char *image_sum_cache_name(const char *image_id);

#endif
