#include <config.h>

#include "tests/bench/bus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp_tcp_socket.h>
#endif

#define FRAME_MAX 131072
#define PERSISTENT 2

static const char *reason(amqp_rpc_reply_t reply);

amqp_connection_state_t
bus_connect(const char *address, const char *port)
{
    amqp_connection_state_t bus = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(bus);

    if (amqp_socket_open(socket, address, atoi(port)) != AMQP_STATUS_OK) {
        bus_die("connect to", address);
    }
    amqp_rpc_reply_t reply = amqp_login(
        bus, "/", 0, FRAME_MAX, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest");
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
        bus_die("log in", reason(reply));
    }
    amqp_channel_open(bus, BUS_CHANNEL);
    bus_check(bus, "open a channel");
    return bus;
}

void
bus_check(amqp_connection_state_t bus, const char *what)
{
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(bus);

    if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
        bus_die(what, reason(reply));
    }
}

void
bus_publish(amqp_connection_state_t bus, const char *exchange, const char *key,
            const char *body, size_t size)
{
    const amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG |
                  AMQP_BASIC_CONTENT_ENCODING_FLAG |
                  AMQP_BASIC_DELIVERY_MODE_FLAG,
        .content_type = amqp_cstring_bytes("application/json"),
        .content_encoding = amqp_cstring_bytes("utf-8"),
        .delivery_mode = PERSISTENT,
    };
    amqp_bytes_t bytes = {.len = size, .bytes = (void *)body};
    int status = amqp_basic_publish(
        bus, BUS_CHANNEL, amqp_cstring_bytes(exchange), amqp_cstring_bytes(key),
        false, false, &properties, bytes);

    if (status != AMQP_STATUS_OK) {
        bus_die("publish", amqp_error_string2(status));
    }
}

void
bus_read(amqp_connection_state_t bus, amqp_envelope_t *ret)
{
    amqp_maybe_release_buffers(bus);
    amqp_rpc_reply_t reply = amqp_consume_message(bus, ret, NULL, 0);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
        bus_die("read", reason(reply));
    }
}

bool
bus_field(amqp_bytes_t body, const char *name, char *ret, size_t room)
{
    const char *end = (const char *)body.bytes + body.len;
    const char *p = memmem(body.bytes, body.len, name, strlen(name));
    size_t n = 0;

    if (!p) {
        return false;
    }
    for (p += strlen(name); p < end && strchr("\\\": ", *p); p++) {
    }
    for (; p < end && *p != '\\' && *p != '"'; p++) {
        if (n + 1 == room) {
            return false;
        }
        ret[n++] = *p;
    }
    ret[n] = '\0';
    return n > 0;
}

double
bus_seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void
bus_die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static const char *
reason(amqp_rpc_reply_t reply)
{
    return reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION
               ? amqp_error_string2(reply.library_error)
               : "the broker refuses";
}
