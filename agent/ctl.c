#include <config.h>

#include "agent/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/api/api.h"
#include "agent/unix_socket.h"
#include "rpc/failure.h"

LOG_MODULE(ctl);

#define LINE_MAX_SIZE (1u << 20)
#define N_CLIENTS_MAX 64
#define BACKLOG 16
#define READ_SIZE 16384

/* A client that does not take its answers is not read from: so many requests
 * at once, and so many bytes on their way to it. */
#define N_CALLS_MAX 16
#define OUTPUT_MAX (4u << 20)

struct ctl {
    struct agent *agent;
    uv_pipe_t listener;
    bool is_listening; /* Its handle is to be closed. */
    unsigned n_handles;
    unsigned n_clients;
    struct client *clients;
};

/* Freed when its handle is closed and its calls have come back. */
struct client {
    struct ctl *ctl; /* Null once the handle is closed. */
    struct client *next, *prev;
    uv_pipe_t pipe;
    char *input; /* What came of a line, or of several. */
    size_t n_input, room;
    unsigned n_calls;
    bool is_reading;
    bool has_ended; /* No request will follow; answers still go out. */
    bool is_closing;
};

/* A request under way. */
struct call {
    struct client *client;
    struct json *id;
};

struct output {
    uv_write_t request;
    char *text;
};

static struct error *listen_at(struct ctl *ctl, const char *path);
static void accept_client(uv_stream_t *listener, int status);
static void listener_closed(uv_handle_t *handle);
static void ctl_drop_handle(struct ctl *ctl);
static struct client *client_create(struct ctl *ctl);
static void client_close(struct client *client);
static void client_closed(uv_handle_t *handle);
static void client_free_if_unused(struct client *client);
static void client_update(struct client *client);
static bool client_is_full(const struct client *client);
static void allocate(uv_handle_t *handle, size_t size, uv_buf_t *buf);
static void received(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf);
static void take_lines(struct client *client);
static void take_line(struct client *client, const char *line, size_t size);
static struct error *start_call(struct client *client, struct json *id,
                                const struct json *request);
static void call_done(void *aux, struct json *result, struct error *error);
static void answer(struct client *client, struct json *id, struct json *result,
                   struct error *error);
static struct json *failure_json(const struct error *error);
static void written(uv_write_t *request, int status);

struct error *
ctl_create(struct agent *agent, const char *path, struct ctl **ret)
{
    struct ctl *ctl = xzalloc(sizeof *ctl);
    struct error *error = unix_socket_prepare(path);

    ctl->agent = agent;
    if (!error) {
        error = listen_at(ctl, path);
    }
    if (error) {
        if (ctl->is_listening) {
            ctl_close(ctl);
        } else {
            free(ctl);
        }
        return error_wrap(error, "control socket '%s'", path);
    }
    *ret = ctl;
    return NULL;
}

void
ctl_close(struct ctl *ctl)
{
    if (!ctl) {
        return;
    }
    for (struct client *client = ctl->clients; client; client = client->next) {
        client_close(client);
    }
    uv_close((uv_handle_t *)&ctl->listener, listener_closed);
}

static struct error *
listen_at(struct ctl *ctl, const char *path)
{
    int status = uv_pipe_init(ctl->agent->loop, &ctl->listener, 0);

    ctl->listener.data = ctl;
    ctl->is_listening = true;
    ctl->n_handles = 1;
    if (status == 0) {
        status = uv_pipe_bind(&ctl->listener, path);
    }
    /* Before it listens nobody gets in, whatever the umask made of it. */
    if (status == 0 && chmod(path, 0660) != 0) {
        status = uv_translate_sys_error(errno);
    }
    if (status == 0) {
        status =
            uv_listen((uv_stream_t *)&ctl->listener, BACKLOG, accept_client);
    }
    return status == 0 ? NULL
                       : error_new(ERR_CONFIG, "%s", uv_strerror(status));
}

static void
accept_client(uv_stream_t *listener, int status)
{
    struct ctl *ctl = listener->data;

    if (status != 0) {
        log_limited(LOG_LEVEL_WARN, NULL, "accept: %s", uv_strerror(status));
        return;
    }
    struct client *client = client_create(ctl);
    if (uv_accept(listener, (uv_stream_t *)&client->pipe) != 0) {
        client_close(client);
        return;
    }
    if (ctl->n_clients > N_CLIENTS_MAX) {
        client->has_ended = true;
        answer(client, NULL, NULL,
               error_new(ERR_INTERNAL, "too many clients of the socket"));
    }
    client_update(client);
}

static void
listener_closed(uv_handle_t *handle)
{
    struct ctl *ctl = handle->data;

    ctl_drop_handle(ctl);
}

static void
ctl_drop_handle(struct ctl *ctl)
{
    if (--ctl->n_handles == 0) {
        free(ctl);
    }
}

static struct client *
client_create(struct ctl *ctl)
{
    struct client *client = xzalloc(sizeof *client);

    client->ctl = ctl;
    client->pipe.data = client;
    uv_pipe_init(ctl->agent->loop, &client->pipe, 0);
    client->next = ctl->clients;
    if (client->next) {
        client->next->prev = client;
    }
    ctl->clients = client;
    ctl->n_clients++;
    ctl->n_handles++;
    return client;
}

static void
client_close(struct client *client)
{
    if (!client->is_closing) {
        client->is_closing = true;
        uv_close((uv_handle_t *)&client->pipe, client_closed);
    }
}

static void
client_closed(uv_handle_t *handle)
{
    struct client *client = handle->data;
    struct ctl *ctl = steal(&client->ctl);

    *(client->prev ? &client->prev->next : &ctl->clients) = client->next;
    if (client->next) {
        client->next->prev = client->prev;
    }
    ctl->n_clients--;
    ctl_drop_handle(ctl);
    client_free_if_unused(client);
}

static void
client_free_if_unused(struct client *client)
{
    if (!client->ctl && client->n_calls == 0) {
        free(client->input);
        free(client);
    }
}

/* Reads on, holds back or hangs up, whatever its state asks for. */
static void
client_update(struct client *client)
{
    uv_stream_t *stream = (uv_stream_t *)&client->pipe;
    bool wanted = !client->has_ended && !client_is_full(client);

    if (client->is_closing) {
        return;
    }
    if (client->has_ended && client->n_calls == 0 &&
        uv_stream_get_write_queue_size(stream) == 0) {
        client_close(client);
    } else if (wanted && !client->is_reading) {
        client->is_reading = true;
        uv_read_start(stream, allocate, received);
    } else if (!wanted && client->is_reading) {
        client->is_reading = false;
        uv_read_stop(stream);
    }
}

static bool
client_is_full(const struct client *client)
{
    const uv_stream_t *stream = (const uv_stream_t *)&client->pipe;

    return client->n_calls >= N_CALLS_MAX ||
           uv_stream_get_write_queue_size(stream) >= OUTPUT_MAX;
}

static void
allocate(uv_handle_t *handle, size_t size UNUSED, uv_buf_t *buf)
{
    struct client *client = handle->data;

    if (client->room - client->n_input < READ_SIZE) {
        client->room = client->n_input + 2 * READ_SIZE;
        client->input = xrealloc(client->input, client->room);
    }
    buf->base = client->input + client->n_input;
    buf->len = client->room - client->n_input;
}

static void
received(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf UNUSED)
{
    struct client *client = stream->data;

    if (size == UV_EOF) {
        client->has_ended = true;
    } else if (size < 0) {
        client_close(client);
        return;
    } else {
        client->n_input += (size_t)size;
        take_lines(client);
    }
    client_update(client);
}

/* As many as may be under way; the rest is taken when some have been
 * answered. */
static void
take_lines(struct client *client)
{
    size_t start = 0;
    const char *end = NULL;

    if (client->n_input == 0) {
        return;
    }
    while (
        !client->is_closing && !client_is_full(client) &&
        (end = memchr(client->input + start, '\n', client->n_input - start))) {
        size_t size = (size_t)(end - client->input) - start;

        take_line(client, client->input + start, size);
        start += size + 1;
    }
    client->n_input -= start;
    memmove(client->input, client->input + start, client->n_input);
    if (!end && client->n_input > LINE_MAX_SIZE && !client->has_ended &&
        !client_is_full(client)) {
        client->has_ended = true;
        answer(client, NULL, NULL,
               error_new(ERR_BAD_MESSAGE, "line of more than %u bytes",
                         LINE_MAX_SIZE));
    }
}

static void
take_line(struct client *client, const char *line, size_t size)
{
    AUTO_JSON request = NULL;

    if (size == 0) {
        return;
    }
    struct error *error =
        size > LINE_MAX_SIZE
            ? error_new(ERR_BAD_MESSAGE, "line of more than %u bytes",
                        LINE_MAX_SIZE)
            : json_parse(line, size, &request);
    struct json *id = json_copy(json_get(request, "id"));
    if (!error) {
        error = start_call(client, id, request);
    }
    if (error) {
        answer(client, id, NULL, error);
    }
}

/* Takes 'id' if it succeeds. */
static struct error *
start_call(struct client *client, struct json *id, const struct json *request)
{
    const char *method = json_string_of(request, "method");
    const struct json *args = json_get(request, "args");
    AUTO_JSON none = json_object();

    if (!method) {
        return error_new(ERR_VALUE, "the request names no method");
    }
    if (args && !json_is_object(args)) {
        return error_new(ERR_VALUE, "args of '%.64s' is no object", method);
    }
    struct call *call = xzalloc(sizeof *call);
    call->client = client;
    call->id = id;
    client->n_calls++;
    log_debug(NULL, "'%.64s' was asked for", method);
    api_call_local(client->ctl->agent, method, args ? args : none, call_done,
                   call);
    return NULL;
}

static void
call_done(void *aux, struct json *result, struct error *error)
{
    struct call *call = aux;
    struct client *client = call->client;

    client->n_calls--;
    answer(client, steal(&call->id), result, error);
    free(call);
    if (!client->ctl) {
        client_free_if_unused(client);
    }
}

/* Takes all three; one of 'result' and 'error' is null. */
static void
answer(struct client *client, struct json *id, struct json *result,
       struct error *error)
{
    AUTO_JSON line = json_object();

    if (error) {
        json_set(line, "failure", failure_json(error));
        error_free(error);
        json_free(result);
    } else {
        json_set(line, "result", result);
    }
    json_set(line, "id", id);
    if (client->is_closing) {
        return;
    }

    struct output *output = xzalloc(sizeof *output);
    size_t size;
    output->text = json_print(line, &size);
    output->text[size] = '\n'; /* Instead of the NUL, which nobody reads. */
    output->request.data = client;
    uv_buf_t buf = uv_buf_init(output->text, (unsigned)size + 1);
    int status = uv_write(&output->request, (uv_stream_t *)&client->pipe, &buf,
                          1, written);
    if (status != 0) {
        free(output->text);
        free(output);
        client_close(client);
    }
}

static struct json *
failure_json(const struct error *error)
{
    AUTO_FREE text = failure_format(error);
    struct json *json = NULL;
    AUTO_ERROR bad = json_parse(text, strlen(text), &json);

    return bad ? json_null() : json;
}

static void
written(uv_write_t *request, int status)
{
    struct output *output = container_of(request, struct output, request);
    struct client *client = request->data;

    free(output->text);
    free(output);
    if (client->is_closing) {
        return;
    }
    if (status != 0) {
        client_close(client);
        return;
    }
    take_lines(client);
    client_update(client);
}
