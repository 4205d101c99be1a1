#ifndef DROVER_RPC_DELIVERY_H
#define DROVER_RPC_DELIVERY_H

/* From what arrived to the JSON text in it. (spec/rpc-wire 2.1, 2.2)
 *
 * Pure.  Threads: any. */

#include "rpc/message.h"

/* Stores the text in '*ret_body' and '*ret_size': it is the delivery's own, or
 * was inflated and then is also in '*ret_inflated', the caller's, which is
 * null otherwise.  ERR_BAD_MESSAGE for another content type than
 * application/json, and for more than 'max' bytes. */
struct error *delivery_open(const struct delivery *delivery, size_t max,
                            char **ret_inflated, const char **ret_body,
                            size_t *ret_size) WARN_UNUSED;

#endif
