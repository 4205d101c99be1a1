#ifndef DROVER_NOVA_GLANCE_H
#define DROVER_NOVA_GLANCE_H

/* What Glance knows of an image, and has of it. (spec/live-migration 3.3,
 * spec/drop-in 13)
 *
 * Asked with the token of the user whose request it is; when that is refused,
 * as the service's own user.
 *
 * Threads: the loop. */

#include <stdint.h>

#include "agent/nova/service.h"

/* Of the service that the calls are made to. */
extern const struct service_kind glance_kind;

struct glance_image {
    const char *id;          /* Never null, as is the status. */
    const char *status;      /* "active"... */
    const char *name;        /* The rest may be null. */
    const char *disk_format; /* "raw", "qcow2"... */
    const char *container_format;
    const char *checksum; /* MD5 of the file. */
    int64_t size;         /* Bytes of the file; 0: not known. */
    int64_t virtual_size; /* Of the disk that is in it; 0: not known. */
    int64_t min_disk_gb, min_ram_mb;
    const struct json *json; /* All of it. */
};

/* 'error' is taken, 'image' good for the call only; one is null. */
typedef void glance_image_done(void *aux, const struct glance_image *image,
                               struct error *error);

/* 'done' is called once, after the function has returned: ERR_IMAGE_NOT_FOUND,
 * ERR_IMAGE_NOT_AUTHORIZED, ERR_GLANCE_CONNECTION (also when Glance fails),
 * ERR_CONFIG, ERR_KEYSTONE_CONNECTION, ERR_CANCELLED.  'context' is that of the
 * request for which it is done; null: our own work. */
void glance_image_get(struct service *glance, const struct json *context,
                      const char *image, glance_image_done *done, void *aux);

/* 'error' is taken; null: all of it is in the file. */
typedef void glance_data_done(void *aux, struct error *error);

/* The same of what is in it, which goes to the file 'fd', open until it is
 * done.  ERR_STORAGE: it can't be written there. */
void glance_image_download(struct service *glance, const struct json *context,
                           const char *image, int fd, unsigned timeout_ms,
                           glance_data_done *done, void *aux);

#endif
