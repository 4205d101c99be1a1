#include <config.h>

#include "rpc/server.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "rpc/deadline.h"
#include "rpc/delivery.h"
#include "rpc/dispatch.h"
#include "rpc/envelope.h"
#include "rpc/failure.h"
#include "rpc/replier.h"
#include "rpc/seen.h"
#include "rpc/uuid.h"

LOG_MODULE(server);

/* A broker closes the channel over what is held for half an hour. */
#define HOLD_MAX_MS (10 * 60 * 1000)

/* How long a reply is of use to a caller who did not say. */
#define REPLY_LIFE_MS (10 * 60 * 1000)

enum request_state {
    REQUEST_WAITING, /* Still the broker's; not acknowledged. */
    REQUEST_RUNNING,
};

/* On one of the server's two lists, unless 'server' is null. */
struct request {
    struct request *next, *prev;
    struct rpc_server *server; /* Null: nobody awaits the answer any more. */
    enum request_state state;
    struct envelope *env;
    struct log_context log;
    struct deadline keepalive, hold;
    uint64_t number, tag, received_ms;
    unsigned expiration_ms; /* The caller's time-out; 0: unknown. */
};

struct request_list {
    struct request *head, *tail;
    unsigned n;
};

struct rpc_server {
    struct transport *transport;
    struct rpc_server_options options;
    struct rpc_endpoint *endpoints;
    size_t n_endpoints, room_endpoints;
    struct deadlines *deadlines;
    struct replier *replier;
    struct seen *seen;
    struct request_list waiting, running;
    uint64_t n_numbered;
    bool is_started, is_stopping, is_pumping;
    struct deadline stop;
    void (*stopped)(void *aux);
    void *stopped_aux;
    struct rpc_server_counters counters;
};

static void server_request(void *aux, const struct delivery *);
static struct error *parse(const struct rpc_server *, const struct delivery *,
                           struct envelope **);
static struct request *
request_create(struct rpc_server *, const struct delivery *, struct envelope *);
static void fill_log(struct log_context *, const struct envelope *);
static bool is_known(struct rpc_server *, const struct delivery *,
                     const struct envelope *);
static void wait_for_turn(struct request *);
static void hold_over(struct deadline *);
static bool has_room(const struct rpc_server *);
static void pump(struct rpc_server *);
static void start_request(struct request *);
static void call_method(struct request *);
static bool is_stale(const struct request *, uint64_t now_ms);
static void give_back(struct request *);
static void send_reply(struct request *, const struct json *result,
                       const char *failure);
static void log_failure(const struct request *, const struct error *);
static void request_done(struct request *);
static void keepalive_due(struct deadline *);
static void keepalive_missed(void *aux, uint64_t number);
static void stop_due(struct deadline *);
static void server_closed(void *aux);
static void request_free(struct request *);
static void list_append(struct request_list *, struct request *);
static void list_remove(struct request_list *, struct request *);
static struct request_list *list_of(struct request *);

struct rpc_server *
rpc_server_create(uv_loop_t *loop, struct transport *transport,
                  const struct rpc_server_options *options)
{
    struct rpc_server *server = xzalloc(sizeof *server);

    server->transport = transport;
    server->options = *options;
    server->deadlines = deadlines_create(loop);
    server->replier = replier_create(transport, server->deadlines);
    server->seen = seen_create();
    server->stop.due = stop_due;
    transport->server = (struct transport_events){
        .request = server_request,
        .aux = server,
    };
    return server;
}

void
rpc_server_add(struct rpc_server *server, struct rpc_endpoint endpoint)
{
    if (server->n_endpoints == server->room_endpoints) {
        server->endpoints = xgrow(server->endpoints, &server->room_endpoints,
                                  sizeof *server->endpoints);
    }
    server->endpoints[server->n_endpoints++] = endpoint;
}

void
rpc_server_start(struct rpc_server *server)
{
    server->is_started = true;
    pump(server);
}

void
rpc_server_stop(struct rpc_server *server, unsigned grace_ms,
                void (*stopped)(void *aux), void *aux)
{
    server->is_stopping = true;
    server->stopped = stopped;
    server->stopped_aux = aux;
    while (server->waiting.head) {
        give_back(server->waiting.head);
    }
    deadlines_set(server->deadlines, &server->stop,
                  clock_now_ms() + (server->running.n ? grace_ms : 0));
}

void
rpc_server_close(struct rpc_server *server)
{
    while (server->waiting.head) {
        give_back(server->waiting.head);
    }
    while (server->running.head) {
        struct request *request = server->running.head;

        deadlines_clear(server->deadlines, &request->keepalive);
        list_remove(&server->running, request);
        request->server = NULL; /* Its method has it, and frees it. */
    }
    if (server->transport->server.aux == server) {
        server->transport->server = (struct transport_events){0};
    }
    replier_close(server->replier);
    deadlines_close(server->deadlines, server_closed, server);
}

const struct json *
request_args(const struct request *request)
{
    return request->env->args;
}

const struct json *
request_arg(const struct request *request, const char *name)
{
    const struct json *arg = json_get(request->env->args, name);

    return json_is_null(arg) ? NULL : arg;
}

const struct json *
request_context(const struct request *request)
{
    return request->env->context;
}

const char *
request_method(const struct request *request)
{
    return request->env->method;
}

int
request_major(const struct request *request)
{
    return envelope_version_major(request->env->version);
}

const char *
request_unique_id(const struct request *request)
{
    return request->env->unique_id;
}

const struct log_context *
request_log(const struct request *request)
{
    return &request->log;
}

void
request_set_instance(struct request *request, const char *uuid)
{
    snprintf(request->log.instance, sizeof request->log.instance, "%s", uuid);
}

bool
request_is_call(const struct request *request)
{
    return request->env->msg_id;
}

void
request_reply(struct request *request, struct json *result)
{
    if (request->server) {
        request->server->counters.n_replies++;
        send_reply(request, result, NULL);
    }
    json_free(result);
    request_done(request);
}

void
request_fail(struct request *request, struct error *error)
{
    if (request->server) {
        request->server->counters.n_failures++;
        log_failure(request, error);
        if (request->env->reply_q) {
            AUTO_FREE failure = failure_format(error);
            send_reply(request, NULL, failure);
        }
    }
    error_free(error);
    request_done(request);
}

void
request_finish(struct request *request, struct error *error)
{
    if (error) {
        request_fail(request, error);
    } else {
        request_reply(request, NULL);
    }
}

struct rpc_server_counters
rpc_server_counters(const struct rpc_server *server)
{
    struct rpc_server_counters counters = server->counters;

    counters.n_replies_dropped = replier_counters(server->replier).n_dropped;
    counters.n_held = server->waiting.n + server->running.n;
    return counters;
}

static void
server_request(void *aux, const struct delivery *delivery)
{
    struct rpc_server *server = aux;
    const struct transport_ops *ops = server->transport->ops;
    void *state = server->transport->state;
    struct envelope *env = NULL;

    if (server->is_stopping) {
        ops->settle(state, delivery->tag, TRANSPORT_REQUEUE);
        return;
    }
    AUTO_ERROR error = parse(server, delivery, &env);
    if (error) {
        log_limited(LOG_LEVEL_WARN, NULL, "message rejected: %s",
                    error_message(error));
        server->counters.n_rejected++;
        ops->settle(state, delivery->tag, TRANSPORT_REJECT);
        return;
    }
    if (is_known(server, delivery, env)) {
        server->counters.n_duplicates++;
        envelope_free(env);
        return;
    }
    struct request *request = request_create(server, delivery, env);
    if (has_room(server)) {
        start_request(request);
    } else {
        wait_for_turn(request);
    }
}

static struct error *
parse(const struct rpc_server *server, const struct delivery *delivery,
      struct envelope **ret)
{
    AUTO_FREE inflated = NULL;
    const char *body;
    size_t size;

    struct error *error = delivery_open(delivery, server->options.max_body,
                                        &inflated, &body, &size);
    return error ? error : envelope_parse(body, size, ret);
}

static struct request *
request_create(struct rpc_server *server, const struct delivery *delivery,
               struct envelope *env)
{
    struct request *request = xzalloc(sizeof *request);

    server->counters.n_requests++;
    request->server = server;
    request->state = REQUEST_WAITING;
    request->env = env;
    request->keepalive.due = keepalive_due;
    request->hold.due = hold_over;
    request->number = ++server->n_numbered;
    request->tag = delivery->tag;
    request->received_ms = clock_now_ms();
    request->expiration_ms = delivery->expiration_ms;
    fill_log(&request->log, env);
    list_append(&server->waiting, request);
    if (env->keepalive_ms && env->reply_q) {
        deadlines_set(server->deadlines, &request->keepalive,
                      request->received_ms + env->keepalive_ms);
    }
    return request;
}

static void
fill_log(struct log_context *context, const struct envelope *env)
{
    const char *request = json_string_of(env->context, "request_id");
    const struct json *instance = json_get(env->args, "instance");
    const struct json *data = json_get(instance, "nova_object.data");
    const char *uuid = json_string_of(data ? data : instance, "uuid");

    if (request) {
        snprintf(context->request, sizeof context->request, "%s", request);
    }
    if (uuid && uuid_is_valid(uuid)) {
        snprintf(context->instance, sizeof context->instance, "%s", uuid);
    }
}

/* Settles what has been seen before.  One that still waits is only adopted: it
 * came again because the connection was lost, so its old tag is void. */
static bool
is_known(struct rpc_server *server, const struct delivery *delivery,
         const struct envelope *env)
{
    const struct transport *t = server->transport;

    if (!env->unique_id) {
        return false;
    }
    for (struct request *r = server->waiting.head; r; r = r->next) {
        if (str_eq(r->env->unique_id, env->unique_id)) {
            if (delivery->redelivered) {
                r->tag = delivery->tag;
            } else {
                t->ops->settle(t->state, delivery->tag, TRANSPORT_ACK);
            }
            return true;
        }
    }
    if (seen_has(server->seen, env->unique_id)) {
        t->ops->settle(t->state, delivery->tag, TRANSPORT_ACK);
        return true;
    }
    return false;
}

static void
wait_for_turn(struct request *request)
{
    unsigned hold_ms = HOLD_MAX_MS;

    if (request->env->msg_id && request->expiration_ms &&
        request->expiration_ms < hold_ms) {
        hold_ms = request->expiration_ms;
    }
    deadlines_set(request->server->deadlines, &request->hold,
                  request->received_ms + hold_ms);
}

static void
hold_over(struct deadline *deadline)
{
    struct request *request = container_of(deadline, struct request, hold);

    if (is_stale(request, clock_now_ms())) {
        start_request(request); /* Which drops it. */
    } else {
        give_back(request);
    }
}

static bool
has_room(const struct rpc_server *server)
{
    return server->is_started && !server->is_stopping &&
           server->running.n < server->options.max_held;
}

/* Not from within a method that answers at once: it would go ever deeper. */
static void
pump(struct rpc_server *server)
{
    if (server->is_pumping) {
        return;
    }
    server->is_pumping = true;
    while (server->waiting.head && has_room(server)) {
        start_request(server->waiting.head);
    }
    server->is_pumping = false;
}

/* Acknowledged before it runs: it runs at most once. (spec/rpc-wire 5.2.3) */
static void
start_request(struct request *request)
{
    struct rpc_server *server = request->server;
    const struct transport *t = server->transport;
    uint64_t now_ms = clock_now_ms();

    deadlines_clear(server->deadlines, &request->hold);
    list_remove(&server->waiting, request);
    request->state = REQUEST_RUNNING;
    list_append(&server->running, request);
    t->ops->settle(t->state, request->tag, TRANSPORT_ACK);
    if (request->env->unique_id) {
        seen_add(server->seen, request->env->unique_id, now_ms);
    }
    if (is_stale(request, now_ms)) {
        server->counters.n_stale++;
        request_done(request);
    } else if (request->env->invalid) {
        request_fail(request, steal(&request->env->invalid));
    } else {
        call_method(request);
    }
}

static void
call_method(struct request *request)
{
    const struct rpc_endpoint *endpoint;
    const struct rpc_method *method;
    struct error *error =
        dispatch_find(request->server->endpoints, request->server->n_endpoints,
                      request->env, &endpoint, &method);

    if (error) {
        request_fail(request, error);
        return;
    }
    log_debug(&request->log, "%s %s", request->env->msg_id ? "call" : "cast",
              method->name);
    method->call(endpoint->aux, request);
}

/* The caller has given up; a cast has no one who could. */
static bool
is_stale(const struct request *request, uint64_t now_ms)
{
    return request->env->msg_id && request->expiration_ms &&
           now_ms - request->received_ms >= request->expiration_ms;
}

static void
give_back(struct request *request)
{
    const struct transport *t = request->server->transport;

    t->ops->settle(t->state, request->tag, TRANSPORT_REQUEUE);
    request_free(request);
}

static void
send_reply(struct request *request, const struct json *result,
           const char *failure)
{
    const struct envelope *env = request->env;
    size_t size;

    if (!env->msg_id || !env->reply_q) {
        return;
    }
    char *body =
        envelope_format_reply(env->msg_id, result, failure, true, &size);
    uint64_t deadline_ms = request->expiration_ms
                               ? request->received_ms + request->expiration_ms
                               : clock_now_ms() + REPLY_LIFE_MS;
    replier_send(request->server->replier, env->reply_q, body, size,
                 deadline_ms);
}

/* A caller is told; of a cast this is all that anyone will hear. */
static void
log_failure(const struct request *request, const struct error *error)
{
    const char *method = request->env->method ? request->env->method : "";

    if (!request->env->msg_id || error_code(error) == ERR_INTERNAL) {
        log_limited(LOG_LEVEL_WARN, &request->log, "%.*s failed: %s",
                    FAILURE_QUOTE_MAX, method, error_message(error));
    } else {
        log_debug(&request->log, "%.*s failed: %s", FAILURE_QUOTE_MAX, method,
                  error_message(error));
    }
}

static void
request_done(struct request *request)
{
    struct rpc_server *server = request->server;

    request_free(request);
    if (!server) {
        return;
    }
    if (server->is_stopping && !server->running.n && server->stop.place) {
        deadlines_set(server->deadlines, &server->stop, clock_now_ms());
    }
    pump(server);
}

/* From receipt on, whether it waits or runs. (spec/rpc-wire 4) */
static void
keepalive_due(struct deadline *deadline)
{
    struct request *request = container_of(deadline, struct request, keepalive);
    struct rpc_server *server = request->server;
    const struct envelope *env = request->env;
    uint64_t next_ms = clock_now_ms() + env->keepalive_ms;
    size_t size;

    char *body = envelope_format_reply(env->msg_id, NULL, NULL, false, &size);
    server->counters.n_keepalives++;
    deadlines_set(server->deadlines, deadline, next_ms);
    replier_send_once(server->replier, env->reply_q, body, size, next_ms,
                      keepalive_missed, server, request->number);
}

/* The caller is gone; its request, if it still runs, falls silent. */
static void
keepalive_missed(void *aux, uint64_t number)
{
    struct rpc_server *server = aux;
    struct request_list *lists[] = {&server->waiting, &server->running};

    for (size_t i = 0; i < N_ELEMENTS(lists); i++) {
        for (struct request *r = lists[i]->head; r; r = r->next) {
            if (r->number == number) {
                deadlines_clear(server->deadlines, &r->keepalive);
                return;
            }
        }
    }
}

/* Nothing runs any more, or the grace is over. */
static void
stop_due(struct deadline *deadline)
{
    struct rpc_server *server = container_of(deadline, struct rpc_server, stop);

    while (server->running.head) {
        struct request *request = server->running.head;
        AUTO_ERROR error = error_new(ERR_INTERNAL, "the service is stopping");
        AUTO_FREE failure = failure_format(error);

        server->counters.n_failures++;
        send_reply(request, NULL, failure);
        deadlines_clear(server->deadlines, &request->keepalive);
        list_remove(&server->running, request);
        request->server = NULL;
    }
    server->stopped(server->stopped_aux);
}

static void
server_closed(void *aux)
{
    struct rpc_server *server = aux;

    seen_free(server->seen);
    free(server->endpoints);
    free(server);
}

static void
request_free(struct request *request)
{
    struct rpc_server *server = request->server;

    if (server) {
        deadlines_clear(server->deadlines, &request->keepalive);
        deadlines_clear(server->deadlines, &request->hold);
        list_remove(list_of(request), request);
    }
    envelope_free(request->env);
    free(request);
}

static void
list_append(struct request_list *list, struct request *request)
{
    request->next = NULL;
    request->prev = list->tail;
    *(list->tail ? &list->tail->next : &list->head) = request;
    list->tail = request;
    list->n++;
}

static void
list_remove(struct request_list *list, struct request *request)
{
    *(request->prev ? &request->prev->next : &list->head) = request->next;
    *(request->next ? &request->next->prev : &list->tail) = request->prev;
    list->n--;
}

static struct request_list *
list_of(struct request *request)
{
    return request->state == REQUEST_WAITING ? &request->server->waiting
                                             : &request->server->running;
}
