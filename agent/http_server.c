#include <config.h>

#include "agent/http_server.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/mem.h"

LOG_MODULE(http_server);

#define N_CONNECTIONS_MAX 16
#define IDLE_TIMEOUT_S 5
#define REQUEST_TIMEOUT_MS 10000          /* With its answer, however busy. */
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
    struct client *first, *last; /* Who is due first is first. */
};

/* The library's time-out is one of silence: who sends a byte now and then would
 * keep his place for ever. */
struct client {
    struct client *prev, *next;
    int fd; /* The library's. */
    uint64_t due_ms;
};

static void daemon_due(uv_poll_t *poll, int status, int events);
static void timer_due(uv_timer_t *timer);
static void run(struct http_server *server);
static void cut_off_late(struct http_server *server);
static void client_notified(void *aux, struct MHD_Connection *connection,
                            void **client,
                            enum MHD_ConnectionNotificationCode what);
static void request_ended(void *aux, struct MHD_Connection *connection,
                          void **request, enum MHD_RequestTerminationCode how);
static void client_append(struct http_server *server, struct client *client);
static void client_remove(struct http_server *server, struct client *client);
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
        MHD_OPTION_NOTIFY_CONNECTION, client_notified, server,
        MHD_OPTION_NOTIFY_COMPLETED, request_ended, server,
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

    cut_off_late(server);
    MHD_run(server->daemon);
    bool is_timed = MHD_get_timeout(server->daemon, &ms) == MHD_YES;
    if (server->first) {
        uint64_t now_ms = clock_now_ms(), due_ms = server->first->due_ms;
        uint64_t left_ms = due_ms > now_ms ? due_ms - now_ms : 0;
        ms = is_timed && ms < left_ms ? ms : left_ms;
    }
    if (is_timed || server->first) {
        uv_timer_start(&server->timer, timer_due, ms, 0);
    } else {
        uv_timer_stop(&server->timer);
    }
}

/* The library finds that they hung up. */
static void
cut_off_late(struct http_server *server)
{
    uint64_t now_ms = clock_now_ms();

    while (server->first && server->first->due_ms <= now_ms) {
        struct client *client = server->first;

        shutdown(client->fd, SHUT_RDWR);
        client_remove(server, client);
        client_append(server, client);
    }
}

static void
client_notified(void *aux, struct MHD_Connection *connection, void **client,
                enum MHD_ConnectionNotificationCode what)
{
    struct http_server *server = aux;
    struct client *c = *client;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        c = *client = xzalloc(sizeof *c);
        c->fd = MHD_get_connection_info(connection,
                                        MHD_CONNECTION_INFO_CONNECTION_FD)
                    ->connect_fd;
        client_append(server, c);
    } else if (c) {
        client_remove(server, c);
        free(c);
        *client = NULL;
    }
}

/* The time of the next one on this connection begins. */
static void
request_ended(void *aux, struct MHD_Connection *connection,
              void **request UNUSED, enum MHD_RequestTerminationCode how UNUSED)
{
    struct client *client =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
            ->socket_context;

    if (client) {
        client_remove(aux, client);
        client_append(aux, client);
    }
}

/* All have the same time. */
static void
client_append(struct http_server *server, struct client *client)
{
    client->due_ms = clock_now_ms() + REQUEST_TIMEOUT_MS;
    client->next = NULL;
    client->prev = server->last;
    *(client->prev ? &client->prev->next : &server->first) = client;
    server->last = client;
}

static void
client_remove(struct http_server *server, struct client *client)
{
    *(client->prev ? &client->prev->next : &server->first) = client->next;
    *(client->next ? &client->next->prev : &server->last) = client->prev;
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
