#ifndef DROVER_NOVA_IMAGE_FETCH_H
#define DROVER_NOVA_IMAGE_FETCH_H

/* One image on its way into this host's cache. (spec/live-migration 3.3)
 *
 * It comes from Glance, or if it is not to be had there, from the cache of the
 * source.  What Glance gave is checked against the sum that it tells, and made
 * what the disk's record says its backing file is, or if that does not tell, as
 * from nova-compute, raw or not as force_raw_images has it.  A file of the
 * cache that is not the instance's image (a file system of an ephemeral disk,
 * say) holds what only the source has, and comes from there.
 *
 * An image is fetched once at a time, whoever wants it.  Once begun it is not
 * taken back: in the cache it is of use.
 *
 * Threads: the loop. */

#include "agent/attach.h"
#include "drivers/driver.h"

/* Has the cache's file that 'disk' is based on fetched for an instance.  All is
 * copied.  'done' is called once, perhaps before this returns, with why it is
 * not there; with null it is, or another fetch of it is over, however that
 * went: then it is to be looked for again. */
void image_fetch(struct agent *agent, const struct json *context,
                 const struct object *instance, const struct prepare_disk *disk,
                 attach_done *done, void *aux);

#endif
