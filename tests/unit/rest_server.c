#include <config.h>

#include "tests/unit/rest_server.h"

#include <ctype.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

struct client {
    uv_tcp_t tcp;
    struct rest_server *server;
    struct client *next;
    char *data; /* What came of the request so far. */
    size_t size;
};

struct rest_server {
    uv_tcp_t tcp;
    bool is_listening;
    rest_server_handler *handler;
    void *aux;
    char *url;
    struct client *clients;
    struct rest_server_request *requests;
    size_t n_requests, n_connections;
    unsigned n_users;
    char buffer[65536];
};

struct writing {
    uv_write_t write;
    struct client *client;
    char *text;
    bool hangs_up;
};

static void
put(struct rest_server *server)
{
    if (--server->n_users > 0) {
        return;
    }
    for (size_t i = 0; i < server->n_requests; i++) {
        free(server->requests[i].method);
        free(server->requests[i].path);
        free(server->requests[i].body);
        json_free(server->requests[i].headers);
    }
    free(server->requests);
    free(server->url);
    free(server);
}

static void
server_closed(uv_handle_t *handle)
{
    put(handle->data);
}

static void
client_closed(uv_handle_t *handle)
{
    struct client *client = handle->data;

    put(client->server);
    free(client->data);
    free(client);
}

static void
hang_up(struct client *client)
{
    struct client **at = &client->server->clients;

    if (uv_is_closing((uv_handle_t *)&client->tcp)) {
        return;
    }
    while (*at != client) {
        at = &(*at)->next;
    }
    *at = client->next;
    uv_close((uv_handle_t *)&client->tcp, client_closed);
}

static void
written(uv_write_t *write, int status)
{
    struct writing *writing = write->data;

    if (writing->hangs_up || status < 0) {
        hang_up(writing->client);
    }
    free(writing->text);
    free(writing);
}

static void
reply_to(struct client *client, const struct rest_server_reply *reply)
{
    const char *body = reply->body ? reply->body : "";
    struct writing *writing = xzalloc(sizeof *writing);
    bool is_cut = reply->manner == CUT_OFF;

    writing->client = client;
    writing->hangs_up = is_cut;
    writing->text = xasprintf(
        "HTTP/1.1 %d Whatever\r\nContent-Type: application/json\r\n%s%s"
        "Content-Length: %zu\r\n\r\n%s",
        reply->status, reply->header ? reply->header : "",
        reply->header ? "\r\n" : "", strlen(body) + (is_cut ? 100 : 0), body);
    writing->write.data = writing;
    uv_buf_t buf = uv_buf_init(writing->text, (unsigned)strlen(writing->text));
    uv_write(&writing->write, (uv_stream_t *)&client->tcp, &buf, 1, written);
}

static struct json *
parse_headers(char *text)
{
    struct json *headers = json_object();
    char *line;

    while ((line = strsep(&text, "\n")) && *line != '\r') {
        char *colon = strchr(line, ':');

        assert_non_null(colon);
        *colon = '\0';
        for (char *p = line; *p; p++) {
            *p = (char)tolower((unsigned char)*p);
        }
        colon += strspn(colon + 1, " ") + 1;
        colon[strcspn(colon, "\r")] = '\0';
        json_set_string(headers, line, colon);
    }
    return headers;
}

/* Takes a whole request out of what came; false: there is none yet. */
static bool
take_request(struct client *client, struct rest_server_request *ret)
{
    char *end = client->data ? strstr(client->data, "\r\n\r\n") : NULL;

    if (!end) {
        return false;
    }
    size_t head = (size_t)(end - client->data) + 4;
    const char *length = strcasestr(client->data, "\r\nContent-Length:");
    size_t n = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    if (client->size < head + n) {
        return false;
    }
    char *text = client->data;
    ret->body = xstrndup(text + head, n);
    ret->method = xstrdup(strsep(&text, " "));
    ret->path = xstrdup(strsep(&text, " "));
    strsep(&text, "\n");
    ret->headers = parse_headers(text);
    client->size -= head + n;
    memmove(client->data, client->data + head + n, client->size + 1);
    return true;
}

static void
serve(struct client *client)
{
    struct rest_server *server = client->server;
    struct rest_server_request request;

    while (take_request(client, &request)) {
        struct rest_server_reply reply = {.status = 200, .body = "{}"};

        server->requests =
            xrealloc(server->requests,
                     (server->n_requests + 1) * sizeof *server->requests);
        server->requests[server->n_requests++] = request;
        server->handler(server->aux, &request, &reply);
        if (reply.manner == HANG_UP) {
            hang_up(client);
            return;
        }
        if (reply.manner != HANG) {
            reply_to(client, &reply);
        }
    }
}

static void
allocate(uv_handle_t *handle, size_t size UNUSED, uv_buf_t *ret)
{
    struct client *client = handle->data;

    *ret = uv_buf_init(client->server->buffer, sizeof client->server->buffer);
}

static void
received(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *client = stream->data;

    if (n < 0) {
        hang_up(client);
        return;
    }
    client->data = xrealloc(client->data, client->size + (size_t)n + 1);
    memcpy(client->data + client->size, buf->base, (size_t)n);
    client->size += (size_t)n;
    client->data[client->size] = '\0';
    serve(client);
}

static void
connected(uv_stream_t *stream, int status)
{
    struct rest_server *server = stream->data;
    struct client *client = xzalloc(sizeof *client);

    assert_int_equal(status, 0);
    client->server = server;
    client->tcp.data = client;
    client->next = server->clients;
    server->clients = client;
    server->n_users++;
    server->n_connections++;
    uv_tcp_init(stream->loop, &client->tcp);
    assert_int_equal(uv_accept(stream, (uv_stream_t *)&client->tcp), 0);
    uv_read_start((uv_stream_t *)&client->tcp, allocate, received);
}

struct rest_server *
rest_server_create(uv_loop_t *loop, rest_server_handler *handler, void *aux)
{
    struct rest_server *server = xzalloc(sizeof *server);
    struct sockaddr_in address;
    int size = sizeof address;

    server->handler = handler;
    server->aux = aux;
    server->n_users = 2;
    server->is_listening = true;
    server->tcp.data = server;
    uv_tcp_init(loop, &server->tcp);
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_bind(&server->tcp, (struct sockaddr *)&address, 0);
    assert_int_equal(uv_listen((uv_stream_t *)&server->tcp, 64, connected), 0);
    uv_tcp_getsockname(&server->tcp, (struct sockaddr *)&address, &size);
    server->url =
        xasprintf("http://127.0.0.1:%d", (int)ntohs(address.sin_port));
    return server;
}

void
rest_server_vanish(struct rest_server *server)
{
    if (server->is_listening) {
        server->is_listening = false;
        uv_close((uv_handle_t *)&server->tcp, server_closed);
    }
    while (server->clients) {
        hang_up(server->clients);
    }
}

void
rest_server_close(struct rest_server *server)
{
    rest_server_vanish(server);
    put(server);
}

const char *
rest_server_url(const struct rest_server *server)
{
    return server->url;
}

size_t
rest_server_n_requests(const struct rest_server *server)
{
    return server->n_requests;
}

size_t
rest_server_n_connections(const struct rest_server *server)
{
    return server->n_connections;
}

const struct rest_server_request *
rest_server_request(const struct rest_server *server, size_t i)
{
    assert_true(i < server->n_requests);
    return &server->requests[i];
}

const char *
rest_server_header(const struct rest_server_request *request, const char *name)
{
    return json_string_of(request->headers, name);
}
