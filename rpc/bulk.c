#include <config.h>

#include "rpc/bulk.h"

#include <malloc.h>
#include <stdlib.h>

/* So much leaves holes in the allocator's memory that are worth to be given
 * back: nothing of such a size comes for hours. */
#define TRIM_BYTES (4u << 20)

struct free_job {
    void (*free_it)(void *);
    void *what;
    bool trim;
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
    job->trim = bytes >= TRIM_BYTES;
    worker_submit(pool, run_free, free, job);
}

void
bulk_free_json(struct worker_pool *pool, struct json *json)
{
    bulk_free(pool, pool && json ? json_weight(json, TRIM_BYTES) : 0, free_json,
              json);
}

static void
run_free(void *aux)
{
    struct free_job *job = aux;

    job->free_it(job->what);
    if (job->trim) {
        malloc_trim(0);
    }
}

static void
free_json(void *json)
{
    json_free(json);
}
