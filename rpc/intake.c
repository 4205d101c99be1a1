#include <config.h>

#include "rpc/server_internal.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "rpc/bulk.h"
#include "rpc/seen.h"

LOG_MODULE(server);

/* How requests come in: parsed, told from those that came before, and held
 * until it is their turn, in bounded memory.
 *
 * A large body is parsed on a worker.  Requests that come behind it are served
 * meanwhile: the bus promises no order, and whoever sends the next request
 * before the answer to the last cannot rely on one.
 *
 * What does not fit is put off: its content is let go, and its name kept until
 * there is room; then it is handed back to the broker, which delivers it again.
 * To hand it back at once would have it delivered at once.  The prefetch count
 * limits how many are put off. */

/* A broker closes the channel over what is held for half an hour. */
#define HOLD_MAX_MS (10 * 60 * 1000)

/* Memory for each byte of a body that is not parsed yet: a typical request has
 * 2 to 4 (see JSON_VALUE_BYTES), and the bytes and the text in them besides. */
#define BYTES_FACTOR 4

/* A large body with its worker.  On the server's list until it has lost it. */
struct parse_job {
    struct parse_job *next;
    struct rpc_server *server; /* Null: nobody wants it any more. */
    atomic_bool is_void;       /* The same, for the worker. */
    const struct delivery *kept;
    struct delivery name; /* Of which tag and flags count. */
    size_t bytes, max_body;
    uint64_t received_ms;
    struct envelope *env;
    struct error *error;
    enum refusal why;
};

/* A delivery that is the broker's, but for its name. */
struct put_off {
    struct put_off *next;
    struct rpc_server *server;
    uint64_t tag;
    size_t bytes;
    bool goes_stale; /* And does so when it is due. */
    struct deadline due;
};

static struct error *parse(const struct delivery *, size_t max_body,
                           struct envelope **, enum refusal *);
static void parse_apart(struct rpc_server *, const struct delivery *,
                        size_t bytes);
static void run_parse(void *aux);
static void parse_done(void *aux);
static void abandon_parsing(struct rpc_server *);
static void take(struct rpc_server *, const struct delivery *,
                 uint64_t received_ms, struct envelope *);
static void reject(struct rpc_server *, const struct delivery *, struct error *,
                   enum refusal);
static bool is_known(struct rpc_server *, const struct delivery *,
                     const struct envelope *);
static void wait_for_turn(struct request *);
static void hold_over(struct deadline *);
static void give_back(struct request *);
static bool has_space(const struct rpc_server *, size_t bytes);
static void put_off(struct rpc_server *, const struct delivery *, size_t bytes);
static void put_off_due(struct deadline *);
static void put_off_settle(struct put_off *, enum transport_settle);
static void settle(const struct rpc_server *, uint64_t tag,
                   enum transport_settle);

void
intake_deliver(void *aux, const struct delivery *delivery)
{
    struct rpc_server *server = aux;
    size_t bytes = delivery->size * BYTES_FACTOR;
    size_t max_body = server->options.max_body;
    bool has_workers = server->options.workers;
    struct envelope *env = NULL;
    enum refusal why;

    if (server->is_stopping) {
        settle(server, delivery->tag, TRANSPORT_REQUEUE);
        return;
    }
    /* One that comes again has had its turn to be put off. */
    if (!has_space(server, bytes) ||
        (server->put_off && !delivery->redelivered)) {
        put_off(server, delivery, bytes);
        return;
    }
    if (has_workers && delivery->size > BULK_BYTES) {
        parse_apart(server, delivery, bytes);
        return;
    }
    /* What is too large for the loop when inflated may not be for a worker. */
    bool is_packed = has_workers && delivery->compression;
    struct error *error = parse(
        delivery, is_packed && BULK_BYTES < max_body ? BULK_BYTES : max_body,
        &env, &why);
    if (error && is_packed && why == REFUSAL_SIZE) {
        error_free(error);
        parse_apart(server, delivery, bytes);
    } else if (error) {
        reject(server, delivery, error, why);
    } else {
        take(server, delivery, clock_now_ms(), env);
    }
}

void
intake_stop(struct rpc_server *server)
{
    while (server->waiting.head) {
        give_back(server->waiting.head);
    }
    abandon_parsing(server);
    while (server->put_off) {
        put_off_settle(server->put_off, TRANSPORT_REQUEUE);
    }
}

void
intake_pump(struct rpc_server *server)
{
    size_t returned = 0;

    while (server->put_off &&
           has_space(server, returned + server->put_off->bytes)) {
        returned += server->put_off->bytes;
        put_off_settle(server->put_off, TRANSPORT_REQUEUE);
    }
}

static struct error *
parse(const struct delivery *delivery, size_t max_body, struct envelope **ret,
      enum refusal *ret_why)
{
    AUTO_FREE inflated = NULL;
    const char *body;
    size_t size;

    struct error *error =
        delivery_open(delivery, max_body, &inflated, &body, &size, ret_why);
    if (error) {
        return error;
    }
    *ret_why = REFUSAL_BODY;
    return envelope_parse(body, size, ret);
}

static void
parse_apart(struct rpc_server *server, const struct delivery *delivery,
            size_t bytes)
{
    struct parse_job *job = xzalloc(sizeof *job);

    job->server = server;
    job->kept = delivery_keep(delivery);
    job->name = *delivery;
    job->bytes = bytes;
    job->max_body = server->options.max_body;
    job->received_ms = clock_now_ms();
    job->next = server->parsing;
    server->parsing = job;
    server->counters.n_parsing++;
    server->held_bytes += bytes;
    worker_submit(server->options.workers, run_parse, parse_done, job);
}

static void
run_parse(void *aux)
{
    struct parse_job *job = aux;

    if (!atomic_load(&job->is_void)) {
        job->error = parse(job->kept, job->max_body, &job->env, &job->why);
    }
    delivery_release(job->kept);
}

static void
parse_done(void *aux)
{
    struct parse_job *job = aux;
    struct rpc_server *server = job->server;

    if (!server) {
        envelope_free(job->env);
        error_free(job->error);
        free(job);
        return;
    }

    struct parse_job **at = &server->parsing;
    while (*at != job) {
        at = &(*at)->next;
    }
    *at = job->next;
    server->counters.n_parsing--;
    server->held_bytes -= job->bytes;
    if (job->error) {
        reject(server, &job->name, job->error, job->why);
    } else {
        take(server, &job->name, job->received_ms, job->env);
    }
    free(job);
    intake_pump(server);
}

static void
abandon_parsing(struct rpc_server *server)
{
    while (server->parsing) {
        struct parse_job *job = server->parsing;

        settle(server, job->name.tag, TRANSPORT_REQUEUE);
        server->parsing = job->next;
        server->counters.n_parsing--;
        server->held_bytes -= job->bytes;
        job->server = NULL;
        atomic_store(&job->is_void, true);
    }
}

/* Takes 'env'. */
static void
take(struct rpc_server *server, const struct delivery *delivery,
     uint64_t received_ms, struct envelope *env)
{
    if (is_known(server, delivery, env)) {
        server->counters.n_duplicates++;
        server_free_envelope(server, env);
        return;
    }

    struct request *request = request_create(delivery, env, received_ms);
    server->counters.n_requests++;
    server->held_bytes += env->bytes;
    request->server = server;
    request->number = ++server->n_numbered;
    request->hold.due = hold_over;
    request_list_append(&server->waiting, request);
    server_keep_alive(request);
    if (server_has_room(server)) {
        server_start_request(request);
    } else {
        wait_for_turn(request);
    }
}

static void
reject(struct rpc_server *server, const struct delivery *delivery,
       struct error *error, enum refusal why)
{
    log_limited(LOG_LEVEL_WARN, NULL, "message rejected: %s",
                error_message(error));
    error_free(error);
    server->counters.n_rejected++;
    server->counters.n_rejected_for[why]++;
    settle(server, delivery->tag, TRANSPORT_REJECT);
}

/* Settles what has been seen before.  One that still waits is only adopted: it
 * came again because the connection was lost, so its old tag is void. */
static bool
is_known(struct rpc_server *server, const struct delivery *delivery,
         const struct envelope *env)
{
    if (!env->unique_id) {
        return false;
    }
    for (struct request *r = server->waiting.head; r; r = r->next) {
        if (str_eq(r->env->unique_id, env->unique_id)) {
            if (delivery->redelivered) {
                r->tag = delivery->tag;
            } else {
                settle(server, delivery->tag, TRANSPORT_ACK);
            }
            return true;
        }
    }
    if (seen_has(server->seen, env->unique_id)) {
        settle(server, delivery->tag, TRANSPORT_ACK);
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

    if (request_is_stale(request, clock_now_ms())) {
        server_start_request(request); /* Which drops it. */
    } else {
        give_back(request);
    }
}

static void
give_back(struct request *request)
{
    settle(request->server, request->tag, TRANSPORT_REQUEUE);
    request_free(request);
}

/* One alone always fits. */
static bool
has_space(const struct rpc_server *server, size_t bytes)
{
    size_t max = server->options.max_held_bytes;

    return !max || !server->held_bytes ||
           (bytes <= max && server->held_bytes <= max - bytes);
}

static void
put_off(struct rpc_server *server, const struct delivery *delivery,
        size_t bytes)
{
    struct put_off *p = xzalloc(sizeof *p), **last = &server->put_off;
    bool goes_stale =
        delivery->expiration_ms && delivery->expiration_ms < HOLD_MAX_MS;

    while (*last) {
        last = &(*last)->next;
    }
    *last = p;
    p->server = server;
    p->tag = delivery->tag;
    p->bytes = bytes;
    p->goes_stale = goes_stale;
    p->due.due = put_off_due;
    deadlines_set(server->deadlines, &p->due,
                  clock_now_ms() +
                      (goes_stale ? delivery->expiration_ms : HOLD_MAX_MS));
    server->counters.n_put_off++;
    log_limited(LOG_LEVEL_WARN, NULL,
                "a request of %zu bytes is put off: those under way take %zu",
                delivery->size, server->held_bytes);
}

static void
put_off_due(struct deadline *deadline)
{
    struct put_off *p = container_of(deadline, struct put_off, due);

    p->server->counters.n_stale += p->goes_stale;
    put_off_settle(p, p->goes_stale ? TRANSPORT_ACK : TRANSPORT_REQUEUE);
}

static void
put_off_settle(struct put_off *p, enum transport_settle how)
{
    struct rpc_server *server = p->server;
    struct put_off **at = &server->put_off;

    while (*at != p) {
        at = &(*at)->next;
    }
    *at = p->next;
    deadlines_clear(server->deadlines, &p->due);
    settle(server, p->tag, how);
    free(p);
}

static void
settle(const struct rpc_server *server, uint64_t tag, enum transport_settle how)
{
    const struct transport *t = server->transport;

    t->ops->settle(t->state, tag, how);
}
