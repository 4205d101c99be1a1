#ifndef DROVER_TESTS_MEMORY_BUS_H
#define DROVER_TESTS_MEMORY_BUS_H

/* A bus in memory: struct transport without a broker.
 *
 * Any number of services and clients in one process attach to it, each by the
 * name of its host, and reach one another as they would over RabbitMQ: by
 * topic, by topic and host, by fanout, by reply queue.  What is published
 * waits until the test delivers it, and the test may drop or repeat it; or the
 * loop delivers everything by itself.
 *
 * A host that detaches has crashed: its reply queue is gone, what it had not
 * acknowledged, or had given back, and what still comes for it waits for it to
 * attach again; what it still publishes goes nowhere.
 *
 * Threads: the loop. */

#include <uv.h>

#include "rpc/message.h"

struct memory_bus;

/* One message on its way, to look at. */
struct memory_mail {
    const char *from; /* Host. */
    const struct message *message;
};

enum memory_fate {
    MEMORY_DELIVER,
    MEMORY_DROP,   /* Confirmed, and lost. */
    MEMORY_REPEAT, /* Delivered twice. */
    MEMORY_LOSE,   /* Not confirmed (PUBLISH_LOST), and lost. */
};

/* 'loop', unless null, delivers what is published, one message a turn; else
 * nothing moves but by memory_bus_deliver(). */
struct memory_bus *memory_bus_create(uv_loop_t *loop);

/* All must have detached.  The loop, if any, must run once more. */
void memory_bus_close(struct memory_bus *bus);

/* 'topic' null: a client only.  The transport is the bus's, until it is
 * detached; its reply queue is "reply_HOST". */
struct transport *memory_bus_attach(struct memory_bus *bus, const char *topic,
                                    const char *host);

/* Settles what the host published and was not told of (PUBLISH_DROPPED); what
 * had been published is on its way all the same. */
void memory_bus_detach(struct memory_bus *bus, struct transport *transport);

/* The next message to be delivered; false if there is none. */
bool memory_bus_peek(const struct memory_bus *bus, struct memory_mail *ret);
bool memory_bus_deliver(struct memory_bus *bus); /* False: there was none. */
void memory_bus_deliver_as(struct memory_bus *bus, enum memory_fate fate);
unsigned memory_bus_deliver_all(struct memory_bus *bus); /* How many. */

/* Decides over each message that memory_bus_deliver() or the loop takes. */
void memory_bus_set_filter(
    struct memory_bus *bus,
    enum memory_fate (*filter)(void *aux, const struct memory_mail *mail),
    void *aux);

/* Is told of each notification, which goes nowhere else. */
void memory_bus_set_listener(struct memory_bus *bus,
                             void (*heard)(void *aux, const char *key,
                                           const char *body, size_t size),
                             void *aux);

struct memory_bus_counters {
    unsigned n_published, n_acked, n_rejected, n_requeued, n_no_route;
};
struct memory_bus_counters memory_bus_counters(const struct memory_bus *bus);

/* Hands 'body' to a host as if it had been sent to its own queue; all but
 * 'body' and 'size' may be left zero (the content type then is JSON's). */
void memory_bus_inject(struct memory_bus *bus, const char *topic,
                       const char *host, const struct delivery *delivery);

#endif
