#include <config.h>

#include "rpc/server_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "rpc/bulk.h"
#include "rpc/failure.h"
#include "rpc/uuid.h"

LOG_MODULE(request);

/* How long a reply is of use to a caller who did not say. */
#define REPLY_LIFE_MS (10 * 60 * 1000)

/* A large answer with its worker. */
struct print_job {
    struct request *request;
    struct json *result;
    char *body;
    size_t size;
};

static void send_body(struct request *, char *body, size_t size);
static void print_apart(struct request *, struct json *result);
static void run_print(void *aux);
static void print_done(void *aux);
static void fill_log(struct log_context *, const struct envelope *);
static void log_failure(const struct request *, const struct error *);
static struct request_list *list_of(struct request *);

const struct json *
request_args(const struct request *request)
{
    return request->env->args;
}

struct json *
request_edit_args(struct request *request)
{
    return request->env->args;
}

const struct json *
request_arg(const struct request *request, const char *name)
{
    const struct json *arg = json_get(request->env->args, name);

    return json_is_null(arg) ? NULL : arg;
}

struct json *
request_take_arg(struct request *request, const char *name)
{
    return request_arg(request, name) ? json_detach(request->env->args, name)
                                      : NULL;
}

const struct json *
request_context(const struct request *request)
{
    return request->env->context;
}

size_t
request_bytes(const struct request *request)
{
    return request->env->bytes;
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
    struct rpc_server *server = request->server;

    if (server) {
        server->counters.n_replies++;
        if (request->count) {
            request->count->n_ok++;
        }
        if (request->env->reply_q &&
            bulk_is_large(server->options.workers, result)) {
            print_apart(request, result);
            return;
        }
        request_send_reply(request, result, NULL);
    }
    json_free(result);
    server_request_done(request);
}

void
request_fail(struct request *request, struct error *error)
{
    if (request->server) {
        request->server->counters.n_failures++;
        if (request->count) {
            request->count->n_failed++;
        }
        log_failure(request, error);
        if (request->env->reply_q) {
            AUTO_FREE failure = failure_format(error);
            request_send_reply(request, NULL, failure);
        }
    }
    error_free(error);
    server_request_done(request);
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

struct request *
request_create(const struct delivery *delivery, struct envelope *env,
               uint64_t received_ms)
{
    struct request *request = xzalloc(sizeof *request);

    request->state = REQUEST_WAITING;
    request->env = env;
    request->tag = delivery->tag;
    request->received_ms = received_ms;
    request->expiration_ms = delivery->expiration_ms;
    fill_log(&request->log, env);
    return request;
}

void
request_free(struct request *request)
{
    struct rpc_server *server = request->server;

    if (server) {
        deadlines_clear(server->deadlines, &request->keepalive);
        deadlines_clear(server->deadlines, &request->hold);
        request_list_remove(list_of(request), request);
        server->held_bytes -= request->env->bytes;
        server_free_envelope(server, request->env);
    } else {
        envelope_free(request->env);
    }
    free(request);
}

bool
request_is_stale(const struct request *request, uint64_t now_ms)
{
    return request->env->msg_id && request->expiration_ms &&
           now_ms - request->received_ms >= request->expiration_ms;
}

void
request_send_reply(struct request *request, const struct json *result,
                   const char *failure)
{
    const struct envelope *env = request->env;
    size_t size;

    if (!env->msg_id || !env->reply_q) {
        return;
    }
    char *body =
        envelope_format_reply(env->msg_id, result, failure, true, &size);
    send_body(request, body, size);
}

/* Takes 'body'. */
static void
send_body(struct request *request, char *body, size_t size)
{
    uint64_t deadline_ms = request->expiration_ms
                               ? request->received_ms + request->expiration_ms
                               : clock_now_ms() + REPLY_LIFE_MS;
    replier_send(request->server->replier, request->env->reply_q, body, size,
                 deadline_ms);
}

void
request_list_append(struct request_list *list, struct request *request)
{
    request->next = NULL;
    request->prev = list->tail;
    *(list->tail ? &list->tail->next : &list->head) = request;
    list->tail = request;
    list->n++;
}

void
request_list_remove(struct request_list *list, struct request *request)
{
    *(request->prev ? &request->prev->next : &list->head) = request->next;
    *(request->next ? &request->next->prev : &list->tail) = request->prev;
    list->n--;
}

/* The request is its owner's until then: its envelope stays. */
static void
print_apart(struct request *request, struct json *result)
{
    struct print_job *job = xzalloc(sizeof *job);

    job->request = request;
    job->result = result;
    worker_submit(request->server->options.workers, run_print, print_done, job);
}

static void
run_print(void *aux)
{
    struct print_job *job = aux;

    job->body = envelope_format_reply(job->request->env->msg_id, job->result,
                                      NULL, true, &job->size);
    json_free(job->result);
}

static void
print_done(void *aux)
{
    struct print_job *job = aux;

    if (job->request->server) {
        send_body(job->request, job->body, job->size);
    } else {
        free(job->body); /* The grace was over. */
    }
    server_request_done(job->request);
    free(job);
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

static struct request_list *
list_of(struct request *request)
{
    return request->state == REQUEST_WAITING ? &request->server->waiting
                                             : &request->server->running;
}
