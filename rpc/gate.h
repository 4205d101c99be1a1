#ifndef DROVER_RPC_GATE_H
#define DROVER_RPC_GATE_H

/* What a server's requests pass on their way to a method: objects that are
 * newer than ours are made older by the conductor (rpc/adoption.h), or the
 * request fails.
 *
 * Requests about one instance keep their order: those that come while an
 * earlier one is still here wait behind it.
 *
 * Threads: the loop. */

#include "rpc/conductor.h"
#include "rpc/server.h"

struct gate;

/* Stands before all methods of 'server' from now on.  No request waits longer
 * than 'timeout_ms' for an object of its own. */
struct gate *gate_create(struct rpc_server *server, struct conductor *conductor,
                         unsigned timeout_ms);

/* Before the conductor and the server are closed.  Requests that wait go on
 * or fail when the conductor answers or is closed; then the memory goes. */
void gate_close(struct gate *gate);

/* How many requests are here. */
unsigned gate_n_waiting(const struct gate *gate);

#endif
