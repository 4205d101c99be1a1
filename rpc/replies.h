#ifndef DROVER_RPC_REPLIES_H
#define DROVER_RPC_REPLIES_H

/* From what comes to a reply queue to the replies in it.  Large ones are parsed
 * on a worker, and what comes behind them is taken meanwhile.
 *
 * Threads: the loop. */

#include "rpc/delivery.h"
#include "rpc/envelope.h"

struct reply_job;
struct worker_pool;

/* A part of its owner; 'take' and 'aux' are filled in, the rest is zeroed. */
struct replies {
    /* Gets each reply that is one; what it steals of it is its own. */
    void (*take)(void *aux, struct reply *reply);
    void *aux;
    struct worker_pool *workers; /* Null: the loop parses what is large. */
    uint64_t n_refused[N_REFUSALS];

    /* Its own. */
    struct reply_job *parsing; /* In no order. */
    struct reply_job *behind, **behind_tail;
    unsigned n_behind;
};

void replies_deliver(struct replies *replies, const struct delivery *delivery);

/* Nothing is taken any more. */
void replies_close(struct replies *replies);

#endif
