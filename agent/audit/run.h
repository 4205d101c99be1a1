#ifndef DROVER_AUDIT_RUN_H
#define DROVER_AUDIT_RUN_H

/* An audit: gathers the facts of all hosts twice, and tells the contradictions
 * that were there both times.
 *
 * Threads: the loop. */

#include "agent/agent.h"

/* {host, hosts: [that answered], silent: [that are known and did not],
 * findings: see audit_judge(), but those of this host that were to be mended
 * have 'mended' and 'error' (null: none)}; the callee's to free.  With 'repair'
 * what can be mended for certain on this host is. */
typedef void audit_done(void *aux, struct error *error, struct json *result);
void audit_run(struct agent *agent, const struct json *context,
               const struct log_context *log, bool repair, audit_done *done,
               void *aux);

#endif
