#include <config.h>

#include "tests/unit/memory_bus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A queue of requests outlives its host. */
struct seat {
    struct seat *next;
    struct memory_bus *bus;
    char *topic, *host; /* 'topic' null: no requests. */
    char *reply_queue;
    struct transport transport;
    bool attached;
    struct parcel *parked, **parked_tail; /* For when it attaches. */
    struct parcel *unacked;
};

/* A copy of a message, on its way to one seat or held by it. */
struct parcel {
    struct parcel *next;
    char *body;
    struct delivery delivery; /* 'body' is the parcel's. */
};

/* On its way: a message, or a question for the number of servers. */
struct transit {
    struct transit *next;
    struct seat *from;
    struct message *message; /* Null: a question. */
    bool orphaned;           /* Its publisher has detached. */
    bool stillborn;          /* It had already. */
    char *topic;
    void (*counted)(void *aux, int n);
    void *aux;
};

struct memory_bus {
    uv_idle_t *idle; /* Null: by hand only. */
    struct seat *seats;
    struct transit *transit, **transit_tail;
    uint64_t n_tags;
    unsigned turn; /* For topics that several serve. */
    enum memory_fate (*filter)(void *aux, const struct memory_mail *mail);
    void *filter_aux;
    void (*heard)(void *aux, const char *key, const char *body, size_t size);
    void *heard_aux;
    struct memory_bus_counters counters;
};

static void bus_publish(void *state, struct message *);
static void bus_settle(void *state, uint64_t tag, enum transport_settle);
static void bus_count(void *state, const char *topic,
                      void (*done)(void *aux, int n), void *aux);
static void add_transit(struct memory_bus *, struct transit *);
static void idle_turn(uv_idle_t *);
static void idle_closed(uv_handle_t *);
static void deliver_transit(struct transit *, enum memory_fate);
static bool route(struct memory_bus *, const struct message *, unsigned times);
static bool route_to_topic(struct memory_bus *, const struct message *,
                           unsigned times);
static void route_to_fanout(struct memory_bus *, const struct message *,
                            unsigned times);
static void give(struct seat *, const struct message *, unsigned times,
                 bool is_reply);
static void hand_over(struct seat *, struct parcel *, bool is_reply);
static struct parcel *parcel_create(const char *body, size_t size,
                                    unsigned expiration_ms);
static void parcel_free(struct parcel *);
static void park(struct seat *, struct parcel *);
static void unpark(struct seat *);
static void seat_free(struct seat *);

static const struct transport_ops bus_ops = {
    .publish = bus_publish,
    .settle = bus_settle,
    .count_servers = bus_count,
};

struct memory_bus *
memory_bus_create(uv_loop_t *loop)
{
    struct memory_bus *bus = xzalloc(sizeof *bus);

    bus->transit_tail = &bus->transit;
    if (loop) {
        bus->idle = xzalloc(sizeof *bus->idle);
        uv_idle_init(loop, bus->idle);
        bus->idle->data = bus;
    }
    return bus;
}

void
memory_bus_close(struct memory_bus *bus)
{
    bus->filter = NULL;
    while (bus->transit) {
        memory_bus_deliver_as(bus, MEMORY_DROP);
    }
    while (bus->seats) {
        struct seat *seat = bus->seats;

        bus->seats = seat->next;
        seat_free(seat);
    }
    if (bus->idle) {
        uv_close((uv_handle_t *)bus->idle, idle_closed);
    }
    free(bus);
}

struct transport *
memory_bus_attach(struct memory_bus *bus, const char *topic, const char *host)
{
    struct seat *seat = bus->seats;

    while (seat && !(str_eq(seat->host, host) && str_eq(seat->topic, topic))) {
        seat = seat->next;
    }
    if (!seat) {
        seat = xzalloc(sizeof *seat);
        seat->bus = bus;
        seat->topic = xstrdup_null(topic);
        seat->host = xstrdup(host);
        seat->reply_queue = xasprintf("reply_%s", host);
        seat->parked_tail = &seat->parked;
        seat->next = bus->seats;
        bus->seats = seat;
    }
    seat->attached = true;
    seat->transport = (struct transport){
        .ops = &bus_ops,
        .state = seat,
        .reply_queue = seat->reply_queue,
    };
    unpark(seat);
    return &seat->transport;
}

void
memory_bus_detach(struct memory_bus *bus, struct transport *transport)
{
    struct seat *seat = transport->state;

    seat->attached = false;
    for (struct transit *t = bus->transit; t; t = t->next) {
        if (t->from != seat || t->orphaned || t->stillborn) {
            continue;
        }
        t->orphaned = true;
        if (t->message && t->message->settled) {
            /* The callback may keep the body: it is still to be delivered. */
            char *body = xmemdup(t->message->body, t->message->size);

            t->message->settled(t->message, PUBLISH_DROPPED);
            free(t->message->body);
            t->message->body = body;
            t->message->settled = NULL;
        } else if (t->counted) {
            t->counted(t->aux, -1);
        }
    }
    while (seat->unacked) {
        struct parcel *parcel = seat->unacked;

        seat->unacked = parcel->next;
        parcel->delivery.redelivered = true;
        park(seat, parcel);
    }
    transport->server = transport->client = (struct transport_events){0};
}

bool
memory_bus_peek(const struct memory_bus *bus, struct memory_mail *ret)
{
    const struct transit *t = bus->transit;

    while (t && !t->message) {
        t = t->next;
    }
    if (t) {
        *ret = (struct memory_mail){t->from->host, t->message};
    }
    return t;
}

bool
memory_bus_deliver(struct memory_bus *bus)
{
    const struct transit *t = bus->transit;
    enum memory_fate fate = MEMORY_DELIVER;

    if (!t) {
        return false;
    }
    if (t->message && bus->filter) {
        struct memory_mail mail = {t->from->host, t->message};

        fate = bus->filter(bus->filter_aux, &mail);
    }
    memory_bus_deliver_as(bus, fate);
    return true;
}

void
memory_bus_deliver_as(struct memory_bus *bus, enum memory_fate fate)
{
    struct transit *t = bus->transit;

    if (t) {
        bus->transit = t->next;
        if (!bus->transit) {
            bus->transit_tail = &bus->transit;
        }
        deliver_transit(t, fate);
    }
}

unsigned
memory_bus_deliver_all(struct memory_bus *bus)
{
    unsigned n = 0;

    while (memory_bus_deliver(bus)) {
        n++;
    }
    return n;
}

void
memory_bus_set_filter(struct memory_bus *bus,
                      enum memory_fate (*filter)(void *aux,
                                                 const struct memory_mail *),
                      void *aux)
{
    bus->filter = filter;
    bus->filter_aux = aux;
}

void
memory_bus_set_listener(struct memory_bus *bus,
                        void (*heard)(void *aux, const char *key,
                                      const char *body, size_t size),
                        void *aux)
{
    bus->heard = heard;
    bus->heard_aux = aux;
}

struct memory_bus_counters
memory_bus_counters(const struct memory_bus *bus)
{
    return bus->counters;
}

void
memory_bus_inject(struct memory_bus *bus, const char *topic, const char *host,
                  const struct delivery *delivery)
{
    struct seat *seat = bus->seats;

    while (seat && !(str_eq(seat->host, host) && str_eq(seat->topic, topic))) {
        seat = seat->next;
    }
    if (!seat) {
        abort(); /* A mistake of the test. */
    }
    struct parcel *parcel =
        parcel_create(delivery->body, delivery->size, delivery->expiration_ms);
    if (delivery->content_type) {
        parcel->delivery.content_type = delivery->content_type;
    }
    parcel->delivery.compression = delivery->compression;
    parcel->delivery.redelivered = delivery->redelivered;
    hand_over(seat, parcel, false);
}

static void
bus_publish(void *state, struct message *message)
{
    struct seat *seat = state;
    struct transit *t = xzalloc(sizeof *t);

    seat->bus->counters.n_published++;
    t->from = seat;
    t->message = message;
    t->stillborn = !seat->attached;
    add_transit(seat->bus, t);
}

static void
bus_settle(void *state, uint64_t tag, enum transport_settle how)
{
    struct seat *seat = state;
    struct memory_bus_counters *counters = &seat->bus->counters;
    struct parcel **at = &seat->unacked;

    while (*at && (*at)->delivery.tag != tag) {
        at = &(*at)->next;
    }
    struct parcel *parcel = *at;
    if (!parcel) {
        return; /* Of a life before. */
    }
    *at = parcel->next;
    if (how == TRANSPORT_REQUEUE) {
        counters->n_requeued++;
        parcel->delivery.redelivered = true;
        park(seat, parcel);
        return;
    }
    *(how == TRANSPORT_ACK ? &counters->n_acked : &counters->n_rejected) += 1;
    parcel_free(parcel);
}

static void
bus_count(void *state, const char *topic, void (*done)(void *aux, int n),
          void *aux)
{
    struct seat *seat = state;
    struct transit *t = xzalloc(sizeof *t);

    t->from = seat;
    t->topic = xstrdup(topic);
    t->counted = done;
    t->aux = aux;
    add_transit(seat->bus, t);
}

static void
add_transit(struct memory_bus *bus, struct transit *t)
{
    *bus->transit_tail = t;
    bus->transit_tail = &t->next;
    if (bus->idle) {
        uv_idle_start(bus->idle, idle_turn);
    }
}

static void
idle_turn(uv_idle_t *idle)
{
    struct memory_bus *bus = idle->data;

    if (!memory_bus_deliver(bus)) {
        uv_idle_stop(idle);
    }
}

static void
idle_closed(uv_handle_t *handle)
{
    free(handle);
}

/* Confirmed before it is delivered, so that the order is always the same. */
static void
deliver_transit(struct transit *t, enum memory_fate fate)
{
    struct memory_bus *bus = t->from->bus;
    enum publish_outcome outcome = PUBLISH_CONFIRMED;

    if (!t->message) {
        int n = 0;

        for (struct seat *seat = bus->seats; seat; seat = seat->next) {
            n += seat->attached && str_eq(seat->topic, t->topic);
        }
        if (!t->orphaned) {
            t->counted(t->aux, n);
        }
    } else if (t->stillborn) {
        message_settle(t->message, PUBLISH_DROPPED);
    } else {
        struct message copy = *t->message;

        copy.exchange = xstrdup(copy.exchange);
        copy.routing_key = xstrdup(copy.routing_key);
        copy.body = xmemdup(copy.body, copy.size);
        if (fate == MEMORY_LOSE) {
            outcome = PUBLISH_LOST;
        } else if (fate != MEMORY_DROP && !route(bus, &copy, 0)) {
            bus->counters.n_no_route++;
            outcome = copy.mandatory ? PUBLISH_NO_ROUTE : PUBLISH_CONFIRMED;
        }
        message_settle(t->message, outcome);
        if (fate == MEMORY_DELIVER || fate == MEMORY_REPEAT) {
            route(bus, &copy, fate == MEMORY_REPEAT ? 2 : 1);
        }
        free(copy.exchange);
        free(copy.routing_key);
        free(copy.body);
    }
    free(t->topic);
    free(t);
}

/* Delivers 'times' copies; says if there is anyone at all. */
static bool
route(struct memory_bus *bus, const struct message *message, unsigned times)
{
    if (message->declares_queue) {
        for (unsigned i = 0; i < times && bus->heard; i++) {
            bus->heard(bus->heard_aux, message->routing_key, message->body,
                       message->size);
        }
        return true;
    }
    if (message->is_fanout) {
        route_to_fanout(bus, message, times);
        return true;
    }
    if (*message->exchange) {
        return route_to_topic(bus, message, times);
    }
    for (struct seat *seat = bus->seats; seat; seat = seat->next) {
        if (seat->attached && str_eq(seat->reply_queue, message->routing_key)) {
            give(seat, message, times, true);
            return true;
        }
    }
    return false;
}

/* By "topic.host" to that one, by "topic" to each in turn. */
static bool
route_to_topic(struct memory_bus *bus, const struct message *message,
               unsigned times)
{
    struct seat *candidates[64];
    unsigned n = 0;

    for (struct seat *seat = bus->seats; seat; seat = seat->next) {
        if (!seat->topic) {
            continue;
        }
        AUTO_FREE queue = xasprintf("%s.%s", seat->topic, seat->host);
        if (str_eq(queue, message->routing_key)) {
            give(seat, message, times, false);
            return true;
        }
        if (str_eq(seat->topic, message->routing_key) &&
            n < N_ELEMENTS(candidates)) {
            candidates[n++] = seat;
        }
    }
    if (n) {
        give(candidates[bus->turn % n], message, times, false);
        bus->turn += times > 0;
    }
    return n > 0;
}

static void
route_to_fanout(struct memory_bus *bus, const struct message *message,
                unsigned times)
{
    struct seat *next;

    for (struct seat *seat = bus->seats; seat; seat = next) {
        next = seat->next;
        AUTO_FREE exchange =
            xasprintf("%s_fanout", seat->topic ? seat->topic : "");
        if (seat->attached && str_eq(exchange, message->exchange)) {
            give(seat, message, times, false);
        }
    }
}

static void
give(struct seat *seat, const struct message *message, unsigned times,
     bool is_reply)
{
    for (unsigned i = 0; i < times; i++) {
        hand_over(
            seat,
            parcel_create(message->body, message->size, message->expiration_ms),
            is_reply);
    }
}

static void
hand_over(struct seat *seat, struct parcel *parcel, bool is_reply)
{
    const struct transport_events *to =
        is_reply ? &seat->transport.client : &seat->transport.server;

    if (is_reply) {
        if (seat->attached && to->reply) {
            to->reply(to->aux, &parcel->delivery);
        }
        parcel_free(parcel);
        return;
    }
    if (!seat->attached || !to->request) {
        park(seat, parcel);
        return;
    }
    parcel->delivery.tag = ++seat->bus->n_tags;
    struct parcel **end = &seat->unacked;
    while (*end) {
        end = &(*end)->next;
    }
    parcel->next = NULL;
    *end = parcel;
    /* The parcel may be settled, and gone, before the call returns. */
    struct delivery delivery = parcel->delivery;
    AUTO_FREE body = xmemdup(parcel->body, delivery.size + 1);
    delivery.body = body;
    to->request(to->aux, &delivery);
}

static struct parcel *
parcel_create(const char *body, size_t size, unsigned expiration_ms)
{
    struct parcel *parcel = xzalloc(sizeof *parcel);

    parcel->body = xmalloc(size + 1);
    memcpy(parcel->body, body, size);
    parcel->body[size] = '\0';
    parcel->delivery = (struct delivery){
        .body = parcel->body,
        .size = size,
        .content_type = "application/json",
        .expiration_ms = expiration_ms,
    };
    return parcel;
}

static void
parcel_free(struct parcel *parcel)
{
    free(parcel->body);
    free(parcel);
}

static void
park(struct seat *seat, struct parcel *parcel)
{
    parcel->next = NULL;
    *seat->parked_tail = parcel;
    seat->parked_tail = &parcel->next;
}

/* What waited goes through the bus once more, in front of nothing: the host
 * has yet to say who listens. */
static void
unpark(struct seat *seat)
{
    while (seat->parked) {
        struct parcel *parcel = seat->parked;
        AUTO_FREE key = xasprintf("%s.%s", seat->topic, seat->host);
        struct message *message =
            message_create(MESSAGE_REQUEST, "nova", key, steal(&parcel->body),
                           parcel->delivery.size);

        seat->parked = parcel->next;
        message->expiration_ms = parcel->delivery.expiration_ms;
        bus_publish(seat, message);
        parcel_free(parcel);
    }
    seat->parked_tail = &seat->parked;
}

static void
seat_free(struct seat *seat)
{
    while (seat->parked) {
        struct parcel *parcel = seat->parked;

        seat->parked = parcel->next;
        parcel_free(parcel);
    }
    while (seat->unacked) {
        struct parcel *parcel = seat->unacked;

        seat->unacked = parcel->next;
        parcel_free(parcel);
    }
    free(seat->topic);
    free(seat->host);
    free(seat->reply_queue);
    free(seat);
}
