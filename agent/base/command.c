#include <config.h>

#include "agent/base/command.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_MAX_DEFAULT (64u << 10)

/* How often the wish to stop is looked at. */
#define STOP_LOOK_MS 100

/* Of 4 KiB, between two looks at the clock: more than fits into a pipe. */
#define READS_MAX 512

/* Of what a program that failed said, in an error. */
#define WORDS_MAX 400

/* What comes on a channel. */
struct stream {
    int fd; /* Not ours; -1: at its end. */
    char *text;
    size_t size, max;
    bool is_cut;
};

static struct error *watch(const struct command *command,
                           const struct process *process, struct stream *output,
                           struct stream *errors);
static bool stream_read(struct stream *stream, const struct command *hearer);
static void stream_keep(struct stream *stream, const char *text, size_t size);
static struct error *judge(const struct command *command, int status);
static char *last_words(const char *text);
static int64_t now_ms(void);

static enum error_code
code_of(const struct command *command)
{
    return command->code == ERR_NONE ? ERR_INTERNAL : command->code;
}

struct error *
command_run(const struct command *command, struct command_result *ret)
{
    struct process_options options = {.argv = command->argv,
                                      .code = code_of(command),
                                      .fds = command->fds,
                                      .n_fds = command->n_fds,
                                      .limits = command->limits};
    CLEANUP(process_free_at) struct process *process = NULL;
    struct error *error = process_start(&options, &process);
    int status = 0;

    if (error) {
        return error;
    }
    size_t max = command->output_max ? command->output_max : OUTPUT_MAX_DEFAULT;
    struct stream output = {process->said[0], xzalloc(1), 0, max, false};
    struct stream errors = {process->said[1], xzalloc(1), 0, max, false};
    error = watch(command, process, &output, &errors);
    if (!error) {
        status = process_wait(process);
        error = judge(command, status);
    }
    if (error) {
        free(output.text);
        free(errors.text);
        return error;
    }
    *ret = (struct command_result){
        .exit_code = WEXITSTATUS(status),
        .output = output.text,
        .errors = errors.text,
        .is_cut = output.is_cut || errors.is_cut,
    };
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
command_check(const char *program, enum error_code code,
              const struct command_result *result)
{
    if (!result->exit_code) {
        return NULL;
    }
    AUTO_FREE words =
        last_words(*result->errors ? result->errors : result->output);
    return error_new(code, "'%s' failed with code %d%s%s", program,
                     result->exit_code, *words ? ": " : "", words);
}

struct error *
command_run_checked(const struct command *command, char **ret_output)
{
    struct command_result result;
    struct error *error = command_run(command, &result);

    if (error) {
        return error;
    }
    error = command_check(command->argv[0], code_of(command), &result);
    if (!error && ret_output) {
        *ret_output = steal(&result.output);
    }
    command_result_close(&result);
    return error;
}

/* Reads what the program says until it ends.  An error means that it is to be
 * killed. */
static struct error *
watch(const struct command *command, const struct process *process,
      struct stream *output, struct stream *errors)
{
    int64_t begin_ms = now_ms();

    for (;;) {
        struct pollfd ready[] = {
            {.fd = output->fd, .events = POLLIN},
            {.fd = errors->fd, .events = POLLIN},
            {.fd = process->pidfd, .events = POLLIN},
        };
        int64_t left_ms = command->timeout_ms
                              ? begin_ms + command->timeout_ms - now_ms()
                              : INT_MAX;

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
        bool has_output = stream_read(output, command);
        bool has_errors = stream_read(errors, NULL);
        if (has_ended || (process->pidfd < 0 && !has_output && !has_errors)) {
            return NULL;
        }
    }
}

/* Takes what is there; false at the end. */
static bool
stream_read(struct stream *stream, const struct command *hearer)
{
    char buf[4096];

    for (int i = 0; i < READS_MAX && stream->fd >= 0; i++) {
        ssize_t n = read(stream->fd, buf, sizeof buf);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        if (n <= 0) {
            stream->fd = -1;
            break;
        }
        stream_keep(stream, buf, (size_t)n);
        if (hearer && hearer->hear) {
            hearer->hear(hearer->aux, buf, (size_t)n);
        }
    }
    return stream->fd >= 0;
}

static void
stream_keep(struct stream *stream, const char *text, size_t size)
{
    size_t room = stream->max - stream->size;
    size_t kept = size < room ? size : room;

    stream->is_cut |= kept < size;
    if (kept) {
        stream->text = xrealloc(stream->text, stream->size + kept + 1);
        memcpy(stream->text + stream->size, text, kept);
        stream->size += kept;
        stream->text[stream->size] = '\0';
    }
}

static struct error *
judge(const struct command *command, int status)
{
    return WIFSIGNALED(status)
               ? error_new(code_of(command), "'%s' was killed by signal %d",
                           command->argv[0], WTERMSIG(status))
               : NULL;
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
