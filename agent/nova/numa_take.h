#ifndef DROVER_NOVA_NUMA_TAKE_H
#define DROVER_NOVA_NUMA_TAKE_H

/* The end of a claim that was used: the instance has come, and what its
 * migration context says that it gets is what it has. (spec/live-migration 5.5)
 *
 * Nothing is written here.  The save that says where the instance is has its
 * nodes, too, and only then the context goes: at no moment are they nobody's,
 * and whoever is stopped in between does the same again.
 *
 * Threads: the loop. */

#include "agent/nova/conductor_work.h"
#include "agent/records_answer.h"

/* As struct records_ops has it; 'q' brings the answer. */
struct numa_take_place {
    struct conductor_works *works;
    struct completion_queue *q;
    const char *host; /* Borrowed until 'done'. */
    unsigned patience_ms;
};
void numa_take(const struct numa_take_place *place, const struct json *context,
               const struct object *instance, records_object_done *done,
               void *aux);

#endif
