#ifndef DROVER_AGENT_SLOTS_H
#define DROVER_AGENT_SLOTS_H

/* A limited number of places, given out first come, first served.
 * (spec/live-migration 4.1)
 *
 * Threads: the loop. */

#include <stdbool.h>

struct slots;
struct slot; /* A place, or one's wait for it. */

struct slots *slots_create(unsigned n); /* 0: no limit. */
void slots_free(struct slots *slots);

/* Calls granted(aux) when a place is free: at once, if one is. */
struct slot *slots_request(struct slots *slots, void (*granted)(void *aux),
                           void *aux);
bool slot_is_granted(const struct slot *slot);

/* A place, whether one is free or not. */
struct slot *slots_take(struct slots *slots);

/* Who asks now would have to wait. */
bool slots_are_full(const struct slots *slots);

/* Places that are taken, and those who wait for one. */
unsigned slots_n_used(const struct slots *slots);
unsigned slots_n_waiting(const struct slots *slots);

/* Gives the place back, or leaves the queue.  Null is fine. */
void slot_release(struct slot *slot);

#endif
