#ifndef DROVER_RPC_DELIVERY_H
#define DROVER_RPC_DELIVERY_H

/* From what arrived to the JSON text in it. (spec/rpc-wire 2.1, 2.2)
 *
 * Pure.  Threads: any, but for what is said of delivery_keep(). */

#include "rpc/message.h"

/* Why a delivery was refused: each has a counter of its own. */
enum refusal {
    REFUSAL_TYPE,        /* Its content type is not application/json. */
    REFUSAL_SIZE,        /* It has too many bytes, or would when inflated. */
    REFUSAL_COMPRESSION, /* It is damaged. */
    REFUSAL_BODY,        /* It is no JSON, or no message of ours. */
    N_REFUSALS
};

/* Stores the text in '*ret_body' and '*ret_size': it is the delivery's own, or
 * was inflated and then is also in '*ret_inflated', the caller's, which is
 * null otherwise.  ERR_BAD_MESSAGE for another content type than
 * application/json, and for more than 'max' bytes; then '*ret_why' says which,
 * unless it is null. */
struct error *delivery_open(const struct delivery *delivery, size_t max,
                            char **ret_inflated, const char **ret_body,
                            size_t *ret_size,
                            enum refusal *ret_why) WARN_UNUSED;

/* What 'delivery' holds beyond the call in which it came: to be called there;
 * what is returned is good until delivery_release(), on any thread. */
const struct delivery *delivery_keep(const struct delivery *delivery);
void delivery_release(const struct delivery *kept); /* Null is fine. */

#endif
