#include <config.h>

#include "rpc/replier.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

LOG_MODULE(replier);

#define RETRY_FIRST_MS 250
#define RETRY_MAX_MS 4000
#define GONE_MS 60000
#define GONE_N 200

/* Replies that wait for their queue to come back. */
#define HELD_N 1000
#define HELD_BYTES (16u << 20)

struct reply_out {
    struct reply_out *next, *prev; /* Among those held, oldest first. */
    struct deadline retry;
    struct replier *replier;
    char *queue, *body;
    size_t size;
    uint64_t deadline_ms, first_missed_ms;
    unsigned pause_ms; /* 0: was never returned. */
    bool is_held;
};

struct sign_of_life {
    struct replier *replier;
    void (*no_route)(void *aux, uint64_t id);
    void *aux;
    uint64_t id;
};

struct gone {
    char *queue;
    uint64_t until_ms;
};

struct replier {
    struct transport *transport;
    struct deadlines *deadlines;
    uint64_t patience_ms;
    struct reply_out *head, *tail; /* Held. */
    size_t n_held, n_held_bytes;
    unsigned n_in_flight;
    bool is_closed;
    struct gone gone[GONE_N];
    size_t n_gone; /* Ever; they take turns. */
    struct replier_counters counters;
};

static void reply_publish(struct reply_out *);
static void reply_settled(struct message *, enum publish_outcome);
static void reply_missed(struct reply_out *);
static void reply_retry(struct deadline *);
static void reply_drop(struct reply_out *);
static void reply_out_free(struct reply_out *);
static void hold(struct reply_out *);
static void release(struct reply_out *);
static void sign_settled(struct message *, enum publish_outcome);
static void landed(struct replier *);
static void remember_gone(struct replier *, const char *queue);

struct replier *
replier_create(struct transport *transport, struct deadlines *deadlines,
               unsigned patience_s)
{
    struct replier *replier = xzalloc(sizeof *replier);

    replier->transport = transport;
    replier->deadlines = deadlines;
    replier->patience_ms = patience_s * 1000ull;
    return replier;
}

void
replier_close(struct replier *replier)
{
    while (replier->head) {
        reply_drop(replier->head);
    }
    for (size_t i = 0; i < GONE_N; i++) {
        free(steal(&replier->gone[i].queue));
    }
    replier->is_closed = true;
    replier->n_in_flight++;
    landed(replier);
}

void
replier_send(struct replier *replier, const char *queue, char *body,
             size_t size, uint64_t deadline_ms)
{
    struct reply_out *reply = xzalloc(sizeof *reply);

    reply->replier = replier;
    reply->retry.due = reply_retry;
    reply->queue = xstrdup(queue);
    reply->body = body;
    reply->size = size;
    reply->deadline_ms = deadline_ms;
    if (replier_is_gone(replier, queue)) {
        reply_drop(reply);
    } else {
        reply_publish(reply);
    }
}

void
replier_send_once(struct replier *replier, const char *queue, char *body,
                  size_t size, uint64_t deadline_ms,
                  void (*no_route)(void *aux, uint64_t id), void *aux,
                  uint64_t id)
{
    struct sign_of_life *sign = xzalloc(sizeof *sign);
    struct message *message =
        message_create(MESSAGE_PROGRESS, "", queue, body, size);

    *sign = (struct sign_of_life){replier, no_route, aux, id};
    message->mandatory = true;
    message->deadline_ms = deadline_ms;
    message->settled = sign_settled;
    message->aux = sign;
    replier->n_in_flight++;
    replier->transport->ops->publish(replier->transport->state, message);
}

bool
replier_is_gone(const struct replier *replier, const char *queue)
{
    uint64_t now_ms = clock_now_ms();

    for (size_t i = 0; i < GONE_N && i < replier->n_gone; i++) {
        const struct gone *gone = &replier->gone[i];

        if (gone->queue && gone->until_ms > now_ms &&
            str_eq(gone->queue, queue)) {
            return true;
        }
    }
    return false;
}

struct replier_counters
replier_counters(const struct replier *replier)
{
    return replier->counters;
}

/* The message borrows the body: it comes back when it is settled. */
static void
reply_publish(struct reply_out *reply)
{
    struct replier *replier = reply->replier;
    struct message *message = message_create(MESSAGE_REPLY, "", reply->queue,
                                             steal(&reply->body), reply->size);

    message->mandatory = true;
    message->deadline_ms = reply->deadline_ms;
    message->settled = reply_settled;
    message->aux = reply;
    replier->n_in_flight++;
    replier->transport->ops->publish(replier->transport->state, message);
}

static void
reply_settled(struct message *message, enum publish_outcome outcome)
{
    struct reply_out *reply = message->aux;
    struct replier *replier = reply->replier;

    reply->body = steal(&message->body);
    if (outcome == PUBLISH_CONFIRMED) {
        replier->counters.n_sent++;
        reply_out_free(reply);
    } else if (outcome == PUBLISH_NO_ROUTE && !replier->is_closed) {
        reply_missed(reply);
    } else {
        reply_drop(reply);
    }
    landed(replier);
}

static void
reply_missed(struct reply_out *reply)
{
    struct replier *replier = reply->replier;
    uint64_t now_ms = clock_now_ms();

    if (!reply->pause_ms) {
        reply->first_missed_ms = now_ms;
        reply->pause_ms = RETRY_FIRST_MS;
    } else if (reply->pause_ms < RETRY_MAX_MS) {
        reply->pause_ms *= 2;
    }
    uint64_t next_ms = now_ms + reply->pause_ms;
    bool is_gone = next_ms >= reply->first_missed_ms + replier->patience_ms;
    if (is_gone || next_ms >= reply->deadline_ms) {
        /* A caller in a hurry says little about his queue: it may come back,
         * as after a restart of the broker. */
        if (is_gone) {
            remember_gone(replier, reply->queue);
        }
        log_limited(LOG_LEVEL_WARN, NULL,
                    "reply dropped: its queue '%s' is gone", reply->queue);
        reply_drop(reply);
        return;
    }
    hold(reply);
    deadlines_set(replier->deadlines, &reply->retry, next_ms);
}

static void
reply_retry(struct deadline *deadline)
{
    struct reply_out *reply = container_of(deadline, struct reply_out, retry);

    release(reply);
    if (replier_is_gone(reply->replier, reply->queue)) {
        reply_drop(reply);
    } else {
        reply_publish(reply);
    }
}

static void
reply_drop(struct reply_out *reply)
{
    reply->replier->counters.n_dropped++;
    if (reply->is_held) {
        deadlines_clear(reply->replier->deadlines, &reply->retry);
        release(reply);
    }
    reply_out_free(reply);
}

static void
reply_out_free(struct reply_out *reply)
{
    free(reply->queue);
    free(reply->body);
    free(reply);
}

static void
hold(struct reply_out *reply)
{
    struct replier *replier = reply->replier;

    while (replier->head &&
           (replier->n_held >= HELD_N ||
            replier->n_held_bytes + reply->size > HELD_BYTES)) {
        reply_drop(replier->head);
    }
    reply->is_held = true;
    reply->next = NULL;
    reply->prev = replier->tail;
    *(replier->tail ? &replier->tail->next : &replier->head) = reply;
    replier->tail = reply;
    replier->n_held++;
    replier->n_held_bytes += reply->size;
}

static void
release(struct reply_out *reply)
{
    struct replier *replier = reply->replier;

    reply->is_held = false;
    *(reply->prev ? &reply->prev->next : &replier->head) = reply->next;
    *(reply->next ? &reply->next->prev : &replier->tail) = reply->prev;
    replier->n_held--;
    replier->n_held_bytes -= reply->size;
}

static void
sign_settled(struct message *message, enum publish_outcome outcome)
{
    struct sign_of_life *sign = message->aux;

    if (outcome == PUBLISH_NO_ROUTE && sign->no_route &&
        !sign->replier->is_closed) {
        sign->no_route(sign->aux, sign->id);
    }
    landed(sign->replier);
    free(sign);
}

static void
landed(struct replier *replier)
{
    if (--replier->n_in_flight == 0 && replier->is_closed) {
        free(replier);
    }
}

static void
remember_gone(struct replier *replier, const char *queue)
{
    if (replier_is_gone(replier, queue)) {
        return;
    }
    struct gone *gone = &replier->gone[replier->n_gone++ % GONE_N];

    free(gone->queue);
    gone->queue = xstrdup(queue);
    gone->until_ms = clock_now_ms() + GONE_MS;
}
