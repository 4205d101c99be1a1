#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/api/api.h"
#include "agent/ctl.h"

/* The input is what a client says at the control socket, in two parts; the api
 * says everything back. */

static struct fixture {
    uv_loop_t loop;
    struct agent agent;
    struct ctl *ctl;
    char directory[32];
    struct sockaddr_un address;
} fixture;

static void set_up(void);
static void tidy_up(void);
static void say(int fd, const char *text, size_t size);
static void hear_answers(int fd);
static void check_answer(const char *line, size_t size);

void
api_call_local(struct agent *agent, const char *method, const struct json *args,
               void (*done)(void *aux, struct json *result,
                            struct error *error),
               void *aux)
{
    (void)agent;
    if (str_eq(method, "fail")) {
        done(aux, NULL, error_new(ERR_INVALID, "as it was asked to"));
    } else {
        done(aux, json_copy(args), NULL);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;

    if (!fixture.ctl) {
        set_up();
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    REQUIRE(connect(fd, (struct sockaddr *)&fixture.address,
                    sizeof fixture.address) == 0);
    say(fd, text, size / 2);
    say(fd, text + size / 2, size - size / 2);
    shutdown(fd, SHUT_WR);
    hear_answers(fd);
    close(fd);
    return 0;
}

static void
set_up(void)
{
    signal(SIGPIPE, SIG_IGN);
    json_init();
    uv_loop_init(&fixture.loop);
    fixture.agent.loop = &fixture.loop;
    snprintf(fixture.directory, sizeof fixture.directory,
             "/tmp/fuzz_ctl.XXXXXX");
    REQUIRE(mkdtemp(fixture.directory));
    atexit(tidy_up);
    fixture.address.sun_family = AF_UNIX;
    snprintf(fixture.address.sun_path, sizeof fixture.address.sun_path,
             "%s/ctl", fixture.directory);
    AUTO_ERROR error =
        ctl_create(&fixture.agent, fixture.address.sun_path, &fixture.ctl);
    REQUIRE(!error);
}

static void
tidy_up(void)
{
    unlink(fixture.address.sun_path);
    rmdir(fixture.directory);
}

static void
say(int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, text, size, MSG_NOSIGNAL);

        uv_run(&fixture.loop, UV_RUN_NOWAIT);
        if (n < 0 && errno != EAGAIN) {
            return; /* A line was too long. */
        }
        text += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
}

/* Until it hangs up, which it does once all is answered. */
static void
hear_answers(int fd)
{
    size_t size = 0, room = 0, start = 0;
    AUTO_FREE text = NULL;

    for (;;) {
        if (size == room) {
            text = xgrow(text, &room, 1);
        }
        uv_run(&fixture.loop, UV_RUN_NOWAIT);
        ssize_t n = recv(fd, text + size, room - size, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            break;
        }
        size += n > 0 ? (size_t)n : 0;
    }
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n') {
            check_answer(text + start, i - start);
            start = i + 1;
        }
    }
    REQUIRE(start == size);
}

static void
check_answer(const char *line, size_t size)
{
    AUTO_JSON json = NULL;
    AUTO_ERROR error = json_parse(line, size, &json);

    REQUIRE(!error);
    REQUIRE(json_has(json, "id"));
    REQUIRE(json_has(json, "result") != json_has(json, "failure"));
    REQUIRE(json_size(json) == 2);
}
