#ifndef DROVER_AGENT_INSTANCE_QUEUE_H
#define DROVER_AGENT_INSTANCE_QUEUE_H

/* Work for one instance queues behind each other; that for different ones does
 * not.
 *
 * Threads: the loop. */

#include <stdbool.h>

struct instance_queue;

/* How much may wait for one instance.  A migration asks for three things, one
 * after the other, each perhaps once more when it is tried again; whoever sends
 * more than this has lost his mind, and must not take the room of others. */
#define INSTANCE_QUEUE_MAX 64

struct instance_queue *instance_queue_create(void);
/* Whoever still waits is forgotten.  Null is fine. */
void instance_queue_free(struct instance_queue *queue);

/* Has so much waiting that no more may enter. */
bool instance_queue_is_full(const struct instance_queue *queue,
                            const char *uuid);

/* Calls start(aux) when it is this work's turn: at once, if nothing is before
 * it.  The turn lasts until instance_queue_leave(), which may come from within
 * start() and calls that of the next. */
void instance_queue_enter(struct instance_queue *queue, const char *uuid,
                          void (*start)(void *aux), void *aux);
void instance_queue_leave(struct instance_queue *queue, const char *uuid);

/* How much waits or works for it. */
unsigned instance_queue_length(const struct instance_queue *queue,
                               const char *uuid);

#endif
