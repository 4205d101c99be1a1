#ifndef DROVER_RPC_ACK_WINDOW_H
#define DROVER_RPC_ACK_WINDOW_H

/* Which deliveries of one channel are still to be acknowledged, so that many
 * can be acknowledged by one method.
 *
 * Delivery tags count from 1 on each channel.  "All up to T" may only be said
 * of a T that is itself outstanding, or the broker closes the channel.
 *
 * Pure.  Threads: one at a time. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ack_window {
    uint64_t first;       /* Tag of the first that is kept, 0 before any. */
    unsigned char *state; /* Ring of 'room', a power of 2. */
    size_t n, room;
    uint64_t *marked; /* Tags that may be sent on their own. */
    size_t n_marked, room_marked;
};

void ack_window_close(struct ack_window *window);
void ack_window_reset(struct ack_window *window); /* A new channel. */

void ack_window_add(struct ack_window *window, uint64_t tag);

/* 'tag' shall be acknowledged.  False if it is not outstanding. */
bool ack_window_mark(struct ack_window *window, uint64_t tag);

/* 'tag' has been settled in another way.  False if it is not outstanding. */
bool ack_window_forget(struct ack_window *window, uint64_t tag);

/* The next acknowledgement to send; false when there is none. */
bool ack_window_next(struct ack_window *window, uint64_t *ret_tag,
                     bool *ret_multiple);

#endif
