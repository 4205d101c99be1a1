#include <config.h>

#include "agent/base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_OF_TOOLS "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"

extern char **environ;

/* What the child needs.  It shares our memory until it is another program, and
 * may call hardly anything until then. */
struct start {
    const struct process_options *options;
    const char *path;
    char **environment;
    char *listen_pid; /* Room for digits in the environment. */
    pid_t parent;
    int channels[3]; /* Its standard ones; -1: not open. */
    int error;       /* The child's errno; 0: it is another program. */
};

static char *find_program(const char *name);
static char **make_environment(char *listen_fds, char *listen_pid);
static bool open_channels(struct process *process, struct start *start);
static pid_t spawn(struct start *start);
static void be_child(struct start *start);
static bool give_fds(const struct process_options *options);
static bool set_limits(const struct process_limits *limits);
static bool set_limit(int resource, rlim_t limit);
static void write_number(char *to, unsigned number);

struct error *
process_start(const struct process_options *options, struct process **ret)
{
    char listen_fds[] = "LISTEN_FDS=1", listen_pid[] = "LISTEN_PID=0000000000";
    AUTO_FREE path = find_program(options->argv[0]);
    struct start start = {
        .options = options,
        .path = path,
        .listen_pid = strchr(listen_pid, '=') + 1,
        .parent = getpid(),
        .channels = {-1, -1, -1},
    };

    if (!path) {
        return error_new(options->code, "there is no program '%s' here",
                         options->argv[0]);
    }
    CLEANUP(process_free_at) struct process *process = xzalloc(sizeof *process);
    *process = (struct process){.pidfd = -1, .said = {-1, -1}};
    start.environment =
        make_environment(options->is_socket ? listen_fds : NULL, listen_pid);
    pid_t pid = open_channels(process, &start) ? spawn(&start) : -1;
    if (pid < 0) {
        start.error = errno;
    } else {
        process->pid = pid;
        process->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    }
    for (size_t i = 0; i < N_ELEMENTS(start.channels); i++) {
        if (start.channels[i] >= 0) {
            close(start.channels[i]);
        }
    }
    free(start.environment);
    if (start.error) {
        return error_new(options->code, "start '%s': %s", options->argv[0],
                         strerror(start.error));
    }
    *ret = steal(&process);
    return NULL;
}

int
process_wait(struct process *process)
{
    int status = 0;

    while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR) {
    }
    process->pid = 0; /* It may be anybody's from now on. */
    return status;
}

void
process_free(struct process *process)
{
    if (!process) {
        return;
    }
    if (process->pid) {
        kill(-process->pid, SIGKILL);
        process_wait(process);
    }
    int fds[] = {process->pidfd, process->said[0], process->said[1]};
    for (size_t i = 0; i < N_ELEMENTS(fds); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    free(process);
}

static char *
find_program_in(const char *directories, const char *name)
{
    while (*directories) {
        size_t size = strcspn(directories, ":");
        AUTO_FREE path = xasprintf("%.*s/%s", (int)size, directories, name);
        if (size && !access(path, X_OK)) {
            return steal(&path);
        }
        directories += size + (directories[size] == ':');
    }
    return NULL;
}

static char *
find_program(const char *name)
{
    const char *path = getenv("PATH");

    if (strchr(name, '/')) {
        return access(name, X_OK) ? NULL : xstrdup(name);
    }
    char *found = path ? find_program_in(path, name) : NULL;
    return found ? found : find_program_in(PATH_OF_TOOLS, name);
}

/* Ours, in English, and without what systemd told us of our own sockets; null
 * as 'listen_fds': there is none.  The strings are not the array's. */
static char **
make_environment(char *listen_fds, char *listen_pid)
{
    static char english[] = "LC_ALL=C";
    char *ours[] = {english, listen_fds, listen_pid, NULL};
    size_t n = 0, n_kept = 0;

    while (environ[n]) {
        n++;
    }
    char **ret = xcalloc(n + N_ELEMENTS(ours), sizeof *ret);
    for (size_t i = 0; i < n; i++) {
        if (strncmp(environ[i], "LC_ALL=", 7) != 0 &&
            strncmp(environ[i], "LISTEN_", 7) != 0) {
            ret[n_kept++] = environ[i];
        }
    }
    memcpy(ret + n_kept, ours, sizeof ours);
    return ret;
}

/* False, with errno, if that can't be. */
static bool
open_channels(struct process *process, struct start *start)
{
    start->channels[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (start->channels[0] < 0) {
        return false;
    }
    for (size_t i = 0; i < N_ELEMENTS(process->said); i++) {
        int ends[2];

        if (pipe2(ends, O_CLOEXEC)) {
            return false;
        }
        /* Ours only: what the program leaves running may keep its side. */
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        process->said[i] = ends[0];
        start->channels[i + 1] = ends[1];
    }
    return true;
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
    if (setpgid(0, 0) || dup2(start->channels[0], 0) < 0 ||
        dup2(start->channels[1], 1) < 0 || dup2(start->channels[2], 2) < 0 ||
        !give_fds(options) || !set_limits(&options->limits)) {
        start->error = errno;
        return;
    }
    /* Workers block all of them. */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(start->path, (char *const *)options->argv, start->environment);
    start->error = errno;
}

/* Out of each other's way first: one may be where another is to be. */
static bool
give_fds(const struct process_options *options)
{
    int moved[PROCESS_FDS_MAX] = {-1, -1};

    for (size_t i = 0; i < options->n_fds; i++) {
        moved[i] = fcntl(options->fds[i], F_DUPFD_CLOEXEC,
                         PROCESS_FD + PROCESS_FDS_MAX);
        if (moved[i] < 0) {
            return false;
        }
    }
    for (size_t i = 0; i < options->n_fds; i++) {
        if (dup2(moved[i], PROCESS_FD + (int)i) < 0) {
            return false;
        }
    }
    return true;
}

static bool
set_limits(const struct process_limits *limits)
{
    struct sigaction ignored = {.sa_handler = SIG_IGN};

    /* What is too long is told to it by errno, and by it in words. */
    return (!limits->memory || set_limit(RLIMIT_AS, (rlim_t)limits->memory)) &&
           (!limits->cpu_s || set_limit(RLIMIT_CPU, limits->cpu_s)) &&
           (!limits->file_size ||
            (!sigaction(SIGXFSZ, &ignored, NULL) &&
             set_limit(RLIMIT_FSIZE, (rlim_t)limits->file_size)));
}

static bool
set_limit(int resource, rlim_t limit)
{
    struct rlimit limits = {limit, limit};

    return !setrlimit(resource, &limits);
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
