#ifndef DROVER_AGENT_PLACEMENT_H
#define DROVER_AGENT_PLACEMENT_H

/* Finds a destination for an instance of this host, as a conductor would: asks
 * who is there, picks by the rules, has the choice check itself, and goes on to
 * the next if that says no. (spec/live-migration 2.1)
 *
 * Threads: the loop. */

#include "agent/agent.h"
#include "agent/migrate/kind.h"

struct placement_request {
    const struct json *context;
    const struct object *instance;
    const char *dest;               /* Null: whoever will do. */
    const struct json *host;        /* What that one says of itself, as
                                     * host_show; null: it is asked. */
    int block_migration;            /* 1, 0, -1: find out. */
    int disk_over_commit;           /* 1, 0, -1: do not check. */
    const struct object *migration; /* For the check; may be null. */
    enum migrate_kind kind;
};

/* 'rules' says of each host that was looked at whether it will do, or why not:
 * [{host, ok, reason, checks}], with the checks of check_report_rules().  On
 * success 'dest' and 'data' are set. All are the callee's to free. */
typedef void placement_done(void *aux, struct error *error, char *dest,
                            struct object *data, struct json *rules);

/* The request is borrowed for the call only. */
void placement_find(struct agent *agent,
                    const struct placement_request *request,
                    const struct log_context *log, placement_done *done,
                    void *aux);

#endif
