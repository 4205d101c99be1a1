#include <config.h>

#include "rpc/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "rpc/bulk.h"
#include "rpc/deadline.h"
#include "rpc/envelope.h"
#include "rpc/replies.h"
#include "rpc/uuid.h"

LOG_MODULE(client);

#define N_BUCKETS 256 /* A power of 2. */
/* Of calls that wait until their answers can be heard. */
#define WAITING_BYTES_MAX (16u << 20)

/* A queue that is missing may be on its way: its owner is starting. */
#define RETRY_MS 250
#define RETRY_FOR_MS 5000

enum call_kind { KIND_CALL, KIND_CAST, KIND_GATHER };

/* Alive while it is wanted ('is_over' is false), while the transport has its
 * message, and while servers are counted for it. */
struct call {
    struct call *next; /* In its bucket. */
    struct call *next_waiting;
    bool is_waiting;
    struct rpc_client *client;
    enum call_kind kind;
    bool is_fanout;
    bool is_over;
    unsigned n_refs;
    char msg_id[33];
    char *method, *exchange, *routing_key;
    char *body; /* While it is not with the transport. */
    size_t size;
    struct deadline deadline; /* The earliest of what follows. */
    uint64_t start_ms, timeout_at_ms;
    uint64_t monitor_at_ms, retry_at_ms; /* UINT64_MAX: never. */
    unsigned monitor_ms;
    struct json *result;        /* Of an old peer: it came before the end. */
    int n_expected, n_answered; /* Gathering; -1: not yet known. */
    rpc_done *done;
    rpc_each *each;
    void (*end)(void *aux);
    void (*cast_done)(void *aux, struct error *error);
    void *aux;
};

/* Calls are found by the _msg_id of a reply; casts are there to be ended. */
struct rpc_client {
    struct transport *transport;
    struct deadlines *deadlines;
    struct call *buckets[N_BUCKETS];
    struct call *waiting, **waiting_tail; /* First come, first sent. */
    size_t waiting_bytes;
    unsigned n_calls;
    bool is_closed;
    struct replies replies;
    struct rpc_client_counters counters;
};

static struct call *call_create(struct rpc_client *, enum call_kind,
                                const struct rpc_target *, const char *method,
                                unsigned timeout_ms);
static void call_send(struct call *, const struct rpc_target *,
                      const struct json *context, const char *method,
                      const struct json *args);
static void call_publish(struct call *);
static void call_wait(struct call *);
static void call_wait_no_more(struct call *);
static void client_state(void *aux, bool up);
static void call_settled(struct message *, enum publish_outcome);
static void call_missed(struct call *);
static void call_arm(struct call *);
static void call_due(struct deadline *);
static void call_end(struct call *, struct json *result, struct error *error);
static void call_drop(struct call *);
static struct call **bucket_of(struct rpc_client *, const char *msg_id);
static struct call *find_call(struct rpc_client *, const char *msg_id);
static void client_reply(void *aux, const struct delivery *);
static void client_take(void *aux, struct reply *);
static void take_reply(struct call *, struct reply *);
static void take_answer(struct call *, const struct reply *);
static void servers_counted(void *aux, int n);
static void end_gathering_if_complete(struct call *);
static void client_free_if_unused(struct rpc_client *);
static void timer_closed(void *aux);

struct rpc_client *
rpc_client_create(uv_loop_t *loop, struct transport *transport)
{
    struct rpc_client *client = xzalloc(sizeof *client);

    client->transport = transport;
    client->deadlines = deadlines_create(loop);
    client->waiting_tail = &client->waiting;
    client->replies.take = client_take;
    client->replies.aux = client;
    transport->client = (struct transport_events){
        .reply = client_reply,
        .state = client_state,
        .aux = client,
    };
    return client;
}

void
rpc_client_set_workers(struct rpc_client *client, struct worker_pool *pool)
{
    client->replies.workers = pool;
}

struct rpc_client_counters
rpc_client_counters(const struct rpc_client *client)
{
    struct rpc_client_counters counters = client->counters;

    counters.n_waiting = client->n_calls;
    memcpy(counters.n_rejected_for, client->replies.n_refused,
           sizeof counters.n_rejected_for);
    return counters;
}

void
rpc_client_close(struct rpc_client *client)
{
    replies_close(&client->replies);
    if (client->transport->client.aux == client) {
        client->transport->client = (struct transport_events){0};
    }
    for (size_t i = 0; i < N_BUCKETS; i++) {
        while (client->buckets[i]) {
            call_end(client->buckets[i], NULL,
                     error_new(ERR_CANCELLED, "the service is stopping"));
        }
    }
    client->is_closed = true;
    client->n_calls++; /* Until the timer is gone. */
    deadlines_close(client->deadlines, timer_closed, client);
}

void
rpc_call(struct rpc_client *client, const struct rpc_target *target,
         const struct rpc_options *options, const struct json *context,
         const char *method, const struct json *args, rpc_done *done, void *aux)
{
    struct call *call =
        call_create(client, KIND_CALL, target, method, options->timeout_ms);

    call->done = done;
    call->aux = aux;
    call->monitor_ms = options->monitor_s * 1000;
    if (call->monitor_ms) {
        call->monitor_at_ms = call->start_ms + call->monitor_ms;
    }
    call_send(call, target, context, method, args);
}

void
rpc_cast(struct rpc_client *client, const struct rpc_target *target,
         const struct json *context, const char *method,
         const struct json *args, unsigned timeout_ms,
         void (*done)(void *aux, struct error *error), void *aux)
{
    struct call *call =
        call_create(client, KIND_CAST, target, method, timeout_ms);

    call->cast_done = done;
    call->aux = aux;
    call_send(call, target, context, method, args);
}

void
rpc_gather(struct rpc_client *client, const struct rpc_target *target,
           unsigned timeout_ms, const struct json *context, const char *method,
           const struct json *args, rpc_each *each, void (*end)(void *aux),
           void *aux)
{
    const struct transport *t = client->transport;
    struct call *call =
        call_create(client, KIND_GATHER, target, method, timeout_ms);

    call->each = each;
    call->end = end;
    call->aux = aux;
    call->n_expected = -1;
    call->n_refs++;
    t->ops->count_servers(t->state, target->topic, servers_counted, call);
    call_send(call, target, context, method, args);
}

struct json *
rpc_context_create(void)
{
    static const char *const nulls[] = {
        "user",
        "user_id",
        "user_name",
        "project",
        "tenant",
        "project_id",
        "project_name",
        "domain",
        "user_domain",
        "project_domain",
        "system_scope",
        "auth_token",
        "global_request_id",
        "resource_uuid",
        "remote_address",
        "quota_class",
    };
    struct json *context = json_object();
    char uuid[UUID_SIZE], now[CLOCK_TEXT_SIZE];
    AUTO_FREE request = xasprintf("req-%s", uuid_generate_text(uuid));

    json_set_string(context, "request_id", request);
    json_set_bool(context, "is_admin", true);
    json_set(context, "roles", json_array());
    json_set_string(context, "read_deleted", "no");
    json_set_bool(context, "read_only", false);
    json_set_bool(context, "show_deleted", false);
    json_set_bool(context, "is_admin_project", true);
    json_set(context, "service_catalog", json_array());
    json_set_string(context, "user_identity", "- - - - -");
    json_set_string(context, "timestamp",
                    clock_format_micro(clock_wall_us(), 'T', now));
    for (size_t i = 0; i < N_ELEMENTS(nulls); i++) {
        json_set_null(context, nulls[i]);
    }
    return context;
}

static struct call *
call_create(struct rpc_client *client, enum call_kind kind,
            const struct rpc_target *target, const char *method,
            unsigned timeout_ms)
{
    struct call *call = xzalloc(sizeof *call);
    bool is_fanout = kind == KIND_GATHER || target->is_fanout;

    call->client = client;
    call->is_fanout = is_fanout;
    call->kind = kind;
    call->n_refs = 1;
    call->start_ms = clock_now_ms();
    call->timeout_at_ms = call->start_ms + timeout_ms;
    call->monitor_at_ms = call->retry_at_ms = UINT64_MAX;
    call->deadline.due = call_due;
    call->method = xstrdup(method);
    call->exchange = is_fanout ? xasprintf("%s_fanout", target->topic)
                               : xstrdup(target->exchange);
    call->routing_key = is_fanout ? xstrdup("")
                        : target->server
                            ? xasprintf("%s.%s", target->topic, target->server)
                            : xstrdup(target->topic);
    uuid_generate_hex(call->msg_id);
    struct call **bucket = bucket_of(client, call->msg_id);
    call->next = *bucket;
    *bucket = call;
    client->n_calls++;
    client->counters.n_calls++;
    return call;
}

static void
call_send(struct call *call, const struct rpc_target *target,
          const struct json *context, const char *method,
          const struct json *args)
{
    char unique_id[UUID_SIZE];
    bool is_cast = call->kind == KIND_CAST;
    const struct envelope_request request = {
        .method = method,
        .name_space = target->name_space,
        .version = target->version,
        .args = args,
        .context = context,
        .unique_id = uuid_generate_hex(unique_id),
        .msg_id = is_cast ? NULL : call->msg_id,
        .reply_q = call->client->transport->reply_queue,
        .monitor_s = call->monitor_ms / 1000,
    };

    call->body = envelope_format_request(&request, &call->size);
    call_arm(call);
    call_publish(call);
}

/* The message borrows the body: a missing queue gives it back. */
static void
call_publish(struct call *call)
{
    const struct transport *t = call->client->transport;

    if (t->is_deaf && call->kind != KIND_CAST) {
        call_wait(call);
        return;
    }
    struct message *message =
        message_create(MESSAGE_REQUEST, call->exchange, call->routing_key,
                       steal(&call->body), call->size);
    uint64_t now_ms = clock_now_ms();

    message->is_fanout = call->is_fanout;
    message->mandatory = !message->is_fanout;
    message->deadline_ms = call->timeout_at_ms;
    if (call->kind != KIND_CAST && call->timeout_at_ms > now_ms) {
        message->expiration_ms = (unsigned)(call->timeout_at_ms - now_ms);
    }
    message->settled = call_settled;
    message->aux = call;
    call->n_refs++;
    t->ops->publish(t->state, message);
}

/* An answer that comes before its queue is consumed is lost, or late.
 * (spec/rpc-wire 2.4) */
static void
call_wait(struct call *call)
{
    struct rpc_client *client = call->client;

    if (client->waiting_bytes + call->size > WAITING_BYTES_MAX) {
        free(steal(&call->body));
        call->retry_at_ms = call->start_ms; /* Not from within rpc_call(). */
        call_arm(call);
        return;
    }
    call->is_waiting = true;
    call->next_waiting = NULL;
    *client->waiting_tail = call;
    client->waiting_tail = &call->next_waiting;
    client->waiting_bytes += call->size;
}

static void
call_wait_no_more(struct call *call)
{
    struct rpc_client *client = call->client;
    struct call **at = &client->waiting;

    while (*at != call) {
        at = &(*at)->next_waiting;
    }
    *at = call->next_waiting;
    if (client->waiting_tail == &call->next_waiting) {
        client->waiting_tail = at;
    }
    client->waiting_bytes -= call->size;
    call->is_waiting = false;
}

static void
client_state(void *aux, bool up UNUSED)
{
    struct rpc_client *client = aux;

    while (client->waiting && !client->transport->is_deaf) {
        struct call *call = client->waiting;

        call_wait_no_more(call);
        call_publish(call);
    }
}

static void
call_settled(struct message *message, enum publish_outcome outcome)
{
    struct call *call = message->aux;

    call->body = steal(&message->body);
    if (!call->is_over) {
        switch (outcome) {
        case PUBLISH_CONFIRMED:
            if (call->kind == KIND_CAST) {
                call_end(call, NULL, NULL);
            }
            break;
        case PUBLISH_NO_ROUTE:
            call_missed(call);
            break;
        case PUBLISH_EXPIRED:
        case PUBLISH_DROPPED:
            call_end(call, NULL,
                     error_new(ERR_UNDELIVERABLE,
                               "'%s' for '%s' could not be sent", call->method,
                               call->routing_key));
            break;
        case PUBLISH_LOST:
            if (call->kind == KIND_CAST) {
                call_end(call, NULL,
                         error_new(ERR_TIMEOUT,
                                   "the broker did not confirm '%s' for '%s'",
                                   call->method, call->routing_key));
            }
            break; /* It may have arrived: wait for the answer. */
        }
    }
    call_drop(call);
}

static void
call_missed(struct call *call)
{
    uint64_t now_ms = clock_now_ms();

    if (now_ms + RETRY_MS >= call->timeout_at_ms ||
        now_ms + RETRY_MS >= call->start_ms + RETRY_FOR_MS) {
        call_end(call, NULL,
                 error_new(ERR_UNDELIVERABLE, "nobody serves '%s'",
                           call->routing_key));
        return;
    }
    call->retry_at_ms = now_ms + RETRY_MS;
    call_arm(call);
}

static void
call_arm(struct call *call)
{
    uint64_t at_ms = call->timeout_at_ms;

    at_ms = call->monitor_at_ms < at_ms ? call->monitor_at_ms : at_ms;
    at_ms = call->retry_at_ms < at_ms ? call->retry_at_ms : at_ms;
    deadlines_set(call->client->deadlines, &call->deadline, at_ms);
}

static void
call_due(struct deadline *deadline)
{
    struct call *call = container_of(deadline, struct call, deadline);
    uint64_t now_ms = clock_now_ms();

    if (now_ms >= call->timeout_at_ms) {
        const char *what = call->kind == KIND_CAST ? "confirm of" : "reply to";

        call_end(call, NULL,
                 error_new(ERR_TIMEOUT, "no %s '%s' from '%s' in %u s", what,
                           call->method, call->routing_key,
                           (unsigned)(now_ms - call->start_ms) / 1000));
    } else if (now_ms >= call->monitor_at_ms) {
        call_end(call, NULL,
                 error_new(
                     ERR_TIMEOUT, "no sign of life of '%s' from '%s' in %u s",
                     call->method, call->routing_key, call->monitor_ms / 1000));
    } else if (!call->body) {
        call_end(call, NULL,
                 error_new(ERR_UNDELIVERABLE,
                           "'%s' for '%s': too many calls wait to be sent",
                           call->method, call->routing_key));
    } else {
        call->retry_at_ms = UINT64_MAX;
        call_arm(call);
        call_publish(call);
    }
}

/* Tells whoever waits, once; takes 'result' and 'error'. */
static void
call_end(struct call *call, struct json *result, struct error *error)
{
    struct rpc_client *client = call->client;
    struct call **at = bucket_of(client, call->msg_id);

    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
    call->is_over = true;
    if (call->is_waiting) {
        call_wait_no_more(call);
    }
    deadlines_clear(client->deadlines, &call->deadline);
    if (call->kind == KIND_CALL) {
        call->done(call->aux, &result, error);
    } else if (call->kind == KIND_GATHER) {
        if (error && error_code(error) != ERR_TIMEOUT) {
            call->each(call->aux, NULL, error);
        }
        error_free(error);
        call->end(call->aux);
    } else if (call->cast_done) {
        call->cast_done(call->aux, error);
    } else {
        error_free(error);
    }
    bulk_free_json(client->replies.workers, result);
    call_drop(call);
}

static void
call_drop(struct call *call)
{
    struct rpc_client *client = call->client;

    if (--call->n_refs) {
        return;
    }
    free(call->method);
    free(call->exchange);
    free(call->routing_key);
    free(call->body);
    json_free(call->result);
    free(call);
    client->n_calls--;
    client_free_if_unused(client);
}

static struct call **
bucket_of(struct rpc_client *client, const char *msg_id)
{
    unsigned hash = 0;

    for (const char *c = msg_id; *c; c++) {
        hash = hash * 31 + (unsigned char)*c;
    }
    return &client->buckets[hash & (N_BUCKETS - 1)];
}

static struct call *
find_call(struct rpc_client *client, const char *msg_id)
{
    struct call *call = *bucket_of(client, msg_id);

    while (call &&
           (call->kind == KIND_CAST || strcmp(call->msg_id, msg_id) != 0)) {
        call = call->next;
    }
    return call;
}

static void
client_reply(void *aux, const struct delivery *delivery)
{
    struct rpc_client *client = aux;

    replies_deliver(&client->replies, delivery);
}

static void
client_take(void *aux, struct reply *reply)
{
    struct rpc_client *client = aux;
    struct call *call = reply->msg_id ? find_call(client, reply->msg_id) : NULL;

    if (call) {
        take_reply(call, reply);
    } else {
        client->counters.n_unknown++;
        log_debug(NULL, "reply dropped: nobody waits for it");
    }
}

static void
take_reply(struct call *call, struct reply *reply)
{
    if (!reply->ending) {
        if (call->monitor_ms) {
            call->monitor_at_ms = clock_now_ms() + call->monitor_ms;
            call_arm(call);
        }
        if (reply->result && call->kind == KIND_CALL) {
            bulk_free_json(call->client->replies.workers, call->result);
            call->result = steal(&reply->result);
        }
        return;
    }
    if (call->kind == KIND_GATHER) {
        take_answer(call, reply);
    } else if (reply->failure) {
        call_end(call, NULL, steal(&reply->failure));
    } else {
        call_end(call,
                 reply->result ? steal(&reply->result) : steal(&call->result),
                 NULL);
    }
}

static void
take_answer(struct call *call, const struct reply *reply)
{
    call->n_answered++;
    call->n_refs++; /* 'each' may close the client. */
    call->each(call->aux, reply->failure ? NULL : reply->result,
               reply->failure);
    end_gathering_if_complete(call);
    call_drop(call);
}

static void
servers_counted(void *aux, int n)
{
    struct call *call = aux;

    call->n_expected = n;
    end_gathering_if_complete(call);
    call_drop(call);
}

static void
end_gathering_if_complete(struct call *call)
{
    if (!call->is_over && call->n_expected >= 0 &&
        call->n_answered >= call->n_expected) {
        call_end(call, NULL, NULL);
    }
}

static void
client_free_if_unused(struct rpc_client *client)
{
    if (client->is_closed && !client->n_calls) {
        free(client);
    }
}

static void
timer_closed(void *aux)
{
    struct rpc_client *client = aux;

    client->n_calls--;
    client_free_if_unused(client);
}
