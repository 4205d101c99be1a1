#include <config.h>

#include "rpc/link_internal.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "rpc/names.h"
#include "rpc/unconfirmed.h"

LOG_MODULE(link_publisher);

/* Written before the socket is looked at again. */
#define BATCH_N 64

/* Of the bytes that may wait, so many more may be on their way. */
#define UNCONFIRMED_PART 4

/* What AMQP can carry of a name. */
#define NAME_MAX_SIZE 255

/* How often what nobody waits for any more makes room. */
#define EXPIRE_MS 500

/* How often at most the consumer is told that a queue of ours is not there. */
#define DEAF_MS 1000

#define NOT_FOUND 404
#define CONNECTION_FORCED 320

struct publisher {
    struct link_thread *thread;
    struct reconnect *reconnect;
    struct conn *conn;              /* Null while there is none. */
    struct names exchanges, queues; /* Declared on this channel. */
    struct unconfirmed unconfirmed;
    struct message_list settled; /* To be told to the loop. */
    uint64_t expired_ms, deaf_ms;
    bool blocked;
    char blocked_reason[64];
    enum { NOTHING, REDECLARE, RECONNECT } repair; /* Was told to. */
    struct command *closing; /* Owned; null until told to. */
    uint64_t close_at_ms;
};

static void connect_step(struct publisher *);
static struct error *start_channel(struct publisher *);
static struct error *serve_step(struct publisher *);
static void wait_for_work(struct publisher *, bool more);
static void take_commands(struct publisher *);
static void take_command(struct publisher *, struct command *);
static struct error *repair(struct publisher *);
static struct error *make_sure(struct publisher *);
static bool is_done(struct publisher *);
static void lose(struct publisher *, struct error *);
static void recover_unconfirmed(struct publisher *, bool refused,
                                const char *exchange);
static bool goes_again(const struct publisher *, struct message *, bool refused,
                       const char *exchange);
static struct error *restart_channel(struct publisher *);
static struct error *publish_batch(struct publisher *, bool *ret_more);
static bool has_to_send(const struct publisher *p);
static bool is_ready_to_cork(const struct publisher *,
                             struct message *const *batch, size_t n);
static size_t pop_batch(struct publisher *, struct message **batch, size_t max);
static void put_back(struct publisher *, struct message *);
static struct error *publish(struct publisher *, struct message *);
static struct error *declare_for(struct publisher *, const struct message *);
static int send_message(struct publisher *, const struct message *);
static void expire(struct publisher *);
static void settle(struct publisher *, struct message *, enum publish_outcome);
static void settle_all(struct publisher *, struct message_list *,
                       enum publish_outcome);
static void notice_deafness(struct publisher *, const char *exchange,
                            const char *key);
static void flush_settled(struct publisher *);
static void close_down(struct publisher *);
static void on_confirmed(void *aux, uint64_t tag, bool multiple, bool ok);
static void on_returned(void *aux, const char *key, const char *body,
                        size_t size);
static void on_blocked(void *aux, const char *reason);

void
link_publisher_run(void *aux)
{
    struct publisher publisher = {
        .thread = aux,
        .reconnect = link_thread_reconnect(aux),
    };
    struct publisher *p = &publisher;

    p->unconfirmed.max_bytes =
        p->thread->settings->o.max_queue_bytes / UNCONFIRMED_PART;
    for (;;) {
        take_commands(p);
        expire(p);
        if (is_done(p)) {
            break;
        }
        if (p->conn) {
            struct error *error = serve_step(p);
            if (error) {
                lose(p, error);
            }
        } else {
            connect_step(p);
        }
        flush_settled(p);
    }
    close_down(p);
}

static void
connect_step(struct publisher *p)
{
    p->conn = link_thread_connect(p->thread, p->reconnect);
    if (!p->conn) {
        return;
    }
    p->conn->events = (struct conn_events){
        .returned = on_returned,
        .confirmed = on_confirmed,
        .blocked = on_blocked,
        .aux = p,
    };
    struct error *error = start_channel(p);
    if (error) {
        link_thread_count(p->thread, &p->thread->status.count.n_failures, 1);
        link_thread_failed(p->thread, error);
        reconnect_failed(p->reconnect, clock_now_ms(), false);
        conn_free(steal(&p->conn));
        return;
    }
    reconnect_connected(p->reconnect, clock_now_ms());
    log_info(NULL, "publishing to %s", p->thread->status.broker);
    p->blocked = false;
    p->repair = NOTHING;
    link_thread_report(p->thread, true, NULL);
}

static struct error *
start_channel(struct publisher *p)
{
    unconfirmed_open(&p->unconfirmed, clock_now_ms());
    names_clear(&p->exchanges);
    names_clear(&p->queues);
    amqp_confirm_select(p->conn->amqp, CHANNEL_MAIN);
    return conn_result(p->conn, CHANNEL_MAIN, "ask for confirms");
}

static struct error *
serve_step(struct publisher *p)
{
    bool more = false;
    struct error *error = conn_drain(p->conn);

    if (!error && p->conn->main_closed) {
        error = restart_channel(p);
    }
    if (!error && p->repair) {
        error = repair(p);
    }
    if (!error) {
        error = publish_batch(p, &more);
    }
    if (!error) {
        error = conn_heartbeat(p->conn);
    }
    flush_settled(p);
    if (!error) {
        link_thread_report(p->thread, true,
                           p->blocked ? p->blocked_reason : NULL);
        wait_for_work(p, more);
    }
    return error;
}

/* Being able to write matters only while there is something to be sent. */
static void
wait_for_work(struct publisher *p, bool more)
{
    uint64_t timeout_ms = link_thread_rest_ms(p->thread, p->conn);

    uv_mutex_lock(&p->thread->mutex);
    bool waiting = p->thread->outbox.n || p->unconfirmed.list.n || p->closing;
    p->thread->status.n_unconfirmed = p->unconfirmed.list.n;
    uv_mutex_unlock(&p->thread->mutex);
    if (waiting && timeout_ms > EXPIRE_MS) {
        timeout_ms = EXPIRE_MS;
    }
    link_thread_wait(p->thread, conn_fd(p->conn),
                     more ? POLLIN | POLLOUT : POLLIN, timeout_ms);
}

static void
take_commands(struct publisher *p)
{
    struct mail mail = link_thread_take(p->thread);

    free(mail.settles); /* Always null: these are the consumer's. */
    while (mail.commands) {
        struct command *command = mail.commands;

        mail.commands = command->next;
        take_command(p, command);
    }
}

/* Others do not come here. */
static void
take_command(struct publisher *p, struct command *command)
{
    if (command->type == COMMAND_CLOSE) {
        p->closing = command;
        p->close_at_ms = clock_now_ms() + command->grace_ms;
        return;
    }
    p->repair = command->type == COMMAND_RECONNECT ? RECONNECT : REDECLARE;
    link_post_command(p->thread, command);
}

static struct error *
repair(struct publisher *p)
{
    bool reconnects = p->repair == RECONNECT;

    p->repair = NOTHING;
    if (reconnects) {
        p->conn->dead = true; /* No polite words: it does not answer. */
        return error_new(ERR_INTERNAL, "nothing arrives: connecting again");
    }
    return p->blocked ? NULL : make_sure(p);
}

/* What was declared may be gone, and the broker, too. */
static struct error *
make_sure(struct publisher *p)
{
    const char *exchange = p->thread->settings->o.exchange;

    names_clear(&p->exchanges);
    names_clear(&p->queues);
    conn_set_patience(p->conn, PATIENCE_SUSPECTING_S);
    struct error *error = conn_declare_exchange(p->conn, exchange, false);
    conn_close_side(p->conn);
    conn_set_patience(p->conn, PATIENCE_S);
    if (error && !p->conn->dead) {
        link_thread_failed(p->thread, error);
        return NULL;
    }
    return error;
}

static bool
is_done(struct publisher *p)
{
    if (!p->closing) {
        return false;
    }
    uv_mutex_lock(&p->thread->mutex);
    bool idle = !p->thread->outbox.n && !p->unconfirmed.list.n;
    uv_mutex_unlock(&p->thread->mutex);
    return idle || clock_now_ms() >= p->close_at_ms;
}

/* Unless it is going down itself, a broker closes over what it was sent. */
static void
lose(struct publisher *p, struct error *error)
{
    bool refused = p->conn->is_closed && p->conn->code != CONNECTION_FORCED;

    link_thread_lost(p->thread, p->conn, error);
    conn_free(steal(&p->conn));
    recover_unconfirmed(p, refused, NULL);
    reconnect_lost(p->reconnect, clock_now_ms());
}

/* Nobody knows whether these arrived: they go again, a request only once.  Its
 * receiver drops the second by its _unique_id. (spec/rpc-wire 6.5)
 * 'refused': it was not the network but the broker that did not want one of
 * them; 'exchange', unless null, is the one of that. */
static void
recover_unconfirmed(struct publisher *p, bool refused, const char *exchange)
{
    struct message_list list = {0};
    struct message *message;

    unconfirmed_take_all(&p->unconfirmed, &list);
    while ((message = message_list_pop(&list))) {
        if (goes_again(p, message, refused, exchange)) {
            put_back(p, message);
        } else {
            settle(p, message, PUBLISH_LOST);
        }
    }
}

static bool
goes_again(const struct publisher *p, struct message *message, bool refused,
           const char *exchange)
{
    if (exchange && str_eq(message->exchange, exchange)) {
        /* It did not arrive.  A fanout exchange goes with its last server, and
         * comes back when it is declared; anything else will be refused
         * again. */
        message->n_sent--;
        return p->conn->code == NOT_FOUND &&
               unconfirmed_goes_again(message, true);
    }
    return unconfirmed_goes_again(message, refused);
}

/* The broker closes the channel over one message and tells only its exchange:
 * "... exchange 'NAME' in vhost ...". */
static struct error *
restart_channel(struct publisher *p)
{
    char exchange[256] = "";

    link_thread_count(p->thread, &p->thread->status.count.n_channels, 1);
    link_thread_failed(p->thread,
                       error_new(ERR_INTERNAL, "channel closed: %d %s",
                                 p->conn->code, p->conn->reason));
    const char *name = strstr(p->conn->reason, "exchange '");
    if (name) {
        sscanf(name, "exchange '%255[^']", exchange);
    }
    recover_unconfirmed(p, true, *exchange ? exchange : NULL);
    if (p->conn->code == NOT_FOUND) {
        notice_deafness(p, exchange, NULL);
    }
    struct error *error = conn_reopen_main(p->conn);
    return error ? error : start_channel(p);
}

static struct error *
publish_batch(struct publisher *p, bool *ret_more)
{
    struct message *batch[BATCH_N];
    struct error *error = NULL;

    size_t room = unconfirmed_room(&p->unconfirmed, clock_now_ms());
    if (p->blocked || !room || !has_to_send(p)) {
        return NULL;
    }
    if (!conn_can_write(p->conn)) {
        *ret_more = true;
        return NULL;
    }
    size_t n = pop_batch(p, batch, room < BATCH_N ? room : BATCH_N);
    bool cork = is_ready_to_cork(p, batch, n);
    if (cork) {
        conn_cork(p->conn, true);
    }
    for (size_t i = 0; i < n; i++) {
        if (error || p->conn->main_closed) {
            put_back(p, batch[i]);
        } else {
            error = publish(p, batch[i]);
        }
    }
    if (cork && !error) {
        conn_cork(p->conn, false);
    }
    *ret_more = n == BATCH_N;
    return error;
}

static bool
has_to_send(const struct publisher *p)
{
    uv_mutex_lock(&p->thread->mutex);
    bool has = p->thread->outbox.n;
    uv_mutex_unlock(&p->thread->mutex);
    return has;
}

/* Not while something has to be declared: that waits for an answer to what
 * would not have left yet. */
static bool
is_ready_to_cork(const struct publisher *p, struct message *const *batch,
                 size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct message *m = batch[i];
        if ((*m->exchange && !names_has(&p->exchanges, m->exchange)) ||
            (m->declares_queue && !names_has(&p->queues, m->routing_key))) {
            return false;
        }
    }
    return n > 1;
}

static size_t
pop_batch(struct publisher *p, struct message **batch, size_t max)
{
    size_t n = 0;

    uv_mutex_lock(&p->thread->mutex);
    while (n < max && (batch[n] = outbox_pop(&p->thread->outbox))) {
        n++;
    }
    uv_mutex_unlock(&p->thread->mutex);
    return n;
}

static void
put_back(struct publisher *p, struct message *message)
{
    struct message_list dropped = {0};

    uv_mutex_lock(&p->thread->mutex);
    outbox_put_back(&p->thread->outbox, message, &dropped);
    uv_mutex_unlock(&p->thread->mutex);
    link_thread_count_dropped(p->thread, &dropped);
    settle_all(p, &dropped, PUBLISH_DROPPED);
}

static struct error *
publish(struct publisher *p, struct message *message)
{
    if (message->deadline_ms && message->deadline_ms <= clock_now_ms()) {
        link_thread_count(p->thread, &p->thread->status.count.n_expired, 1);
        settle(p, message, PUBLISH_EXPIRED);
        return NULL;
    }
    if (strlen(message->routing_key) > NAME_MAX_SIZE ||
        strlen(message->exchange) > NAME_MAX_SIZE) {
        settle(p, message, PUBLISH_NO_ROUTE); /* No queue has such a name. */
        return NULL;
    }
    struct error *error = declare_for(p, message);
    if (error) {
        if (p->conn->dead) {
            put_back(p, message);
            return error;
        }
        log_limited(LOG_LEVEL_WARN, NULL, "not published: %s",
                    error_message(error));
        error_free(error);
        link_thread_count(p->thread, &p->thread->status.count.n_refused, 1);
        settle(p, message, PUBLISH_DROPPED);
        return NULL;
    }
    unconfirmed_add(&p->unconfirmed, message, clock_now_ms());
    return conn_status(p->conn, send_message(p, message), "publish");
}

/* Exchanges, and the queues of notifications, are there before the first
 * message goes; the peers do it once a channel, too. (spec/rpc-wire 1.2) */
static struct error *
declare_for(struct publisher *p, const struct message *message)
{
    struct error *error = NULL;
    const char *exchange = message->exchange, *key = message->routing_key;

    if (!*exchange) {
        return NULL;
    }
    if (!names_has(&p->exchanges, exchange)) {
        error = conn_declare_exchange(p->conn, exchange, message->is_fanout);
        if (!error) {
            names_add(&p->exchanges, exchange);
        }
        conn_close_side(p->conn);
    }
    if (!error && message->declares_queue && !names_has(&p->queues, key)) {
        const struct queue_spec queue = {.name = key};

        error = conn_declare_queue(p->conn, &queue);
        if (!error) {
            error = conn_bind(p->conn, key, exchange, key);
        }
        if (!error) {
            names_add(&p->queues, key);
        }
        conn_close_side(p->conn);
    }
    return error;
}

static int
send_message(struct publisher *p, const struct message *message)
{
    char expiration[16];
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG |
                  AMQP_BASIC_CONTENT_ENCODING_FLAG | AMQP_BASIC_HEADERS_FLAG |
                  AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG,
        .content_type = amqp_cstring_bytes("application/json"),
        .content_encoding = amqp_cstring_bytes("utf-8"),
        .delivery_mode = 2,
    };

    if (message->expiration_ms) {
        snprintf(expiration, sizeof expiration, "%u", message->expiration_ms);
        properties._flags |= AMQP_BASIC_EXPIRATION_FLAG;
        properties.expiration = amqp_cstring_bytes(expiration);
    }
    return amqp_basic_publish(
        p->conn->amqp, CHANNEL_MAIN, amqp_cstring_bytes(message->exchange),
        amqp_cstring_bytes(message->routing_key), message->mandatory, false,
        &properties,
        (amqp_bytes_t){.len = message->size, .bytes = message->body});
}

/* What is too late by now makes room. */
static void
expire(struct publisher *p)
{
    struct message_list expired = {0}, old = {0};
    uint64_t now_ms = clock_now_ms();

    if (now_ms - p->expired_ms < EXPIRE_MS) {
        return;
    }
    p->expired_ms = now_ms;
    uv_mutex_lock(&p->thread->mutex);
    outbox_expire(&p->thread->outbox, now_ms, &expired);
    uv_mutex_unlock(&p->thread->mutex);
    unconfirmed_take_old(&p->unconfirmed, now_ms, &old);
    link_thread_count(p->thread, &p->thread->status.count.n_expired,
                      expired.n + old.n);
    settle_all(p, &expired, PUBLISH_EXPIRED);
    settle_all(p, &old, PUBLISH_LOST);
    flush_settled(p);
}

static void
settle(struct publisher *p, struct message *message,
       enum publish_outcome outcome)
{
    message->outcome = outcome;
    message_list_append(&p->settled, message);
}

static void
settle_all(struct publisher *p, struct message_list *list,
           enum publish_outcome outcome)
{
    struct message *message;

    while ((message = message_list_pop(list))) {
        settle(p, message, outcome);
    }
}

static void
flush_settled(struct publisher *p)
{
    if (p->settled.head) {
        link_post_settled(p->thread, &p->settled);
    }
}

static void
close_down(struct publisher *p)
{
    struct message_list list = {0};
    struct message *message;

    conn_free(p->conn);
    unconfirmed_take_all(&p->unconfirmed, &list);
    settle_all(p, &list, PUBLISH_LOST);
    uv_mutex_lock(&p->thread->mutex);
    while ((message = outbox_pop(&p->thread->outbox))) {
        settle(p, message, PUBLISH_DROPPED);
    }
    uv_mutex_unlock(&p->thread->mutex);
    flush_settled(p);
    names_clear(&p->exchanges);
    names_clear(&p->queues);
    reconnect_free(p->reconnect);
    link_thread_report(p->thread, false, NULL);
    link_post_command(p->thread, p->closing);
}

/* A queue of ours that nothing comes to: the broker tells nobody else of it,
 * and the consumer can mend it at once.  'key' is null if the exchange itself
 * is not there. */
static void
notice_deafness(struct publisher *p, const char *exchange, const char *key)
{
    const struct link_settings *s = p->thread->settings;
    uint64_t now_ms = clock_now_ms();
    bool is_ours = key ? (str_eq(exchange, s->o.exchange) && s->server_queue &&
                          str_eq(key, s->server_queue)) ||
                             (!*exchange && str_eq(key, s->reply_queue))
                       : s->o.topic && (str_eq(exchange, s->o.exchange) ||
                                        str_eq(exchange, s->fanout_exchange));

    if (is_ours && now_ms - p->deaf_ms >= DEAF_MS) {
        p->deaf_ms = now_ms;
        log_warn(NULL, "%s '%s' of our own is not there: declaring again",
                 key ? "queue" : "exchange", key ? key : exchange);
        link_post_deaf(p->thread);
    }
}

static void
on_confirmed(void *aux, uint64_t tag, bool multiple, bool ok)
{
    struct publisher *p = aux;
    struct message_list list = {0};
    struct message *m;

    unconfirmed_take(&p->unconfirmed, tag, multiple, &list);
    if (!ok) {
        link_thread_count(p->thread, &p->thread->status.count.n_refused,
                          list.n);
    }
    while ((m = message_list_pop(&list))) {
        if (!ok && unconfirmed_goes_again(m, true)) {
            put_back(p, m); /* The broker failed to take it. */
        } else {
            settle(p, m,
                   !ok           ? PUBLISH_LOST
                   : m->returned ? PUBLISH_NO_ROUTE
                                 : PUBLISH_CONFIRMED);
        }
    }
}

static void
on_returned(void *aux, const char *key, const char *body, size_t size)
{
    struct publisher *p = aux;
    const struct message *message =
        unconfirmed_return(&p->unconfirmed, key, body, size);

    link_thread_count(p->thread, &p->thread->status.count.n_returns, 1);
    if (message) {
        notice_deafness(p, message->exchange, key);
    }
}

static void
on_blocked(void *aux, const char *reason)
{
    struct publisher *p = aux;

    log_warn(NULL, "publishing is %s by the broker%s%s",
             reason ? "held up" : "resumed", reason ? ": " : "",
             reason ? reason : "");
    p->blocked = reason;
    snprintf(p->blocked_reason, sizeof p->blocked_reason, "%s",
             reason ? reason : "");
}
