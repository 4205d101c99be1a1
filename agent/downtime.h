#ifndef DROVER_AGENT_DOWNTIME_H
#define DROVER_AGENT_DOWNTIME_H

/* How long a pause of the guest is accepted at its migration's end, and when
 * more: a pure core, of agent/monitor.c.
 *
 * By Nova's schedule time raises it, in even steps from a part of the longest
 * to the longest.  (spec/live-migration 4.6)  By a policy (conf/convergence.h)
 * it begins with the same part and is doubled, up to the longest, each time
 * that the policy asks; if the policy never does, it is the longest at once.
 * A pause that was set by hand stays.
 *
 * Threads: no shared state. */

#include <stdbool.h>
#include <stdint.h>

struct downtime_options {
    unsigned max_ms, n_steps;
    uint64_t delay_ms; /* Between two steps of the schedule. */
    bool has_policy, policy_raises;
};

struct downtime {
    struct downtime_options options;
    int step;           /* Of the schedule, the last one set; -1: none. */
    unsigned ms;        /* The last one that is ours; 0: none. */
    unsigned wanted_ms; /* By hand, and still to be set; 0: nothing. */
    bool is_held;
};

void downtime_init(struct downtime *downtime,
                   const struct downtime_options *options);

/* What is to be set now; 0: nothing. 'raise': the policy asks for more. */
unsigned downtime_run(struct downtime *downtime, uint64_t elapsed_ms,
                      bool raise);

/* Somebody wants 'ms' and no other from now on. */
void downtime_hold(struct downtime *downtime, unsigned ms);

/* The job has what somebody else gave it, and shall keep it. */
void downtime_leave(struct downtime *downtime);

/* Could it be that this was set here?  To ask of what a job has that an earlier
 * run of the agent has begun. */
bool downtime_is_own(const struct downtime *downtime, unsigned ms);

#endif
