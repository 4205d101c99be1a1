#ifndef DROVER_RPC_UNCONFIRMED_H
#define DROVER_RPC_UNCONFIRMED_H

/* What was sent and the broker has not confirmed yet, bounded.
 * (spec/rpc-wire 6.5, 6.6)
 *
 * A new channel is not trusted until it has confirmed something, or a second
 * has passed: a broker short of memory tells so only after the first message,
 * and what is behind that would arrive late or twice.
 *
 * Pure.  Threads: one at a time. */

#include "rpc/message.h"

/* With so many the broker is left to catch up. */
#define UNCONFIRMED_MAX 2048

/* What a broker has not confirmed after so long it never will: a queue that
 * has lost its leader, say. */
#define UNCONFIRMED_AGE_MS 60000

/* A message that has been on so many channels when they were closed is taken
 * for the reason. */
#define UNCONFIRMED_REFUSED_MAX 3

struct unconfirmed {
    struct message_list list; /* In the order of their tags. */
    size_t bytes, max_bytes;
    uint64_t last_tag, opened_ms;
    bool is_trusted;
};

/* A channel was opened; 'list' is empty, its messages were taken. */
void unconfirmed_open(struct unconfirmed *u, uint64_t now_ms);

/* How many may be sent now. */
size_t unconfirmed_room(const struct unconfirmed *u, uint64_t now_ms);

/* Takes 'message', which is about to be sent, and numbers it. */
void unconfirmed_add(struct unconfirmed *u, struct message *message,
                     uint64_t now_ms);

/* Moves to 'ret' what the broker confirmed, or refused. */
void unconfirmed_take(struct unconfirmed *u, uint64_t tag, bool multiple,
                      struct message_list *ret);

/* Moves to 'ret' what nobody waits for any more, and, while there is no room,
 * what is old and may be dropped. */
void unconfirmed_take_old(struct unconfirmed *u, uint64_t now_ms,
                          struct message_list *ret);

/* Moves all to 'ret'. */
void unconfirmed_take_all(struct unconfirmed *u, struct message_list *ret);

/* A message came back; it names no tag, but a body of ours is unique by its
 * _unique_id.  The message, to be confirmed yet, or null. */
const struct message *unconfirmed_return(struct unconfirmed *u, const char *key,
                                         const char *body, size_t size);

/* Should 'message' go again?  Nobody knows whether it arrived, a receiver drops
 * the second by its _unique_id; a request goes again only once.  'refused': it
 * was not the network but the broker that did not want it, or another one. */
bool unconfirmed_goes_again(struct message *message, bool refused);

#endif
