#include <config.h>

#include "agent/base/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_MAX_DEFAULT (64u << 10)

/* How often the wish to stop is looked at. */
#define STOP_LOOK_MS 100

/* Of what a program that failed said, in an error. */
#define WORDS_MAX 400

#define PATH_OF_TOOLS "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"

extern char **environ;

struct stream {
    int fd; /* -1: at its end. */
    char *text;
    size_t size, max;
    bool is_cut;
};

/* A program that runs. */
struct child {
    const struct command *command;
    pid_t pid;
    int pidfd; /* -1 where the kernel has none: then the end of the outputs
                * tells. */
    struct stream output, errors;
};

static struct error *start(struct child *child);
static int spawn(struct child *child, const char *path, int output, int errors);
static char *find_program(const char *name);
static struct error *watch(struct child *child);
static bool stream_read(struct stream *stream);
static struct error *reap(struct child *child, struct error *error,
                          struct command_result *ret);
static char *last_words(const char *text);
static int64_t now_ms(void);

static enum error_code
code_of(const struct command *command)
{
    return command->code == ERR_NONE ? ERR_INTERNAL : command->code;
}

static void
stream_init(struct stream *stream, size_t max)
{
    *stream = (struct stream){.fd = -1, .text = xzalloc(1), .max = max};
}

static void
stream_close(struct stream *stream)
{
    if (stream->fd >= 0) {
        close(stream->fd);
        stream->fd = -1;
    }
}

struct error *
command_run(const struct command *command, struct command_result *ret)
{
    size_t max = command->output_max ? command->output_max : OUTPUT_MAX_DEFAULT;
    struct child child = {.command = command, .pidfd = -1};

    stream_init(&child.output, max);
    stream_init(&child.errors, max);
    struct error *error = start(&child);
    if (!error) {
        error = reap(&child, watch(&child), ret);
    }
    stream_close(&child.output);
    stream_close(&child.errors);
    if (child.pidfd >= 0) {
        close(child.pidfd);
    }
    if (error) {
        free(child.output.text);
        free(child.errors.text);
        return error;
    }
    ret->output = child.output.text;
    ret->errors = child.errors.text;
    ret->is_cut = child.output.is_cut || child.errors.is_cut;
    return NULL;
}

void
command_result_close(struct command_result *result)
{
    free(result->output);
    free(result->errors);
    *result = (struct command_result){0};
}

struct error *
command_check(const struct command *command,
              const struct command_result *result)
{
    if (!result->exit_code) {
        return NULL;
    }
    AUTO_FREE words =
        last_words(*result->errors ? result->errors : result->output);
    return error_new(code_of(command), "'%s' failed with code %d%s%s",
                     command->argv[0], result->exit_code, *words ? ": " : "",
                     words);
}

struct error *
command_run_checked(const struct command *command, char **ret_output)
{
    struct command_result result;
    struct error *error = command_run(command, &result);

    if (error) {
        return error;
    }
    error = command_check(command, &result);
    if (!error && ret_output) {
        *ret_output = steal(&result.output);
    }
    command_result_close(&result);
    return error;
}

static struct error *
start(struct child *child)
{
    const struct command *command = child->command;
    int output[2], errors[2];

    AUTO_FREE path = find_program(command->argv[0]);
    if (!path) {
        return error_new(code_of(command), "there is no program '%s' here",
                         command->argv[0]);
    }
    if (pipe2(output, O_CLOEXEC)) {
        return error_new(code_of(command), "open a pipe: %s", strerror(errno));
    }
    child->output.fd = output[0];
    if (pipe2(errors, O_CLOEXEC)) {
        close(output[1]);
        return error_new(code_of(command), "open a pipe: %s", strerror(errno));
    }
    child->errors.fd = errors[0];
    /* Ours only: what the program leaves running may keep its side. */
    fcntl(output[0], F_SETFL, O_NONBLOCK);
    fcntl(errors[0], F_SETFL, O_NONBLOCK);

    int failure = spawn(child, path, output[1], errors[1]);
    close(output[1]);
    close(errors[1]);
    if (failure) {
        return error_new(code_of(command), "start '%s': %s", command->argv[0],
                         strerror(failure));
    }
    child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    return NULL;
}

static char **
child_environment(void)
{
    size_t n = 0, n_kept = 0;

    while (environ[n]) {
        n++;
    }
    char **ret = xcalloc(n + 2, sizeof *ret);
    for (size_t i = 0; i < n; i++) {
        if (strncmp(environ[i], "LC_ALL=", 7) != 0) {
            ret[n_kept++] = xstrdup(environ[i]);
        }
    }
    ret[n_kept] = xstrdup("LC_ALL=C");
    return ret;
}

static void
strings_free(char **strings)
{
    for (size_t i = 0; strings[i]; i++) {
        free(strings[i]);
    }
    free(strings);
}

static char **
copy_argv(const char *const *argv)
{
    size_t n = 0;

    while (argv[n]) {
        n++;
    }
    char **ret = xcalloc(n + 1, sizeof *ret);
    for (size_t i = 0; i < n; i++) {
        ret[i] = xstrdup(argv[i]);
    }
    return ret;
}

/* Workers block all signals; the child must not inherit that. */
static int
spawn(struct child *child, const char *path, int output, int errors)
{
    const struct command *command = child->command;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, pipe;
    char **argv = copy_argv(command->argv), **env = child_environment();

    sigemptyset(&none);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &pipe);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, errors, 2);
    if (command->with_fd) {
        posix_spawn_file_actions_adddup2(&actions, command->fd, COMMAND_FD);
    }
    int failure = posix_spawn(&child->pid, path, &actions, &attr, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    strings_free(argv);
    strings_free(env);
    return failure;
}

static char *
find_program_in(const char *directories, const char *name)
{
    while (*directories) {
        size_t size = strcspn(directories, ":");
        AUTO_FREE path =
            xasprintf("%.*s/%s", (int)size, size ? directories : ".", name);
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

/* Reads what the program says until it ends.  An error means that it is to be
 * killed. */
static struct error *
watch(struct child *child)
{
    const struct command *command = child->command;
    int64_t deadline_ms = now_ms() + command->timeout_ms;

    for (;;) {
        struct pollfd ready[] = {
            {.fd = child->output.fd, .events = POLLIN},
            {.fd = child->errors.fd, .events = POLLIN},
            {.fd = child->pidfd, .events = POLLIN},
        };
        int64_t left_ms = deadline_ms - now_ms();

        if (left_ms <= 0) {
            return error_new(code_of(command), "'%s' did not end in %u ms",
                             command->argv[0], command->timeout_ms);
        }
        if (command->stop && atomic_load(command->stop)) {
            return error_new(ERR_CANCELLED, "'%s' was stopped",
                             command->argv[0]);
        }
        if (command->stop && left_ms > STOP_LOOK_MS) {
            left_ms = STOP_LOOK_MS;
        }
        if (poll(ready, N_ELEMENTS(ready), (int)left_ms) <= 0) {
            continue;
        }
        /* It is looked at before the last words are read: they are there. */
        bool has_ended = ready[2].revents != 0;
        bool has_output = stream_read(&child->output);
        bool has_errors = stream_read(&child->errors);
        if (has_ended || (child->pidfd < 0 && !has_output && !has_errors)) {
            return NULL;
        }
    }
}

/* Takes what is there; false at the end. */
static bool
stream_read(struct stream *stream)
{
    char buf[4096];

    while (stream->fd >= 0) {
        ssize_t n = read(stream->fd, buf, sizeof buf);

        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        if (n == 0) {
            stream_close(stream);
            break;
        }
        size_t room = stream->max - stream->size;
        size_t kept = (size_t)n < room ? (size_t)n : room;
        stream->is_cut |= kept < (size_t)n;
        if (kept) {
            stream->text = xrealloc(stream->text, stream->size + kept + 1);
            memcpy(stream->text + stream->size, buf, kept);
            stream->size += kept;
            stream->text[stream->size] = '\0';
        }
    }
    return false;
}

static struct error *
reap(struct child *child, struct error *error, struct command_result *ret)
{
    const struct command *command = child->command;
    int status = 0;

    if (error) {
        kill(-child->pid, SIGKILL);
    }
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (error) {
        return error;
    }
    if (WIFSIGNALED(status)) {
        return error_new(code_of(command), "'%s' was killed by signal %d",
                         command->argv[0], WTERMSIG(status));
    }
    *ret = (struct command_result){.exit_code = WEXITSTATUS(status)};
    return NULL;
}

/* The last lines, as many as there is room for, on one line and in printable
 * characters; the caller's. */
static char *
last_words(const char *text)
{
    size_t end = strlen(text);

    while (end && strchr(" \t\r\n", text[end - 1])) {
        end--;
    }
    size_t begin = end > WORDS_MAX ? end - WORDS_MAX : 0;
    const char *line = begin ? memchr(text + begin, '\n', end - begin) : NULL;
    if (line) {
        begin = (size_t)(line - text) + 1;
    }
    char *words = xstrndup(text + begin, end - begin);
    for (char *c = words; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 127) {
            *c = ' ';
        }
    }
    return words;
}

/* Not agent/base/clock.h: a program knows nothing of a test's clock. */
static int64_t
now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
