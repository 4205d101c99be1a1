#ifndef DROVER_AGENT_PEER_H
#define DROVER_AGENT_PEER_H

/* Calls to the compute agents of other hosts. (spec/live-migration 1.3, 1.4)
 *
 * Threads: the loop. */

#include "agent/agent.h"

/* Long calls run under long_rpc_timeout and ask for keep-alives, the others
 * under rpc_response_timeout. */
enum peer_patience { PEER_SHORT, PEER_LONG };

/* Takes 'args'.  'context' is borrowed; null: work of our own. */
void peer_call(struct agent *agent, const char *host, const char *method,
               struct json *args, const struct json *context,
               enum peer_patience patience, rpc_done *done, void *aux);
void peer_cast(struct agent *agent, const char *host, const char *method,
               struct json *args, const struct json *context,
               void (*done)(void *aux, struct error *error), void *aux);

/* The same in namespace "drover" 1.0. */
void peer_call_drover(struct agent *agent, const char *host, const char *method,
                      struct json *args, const struct json *context,
                      enum peer_patience patience, rpc_done *done, void *aux);

/* Asks all drovers for 'method'; each and end as rpc_gather(). */
void peer_gather(struct agent *agent, const char *method, struct json *args,
                 const struct json *context, rpc_each *each,
                 void (*end)(void *aux), void *aux);

#endif
