#include <config.h>

#include "rpc/replies.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "agent/base/log.h"
#include "rpc/bulk.h"

LOG_MODULE(client);

#define BODY_MAX (64u << 20)

/* How many may be put behind a large one; see must_wait(). */
#define BEHIND_MAX 1024

/* A reply on its way.  On one of the lists, unless they are closed. */
struct reply_job {
    struct reply_job *next;
    struct replies *replies; /* Null: nobody wants it any more. */
    atomic_bool is_void;     /* The same, for the worker. */
    const struct delivery *kept;
    struct reply *reply;
    struct error *error;
    enum refusal why;
};

static struct error *parse(const struct delivery *, size_t max, struct reply **,
                           enum refusal *);
static void parse_apart(struct replies *, const struct delivery *);
static void run_parse(void *aux);
static void parse_done(void *aux);
static void job_free(struct reply_job *);
static void take_or_refuse(struct replies *, struct reply *, struct error *,
                           enum refusal);
static void take(struct replies *, struct reply *);
static bool must_wait(const struct replies *, const struct reply *);
static void put_behind(struct replies *, struct reply *);
static struct reply *pop_behind(struct replies *);

void
replies_deliver(struct replies *replies, const struct delivery *delivery)
{
    bool is_packed = replies->workers && delivery->compression;
    enum refusal why = REFUSAL_SIZE;
    struct reply *reply = NULL;

    if (replies->workers && delivery->size > BULK_BYTES) {
        parse_apart(replies, delivery);
        return;
    }
    struct error *error =
        parse(delivery, is_packed ? BULK_BYTES : BODY_MAX, &reply, &why);
    if (error && is_packed && why == REFUSAL_SIZE) {
        error_free(error);
        parse_apart(replies, delivery);
    } else {
        take_or_refuse(replies, reply, error, why);
    }
}

void
replies_close(struct replies *replies)
{
    for (struct reply_job *job; (job = replies->parsing);) {
        replies->parsing = job->next;
        job->replies = NULL;
        atomic_store(&job->is_void, true);
    }
    for (struct reply *reply; (reply = pop_behind(replies));) {
        reply_free(reply);
    }
}

static struct error *
parse(const struct delivery *delivery, size_t max, struct reply **ret,
      enum refusal *ret_why)
{
    AUTO_FREE inflated = NULL;
    const char *body;
    size_t size;

    struct error *error =
        delivery_open(delivery, max, &inflated, &body, &size, ret_why);
    if (error) {
        return error;
    }
    *ret_why = REFUSAL_BODY;
    return envelope_parse_reply(body, size, ret);
}

static void
parse_apart(struct replies *replies, const struct delivery *delivery)
{
    struct reply_job *job = xzalloc(sizeof *job);

    job->replies = replies;
    job->kept = delivery_keep(delivery);
    job->next = replies->parsing;
    replies->parsing = job;
    worker_submit(replies->workers, run_parse, parse_done, job);
}

static void
run_parse(void *aux)
{
    struct reply_job *job = aux;

    if (!atomic_load(&job->is_void)) {
        job->error = parse(job->kept, BODY_MAX, &job->reply, &job->why);
    }
    delivery_release(job->kept);
}

static void
parse_done(void *aux)
{
    struct reply_job *job = aux;
    struct replies *replies = job->replies;

    if (!replies) {
        job_free(job);
        return;
    }
    struct reply_job **at = &replies->parsing;
    while (*at != job) {
        at = &(*at)->next;
    }
    *at = job->next;
    take_or_refuse(replies, steal(&job->reply), steal(&job->error), job->why);
    job_free(job);
    while (!replies->parsing && replies->behind) {
        take(replies, pop_behind(replies));
    }
}

static void
job_free(struct reply_job *job)
{
    reply_free(job->reply);
    error_free(job->error);
    free(job);
}

/* Takes 'reply' or 'error'. */
static void
take_or_refuse(struct replies *replies, struct reply *reply,
               struct error *error, enum refusal why)
{
    if (error) {
        replies->n_refused[why]++;
        log_limited(LOG_LEVEL_WARN, NULL, "reply dropped: %s",
                    error_message(error));
        error_free(error);
    } else if (must_wait(replies, reply)) {
        put_behind(replies, reply);
    } else {
        take(replies, reply);
    }
}

static void
take(struct replies *replies, struct reply *reply)
{
    replies->take(replies->aux, reply);
    bulk_free_json(replies->workers, steal(&reply->result));
    reply_free(reply);
}

/* An old peer's result comes before the end of its call, which says nothing
 * more; a large result may be overtaken by that. (spec/rpc-wire 3.1) */
static bool
must_wait(const struct replies *replies, const struct reply *reply)
{
    return replies->parsing && replies->n_behind < BEHIND_MAX &&
           reply->ending && !reply->result && !reply->failure;
}

static void
put_behind(struct replies *replies, struct reply *reply)
{
    struct reply_job *job = xzalloc(sizeof *job);

    job->reply = reply;
    if (!replies->behind) {
        replies->behind_tail = &replies->behind;
    }
    *replies->behind_tail = job;
    replies->behind_tail = &job->next;
    replies->n_behind++;
}

/* Null: there is none. */
static struct reply *
pop_behind(struct replies *replies)
{
    struct reply_job *job = replies->behind;

    if (!job) {
        return NULL;
    }
    struct reply *reply = steal(&job->reply);
    replies->behind = job->next;
    replies->n_behind--;
    job_free(job);
    return reply;
}
