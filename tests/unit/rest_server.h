#ifndef DROVER_UNIT_REST_SERVER_H
#define DROVER_UNIT_REST_SERVER_H

/* A small HTTP server on the test's own loop that answers as it is told, well
 * or badly, and remembers what it was asked.
 *
 * Threads: the loop. */

#include <stdbool.h>
#include <uv.h>

#include "rpc/json.h"

struct rest_server;

struct rest_server_request {
    char *method, *path;  /* With the query. */
    struct json *headers; /* By name in lower case. */
    char *body;
};

enum rest_server_manner {
    ANSWER,
    HANG, /* Says nothing, for ever. */
    HANG_UP,
    CUT_OFF, /* Hangs up in the middle of the body. */
};

/* What is sent.  'body' must last; null: none. */
struct rest_server_reply {
    int status;
    enum rest_server_manner manner;
    const char *body;
    const char *header; /* "Name: value"; or null. */
};

/* Called for each request: fills in the reply, which is 200 and "{}". */
typedef void rest_server_handler(void *aux,
                                 const struct rest_server_request *request,
                                 struct rest_server_reply *reply);

struct rest_server *rest_server_create(uv_loop_t *loop,
                                       rest_server_handler *handler, void *aux);

/* The loop must run until the handles are closed. */
void rest_server_close(struct rest_server *server);

/* "http://127.0.0.1:PORT"; good until it is closed. */
const char *rest_server_url(const struct rest_server *server);

/* Hangs up and listens no more. */
void rest_server_vanish(struct rest_server *server);

size_t rest_server_n_requests(const struct rest_server *server);
size_t rest_server_n_connections(const struct rest_server *server); /* Ever. */
const struct rest_server_request *
rest_server_request(const struct rest_server *server, size_t i);

/* Of a header, by its name in lower case; null: it was not sent. */
const char *rest_server_header(const struct rest_server_request *request,
                               const char *name);

#endif
