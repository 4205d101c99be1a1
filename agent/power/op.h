#ifndef DROVER_POWER_OP_H
#define DROVER_POWER_OP_H

/* Starting, stopping and the like, as operations: what agent/power/power.h says
 * is next is done, with records and notifications as Nova has them.  An agent
 * that is restarted in the middle goes on where it was.
 *
 * The instance waits its turn (agent/instance_queue.h) before, and leaves it
 * after.  (spec/drop-in 12)
 *
 * Threads: the loop. */

#include "agent/agent.h"
#include "agent/power/power.h"

extern const struct op_type power_type;

struct power_request {
    const struct json *context;
    const struct object *instance;
    enum power_order order;
    bool is_hard;    /* Stop or reboot without asking the guest. */
    const char *key; /* By which it is known when it is told twice. */
};

/* Carries it out; all of the request is borrowed.  'done' is called at its end,
 * with null or why it did not come about; after the former all records are
 * written.  Told twice, the second is a success at once. */
void power_start(struct agent *agent, const struct power_request *request,
                 const struct log_context *log,
                 void (*done)(void *aux, struct error *error), void *aux);

/* After the journal was loaded: those under way have their instances' turn. */
void power_take_turns(struct agent *agent);

/* What waits for the guest looks at once. */
void power_event(struct agent *agent, const struct driver_event *event);

#endif
