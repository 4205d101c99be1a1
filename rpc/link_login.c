#include <config.h>

#include "rpc/link_internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
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
#include "rpc/uuid.h"

#define CONNECT_TIMEOUT_S 5
#define LOGIN_TIMEOUT_S 10
#define CALL_TIMEOUT_S 15

static struct error *open_socket(struct conn *, const struct transport_host *);
static struct error *new_ssl_socket(struct conn *,
                                    const struct transport_host *,
                                    amqp_socket_t **ret);
static void expect_name(SSL_CTX *context, const char *host);
static struct error *login(struct conn *, const struct transport_host *,
                           const char *role);
static void set_user_timeout(const struct conn *);

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
        error = conn_reopen_main(conn);
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
    struct table capabilities = {.n = 0};
    char uuid[UUID_SIZE];
    amqp_rpc_reply_t reply;

    /* Without these a deleted queue and a broker short of memory are silent. */
    table_add_bool(&capabilities, "consumer_cancel_notify", true);
    table_add_bool(&capabilities, "connection.blocked", true);
    table_add_bool(&capabilities, "basic.nack", true);
    table_add_bool(&capabilities, "publisher_confirms", true);
    AUTO_FREE name = xasprintf("%s:%ld:%s:%s", o->name, (long)getpid(),
                               uuid_generate_text(uuid), role);
    struct table properties = {.n = 0};
    table_add_text(&properties, "product", "drover");
    table_add_text(&properties, "version", PACKAGE_VERSION);
    table_add_text(&properties, "connection_name", name);
    table_add_table(&properties, "capabilities", &capabilities);
    amqp_table_t table = table_value(&properties);

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
    return conn_check_reply(conn, 0, reply, "log in");
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
