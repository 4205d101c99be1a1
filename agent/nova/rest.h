#ifndef DROVER_NOVA_REST_H
#define DROVER_NOVA_REST_H

/* Requests to the REST services of a cloud: bytes out, bytes back.
 *
 * So many are with the services at once; the others wait in order, and each
 * ends within its time-out, all tries and waits taken together.  Downloads,
 * which may take half an hour each, have places of their own, so that they wait
 * for each other only, and nothing else for them.
 *
 * A request that may be sent twice is tried again, after pauses that double,
 * when the server was not reached, hung up, or answered 502, 503 or 504; any
 * other only if it certainly did not arrive.
 *
 * This module knows when; how is known to agent/nova/rest_curl.h, a module that
 * is loaded for the first request.  Tokens are never logged.
 *
 * Threads: the loop. */

#include <stdint.h>

#include "agent/base/error.h"
#include "agent/base/log.h"
#include "agent/base/worker.h"
#include "agent/nova/rest_curl.h"

struct rest;
struct rest_call;

/* Zero stands for what is said. */
struct rest_options {
    uv_loop_t *loop;
    struct worker_pool *workers; /* Loads the module. */
    const char *directory;       /* Of the module.  Copied. */
    unsigned max_sent;           /* Requests under way at once; 8... */
    unsigned max_downloads;      /* ...besides those to files; 4. */
    unsigned max_calls;          /* Those and all that wait; 1000. */
    unsigned pause_ms;           /* Before the second try; 500. */
    size_t answer_max;           /* Bytes of an answer; 1 MiB. */
};
#define REST_N_TRIES 4
#define REST_TIMEOUT_MS 60000

struct rest *rest_create(const struct rest_options *options);

/* Calls under way end with ERR_CANCELLED, and so do all that are sent
 * afterwards until rest_free().  The loop must run until the handles are
 * closed, and the completions of 'workers' are through. */
void rest_close(struct rest *rest);
void rest_free(struct rest *rest); /* After rest_close(). */

/* Borrowed for the call only. */
struct rest_request {
    const char *method, *url;
    const char *const *headers; /* "Name: value"; ends with null. */
    const char *body;           /* Null: none. */
    size_t size;
    const struct rest_tls *tls; /* Its strings must last; null: as zeros. */
    bool is_repeatable;         /* A POST that may be sent twice; any other
                                 * method may be. */
    unsigned timeout_ms;        /* 0: REST_TIMEOUT_MS */
    /* A file for the body of a 200, instead of what it has; null: into the
     * answer.  Without it a body is never larger than 'answer_max'. */
    const int *file;
    const struct log_context *log; /* May be null. */
};

/* Good for the call only. */
struct rest_answer {
    int status;       /* Whatever the server said: 200, 404... */
    const char *body; /* Ends with NUL. */
    size_t size;
    const char *token;      /* X-Subject-Token; may be null. */
    const char *request_id; /* The server's; may be null. */
};

/* Called once, after the function that it was given to has returned.  Either is
 * null; 'error' is taken: ERR_REST (no answer: the text tells why), ERR_STORAGE
 * (what came could not be written to 'file') or ERR_CANCELLED. */
typedef void rest_done(void *aux, const struct rest_answer *answer,
                       struct error *error);

struct rest_call *rest_send(struct rest *rest,
                            const struct rest_request *request, rest_done *done,
                            void *aux);

/* For a request that can't be made, or need not: calls 'done' with 'error',
 * which is taken and may be null, as rest_send() would. */
struct rest_call *rest_fail(struct rest *rest, struct error *error,
                            rest_done *done, void *aux);

/* Before 'done', which is then not called.  What was sent may have its effect
 * all the same. */
void rest_cancel(struct rest_call *call);

struct rest_counters {
    uint64_t n_calls, n_failed, n_retried;
    unsigned n_open;
};
struct rest_counters rest_counters(const struct rest *rest);

#endif
