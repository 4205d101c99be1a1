#ifndef DROVER_DRAIN_PLAN_H
#define DROVER_DRAIN_PLAN_H

/* Who goes where when a host is drained: the decision, without asking anything
 * of anybody.
 *
 * The largest guests choose first, each the host that has the most memory left
 * (of equals the first by name), so that the load is spread.  A guest that
 * finds no room makes some, if one smaller guest that chose before can go
 * elsewhere.  No host is given more than it has free.  The same input gives the
 * same plan, in whatever order it comes.
 *
 * Threads: no shared state. */

#include <stddef.h>
#include <stdint.h>

#include "agent/base/mem.h"

struct drain_guest {
    const char *uuid;
    int64_t memory_mb;
    const char *stuck; /* Why it can't be moved at all; null: it can. */
};

struct drain_host {
    const char *name; /* Of no other host here. */
    int64_t memory_free_mb;
    const char *barred; /* Why it takes no guests; null: it does. */
};

/* 'host' will not have 'guest': indices into the arrays of the problem. */
struct drain_refusal {
    size_t guest, host;
    const char *reason;
};

struct drain_problem {
    const struct drain_guest *guests;
    size_t n_guests;
    const struct drain_host *hosts;
    size_t n_hosts;
    const struct drain_refusal *refusals;
    size_t n_refusals;
};

#define DRAIN_NOWHERE SIZE_MAX

struct drain_choice {
    size_t host;  /* Or DRAIN_NOWHERE. */
    char *reason; /* Why nowhere, what the hosts say; else null. */
};

/* One choice for each guest, in their order; the caller's, to be freed with
 * drain_choices_free(). */
struct drain_choice *drain_plan(const struct drain_problem *problem);
void drain_choices_free(struct drain_choice *choices, size_t n);

#endif
