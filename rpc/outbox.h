#ifndef DROVER_RPC_OUTBOX_H
#define DROVER_RPC_OUTBOX_H

/* What waits to be published, bounded.
 *
 * Messages leave in the order in which they came.  When room runs out, the
 * oldest of the lowest class goes first (enum message_class); the highest
 * class is never dropped, and so may exceed the bound.
 *
 * Pure.  Threads: one at a time. */

#include "rpc/message.h"

struct outbox {
    struct message_list lists[MESSAGE_FINAL + 1]; /* By class. */
    size_t n, bytes, max_bytes;
    uint64_t n_numbered;
};

/* Takes 'message'.  What must go to make room, perhaps the message itself, is
 * appended to 'dropped'. */
void outbox_push(struct outbox *box, struct message *message,
                 struct message_list *dropped);

/* Takes back what was popped; it keeps its place, and the same rule holds. */
void outbox_put_back(struct outbox *box, struct message *message,
                     struct message_list *dropped);

/* The next one, the caller's; null when empty. */
struct message *outbox_pop(struct outbox *box);

/* Appends to 'expired' what need not be sent any more. */
void outbox_expire(struct outbox *box, uint64_t now_ms,
                   struct message_list *expired);

#endif
