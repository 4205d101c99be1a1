#ifndef DROVER_RPC_SERVER_INTERNAL_H
#define DROVER_RPC_SERVER_INTERNAL_H

/* What rpc/server.c (which requests run when), rpc/intake.c (how they come in)
 * and rpc/request.c (what is in one, and its answer) share, and nobody else
 * includes. */

#include "rpc/deadline.h"
#include "rpc/envelope.h"
#include "rpc/replier.h"
#include "rpc/server.h"

struct parse_job;
struct put_off;
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
    unsigned expiration_ms;         /* The caller's time-out; 0: unknown. */
    struct rpc_method_count *count; /* Of its method; null: not found yet. */
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
    struct parse_job *parsing; /* Large bodies, in no order. */
    struct put_off *put_off;   /* What found no space; first come, first. */
    size_t held_bytes;         /* Memory, about, of the first three. */
    uint64_t n_numbered;
    bool is_started, is_stopping, is_pumping;
    void (*gate)(void *aux, struct request *request); /* Null: none. */
    void *gate_aux;
    struct deadline stop;
    void (*stopped)(void *aux);
    void *stopped_aux;
    struct rpc_server_counters counters;
    struct rpc_method_count *methods;
    size_t n_methods, room_methods;
};

/* Of the transport's events: a request has come. */
void intake_deliver(void *server, const struct delivery *delivery);

/* Gives back all that is not started, also what is being parsed. */
void intake_stop(struct rpc_server *server);

/* There may be space for what was put off. */
void intake_pump(struct rpc_server *server);

/* A new request, on no list and of no server yet; takes 'env'. */
struct request *request_create(const struct delivery *delivery,
                               struct envelope *env, uint64_t received_ms);

/* Takes it off its list and its deadlines, if it has a server; memory is then
 * counted as free. */
void request_free(struct request *request);

/* The caller has given up; a cast has no one who could. */
bool request_is_stale(const struct request *request, uint64_t now_ms);

/* Sends what ends the call, if it is one; everything is borrowed. */
void request_send_reply(struct request *request, const struct json *result,
                        const char *failure);

void request_list_append(struct request_list *list, struct request *request);
void request_list_remove(struct request_list *list, struct request *request);

/* May another request run? */
bool server_has_room(const struct rpc_server *server);

/* Acknowledges it and has it run, or drops it if its caller has given up.
 * Before it runs: it runs at most once. (spec/rpc-wire 5.2.3) */
void server_start_request(struct request *request);

/* Sends signs of life from its receipt on, if it wants any. */
void server_keep_alive(struct request *request);

/* Takes 'env', which may be large. */
void server_free_envelope(struct rpc_server *server, struct envelope *env);

/* Its answer is on the way, or nobody awaits one: frees it, and lets others
 * run. */
void server_request_done(struct request *request);

#endif
