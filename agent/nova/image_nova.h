#ifndef DROVER_NOVA_IMAGE_NOVA_H
#define DROVER_NOVA_IMAGE_NOVA_H

/* Images of a host in Nova's place: those of an instance that this host's cache
 * lacks are fetched (agent/nova/image_fetch.h), one after the other.
 * (spec/live-migration 3.3)
 *
 * Threads: the loop. */

#include "agent/attach.h"

/* Of an agent with a 'nova'. */
extern const struct image_ops image_nova;

#endif
