#ifndef DROVER_RPC_ADOPTION_H
#define DROVER_RPC_ADOPTION_H

/* Objects that come from newer peers, made such as we understand.
 * (spec/rpc-wire 8.5)
 *
 * Threads: the loop. */

#include "rpc/conductor.h"

/* Replaces each outermost object in 'json' that is newer than ours, or holds
 * one that is, with what the conductor makes of it, one after the other and
 * each once, in place: 'json' must live, unchanged, until 'done'.  What only
 * marks a fix in a version is dropped; what we do not know at all stays.
 * 'done' is called once, perhaps before this returns, with null or an error
 * (taken): ERR_INCOMPATIBLE_OBJECT for one of another major version, or newer
 * than the conductor's; or any of conductor_done()'s.  'context' is borrowed
 * for the call only. */
void adoption_start(struct conductor *conductor, const struct json *context,
                    struct json *json, unsigned timeout_ms,
                    void (*done)(void *aux, struct error *error), void *aux);

#endif
