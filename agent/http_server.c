#include <config.h>

#include "agent/http_server.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/base/log.h"
#include "agent/base/mem.h"

LOG_MODULE(http_server);

#define N_CONNECTIONS_MAX 32
#define IDLE_TIMEOUT_S 5
#define CONNECTION_MEMORY ((size_t)16384) /* Bounds a request's head, too. */

/* libmicrohttpd, run by the loop: when its epoll descriptor or the time-out
 * that it asks for says so. */
struct http_server {
    struct MHD_Daemon *daemon;
    void (*answer)(void *aux, const char *path, struct http_answer *ret);
    void *aux;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned n_handles;
};

static void daemon_due(uv_poll_t *poll, int status, int events);
static void timer_due(uv_timer_t *timer);
static void run(struct http_server *server);
static enum MHD_Result handle(void *aux, struct MHD_Connection *connection,
                              const char *path, const char *method,
                              const char *version, const char *body,
                              size_t *body_size, void **request);
static enum MHD_Result refuse_method(struct MHD_Connection *connection);
static enum MHD_Result respond(struct MHD_Connection *connection,
                               const struct http_answer *answer,
                               const char *allow);
static void log_library(void *aux, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
static void handle_closed(uv_handle_t *handle);

static struct http_server *
start(uv_loop_t *loop,
      void (*answer)(void *aux, const char *path, struct http_answer *ret),
      void *aux)
{
    struct http_server *server = xzalloc(sizeof *server);

    server->answer = answer;
    server->aux = aux;
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG, 0, NULL,
        NULL, handle, server, MHD_OPTION_EXTERNAL_LOGGER, log_library, NULL,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)N_CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, MHD_OPTION_END);
    if (!server->daemon) {
        free(server);
        return NULL;
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    server->n_handles = 2;
    server->poll.data = server->timer.data = server;
    uv_timer_init(loop, &server->timer);
    uv_poll_init(loop, &server->poll, info->epoll_fd);
    uv_poll_start(&server->poll, UV_READABLE, daemon_due);
    return server;
}

/* The client's address is of no use to us, and one of a socket of this host has
 * more bytes than the library has room for.  Of too many the library closes
 * the socket itself. */
static void
add(struct http_server *server, int fd)
{
    const struct sockaddr address = {.sa_family = AF_UNSPEC};

    if (MHD_add_connection(server->daemon, fd, &address, sizeof address) !=
        MHD_YES) {
        log_limited(LOG_LEVEL_WARN, NULL, "a client was turned away");
    }
    run(server);
}

static void
stop(struct http_server *server)
{
    uv_close((uv_handle_t *)&server->timer, handle_closed);
    uv_close((uv_handle_t *)&server->poll, handle_closed);
    MHD_stop_daemon(steal(&server->daemon));
}

const struct http_server_ops drover_http_server = {
    .abi = HTTP_SERVER_ABI,
    .start = start,
    .add = add,
    .stop = stop,
};

static void
daemon_due(uv_poll_t *poll, int status UNUSED, int events UNUSED)
{
    run(poll->data);
}

static void
timer_due(uv_timer_t *timer)
{
    run(timer->data);
}

static void
run(struct http_server *server)
{
    MHD_UNSIGNED_LONG_LONG ms;

    MHD_run(server->daemon);
    if (MHD_get_timeout(server->daemon, &ms) == MHD_YES) {
        uv_timer_start(&server->timer, timer_due, ms, 0);
    } else {
        uv_timer_stop(&server->timer);
    }
}

/* Called when the head of a request is there, and again for each part of its
 * body, of which nothing that is served has one, and at its end.  Only who is
 * answered then may ask again on this connection. */
static enum MHD_Result
handle(void *aux, struct MHD_Connection *connection, const char *path,
       const char *method, const char *version UNUSED, const char *body UNUSED,
       size_t *body_size, void **request)
{
    static char is_known;
    struct http_server *server = aux;
    struct http_answer answer = {.text = NULL};

    if (!str_eq(method, MHD_HTTP_METHOD_GET) &&
        !str_eq(method, MHD_HTTP_METHOD_HEAD)) {
        return refuse_method(connection);
    }
    if (!*request) {
        *request = &is_known;
        return MHD_YES;
    }
    if (*body_size) {
        return MHD_NO; /* Hangs up. */
    }
    server->answer(server->aux, path, &answer);
    return respond(connection, &answer, NULL);
}

static enum MHD_Result
refuse_method(struct MHD_Connection *connection)
{
    struct http_answer answer = {
        .status = MHD_HTTP_METHOD_NOT_ALLOWED,
        .type = "text/plain; charset=utf-8",
        .text = xstrdup("only GET and HEAD are served\n"),
    };

    answer.size = strlen(answer.text);
    return respond(connection, &answer, "GET, HEAD");
}

static enum MHD_Result
respond(struct MHD_Connection *connection, const struct http_answer *answer,
        const char *allow)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        answer->size, answer->text, MHD_RESPMEM_MUST_FREE);

    if (!response) {
        free(answer->text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                            answer->type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL,
                            "no-store");
    if (allow) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
    }
    enum MHD_Result result =
        MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    return result;
}

/* What clients do wrong, mostly. */
static void
log_library(void *aux UNUSED, const char *format, va_list args)
{
    AUTO_FREE text = xvasprintf(format, args);

    text[strcspn(text, "\n")] = '\0';
    log_limited(LOG_LEVEL_DEBUG, NULL, "%s", text);
}

static void
handle_closed(uv_handle_t *handle)
{
    struct http_server *server = handle->data;

    if (--server->n_handles == 0) {
        free(server);
    }
}
