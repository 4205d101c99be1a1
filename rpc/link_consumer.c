#include <config.h>

#include "rpc/link_internal.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "rpc/ack_window.h"

LOG_MODULE(link_consumer);

/* A delivery's tag on the loop also tells the channel on which it is valid:
 * the broker hands out the same numbers again on the next. */
#define GENERATION_SHIFT 48
#define DELIVERY_TAG_MASK ((1ull << GENERATION_SHIFT) - 1)

/* What goes to the loop at once: enough to save wake-ups, little enough not to
 * hold it up. */
#define BATCH_N 64
#define BATCH_BYTES (1u << 20)

/* While the loop has enough to do, nothing is taken; so often it is asked. */
#define FULL_PAUSE_MS 5

/* So often bindings are made sure of: when an exchange was deleted and made
 * again, the broker tells no one.  What comes by way of the control exchange is
 * heard of sooner, from what we send to ourselves, so that it is enough to look
 * there now and then. */
#define CHECK_DEFAULT_S 20
#define CHECK_ALL_EVERY 3

/* A channel that the broker closes again so soon takes the connection along,
 * for the pause that a reconnect has. */
#define CHANNEL_LIFE_MS 10000

/* Those of requests come last: they are consumed when it is asked for. */
enum {
    QUEUE_REPLY,
    QUEUE_LISTEN,
    QUEUE_TOPIC,
    QUEUE_SERVER,
    QUEUE_FANOUT,
    N_QUEUES
};
#define FIRST_REQUEST_QUEUE QUEUE_TOPIC

struct consumed_queue {
    const char *name; /* Null: not of this link. */
    const char *consumer_tag;
    bool consuming;
};

struct consumer {
    struct link_thread *thread;
    struct reconnect *reconnect;
    struct conn *conn; /* Null while there is none. */
    uint64_t generation;
    uint64_t channel_opened_ms, checked_ms;
    unsigned n_checks;
    bool wanted;             /* Requests are to be consumed. */
    bool has_served;         /* They once were. */
    struct command *closing; /* Owned; null until told to. */
    struct consumed_queue queues[N_QUEUES];
    struct ack_window window;
    struct inbound *batch, **batch_tail;
    unsigned batch_n;
    size_t batch_bytes;
    bool cancelled;           /* Some queue of ours was: look for which. */
    struct command *deferred; /* Owned; they want a connection. */
};

static void consumer_init(struct consumer *, struct link_thread *);
static void connect_step(struct consumer *);
static struct error *serve_step(struct consumer *);
static uint64_t check_in_ms(const struct consumer *);
static struct error *check(struct consumer *);
static struct error *reopen_channel(struct consumer *);
static void wait_for_work(struct consumer *);
static void lose(struct consumer *, struct error *);
static struct error *set_up(struct consumer *);
static struct error *declare_topology(struct consumer *);
static struct error *open_session(struct consumer *);
static struct error *consume_queues(struct consumer *);
static struct error *consume_queue(struct consumer *, struct consumed_queue *);
static void warn_of_rival(struct consumer *);
static struct error *cancel_requests(struct consumer *);
static struct error *restore_cancelled(struct consumer *);
static struct error *make_sure(struct consumer *);
static struct error *find_lost_consumer(struct consumer *);
static struct error *carry_out(struct consumer *, struct mail);
static struct error *carry_out_command(struct consumer *, struct command *);
static void resume_deferred(struct consumer *);
static struct error *settle(struct consumer *, const struct settle *, size_t n);
static struct error *send_acks(struct consumer *);
static void close_down(struct consumer *);
static void delete_own(struct consumer *, unsigned i);
static void flush_batch(struct consumer *);
static void on_deliver(void *aux, struct inbound *in);
static void on_oversized(void *aux, uint64_t tag);
static void on_cancelled(void *aux, const char *consumer_tag);

void
link_consumer_run(void *aux)
{
    struct consumer consumer, *c = &consumer;

    consumer_init(c, aux);
    while (!c->closing) {
        if (c->conn) {
            struct error *error = serve_step(c);
            if (error) {
                lose(c, error);
            }
        } else {
            connect_step(c);
        }
    }
    close_down(c);
}

static void
consumer_init(struct consumer *c, struct link_thread *thread)
{
    const struct link_settings *s = thread->settings;

    *c = (struct consumer){
        .thread = thread,
        .reconnect = link_thread_reconnect(thread),
        .queues =
            {
                [QUEUE_REPLY] = {s->reply_queue, "r", false},
                [QUEUE_LISTEN] = {s->listen_queue, "l", false},
                [QUEUE_TOPIC] = {s->topic_queue, "1", false},
                [QUEUE_SERVER] = {s->server_queue, "2", false},
                [QUEUE_FANOUT] = {s->fanout_queue, "3", false},
            },
    };
    c->batch_tail = &c->batch;
}

/* Commands are carried out without a connection, too. */
static void
connect_step(struct consumer *c)
{
    struct error *error = carry_out(c, link_thread_take(c->thread));

    error_free(error); /* Null: nothing is sent. */
    if (c->closing) {
        return;
    }
    c->conn = link_thread_connect(c->thread, c->reconnect);
    if (!c->conn) {
        return;
    }
    c->conn->events = (struct conn_events){
        .deliver = on_deliver,
        .oversized = on_oversized,
        .cancelled = on_cancelled,
        .aux = c,
    };
    error = set_up(c);
    if (error) {
        link_thread_count(c->thread, &c->thread->status.count.n_failures, 1);
        link_thread_failed(c->thread, error);
        reconnect_failed(c->reconnect, clock_now_ms(), false);
        conn_free(steal(&c->conn));
        return;
    }
    reconnect_connected(c->reconnect, clock_now_ms());
    log_info(NULL, "consuming from %s", c->thread->status.broker);
    link_thread_report(c->thread, true, NULL);
    resume_deferred(c);
}

static struct error *
serve_step(struct consumer *c)
{
    struct error *error = carry_out(c, link_thread_take(c->thread));

    if (!error) {
        error = conn_drain(c->conn);
    }
    flush_batch(c);
    if (!error && c->conn->main_closed) {
        error = reopen_channel(c);
    }
    if (!error) {
        error = send_acks(c);
    }
    if (!error && c->cancelled) {
        error = restore_cancelled(c);
    }
    if (!error && !check_in_ms(c)) {
        error = check(c);
    }
    if (!error) {
        error = conn_heartbeat(c->conn);
    }
    if (!error && !c->closing) {
        wait_for_work(c);
    }
    return error;
}

static void
wait_for_work(struct consumer *c)
{
    uint64_t rest_ms = link_thread_rest_ms(c->thread, c->conn);

    if (rest_ms > check_in_ms(c)) {
        rest_ms = check_in_ms(c);
    }
    if (inflow_is_full(c->thread->owner.inflow)) {
        link_thread_wait(c->thread, -1, 0, FULL_PAUSE_MS);
    } else {
        link_thread_wait(c->thread, conn_fd(c->conn), POLLIN, rest_ms);
    }
}

static uint64_t
check_in_ms(const struct consumer *c)
{
    unsigned check_s = c->thread->settings->o.check_s;
    uint64_t every_ms = (check_s ? check_s : CHECK_DEFAULT_S) * 1000ull;
    uint64_t since_ms = clock_now_ms() - c->checked_ms;

    return since_ms < every_ms ? every_ms - since_ms : 0;
}

static struct error *
check(struct consumer *c)
{
    const char *fanout = c->thread->settings->fanout_exchange;
    bool is_whole = ++c->n_checks % CHECK_ALL_EVERY == 0;

    c->checked_ms = clock_now_ms();
    conn_set_patience(c->conn, PATIENCE_CHECKING_S);
    if (fanout && conn_lacks_exchange(c->conn, fanout)) {
        log_warn(NULL, "exchange '%s' is gone: declaring again", fanout);
        link_thread_count(c->thread, &c->thread->status.count.n_deaf, 1);
    }
    if (c->conn->dead) {
        return error_new(ERR_INTERNAL, "look for the exchange: no answer");
    }
    struct error *error =
        is_whole ? declare_topology(c) : conn_declare_fanout(c->conn);
    conn_set_patience(c->conn, PATIENCE_S);
    return error;
}

static struct error *
reopen_channel(struct consumer *c)
{
    bool is_young = clock_now_ms() - c->channel_opened_ms < CHANNEL_LIFE_MS;

    link_thread_count(c->thread, &c->thread->status.count.n_channels, 1);
    struct error *error =
        error_new(ERR_INTERNAL, "channel closed%s: %d %s",
                  is_young ? " again" : "", c->conn->code, c->conn->reason);
    if (is_young) {
        return error;
    }
    link_thread_failed(c->thread, error);
    error = conn_reopen_main(c->conn);
    return error ? error : open_session(c);
}

static void
lose(struct consumer *c, struct error *error)
{
    flush_batch(c);
    link_thread_lost(c->thread, c->conn, error);
    conn_free(steal(&c->conn));
    reconnect_lost(c->reconnect, clock_now_ms());
}

static struct error *
set_up(struct consumer *c)
{
    struct error *error = declare_topology(c);

    return error ? error : open_session(c);
}

static struct error *
declare_topology(struct consumer *c)
{
    c->checked_ms = clock_now_ms();
    return conn_declare_topology(c->conn);
}

/* What a channel holds: its limit and its consumers. */
static struct error *
open_session(struct consumer *c)
{
    unsigned prefetch = c->thread->settings->o.prefetch;

    c->generation++;
    c->channel_opened_ms = clock_now_ms();
    ack_window_reset(&c->window);
    c->cancelled = false;
    for (unsigned i = 0; i < N_QUEUES; i++) {
        c->queues[i].consuming = false;
    }
    amqp_basic_qos(c->conn->amqp, CHANNEL_MAIN, 0,
                   (uint16_t)(prefetch ? prefetch : 64), false);
    struct error *error =
        conn_result(c->conn, CHANNEL_MAIN, "set the prefetch count");
    return error ? error : consume_queues(c);
}

/* Replies at once, requests when they are wanted. */
static struct error *
consume_queues(struct consumer *c)
{
    struct error *error = NULL;

    for (unsigned i = 0; i < N_QUEUES && !error; i++) {
        if (c->queues[i].name && (i < FIRST_REQUEST_QUEUE || c->wanted)) {
            error = consume_queue(c, &c->queues[i]);
        }
    }
    return error;
}

static struct error *
consume_queue(struct consumer *c, struct consumed_queue *queue)
{
    if (queue->consuming) {
        return NULL;
    }
    if (queue == &c->queues[QUEUE_SERVER] && !c->has_served) {
        c->has_served = true;
        warn_of_rival(c);
    }
    queue->consuming = true; /* Before: deliveries come first. */
    return conn_consume(c->conn, queue->name, queue->consumer_tag);
}

/* Two agents of one name would each get every other request.  Told at the
 * start only: later it may be our own lost connection that is still there. */
static void
warn_of_rival(struct consumer *c)
{
    const char *name = c->queues[QUEUE_SERVER].name;

    if (conn_count_consumers(c->conn, name) > 0) {
        log_warn(NULL,
                 "somebody else takes requests from '%s' too: is there "
                 "another agent with this host name?",
                 name);
    }
    conn_close_side(c->conn);
}

/* Afterwards all that was delivered has been passed on. */
static struct error *
cancel_requests(struct consumer *c)
{
    struct error *error = NULL;

    for (unsigned i = FIRST_REQUEST_QUEUE; i < N_QUEUES && !error; i++) {
        struct consumed_queue *queue = &c->queues[i];

        if (queue->consuming) {
            queue->consuming = false;
            error = conn_cancel(c->conn, queue->consumer_tag);
        }
    }
    if (!error) {
        error = conn_drain(c->conn);
    }
    flush_batch(c);
    return error;
}

/* A queue was deleted underneath its consumer: make it again. */
static struct error *
restore_cancelled(struct consumer *c)
{
    c->cancelled = false;
    struct error *error = declare_topology(c);
    return error ? error : consume_queues(c);
}

/* Somebody found that nothing comes, though nobody said why. */
static struct error *
make_sure(struct consumer *c)
{
    conn_set_patience(c->conn, PATIENCE_SUSPECTING_S);
    struct error *error = declare_topology(c);
    if (!error) {
        error = find_lost_consumer(c);
    }
    conn_set_patience(c->conn, PATIENCE_S);
    return error;
}

/* Queues that others consume, too, say nothing of us. */
static struct error *
find_lost_consumer(struct consumer *c)
{
    for (unsigned i = 0; i < N_QUEUES; i++) {
        const struct consumed_queue *queue = &c->queues[i];

        if (queue->consuming && !c->cancelled &&
            conn_count_consumers(c->conn, queue->name) == 0) {
            return error_new(ERR_INTERNAL,
                             "queue '%s' has lost its consumer, and nobody "
                             "said so",
                             queue->name);
        }
    }
    conn_close_side(c->conn);
    return c->conn->dead ? error_new(ERR_INTERNAL, "the broker is silent")
                         : NULL;
}

static struct error *
carry_out(struct consumer *c, struct mail mail)
{
    struct error *error = NULL;

    if (c->conn) {
        error = settle(c, mail.settles, mail.n_settles);
    }
    free(mail.settles);
    while (mail.commands) {
        struct command *command = mail.commands;

        mail.commands = command->next;
        struct error *next_error = carry_out_command(c, command);
        if (error) {
            error_free(next_error);
        } else {
            error = next_error;
        }
    }
    return error;
}

static struct error *
carry_out_command(struct consumer *c, struct command *command)
{
    struct error *error = NULL;
    bool alive = c->conn && !c->conn->dead;

    switch (command->type) {
    case COMMAND_CONSUME:
        c->wanted = true;
        if (alive) {
            error = consume_queues(c);
        }
        break;
    case COMMAND_CANCEL:
        c->wanted = false;
        interrupt_lower(&c->thread->owner.interrupt);
        if (alive) {
            error = cancel_requests(c);
        }
        break;
    case COMMAND_COUNT:
        if (!alive) {
            command->next = c->deferred;
            c->deferred = command;
            return NULL;
        }
        command->n = conn_count_consumers(c->conn, command->queue);
        conn_close_side(c->conn);
        break;
    case COMMAND_REDECLARE:
        if (alive) {
            error = make_sure(c);
        }
        break;
    case COMMAND_RECONNECT:
        if (alive) {
            c->conn->dead = true; /* No polite words: it does not answer. */
            error = error_new(ERR_INTERNAL, "nothing comes: connecting again");
        }
        break;
    case COMMAND_CLOSE:
        c->closing = command;
        return NULL;
    }
    link_post_command(c->thread, command);
    return error;
}

/* A refusal is part of the answer; a loss is noticed when frames are read. */
static void
resume_deferred(struct consumer *c)
{
    struct command *command = steal(&c->deferred);

    while (command) {
        struct command *next = command->next;

        command->n = -1;
        if (c->conn && !c->conn->dead) {
            command->n = conn_count_consumers(c->conn, command->queue);
            conn_close_side(c->conn);
        }
        link_post_command(c->thread, command);
        command = next;
    }
}

static struct error *
settle(struct consumer *c, const struct settle *settles, size_t n)
{
    struct error *error = NULL;

    for (size_t i = 0; i < n && !error; i++) {
        uint64_t tag = settles[i].tag & DELIVERY_TAG_MASK;

        if (settles[i].tag >> GENERATION_SHIFT != (c->generation & 0xffff)) {
            continue; /* The broker has taken it back already. */
        }
        if (settles[i].how == TRANSPORT_ACK) {
            ack_window_mark(&c->window, tag);
        } else if (ack_window_forget(&c->window, tag)) {
            bool requeue = settles[i].how == TRANSPORT_REQUEUE;

            error = conn_status(
                c->conn,
                requeue ? amqp_basic_nack(c->conn->amqp, CHANNEL_MAIN, tag,
                                          false, true)
                        : amqp_basic_reject(c->conn->amqp, CHANNEL_MAIN, tag,
                                            false),
                "hand back");
        }
    }
    return error;
}

static struct error *
send_acks(struct consumer *c)
{
    struct error *error = NULL;
    uint64_t tag;
    bool multiple;

    while (!error && ack_window_next(&c->window, &tag, &multiple)) {
        error = conn_status(
            c->conn, amqp_basic_ack(c->conn->amqp, CHANNEL_MAIN, tag, multiple),
            "acknowledge");
    }
    return error;
}

/* Our own queues would linger for half an hour. (spec/rpc-wire 5.2.8) */
static void
close_down(struct consumer *c)
{
    if (c->conn) {
        struct error *error = carry_out(c, link_thread_take(c->thread));
        if (!error) {
            error = cancel_requests(c);
        }
        if (!error) {
            error = send_acks(c);
        }
        error_free(error);
        delete_own(c, QUEUE_REPLY);
        delete_own(c, QUEUE_LISTEN);
        if (!c->thread->settings->keeps_fanout) {
            delete_own(c, QUEUE_FANOUT);
        }
    }
    conn_free(steal(&c->conn));
    resume_deferred(c); /* Nobody will know any more. */
    flush_batch(c);
    ack_window_close(&c->window);
    reconnect_free(c->reconnect);
    link_thread_report(c->thread, false, NULL);
    link_post_command(c->thread, c->closing);
}

static void
delete_own(struct consumer *c, unsigned i)
{
    if (c->queues[i].name && !c->conn->dead) {
        AUTO_ERROR error = conn_delete_queue(c->conn, c->queues[i].name);
        if (error) {
            log_debug(NULL, "%s", error_message(error));
        }
    }
}

static void
flush_batch(struct consumer *c)
{
    if (c->batch) {
        link_post_deliveries(c->thread, steal(&c->batch));
        c->batch_tail = &c->batch;
        c->batch_n = 0;
        c->batch_bytes = 0;
    }
}

static void
on_deliver(void *aux, struct inbound *in)
{
    struct consumer *c = aux;
    uint64_t tag = in->delivery.tag;

    ack_window_add(&c->window, tag);
    if (in->is_reply || in->is_heard) {
        ack_window_mark(&c->window, tag); /* Whoever may want it. */
    } else {
        link_thread_count(c->thread, &c->thread->status.n_heard, 1);
    }
    in->delivery.tag = (c->generation & 0xffff) << GENERATION_SHIFT | tag;
    in->inflow = c->thread->owner.inflow;
    inflow_came(in->inflow, in->delivery.size);
    in->next = NULL;
    *c->batch_tail = in;
    c->batch_tail = &in->next;
    c->batch_n++;
    c->batch_bytes += in->delivery.size;
    if (c->batch_n >= BATCH_N || c->batch_bytes >= BATCH_BYTES ||
        !conn_has_more(c->conn)) {
        flush_batch(c); /* The last that has come: nobody is to wait. */
    }
}

static void
on_oversized(void *aux, uint64_t tag)
{
    struct consumer *c = aux;

    log_limited(LOG_LEVEL_WARN, NULL, "message rejected: it is too large");
    link_thread_count(c->thread, &c->thread->status.count.n_oversized, 1);
    ack_window_add(&c->window, tag);
    ack_window_forget(&c->window, tag);
    amqp_basic_reject(c->conn->amqp, CHANNEL_MAIN, tag, false);
}

static void
on_cancelled(void *aux, const char *consumer_tag)
{
    struct consumer *c = aux;

    for (unsigned i = 0; i < N_QUEUES; i++) {
        struct consumed_queue *queue = &c->queues[i];

        if (str_eq(queue->consumer_tag, consumer_tag)) {
            log_warn(NULL, "queue '%s' was deleted; making it again",
                     queue->name);
            queue->consuming = false;
            c->cancelled = true;
        }
    }
    link_thread_count(c->thread, &c->thread->status.count.n_cancels, 1);
}
