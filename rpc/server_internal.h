#ifndef DROVER_RPC_SERVER_INTERNAL_H
#define DROVER_RPC_SERVER_INTERNAL_H

/* What rpc/server.c (which requests run when) and rpc/request.c (what is in
 * one, and its answer) share, and nobody else includes. */

#include "rpc/deadline.h"
#include "rpc/envelope.h"
#include "rpc/replier.h"
#include "rpc/server.h"

struct seen;

enum request_state {
    REQUEST_WAITING, /* Still the broker's; not acknowledged. */
    REQUEST_RUNNING,
};

/* On one of the server's two lists, unless 'server' is null. */
struct request {
    struct request *next, *prev;
    struct rpc_server *server; /* Null: nobody awaits the answer any more. */
    enum request_state state;
    bool is_entered; /* The gate has seen it. */
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
    void (*gate)(void *aux, struct request *request); /* Null: none. */
    void *gate_aux;
    struct deadline stop;
    void (*stopped)(void *aux);
    void *stopped_aux;
    struct rpc_server_counters counters;
};

/* A new request, on no list and of no server yet; takes 'env'. */
struct request *request_create(const struct delivery *delivery,
                               struct envelope *env);

/* Takes it off its list and its deadlines, if it has a server. */
void request_free(struct request *request);

/* The caller has given up; a cast has no one who could. */
bool request_is_stale(const struct request *request, uint64_t now_ms);

/* Sends what ends the call, if it is one; everything is borrowed. */
void request_send_reply(struct request *request, const struct json *result,
                        const char *failure);

void request_list_append(struct request_list *list, struct request *request);
void request_list_remove(struct request_list *list, struct request *request);

/* Its answer is on the way, or nobody awaits one: frees it, and lets others
 * run. */
void server_request_done(struct request *request);

#endif
