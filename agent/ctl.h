#ifndef DROVER_AGENT_CTL_H
#define DROVER_AGENT_CTL_H

/* The control socket: what droverctl asks of the agent of its own host, also
 * when the bus is away.
 *
 * A stream socket of the local host; who may connect is decided by its mode
 * (0660) and directory.  A line each way:
 *
 *   {"method": "status", "args": {}, "id": 1}
 *   {"result": {...}, "id": 1}
 *   {"failure": {"class": "TypeError", "message": ...}, "id": 1}
 *
 * "method" is one of agent/api/api.h; "args" and "id" may be left out, "id"
 * comes back as it was.  Answers come in the order in which they are ready.
 * Lines, clients and what waits to be read by a client are bounded.
 *
 * Whoever uses it ignores SIGPIPE: clients leave when they like.
 *
 * Threads: the loop. */

#include "agent/agent.h"

struct ctl;

/* Listens at 'path', making its directory if that is missing.  The socket of
 * an agent that is gone is replaced; ERR_CONFIG if another agent answers at
 * it, or if it can't be made (the loop must run even then, to let go). */
struct error *ctl_create(struct agent *agent, const char *path,
                         struct ctl **ret) WARN_UNUSED;

/* Hangs up and removes the socket; null is fine.  The loop must run until the
 * handles are closed; answers that come later are dropped. */
void ctl_close(struct ctl *ctl);

#endif
