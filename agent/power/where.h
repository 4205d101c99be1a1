#ifndef DROVER_POWER_WHERE_H
#define DROVER_POWER_WHERE_H

/* May this host do something to a guest, or start it?
 *
 * Not while it is on its way.  And before it is started, what is left here of
 * an earlier migration must be over, and if the last one is not known to have
 * ended well, the other host is asked whether the guest runs there.
 * (spec/live-migration 8.3, (d))
 *
 * Threads: the loop. */

#include "agent/agent.h"

/* 'done' gets null, or why not. */
void power_where_ask(struct agent *agent, const struct json *context,
                     const char *instance_uuid, bool is_to_start,
                     void (*done)(void *aux, struct error *error), void *aux);

/* The host to ask because of the newest migration of an instance, borrowed from
 * it; null: none.  Pure. */
const char *power_where_doubt(const struct object *migration,
                              const char *own_host);

#endif
