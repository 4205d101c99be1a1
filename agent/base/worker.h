#ifndef DROVER_BASE_WORKER_H
#define DROVER_BASE_WORKER_H

/* Threads for what may block.
 *
 * A pool runs short jobs on a few threads of its own (not libuv's, which are
 * shared with file I/O); a job that may take hours gets a thread to itself.
 * 'run' is called on the worker, then 'done' on the loop.  Jobs of one pool
 * start in the order in which they were submitted.
 *
 * Threads: all functions on the loop, but for the 'run' callbacks. */

#include "agent/base/completion.h"

struct worker_pool;

/* 'name' (at most 11 bytes) shows in ps.  Threads start with the first job. */
struct worker_pool *worker_pool_create(struct completion_queue *q,
                                       const char *name, unsigned n_threads);

/* Waits for the jobs under way and in the queue; their 'done' are called from
 * the queue afterwards. */
void worker_pool_free(struct worker_pool *pool);
CLEANUP_FUNC(struct worker_pool, worker_pool_free)

/* 'aux' is the job's: lent to 'run', then to 'done', which may free it. */
void worker_submit(struct worker_pool *pool, void (*run)(void *aux),
                   void (*done)(void *aux), void *aux);

/* A thread for one long job; it is detached from the caller's view: it ends
 * after 'run', then 'done' is delivered.  worker_pool_free() waits for it. */
void worker_run_alone(struct worker_pool *pool, const char *name,
                      void (*run)(void *aux), void (*done)(void *aux),
                      void *aux);

/* Starts a thread with a small stack and all signals blocked. */
void worker_thread_start(uv_thread_t *ret, const char *name,
                         void (*run)(void *aux), void *aux);

#endif
