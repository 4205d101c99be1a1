#ifndef DROVER_UNIT_CLOUD_BENCH_H
#define DROVER_UNIT_CLOUD_BENCH_H

/* A cloud of one server that is Keystone and all other services, and answers as
 * it is told.
 *
 * Keystone, at /identity, gives tokens "token-1", "token-2"...; placement is at
 * /placement, neutron at /network, cinder at /volume/v3/ours, glance at /image.
 *
 * Threads: the loop. */

#include "agent/nova/cloud.h"
#include "tests/unit/rest_server.h"

#define BENCH_REQUEST_ID "req-ed6e7a08-c723-4569-94f9-9fedf897dbdb"

/* An answer of a service; the request that it is to must be for 'path', below
 * the service's own, unless that is null. */
struct bench_reply {
    const char *method, *path;
    int status;
    const char *body; /* "'" stands for '"'. */
    enum rest_server_manner manner;
};

struct cloud_bench {
    uv_loop_t loop;
    struct completion_queue *q;
    struct worker_pool *workers;
    struct rest_server *server;
    struct conf *conf;
    struct cloud *cloud;  /* Null: closed. */
    struct json *context; /* Of a user, with a catalogue of his own. */
    uv_timer_t deadline;

    const struct bench_reply *replies;
    size_t n_replies, n_replied;
    struct json *tokens;     /* What Keystone was asked for, in order. */
    const char *token_times; /* "'issued_at':..., 'expires_at':..." */
    int token_status;        /* 201 unless it is set. */
    bool keeps_waiting;      /* Keystone does not answer. */
    char *made;              /* The body of the last reply. */

    unsigned n_done;
    struct error *error; /* Of the last result. */
    struct json *result; /* Of the last result, if there is any. */
};

/* 'more' is text for the configuration; may be null. */
struct cloud_bench *cloud_bench_create(const char *more);
void cloud_bench_free(struct cloud_bench *b);

/* The answers to come, in order; 'replies' must last. */
#define BENCH_REPLIES(B, ...)                                       \
    do {                                                            \
        static const struct bench_reply replies_[] = {__VA_ARGS__}; \
        cloud_bench_replies(B, replies_, N_ELEMENTS(replies_));     \
    } while (0)
void cloud_bench_replies(struct cloud_bench *b,
                         const struct bench_reply *replies, size_t n);

/* Notes a result: takes both. */
void cloud_bench_done(struct cloud_bench *b, struct json *result,
                      struct error *error);
void cloud_bench_ended(void *bench, struct error *error); /* The same. */

/* Runs the loop until one more has come, or so many in all. */
void cloud_bench_run(struct cloud_bench *b);
void cloud_bench_run_until(struct cloud_bench *b, unsigned n);

/* The 'i'th request to a service, Keystone not counted. */
const struct rest_server_request *cloud_bench_request(struct cloud_bench *b,
                                                      size_t i);
size_t cloud_bench_n_requests(struct cloud_bench *b);

/* Fails unless the 'i'th request is the one of that name that a real
 * nova-compute made (tests/corpus/rest/requests.json): method, path, body,
 * version, and what else of the headers says what is meant. */
void cloud_bench_assert_as_recorded(struct cloud_bench *b, size_t i,
                                    const char *name);
const struct json *cloud_bench_recorded(struct cloud_bench *b,
                                        const char *name);

/* JSON of a text with "'" for '"'; the caller's. */
struct json *bench_json(const char *text);

/* Fails unless the last result was JSON that equals 'text', with "'" for '"'.
 */
void cloud_bench_assert_result(const struct cloud_bench *b, const char *text);

/* Fails unless the last result was an error of that code, and 'text' what Nova
 * makes of it. */
void cloud_bench_assert_error(const struct cloud_bench *b, enum error_code code,
                              const char *text);

/* Fails unless the JSON of 'body' equals 'text', with "'" for '"'. */
void bench_assert_body(const struct rest_server_request *request,
                       const char *text);

#endif
