#ifndef DROVER_NOVA_ALLOC_AUDITOR_H
#define DROVER_NOVA_ALLOC_AUDITOR_H

/* Asks who the consumers of this host's resource provider are that are not
 * known here, and gives back what alloc_audit.h says that nobody needs.
 * (spec/drop-in 6.5)
 *
 * What is found is told once for as long as it is so.
 *
 * Threads: the loop. */

#include "agent/nova/alloc_audit.h"
#include "rpc/conductor.h"

struct alloc_auditor;
struct service;

/* Both must last. */
struct alloc_auditor *alloc_auditor_create(struct conductor *conductor,
                                           struct service *placement);
/* None is under way; null is fine. */
void alloc_auditor_free(struct alloc_auditor *auditor);

/* One at a time.  'provider' is its UUID; 'context' is that of our own work;
 * these, 'records' and 'usage' are borrowed until 'done', which is called once,
 * perhaps before the function returns.  Errors: those of
 * agent/nova/placement_api.h and rpc/conductor.h, and then the rest is not
 * looked at. */
void alloc_auditor_run(struct alloc_auditor *auditor,
                       const struct json *context, const char *provider,
                       const struct node_records *records,
                       const struct node_usage *usage,
                       void (*done)(void *aux, struct error *error), void *aux);

#endif
