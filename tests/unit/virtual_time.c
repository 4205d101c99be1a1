#include <config.h>

#include "tests/unit/virtual_time.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/completion.h"
#include "agent/base/worker.h"

#define START_MS 1000000
#define START_WALL_US 1772447467512000 /* 2026-03-02T10:31:07.512Z */
#define TICK_MS 5                      /* Real; to look at workers again. */
#define HANG_TICKS 60

struct waiting {
    uv_timer_t *timer;
    uv_timer_cb due;
    uint64_t at_ms, number; /* The latter among those of the same time. */
    uint64_t repeat_ms;     /* 0: once. */
};

static struct {
    uv_loop_t *loop; /* Null: not installed. */
    uv_timer_t *tick;
    uint64_t now_ms, n_started;
    int64_t wall_step_us;
    struct waiting *waiting;
    size_t n_waiting, n_room;
    int n_work;
    bool may_hang, leaves_migrations, is_interrupted;
} vt;

/* Under way in pools, and alone; and all that was ever posted. */
static atomic_int n_jobs, n_migrations;
/* Of the latter, those whose threads have yet to run: half an hour passes in
 * less time than a busy machine takes to begin one. */
static atomic_int n_beginning;
static atomic_uint n_posted;

/* The linker's names for what is wrapped. */
int __real_uv_timer_start(uv_timer_t *, uv_timer_cb, uint64_t, uint64_t);
int __real_uv_timer_stop(uv_timer_t *);
void __real_uv_close(uv_handle_t *, uv_close_cb);
void __real_completion_post(struct completion_queue *, struct completion *);
void __real_worker_submit(struct worker_pool *, void (*)(void *),
                          void (*)(void *), void *);
void __real_worker_thread_start(uv_thread_t *, const char *, void (*)(void *),
                                void *);
int __wrap_uv_timer_start(uv_timer_t *, uv_timer_cb, uint64_t, uint64_t);
int __wrap_uv_timer_stop(uv_timer_t *);
void __wrap_uv_close(uv_handle_t *, uv_close_cb);
void __wrap_completion_post(struct completion_queue *, struct completion *);
void __wrap_worker_submit(struct worker_pool *, void (*)(void *),
                          void (*)(void *), void *);
void __wrap_worker_thread_start(uv_thread_t *, const char *, void (*)(void *),
                                void *);

static uint64_t
fake_now_ms(void)
{
    return START_MS + vt.now_ms;
}

static int64_t
fake_wall_us(void)
{
    return START_WALL_US + (int64_t)vt.now_ms * 1000 + vt.wall_step_us;
}

void
virtual_time_install(uv_loop_t *loop)
{
    vt.loop = loop;
    vt.now_ms = 0;
    vt.wall_step_us = 0;
    vt.n_work = 0;
    vt.may_hang = vt.leaves_migrations = false;
    vt.tick = xzalloc(sizeof *vt.tick);
    uv_timer_init(loop, vt.tick);
    clock_set_fake(fake_now_ms, fake_wall_us);
}

void
virtual_time_step_wall(int64_t us)
{
    vt.wall_step_us += us;
}

void
virtual_time_remove(void)
{
    __real_uv_close((uv_handle_t *)steal(&vt.tick), (uv_close_cb)free);
    clock_set_fake(NULL, NULL);
    vt.loop = NULL;
    free(steal(&vt.waiting));
    vt.n_waiting = vt.n_room = 0;
}

uint64_t
virtual_time_now_ms(void)
{
    return vt.now_ms;
}

void
virtual_time_add_work(int n)
{
    vt.n_work += n;
}

void
virtual_time_leave_migrations(bool left)
{
    vt.leaves_migrations = left;
}

void
virtual_time_allow_hanging(bool allowed)
{
    vt.may_hang = allowed;
}

void
virtual_time_interrupt(void)
{
    vt.is_interrupted = true;
}

static void
ticked(uv_timer_t *timer)
{
    (void)timer;
}

static bool
is_working(void)
{
    return n_jobs > 0 || vt.n_work > 0 || n_beginning > 0 ||
           (n_migrations > 0 && !vt.leaves_migrations);
}

void
virtual_time_settle(void)
{
    unsigned seen, n_ticks = 0;

    vt.is_interrupted = false;
    for (;;) {
        do {
            seen = n_posted;
            uv_run(vt.loop, UV_RUN_NOWAIT);
        } while (n_posted != seen && !vt.is_interrupted);
        if (vt.is_interrupted || (!is_working() && n_posted == seen) ||
            (vt.may_hang && n_ticks >= HANG_TICKS)) {
            return;
        }
        __real_uv_timer_start(vt.tick, ticked, TICK_MS, 0);
        uv_run(vt.loop, UV_RUN_ONCE);
        n_ticks = n_posted == seen ? n_ticks + 1 : 0;
        __real_uv_timer_stop(vt.tick);
    }
}

static void
wait_for(uv_timer_t *timer, uv_timer_cb due, uint64_t ms, uint64_t repeat_ms)
{
    if (vt.n_waiting == vt.n_room) {
        vt.n_room = vt.n_room * 2 + 8;
        vt.waiting = xrealloc(vt.waiting, vt.n_room * sizeof *vt.waiting);
    }
    vt.waiting[vt.n_waiting++] =
        (struct waiting){timer, due, vt.now_ms + ms, vt.n_started++, repeat_ms};
}

bool
virtual_time_advance(void)
{
    size_t first = 0;

    if (!vt.n_waiting) {
        return false;
    }
    for (size_t i = 1; i < vt.n_waiting; i++) {
        const struct waiting *w = &vt.waiting[i], *f = &vt.waiting[first];

        if (w->at_ms < f->at_ms ||
            (w->at_ms == f->at_ms && w->number < f->number)) {
            first = i;
        }
    }
    struct waiting due = vt.waiting[first];
    vt.waiting[first] = vt.waiting[--vt.n_waiting];
    if (due.at_ms > vt.now_ms) {
        vt.now_ms = due.at_ms;
    }
    if (due.repeat_ms) {
        wait_for(due.timer, due.due, due.repeat_ms, due.repeat_ms);
    }
    due.due(due.timer);
    return true;
}

static void
forget(const uv_timer_t *timer)
{
    for (size_t i = 0; i < vt.n_waiting; i++) {
        if (vt.waiting[i].timer == timer) {
            vt.waiting[i] = vt.waiting[--vt.n_waiting];
            return;
        }
    }
}

int
__wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb due, uint64_t ms,
                      uint64_t repeat)
{
    if (!vt.loop) {
        return __real_uv_timer_start(timer, due, ms, repeat);
    }
    forget(timer);
    wait_for(timer, due, ms, repeat);
    return 0;
}

int
__wrap_uv_timer_stop(uv_timer_t *timer)
{
    forget(timer);
    return __real_uv_timer_stop(timer);
}

void
__wrap_uv_close(uv_handle_t *handle, uv_close_cb closed)
{
    if (handle->type == UV_TIMER) {
        forget((uv_timer_t *)handle);
    }
    __real_uv_close(handle, closed);
}

void
__wrap_completion_post(struct completion_queue *q, struct completion *c)
{
    __real_completion_post(q, c);
    n_posted++;
}

/* A job, counted from when it is submitted until the loop has its result. */
struct job {
    void (*run)(void *aux);
    void (*done)(void *aux);
    void *aux;
};

static void
job_run(void *aux)
{
    struct job *job = aux;

    job->run(job->aux);
}

static void
job_done(void *aux)
{
    struct job job = *(struct job *)aux;

    free(aux);
    n_jobs--;
    job.done(job.aux);
}

void
__wrap_worker_submit(struct worker_pool *pool, void (*run)(void *aux),
                     void (*done)(void *aux), void *aux)
{
    struct job *job = xzalloc(sizeof *job);

    *job = (struct job){run, done, aux};
    n_jobs++;
    __real_worker_submit(pool, job_run, job_done, job);
}

static void
migration_run(void *aux)
{
    struct job job = *(struct job *)aux;

    free(aux);
    n_beginning--;
    job.run(job.aux);
    n_migrations--;
}

void
__wrap_worker_thread_start(uv_thread_t *thread, const char *name,
                           void (*run)(void *aux), void *aux)
{
    if (!str_eq(name, "migration")) {
        __real_worker_thread_start(thread, name, run, aux);
        return;
    }
    struct job *job = xzalloc(sizeof *job);
    *job = (struct job){.run = run, .aux = aux};
    n_migrations++;
    n_beginning++;
    __real_worker_thread_start(thread, name, migration_run, job);
}
