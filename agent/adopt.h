#ifndef DROVER_AGENT_ADOPT_H
#define DROVER_AGENT_ADOPT_H

/* Keeps the records of this host's guests as the hypervisor has them: all of
 * them at start and whenever the hypervisor comes back, one when it says that
 * something happened to it.  Only without a control plane.
 *
 * Absence of an answer is never absence of a guest: records go only when the
 * hypervisor was asked and says that there is none.
 *
 * Threads: the loop. */

#include "agent/agent.h"

/* Lists all guests; 'done' (may be null) gets an error if the hypervisor did
 * not answer, and then nothing is changed. */
void adopt_all(struct agent *agent,
               void (*done)(void *aux, struct error *error), void *aux);

/* Brings one guest up to date.  What the hypervisor said of it while an
 * operation decided about its record was passed over. */
void adopt_again(struct agent *agent, const char *uuid);

/* Lists all every sync_power_state_interval, should an event have been lost. */
void adopt_regularly(struct agent *agent);
void adopt_regularly_stop(struct agent *agent);

/* What the driver tells unasked. */
void adopt_event(struct agent *agent, const struct driver_event *event);

#endif
