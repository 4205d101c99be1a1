#ifndef DROVER_NOVA_VOLUME_NOVA_H
#define DROVER_NOVA_VOLUME_NOVA_H

/* Volumes of a host in Nova's place: what the host does itself
 * (agent/attach.h), Cinder's attachments of them to hosts, and Nova's records
 * of both. (spec/live-migration 3.1, 3.2, 5.2, 6.2)
 *
 * The destination makes an attachment of its own for each volume and has it in
 * the record, from which the source's goes into the migrate data, with what is
 * to be put back:
 *
 *   {"drover_volumes": [{"volume_id", "old", "new", "info"}]}
 *
 * 'info' is the text of the source's connection_info, or null.  Only an
 * attachment that is known to be of this migration is ever deleted.
 *
 * Threads: the loop. */

#include "agent/attach.h"

/* Of an agent with a 'nova'. */
extern const struct volume_ops volume_nova;

#endif
