#ifndef DROVER_NOVA_VOLUME_RECORDS_H
#define DROVER_NOVA_VOLUME_RECORDS_H

/* Nova's records of an instance's block devices. (spec/live-migration 1.6)
 *
 * Each 'done' is called once; errors are those of rpc/conductor.h and the
 * methods' own.
 *
 * Threads: the loop. */

#include "agent/nova/nova.h"

/* 'devices' is a BlockDeviceMappingList, the callee's; null with an error. */
typedef void volume_records_done(void *aux, struct json *devices,
                                 struct error *error);
void volume_records_list(struct nova *nova, const struct json *context,
                         const char *instance, volume_records_done *done,
                         void *aux);

/* Saves where a device of such a list is attached; 'info' is text or null. */
void volume_records_save(struct nova *nova, const struct json *context,
                         const struct json *device, const char *attachment,
                         const char *info, attach_done *done, void *aux);

#endif
