#include <config.h>

#include "rpc/link_internal.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "rpc/mismatch.h"

LOG_MODULE(link_amqp);

#define PRECONDITION_FAILED 406
#define NOT_FOUND 404

/* An exchange or a queue: one of them is null. */
struct declared {
    const char *exchange;
    bool is_fanout;
    const struct queue_spec *queue;
};

static struct error *open_channel(struct conn *, amqp_channel_t channel);
static struct error *open_side(struct conn *);
static struct error *declare(struct conn *, const struct declared *);
static struct error *declare_once(struct conn *, const struct declared *,
                                  bool passive, const char *text);
static void warn_mismatch(struct conn *, const struct declared *,
                          const char *text);
static void declare_queue(struct conn *, const struct queue_spec *,
                          bool passive);
static void declare_exchange(struct conn *, const char *name, bool is_fanout,
                             bool passive);
static void queue_arguments(const struct link_settings *,
                            const struct queue_spec *, struct table *);
static void stream_arguments(const struct link_settings *, struct table *);
static void add_limit(struct table *, const char *name, int limit);
static const char *reason_of(const struct conn *, int status);
static void channel_refused(struct conn *, amqp_channel_t channel,
                            const amqp_channel_close_t *);
static void connection_refused(struct conn *, const amqp_connection_close_t *);
static void note_refusal(struct conn *, int code, amqp_bytes_t text);

int
conn_fd(const struct conn *conn)
{
    return amqp_get_sockfd(conn->amqp);
}

struct error *
conn_reopen_main(struct conn *conn)
{
    conn->main_closed = false;
    assembly_reset(&conn->part);
    return open_channel(conn, CHANNEL_MAIN);
}

struct error *
conn_declare_exchange(struct conn *conn, const char *name, bool is_fanout)
{
    return declare(
        conn, &(struct declared){.exchange = name, .is_fanout = is_fanout});
}

struct error *
conn_declare_queue(struct conn *conn, const struct queue_spec *queue)
{
    struct error *error = declare(conn, &(struct declared){.queue = queue});

    if (!error || conn->dead || conn->code != NOT_FOUND ||
        !queue->is_transient) {
        return error;
    }
    /* Its home is a node of the broker's that is not there any more. */
    error_free(error);
    error = conn_delete_queue(conn, queue->name);
    return error ? error : declare(conn, &(struct declared){.queue = queue});
}

struct error *
conn_bind(struct conn *conn, const char *queue, const char *exchange,
          const char *key)
{
    struct error *error = open_side(conn);

    if (error) {
        return error;
    }
    amqp_queue_bind(conn->amqp, CHANNEL_SIDE, amqp_cstring_bytes(queue),
                    amqp_cstring_bytes(exchange), amqp_cstring_bytes(key),
                    amqp_empty_table);
    return conn_result(conn, CHANNEL_SIDE, "bind queue '%s' to '%s'", queue,
                       exchange);
}

struct error *
conn_delete_queue(struct conn *conn, const char *queue)
{
    struct error *error = open_side(conn);

    if (error) {
        return error;
    }
    amqp_queue_delete(conn->amqp, CHANNEL_SIDE, amqp_cstring_bytes(queue),
                      false, false);
    return conn_result(conn, CHANNEL_SIDE, "delete queue '%s'", queue);
}

int
conn_count_consumers(struct conn *conn, const char *queue)
{
    AUTO_ERROR error = open_side(conn);

    if (error) {
        return -1;
    }
    const amqp_queue_declare_ok_t *ok =
        amqp_queue_declare(conn->amqp, CHANNEL_SIDE, amqp_cstring_bytes(queue),
                           true, false, false, false, amqp_empty_table);
    int n = ok ? (int)ok->consumer_count : -1;
    error = conn_result(conn, CHANNEL_SIDE, "count consumers of '%s'", queue);
    return !error ? n : conn->code == NOT_FOUND ? 0 : -1;
}

bool
conn_lacks_exchange(struct conn *conn, const char *name)
{
    AUTO_ERROR error = open_side(conn);

    if (error) {
        return false;
    }
    declare_exchange(conn, name, false, true);
    error = conn_result(conn, CHANNEL_SIDE, "look for exchange '%s'", name);
    return error && conn->code == NOT_FOUND;
}

bool
mismatches_has(struct mismatches *m, const char *name)
{
    uv_mutex_lock(&m->mutex);
    bool has = names_has(&m->names, name);
    uv_mutex_unlock(&m->mutex);
    return has;
}

bool
mismatches_add(struct mismatches *m, const char *name)
{
    uv_mutex_lock(&m->mutex);
    bool is_new = !names_has(&m->names, name);
    if (is_new) {
        names_add(&m->names, name);
    }
    uv_mutex_unlock(&m->mutex);
    return is_new;
}

void
mismatches_remove(struct mismatches *m, const char *name)
{
    uv_mutex_lock(&m->mutex);
    names_remove(&m->names, name);
    uv_mutex_unlock(&m->mutex);
}

void
conn_close_side(struct conn *conn)
{
    if (conn->side_open && !conn->dead) {
        amqp_rpc_reply_t reply =
            amqp_channel_close(conn->amqp, CHANNEL_SIDE, AMQP_REPLY_SUCCESS);

        conn->dead = reply.reply_type != AMQP_RESPONSE_NORMAL;
        conn->side_open = false;
        amqp_maybe_release_buffers_on_channel(conn->amqp, CHANNEL_SIDE);
    }
}

struct error *
conn_consume(struct conn *conn, const char *queue, const char *consumer_tag)
{
    struct table args = {.n = 0};

    if (conn->settings->o.cancel_on_failover) {
        table_add_bool(&args, "x-cancel-on-ha-failover", true);
    }
    if (conn->settings->o.stream_fanout &&
        str_eq(queue, conn->settings->fanout_queue)) {
        /* A stream keeps what all have read: what was sent before our time is
         * none of our business, what was sent while we were away is. */
        if (conn->owner->stream_next) {
            table_add_int64(&args, "x-stream-offset", conn->owner->stream_next);
        } else {
            table_add_text(&args, "x-stream-offset", "next");
        }
    }
    amqp_basic_consume(conn->amqp, CHANNEL_MAIN, amqp_cstring_bytes(queue),
                       amqp_cstring_bytes(consumer_tag), false, false, false,
                       table_value(&args));
    return conn_result(conn, CHANNEL_MAIN, "consume queue '%s'", queue);
}

struct error *
conn_cancel(struct conn *conn, const char *consumer_tag)
{
    amqp_basic_cancel(conn->amqp, CHANNEL_MAIN,
                      amqp_cstring_bytes(consumer_tag));
    return conn_result(conn, CHANNEL_MAIN, "cancel consumer '%s'",
                       consumer_tag);
}

struct error *
conn_result(struct conn *conn, amqp_channel_t channel, const char *fmt, ...)
{
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn->amqp);
    char what[300];
    va_list args;

    if (reply.reply_type == AMQP_RESPONSE_NORMAL) {
        conn->last_write_ms = clock_now_ms();
        return NULL;
    }
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return conn_check_reply(conn, channel, reply, what);
}

struct error *
conn_check_reply(struct conn *conn, amqp_channel_t channel,
                 amqp_rpc_reply_t reply, const char *what)
{
    conn->last_write_ms = clock_now_ms();
    conn->code = 0;
    switch (reply.reply_type) {
    case AMQP_RESPONSE_NORMAL:
        return NULL;
    case AMQP_RESPONSE_SERVER_EXCEPTION:
        if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
            channel_refused(conn, channel, reply.reply.decoded);
        } else {
            connection_refused(conn, reply.reply.decoded);
        }
        return error_new(ERR_INTERNAL, "%s: %d %s", what, conn->code,
                         conn->reason);
    default:
        return conn_status(conn, reply.library_error, what);
    }
}

struct error *
conn_status(struct conn *conn, int status, const char *what)
{
    conn->last_write_ms = clock_now_ms();
    if (status == AMQP_STATUS_OK) {
        return NULL;
    }
    conn->is_silent |=
        status == AMQP_STATUS_TIMEOUT ||
        status == AMQP_STATUS_HEARTBEAT_TIMEOUT ||
        (status == AMQP_STATUS_SOCKET_ERROR && errno == ETIMEDOUT);
    conn->dead = true;
    return error_new(ERR_INTERNAL, "%s: %s", what, reason_of(conn, status));
}

void
conn_cork(struct conn *conn, bool cork)
{
    int on = cork;

    setsockopt(conn_fd(conn), IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

static struct error *
open_channel(struct conn *conn, amqp_channel_t channel)
{
    amqp_channel_open(conn->amqp, channel);
    return conn_result(conn, channel, "open channel");
}

static struct error *
open_side(struct conn *conn)
{
    if (conn->side_open) {
        return NULL;
    }
    struct error *error = open_channel(conn, CHANNEL_SIDE);
    conn->side_open = !error;
    return error;
}

/* What is known to be there otherwise is not declared again: each refusal costs
 * the channel. */
static struct error *
declare(struct conn *conn, const struct declared *what)
{
    AUTO_FREE text = what->queue ? xasprintf("queue '%s'", what->queue->name)
                                 : xasprintf("exchange '%s'", what->exchange);

    if (mismatches_has(conn->owner->mismatches, text)) {
        struct error *error = declare_once(conn, what, true, text);

        if (!error || conn->dead || conn->code != NOT_FOUND) {
            return error;
        }
        error_free(error);
        mismatches_remove(conn->owner->mismatches, text);
    }
    struct error *error = declare_once(conn, what, false, text);
    if (!error || conn->dead || conn->code != PRECONDITION_FAILED ||
        !mismatch_is(conn->reason)) {
        return error;
    }
    error_free(error);
    if (mismatches_add(conn->owner->mismatches, text)) {
        warn_mismatch(conn, what, text);
    }
    return declare_once(conn, what, true, text);
}

static struct error *
declare_once(struct conn *conn, const struct declared *what, bool passive,
             const char *text)
{
    struct error *error = open_side(conn);

    if (error) {
        return error;
    }
    if (what->queue) {
        declare_queue(conn, what->queue, passive);
    } else {
        declare_exchange(conn, what->exchange, what->is_fanout, passive);
    }
    return conn_result(conn, CHANNEL_SIDE, "%s %s",
                       passive ? "find" : "declare", text);
}

static void
warn_mismatch(struct conn *conn, const struct declared *what, const char *text)
{
    bool is_transient =
        what->queue ? what->queue->is_transient : what->is_fanout;
    const char *option = mismatch_option(
        conn->reason, what->queue && what->queue->is_stream ? MISMATCH_STREAM
                      : is_transient                        ? MISMATCH_TRANSIENT
                                                            : MISMATCH_SHARED);

    log_warn(NULL,
             "%s is used as it is: %s; to agree, %s%s here or at the peers, or "
             "delete what is there",
             text, conn->reason, option ? "change " : "declare it otherwise",
             option ? option : "");
}

static void
declare_queue(struct conn *conn, const struct queue_spec *queue, bool passive)
{
    const struct link_options *o = &conn->settings->o;
    bool is_shared = !queue->is_stream && !queue->is_transient;
    bool is_durable = queue->is_stream ? true
                      : is_shared      ? o->durable || o->quorum
                                       : o->transient_quorum;
    struct table args = {.n = 0};

    queue_arguments(conn->settings, queue, &args);
    amqp_queue_declare(conn->amqp, CHANNEL_SIDE,
                       amqp_cstring_bytes(queue->name), passive, is_durable,
                       false, is_shared && o->auto_delete, table_value(&args));
}

static void
declare_exchange(struct conn *conn, const char *name, bool is_fanout,
                 bool passive)
{
    const struct link_options *o = &conn->settings->o;

    amqp_exchange_declare(
        conn->amqp, CHANNEL_SIDE, amqp_cstring_bytes(name),
        amqp_cstring_bytes(is_fanout ? "fanout" : "topic"), passive,
        is_fanout ? o->transient_quorum : o->durable || o->quorum,
        is_fanout || o->auto_delete, false, amqp_empty_table);
}

/* Arguments are compared by the broker, so even one without effect, such as
 * x-ha-policy, must be what the peers say. (spec/rpc-wire 1.4) */
static void
queue_arguments(const struct link_settings *s, const struct queue_spec *queue,
                struct table *args)
{
    const struct link_options *o = &s->o;

    if (queue->is_stream) {
        stream_arguments(s, args);
        return;
    }
    if (queue->is_transient ? o->transient_quorum : o->quorum) {
        table_add_text(args, "x-queue-type", "quorum");
    }
    if (queue->is_transient) {
        unsigned ttl_s = o->transient_ttl_s;

        if (ttl_s) {
            table_add_int(args, "x-expires",
                          ttl_s < INT_MAX / 1000 ? (int)ttl_s * 1000 : INT_MAX);
        }
    } else if (o->quorum) {
        add_limit(args, "x-delivery-limit", o->quorum_delivery_limit);
        add_limit(args, "x-max-in-memory-length", o->quorum_max_length);
        add_limit(args, "x-max-in-memory-bytes", o->quorum_max_bytes);
    }
    if (o->ha_queues) {
        table_add_text(args, "x-ha-policy", "all");
    }
}

/* The age is a text, with its unit. */
static void
stream_arguments(const struct link_settings *s, struct table *args)
{
    table_add_text(args, "x-queue-type", "stream");
    if (s->o.transient_ttl_s) {
        table_add_text(args, "x-max-age", s->stream_max_age);
    }
}

static void
add_limit(struct table *args, const char *name, int limit)
{
    if (limit) {
        table_add_int(args, name, limit);
    }
}

/* rabbitmq-c says little more than that there was an error. */
static const char *
reason_of(const struct conn *conn, int status)
{
    static const int numbers[] = {ECONNRESET,  ECONNREFUSED, ECONNABORTED,
                                  EPIPE,       ETIMEDOUT,    EHOSTUNREACH,
                                  ENETUNREACH, ENETDOWN};
    int number = errno;

    if (interrupt_is_raised(&conn->owner->interrupt)) {
        return "given up";
    }
    if (status != AMQP_STATUS_TIMEOUT && tls_reason(conn)) {
        return tls_reason(conn);
    }
    for (size_t i = 0; i < N_ELEMENTS(numbers); i++) {
        if (status == AMQP_STATUS_SOCKET_ERROR && number == numbers[i]) {
            return strerror(number);
        }
    }
    return amqp_error_string2(status);
}

static void
channel_refused(struct conn *conn, amqp_channel_t channel,
                const amqp_channel_close_t *m)
{
    amqp_channel_close_ok_t ok = {0};

    note_refusal(conn, m->reply_code, m->reply_text);
    if (amqp_send_method(conn->amqp, channel, AMQP_CHANNEL_CLOSE_OK_METHOD,
                         &ok)) {
        conn->dead = true;
    }
    if (channel == CHANNEL_SIDE) {
        conn->side_open = false;
    } else {
        conn->main_closed = true;
    }
}

static void
connection_refused(struct conn *conn, const amqp_connection_close_t *m)
{
    amqp_connection_close_ok_t ok = {0};

    note_refusal(conn, m->reply_code, m->reply_text);
    conn->is_closed = true;
    amqp_send_method(conn->amqp, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
    conn->dead = true;
}

static void
note_refusal(struct conn *conn, int code, amqp_bytes_t text)
{
    conn->code = code;
    snprintf(conn->reason, sizeof conn->reason, "%.*s", (int)text.len,
             (const char *)text.bytes);
}
