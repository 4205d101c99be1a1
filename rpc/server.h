#ifndef DROVER_RPC_SERVER_H
#define DROVER_RPC_SERVER_H

/* Serves requests: envelope, duplicates, dispatch, replies, keep-alives.
 * (spec/rpc-wire 2.3, 3, 4, 5)
 *
 * Endpoints are tables of methods.  A method is called on the loop with a
 * struct request that it owns until it calls request_reply() or
 * request_fail(), at once or any time later, once.  A cast is answered just
 * the same; nothing is sent then.
 *
 * Requests are served in the order in which they come, but for those whose body
 * has more than BULK_BYTES (rpc/bulk.h): these are parsed on a worker, and what
 * comes behind them is served meanwhile.
 *
 * Threads: the loop. */

#include <uv.h>

#include "agent/base/log.h"
#include "rpc/delivery.h"
#include "rpc/json.h"
#include "rpc/message.h"

struct rpc_server;
struct worker_pool;
struct request;

/* One argument of a method. */
struct rpc_arg {
    const char *name;
    bool required;
    int only_major; /* 0: every version has it. */
};

#define RPC_METHOD_N_ARGS 8
struct rpc_method {
    const char *name;
    struct rpc_arg args[RPC_METHOD_N_ARGS]; /* Ends with a null name. */
    /* 'request' is the method's to answer. */
    void (*call)(void *aux, struct request *request);
    bool takes_anything; /* Arguments are its own affair. */
};

/* A namespace and version with its methods; static storage.  Several may share
 * namespace and table, as compute 5.13 and 6.1 do. */
struct rpc_endpoint {
    const char *name_space; /* Null: the null namespace. */
    int major, minor;
    const struct rpc_method *methods; /* Ends with a null name. */
    void *aux;
};

struct rpc_server_options {
    unsigned max_held;     /* Requests read and not yet answered. */
    size_t max_held_bytes; /* The memory they take, about; 0: any. */
    unsigned max_body;     /* Bytes, also when inflated. */
    /* Parse and print what is large, so that it does not hold up the loop.
     * Borrowed until the server's completions are through; null: the loop
     * does it. */
    struct worker_pool *workers;
    /* How long a caller's queue may be away before its replies are dropped; 0:
     * 60. */
    unsigned reply_patience_s;
};

struct rpc_server *rpc_server_create(uv_loop_t *loop,
                                     struct transport *transport,
                                     const struct rpc_server_options *options);
void rpc_server_add(struct rpc_server *server, struct rpc_endpoint endpoint);

/* 'enter' is given each request whose method has been found before the method
 * is; it calls request_enter() once, at once or any time later.  Null: none
 * (again). */
void rpc_server_set_gate(struct rpc_server *server,
                         void (*enter)(void *aux, struct request *request),
                         void *aux);

/* Lets a request go on to its method, or fail with 'error' (taken) if there is
 * one; one that has become stale is dropped. */
void request_enter(struct request *request, struct error *error);

/* Its arguments, to be made fit for the method; for a gate. */
struct json *request_edit_args(struct request *request);

/* Nothing is dispatched before this (requests wait at the broker). */
void rpc_server_start(struct rpc_server *server);

/* Gives back what is not started, and calls 'stopped' once every request under
 * way has been answered, or 'grace_ms' is over (what still runs is answered
 * with a failure). */
void rpc_server_stop(struct rpc_server *server, unsigned grace_ms,
                     void (*stopped)(void *aux), void *aux);

/* Its timers close; memory goes when they have. */
void rpc_server_close(struct rpc_server *server);

/* A request, as its method sees it. */
const struct json *request_args(const struct request *request); /* An object */
/* The argument; null when it is absent or JSON's null. */
const struct json *request_arg(const struct request *request, const char *name);
/* The same, and no more an argument: the caller's. */
struct json *request_take_arg(struct request *request, const char *name);
const struct json *request_context(const struct request *request);
size_t request_bytes(const struct request *request); /* Memory, about. */
const char *request_method(const struct request *request);
int request_major(const struct request *request); /* Version asked for. */
const char *request_unique_id(const struct request *request); /* or null */
const struct log_context *request_log(const struct request *request);
void request_set_instance(struct request *request, const char *uuid);
bool request_is_call(const struct request *request);

/* Answers; takes 'result' (null: JSON's null) or 'error', and the request. */
void request_reply(struct request *request, struct json *result);
void request_fail(struct request *request, struct error *error);

/* Answers with 'error', or with null when there is none. */
void request_finish(struct request *request, struct error *error);

struct rpc_server_counters {
    uint64_t n_requests, n_replies, n_failures, n_rejected, n_duplicates,
        n_keepalives, n_replies_dropped, n_stale;
    uint64_t n_rejected_for[N_REFUSALS]; /* Their sum is 'n_rejected'. */
    uint64_t
        n_invalid; /* Of 'n_failures': no such method, version, argument. */
    uint64_t n_put_off; /* Times that one found no space; it comes again. */
    unsigned n_held, n_parsing;
    size_t n_held_bytes;
};
struct rpc_server_counters rpc_server_counters(const struct rpc_server *);

/* How its requests ended: a row for each method of each table, however many
 * endpoints share that. */
struct rpc_method_count {
    const struct rpc_method *method;
    const char *name_space; /* Null: the null namespace. */
    uint64_t n_ok, n_failed;
};

/* Stores the rows, valid until the loop goes on, and returns their number. */
size_t rpc_server_method_counts(const struct rpc_server *server,
                                const struct rpc_method_count **ret);

#endif
