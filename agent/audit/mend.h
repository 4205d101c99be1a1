#ifndef DROVER_AUDIT_MEND_H
#define DROVER_AUDIT_MEND_H

/* Mends one contradiction that an audit found, as a journalled operation.
 *
 * What the audit concluded from several hosts is old by the time: before
 * anything is changed this host is looked at again, and nothing is done for an
 * instance that has become an operation's.  An operation that was interrupted
 * is not taken up: the next audit says what is left.
 *
 * Threads: the loop. */

#include "agent/agent.h"

extern const struct op_type audit_mend_type;

/* 'finding' is one of audit_judge() with a mend, of this host; borrowed. */
void audit_mend_start(struct agent *agent, const struct json *finding,
                      const struct json *context, const struct log_context *log,
                      void (*done)(void *aux, struct error *error), void *aux);

#endif
