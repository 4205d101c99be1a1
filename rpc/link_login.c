#include <config.h>

#include "rpc/link_internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp_tcp_socket.h>
#endif

#include "agent/base/clock.h"
#include "rpc/uuid.h"

#define CONNECT_TIMEOUT_S 5
#define LOGIN_TIMEOUT_S 10

static struct error *open_socket(struct conn *, const struct transport_host *);
static struct error *open_tls(struct conn *, const struct transport_host *);
static struct error *login(struct conn *, const struct transport_host *,
                           const char *role);

struct error *
conn_open(const struct link_settings *settings,
          const struct transport_host *host, const char *role,
          struct conn_owner *owner, struct conn **ret)
{
    struct conn *conn = xzalloc(sizeof *conn);

    conn->settings = settings;
    conn->owner = owner;
    conn->amqp = amqp_new_connection();
    struct error *error = open_socket(conn, host);
    if (!error) {
        interrupt_arm(&owner->interrupt, conn_fd(conn));
        error = login(conn, host, role);
    }
    if (!error) {
        error = conn_reopen_main(conn);
    }
    interrupt_disarm(&owner->interrupt);
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
    int fd;
    struct error *error =
        dial(&conn->owner->interrupt, host, CONNECT_TIMEOUT_S, &fd);

    if (error) {
        return error;
    }
    if (conn->settings->o.ssl) {
        /* rabbitmq-c takes no socket for TLS.  This one has shown, in a way
         * that can be ended, that there is somebody. */
        close(fd);
        return open_tls(conn, host);
    }
    amqp_socket_t *s = amqp_tcp_socket_new(conn->amqp);
    int on = 1;

    if (!s) {
        close(fd);
        return error_new(ERR_INTERNAL, "no socket");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    amqp_tcp_socket_set_sockfd(s, fd);
    return NULL;
}

static struct error *
open_tls(struct conn *conn, const struct transport_host *host)
{
    struct timeval timeout = {.tv_sec = CONNECT_TIMEOUT_S};
    amqp_socket_t *s;
    struct error *error = tls_socket_new(conn, host, &s);

    if (error) {
        return error;
    }
    conn->is_opening = true;
    int status = amqp_socket_open_noblock(s, host->host, host->port, &timeout);
    conn->is_opening = false;
    return conn_status(conn, status, "open with TLS");
}

static struct error *
login(struct conn *conn, const struct transport_host *host, const char *role)
{
    const struct link_options *o = &conn->settings->o;
    struct timeval login_timeout = {.tv_sec = LOGIN_TIMEOUT_S};
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
    conn_set_patience(conn, PATIENCE_S);
    conn_set_socket_options(conn);
    if (o->external) {
        /* Of the name nobody takes notice, but rabbitmq-c 0.11 fails to
         * allocate an empty one. */
        reply = amqp_login_with_properties(
            conn->amqp, o->url->vhost, AMQP_DEFAULT_MAX_CHANNELS,
            AMQP_DEFAULT_FRAME_SIZE, (int)o->heartbeat_s, &table,
            AMQP_SASL_METHOD_EXTERNAL, *host->user ? host->user : "-");
    } else {
        reply = amqp_login_with_properties(
            conn->amqp, o->url->vhost, AMQP_DEFAULT_MAX_CHANNELS,
            AMQP_DEFAULT_FRAME_SIZE, (int)o->heartbeat_s, &table,
            AMQP_SASL_METHOD_PLAIN, host->user, host->password);
    }
    return conn_check_reply(conn, 0, reply, "log in");
}
