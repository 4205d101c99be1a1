#include <config.h>

#include "agent/http.h"

/* Clients that keep their places, and descriptors that run out. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/base/clock.h"
#include "agent/base/worker.h"
#include "agent/unix_socket.h"

#define N_CLIENTS 40
#define PLACES 16
#define REQUEST "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define ANSWER "HTTP/1.1 404"
#define REQUEST_MS 10000
#define DEADLINE_MS 30000
#define LOOK_MS 300
#define N_BYTES 100

struct world {
    uv_loop_t loop;
    struct agent agent;
    struct http *http;
    char directory[64];
    char *path;
    struct sockaddr_in port;
    int clients[N_CLIENTS];
    uv_timer_t timer;
    uv_prepare_t prepare;
    bool is_late;
    unsigned n_rounds;
};

static uint64_t ahead_ms;

static uint64_t
fake_now_ms(void)
{
    return uv_hrtime() / 1000000 + ahead_ms;
}

static void
must(struct error *error)
{
    if (error) {
        AUTO_ERROR owned = error;
        fail_msg("%s", error_message(owned));
    }
}

static struct sockaddr_in
free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    getsockname(fd, (struct sockaddr *)&address, &size);
    close(fd);
    return address;
}

static struct conf *
make_conf(const struct world *w)
{
    struct conf *conf = conf_defaults();
    const char *modules = getenv("DROVER_DRIVER_PATH");
    char here[PATH_MAX];
    AUTO_FREE built =
        xasprintf("%s/drivers/.libs", getcwd(here, sizeof here) ? here : "");
    AUTO_FREE listen = xasprintf("127.0.0.1:%d", (int)ntohs(w->port.sin_port));

    must(conf_set(conf, NULL, "driver_path", modules ? modules : built));
    must(conf_set(conf, NULL, "metrics_socket", w->path));
    must(conf_set(conf, NULL, "metrics_listen", listen));
    return conf;
}

static int
set_up(void **state)
{
    struct world *w = xzalloc(sizeof *w);

    ahead_ms = 0;
    clock_set_fake(fake_now_ms, NULL);
    snprintf(w->directory, sizeof w->directory, "/tmp/drover-http.XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    w->path = xasprintf("%s/metrics.sock", w->directory);
    w->port = free_port();
    uv_loop_init(&w->loop);
    uv_timer_init(&w->loop, &w->timer);
    uv_prepare_init(&w->loop, &w->prepare);
    w->agent.loop = &w->loop;
    w->agent.q = completion_queue_create(&w->loop);
    w->agent.parsers = worker_pool_create(w->agent.q, "parsers", 1);
    w->agent.conf = make_conf(w);
    for (int i = 0; i < N_CLIENTS; i++) {
        w->clients[i] = -1;
    }
    must(http_create(&w->agent, &w->http));
    *state = w;
    return w->http ? 0 : -1;
}

static int
tear_down(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < N_CLIENTS; i++) {
        if (w->clients[i] >= 0) {
            close(w->clients[i]);
        }
    }
    http_close(w->http);
    uv_close((uv_handle_t *)&w->timer, NULL);
    uv_close((uv_handle_t *)&w->prepare, NULL);
    worker_pool_free(w->agent.parsers);
    completion_queue_close(w->agent.q);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_int_equal(rmdir(w->directory), 0);
    conf_free((struct conf *)w->agent.conf);
    clock_set_fake(NULL, NULL);
    free(w->path);
    free(w);
    return 0;
}

static void
late(uv_timer_t *timer)
{
    struct world *w = container_of(timer, struct world, timer);

    w->is_late = true;
}

/* Serves until COND holds. */
#define serve_until(W, COND)                               \
    do {                                                   \
        (W)->is_late = false;                              \
        uv_timer_start(&(W)->timer, late, DEADLINE_MS, 0); \
        while (!(COND)) {                                  \
            uv_run(&(W)->loop, UV_RUN_ONCE);               \
            if ((W)->is_late) {                            \
                fail_msg("in vain waited for %s", #COND);  \
            }                                              \
        }                                                  \
        uv_timer_stop(&(W)->timer);                        \
    } while (0)

static int
dial_socket(const struct world *w)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", w->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address),
                     0);
    return fd;
}

static int
dial_port(const struct world *w)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(
        connect(fd, (const struct sockaddr *)&w->port, sizeof w->port), 0);
    return fd;
}

static void
say(int fd, const char *text)
{
    send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static bool
is_answered(int fd)
{
    char text[sizeof ANSWER];
    ssize_t n = recv(fd, text, strlen(ANSWER), MSG_DONTWAIT | MSG_PEEK);

    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        fail_msg("hung up on");
    }
    if (n == (ssize_t)strlen(ANSWER)) {
        assert_memory_equal(text, ANSWER, strlen(ANSWER));
        return true;
    }
    return false;
}

static void
swallow(int fd)
{
    char text[4096];

    while (recv(fd, text, sizeof text, MSG_DONTWAIT) > 0) {
    }
}

/* Without a word. */
static bool
is_hung_up_on(int fd)
{
    char c;
    ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);

    assert_false(n > 0);
    return n == 0 || errno != EAGAIN;
}

static void
test_clients_from_afar_do_not_take_the_places_of_this_host(void **state)
{
    struct world *w = *state;

    for (int i = 1; i < N_CLIENTS; i++) {
        w->clients[i] = dial_port(w);
        say(w->clients[i], "G");
        if (i > PLACES) {
            serve_until(w, is_hung_up_on(w->clients[i]));
        }
    }
    w->clients[0] = dial_socket(w);
    say(w->clients[0], REQUEST);
    serve_until(w, is_answered(w->clients[0]));
    assert_false(is_hung_up_on(w->clients[1])); /* Its time is not over. */
}

static void
test_one_that_trickles_is_cut_off(void **state)
{
    struct world *w = *state;
    int fd = w->clients[0] = dial_socket(w);

    for (int i = 0; i < 2; i++) { /* Its time begins again. */
        ahead_ms += REQUEST_MS - 1;
        say(fd, REQUEST);
        serve_until(w, is_answered(fd));
        swallow(fd);
    }
    bool is_gone = false;
    ahead_ms += REQUEST_MS;
    for (int i = 0; i < N_BYTES && !is_gone; i++) { /* In no time. */
        say(fd, "G");
        uv_run(&w->loop, UV_RUN_NOWAIT);
        is_gone = is_hung_up_on(fd);
    }
    assert_true(is_gone);
}

static void
round_begins(uv_prepare_t *prepare)
{
    struct world *w = container_of(prepare, struct world, prepare);

    w->n_rounds++;
}

/* The limit that was; from now on there is no descriptor for anything. */
static struct rlimit
use_up_descriptors(void)
{
    struct rlimit limit, low;
    int next = open("/dev/null", O_RDONLY);

    close(next);
    getrlimit(RLIMIT_NOFILE, &limit);
    low = limit;
    low.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_true(open("/dev/null", O_RDONLY) < 0);
    return limit;
}

static void
test_the_loop_rests_while_there_are_no_descriptors(void **state)
{
    struct world *w = *state;

    w->clients[0] = dial_socket(w); /* The module is loaded for it. */
    say(w->clients[0], REQUEST);
    serve_until(w, is_answered(w->clients[0]));
    w->clients[1] = dial_socket(w);
    say(w->clients[1], REQUEST);
    struct rlimit limit = use_up_descriptors();

    uv_prepare_start(&w->prepare, round_begins);
    w->is_late = false;
    uv_timer_start(&w->timer, late, LOOK_MS, 0);
    while (!w->is_late) {
        uv_run(&w->loop, UV_RUN_ONCE);
    }
    setrlimit(RLIMIT_NOFILE, &limit);
    uv_prepare_stop(&w->prepare);
    assert_in_range(w->n_rounds, 1, 50);
    serve_until(w, is_answered(w->clients[1]));
}

static void
test_a_socket_that_can_not_be_looked_at_stays(void **state)
{
    struct world *w = *state;
    struct rlimit limit = use_up_descriptors();
    AUTO_ERROR error = unix_socket_prepare(w->path);

    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(error_code(error), ERR_CONFIG);
    assert_non_null(strstr(error_message(error), strerror(EMFILE)));
    assert_int_equal(access(w->path, F_OK), 0);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_clients_from_afar_do_not_take_the_places_of_this_host),
        TEST(test_one_that_trickles_is_cut_off),
        TEST(test_the_loop_rests_while_there_are_no_descriptors),
        TEST(test_a_socket_that_can_not_be_looked_at_stays),
    };

    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
