#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/migrate/data.h"
#include "rpc/delivery.h"
#include "rpc/envelope.h"
#include "rpc/failure.h"
#include "rpc/server.h"
#include "rpc/server_base.h"

/* All that a peer can reach with a body: it is served as a request, compressed
 * or not, and read as a reply, as a failure, and as a notification's.  The
 * transport is one in memory that sees what the service does. */

#define BODY_MAX (1u << 20)

static struct bus {
    uv_loop_t loop;
    struct transport transport;
    struct message_list sent;
    unsigned n_acked, n_rejected, n_requeued;
} bus;

static void bus_publish(void *state, struct message *message);
static void bus_settle(void *state, uint64_t tag, enum transport_settle how);
static void set_up(void);
static void serve(const char *body, size_t size, const char *compression);
static void check_answers(const char *body, size_t size);
static void reply(const char *body, size_t size);
static void failure(const char *body, size_t size);
static void answer_args(void *aux, struct request *request);
static void answer_object(void *aux, struct request *request);

static const struct transport_ops ops = {
    .publish = bus_publish,
    .settle = bus_settle,
};

/* The names of real methods, so that recorded requests get through. */
static const struct rpc_method methods[] = {
    {"pre_live_migration",
     {{"instance", true},
      {"block_migration", false, 5},
      {"disk", true},
      {"migrate_data", true}},
     answer_object},
    {"check_can_live_migrate_source",
     {{"instance", true}, {"dest_check_data", true}},
     answer_object},
    {"live_migration_abort",
     {{"instance", true}, {"migration_id", true}},
     answer_object},
    {"external_instance_event",
     {{"instances", true}, {"events", true}},
     answer_args},
    {"m", {{"a"}, {"b"}, {"c", true, 6}}, answer_args},
    {"", {{"", true}}, answer_args},
    {NULL},
};

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *body = (const char *)data;

    if (!bus.transport.ops) {
        set_up();
    }
    serve(body, size, NULL);
    serve(body, size, "application/x-gzip");
    reply(body, size);
    failure(body, size);
    return 0;
}

static void
set_up(void)
{
    json_init();
    log_set_level(LOG_LEVEL_ERROR);
    uv_loop_init(&bus.loop);
    bus.transport.ops = &ops;
    bus.transport.reply_queue = "reply_0";
}

/* A delivery is settled once, and what awaits an answer gets one. */
static void
serve(const char *body, size_t size, const char *compression)
{
    const struct rpc_server_options options = {.max_held = 8,
                                               .max_body = BODY_MAX};
    const struct delivery delivery = {
        .body = body,
        .size = size,
        .content_type = "application/json",
        .compression = compression,
        .tag = 1,
    };
    struct rpc_server *server =
        rpc_server_create(&bus.loop, &bus.transport, &options);

    bus.n_acked = bus.n_rejected = bus.n_requeued = 0;
    rpc_server_add(server, (struct rpc_endpoint){NULL, 6, 1, methods, NULL});
    rpc_server_add(server, (struct rpc_endpoint){NULL, 5, 13, methods, NULL});
    rpc_server_add(server,
                   (struct rpc_endpoint){"drover", 1, 0, methods, NULL});
    server_base_add(server, "compute");
    rpc_server_start(server);
    bus.transport.server.request(bus.transport.server.aux, &delivery);
    REQUIRE(bus.n_acked + bus.n_rejected == 1 && bus.n_requeued == 0);

    AUTO_FREE inflated = NULL;
    AUTO_ERROR error =
        delivery_open(&delivery, BODY_MAX, &inflated, &body, &size, NULL);
    if (error) {
        REQUIRE(bus.n_rejected == 1 && !bus.sent.n);
    } else {
        check_answers(body, size);
    }
    rpc_server_close(server);
    uv_run(&bus.loop, UV_RUN_NOWAIT);
}

static void
check_answers(const char *body, size_t size)
{
    CLEANUP(envelope_free_at) struct envelope *env = NULL;
    AUTO_ERROR error = envelope_parse(body, size, &env);

    REQUIRE(!error == !!env);
    REQUIRE(bus.n_rejected == !env);
    REQUIRE(bus.sent.n == (env && env->reply_q));
    if (!env) {
        return;
    }
    REQUIRE(env->args && env->context);
    REQUIRE(env->invalid || (env->method && env->version));
    REQUIRE(env->msg_id || !env->reply_q);
    for (struct message *m; (m = message_list_pop(&bus.sent));) {
        CLEANUP(reply_free_at) struct reply *answer = NULL;
        AUTO_ERROR none = envelope_parse_reply(m->body, m->size, &answer);

        REQUIRE(str_eq(m->routing_key, env->reply_q) && m->mandatory);
        REQUIRE(!none && answer->ending);
        REQUIRE(!env->invalid || answer->failure);
        REQUIRE(!json_is_string(env->msg_id) ||
                str_eq(answer->msg_id, json_get_string(env->msg_id)));
        reply(m->body, m->size);
        message_settle(m, PUBLISH_CONFIRMED);
    }
}

static void
reply(const char *body, size_t size)
{
    CLEANUP(reply_free_at) struct reply *parsed = NULL;
    AUTO_ERROR error = envelope_parse_reply(body, size, &parsed);

    REQUIRE(!error == !!parsed);
    if (parsed && parsed->failure) {
        AUTO_FREE text = failure_format(parsed->failure);
        AUTO_ERROR again = failure_parse(text);
        REQUIRE(again);
    }
}

/* What is passed on is, from the second time on, always the same. */
static void
failure(const char *body, size_t size)
{
    AUTO_FREE text = xstrndup(body, size);
    AUTO_ERROR error = failure_parse(text);

    REQUIRE(error);
    AUTO_FREE once = failure_format(error);
    AUTO_ERROR passed_on = failure_parse(once);
    AUTO_FREE twice = failure_format(passed_on);
    AUTO_ERROR and_on = failure_parse(twice);
    REQUIRE(error_code(passed_on) == error_code(and_on));
    REQUIRE(strlen(once) < 1 << 20 && strlen(twice) < 1 << 20);
}

static void
bus_publish(void *state UNUSED, struct message *message)
{
    message_list_append(&bus.sent, message);
}

static void
bus_settle(void *state UNUSED, uint64_t tag, enum transport_settle how)
{
    REQUIRE(tag == 1);
    bus.n_acked += how == TRANSPORT_ACK;
    bus.n_rejected += how == TRANSPORT_REJECT;
    bus.n_requeued += how == TRANSPORT_REQUEUE;
}

/* Says everything back. */
static void
answer_args(void *aux UNUSED, struct request *request)
{
    struct json *result = json_object();

    json_set(result, "args", json_copy(request_args(request)));
    json_set(result, "context", json_copy(request_context(request)));
    json_set_string(result, "method", request_method(request));
    request_reply(request, result);
}

/* Decodes as the agent does. */
static void
answer_object(void *aux UNUSED, struct request *request)
{
    AUTO_OBJECT instance = NULL;
    AUTO_OBJECT data = NULL;
    const struct json *given = request_arg(request, "migrate_data");
    struct error *error =
        object_parse(request_arg(request, "instance"), "Instance", &instance);

    if (!error) {
        const char *uuid = object_string(instance, "uuid");
        request_set_instance(request, uuid ? uuid : "");
        error = given ? migrate_data_parse(given, &data) : NULL;
    }
    if (error) {
        request_fail(request, error);
    } else {
        request_reply(request, json_copy(object_json(data ? data : instance)));
    }
}
