#include <config.h>

#include "agent/converge.h"

#include <limits.h>

#define GAIN_FRACTION 20 /* One in so many is a gain. */

static bool is_gain(const struct converge *converge, int64_t left);
static unsigned what_is_due(const struct converge *converge, unsigned before);

void
converge_init(struct converge *converge, const struct convergence *policy)
{
    *converge = (struct converge){.policy = *policy, .best = -1};
}

unsigned
converge_run(struct converge *converge, const struct job_stats *stats)
{
    int64_t left = stats->memory_remaining;
    int64_t n_over = stats->iteration - converge->iteration;

    /* Disks go before memory, and have no iterations. */
    if (stats->iteration < 1 || left < 0 || n_over == 0) {
        return 0;
    }
    bool is_first_look = converge->iteration == 0 || n_over < 0;
    converge->iteration = stats->iteration;
    if (is_first_look) {
        return 0;
    }
    if (is_gain(converge, left)) {
        converge->best = left;
        converge->n_stalled = 0;
        return 0;
    }
    unsigned before = converge->n_stalled;
    converge->n_stalled =
        n_over < INT_MAX - before ? before + (unsigned)n_over : INT_MAX;
    return what_is_due(converge, before);
}

static bool
is_gain(const struct converge *converge, int64_t left)
{
    return converge->best < 0 ||
           (left < converge->best &&
            left <= converge->best - converge->best / GAIN_FRACTION);
}

static unsigned
what_is_due(const struct converge *converge, unsigned before)
{
    unsigned due = 0;

    for (size_t i = 0; i < converge->policy.n_steps; i++) {
        const struct convergence_step *step = &converge->policy.steps[i];
        bool is_new =
            before < step->after || step->action == CONVERGENCE_DOWNTIME;

        if (step->after <= converge->n_stalled && is_new) {
            due |= step->action;
        }
    }
    return due;
}
