#ifndef DROVER_CONF_CONVERGENCE_H
#define DROVER_CONF_CONVERGENCE_H

/* What live_migration_convergence says: when a migration gains no more, what is
 * done about it.
 *
 * Either "nova", for Nova's schedule, or steps such as
 * "2:downtime,4:throttle,6:postcopy,8:abort": after how many iterations
 * without gain (agent/converge.h) which action is taken.  No action stands
 * twice, and the numbers do not fall.
 *
 * Threads: no shared state; any. */

#include <stddef.h>

#include "agent/base/error.h"

enum convergence_action {
    CONVERGENCE_DOWNTIME = 1 << 0, /* Accept a longer pause. */
    CONVERGENCE_THROTTLE = 1 << 1, /* Slow the guest's CPUs. */
    CONVERGENCE_POSTCOPY = 1 << 2,
    CONVERGENCE_ABORT = 1 << 3,
};
#define CONVERGENCE_N_ACTIONS 4

#define CONVERGENCE_MAX_ITERATIONS 1000

struct convergence {
    size_t n_steps; /* 0: Nova's schedule. */
    struct convergence_step {
        unsigned after; /* Iterations without gain; at least 1. */
        enum convergence_action action;
    } steps[CONVERGENCE_N_ACTIONS];
};

/* ERR_CONFIG says what is wrong with 'text', and leaves '*ret' alone. */
struct error *convergence_parse(const char *text,
                                struct convergence *ret) WARN_UNUSED;

/* A set of enum convergence_action: all that it may come to. */
unsigned convergence_actions(const struct convergence *convergence);

/* Without the steps of the 'actions', which are not permitted.  What is left
 * may be Nova's schedule. */
void convergence_drop(struct convergence *convergence, unsigned actions);

#endif
