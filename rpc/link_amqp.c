#include <config.h>

#include "rpc/link_internal.h"

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/ssl_socket.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#endif

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "rpc/uuid.h"

LOG_MODULE(link_amqp);

#define CONNECT_TIMEOUT_S 5
#define LOGIN_TIMEOUT_S 10
#define CALL_TIMEOUT_S 15

#define PRECONDITION_FAILED 406
#define NOT_FOUND 404

#define N_ARGS_MAX 6

/* The arguments of a declaration; 'entries' must stay where they are. */
struct arguments {
    amqp_table_entry_t entries[N_ARGS_MAX];
    int n;
};

static struct error *open_socket(struct conn *, const struct transport_host *);
static struct error *new_ssl_socket(struct conn *,
                                    const struct transport_host *,
                                    amqp_socket_t **ret);
static void expect_name(SSL_CTX *context, const char *host);
static struct error *login(struct conn *, const struct transport_host *,
                           const char *role);
static struct error *open_channel(struct conn *, amqp_channel_t channel);
static struct error *open_side(struct conn *);
static void set_user_timeout(const struct conn *);
static void declare_queue(struct conn *, const struct queue_spec *,
                          bool passive);
static void declare_exchange(struct conn *, const char *name, bool is_fanout,
                             bool passive);
static void warn_mismatch(struct conn *, const char *what, const char *name);
static void queue_arguments(const struct link_options *,
                            const struct queue_spec *, struct arguments *);
static void add_int(struct arguments *, const char *key, int value);
static void add_text(struct arguments *, const char *key, const char *value);
static void add_bool(struct arguments *, const char *key, bool value);
static amqp_table_t table_of(struct arguments *);
static void note_refusal(struct conn *, int code, amqp_bytes_t text);

struct error *
conn_open(const struct link_settings *settings,
          const struct transport_host *host, const char *role,
          bool *warned_mismatch, struct conn **ret)
{
    struct conn *conn = xzalloc(sizeof *conn);

    conn->settings = settings;
    conn->warned_mismatch = warned_mismatch;
    conn->amqp = amqp_new_connection();
    struct error *error = open_socket(conn, host);
    if (!error) {
        error = login(conn, host, role);
    }
    if (!error) {
        set_user_timeout(conn);
        error = open_channel(conn, CHANNEL_MAIN);
    }
    if (error) {
        conn->dead = true;
        conn_free(conn);
        return error_wrap(error, "connect to '%s:%d'", host->host, host->port);
    }
    conn->last_write_ms = clock_now_ms();
    *ret = conn;
    return NULL;
}

void
conn_free(struct conn *conn)
{
    if (!conn) {
        return;
    }
    if (!conn->dead) {
        struct timeval timeout = {.tv_sec = 2};

        amqp_set_rpc_timeout(conn->amqp, &timeout);
        amqp_connection_close(conn->amqp, AMQP_REPLY_SUCCESS);
    }
    amqp_destroy_connection(conn->amqp);
    assembly_reset(&conn->part);
    free(conn);
}

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
    struct arguments args = {.n = 0};

    if (conn->settings->o.cancel_on_failover) {
        add_bool(&args, "x-cancel-on-ha-failover", true);
    }
    amqp_basic_consume(conn->amqp, CHANNEL_MAIN, amqp_cstring_bytes(queue),
                       amqp_cstring_bytes(consumer_tag), false, false, false,
                       table_of(&args));
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

    conn->last_write_ms = clock_now_ms();
    if (reply.reply_type == AMQP_RESPONSE_NORMAL) {
        return NULL;
    }
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    conn->code = 0;
    if (reply.reply_type != AMQP_RESPONSE_SERVER_EXCEPTION) {
        conn->dead = true;
        return error_new(ERR_INTERNAL, "%s: %s", what,
                         amqp_error_string2(reply.library_error));
    }
    if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
        const amqp_channel_close_t *m = reply.reply.decoded;
        amqp_channel_close_ok_t ok = {0};

        note_refusal(conn, m->reply_code, m->reply_text);
        if (amqp_send_method(conn->amqp, channel, AMQP_CHANNEL_CLOSE_OK_METHOD,
                             &ok)) {
            conn->dead = true;
        }
        *(channel == CHANNEL_SIDE ? &conn->side_open : &conn->main_closed) =
            channel != CHANNEL_SIDE;
    } else {
        const amqp_connection_close_t *m = reply.reply.decoded;
        amqp_connection_close_ok_t ok = {0};

        note_refusal(conn, m->reply_code, m->reply_text);
        amqp_send_method(conn->amqp, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
        conn->dead = true;
    }
    return error_new(ERR_INTERNAL, "%s: %d %s", what, conn->code, conn->reason);
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
open_socket(struct conn *conn, const struct transport_host *host)
{
    const struct link_options *o = &conn->settings->o;
    struct timeval timeout = {.tv_sec = CONNECT_TIMEOUT_S};
    amqp_socket_t *socket = NULL;

    if (o->ssl) {
        struct error *error = new_ssl_socket(conn, host, &socket);
        if (error) {
            return error;
        }
    } else {
        socket = amqp_tcp_socket_new(conn->amqp);
    }
    if (!socket) {
        return error_new(ERR_INTERNAL, "no socket");
    }
    int status =
        amqp_socket_open_noblock(socket, host->host, host->port, &timeout);
    return conn_status(conn, status, "open");
}

static struct error *
new_ssl_socket(struct conn *conn, const struct transport_host *host,
               amqp_socket_t **ret)
{
    const struct link_options *o = &conn->settings->o;
    amqp_socket_t *s = amqp_ssl_socket_new(conn->amqp);

    if (!s) {
        return error_new(ERR_INTERNAL, "no TLS socket");
    }
    *ret = s; /* The connection owns it already. */
    amqp_ssl_socket_set_verify_peer(s, true);
    amqp_ssl_socket_set_verify_hostname(s, false);
    if (o->ssl_ca_file && o->ssl_verify_hostname) {
        expect_name(amqp_ssl_socket_get_context(s), host->host);
    }
    if (amqp_ssl_socket_set_ssl_versions(s, AMQP_TLSv1_2, AMQP_TLSvLATEST)) {
        return error_new(ERR_CONFIG, "TLS 1.2 is not to be had");
    }
    if (o->ssl_ca_file) {
        if (amqp_ssl_socket_set_cacert(s, o->ssl_ca_file)) {
            return error_new(ERR_CONFIG, "cannot use CA file '%s'",
                             o->ssl_ca_file);
        }
    } else {
        SSL_CTX_set_default_verify_paths(amqp_ssl_socket_get_context(s));
    }
    if (o->ssl_cert_file &&
        amqp_ssl_socket_set_key(s, o->ssl_cert_file,
                                o->ssl_key_file ? o->ssl_key_file
                                                : o->ssl_cert_file)) {
        return error_new(ERR_CONFIG, "cannot use certificate '%s'",
                         o->ssl_cert_file);
    }
    return NULL;
}

/* OpenSSL compares names as part of verifying; the matcher of rabbitmq-c before
 * 0.14 knows neither addresses nor all forms of names. */
static void
expect_name(SSL_CTX *context, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(context);

    X509_VERIFY_PARAM_set_hostflags(param,
                                    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (!X509_VERIFY_PARAM_set1_ip_asc(param, host)) {
        X509_VERIFY_PARAM_set1_host(param, host, 0);
    }
}

static struct error *
login(struct conn *conn, const struct transport_host *host, const char *role)
{
    const struct link_options *o = &conn->settings->o;
    struct timeval login_timeout = {.tv_sec = LOGIN_TIMEOUT_S};
    struct timeval call_timeout = {.tv_sec = CALL_TIMEOUT_S};
    struct arguments capabilities = {.n = 0};
    char uuid[UUID_SIZE];
    amqp_rpc_reply_t reply;

    /* Without these a deleted queue and a broker short of memory are silent. */
    add_bool(&capabilities, "consumer_cancel_notify", true);
    add_bool(&capabilities, "connection.blocked", true);
    add_bool(&capabilities, "basic.nack", true);
    add_bool(&capabilities, "publisher_confirms", true);
    AUTO_FREE name = xasprintf("%s:%ld:%s:%s", o->name, (long)getpid(),
                               uuid_generate_text(uuid), role);
    struct arguments properties = {.n = 0};
    add_text(&properties, "product", "drover");
    add_text(&properties, "version", PACKAGE_VERSION);
    add_text(&properties, "connection_name", name);
    amqp_table_entry_t *entry = &properties.entries[properties.n++];
    entry->key = amqp_cstring_bytes("capabilities");
    entry->value.kind = AMQP_FIELD_KIND_TABLE;
    entry->value.value.table = table_of(&capabilities);
    amqp_table_t table = table_of(&properties);

    amqp_set_handshake_timeout(conn->amqp, &login_timeout);
    amqp_set_rpc_timeout(conn->amqp, &call_timeout);
    if (o->external) {
        reply = amqp_login_with_properties(
            conn->amqp, o->url->vhost, AMQP_DEFAULT_MAX_CHANNELS,
            AMQP_DEFAULT_FRAME_SIZE, (int)o->heartbeat_s, &table,
            AMQP_SASL_METHOD_EXTERNAL, "");
    } else {
        reply = amqp_login_with_properties(
            conn->amqp, o->url->vhost, AMQP_DEFAULT_MAX_CHANNELS,
            AMQP_DEFAULT_FRAME_SIZE, (int)o->heartbeat_s, &table,
            AMQP_SASL_METHOD_PLAIN, host->user, host->password);
    }
    if (reply.reply_type == AMQP_RESPONSE_NORMAL) {
        return NULL;
    }
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
        reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
        const amqp_connection_close_t *m = reply.reply.decoded;

        note_refusal(conn, m->reply_code, m->reply_text);
        return error_new(ERR_INTERNAL, "log in: %d %s", conn->code,
                         conn->reason);
    }
    return error_new(ERR_INTERNAL, "log in: %s",
                     amqp_error_string2(reply.library_error));
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

/* A second net below the heartbeats: the kernel gives up on data that the
 * other side does not acknowledge. */
static void
set_user_timeout(const struct conn *conn)
{
    unsigned ms = (unsigned)amqp_get_heartbeat(conn->amqp) * 1000;

    if (ms) {
        setsockopt(conn_fd(conn), IPPROTO_TCP, TCP_USER_TIMEOUT, &ms,
                   sizeof ms);
    }
}

static void
declare_queue(struct conn *conn, const struct queue_spec *queue, bool passive)
{
    const struct link_options *o = &conn->settings->o;
    struct arguments args = {.n = 0};

    queue_arguments(o, queue, &args);
    amqp_queue_declare(conn->amqp, CHANNEL_SIDE,
                       amqp_cstring_bytes(queue->name), passive,
                       !queue->is_transient && (o->durable || o->quorum), false,
                       !queue->is_transient && o->auto_delete, table_of(&args));
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
                struct arguments *args)
{
    if (queue->is_transient) {
        if (o->transient_ttl_s) {
            unsigned ttl_s = o->transient_ttl_s;

            add_int(args, "x-expires",
                    ttl_s < INT_MAX / 1000 ? (int)ttl_s * 1000 : INT_MAX);
        }
    } else if (o->quorum) {
        add_text(args, "x-queue-type", "quorum");
        if (o->quorum_delivery_limit) {
            add_int(args, "x-delivery-limit", o->quorum_delivery_limit);
        }
        if (o->quorum_max_length) {
            add_int(args, "x-max-in-memory-length", o->quorum_max_length);
        }
        if (o->quorum_max_bytes) {
            add_int(args, "x-max-in-memory-bytes", o->quorum_max_bytes);
        }
    }
    if (o->ha_queues) {
        add_text(args, "x-ha-policy", "all");
    }
}

static void
add_int(struct arguments *args, const char *key, int value)
{
    amqp_table_entry_t *entry = &args->entries[args->n++];

    entry->key = amqp_cstring_bytes(key);
    entry->value.kind = AMQP_FIELD_KIND_I32;
    entry->value.value.i32 = value;
}

static void
add_text(struct arguments *args, const char *key, const char *value)
{
    amqp_table_entry_t *entry = &args->entries[args->n++];

    entry->key = amqp_cstring_bytes(key);
    entry->value.kind = AMQP_FIELD_KIND_UTF8;
    entry->value.value.bytes = amqp_cstring_bytes(value);
}

static void
add_bool(struct arguments *args, const char *key, bool value)
{
    amqp_table_entry_t *entry = &args->entries[args->n++];

    entry->key = amqp_cstring_bytes(key);
    entry->value.kind = AMQP_FIELD_KIND_BOOLEAN;
    entry->value.value.boolean = value;
}

static amqp_table_t
table_of(struct arguments *args)
{
    return (amqp_table_t){.num_entries = args->n, .entries = args->entries};
}

static void
note_refusal(struct conn *conn, int code, amqp_bytes_t text)
{
    conn->code = code;
    snprintf(conn->reason, sizeof conn->reason, "%.*s", (int)text.len,
             (const char *)text.bytes);
}
