#include <config.h>

#include "rpc/link_internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "agent/base/clock.h"

/* A net below the heartbeats, with smaller meshes: an idle connection is asked
 * for a sign of life, on one that sends the other side has to acknowledge. */
#define KEEPALIVE_IDLE_S 10
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT 2
#define USER_TIMEOUT_MS 12000

void
conn_set_socket_options(const struct conn *conn)
{
    unsigned heartbeat_ms = conn->settings->o.heartbeat_s * 1000;
    bool is_shorter = heartbeat_ms && heartbeat_ms < USER_TIMEOUT_MS;
    const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT},
        {IPPROTO_TCP, TCP_USER_TIMEOUT,
         is_shorter ? (int)heartbeat_ms : USER_TIMEOUT_MS},
    };

    for (size_t i = 0; i < N_ELEMENTS(options); i++) {
        setsockopt(conn_fd(conn), options[i].level, options[i].name,
                   &options[i].value, sizeof options[i].value);
    }
}

void
conn_set_patience(struct conn *conn, unsigned seconds)
{
    struct timeval timeout = {.tv_sec = seconds};

    amqp_set_rpc_timeout(conn->amqp, &timeout);
}

/* The library sends one only after a whole interval, which leaves the broker
 * little to be patient about.  Where there is no room for it, what is on its
 * way is a sign of life as good. */
struct error *
conn_heartbeat(struct conn *conn)
{
    if (conn_heartbeat_in_ms(conn) || !conn_can_write(conn)) {
        return NULL;
    }
    amqp_frame_t frame = {.frame_type = AMQP_FRAME_HEARTBEAT, .channel = 0};
    return conn_status(conn, amqp_send_frame(conn->amqp, &frame), "heartbeat");
}

uint64_t
conn_heartbeat_in_ms(const struct conn *conn)
{
    uint64_t interval_ms = (uint64_t)amqp_get_heartbeat(conn->amqp) * 1000;
    uint64_t due_ms = interval_ms / 2 - interval_ms / 10;
    uint64_t rested_ms = clock_now_ms() - conn->last_write_ms;

    if (!interval_ms) {
        return UINT64_MAX;
    }
    return rested_ms < due_ms ? due_ms - rested_ms : 0;
}

bool
conn_can_write(const struct conn *conn)
{
    struct pollfd fd = {.fd = conn_fd(conn), .events = POLLOUT};

    return poll(&fd, 1, 0) == 1;
}
