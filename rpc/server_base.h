#ifndef DROVER_RPC_SERVER_BASE_H
#define DROVER_RPC_SERVER_BASE_H

/* The endpoints that every service of Nova's has. (spec/rpc-wire 3.3)
 *
 * Threads: the loop. */

#include "rpc/server.h"

/* Namespace "baseapi" 1.1: ping, which answers with 'service' (borrowed until
 * the server is closed), and get_backdoor_port. */
void server_base_add(struct rpc_server *server, const char *service);

/* oslo_rpc_server_ping, in the null namespace; of the option
 * rpc_ping_enabled. */
void server_base_add_ping(struct rpc_server *server);

#endif
