#ifndef DROVER_AGENT_HTTP_SERVER_H
#define DROVER_AGENT_HTTP_SERVER_H

/* HTTP for agent/http.h: connections in, questions out.
 *
 * A module of its own, loaded for the first client: libmicrohttpd brings along
 * cryptography that takes more memory than all else of an idle agent, and many
 * an agent is never asked.
 *
 * Threads: the loop. */

#include <stddef.h>
#include <uv.h>

struct http_server;

struct http_answer {
    unsigned status;
    const char *type; /* Content-Type; static storage. */
    char *text;       /* Taken. */
    size_t size;
};

#define HTTP_SERVER_ABI 1
struct http_server_ops {
    int abi; /* HTTP_SERVER_ABI */

    /* 'answer' fills in what a GET or HEAD of 'path' is answered with.  Null:
     * the library can't start. */
    struct http_server *(*start)(uv_loop_t *loop,
                                 void (*answer)(void *aux, const char *path,
                                                struct http_answer *ret),
                                 void *aux);
    /* Takes a connection that was accepted, which does not block; hangs up if
     * there are too many. */
    void (*add)(struct http_server *server, int fd);
    /* Hangs up; memory goes when its handles have closed. */
    void (*stop)(struct http_server *server);
};

/* The symbol that the module exports. */
#define HTTP_SERVER_SYMBOL "drover_http_server"
extern const struct http_server_ops drover_http_server;

#endif
