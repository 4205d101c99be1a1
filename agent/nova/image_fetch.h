#ifndef DROVER_NOVA_IMAGE_NOVA_H
#define DROVER_NOVA_IMAGE_NOVA_H

/* Images of a host in Nova's place. (spec/live-migration 3.3)
 *
 * An image that this host's cache lacks comes from Glance, or if it is not to
 * be had there, from the cache of the source.  What Glance gave is checked
 * against the sum that it tells, and made what the disk's record says its
 * backing file is.  A file of the cache that is not the instance's image (a
 * file system of an ephemeral disk, say) holds what only the source has, and
 * comes from there.
 *
 * One image is fetched once at a time, however many guests come with it.
 *
 * Threads: the loop. */

#include "agent/attach.h"

/* Of an agent with a 'nova'. */
extern const struct image_ops image_nova;

#endif
