#include <config.h>

#include "rpc/link_internal.h"

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

LOG_MODULE(link_amqp);

#define PRECONDITION_FAILED 406
#define NOT_FOUND 404

static struct error *open_channel(struct conn *, amqp_channel_t channel);
static struct error *open_side(struct conn *);
static void declare_queue(struct conn *, const struct queue_spec *,
                          bool passive);
static void declare_exchange(struct conn *, const char *name, bool is_fanout,
                             bool passive);
static void warn_mismatch(struct conn *, const char *what, const char *name);
static void queue_arguments(const struct link_options *,
                            const struct queue_spec *, struct table *);
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
    struct error *error = open_side(conn);

    if (error) {
        return error;
    }
    declare_exchange(conn, name, is_fanout, false);
    error = conn_result(conn, CHANNEL_SIDE, "declare exchange '%s'", name);
    if (!error || conn->code != PRECONDITION_FAILED) {
        return error;
    }
    warn_mismatch(conn, "exchange", name);
    error_free(error);
    error = open_side(conn);
    if (error) {
        return error;
    }
    declare_exchange(conn, name, is_fanout, true);
    return conn_result(conn, CHANNEL_SIDE, "find exchange '%s'", name);
}

struct error *
conn_declare_queue(struct conn *conn, const struct queue_spec *queue)
{
    struct error *error = open_side(conn);

    if (error) {
        return error;
    }
    declare_queue(conn, queue, false);
    error = conn_result(conn, CHANNEL_SIDE, "declare queue '%s'", queue->name);
    if (!error || (conn->code != PRECONDITION_FAILED &&
                   !(conn->code == NOT_FOUND && queue->is_transient))) {
        return error;
    }
    error_free(error);
    bool passive = conn->code == PRECONDITION_FAILED;
    if (passive) {
        warn_mismatch(conn, "queue", queue->name);
    } else {
        error = conn_delete_queue(conn, queue->name);
        if (error) {
            return error;
        }
    }
    error = open_side(conn);
    if (error) {
        return error;
    }
    declare_queue(conn, queue, passive);
    return conn_result(conn, CHANNEL_SIDE, "take queue '%s'", queue->name);
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
        conn->dead = true;
        return error_new(ERR_INTERNAL, "%s: %s", what,
                         amqp_error_string2(reply.library_error));
    }
}

struct error *
conn_status(struct conn *conn, int status, const char *what)
{
    conn->last_write_ms = clock_now_ms();
    if (status == AMQP_STATUS_OK) {
        return NULL;
    }
    conn->dead = true;
    return error_new(ERR_INTERNAL, "%s: %s", what, amqp_error_string2(status));
}

/* The library sends one only after a whole interval, which leaves the broker
 * little to be patient about. */
struct error *
conn_heartbeat(struct conn *conn)
{
    int interval_s = amqp_get_heartbeat(conn->amqp);
    uint64_t now_ms = clock_now_ms();

    if (!interval_s ||
        now_ms - conn->last_write_ms < (uint64_t)interval_s * 1000 / 2 - 500) {
        return NULL;
    }
    amqp_frame_t frame = {.frame_type = AMQP_FRAME_HEARTBEAT, .channel = 0};
    return conn_status(conn, amqp_send_frame(conn->amqp, &frame), "heartbeat");
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

static void
declare_queue(struct conn *conn, const struct queue_spec *queue, bool passive)
{
    const struct link_options *o = &conn->settings->o;
    struct table args = {.n = 0};

    queue_arguments(o, queue, &args);
    amqp_queue_declare(
        conn->amqp, CHANNEL_SIDE, amqp_cstring_bytes(queue->name), passive,
        !queue->is_transient && (o->durable || o->quorum), false,
        !queue->is_transient && o->auto_delete, table_value(&args));
}

static void
declare_exchange(struct conn *conn, const char *name, bool is_fanout,
                 bool passive)
{
    const struct link_options *o = &conn->settings->o;

    amqp_exchange_declare(conn->amqp, CHANNEL_SIDE, amqp_cstring_bytes(name),
                          amqp_cstring_bytes(is_fanout ? "fanout" : "topic"),
                          passive, !is_fanout && (o->durable || o->quorum),
                          is_fanout || o->auto_delete, false, amqp_empty_table);
}

static void
warn_mismatch(struct conn *conn, const char *what, const char *name)
{
    if (!*conn->warned_mismatch) {
        log_warn(NULL, "%s '%s' is used as it is: %s", what, name,
                 conn->reason);
        *conn->warned_mismatch = true;
    }
}

/* Arguments are compared by the broker, so even one without effect, such as
 * x-ha-policy, must be what the peers say. (spec/rpc-wire 1.4) */
static void
queue_arguments(const struct link_options *o, const struct queue_spec *queue,
                struct table *args)
{
    if (queue->is_transient) {
        if (o->transient_ttl_s) {
            unsigned ttl_s = o->transient_ttl_s;

            table_add_int(args, "x-expires",
                          ttl_s < INT_MAX / 1000 ? (int)ttl_s * 1000 : INT_MAX);
        }
    } else if (o->quorum) {
        table_add_text(args, "x-queue-type", "quorum");
        if (o->quorum_delivery_limit) {
            table_add_int(args, "x-delivery-limit", o->quorum_delivery_limit);
        }
        if (o->quorum_max_length) {
            table_add_int(args, "x-max-in-memory-length", o->quorum_max_length);
        }
        if (o->quorum_max_bytes) {
            table_add_int(args, "x-max-in-memory-bytes", o->quorum_max_bytes);
        }
    }
    if (o->ha_queues) {
        table_add_text(args, "x-ha-policy", "all");
    }
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
