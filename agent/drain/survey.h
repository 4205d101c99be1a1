#ifndef DROVER_DRAIN_SURVEY_H
#define DROVER_DRAIN_SURVEY_H

/* What agent/drain/plan.h decides on: the guests of this host, what the other
 * hosts have free, and, by their pre-checks, whom they will not have.
 *
 * A plan is made, each host checks whom it is to get, and as long as one
 * refuses another plan is made: nobody is asked about a guest that would not
 * come to it.  It leaves nothing behind.
 *
 * Threads: the loop. */

#include "agent/agent.h"

/* The plan is the callee's to free:
 * {host, hosts: [{host, memory_free_mb, memory_mb, n_guests,
 *  memory_after_mb, reason}], guests: [{uuid, name, memory_mb, disk_mb, dest,
 *  reason, forecast}]}
 * A host's 'reason' is why it takes none, a guest's why 'dest' is null; a
 * 'forecast' see forecast.h; what is not known is null. */
typedef void drain_survey_done(void *aux, struct error *error,
                               struct json *plan);

/* 'to' is an array of host names, borrowed; null: all others. */
void drain_survey(struct agent *agent, const struct json *context,
                  const struct json *to, const struct log_context *log,
                  drain_survey_done *done, void *aux);

#endif
