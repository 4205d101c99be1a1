#ifndef DROVER_NOVA_ALLOC_AUDIT_H
#define DROVER_NOVA_ALLOC_AUDIT_H

/* Whether what is allocated of this host in Placement is held by somebody who
 * is here, or on the way. (spec/drop-in 6.5)
 *
 * A consumer is an instance or, while one is moved, its migration.  Only what
 * certainly nobody needs is given back.
 *
 * Pure.
 *
 * Threads: no shared state. */

#include "agent/base/log.h"
#include "agent/nova/node_usage.h"

/* All borrowed. */
struct alloc_audit {
    const struct node_records *records;
    const struct node_usage *usage;
    const struct json *allocations; /* {consumer: ...} of this host. */
};

enum alloc_verdict {
    ALLOC_FINE,
    ALLOC_LEAVE,
    ALLOC_REMOVE,
    ALLOC_ASK, /* It is not known yet who that is. */
};

struct alloc_finding {
    enum alloc_verdict verdict;
    enum log_level level;
    char *text; /* What to log, the caller's; null: nothing. */
};
void alloc_finding_close(struct alloc_finding *finding);

/* By what is known already: ALLOC_FINE, or ALLOC_ASK for the consumer's
 * Instance, deleted ones included. */
enum alloc_verdict alloc_audit_look(const struct alloc_audit *audit,
                                    const char *consumer);

/* 'instance' null: there is none; then ALLOC_ASK for a Migration. */
struct alloc_finding alloc_audit_instance(const struct alloc_audit *audit,
                                          const char *consumer,
                                          const struct json *instance);

/* 'migration' null: there is none either. */
struct alloc_finding alloc_audit_migration(const struct alloc_audit *audit,
                                           const char *consumer,
                                           const struct json *migration);

#endif
