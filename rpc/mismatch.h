#ifndef DROVER_RPC_MISMATCH_H
#define DROVER_RPC_MISMATCH_H

/* What a broker means when it says that an exchange or queue is there already,
 * and otherwise: "PRECONDITION_FAILED - inequivalent arg 'durable' for queue
 * 'compute' in vhost '/': ...".  (spec/rpc-wire 1.5)
 *
 * Pure.  Threads: any. */

#include <stdbool.h>

enum mismatch_of {
    MISMATCH_SHARED,    /* The RPC exchange, and queues in it. */
    MISMATCH_TRANSIENT, /* Reply and fanout queues, and the fanout exchange. */
    MISMATCH_STREAM,    /* The stream that all take fanouts from. */
};

/* Whether it is that: other preconditions fail, too. */
bool mismatch_is(const char *text);

/* The options that decide what the broker's 'text' complains of; null if it is
 * none of ours. */
const char *mismatch_option(const char *text, enum mismatch_of of);

#endif
