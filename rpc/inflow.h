#ifndef DROVER_RPC_INFLOW_H
#define DROVER_RPC_INFLOW_H

/* How much a connection has received that has not been dealt with yet, so that
 * it stops taking more: the prefetch count bounds the number of requests, not
 * their size, and replies not at all.
 *
 * What it counts is on its way through the loop and its workers, which nothing
 * holds up; so it never waits for long, and not for what comes behind it.
 *
 * Threads: any. */

#include <stdbool.h>
#include <stddef.h>

struct inflow;

/* With one reference, the caller's. */
struct inflow *inflow_create(size_t max_bytes, unsigned max_n);
void inflow_unref(struct inflow *inflow); /* Null is fine. */

/* Something of so many bytes came, which holds a reference until it goes. */
void inflow_came(struct inflow *inflow, size_t bytes);
void inflow_went(struct inflow *inflow, size_t bytes);

bool inflow_is_full(struct inflow *inflow);

#endif
