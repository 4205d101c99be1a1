#include <config.h>

#include "rpc/bulk.h"

#include <stdlib.h>

struct free_job {
    void (*free_it)(void *);
    void *what;
};

static void run_free(void *aux);
static void free_json(void *json);

bool
bulk_is_large(const struct worker_pool *pool, const struct json *json)
{
    return pool && json && json_weight(json, BULK_BYTES) >= BULK_BYTES;
}

void
bulk_free(struct worker_pool *pool, size_t bytes, void (*free_it)(void *),
          void *what)
{
    if (!pool || bytes < BULK_BYTES) {
        free_it(what);
        return;
    }

    struct free_job *job = xzalloc(sizeof *job);
    job->free_it = free_it;
    job->what = what;
    worker_submit(pool, run_free, free, job);
}

void
bulk_free_json(struct worker_pool *pool, struct json *json)
{
    bulk_free(pool, bulk_is_large(pool, json) ? BULK_BYTES : 0, free_json,
              json);
}

static void
run_free(void *aux)
{
    struct free_job *job = aux;

    job->free_it(job->what);
}

static void
free_json(void *json)
{
    json_free(json);
}
