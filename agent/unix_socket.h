#ifndef DROVER_AGENT_UNIX_SOCKET_H
#define DROVER_AGENT_UNIX_SOCKET_H

/* Places in the file system at which the agent listens.
 *
 * Threads: the loop, at the start; nothing here waits. */

#include "agent/base/error.h"

/* Makes the way free for a socket at 'path': its directory, if only that is
 * missing, and removes what an agent left that is gone.  ERR_CONFIG if
 * somebody listens at it, or something else is there. */
struct error *unix_socket_prepare(const char *path) WARN_UNUSED;

/* A listening, non-blocking socket at 'path', for its owner and group only. */
struct error *unix_socket_listen(const char *path, int *ret_fd) WARN_UNUSED;

#endif
