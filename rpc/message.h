#ifndef DROVER_RPC_MESSAGE_H
#define DROVER_RPC_MESSAGE_H

/* What goes over the bus, and the table of who carries it.
 *
 * rpc/server, rpc/client and rpc/notifier speak to a struct transport; the
 * real one is rpc/link.h (two connections to RabbitMQ), a test's delivers,
 * loses and repeats as it is told.
 *
 * Threads: the loop. */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/error.h"
#include "agent/base/mem.h"

/* What is dropped first when the broker takes nothing and room is scarce; the
 * last is never dropped. */
enum message_class {
    MESSAGE_PROGRESS,
    MESSAGE_NOTIFICATION,
    MESSAGE_REPLY,
    MESSAGE_REQUEST,
    MESSAGE_FINAL,
};

/* How a message ended, once it left or was given up. */
enum publish_outcome {
    PUBLISH_CONFIRMED,
    PUBLISH_NO_ROUTE, /* Mandatory, and no queue took it. */
    PUBLISH_EXPIRED,  /* 'deadline_ms' passed before it could be sent. */
    PUBLISH_DROPPED,  /* No room, or the transport closes. */
    PUBLISH_LOST,     /* Sent, but the connection went before the broker said
                       * that it has it: it may have arrived. */
};

/* To be published.  The transport owns it and frees it after 'settled'. */
struct message {
    enum message_class class;
    char *exchange;    /* "" is the default exchange. */
    char *routing_key; /* Never null. */
    char *body;        /* Bytes of JSON. */
    size_t size;
    bool mandatory;
    bool is_fanout;         /* 'exchange' is a fanout: declare it as one. */
    bool declares_queue;    /* A notification: declare its queue first. */
    unsigned expiration_ms; /* 0: none. */
    uint64_t deadline_ms;   /* Of clock_now_ms(); 0: none. */
    /* Called once, on the loop; may be null. */
    void (*settled)(struct message *message, enum publish_outcome outcome);
    void *aux;

    /* The transport's own, while it has the message. */
    struct message *next, *prev;
    uint64_t number; /* Order in which it was handed over. */
    uint64_t tag;    /* Of the broker's confirm. */
    uint64_t sent_ms;
    unsigned n_sent, n_refused;
    bool returned;
    enum publish_outcome outcome;
};

struct message *message_create(enum message_class class, const char *exchange,
                               const char *routing_key, char *body,
                               size_t size); /* Takes 'body'. */
void message_free(struct message *message);
CLEANUP_FUNC(struct message, message_free)

/* Calls 'settled', then frees the message. */
void message_settle(struct message *message, enum publish_outcome outcome);

/* Messages in a row; zeroed is empty. */
struct message_list {
    struct message *head, *tail;
    size_t n;
};
void message_list_append(struct message_list *list, struct message *message);
/* Puts 'message' where its number belongs; quick near the head. */
void message_list_insert(struct message_list *list, struct message *message);
void message_list_remove(struct message_list *list, struct message *message);
struct message *message_list_pop(struct message_list *list); /* or null */
/* Appends all of 'from', which is empty then. */
void message_list_move(struct message_list *to, struct message_list *from);

/* What a delivery lives in.  Whoever sets '*is_kept' during the call may use it
 * until he calls 'release', once, on any thread. */
struct delivery_block {
    bool *is_kept; /* Good for the call only. */
    void (*release)(struct delivery_block *block);
};

/* As received.  'tag' names it to transport_ack() and so on, which must be
 * called once for each delivery of a request queue; deliveries of the reply
 * queue are acknowledged by the transport. */
struct delivery {
    const char *body; /* Borrowed, for the call only. */
    size_t size;
    const char *content_type; /* Null if absent. */
    const char *compression;  /* The header of that name; null if absent. */
    unsigned expiration_ms;   /* 0: none. */
    bool redelivered;
    uint64_t tag;
    struct delivery_block *block; /* Null: what is to be kept is copied. */
};

enum transport_settle {
    TRANSPORT_ACK,
    TRANSPORT_REJECT,  /* Never to be seen again. */
    TRANSPORT_REQUEUE, /* Back to the broker, for whoever comes next. */
};

/* What listens to a transport.  Each may be null. */
struct transport_events {
    void (*request)(void *aux, const struct delivery *delivery);
    void (*reply)(void *aux, const struct delivery *delivery);
    /* Of a key that is listened to; acknowledged by the transport. */
    void (*heard)(void *aux, const struct delivery *delivery);
    /* Consuming and publishing work ('up'), or one of them does not. */
    void (*state)(void *aux, bool up);
    void *aux;
};

struct transport_ops {
    void (*publish)(void *state, struct message *message); /* Takes it. */
    void (*settle)(void *state, uint64_t tag, enum transport_settle how);
    /* How many servers consume the topic queue; 'done' gets -1 if unknown. */
    void (*count_servers)(void *state, const char *topic,
                          void (*done)(void *aux, int n), void *aux);
};

struct transport {
    const struct transport_ops *ops;
    void *state;
    const char *reply_queue; /* Name of our own; never null. */
    bool is_deaf; /* It is not consumed now; 'state' tells when it is. */
    struct transport_events server, client; /* 'request' to one, 'reply' to
                                             * the other, 'state' to both. */
};

#endif
