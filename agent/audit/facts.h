#ifndef DROVER_AUDIT_FACTS_H
#define DROVER_AUDIT_FACTS_H

/* What this host has to say to an audit, as agent/audit/audit.h wants it.
 *
 * Threads: the loop. */

#include "agent/agent.h"

/* 'facts' is the callee's to free.  An error if anything could not be asked:
 * facts that lack something would be taken for evidence. */
void audit_facts(struct agent *agent, const struct json *context,
                 void (*done)(void *aux, struct error *error,
                              struct json *facts),
                 void *aux);

/* Before the agent goes: those under way end with ERR_CANCELLED. */
void audit_facts_cancel(struct agent *agent);

#endif
