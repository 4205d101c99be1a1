#include <config.h>

#include "drivers/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SEARCH_PATH \
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct process {
    char *name;
    pid_t pid;
    int output; /* What it says. */

    pthread_mutex_t mutex; /* Guards what follows: a reaped pid is nobody's. */
    bool is_reaped, is_killed;
    int status; /* As of waitpid(), once reaped. */
};

/* What the child needs.  It shares our memory until it is another program, and
 * may call hardly anything until then. */
struct start {
    const struct process_options *options;
    pid_t parent;
    int input, output;
    char **environment;
    char *listen_pid; /* Room for digits in the environment. */
    int error;        /* The child's errno; 0: it is another program. */
};

static pid_t spawn(struct start *start);
static void be_child(struct start *start);
static void write_number(char *to, unsigned number);
static bool reap(struct process *process, int flags);
static struct error *judge(struct process *process, bool timed_out,
                           unsigned timeout_ms,
                           const struct process_words *words);
static int64_t now_ms(void);

struct error *
process_start(const struct process_options *options, struct process **ret)
{
    char locale[] = "LC_ALL=C", path[] = SEARCH_PATH, fds[] = "LISTEN_FDS=1",
         listen_pid[] = "LISTEN_PID=0000000000";
    char *environment[] = {locale, path, options->is_socket ? fds : NULL,
                           listen_pid, NULL};
    int output[2];
    struct start start = {
        .options = options,
        .parent = getpid(),
        .environment = environment,
        .listen_pid = strchr(listen_pid, '=') + 1,
    };

    if (pipe2(output, O_CLOEXEC)) {
        return error_new(ERR_STORAGE, "open a pipe: %s", strerror(errno));
    }
    start.output = output[1];
    start.input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t pid = start.input < 0 ? -1 : spawn(&start);
    if (pid < 0) {
        start.error = errno;
    } else if (start.error) {
        waitpid(pid, NULL, 0);
    }
    if (start.input >= 0) {
        close(start.input);
    }
    close(output[1]);
    if (start.error) {
        close(output[0]);
        return error_new(ERR_STORAGE, "start '%s': %s", options->argv[0],
                         strerror(start.error));
    }
    struct process *process = xzalloc(sizeof *process);
    process->name = xstrdup(options->argv[0]);
    process->pid = pid;
    process->output = output[0];
    pthread_mutex_init(&process->mutex, NULL);
    *ret = process;
    return NULL;
}

void
process_free(struct process *process)
{
    if (!process) {
        return;
    }
    process_kill(process);
    reap(process, 0);
    close(process->output);
    pthread_mutex_destroy(&process->mutex);
    free(process->name);
    free(process);
}

struct error *
process_wait(struct process *process, unsigned timeout_ms,
             void (*heard)(void *aux, const char *text, size_t size), void *aux,
             struct process_words *words)
{
    int64_t deadline_ms = now_ms() + timeout_ms;
    struct pollfd ready = {.fd = process->output, .events = POLLIN};
    bool timed_out = false;
    char text[4096];

    for (;;) {
        int64_t left_ms = timeout_ms ? deadline_ms - now_ms() : -1;

        if (timeout_ms && left_ms <= 0) {
            timed_out = true;
            process_kill(process);
            break;
        }
        if (poll(&ready, 1, (int)left_ms) <= 0) {
            continue;
        }
        ssize_t n = read(process->output, text, sizeof text);
        if (n <= 0) { /* It has ended, or has nothing more to say. */
            break;
        }
        if (heard) {
            heard(aux, text, (size_t)n);
        } else {
            process_words_add(words, text, (size_t)n);
        }
    }
    reap(process, 0);
    return judge(process, timed_out, timeout_ms, words);
}

bool
process_is_over(struct process *process)
{
    return reap(process, WNOHANG);
}

void
process_kill(struct process *process)
{
    pthread_mutex_lock(&process->mutex);
    if (!process->is_reaped) {
        process->is_killed = true;
        kill(process->pid, SIGKILL);
    }
    pthread_mutex_unlock(&process->mutex);
}

void
process_words_add(struct process_words *words, const char *text, size_t size)
{
    for (size_t i = 0; i < size && words->size + 1 < sizeof words->text; i++) {
        bool is_blank = (unsigned char)text[i] <= ' ';

        if (!is_blank || (words->size && words->text[words->size - 1] != ' ')) {
            words->text[words->size++] = is_blank ? ' ' : text[i];
        }
    }
    words->text[words->size] = '\0';
}

/* The child borrows our stack until it is another program: nothing of this
 * function may change in it. */
static pid_t
spawn(struct start *start)
{
    sigset_t all, old;

    /* A handler of ours must not run in the child. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid_t pid = vfork();
    if (pid == 0) {
        be_child(start);
        _exit(127);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pid;
}

/* Returns if it fails, with the reason. */
static void
be_child(struct start *start)
{
    const struct process_options *options = start->options;
    struct sigaction usual = {.sa_handler = SIG_DFL};
    sigset_t none;

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != start->parent) {
        start->error = ECHILD;
        return;
    }
    write_number(start->listen_pid, (unsigned)getpid());
    sigaction(SIGPIPE, &usual, NULL);
    if (dup2(start->input, 0) < 0 || dup2(start->output, 1) < 0 ||
        dup2(start->output, 2) < 0 ||
        (options->fd == PROCESS_FD && fcntl(PROCESS_FD, F_SETFD, 0)) ||
        (options->fd >= 0 && dup2(options->fd, PROCESS_FD) < 0)) {
        start->error = errno;
        return;
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvpe(options->argv[0], (char *const *)options->argv, start->environment);
    start->error = errno;
}

/* Into room for ten digits, which it fills. */
static void
write_number(char *to, unsigned number)
{
    for (int i = 9; i >= 0; i--) {
        to[i] = (char)('0' + number % 10);
        number /= 10;
    }
}

/* True once it has ended.  Whoever waits for the end does so without the
 * mutex: process_kill() must get through. */
static bool
reap(struct process *process, int flags)
{
    siginfo_t info = {.si_pid = 0};

    pthread_mutex_lock(&process->mutex);
    bool is_reaped = process->is_reaped;
    pthread_mutex_unlock(&process->mutex);
    if (is_reaped) {
        return true;
    }
    while (waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOWAIT | flags) <
               0 &&
           errno == EINTR) {
    }
    if (flags & WNOHANG && !info.si_pid) {
        return false;
    }
    pthread_mutex_lock(&process->mutex);
    while (waitpid(process->pid, &process->status, 0) < 0 && errno == EINTR) {
    }
    process->is_reaped = true;
    pthread_mutex_unlock(&process->mutex);
    return true;
}

static struct error *
judge(struct process *process, bool timed_out, unsigned timeout_ms,
      const struct process_words *words)
{
    int status = process->status;

    if (timed_out) {
        return error_new(ERR_STORAGE, "%s did not end in %u s", process->name,
                         timeout_ms / 1000);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return NULL;
    }
    if (process->is_killed) {
        return error_new(ERR_CANCELLED, "%s was ended", process->name);
    }
    if (WIFSIGNALED(status)) {
        return error_new(ERR_STORAGE, "%s was killed by signal %d",
                         process->name, WTERMSIG(status));
    }
    return error_new(ERR_STORAGE, "%s failed: %s", process->name, words->text);
}

static int64_t
now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
