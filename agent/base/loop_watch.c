#include <config.h>

#include "agent/base/loop_watch.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/mem.h"
#include "agent/base/worker.h"

LOG_MODULE(loop);

#define SAMPLE_MS 10

struct loop_watch {
    uv_prepare_t before_poll;
    unsigned limit_ms;
    int fatal;
    uv_thread_t thread;
    uv_sem_t stop;
    clockid_t cpu_clock; /* Of the loop's thread. */
    pid_t tid;
    atomic_ullong turn; /* Counts the turns of the loop. */
};

/* libuv calls back for I/O from within its poll phase: whether the loop is idle
 * is seen from the system call that it is in. */
enum doing { DOING_POLL, DOING_RUN, DOING_SLEEP };

/* What the looker-on saw of one turn. */
struct sighting {
    unsigned long long turn;
    uint64_t cpu_start_ms;
    unsigned asleep_ms;
};

static void look_on(void *aux);
static void look(struct loop_watch *, struct sighting *);
static void poll_begins(uv_prepare_t *handle);
static void handle_closed(uv_handle_t *handle);
static uint64_t cpu_ms(clockid_t clock);
static enum doing thread_doing(pid_t tid);

struct loop_watch *
loop_watch_start(uv_loop_t *loop, unsigned limit_ms, int fatal)
{
    struct loop_watch *watch = xzalloc(sizeof *watch);

    watch->limit_ms = limit_ms;
    watch->fatal = fatal;
    watch->tid = (pid_t)syscall(SYS_gettid);
    pthread_getcpuclockid(pthread_self(), &watch->cpu_clock);
    uv_prepare_init(loop, &watch->before_poll);
    watch->before_poll.data = watch;
    uv_prepare_start(&watch->before_poll, poll_begins);
    uv_unref((uv_handle_t *)&watch->before_poll);
    uv_sem_init(&watch->stop, 0);
    worker_thread_start(&watch->thread, "loop-watch", look_on, watch);
    return watch;
}

void
loop_watch_stop(struct loop_watch *watch)
{
    if (!watch) {
        return;
    }
    uv_sem_post(&watch->stop);
    uv_thread_join(&watch->thread);
    uv_sem_destroy(&watch->stop);
    uv_close((uv_handle_t *)&watch->before_poll, handle_closed);
}

static void
look_on(void *aux)
{
    static const struct timespec pause = {.tv_nsec = SAMPLE_MS * 1000000L};
    struct loop_watch *watch = aux;
    struct sighting sighting = {0};

    while (uv_sem_trywait(&watch->stop) != 0) {
        nanosleep(&pause, NULL);
        look(watch, &sighting);
    }
}

static void
look(struct loop_watch *watch, struct sighting *seen)
{
    unsigned long long turn = atomic_load(&watch->turn);
    enum doing doing = thread_doing(watch->tid);

    if (doing == DOING_POLL || turn != seen->turn) {
        seen->turn = turn;
        seen->cpu_start_ms = cpu_ms(watch->cpu_clock);
        seen->asleep_ms = 0;
        return;
    }
    if (doing == DOING_SLEEP) {
        seen->asleep_ms += SAMPLE_MS;
    }
    uint64_t busy_ms = cpu_ms(watch->cpu_clock) - seen->cpu_start_ms;
    if (busy_ms + seen->asleep_ms < watch->limit_ms) {
        return;
    }
    log_error(NULL, "the loop was blocked: %llu ms busy, %u ms asleep",
              (unsigned long long)busy_ms, seen->asleep_ms);
    if (watch->fatal) {
        abort();
    }
    seen->cpu_start_ms += busy_ms;
    seen->asleep_ms = 0;
}

static void
poll_begins(uv_prepare_t *handle)
{
    struct loop_watch *watch = handle->data;

    atomic_fetch_add(&watch->turn, 1);
}

static void
handle_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static uint64_t
cpu_ms(clockid_t clock)
{
    struct timespec ts = {0};

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Running, or runnable, if it can't be said. */
static enum doing
thread_doing(pid_t tid)
{
    char path[64], text[256] = "";

    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return DOING_RUN;
    }
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    char *end;
    long number = strtol(text, &end, 10);
    if (size <= 0 || end == text) {
        return DOING_RUN; /* "running" */
    }
    return number == SYS_epoll_wait || number == SYS_epoll_pwait ? DOING_POLL
                                                                 : DOING_SLEEP;
}
