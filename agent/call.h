#ifndef DROVER_AGENT_CALL_H
#define DROVER_AGENT_CALL_H

/* One request of Nova's compute RPC, from its decoding to its answer, with what
 * wraps the method: an action's event, a fault, notifications.
 * (spec/live-migration 1.7)
 *
 * Threads: the loop. */

#include "agent/agent.h"

/* What wraps a method: an action event around it, a fault and two
 * notifications when it fails. (1.7) */
enum wrap {
    WRAP_EVENT = 1 << 0,
    WRAP_FAULT = 1 << 1,
    WRAP_NOTIFY = 1 << 2,
    WRAP_ALL = WRAP_EVENT | WRAP_FAULT | WRAP_NOTIFY,
    WRAP_TURN = 1 << 3, /* None of nova's: it waits its turn, call_run(). */
};

struct call {
    struct agent *agent;
    struct request *request;
    struct object *instance, *migration, *data; /* Null: not an argument. */
    unsigned wraps;
    bool in_queue; /* It has its turn at the instance. */
    void (*start)(struct call *call);
};

/* Takes 'request', of a method whose 'aux' is the agent.  Null: it was no good
 * and is answered. */
struct call *call_begin(void *aux, struct request *request, unsigned wraps);

/* Answers it, with 'result' or 'error'; takes all three. */
void call_end(struct call *call, struct json *result, struct error *error);

/* The same of one whose answer is null, as many a 'done' wants it. */
void call_end_aux(void *call, struct error *error);

/* Has 'start' called when it is the request's turn at its instance. */
void call_run(struct call *call, void (*start)(struct call *call));

/* Rows of a table of methods. */
#define CALL_ARG(NAME)                 \
    {                                  \
        .name = NAME, .required = true \
    }
#define CALL_OPTIONAL(NAME) \
    {                       \
        .name = NAME        \
    }
#define CALL_ONLY_5(NAME)             \
    {                                 \
        .name = NAME, .only_major = 5 \
    }

#endif
