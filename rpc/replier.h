#ifndef DROVER_RPC_REPLIER_H
#define DROVER_RPC_REPLIER_H

/* Gets replies to their callers. (spec/rpc-wire 5.2.6)
 *
 * A reply queue that is not there may come back: its owner may be reconnecting.
 * Such a reply is tried again, from a timer, for a while; then the queue is
 * taken for gone, and what else goes there is dropped for a minute.
 *
 * Threads: the loop. */

#include "rpc/deadline.h"
#include "rpc/message.h"

struct replier;

struct replier_counters {
    uint64_t n_sent, n_dropped;
};

/* 'patience_s': how long a reply is tried again. */
struct replier *replier_create(struct transport *transport,
                               struct deadlines *deadlines,
                               unsigned patience_s);

/* What is held is dropped.  The memory goes once the transport has settled all
 * that it was given. */
void replier_close(struct replier *replier);

/* Sends the 'size' bytes at 'body', which it takes, to 'queue'; of no use to
 * anyone after 'deadline_ms' (of clock_now_ms()). */
void replier_send(struct replier *replier, const char *queue, char *body,
                  size_t size, uint64_t deadline_ms);

/* A sign of life: tried once.  'no_route' (may be null) is called if nobody is
 * there to hear it. */
void replier_send_once(struct replier *replier, const char *queue, char *body,
                       size_t size, uint64_t deadline_ms,
                       void (*no_route)(void *aux, uint64_t id), void *aux,
                       uint64_t id);

/* Is nobody there, as far as is known? */
bool replier_is_gone(const struct replier *replier, const char *queue);

struct replier_counters replier_counters(const struct replier *replier);

#endif
