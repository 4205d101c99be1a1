#ifndef DROVER_NOVA_VOLUME_ROWS_H
#define DROVER_NOVA_VOLUME_ROWS_H

/* The volumes of an instance, from Nova's records of its block devices to what
 * this agent keeps of them (agent/attachments.h), and to the migrate data.
 * (spec/live-migration 1.10, 3.2)
 *
 * A row is {"volume_id", "attachment_id", "device_name", "dev", "bus", "type",
 * "boot_index", "connection_info"}; what is not known is absent.
 *
 * Pure.  Threads: no shared state. */

#include "rpc/object.h"

/* The primitive of that volume in a BlockDeviceMappingList; null: none. */
const struct json *volume_rows_device(const struct json *list,
                                      const char *volume);

/* Those of a list that are volumes; 'only_connected' leaves out those without a
 * connection_info.  The caller's. */
struct json *volume_rows_of(const struct json *list, bool only_connected);

/* Whether they can be connected on another host.  ERR_NOT_IMPLEMENTED names
 * what can't. */
struct error *volume_rows_check(const struct json *rows) WARN_UNUSED;

/* Cinder's connection_info as it is kept, with the volume as its serial. */
void volume_row_connect(struct json *row, const struct json *connection_info);

/* The rows that have a connection_info go into the migrate data. */
void volume_rows_tell(const struct json *rows, struct object *data);

#endif
