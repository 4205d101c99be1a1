#ifndef DROVER_AGENT_HTTP_H
#define DROVER_AGENT_HTTP_H

/* Answers machines that watch over hosts, by HTTP: on a socket of this host
 * always, on a port if one is configured.
 *
 *   GET /metrics   the numbers of agent/report.h
 *   GET /health    200, or 503 if the agent is not fit for work
 *
 * This module listens and knows the answers; the protocol is that of
 * agent/http_server.h, a module that is loaded, off the loop, for the first
 * client.  One server, with one limit, has the clients of both listeners.
 *
 * Threads: the loop. */

#include "agent/agent.h"

struct http;

/* ERR_CONFIG if it can't listen, or if the configuration has a port and drover
 * was built without the module. */
struct error *http_create(struct agent *agent, struct http **ret) WARN_UNUSED;

/* Hangs up and removes the socket; null is fine.  The loop must run until the
 * handles are closed, and the agent's completions are through. */
void http_close(struct http *http);

#endif
