#ifndef DROVER_RPC_DISPATCH_H
#define DROVER_RPC_DISPATCH_H

/* Which method serves a request, and whether its arguments fit.
 * (spec/rpc-wire 3.3, 3.4)
 *
 * Pure.  Threads: any. */

#include "rpc/envelope.h"
#include "rpc/server.h"

/* ERR_UNSUPPORTED_VERSION when no endpoint has the namespace and a version
 * that fits, which an unknown namespace reads as, too; ERR_NO_SUCH_METHOD when
 * some have and none has the method; ERR_TYPE, in Python's words, when the
 * arguments are not the method's. */
struct error *dispatch_find(const struct rpc_endpoint *endpoints, size_t n,
                            const struct envelope *env,
                            const struct rpc_endpoint **ret_endpoint,
                            const struct rpc_method **ret_method) WARN_UNUSED;

#endif
