#ifndef DROVER_RPC_ENVELOPE_H
#define DROVER_RPC_ENVELOPE_H

/* The layers of a message on the bus.  (spec/rpc-wire 2, 3, 4, 7)
 *
 * A body is a JSON object that holds a version and, as a string, a second
 * JSON document: a request, a reply or a notification.  This module turns one
 * into a struct and back.  It knows nothing of AMQP (see rpc/link.h), of
 * compression (rpc/inflate.h) or of which methods exist (rpc/server.h) and
 * does no I/O.
 *
 * Bodies may be anything at all; how large they may be is checked before they
 * come here.
 *
 * Threads: no shared state; any. */

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/error.h"
#include "agent/base/mem.h"
#include "rpc/json.h"

/* A request as received: a plain record. */
struct envelope {
    char *method;         /* Null only if 'invalid' is set. */
    char *name_space;     /* Null: the null namespace, which "" is not. */
    char *version;        /* "1.0" if absent; null only if 'invalid' is set. */
    struct json *args;    /* An object, never null. */
    struct json *context; /* An object, never null; names without prefix. */

    /* Echoed as it came, whatever its type.  Null for a cast: nobody waits. */
    struct json *msg_id;

    /* Where the reply goes.  Null for a cast, and for a call that names no
     * usable queue: it runs, and nothing is sent. */
    char *reply_q;

    /* How often the caller wants a sign of life, 1000 to 60000.  0: never. */
    unsigned keepalive_ms;

    char *unique_id; /* Null: never a duplicate. */

    size_t bytes; /* Of memory, about, that all of this takes. */

    /* The envelope is fine and the request in it is not: what to answer. */
    struct error *invalid;
};

/* Parses the 'size' bytes at 'body'.  ERR_BAD_MESSAGE, '*ret' left alone, for
 * what gets no answer but is to be rejected; a request that cannot be served
 * yet can be answered succeeds, with 'invalid' set. (2.1, 3.4) */
struct error *envelope_parse(const char *body, size_t size,
                             struct envelope **ret) WARN_UNUSED;
void envelope_free(struct envelope *env); /* Null is fine. */
CLEANUP_FUNC(struct envelope, envelope_free)

/* Does an endpoint of 'major'.'minor' serve a request for version 'wanted'?
 * False too for what is no version. (3.3) */
bool envelope_version_fits(const char *wanted, int major, int minor);

/* The major number of a version that fits some endpoint; -1 for no version. */
int envelope_version_major(const char *version);

/* A request to be sent; everything is borrowed. */
struct envelope_request {
    const char *method;
    const char *name_space;     /* Null: left out. */
    const char *version;        /* Null: left out. */
    const struct json *args;    /* Null: {}. */
    const struct json *context; /* Null: none. */
    const char *unique_id;
    const char *msg_id; /* Null: a cast; then the next two do not count. */
    const char *reply_q;
    unsigned monitor_s; /* Keep-alives are wanted this often; 0: none. */
};

/* All return the body, NUL-terminated and the caller's; '*ret_size' is its
 * length without the NUL. */
char *envelope_format_request(const struct envelope_request *request,
                              size_t *ret_size);

/* 'result' and 'failure' (of failure_format()) are null where there is none;
 * a keep-alive has neither and is not 'ending'.  The _unique_id is fresh.
 * Everything is borrowed. */
char *envelope_format_reply(const struct json *msg_id,
                            const struct json *result, const char *failure,
                            bool ending, size_t *ret_size);

struct envelope_notification {
    const char *message_id; /* With dashes. */
    const char *publisher_id, *priority, *event_type;
    const char *timestamp;      /* "2026-11-22 05:24:07.470123" */
    const struct json *payload; /* Null: JSON's null. */
    const struct json *context; /* Null: none.  Sent as it is. */
};

/* The _unique_id is fresh.  'wrapped': in an envelope (driver messagingv2),
 * else bare (driver messaging). */
char *envelope_format_notification(const struct envelope_notification *n,
                                   bool wrapped, size_t *ret_size);

/* A reply as received. (3.1) */
struct reply {
    char *msg_id;          /* Null: it is none of ours. */
    struct json *result;   /* Null: absent, or JSON's null. */
    struct error *failure; /* Wins over 'result'.  Null: none. */
    bool ending;           /* Otherwise more will come. */
};

/* True for a sign of life: neither result nor failure, and not the end. */
bool reply_is_keepalive(const struct reply *reply);

/* ERR_BAD_MESSAGE, '*ret' left alone, for what is to be dropped.  What a peer
 * would choke on in its caller, such as a failure that is no text, ends the
 * one call with a 'failure'. */
struct error *envelope_parse_reply(const char *body, size_t size,
                                   struct reply **ret) WARN_UNUSED;
void reply_free(struct reply *reply); /* Null is fine. */
CLEANUP_FUNC(struct reply, reply_free)

#endif
