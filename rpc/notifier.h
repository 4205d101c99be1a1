#ifndef DROVER_RPC_NOTIFIER_H
#define DROVER_RPC_NOTIFIER_H

/* Publishes notifications. (spec/rpc-wire 7)
 *
 * Threads: the loop. */

#include "rpc/json.h"
#include "rpc/message.h"

struct notifier;

struct notifier_options {
    const char *exchange;
    bool messaging;   /* Driver "messaging": bare. */
    bool messagingv2; /* Driver "messagingv2": in an envelope. */
    int retry;        /* -1: until there is no room, which there always is for
                       * events named "....end"; else attempts. */
};

struct notifier *notifier_create(struct transport *transport,
                                 const struct notifier_options *options);
void notifier_free(struct notifier *notifier);
CLEANUP_FUNC(struct notifier, notifier_free)

/* 'priority' is upper case, as in the body; 'context' may be null and is
 * redacted (no token, no catalog); takes 'payload'.  'topics' ends with null.
 * One message_id for all topics and drivers. */
void notifier_send(struct notifier *notifier, const char *const *topics,
                   const char *publisher_id, const char *priority,
                   const char *event_type, const struct json *context,
                   struct json *payload);

#endif
