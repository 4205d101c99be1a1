#ifndef DROVER_NOVA_NUMA_TAKE_H
#define DROVER_NOVA_NUMA_TAKE_H

/* The end of a claim that was used: the instance has come, and what its
 * migration context says that it gets is what it has. (spec/live-migration 5.5)
 *
 * Recorded before the context goes, so that whoever is stopped in between does
 * the same again.
 *
 * Threads: the loop. */

#include "agent/nova/conductor_work.h"
#include "agent/records_answer.h"

/* As struct records_ops has it, by way of 'records', which are those behind
 * 'works'; borrowed until 'done', which 'q' brings. */
struct numa_take_place {
    struct records *records;
    struct conductor_works *works;
    struct completion_queue *q;
    unsigned patience_ms;
};
void numa_take(const struct numa_take_place *place, const struct json *context,
               const struct object *instance, records_object_done *done,
               void *aux);

#endif
