#include <config.h>

/* echo ADDRESS PORT QUEUE RESULT: the least that answers a call.
 *
 * One connection and one thread, no JSON: takes a request in oslo's form,
 * acknowledges it, and answers with RESULT, JSON as it stands in a body, with
 * its quotes escaped: as many bytes as droverd answers.  What it can do is what
 * the broker and librabbitmq allow; droverd is measured by it. */

#include <inttypes.h>
#include <stdio.h>

#include "tests/bench/bus.h"

#define EXCHANGE "nova"

static void serve(amqp_connection_state_t bus, const char *queue);
static void answer(amqp_connection_state_t bus, amqp_bytes_t request,
                   const char *result);

int
main(int argc, char **argv)
{
    if (argc != 5) {
        fputs("usage: echo ADDRESS PORT QUEUE RESULT\n", stderr);
        return 2;
    }
    amqp_connection_state_t bus = bus_connect(argv[1], argv[2]);
    serve(bus, argv[3]);
    puts("ready");
    fflush(stdout);
    for (;;) {
        amqp_envelope_t request;

        bus_read(bus, &request);
        amqp_basic_ack(bus, BUS_CHANNEL, request.delivery_tag, false);
        answer(bus, request.message.body, argv[4]);
        amqp_destroy_envelope(&request);
    }
}

static void
serve(amqp_connection_state_t bus, const char *queue)
{
    const amqp_bytes_t exchange = amqp_cstring_bytes(EXCHANGE);
    const amqp_bytes_t name = amqp_cstring_bytes(queue);

    amqp_exchange_declare(bus, BUS_CHANNEL, exchange,
                          amqp_cstring_bytes("topic"), false, false, false,
                          false, amqp_empty_table);
    bus_check(bus, "declare the exchange");
    amqp_queue_declare(bus, BUS_CHANNEL, name, false, false, false, true,
                       amqp_empty_table);
    bus_check(bus, "declare the queue");
    amqp_queue_bind(bus, BUS_CHANNEL, name, exchange, name, amqp_empty_table);
    bus_check(bus, "bind the queue");
    amqp_basic_consume(bus, BUS_CHANNEL, name, amqp_empty_bytes, false, false,
                       false, amqp_empty_table);
    bus_check(bus, "consume");
}

static void
answer(amqp_connection_state_t bus, amqp_bytes_t request, const char *result)
{
    static uint64_t n_answers;
    char msg_id[64], reply_q[128], body[8192];

    if (!bus_field(request, "_msg_id", msg_id, sizeof msg_id) ||
        !bus_field(request, "_reply_q", reply_q, sizeof reply_q)) {
        return; /* A cast. */
    }
    int size = snprintf(
        body, sizeof body,
        "{\"oslo.version\":\"2.0\",\"oslo.message\":\"{\\\"result\\\":%s,"
        "\\\"failure\\\":null,\\\"ending\\\":true,\\\"_msg_id\\\":\\\"%s\\\","
        "\\\"_unique_id\\\":\\\"%032" PRIx64 "\\\"}\"}",
        result, msg_id, ++n_answers);
    if (size >= (int)sizeof body) {
        bus_die("answer", "RESULT is too long");
    }
    bus_publish(bus, "", reply_q, body, (size_t)size);
}
