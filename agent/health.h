#ifndef DROVER_AGENT_HEALTH_H
#define DROVER_AGENT_HEALTH_H

/* Is the agent fit for work?  A pure core: facts in, verdict out.
 *
 * Failed means that it can't do what is asked of it, be it because nothing
 * reaches it or because the hypervisor does not answer; degraded, that
 * somebody should look.
 *
 * Threads: no shared state. */

#include "agent/self_test.h"
#include "rpc/json.h"

enum health { HEALTH_OK, HEALTH_DEGRADED, HEALTH_FAILED };

struct health_facts {
    bool is_stopping;
    bool has_bus, bus_is_up, bus_is_blocked;
    bool hypervisor_is_up;
    bool has_self_test;
    enum self_test_state self_test;
    const char *self_test_reason; /* Null: none. */
    const char *unsaved_reason;   /* Null: all is on disk. */
    unsigned n_residue;
};

/* Also adds {status: "ok", "degraded" or "failed", reasons: [{what, status,
 * reason}]} to 'json'. */
enum health health_judge(const struct health_facts *facts, struct json *json);

#endif
