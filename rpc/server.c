#include <config.h>

#include "rpc/server.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "rpc/bulk.h"
#include "rpc/dispatch.h"
#include "rpc/failure.h"
#include "rpc/seen.h"
#include "rpc/server_internal.h"

LOG_MODULE(server);

static void count_methods_of(struct rpc_server *, const struct rpc_endpoint *);
static struct rpc_method_count *find_count(const struct rpc_server *,
                                           const struct rpc_method *);
static void pump(struct rpc_server *);
static void call_method(struct request *);
static void keepalive_due(struct deadline *);
static void keepalive_missed(void *aux, uint64_t number);
static void stop_due(struct deadline *);
static void free_envelope(void *env);
static void server_closed(void *aux);

struct rpc_server *
rpc_server_create(uv_loop_t *loop, struct transport *transport,
                  const struct rpc_server_options *options)
{
    struct rpc_server *server = xzalloc(sizeof *server);

    server->transport = transport;
    server->options = *options;
    server->deadlines = deadlines_create(loop);
    server->replier = replier_create(
        transport, server->deadlines,
        options->reply_patience_s ? options->reply_patience_s : 60);
    server->seen = seen_create();
    server->stop.due = stop_due;
    transport->server = (struct transport_events){
        .request = intake_deliver,
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
    count_methods_of(server, &endpoint);
}

void
rpc_server_set_gate(struct rpc_server *server,
                    void (*enter)(void *aux, struct request *request),
                    void *aux)
{
    server->gate = enter;
    server->gate_aux = aux;
}

void
request_enter(struct request *request, struct error *error)
{
    struct rpc_server *server = request->server;

    if (error) {
        request_fail(request, error);
    } else if (!server) {
        server_request_done(request);
    } else if (request_is_stale(request, clock_now_ms())) {
        server->counters.n_stale++;
        server_request_done(request);
    } else {
        call_method(request);
    }
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
    intake_stop(server);
    deadlines_set(server->deadlines, &server->stop,
                  clock_now_ms() + (server->running.n ? grace_ms : 0));
}

void
rpc_server_close(struct rpc_server *server)
{
    intake_stop(server);
    while (server->running.head) {
        struct request *request = server->running.head;

        deadlines_clear(server->deadlines, &request->keepalive);
        request_list_remove(&server->running, request);
        request->server = NULL; /* Its method has it, and frees it. */
    }
    if (server->transport->server.aux == server) {
        server->transport->server = (struct transport_events){0};
    }
    replier_close(server->replier);
    deadlines_close(server->deadlines, server_closed, server);
}

struct rpc_server_counters
rpc_server_counters(const struct rpc_server *server)
{
    struct rpc_server_counters counters = server->counters;

    counters.n_replies_dropped = replier_counters(server->replier).n_dropped;
    counters.n_held = server->waiting.n + server->running.n;
    counters.n_held_bytes = server->held_bytes;
    return counters;
}

size_t
rpc_server_method_counts(const struct rpc_server *server,
                         const struct rpc_method_count **ret)
{
    *ret = server->methods;
    return server->n_methods;
}

/* Before any request comes, which would know of a row's place. */
static void
count_methods_of(struct rpc_server *server, const struct rpc_endpoint *endpoint)
{
    for (const struct rpc_method *method = endpoint->methods; method->name;
         method++) {
        if (find_count(server, method)) {
            continue;
        }
        if (server->n_methods == server->room_methods) {
            server->methods = xgrow(server->methods, &server->room_methods,
                                    sizeof *server->methods);
        }
        server->methods[server->n_methods++] = (struct rpc_method_count){
            .method = method, .name_space = endpoint->name_space};
    }
}

static struct rpc_method_count *
find_count(const struct rpc_server *server, const struct rpc_method *method)
{
    for (size_t i = 0; i < server->n_methods; i++) {
        if (server->methods[i].method == method) {
            return &server->methods[i];
        }
    }
    return NULL;
}

bool
server_has_room(const struct rpc_server *server)
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
    while (server->waiting.head && server_has_room(server)) {
        server_start_request(server->waiting.head);
    }
    server->is_pumping = false;
}

void
server_start_request(struct request *request)
{
    struct rpc_server *server = request->server;
    const struct transport *t = server->transport;
    uint64_t now_ms = clock_now_ms();

    deadlines_clear(server->deadlines, &request->hold);
    request_list_remove(&server->waiting, request);
    request->state = REQUEST_RUNNING;
    request_list_append(&server->running, request);
    t->ops->settle(t->state, request->tag, TRANSPORT_ACK);
    if (request->env->unique_id) {
        seen_add(server->seen, request->env->unique_id, now_ms);
    }
    if (request_is_stale(request, now_ms)) {
        server->counters.n_stale++;
        server_request_done(request);
    } else if (request->env->invalid) {
        server->counters.n_invalid++;
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
        request->server->counters.n_invalid++;
        request_fail(request, error);
        return;
    }
    request->count = find_count(request->server, method);
    if (request->server->gate && !request->is_entered) {
        request->is_entered = true;
        request->server->gate(request->server->gate_aux, request);
        return;
    }
    log_debug(&request->log, "%s %s", request->env->msg_id ? "call" : "cast",
              method->name);
    method->call(endpoint->aux, request);
}

void
server_request_done(struct request *request)
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
    if (!server->is_stopping) {
        intake_pump(server);
    }
}

void
server_free_envelope(struct rpc_server *server, struct envelope *env)
{
    bulk_free(server->options.workers, env->bytes, free_envelope, env);
}

void
server_keep_alive(struct request *request)
{
    const struct envelope *env = request->env;

    request->keepalive.due = keepalive_due;
    if (env->keepalive_ms && env->reply_q) {
        deadlines_set(request->server->deadlines, &request->keepalive,
                      request->received_ms + env->keepalive_ms);
    }
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
        request_send_reply(request, NULL, failure);
        deadlines_clear(server->deadlines, &request->keepalive);
        request_list_remove(&server->running, request);
        request->server = NULL;
    }
    server->stopped(server->stopped_aux);
}

static void
free_envelope(void *env)
{
    envelope_free(env);
}

static void
server_closed(void *aux)
{
    struct rpc_server *server = aux;

    seen_free(server->seen);
    free(server->endpoints);
    free(server->methods);
    free(server);
}
