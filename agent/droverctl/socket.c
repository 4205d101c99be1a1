#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "rpc/failure.h"

/* One question a connection; see agent/ctl.h for what is spoken. */

#define ANSWER_MAX (256u << 20)

static struct error *dial(const char *path, int *ret);
static struct error *exchange(int fd, const char *line, size_t size,
                              uint64_t until_ms, struct json **ret);
static struct error *wait_for(int fd, short events, uint64_t until_ms);
static struct error *hear(int fd, uint64_t until_ms, char **ret,
                          size_t *ret_size);
static struct error *open_answer(struct json *answer, struct json **ret);

struct error *
socket_ask(struct tool *tool, const char *method, const struct json *args,
           struct json **ret)
{
    const char *path = tool->socket;
    struct error *error = NULL;
    struct json *answer = NULL;
    int fd = -1;

    if (!path) {
        struct conf *conf;
        error = tool_conf(tool, &conf);
        path = error ? NULL : conf->control_socket;
    }
    if (error) {
        return error;
    }
    AUTO_JSON request = args_of("method", method);
    if (args) {
        json_set_borrowed(request, "args", args);
    }
    size_t size;
    AUTO_FREE line = json_print(request, &size);
    line[size] = '\n'; /* Instead of the NUL. */
    error = dial(path, &fd);
    if (!error) {
        error = exchange(fd, line, size + 1, clock_now_ms() + tool->timeout_ms,
                         &answer);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (error) {
        return error_wrap(error, "agent of this host, at '%s'", path);
    }
    return open_answer(answer, ret);
}

static struct error *
dial(const char *path, int *ret)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path) {
        return error_new(ERR_NOT_FOUND, "the path is too long for a socket");
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    *ret = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*ret < 0 ||
        connect(*ret, (struct sockaddr *)&address, sizeof address) != 0) {
        return error_new(ERR_NOT_FOUND, "%s%s", strerror(errno),
                         errno == ENOENT || errno == ECONNREFUSED
                             ? " (is droverd running?)"
                             : "");
    }
    return NULL;
}

static struct error *
exchange(int fd, const char *line, size_t size, uint64_t until_ms,
         struct json **ret)
{
    struct error *error = NULL;

    while (size > 0 && !error) {
        ssize_t n = send(fd, line, size, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n > 0) {
            line += n;
            size -= (size_t)n;
        } else if (errno == EAGAIN || errno == EINTR) {
            error = wait_for(fd, POLLOUT, until_ms);
        } else {
            error = error_new(ERR_NOT_FOUND, "%s", strerror(errno));
        }
    }
    AUTO_FREE text = NULL;
    if (!error) {
        error = hear(fd, until_ms, &text, &size);
    }
    return error ? error : json_parse(text, size, ret);
}

static struct error *
wait_for(int fd, short events, uint64_t until_ms)
{
    struct pollfd poller = {.fd = fd, .events = events};
    uint64_t now_ms = clock_now_ms();

    if (now_ms >= until_ms || poll(&poller, 1, (int)(until_ms - now_ms)) == 0) {
        return error_new(ERR_TIMEOUT, "it does not answer in time");
    }
    return NULL;
}

/* One line, without its end. */
static struct error *
hear(int fd, uint64_t until_ms, char **ret, size_t *ret_size)
{
    size_t size = 0, room = 0;
    AUTO_FREE text = NULL;
    struct error *error = NULL;

    while (!error && !(size > 0 && text[size - 1] == '\n')) {
        if (room - size < 4096) {
            room = 2 * room + 16384;
            text = xrealloc(text, room);
        }
        ssize_t n = recv(fd, text + size, room - size, MSG_DONTWAIT);
        if (n > 0) {
            size += (size_t)n;
        } else if (n == 0) {
            error = error_new(ERR_NOT_FOUND, "it hung up");
        } else if (errno == EAGAIN || errno == EINTR) {
            error = wait_for(fd, POLLIN, until_ms);
        } else {
            error = error_new(ERR_NOT_FOUND, "%s", strerror(errno));
        }
        if (size > ANSWER_MAX) {
            error = error_new(ERR_BAD_MESSAGE, "its answer is too large");
        }
    }
    if (!error) {
        *ret = steal(&text);
        *ret_size = size - 1;
    }
    return error;
}

/* Takes 'answer'. */
static struct error *
open_answer(struct json *answer, struct json **ret)
{
    const struct json *failure = json_get(answer, "failure");
    struct json *result = json_detach(answer, "result");
    struct error *error = NULL;

    if (failure) {
        AUTO_FREE text = json_print(failure, NULL);
        error = failure_parse(text);
        json_free(result);
    } else {
        *ret = result ? result : json_null();
    }
    json_free(answer);
    return error;
}
