#include <config.h>

#include "agent/base/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* libvirt, SQLite and the deepest JSON are content with this; sanitizers need
 * more. */
#ifdef WITH_SANITIZERS
#define STACK_SIZE (2u << 20)
#else
#define STACK_SIZE (512u << 10)
#endif

struct job {
    struct completion completion; /* First: it is posted. */
    struct job *next;
    struct worker_pool *pool;
    void (*run)(void *aux);
    void (*done)(void *aux);
    void *aux;
    uv_thread_t thread; /* Only of a job that runs alone. */
};

struct worker_pool {
    struct completion_queue *q;
    char name[16];
    unsigned n_threads, n_started, n_idle;
    uv_thread_t *threads;
    uv_mutex_t mutex; /* Guards what follows. */
    uv_cond_t cond;
    struct job *head, **tail;
    unsigned n_queued;
    bool stopping;
    unsigned n_alone;
};

struct thread_start {
    char name[16];
    void (*run)(void *aux);
    void *aux;
};

static void pool_thread(void *aux);
static void alone_thread(void *aux);
static void job_deliver(struct completion *c);
static struct job *job_create(struct worker_pool *, void (*run)(void *),
                              void (*done)(void *), void *aux);
static void thread_main(void *aux);

struct worker_pool *
worker_pool_create(struct completion_queue *q, const char *name,
                   unsigned n_threads)
{
    struct worker_pool *pool = xzalloc(sizeof *pool);

    pool->q = q;
    snprintf(pool->name, sizeof pool->name, "%.11s", name);
    pool->n_threads = n_threads;
    pool->threads = xcalloc(n_threads, sizeof *pool->threads);
    pool->tail = &pool->head;
    uv_mutex_init(&pool->mutex);
    uv_cond_init(&pool->cond);
    return pool;
}

void
worker_pool_free(struct worker_pool *pool)
{
    if (!pool) {
        return;
    }
    uv_mutex_lock(&pool->mutex);
    pool->stopping = true;
    uv_cond_broadcast(&pool->cond);
    while (pool->n_alone) {
        uv_cond_wait(&pool->cond, &pool->mutex);
    }
    uv_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->n_started; i++) {
        uv_thread_join(&pool->threads[i]);
    }
    uv_cond_destroy(&pool->cond);
    uv_mutex_destroy(&pool->mutex);
    free(pool->threads);
    free(pool);
}

void
worker_submit(struct worker_pool *pool, void (*run)(void *aux),
              void (*done)(void *aux), void *aux)
{
    struct job *job = job_create(pool, run, done, aux);

    uv_mutex_lock(&pool->mutex);
    *pool->tail = job;
    pool->tail = &job->next;
    pool->n_queued++;
    /* An idle thread may have been given the job before this one already. */
    bool start =
        pool->n_queued > pool->n_idle && pool->n_started < pool->n_threads;
    uv_mutex_unlock(&pool->mutex);
    /* One job, one thread; and none that then waits for the mutex. */
    uv_cond_signal(&pool->cond);
    if (start) {
        worker_thread_start(&pool->threads[pool->n_started++], pool->name,
                            pool_thread, pool);
    }
}

void
worker_run_alone(struct worker_pool *pool, const char *name,
                 void (*run)(void *aux), void (*done)(void *aux), void *aux)
{
    struct job *job = job_create(pool, run, done, aux);

    uv_mutex_lock(&pool->mutex);
    pool->n_alone++;
    uv_mutex_unlock(&pool->mutex);
    worker_thread_start(&job->thread, name, alone_thread, job);
}

void
worker_thread_start(uv_thread_t *ret, const char *name, void (*run)(void *aux),
                    void *aux)
{
    static const uv_thread_options_t options = {
        .flags = UV_THREAD_HAS_STACK_SIZE,
        .stack_size = STACK_SIZE,
    };
    struct thread_start *start = xzalloc(sizeof *start);
    sigset_t all, before;

    snprintf(start->name, sizeof start->name, "%.15s", name);
    start->run = run;
    start->aux = aux;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = uv_thread_create_ex(ret, &options, thread_main, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status) {
        fprintf(stderr, "drover: cannot start thread: %s\n",
                uv_strerror(status));
        abort();
    }
}

static void
pool_thread(void *aux)
{
    struct worker_pool *pool = aux;

    uv_mutex_lock(&pool->mutex);
    for (;;) {
        while (!pool->head && !pool->stopping) {
            pool->n_idle++;
            uv_cond_wait(&pool->cond, &pool->mutex);
            pool->n_idle--;
        }
        struct job *job = pool->head;
        if (!job) {
            break;
        }
        pool->head = job->next;
        pool->n_queued--;
        if (!pool->head) {
            pool->tail = &pool->head;
        }
        uv_mutex_unlock(&pool->mutex);
        job->run(job->aux);
        completion_post(pool->q, &job->completion);
        uv_mutex_lock(&pool->mutex);
    }
    uv_mutex_unlock(&pool->mutex);
}

static void
alone_thread(void *aux)
{
    struct job *job = aux;
    struct worker_pool *pool = job->pool;
    pthread_t self = pthread_self();

    pthread_detach(self);
    job->run(job->aux);
    completion_post(pool->q, &job->completion);
    uv_mutex_lock(&pool->mutex);
    pool->n_alone--;
    uv_cond_broadcast(&pool->cond); /* Inside: the pool may go after this. */
    uv_mutex_unlock(&pool->mutex);
}

static void
job_deliver(struct completion *c)
{
    struct job *job = container_of(c, struct job, completion);
    void (*done)(void *) = job->done;
    void *aux = job->aux;

    free(job);
    done(aux);
}

static struct job *
job_create(struct worker_pool *pool, void (*run)(void *), void (*done)(void *),
           void *aux)
{
    struct job *job = xzalloc(sizeof *job);

    job->completion.deliver = job_deliver;
    job->pool = pool;
    job->run = run;
    job->done = done;
    job->aux = aux;
    return job;
}

static void
thread_main(void *aux)
{
    struct thread_start start = *(struct thread_start *)aux;

    free(aux);
    pthread_setname_np(pthread_self(), start.name);
    start.run(start.aux);
}
