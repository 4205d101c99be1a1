#ifndef DROVER_NOVA_GROUP_POLICY_H
#define DROVER_NOVA_GROUP_POLICY_H

/* May an instance be on this host by the policy of its server group?
 *
 * Schedulers decide that, but of a moment that is over: two may have sent
 * members of a group here at once, and a user who names the host asks none.
 * (spec/live-migration 2.3, 3.1)
 *
 * Threads: the loop. */

#include "agent/nova/nova.h"

/* Asks the conductor; 'context' is borrowed for the call, 'instance' is its
 * UUID.  'done' is called once, perhaps before this returns, with null if it
 * is in no group, or may be here; ERR_GROUP_AFFINITY_VIOLATION, or why it is
 * not known. */
void group_policy_check(struct nova *nova, const struct json *context,
                        const char *instance, attach_done *done, void *aux);

#endif
