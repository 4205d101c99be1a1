#ifndef DROVER_AGENT_LEFTOVER_H
#define DROVER_AGENT_LEFTOVER_H

/* What is left on this host of a guest that has gone, or did not come: a domain
 * and files.
 *
 * A guest that runs here was moved or started here since: then nothing is left,
 * as all there is belongs to it, and that is success.  One that is here and
 * does not run may be the copy that the hypervisor is about to drop: an error,
 * to be tried again.
 *
 * Threads: the loop. */

#include "agent/agent.h"

/* Removes the domain, then 'files' (taken; null: none). */
void leftover_remove(struct agent *agent, const char *uuid,
                     struct prepare_request *files, struct op_ticket *ticket);

/* Removes 'files' alone (taken; its 'uuid' is the guest's). */
void leftover_remove_files(struct agent *agent, struct prepare_request *files,
                           struct op_ticket *ticket);

#endif
