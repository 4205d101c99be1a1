#ifndef DROVER_NOVA_REST_DOWNLOAD_H
#define DROVER_NOVA_REST_DOWNLOAD_H

/* An exchange of agent/nova/rest_curl.h whose body goes to a file: beside the
 * loop, as it may be large, and writing may have to wait for the disk.
 *
 * Threads: the loop. */

#include "agent/base/worker.h"
#include "agent/nova/rest_curl.h"

struct rest_download;

/* As rest_curl_ops.begin(), on a thread of its own; 'ended' is called on the
 * loop.  What was in the file is replaced.  'fd' and all that 'exchange' names
 * must last until then. */
struct rest_download *rest_download_begin(struct worker_pool *workers,
                                          const struct rest_curl_ops *ops,
                                          const struct rest_exchange *exchange,
                                          int fd, rest_ended *ended, void *aux);

/* Before 'ended', which is called all the same, soon. */
void rest_download_stop(struct rest_download *download);

#endif
