#include <config.h>

#include "agent/nova/rest_download.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/mem.h"

struct rest_download {
    const struct rest_curl_ops *ops;
    struct rest_exchange exchange;
    int fd;
    atomic_bool stop;
    rest_ended *ended;
    void *aux;

    struct rest_outcome outcome; /* Its strings are these. */
    char *why, *body, *request_id;
};

static void run(void *aux);
static void take(void *aux, const struct rest_outcome *outcome);
static void deliver(void *aux);

struct rest_download *
rest_download_begin(struct worker_pool *workers,
                    const struct rest_curl_ops *ops,
                    const struct rest_exchange *exchange, int fd,
                    rest_ended *ended, void *aux)
{
    struct rest_download *d = xzalloc(sizeof *d);

    d->ops = ops;
    d->exchange = *exchange;
    d->fd = fd;
    d->ended = ended;
    d->aux = aux;
    worker_run_alone(workers, "download", run, deliver, d);
    return d;
}

void
rest_download_stop(struct rest_download *d)
{
    atomic_store(&d->stop, true);
}

/* On a thread of its own. */
static void
run(void *aux)
{
    struct rest_download *d = aux;

    if (ftruncate(d->fd, 0) || lseek(d->fd, 0, SEEK_SET) < 0) {
        struct rest_outcome outcome = {
            .fault = REST_NOT_WRITTEN,
            .why = strerror(errno),
        };
        take(d, &outcome);
    } else {
        d->ops->fetch(&d->exchange, d->fd, &d->stop, take, d);
    }
}

/* On that thread, too. */
static void
take(void *aux, const struct rest_outcome *outcome)
{
    struct rest_download *d = aux;

    d->outcome = *outcome;
    d->why = xstrdup_null(outcome->why);
    d->body = xstrndup(outcome->size ? outcome->body : "", outcome->size);
    d->request_id = xstrdup_null(outcome->request_id);
}

static void
deliver(void *aux)
{
    struct rest_download *d = aux;

    d->outcome.why = d->why;
    d->outcome.body = d->body;
    d->outcome.request_id = d->request_id;
    d->outcome.token = NULL;
    d->ended(d->aux, &d->outcome);
    free(d->why);
    free(d->body);
    free(d->request_id);
    free(d);
}
