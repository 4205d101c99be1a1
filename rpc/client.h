#ifndef DROVER_RPC_CLIENT_H
#define DROVER_RPC_CLIENT_H

/* Calls, casts and fanouts to other services. (spec/rpc-wire 2.4, 4, 6.6)
 *
 * Threads: the loop. */

#include <uv.h>

#include "rpc/delivery.h"
#include "rpc/json.h"
#include "rpc/message.h"

struct rpc_client;
struct worker_pool;

struct rpc_target {
    const char *exchange; /* Control exchange. */
    const char *topic;
    const char *server;     /* Null: any server of the topic. */
    const char *name_space; /* Null: the null namespace. */
    const char *version;    /* "6.0" */
    bool is_fanout;         /* Of a cast: all servers of the topic. */
};

struct rpc_options {
    unsigned timeout_ms; /* Hard, keep-alives or not. */
    unsigned monitor_s;  /* 0: no keep-alives are asked for; else >= 2, and
                          * the call fails after so much silence. */
};

struct rpc_client *rpc_client_create(uv_loop_t *loop,
                                     struct transport *transport);

/* Has large replies parsed, and large results freed, by 'pool', borrowed until
 * the client's completions are through.  Without, the loop does it. */
void rpc_client_set_workers(struct rpc_client *client,
                            struct worker_pool *pool);

/* Calls under way end with ERR_CANCELLED. */
void rpc_client_close(struct rpc_client *client);

/* 'done' is called once on the loop: with the result (the callee's to take or
 * leave: it is freed after the call unless stolen through '*result') or an
 * error (taken): a peer's failure keeps its class; ERR_TIMEOUT;
 * ERR_UNDELIVERABLE when no queue took it for a while.
 * 'args' and 'context' are borrowed; 'context' may be null (own work). */
typedef void rpc_done(void *aux, struct json **result, struct error *error);
void rpc_call(struct rpc_client *client, const struct rpc_target *target,
              const struct rpc_options *options, const struct json *context,
              const char *method, const struct json *args, rpc_done *done,
              void *aux);

/* No answer; 'done' (may be null) is told when the broker has it, or an error
 * when it cannot get it within 'timeout_ms'. */
void rpc_cast(struct rpc_client *client, const struct rpc_target *target,
              const struct json *context, const char *method,
              const struct json *args, unsigned timeout_ms,
              void (*done)(void *aux, struct error *error), void *aux);

/* Asks all servers of the topic at once (a fanout that carries a reply queue)
 * and gathers: 'each' for every answer, 'end' when as many as consume the
 * topic have answered or 'timeout_ms' is over. */
typedef void rpc_each(void *aux, const struct json *result,
                      const struct error *error);
void rpc_gather(struct rpc_client *client, const struct rpc_target *target,
                unsigned timeout_ms, const struct json *context,
                const char *method, const struct json *args, rpc_each *each,
                void (*end)(void *aux), void *aux);

struct rpc_client_counters {
    uint64_t n_calls;                    /* And casts and gatherings. */
    uint64_t n_rejected_for[N_REFUSALS]; /* Replies that are none. */
    uint64_t n_unknown; /* Replies that nobody waits for, or not any more. */
    unsigned n_waiting; /* Calls that are not over. */
};
struct rpc_client_counters rpc_client_counters(const struct rpc_client *);

/* A context for work of our own: fresh request id, is_admin. The caller's.
 * (spec/rpc-wire 8.1) */
struct json *rpc_context_create(void);

#endif
