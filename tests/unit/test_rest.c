#include <config.h>

#include "agent/nova/rest.h"

/* Requests that go well, badly, and nowhere, to servers of the test's own. */

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/rest_server.h"
#include "tests/unit/tls_server.h"

#define DEADLINE_MS 30000
#define TIMEOUT_MS 300
#define N_CALLS 12

/* What the server does about each request; the last again and again. */
struct script {
    const struct rest_server_reply *replies;
    size_t n;
};

struct bench {
    uv_loop_t loop;
    struct completion_queue *q;
    struct worker_pool *workers;
    struct rest_server *server;
    struct script script;
    bool keeps_files; /* What is asked for a file says nothing. */
    struct rest *rest;
    uv_timer_t deadline;

    struct rest_call *call, *other;
    unsigned n_done;
    int status; /* Of the last one; 0: it failed. */
    char *body, *token;
    struct error *error;
    void (*then)(struct bench *b);
};

static void
handle(void *aux, const struct rest_server_request *request,
       struct rest_server_reply *reply)
{
    struct bench *b = aux;
    size_t n = b->server ? rest_server_n_requests(b->server) : 1;

    if (b->keeps_files && str_eq(request->path, "/file")) {
        reply->manner = HANG;
    } else if (b->script.n) {
        *reply = b->script.replies[n < b->script.n ? n - 1 : b->script.n - 1];
    }
}

static void
done(void *aux, const struct rest_answer *answer, struct error *error)
{
    struct bench *b = aux;

    assert_true(!answer != !error);
    b->n_done++;
    b->call = NULL;
    error_free(b->error);
    free(b->body);
    free(b->token);
    b->error = error;
    b->status = answer ? answer->status : 0;
    b->body = answer ? xstrndup(answer->body, answer->size) : NULL;
    b->token = answer ? xstrdup_null(answer->token) : NULL;
    if (b->then) {
        b->then(b);
    }
}

static struct bench *
set_up_with(struct rest_options options)
{
    struct bench *b = xzalloc(sizeof *b);
    const char *modules = getenv("DROVER_DRIVER_PATH");
    char here[PATH_MAX];
    AUTO_FREE built =
        xasprintf("%s/drivers/.libs", getcwd(here, sizeof here) ? here : "");

    uv_loop_init(&b->loop);
    uv_timer_init(&b->loop, &b->deadline);
    b->q = completion_queue_create(&b->loop);
    b->workers = worker_pool_create(b->q, "workers", 1);
    b->server = rest_server_create(&b->loop, handle, b);
    options.loop = &b->loop;
    options.workers = b->workers;
    options.pause_ms = 1;
    if (!options.directory) {
        options.directory = modules ? modules : built;
    }
    b->rest = rest_create(&options);
    return b;
}

static struct bench *
set_up(void)
{
    return set_up_with((struct rest_options){0});
}

static void
tear_down(struct bench *b)
{
    b->then = NULL;
    if (b->rest) {
        rest_close(b->rest);
        rest_free(b->rest);
    }
    rest_server_close(b->server);
    worker_pool_free(b->workers);
    completion_queue_close(b->q);
    uv_close((uv_handle_t *)&b->deadline, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    error_free(b->error);
    free(b->body);
    free(b->token);
    free(b);
}

static void
too_late(uv_timer_t *timer UNUSED)
{
    fail_msg("nothing happened within the deadline");
}

static void
run_until(struct bench *b, unsigned n)
{
    uv_timer_start(&b->deadline, too_late, DEADLINE_MS, 0);
    while (b->n_done < n) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&b->deadline);
}

static void
send_to(struct bench *b, const char *url, const char *method, const char *body,
        unsigned timeout_ms, const struct rest_tls *tls)
{
    static const char *const headers[] = {"X-Auth-Token: secret", NULL};
    const struct rest_request request = {
        .method = method,
        .url = url,
        .headers = headers,
        .body = body,
        .size = body ? strlen(body) : 0,
        .timeout_ms = timeout_ms,
        .tls = tls,
    };

    b->call = rest_send(b->rest, &request, done, b);
}

static void
send_one(struct bench *b, const char *method, const char *body)
{
    AUTO_FREE url = xasprintf("%s/path?a=b%%3Ac", rest_server_url(b->server));

    send_to(b, url, method, body, 0, NULL);
}

static void
ask(struct bench *b, const char *method, const char *body)
{
    send_one(b, method, body);
    run_until(b, b->n_done + 1);
}

#define SCRIPT(B, ...)                                                   \
    do {                                                                 \
        static const struct rest_server_reply script_[] = {__VA_ARGS__}; \
        (B)->script = (struct script){script_, N_ELEMENTS(script_)};     \
    } while (0)

static void
assert_failed_as(const struct bench *b, enum error_code code, const char *part)
{
    assert_int_equal(error_code(b->error), code);
    if (!strstr(error_message(b->error), part)) {
        fail_msg("'%s' is not in '%s'", part, error_message(b->error));
    }
    assert_null(strstr(error_message(b->error), "secret"));
}

static void
assert_failed(const struct bench *b, const char *part)
{
    assert_failed_as(b, ERR_REST, part);
}

static void
test_request_and_answer_arrive_whole(void **state UNUSED)
{
    struct bench *b = set_up();

    SCRIPT(b, {.status = 201,
               .body = "{\"a\": 1}",
               .header = "x-subject-token:  abc "});
    ask(b, "PUT", "{\"b\": 2}");
    const struct rest_server_request *request =
        rest_server_request(b->server, 0);
    assert_string_equal(request->method, "PUT");
    assert_string_equal(request->path, "/path?a=b%3Ac");
    assert_string_equal(request->body, "{\"b\": 2}");
    assert_string_equal(rest_server_header(request, "x-auth-token"), "secret");
    assert_null(rest_server_header(request, "expect"));
    assert_int_equal(b->status, 201);
    assert_string_equal(b->body, "{\"a\": 1}");
    assert_string_equal(b->token, "abc");
    tear_down(b);
}

static void
test_write_without_body_says_that_it_is_empty(void **state UNUSED)
{
    struct bench *b = set_up();

    ask(b, "PUT", NULL);
    ask(b, "DELETE", NULL);
    const struct rest_server_request *put = rest_server_request(b->server, 0);
    assert_string_equal(rest_server_header(put, "content-length"), "0");
    assert_null(rest_server_header(put, "content-type"));
    const struct rest_server_request *other = rest_server_request(b->server, 1);
    assert_string_equal(other->method, "DELETE");
    assert_null(rest_server_header(other, "content-type"));
    tear_down(b);
}

static void
test_connections_are_used_again(void **state UNUSED)
{
    struct bench *b = set_up();

    for (int i = 0; i < 5; i++) {
        ask(b, "GET", NULL);
        assert_int_equal(b->status, 200);
    }
    assert_int_equal(rest_server_n_connections(b->server), 1);
    tear_down(b);
}

static void
test_refusal_is_an_answer(void **state UNUSED)
{
    struct bench *b = set_up();

    SCRIPT(b, {.status = 409, .body = "no"});
    ask(b, "PUT", "{}");
    assert_int_equal(b->status, 409);
    assert_string_equal(b->body, "no");
    assert_int_equal(rest_server_n_requests(b->server), 1);
    tear_down(b);
}

static void
test_redirection_is_not_followed(void **state UNUSED)
{
    struct bench *b = set_up();

    SCRIPT(b, {.status = 301, .header = "Location: http://127.0.0.1:1/"});
    ask(b, "GET", NULL);
    assert_int_equal(b->status, 301);
    tear_down(b);
}

static void
test_busy_server_is_asked_again(void **state UNUSED)
{
    struct bench *b = set_up();

    SCRIPT(b, {.status = 503}, {.status = 502}, {.status = 504},
           {.status = 200, .body = "at last"});
    ask(b, "GET", NULL);
    assert_int_equal(b->status, 200);
    assert_string_equal(b->body, "at last");
    assert_int_equal(rest_server_n_requests(b->server), 4);
    assert_int_equal(rest_counters(b->rest).n_retried, 3);
    tear_down(b);
}

static void
test_server_that_stays_busy_is_given_up(void **state UNUSED)
{
    struct bench *b = set_up();

    SCRIPT(b, {.status = 503});
    ask(b, "DELETE", NULL);
    assert_int_equal(b->status, 503);
    assert_int_equal(rest_server_n_requests(b->server), REST_N_TRIES);
    tear_down(b);
}

static void
test_what_may_not_be_done_twice_is_not(void **state UNUSED)
{
    struct bench *b = set_up();

    SCRIPT(b, {.status = 503});
    ask(b, "POST", "{}");
    assert_int_equal(b->status, 503);
    SCRIPT(b, {.manner = HANG_UP});
    ask(b, "POST", "{}");
    assert_failed(b, "POST 'http://127.0.0.1:");
    assert_int_equal(rest_server_n_requests(b->server), 2);
    tear_down(b);
}

static void
test_server_that_hangs_up_is_asked_again(void **state UNUSED)
{
    struct bench *b = set_up();

    SCRIPT(b, {.manner = HANG_UP}, {.manner = CUT_OFF, .status = 200},
           {.status = 200, .body = "whole"});
    ask(b, "GET", NULL);
    assert_string_equal(b->body, "whole");
    tear_down(b);
}

static void
test_half_an_answer_is_none(void **state UNUSED)
{
    struct bench *b = set_up();

    SCRIPT(b, {.manner = CUT_OFF, .status = 200, .body = "{\"a\":"});
    ask(b, "PUT", "{}");
    assert_failed(b, "after several tries");
    assert_int_equal(rest_server_n_requests(b->server), REST_N_TRIES);
    tear_down(b);
}

static void
test_nobody_there(void **state UNUSED)
{
    struct bench *b = set_up();

    rest_server_vanish(b->server);
    ask(b, "POST", "{}");
    assert_failed(b, "after several tries");
    assert_int_equal(rest_counters(b->rest).n_retried, REST_N_TRIES - 1);
    tear_down(b);
}

static void
test_server_may_vanish_and_come_back(void **state UNUSED)
{
    struct bench *b = set_up();

    ask(b, "GET", NULL);
    rest_server_vanish(b->server);
    ask(b, "GET", NULL);
    assert_failed(b, "");
    rest_server_close(b->server);
    b->server = rest_server_create(&b->loop, handle, b);
    ask(b, "GET", NULL);
    assert_int_equal(b->status, 200);
    tear_down(b);
}

static void
test_silent_server_costs_the_time_out(void **state UNUSED)
{
    struct bench *b = set_up();

    SCRIPT(b, {.manner = HANG});
    send_to(b, rest_server_url(b->server), "GET", NULL, TIMEOUT_MS, NULL);
    run_until(b, 1);
    assert_failed(b, "imed out");
    assert_int_equal(rest_server_n_requests(b->server), 1);
    tear_down(b);
}

static void
test_no_turn_within_the_time_out(void **state UNUSED)
{
    struct bench *b = set_up_with((struct rest_options){.max_sent = 1});

    SCRIPT(b, {.manner = HANG});
    send_one(b, "GET", NULL);
    b->other = b->call;
    send_to(b, rest_server_url(b->server), "GET", NULL, TIMEOUT_MS, NULL);
    run_until(b, 1);
    assert_failed(b, "no turn");
    rest_cancel(b->other);
    tear_down(b);
}

static void
test_too_large_an_answer_is_not_taken(void **state UNUSED)
{
    struct bench *b = set_up_with((struct rest_options){.answer_max = 8});

    SCRIPT(b, {.status = 200, .body = "12345678"},
           {.status = 200, .body = "123456789"});
    ask(b, "GET", NULL);
    assert_string_equal(b->body, "12345678");
    ask(b, "GET", NULL);
    assert_failed(b, "too large");
    assert_int_equal(rest_server_n_requests(b->server), 2);
    tear_down(b);
}

static void
test_too_many_headers_are_not_taken(void **state UNUSED)
{
    struct bench *b = set_up();
    char *header = xmalloc(80001);

    memset(header, 'x', 80000);
    memcpy(header, "X-Long: ", 8);
    header[80000] = '\0';
    struct rest_server_reply reply = {.status = 200, .header = header};
    b->script = (struct script){&reply, 1};
    ask(b, "GET", NULL);
    assert_failed(b, "too large");
    tear_down(b);
    free(header);
}

static void
test_so_many_at_once(void **state UNUSED)
{
    struct bench *b = set_up_with((struct rest_options){.max_sent = 2});

    for (int i = 0; i < N_CALLS; i++) {
        send_one(b, "GET", NULL);
    }
    assert_int_equal(rest_counters(b->rest).n_open, N_CALLS);
    run_until(b, N_CALLS);
    assert_int_equal(rest_server_n_requests(b->server), N_CALLS);
    assert_true(rest_server_n_connections(b->server) <= 2);
    assert_int_equal(rest_counters(b->rest).n_failed, 0);
    tear_down(b);
}

static void
test_one_too_many_fails_later(void **state UNUSED)
{
    struct bench *b = set_up_with((struct rest_options){.max_calls = 1});

    send_one(b, "GET", NULL);
    send_one(b, "GET", NULL);
    assert_int_equal(b->n_done, 0);
    run_until(b, 1);
    assert_failed(b, "under way");
    run_until(b, 2);
    assert_int_equal(b->status, 200);
    tear_down(b);
}

/* The next in line gets the place. */
static void
test_cancel_at_every_stage(void **state UNUSED)
{
    struct bench *b = set_up_with((struct rest_options){.max_sent = 1});

    SCRIPT(b, {.status = 200});
    send_one(b, "GET", NULL);
    rest_cancel(b->call); /* Before the module is there. */
    SCRIPT(b, {.manner = HANG}, {.status = 200, .body = "next"});
    send_one(b, "GET", NULL);
    b->other = b->call;
    send_one(b, "GET", NULL);
    uv_timer_start(&b->deadline, too_late, DEADLINE_MS, 0);
    while (rest_server_n_requests(b->server) < 1) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    assert_int_equal(b->n_done, 0);
    rest_cancel(b->other); /* While it is with the server. */
    run_until(b, 1);
    assert_string_equal(b->body, "next");
    assert_int_equal(rest_counters(b->rest).n_open, 0);
    send_one(b, "GET", NULL);
    b->other = b->call;
    send_one(b, "GET", NULL);
    rest_cancel(b->call); /* While it waits. */
    rest_cancel(b->other);
    assert_int_equal(rest_counters(b->rest).n_open, 0);
    tear_down(b);
}

static void
close_it(struct bench *b)
{
    struct rest *rest = steal(&b->rest);

    if (rest) {
        rest_close(rest);
        rest_free(rest);
    }
}

static void
test_closing_ends_what_is_under_way(void **state UNUSED)
{
    struct bench *b = set_up();

    SCRIPT(b, {.manner = HANG});
    send_one(b, "GET", NULL);
    send_one(b, "GET", NULL);
    uv_timer_start(&b->deadline, too_late, DEADLINE_MS, 0);
    while (rest_server_n_requests(b->server) < 2) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    close_it(b);
    assert_int_equal(b->n_done, 2);
    assert_int_equal(error_code(b->error), ERR_CANCELLED);
    tear_down(b);
}

static void
test_closing_before_the_module_is_there(void **state UNUSED)
{
    struct bench *b = set_up();

    send_one(b, "GET", NULL);
    close_it(b);
    assert_int_equal(error_code(b->error), ERR_CANCELLED);
    tear_down(b);
}

static void
test_closing_from_within_an_answer(void **state UNUSED)
{
    struct bench *b = set_up();

    b->then = close_it;
    send_one(b, "GET", NULL);
    send_one(b, "GET", NULL);
    run_until(b, 2);
    assert_int_equal(error_code(b->error), ERR_CANCELLED);
    tear_down(b);
}

static void
cancel_other(struct bench *b)
{
    if (b->other) {
        rest_cancel(steal(&b->other));
    }
}

static void
test_cancel_from_within_an_answer(void **state UNUSED)
{
    struct bench *b = set_up();

    SCRIPT(b, {.status = 200}, {.manner = HANG});
    b->then = cancel_other;
    send_one(b, "GET", NULL);
    send_one(b, "GET", NULL);
    b->other = b->call;
    run_until(b, 1);
    assert_int_equal(rest_counters(b->rest).n_open, 0);
    tear_down(b);
}

/* Asks for a body that goes to 'file'. */
static void
download(struct bench *b, int file)
{
    AUTO_FREE url = xasprintf("%s/file", rest_server_url(b->server));
    static const char *const headers[] = {"X-Auth-Token: secret", NULL};
    const struct rest_request request = {
        .method = "GET", .url = url, .headers = headers, .file = &file};

    b->call = rest_send(b->rest, &request, done, b);
}

static int
nameless_file(void)
{
    char name[] = "/tmp/test_rest.XXXXXX";
    int fd = mkstemp(name);

    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

static void
assert_file_is(int fd, const char *text)
{
    char found[64];
    ssize_t n = pread(fd, found, sizeof found - 1, 0);

    assert_true(n >= 0);
    found[n] = '\0';
    assert_string_equal(found, text);
}

static void
test_body_goes_to_a_file(void **state UNUSED)
{
    struct bench *b = set_up_with((struct rest_options){.answer_max = 8});
    int fd = nameless_file();

    assert_int_equal(write(fd, "what was there before", 21), 21);
    SCRIPT(b, {.status = 200, .body = "more than an answer has"});
    download(b, fd);
    run_until(b, 1);
    assert_int_equal(b->status, 200);
    assert_string_equal(b->body, "");
    assert_file_is(fd, "more than an answer has");
    close(fd);
    tear_down(b);
}

static void
test_half_a_file_is_fetched_again(void **state UNUSED)
{
    struct bench *b = set_up();
    int fd = nameless_file();

    SCRIPT(b, {.manner = CUT_OFF, .status = 200, .body = "all of it, but"},
           {.status = 503, .body = "later"}, {.status = 200, .body = "whole"});
    download(b, fd);
    run_until(b, 1);
    assert_int_equal(b->status, 200);
    assert_file_is(fd, "whole");
    close(fd);
    tear_down(b);
}

static void
test_refused_file_is_told_why(void **state UNUSED)
{
    struct bench *b = set_up();
    int fd = nameless_file();

    SCRIPT(b, {.status = 404, .body = "no such image"});
    download(b, fd);
    run_until(b, 1);
    assert_int_equal(b->status, 404);
    assert_string_equal(b->body, "no such image");
    assert_file_is(fd, "");
    close(fd);
    tear_down(b);
}

static void
test_file_that_can_not_be_written(void **state UNUSED)
{
    struct bench *b = set_up();
    int fd = open("/dev/null", O_RDONLY);

    download(b, fd);
    run_until(b, 1);
    assert_failed_as(b, ERR_STORAGE,
                     "/file': write what comes: Invalid argument");
    close(fd);
    tear_down(b);
}

static void
test_file_that_can_not_grow(void **state UNUSED)
{
    struct bench *b = set_up();
    int fd = memfd_create("full", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
    SCRIPT(b, {.status = 200, .body = "too much"});
    download(b, fd);
    run_until(b, 1);
    assert_failed_as(b, ERR_STORAGE,
                     "/file': write what comes: Operation not permitted");
    assert_int_equal(rest_server_n_requests(b->server), 1);
    close(fd);
    tear_down(b);
}

static void
test_download_is_ended_at_once(void **state UNUSED)
{
    struct bench *b = set_up_with((struct rest_options){.max_sent = 1});
    int fd = nameless_file();

    SCRIPT(b, {.manner = HANG});
    download(b, fd);
    uv_timer_start(&b->deadline, too_late, DEADLINE_MS, 0);
    while (rest_server_n_requests(b->server) < 1) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    rest_cancel(b->call);
    download(b, fd);
    while (rest_server_n_requests(b->server) < 2) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    close(fd); /* It has one of its own. */
    assert_int_equal(b->n_done, 0);
    tear_down(b);
}

static void
run_until_requests(struct bench *b, size_t n)
{
    uv_timer_start(&b->deadline, too_late, DEADLINE_MS, 0);
    while (rest_server_n_requests(b->server) < n) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&b->deadline);
    assert_int_equal(rest_server_n_requests(b->server), n);
}

/* More of them than there are places, and each waits for the first. */
static void
test_downloads_hold_up_nobody_else(void **state UNUSED)
{
    struct bench *b =
        set_up_with((struct rest_options){.max_sent = 2, .max_downloads = 2});
    struct rest_call *downloads[3];
    int fd = nameless_file();

    b->keeps_files = true;
    for (size_t i = 0; i < N_ELEMENTS(downloads); i++) {
        download(b, fd);
        downloads[i] = b->call;
    }
    run_until_requests(b, 2);
    for (unsigned i = 0; i < 3; i++) {
        send_to(b, rest_server_url(b->server), "GET", NULL, DEADLINE_MS / 3,
                NULL);
        run_until(b, i + 1);
        assert_int_equal(b->status, 200);
    }
    assert_int_equal(rest_server_n_requests(b->server), 5);
    rest_cancel(downloads[0]);
    run_until_requests(b, 6);
    assert_string_equal(rest_server_request(b->server, 5)->path, "/file");
    assert_int_equal(rest_counters(b->rest).n_open, 2);
    close(fd);
    tear_down(b);
}

/* The other way round; and one that waits is patient, and comes before those
 * that were sent later. */
static void
test_downloads_wait_for_each_other_only(void **state UNUSED)
{
    struct bench *b =
        set_up_with((struct rest_options){.max_sent = 1, .max_downloads = 1});
    int fds[] = {nameless_file(), nameless_file(), nameless_file()};

    SCRIPT(b, {.manner = HANG});
    send_one(b, "GET", NULL);
    struct rest_call *one = b->call;
    run_until_requests(b, 1);
    b->keeps_files = true;
    download(b, fds[0]);
    b->other = b->call;
    run_until_requests(b, 2);
    download(b, fds[1]);
    download(b, fds[2]);
    send_to(b, rest_server_url(b->server), "GET", NULL, TIMEOUT_MS, NULL);
    run_until(b, 1);
    assert_failed(b, "no turn");
    assert_int_equal(rest_counters(b->rest).n_open, 4);

    b->keeps_files = false;
    SCRIPT(b, {.status = 200, .body = "whole"});
    rest_cancel(b->other);
    run_until(b, 2);
    assert_int_equal(b->status, 200);
    assert_file_is(fds[1], "whole");
    assert_file_is(fds[2], "");
    run_until(b, 3);
    assert_file_is(fds[2], "whole");
    rest_cancel(one);
    for (size_t i = 0; i < N_ELEMENTS(fds); i++) {
        close(fds[i]);
    }
    tear_down(b);
}

/* Its place goes to the next one meanwhile, and it has the one after that. */
static void
test_download_that_pauses_keeps_no_place(void **state UNUSED)
{
    struct bench *b = set_up_with((struct rest_options){.max_downloads = 1});
    int fds[] = {nameless_file(), nameless_file()};

    SCRIPT(b, {.status = 503}, {.status = 200, .body = "whole"});
    download(b, fds[0]);
    download(b, fds[1]);
    run_until(b, 2);
    for (size_t i = 0; i < N_ELEMENTS(fds); i++) {
        assert_file_is(fds[i], "whole");
    }
    assert_int_equal(rest_server_n_requests(b->server), 3);
    b->keeps_files = true;
    download(b, fds[0]);
    download(b, fds[1]);
    run_until_requests(b, 4);
    ask(b, "GET", NULL);
    assert_int_equal(rest_server_n_requests(b->server), 5);
    close(fds[0]);
    close(fds[1]);
    tear_down(b);
}

static void
test_failure_is_told_later(void **state UNUSED)
{
    struct bench *b = set_up();

    rest_fail(b->rest, error_new(ERR_CONFIG, "nothing"), done, b);
    assert_int_equal(b->n_done, 0);
    run_until(b, 1);
    assert_int_equal(error_code(b->error), ERR_CONFIG);
    tear_down(b);
}

static void
test_no_url(void **state UNUSED)
{
    struct bench *b = set_up();

    send_to(b, "file:///etc/passwd", "GET", NULL, 0, NULL);
    run_until(b, 1);
    assert_failed(b, "file:///etc/passwd");
    send_to(b, "http://:::/", "GET", NULL, 0, NULL);
    run_until(b, 2);
    assert_failed(b, "");
    assert_int_equal(rest_counters(b->rest).n_retried, 0);
    tear_down(b);
}

static void
test_no_module(void **state UNUSED)
{
    struct bench *b =
        set_up_with((struct rest_options){.directory = "/nonexistent"});

    ask(b, "GET", NULL);
    assert_failed(b, "/nonexistent/drover-rest.so");
    ask(b, "GET", NULL);
    assert_failed(b, "/nonexistent/drover-rest.so");
    tear_down(b);
}

static void
ask_tls(struct bench *b, const struct tls_server *server,
        const struct rest_tls *tls)
{
    send_to(b, tls_server_url(server), "GET", NULL, 0, tls);
    run_until(b, b->n_done + 1);
}

static void
test_tls(void **state UNUSED)
{
    struct bench *b = set_up();
    char directory[] = "/tmp/drover-rest.XXXXXX";

    assert_non_null(mkdtemp(directory));
    AUTO_FREE good = xasprintf("%s/good.pem", directory);
    AUTO_FREE other = xasprintf("%s/other.pem", directory);
    AUTO_FREE named = xasprintf("%s/named.pem", directory);
    tls_server_make_certificate(good, "127.0.0.1");
    tls_server_make_certificate(other, "127.0.0.1");
    tls_server_make_certificate(named, "127.0.0.2");
    struct tls_server *server = tls_server_create(good);
    struct tls_server *impostor = tls_server_create(named);
    const struct rest_tls trusts = {.cafile = good};
    const struct rest_tls trusts_other = {.cafile = other};
    const struct rest_tls trusts_named = {.cafile = named};
    const struct rest_tls trusts_all = {.insecure = true};
    const struct rest_tls trusts_nothing = {.cafile = "/nonexistent"};
    const struct rest_tls is_known = {.cafile = good, .certfile = other};

    ask_tls(b, server, &trusts);
    assert_int_equal(b->status, 200);
    ask_tls(b, server, &trusts_other);
    assert_failed(b, "certificate");
    ask_tls(b, server, NULL);
    assert_failed(b, "certificate");
    ask_tls(b, impostor, &trusts_named);
    assert_failed(b, "127.0.0.1");
    ask_tls(b, server, &trusts_nothing);
    assert_failed(b, "");
    assert_int_equal(rest_counters(b->rest).n_retried, 0);
    ask_tls(b, impostor, &trusts_all);
    assert_int_equal(b->status, 200);
    ask_tls(b, server, &is_known);
    assert_int_equal(b->status, 200);
    tls_server_free(server);
    tls_server_free(impostor);
    tear_down(b);
    unlink(good);
    unlink(other);
    unlink(named);
    rmdir(directory);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_and_answer_arrive_whole),
        cmocka_unit_test(test_write_without_body_says_that_it_is_empty),
        cmocka_unit_test(test_connections_are_used_again),
        cmocka_unit_test(test_refusal_is_an_answer),
        cmocka_unit_test(test_redirection_is_not_followed),
        cmocka_unit_test(test_busy_server_is_asked_again),
        cmocka_unit_test(test_server_that_stays_busy_is_given_up),
        cmocka_unit_test(test_what_may_not_be_done_twice_is_not),
        cmocka_unit_test(test_server_that_hangs_up_is_asked_again),
        cmocka_unit_test(test_half_an_answer_is_none),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_server_may_vanish_and_come_back),
        cmocka_unit_test(test_silent_server_costs_the_time_out),
        cmocka_unit_test(test_no_turn_within_the_time_out),
        cmocka_unit_test(test_too_large_an_answer_is_not_taken),
        cmocka_unit_test(test_too_many_headers_are_not_taken),
        cmocka_unit_test(test_so_many_at_once),
        cmocka_unit_test(test_one_too_many_fails_later),
        cmocka_unit_test(test_cancel_at_every_stage),
        cmocka_unit_test(test_closing_ends_what_is_under_way),
        cmocka_unit_test(test_closing_before_the_module_is_there),
        cmocka_unit_test(test_closing_from_within_an_answer),
        cmocka_unit_test(test_cancel_from_within_an_answer),
        cmocka_unit_test(test_body_goes_to_a_file),
        cmocka_unit_test(test_half_a_file_is_fetched_again),
        cmocka_unit_test(test_refused_file_is_told_why),
        cmocka_unit_test(test_file_that_can_not_be_written),
        cmocka_unit_test(test_file_that_can_not_grow),
        cmocka_unit_test(test_download_is_ended_at_once),
        cmocka_unit_test(test_downloads_hold_up_nobody_else),
        cmocka_unit_test(test_downloads_wait_for_each_other_only),
        cmocka_unit_test(test_download_that_pauses_keeps_no_place),
        cmocka_unit_test(test_failure_is_told_later),
        cmocka_unit_test(test_no_url),
        cmocka_unit_test(test_no_module),
        cmocka_unit_test(test_tls),
    };

    json_init();
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
