#ifndef DROVER_NOVA_EXTERNAL_EVENTS_H
#define DROVER_NOVA_EXTERNAL_EVENTS_H

/* What Neutron and Cinder tell of instances, by way of Nova's API.
 * (spec/drop-in 10)
 *
 * Each event is acted on in the call, whatever else is being done for its
 * instance: somebody may wait for it.
 *
 * Threads: the loop. */

#include "agent/agent.h"

/* 'instances' and 'events' are the lists of the request, with primitives of
 * Instance and InstanceExternalEvent; all is borrowed for the call. */
void external_events_take(struct agent *agent, const struct json *context,
                          const struct json *instances,
                          const struct json *events,
                          const struct log_context *log);

#endif
