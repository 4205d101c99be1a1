#include <config.h>

#include "agent/ctl.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/api/api.h"
#include "agent/base/clock.h"

/* The socket with an agent that only has a loop, and an api made here: "echo"
 * answers at once, "later" when told to, "large" with many bytes, all else
 * fails. */

#define DEADLINE_MS 20000

struct waiting {
    void (*done)(void *aux, struct json *result, struct error *error);
    void *aux;
};

static struct waiting waiting[256];
static size_t n_waiting;

struct fixture {
    uv_loop_t loop;
    struct agent agent;
    char directory[64];
    char *path;
    struct ctl *ctl;
};

void
api_call_local(struct agent *agent, const char *method, const struct json *args,
               void (*done)(void *aux, struct json *result,
                            struct error *error),
               void *aux)
{
    (void)agent;
    if (str_eq(method, "echo")) {
        done(aux, json_copy(args), NULL);
    } else if (str_eq(method, "later")) {
        assert_true(n_waiting < N_ELEMENTS(waiting));
        waiting[n_waiting++] = (struct waiting){done, aux};
    } else if (str_eq(method, "large")) {
        size_t size = (size_t)json_int_of(args, "size");
        AUTO_FREE text = xmalloc(size + 1);
        memset(text, 'x', size);
        text[size] = '\0';
        done(aux, json_string(text), NULL);
    } else {
        done(aux, NULL, error_new(ERR_NO_SUCH_METHOD, "no '%s'", method));
    }
}

static void
release_waiting(void)
{
    for (size_t i = 0; i < n_waiting; i++) {
        waiting[i].done(waiting[i].aux, json_int((int64_t)i), NULL);
    }
    n_waiting = 0;
}

static int
set_up(void **state)
{
    struct fixture *f = xzalloc(sizeof *f);

    snprintf(f->directory, sizeof f->directory, "/tmp/test_ctl.XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    f->path = xasprintf("%s/run/ctl.sock", f->directory);
    uv_loop_init(&f->loop);
    f->agent.loop = &f->loop;
    *state = f;
    return 0;
}

static void
run_until_idle(struct fixture *f)
{
    for (int i = 0; i < 20; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE run = xasprintf("%s/run", f->directory);

    ctl_close(f->ctl);
    release_waiting();
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    unlink(f->path);
    rmdir(run);
    rmdir(f->directory);
    free(f->path);
    free(f);
    return 0;
}

static void
create(struct fixture *f)
{
    AUTO_ERROR error = ctl_create(&f->agent, f->path, &f->ctl);

    assert_string_equal(error_message(error), "success");
}

static int
make_socket(const char *path, struct sockaddr_un *ret)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret->sun_path, sizeof ret->sun_path, "%s", path);
    return fd;
}

static int
dial(struct fixture *f)
{
    struct sockaddr_un address;
    int fd = make_socket(f->path, &address);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address),
                     0);
    return fd;
}

static void
say(struct fixture *f, int fd, const char *text, size_t size)
{
    uint64_t until_ms = clock_now_ms() + DEADLINE_MS;

    while (size > 0) {
        ssize_t n = send(fd, text, size, MSG_NOSIGNAL);

        uv_run(&f->loop, UV_RUN_NOWAIT);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            n = 0;
        }
        text += n;
        size -= (size_t)n;
        assert_true(clock_now_ms() < until_ms);
    }
}

/* 'text' with ' for ", and a line of its own. */
static void
ask(struct fixture *f, int fd, const char *text)
{
    AUTO_FREE line = xasprintf("%s\n", text);

    for (char *p = line; *p; p++) {
        if (*p == '\'') {
            *p = '"';
        }
    }
    say(f, fd, line, strlen(line));
}

/* The next line, without its end; null when the other side has hung up. */
static char *
hear(struct fixture *f, int fd)
{
    uint64_t until_ms = clock_now_ms() + DEADLINE_MS;
    size_t n = 0, room = 0;
    char *line = NULL;

    for (;;) {
        if (n + 1 >= room) {
            line = xgrow(line, &room, 1);
        }
        ssize_t size = recv(fd, line + n, 1, 0);
        if (size == 0) {
            free(line);
            return NULL;
        }
        if (size < 0) {
            assert_true(clock_now_ms() < until_ms);
            uv_run(&f->loop, UV_RUN_NOWAIT);
        } else if (line[n++] == '\n') {
            line[n - 1] = '\0';
            return line;
        }
    }
}

static void
assert_hears(struct fixture *f, int fd, const char *expected)
{
    AUTO_FREE text = xstrdup(expected);
    AUTO_FREE line = hear(f, fd);

    for (char *p = text; *p; p++) {
        if (*p == '\'') {
            *p = '"';
        }
    }
    assert_non_null(line);
    assert_string_equal(line, text);
}

static void
assert_hears_failure(struct fixture *f, int fd, const char *class_name,
                     const char *message)
{
    AUTO_FREE line = hear(f, fd);
    AUTO_JSON json = NULL;

    assert_non_null(line);
    AUTO_ERROR error = json_parse(line, strlen(line), &json);
    assert_null(error);
    const struct json *failure = json_get(json, "failure");
    assert_string_equal(json_string_of(failure, "class"), class_name);
    assert_string_equal(json_string_of(failure, "message"), message);
}

static void
test_a_request_is_answered_with_its_id(void **state)
{
    struct fixture *f = *state;

    create(f);
    int fd = dial(f);
    ask(f, fd, "{'method': 'echo', 'args': {'a': 1}, 'id': ['x', null]}");
    assert_hears(f, fd, "{'result':{'a':1},'id':['x',null]}");
    ask(f, fd, "{'method': 'echo'}");
    assert_hears(f, fd, "{'result':{},'id':null}");
    close(fd);
}

static void
test_several_requests_in_one_go_are_answered(void **state)
{
    struct fixture *f = *state;

    create(f);
    int fd = dial(f);
    ask(f, fd,
        "{'method': 'echo', 'id': 1}\n\n{'method': 'echo', 'id': 2}\n"
        "{'method': 'echo', 'id': 3}");
    assert_hears(f, fd, "{'result':{},'id':1}");
    assert_hears(f, fd, "{'result':{},'id':2}");
    assert_hears(f, fd, "{'result':{},'id':3}");
    close(fd);
}

static void
test_what_is_no_request_fails_and_the_next_is_served(void **state)
{
    struct fixture *f = *state;

    create(f);
    int fd = dial(f);
    ask(f, fd, "hello");
    AUTO_FREE line = hear(f, fd);
    assert_non_null(strstr(line, "\"class\":\"ValueError\""));
    ask(f, fd, "[1]");
    assert_hears_failure(f, fd, "ValueError", "the request names no method");
    ask(f, fd, "{'method': 'echo', 'args': 5, 'id': 7}");
    assert_hears_failure(f, fd, "ValueError", "args of 'echo' is no object");
    ask(f, fd, "{'method': 'nonsense', 'id': 8}");
    assert_hears_failure(f, fd, "NoSuchMethod", "no 'nonsense'");
    ask(f, fd, "{'method': 'echo', 'id': 9}");
    assert_hears(f, fd, "{'result':{},'id':9}");
    close(fd);
}

static void
test_a_line_that_is_too_long_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    size_t size = (1u << 20) + 2;
    AUTO_FREE text = xmalloc(size);

    create(f);
    int fd = dial(f);
    memset(text, ' ', size);
    say(f, fd, text, size);
    assert_hears_failure(f, fd, "ValueError",
                         "line of more than 1048576 bytes");
    assert_null(hear(f, fd));
    close(fd);
}

static void
test_answers_come_when_they_are_ready(void **state)
{
    struct fixture *f = *state;

    create(f);
    int fd = dial(f);
    ask(f, fd, "{'method': 'later', 'id': 'slow'}");
    ask(f, fd, "{'method': 'echo', 'id': 'quick'}");
    assert_hears(f, fd, "{'result':{},'id':'quick'}");
    release_waiting();
    assert_hears(f, fd, "{'result':0,'id':'slow'}");
    close(fd);
}

static void
test_one_client_has_only_so_many_requests_under_way(void **state)
{
    struct fixture *f = *state;

    create(f);
    int fd = dial(f);
    for (int i = 0; i < 40; i++) {
        ask(f, fd, "{'method': 'later'}");
    }
    run_until_idle(f);
    assert_int_equal(n_waiting, 16);

    /* The rest follows by itself, and nothing is lost. */
    for (int i = 0; i < 40; i++) {
        while (n_waiting == 0) {
            uv_run(&f->loop, UV_RUN_NOWAIT);
        }
        struct waiting one = waiting[0];
        n_waiting--;
        memmove(waiting, waiting + 1, n_waiting * sizeof *waiting);
        one.done(one.aux, json_int(i), NULL);
        AUTO_FREE line = hear(f, fd);
        assert_non_null(line);
    }
    close(fd);
}

static void
test_an_answer_after_the_client_has_left_is_dropped(void **state)
{
    struct fixture *f = *state;

    create(f);
    int fd = dial(f);
    ask(f, fd, "{'method': 'later'}");
    run_until_idle(f);
    assert_int_equal(n_waiting, 1);
    close(fd);
    run_until_idle(f);
    release_waiting();
    run_until_idle(f);
}

static void
test_an_answer_after_the_socket_is_closed_is_dropped(void **state)
{
    struct fixture *f = *state;

    create(f);
    int fd = dial(f);
    ask(f, fd, "{'method': 'later'}");
    run_until_idle(f);
    assert_int_equal(n_waiting, 1);
    ctl_close(steal(&f->ctl));
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_null(hear(f, fd));
    release_waiting();
    close(fd);
}

static void
test_who_says_no_more_still_gets_the_answers(void **state)
{
    struct fixture *f = *state;

    create(f);
    int fd = dial(f);
    ask(f, fd, "{'method': 'later', 'id': 1}");
    shutdown(fd, SHUT_WR);
    run_until_idle(f);
    release_waiting();
    assert_hears(f, fd, "{'result':0,'id':1}");
    assert_null(hear(f, fd));
    close(fd);
}

static void
test_who_does_not_listen_is_not_read_from(void **state)
{
    struct fixture *f = *state;

    create(f);
    int fd = dial(f);
    for (int i = 0; i < 12; i++) {
        ask(f, fd, "{'method': 'large', 'args': {'size': 1000000}}");
    }
    run_until_idle(f);
    /* Twelve answers, none of them lost. */
    for (int i = 0; i < 12; i++) {
        AUTO_FREE line = hear(f, fd);
        assert_non_null(line);
        assert_true(strlen(line) > 1000000);
    }
    close(fd);
}

static void
test_there_is_a_limit_to_clients(void **state)
{
    struct fixture *f = *state;
    int fds[65];

    create(f);
    for (size_t i = 0; i < N_ELEMENTS(fds); i++) {
        fds[i] = dial(f);
        run_until_idle(f);
    }
    assert_hears_failure(f, fds[64], "NovaException",
                         "too many clients of the socket");
    assert_null(hear(f, fds[64]));
    ask(f, fds[63], "{'method': 'echo', 'id': 1}");
    assert_hears(f, fds[63], "{'result':{},'id':1}");
    for (size_t i = 0; i < N_ELEMENTS(fds); i++) {
        close(fds[i]);
    }
}

static void
test_only_owner_and_group_may_connect(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    create(f);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
}

static void
test_the_socket_goes_with_its_agent(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    create(f);
    ctl_close(steal(&f->ctl));
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_not_equal(stat(f->path, &st), 0);
}

static void
test_what_a_dead_agent_left_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un address;

    create(f);
    ctl_close(steal(&f->ctl));
    uv_run(&f->loop, UV_RUN_DEFAULT);
    int fd = make_socket(f->path, &address);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);

    create(f);
    fd = dial(f);
    ask(f, fd, "{'method': 'echo', 'id': 1}");
    assert_hears(f, fd, "{'result':{},'id':1}");
    close(fd);
}

static void
test_the_socket_of_a_living_agent_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct ctl *other = NULL;

    create(f);
    AUTO_ERROR error = ctl_create(&f->agent, f->path, &other);
    assert_int_equal(error_code(error), ERR_CONFIG);
    assert_non_null(strstr(error_message(error), "another agent is using it"));
    assert_null(other);
    int fd = dial(f);
    ask(f, fd, "{'method': 'echo', 'id': 1}");
    assert_hears(f, fd, "{'result':{},'id':1}");
    close(fd);
}

static void
test_a_file_in_its_place_is_left_alone(void **state)
{
    struct fixture *f = *state;

    create(f);
    ctl_close(steal(&f->ctl));
    uv_run(&f->loop, UV_RUN_DEFAULT);
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    fclose(file);
    AUTO_ERROR error = ctl_create(&f->agent, f->path, &f->ctl);
    assert_non_null(strstr(error_message(error), "something else"));
    assert_int_equal(access(f->path, F_OK), 0);
}

static void
test_a_path_that_is_too_long_is_refused(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE path = xasprintf("%s/%0100d/ctl.sock", f->directory, 0);

    AUTO_ERROR error = ctl_create(&f->agent, path, &f->ctl);
    assert_non_null(strstr(error_message(error), "too long"));
    AUTO_ERROR other =
        ctl_create(&f->agent, "/nonexistent/a/ctl.sock", &f->ctl);
    assert_int_equal(error_code(other), ERR_CONFIG);
}

int
main(void)
{
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_request_is_answered_with_its_id),
        TEST(test_several_requests_in_one_go_are_answered),
        TEST(test_what_is_no_request_fails_and_the_next_is_served),
        TEST(test_a_line_that_is_too_long_ends_the_connection),
        TEST(test_answers_come_when_they_are_ready),
        TEST(test_one_client_has_only_so_many_requests_under_way),
        TEST(test_an_answer_after_the_client_has_left_is_dropped),
        TEST(test_an_answer_after_the_socket_is_closed_is_dropped),
        TEST(test_who_says_no_more_still_gets_the_answers),
        TEST(test_who_does_not_listen_is_not_read_from),
        TEST(test_there_is_a_limit_to_clients),
        TEST(test_only_owner_and_group_may_connect),
        TEST(test_the_socket_goes_with_its_agent),
        TEST(test_what_a_dead_agent_left_is_replaced),
        TEST(test_the_socket_of_a_living_agent_is_left_alone),
        TEST(test_a_file_in_its_place_is_left_alone),
        TEST(test_a_path_that_is_too_long_is_refused),
    };

    json_init();
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
