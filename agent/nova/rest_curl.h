#ifndef DROVER_NOVA_REST_CURL_H
#define DROVER_NOVA_REST_CURL_H

/* One HTTP exchange, by libcurl, for agent/nova/rest.h.
 *
 * A module of its own, loaded for the first request: libcurl and what it brings
 * along take 4.5 MiB, and an agent without a control plane asks nobody.
 *
 * Connections are kept and used again; names are resolved on threads of
 * libcurl's.  Redirections are not followed, as a token would go along.
 *
 * Threads: the loop, but for fetch(). */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

/* How a server is known, and we to it.  Null: the system's authorities; no
 * certificate; the key is in 'certfile'.  Strings are borrowed. */
struct rest_tls {
    const char *cafile, *certfile, *keyfile;
    bool insecure; /* Take any server for the right one. */
};

/* Borrowed for the call, but for 'body', which must last until the end. */
struct rest_exchange {
    const char *method, *url;
    const char *const *headers; /* "Name: value"; ends with null. */
    const char *body;           /* Null: none. */
    size_t size;
    const struct rest_tls *tls;
    bool is_repeatable; /* It may be sent twice. */
    unsigned timeout_ms;
    size_t answer_max; /* Bytes of a body; more are not taken. */
};

enum rest_fault {
    REST_OK,
    REST_UNREACHABLE, /* The request did not get to the server. */
    REST_LOST,        /* It may have, and what came back is not all. */
    REST_TIMED_OUT,   /* The same; 'timeout_ms' is over. */
    REST_DISTRUSTED,  /* TLS: a certificate, a file of ours. */
    REST_TOO_LARGE,
    REST_IMPOSSIBLE,  /* A URL that is none, and the like. */
    REST_NOT_WRITTEN, /* To its file. */
    REST_STOPPED,
};

/* Good for the call only. */
struct rest_outcome {
    enum rest_fault fault;
    const char *why; /* Of a fault. */
    int status;      /* The rest is without a fault only. */
    const char *body;
    size_t size;
    const char *token;      /* X-Subject-Token; may be null. */
    const char *request_id; /* X-Openstack-Request-Id; may be null. */
};

typedef void rest_ended(void *aux, const struct rest_outcome *outcome);

struct rest_wire;
struct rest_transfer;

#define REST_CURL_ABI 2
struct rest_curl_ops {
    int abi; /* REST_CURL_ABI */

    /* Null: the library can't start. */
    struct rest_wire *(*start)(uv_loop_t *loop);
    /* 'ended' is called once, after begin() has returned; it may begin, cancel
     * and stop what it likes. */
    struct rest_transfer *(*begin)(struct rest_wire *wire,
                                   const struct rest_exchange *exchange,
                                   rest_ended *ended, void *aux);
    /* Before 'ended', which is then not called. */
    void (*cancel)(struct rest_transfer *transfer);
    /* When all transfers have ended or were cancelled; memory goes when the
     * handles have closed. */
    void (*stop)(struct rest_wire *wire);

    /* One whose body, if the status is 200, goes to a file from where it stands
     * (and is not in the outcome), which may be of any size.  After start(); on
     * any thread but the loop's, which waits until it has ended or, within a
     * second, '*stop' is set; ends when nothing comes for a minute, too.
     * 'ended' is called before it returns. */
    void (*fetch)(const struct rest_exchange *exchange, int fd,
                  const atomic_bool *stop, rest_ended *ended, void *aux);
};

/* The symbol that the module exports. */
#define REST_CURL_SYMBOL "drover_rest_curl"
extern const struct rest_curl_ops drover_rest_curl;

#endif
