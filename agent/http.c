#include <config.h>

#include "agent/http.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/worker.h"
#include "agent/http_server.h"
#include "agent/report.h"
#include "agent/unix_socket.h"
#include "conf/listen_address.h"

LOG_MODULE(http);

#define BACKLOG 16

/* Until another try, when there is no descriptor for a client. */
#define PAUSE_MS 1000

enum { AT_SOCKET, AT_PORT, N_LISTENERS };

/* Each has a server, and thus places, of its own: clients from afar do not take
 * those of this host. */
struct listener {
    struct http *http;
    int fd; /* -1: there is none. */
    uv_poll_t poll;
    uv_timer_t timer;
    struct http_server *server; /* Null: not started. */
};

struct http {
    struct agent *agent;
    char *module; /* Path of the server's. */
    char *path;   /* Of the socket; removed at the end. */
    struct listener listeners[N_LISTENERS];
    unsigned n_users; /* The owner, the handles, and a load under way. */
    bool has_given_up;
    const struct http_server_ops *ops; /* Null: not loaded yet. */
};

/* The module on its way in, which may have to wait for the disk. */
struct load {
    struct http *http;
    const char *path;
    const struct http_server_ops *ops;
    char *fault;
};

static void give_up(struct http *http);
static struct error *listen_at_port(const char *text, int *ret_fd);
static void add_listener(struct http *http, int which, int fd);
static void watch(struct http *http, bool wanted);
static void client_due(uv_poll_t *poll, int status, int events);
static void pause_over(uv_timer_t *timer);
static void load_start(struct http *http);
static void load_run(void *aux);
static void load_done(void *aux);
static bool start_servers(struct http *http);
static void answer(void *aux, const char *path, struct http_answer *ret);
static void handle_closed(uv_handle_t *handle);
static void http_put(struct http *http);

struct error *
http_create(struct agent *agent, struct http **ret)
{
    const struct conf *conf = agent->conf;
    AUTO_FREE module = xasprintf("%s/drover-http.so", conf->driver_path);
    int at_socket = -1, at_port = -1;

    *ret = NULL;
    if (access(module, R_OK) != 0 && conf->metrics_listen) {
        return error_new(ERR_CONFIG, "option 'metrics_listen': '%s': %s",
                         module, strerror(errno));
    }
    if (access(module, R_OK) != 0) {
        log_info(NULL, "neither numbers nor health are served: '%s': %s",
                 module, strerror(errno));
        return NULL;
    }
    struct error *error =
        error_wrap(unix_socket_listen(conf->metrics_socket, &at_socket),
                   "metrics socket '%s'", conf->metrics_socket);
    if (!error && conf->metrics_listen) {
        error = error_wrap(listen_at_port(conf->metrics_listen, &at_port),
                           "listen at '%s'", conf->metrics_listen);
        if (error) {
            close(at_socket);
            unlink(conf->metrics_socket);
        }
    }
    if (error) {
        return error;
    }
    struct http *http = xzalloc(sizeof *http);
    http->agent = agent;
    http->n_users = 1;
    http->module = steal(&module);
    http->path = xstrdup(conf->metrics_socket);
    add_listener(http, AT_SOCKET, at_socket);
    add_listener(http, AT_PORT, at_port);
    watch(http, true);
    *ret = http;
    return NULL;
}

void
http_close(struct http *http)
{
    if (http) {
        give_up(http);
        http_put(http);
    }
}

/* Nobody is served any more, and who comes is refused. */
static void
give_up(struct http *http)
{
    if (http->has_given_up) {
        return;
    }
    http->has_given_up = true;
    unlink(http->path);
    for (size_t i = 0; i < N_LISTENERS; i++) {
        struct listener *listener = &http->listeners[i];

        if (listener->server) {
            http->ops->stop(steal(&listener->server));
        }
        if (listener->fd >= 0) {
            uv_close((uv_handle_t *)&listener->timer, handle_closed);
            uv_close((uv_handle_t *)&listener->poll, handle_closed);
            close(listener->fd);
        }
    }
}

static struct error *
listen_at_port(const char *text, int *ret_fd)
{
    struct sockaddr_storage address;
    socklen_t size;
    int on = 1;

    struct error *error = listen_address_parse(text, &address, &size);
    if (error) {
        return error;
    }
    int fd = socket(address.ss_family,
                    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&address, size) != 0 ||
        listen(fd, BACKLOG) != 0) {
        error = error_new(ERR_CONFIG, "%s", strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return error;
    }
    *ret_fd = fd;
    return NULL;
}

static void
add_listener(struct http *http, int which, int fd)
{
    struct listener *listener = &http->listeners[which];

    listener->http = http;
    listener->fd = fd;
    if (fd >= 0) {
        http->n_users += 2;
        listener->poll.data = listener->timer.data = http;
        uv_timer_init(http->agent->loop, &listener->timer);
        uv_poll_init(http->agent->loop, &listener->poll, fd);
    }
}

/* While it is not wanted, clients wait in the kernel. */
static void
watch(struct http *http, bool wanted)
{
    for (size_t i = 0; i < N_LISTENERS; i++) {
        struct listener *listener = &http->listeners[i];

        if (listener->fd >= 0 && wanted) {
            uv_poll_start(&listener->poll, UV_READABLE, client_due);
        } else if (listener->fd >= 0) {
            uv_poll_stop(&listener->poll);
        }
    }
}

/* One at a time: there may be others to serve.  One that can't be accepted
 * would be due again at once, and for ever. */
static void
client_due(uv_poll_t *poll, int status UNUSED, int events UNUSED)
{
    struct listener *listener = container_of(poll, struct listener, poll);
    struct http *http = listener->http;

    if (!listener->server) {
        load_start(http);
        return;
    }
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        http->ops->add(listener->server, fd);
    } else if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
        log_limited(LOG_LEVEL_WARN, NULL, "accept: %s", strerror(errno));
        uv_poll_stop(&listener->poll);
        uv_timer_start(&listener->timer, pause_over, PAUSE_MS, 0);
    }
}

static void
pause_over(uv_timer_t *timer)
{
    struct listener *listener = container_of(timer, struct listener, timer);

    uv_poll_start(&listener->poll, UV_READABLE, client_due);
}

static void
load_start(struct http *http)
{
    struct load *load = xzalloc(sizeof *load);

    watch(http, false);
    http->n_users++;
    load->http = http;
    load->path = http->module;
    worker_submit(http->agent->parsers, load_run, load_done, load);
}

/* On a worker. */
static void
load_run(void *aux)
{
    struct load *load = aux;
    /* Its library keeps what it likes: never unloaded. */
    void *module = dlopen(load->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

    if (!module) {
        load->fault = xstrdup(dlerror());
        return;
    }
    load->ops = dlsym(module, HTTP_SERVER_SYMBOL);
    if (!load->ops || load->ops->abi != HTTP_SERVER_ABI) {
        load->fault = xstrdup("it is not ours");
    }
}

static void
load_done(void *aux)
{
    struct load *load = aux;
    struct http *http = load->http;

    http->ops = load->ops;
    if (http->has_given_up) {
        ; /* Nobody waits for it. */
    } else if (!load->fault && start_servers(http)) {
        watch(http, true);
    } else {
        log_error(NULL, "numbers and health can't be served: '%s': %s",
                  http->module,
                  load->fault ? load->fault : "the library does not start");
        give_up(http);
    }
    free(load->fault);
    free(load);
    http_put(http);
}

static bool
start_servers(struct http *http)
{
    for (size_t i = 0; i < N_LISTENERS; i++) {
        struct listener *listener = &http->listeners[i];

        if (listener->fd < 0) {
            continue;
        }
        listener->server = http->ops->start(http->agent->loop, answer, http);
        if (!listener->server) {
            return false;
        }
    }
    return true;
}

static void
answer_text(struct http_answer *ret, unsigned status, const char *text)
{
    *ret = (struct http_answer){
        .status = status,
        .type = "text/plain; charset=utf-8",
        .text = xstrdup(text),
        .size = strlen(text),
    };
}

static void
answer(void *aux, const char *path, struct http_answer *ret)
{
    struct http *http = aux;
    enum health health;

    if (str_eq(path, "/metrics")) {
        ret->status = 200;
        ret->type = METRICS_CONTENT_TYPE;
        ret->text = report_metrics(http->agent, &ret->size);
    } else if (str_eq(path, "/health")) {
        ret->type = "application/json";
        ret->text = report_health(http->agent, &health, &ret->size);
        ret->status = health == HEALTH_FAILED ? 503 : 200;
    } else {
        answer_text(ret, 404, "there are /metrics and /health\n");
    }
}

static void
handle_closed(uv_handle_t *handle)
{
    http_put(handle->data);
}

static void
http_put(struct http *http)
{
    if (--http->n_users == 0) {
        free(http->module);
        free(http->path);
        free(http);
    }
}
