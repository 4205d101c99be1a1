#ifndef DROVER_NOVA_CINDER_H
#define DROVER_NOVA_CINDER_H

/* The calls to Cinder that a live migration makes: attachments of volumes to
 * hosts. (spec/live-migration 3.2, 5.2, 6.2, 6.3)
 *
 * They are made with the token of the user whose request it is; when that is
 * refused, as when the migration outlived it, as the section's own user.
 *
 * Each 'done' is called once, after the function that it was given to has
 * returned; 'error' is taken, other arguments are good for the call only.
 * Besides the errors that are named: ERR_CINDER_CONNECTION (also when Cinder
 * fails), ERR_INVALID_INPUT (it does not take the request), ERR_UNAUTHORIZED,
 * ERR_FORBIDDEN, ERR_CONFIG, ERR_KEYSTONE_CONNECTION, ERR_CANCELLED.  'context'
 * is that of the request for which it is done; null: our own work.
 *
 * Threads: the loop. */

#include "agent/nova/service.h"

/* Of the service that the calls are made to. */
extern const struct service_kind cinder_kind;

struct cinder_attachment {
    const char *id;        /* Never null. */
    const char *volume_id; /* May be null. */
    const char *status;    /* "attaching", "attached"...; may be null. */
    /* As it is kept in a BlockDeviceMapping: {"driver_volume_type": ...,
     * "data": {...}, "volume_id": ...}; {} of an attachment without a
     * connector. */
    const struct json *connection_info;
};

typedef void cinder_attachment_done(void *aux,
                                    const struct cinder_attachment *attachment,
                                    struct error *error);
typedef void cinder_ended(void *aux, struct error *error);

/* Attaches a volume to the host of 'connector' ({"ip": ..., "host": ...}),
 * where the guest has it as 'mountpoint' ("/dev/vdb"; null: not told).  Not
 * done again when an answer is lost: whether there is an attachment is then
 * unknown. ERR_VOLUME_NOT_FOUND */
void cinder_attachment_create(struct service *cinder,
                              const struct json *context, const char *volume,
                              const char *instance,
                              const struct json *connector,
                              const char *mountpoint,
                              cinder_attachment_done *done, void *aux);

/* ERR_VOLUME_ATTACHMENT_NOT_FOUND, as of the others. */
void cinder_attachment_get(struct service *cinder, const struct json *context,
                           const char *attachment, cinder_attachment_done *done,
                           void *aux);
void cinder_attachment_update(struct service *cinder,
                              const struct json *context,
                              const char *attachment,
                              const struct json *connector,
                              const char *mountpoint,
                              cinder_attachment_done *done, void *aux);

/* The volume is connected: it is "in-use" from now on. */
void cinder_attachment_complete(struct service *cinder,
                                const struct json *context,
                                const char *attachment, cinder_ended *done,
                                void *aux);

/* For good; it must have no attachment any more.  One that is not there is
 * deleted. */
void cinder_volume_delete(struct service *cinder, const struct json *context,
                          const char *volume, cinder_ended *done, void *aux);

/* One that is not there is deleted. */
void cinder_attachment_delete(struct service *cinder,
                              const struct json *context,
                              const char *attachment, cinder_ended *done,
                              void *aux);

#endif
