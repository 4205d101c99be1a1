#include <config.h>

#include "agent/nova/rest_curl.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/log.h"
#include "agent/base/mem.h"

LOG_MODULE(rest_curl);

#define N_CONNECTIONS_MAX 16L
#define N_KEPT_MAX 8L
#define CONNECT_TIMEOUT_MS 10000L
#define HEADERS_MAX ((size_t)65536)

/* Of a body that goes to a file: as much at a time; and how long it may be that
 * nothing comes. */
#define PIECE_SIZE 262144L
#define SILENCE_MAX_S 60L

struct rest_wire {
    CURLM *multi; /* Null: stopped. */
    uv_loop_t *loop;
    uv_timer_t timer;
    unsigned n_users; /* The owner, the handles, and a look under way. */
};

struct rest_transfer {
    struct rest_wire *wire; /* Null: it is fetched. */
    CURL *easy;
    struct curl_slist *headers;
    rest_ended *ended;
    void *aux;
    size_t answer_max;
    bool is_too_large;
    char *body;
    size_t size, room;
    size_t n_header_bytes;
    char *token, *request_id;
    char why[CURL_ERROR_SIZE];

    /* Of one that is fetched. */
    int fd;
    const atomic_bool *stop;
    int write_error; /* An errno; 0: none. */
};

/* A socket of libcurl's that it wants to be told about. */
struct watch {
    struct rest_wire *wire;
    uv_poll_t poll;
    curl_socket_t fd;
};

static struct rest_transfer *create(const struct rest_exchange *x,
                                    rest_ended *ended, void *aux);
static void set_up(struct rest_transfer *t, const struct rest_exchange *x);
static void set_method(struct rest_transfer *t, const struct rest_exchange *x);
static void set_tls(CURL *easy, const struct rest_tls *tls);
static void transfer_free(struct rest_transfer *t);
static curl_socket_t open_socket(void *aux, curlsocktype purpose,
                                 struct curl_sockaddr *address);
static size_t take_body(char *data, size_t size, size_t n, void *aux);
static size_t take_header(char *data, size_t size, size_t n, void *aux);
static int timer_wanted(CURLM *multi, long ms, void *aux);
static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *aux,
                         void *of_socket);
static void timer_due(uv_timer_t *timer);
static void socket_due(uv_poll_t *poll, int status, int events);
static void look(struct rest_wire *wire, curl_socket_t fd, int events);
static void tell(struct rest_transfer *t, CURLcode code);
static size_t write_body(char *data, size_t size, size_t n, void *aux);
static int look_at_stop(void *aux, curl_off_t, curl_off_t, curl_off_t,
                        curl_off_t);
static enum rest_fault fault_of(const struct rest_transfer *t, CURLcode code);
static void watch_closed(uv_handle_t *handle);
static void timer_closed(uv_handle_t *handle);
static void wire_put(struct rest_wire *wire);

static struct rest_wire *
start(uv_loop_t *loop)
{
    if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK) {
        return NULL;
    }
    struct rest_wire *wire = xzalloc(sizeof *wire);
    wire->multi = curl_multi_init();
    if (!wire->multi) {
        free(wire);
        return NULL;
    }
    wire->loop = loop;
    wire->n_users = 2;
    wire->timer.data = wire;
    uv_timer_init(loop, &wire->timer);
    curl_multi_setopt(wire->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(wire->multi, CURLMOPT_SOCKETDATA, wire);
    curl_multi_setopt(wire->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(wire->multi, CURLMOPT_TIMERDATA, wire);
    curl_multi_setopt(wire->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                      N_CONNECTIONS_MAX);
    curl_multi_setopt(wire->multi, CURLMOPT_MAXCONNECTS, N_KEPT_MAX);
    return wire;
}

static struct rest_transfer *
begin(struct rest_wire *wire, const struct rest_exchange *x, rest_ended *ended,
      void *aux)
{
    struct rest_transfer *t = create(x, ended, aux);

    t->wire = wire;
    curl_multi_add_handle(wire->multi, t->easy); /* Sets the timer. */
    return t;
}

static void
cancel(struct rest_transfer *t)
{
    curl_multi_remove_handle(t->wire->multi, t->easy);
    transfer_free(t);
}

static void
stop(struct rest_wire *wire)
{
    curl_multi_cleanup(steal(&wire->multi));
    uv_close((uv_handle_t *)&wire->timer, timer_closed);
    wire_put(wire);
}

static void
fetch(const struct rest_exchange *x, int fd, const atomic_bool *stop_,
      rest_ended *ended, void *aux)
{
    struct rest_transfer *t = create(x, ended, aux);

    t->fd = fd;
    t->stop = stop_;
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, write_body);
    curl_easy_setopt(t->easy, CURLOPT_BUFFERSIZE, PIECE_SIZE);
    curl_easy_setopt(t->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(t->easy, CURLOPT_LOW_SPEED_TIME, SILENCE_MAX_S);
    curl_easy_setopt(t->easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(t->easy, CURLOPT_XFERINFOFUNCTION, look_at_stop);
    curl_easy_setopt(t->easy, CURLOPT_XFERINFODATA, t);
    tell(t, curl_easy_perform(t->easy));
    transfer_free(t);
}

const struct rest_curl_ops drover_rest_curl = {
    .abi = REST_CURL_ABI,
    .start = start,
    .begin = begin,
    .cancel = cancel,
    .stop = stop,
    .fetch = fetch,
};

static struct rest_transfer *
create(const struct rest_exchange *x, rest_ended *ended, void *aux)
{
    struct rest_transfer *t = xzalloc(sizeof *t);

    t->ended = ended;
    t->aux = aux;
    t->answer_max = x->answer_max;
    t->easy = curl_easy_init();
    if (!t->easy) {
        abort(); /* Memory ran out. */
    }
    set_up(t, x);
    return t;
}

/* Without CURLOPT_QUICK_EXIT a transfer that is given up would wait, on the
 * loop, for the thread that resolves its name. */
static void
set_up(struct rest_transfer *t, const struct rest_exchange *x)
{
    CURL *easy = t->easy;

    curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(easy, CURLOPT_URL, x->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)x->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->why);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    /* On a connection that was used before, and turns out to be closed, the
     * library sends anything once more. */
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, x->is_repeatable ? 0L : 1L);
    set_method(t, x);
    set_tls(easy, x->tls);
}

static void
set_method(struct rest_transfer *t, const struct rest_exchange *x)
{
    bool has_body = x->body || str_eq(x->method, "PUT") ||
                    str_eq(x->method, "POST"); /* Which say it is empty. */

    for (size_t i = 0; x->headers[i]; i++) {
        t->headers = curl_slist_append(t->headers, x->headers[i]);
    }
    t->headers = curl_slist_append(t->headers, "Expect:");
    if (has_body) {
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                         (curl_off_t)(x->body ? x->size : 0));
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, x->body ? x->body : "");
    }
    if (has_body && !x->body) {
        t->headers = curl_slist_append(t->headers, "Content-Type:");
    }
    curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, x->method);
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
}

static void
set_tls(CURL *easy, const struct rest_tls *tls)
{
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    if (!tls) {
        return;
    }
    if (tls->insecure) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (tls->cafile) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, tls->cafile);
    }
    if (tls->certfile) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, tls->certfile);
        curl_easy_setopt(easy, CURLOPT_SSLKEY,
                         tls->keyfile ? tls->keyfile : tls->certfile);
    }
}

static void
transfer_free(struct rest_transfer *t)
{
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    free(t->body);
    free(t->token);
    free(t->request_id);
    free(t);
}

/* One that no program that we start will inherit. */
static curl_socket_t
open_socket(void *aux UNUSED, curlsocktype purpose UNUSED,
            struct curl_sockaddr *address)
{
    return socket(address->family, address->socktype | SOCK_CLOEXEC,
                  address->protocol);
}

/* Less than was offered ends the transfer. */
static size_t
take_body(char *data, size_t size UNUSED, size_t n, void *aux)
{
    struct rest_transfer *t = aux;

    if (n > t->answer_max - t->size) {
        t->is_too_large = true;
        return 0;
    }
    if (t->room == 0) {
        t->room = 4096;
        t->body = xmalloc(t->room);
    }
    while (t->room < t->size + n + 1) {
        t->body = xgrow(t->body, &t->room, 1);
    }
    memcpy(t->body + t->size, data, n);
    t->size += n;
    t->body[t->size] = '\0';
    return n;
}

/* What is said of a refusal is kept. */
static size_t
write_body(char *data, size_t size, size_t n, void *aux)
{
    struct rest_transfer *t = aux;
    long status = 0;

    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        return take_body(data, size, n, aux);
    }
    for (size_t done = 0; done < n;) {
        ssize_t wrote = write(t->fd, data + done, n - done);

        if (wrote < 0 && errno != EINTR) {
            t->write_error = errno;
            return 0;
        }
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    return n;
}

static int
look_at_stop(void *aux, curl_off_t to_come UNUSED, curl_off_t came UNUSED,
             curl_off_t to_go UNUSED, curl_off_t went UNUSED)
{
    const struct rest_transfer *t = aux;

    return atomic_load(t->stop) ? 1 : 0;
}

static void
keep_header(const char *line, size_t size, const char *name, char **ret)
{
    size_t skip = strlen(name);

    if (size > skip && line[skip] == ':' && !strncasecmp(line, name, skip)) {
        skip++;
        while (skip < size && line[skip] == ' ') {
            skip++;
        }
        while (size > skip && strchr("\r\n ", line[size - 1])) {
            size--;
        }
        free(*ret);
        *ret = xstrndup(line + skip, size - skip);
    }
}

static size_t
take_header(char *data, size_t size UNUSED, size_t n, void *aux)
{
    struct rest_transfer *t = aux;

    t->n_header_bytes += n;
    if (t->n_header_bytes > HEADERS_MAX) {
        t->is_too_large = true;
        return 0;
    }
    keep_header(data, n, "X-Subject-Token", &t->token);
    keep_header(data, n, "X-Openstack-Request-Id", &t->request_id);
    return n;
}

static int
timer_wanted(CURLM *multi UNUSED, long ms, void *aux)
{
    struct rest_wire *wire = aux;

    if (ms < 0) {
        uv_timer_stop(&wire->timer);
    } else {
        uv_timer_start(&wire->timer, timer_due, (uint64_t)ms, 0);
    }
    return 0;
}

static int
socket_wanted(CURL *easy UNUSED, curl_socket_t fd, int what, void *aux,
              void *of_socket)
{
    struct rest_wire *wire = aux;
    struct watch *watch = of_socket;
    int events = 0;

    if (what == CURL_POLL_REMOVE) {
        if (watch) {
            curl_multi_assign(wire->multi, fd, NULL);
            uv_close((uv_handle_t *)&watch->poll, watch_closed);
        }
        return 0;
    }
    if (!watch) {
        watch = xzalloc(sizeof *watch);
        watch->wire = wire;
        watch->fd = fd;
        wire->n_users++;
        uv_poll_init(wire->loop, &watch->poll, fd);
        curl_multi_assign(wire->multi, fd, watch);
    }
    events |= what & CURL_POLL_IN ? UV_READABLE : 0;
    events |= what & CURL_POLL_OUT ? UV_WRITABLE : 0;
    uv_poll_start(&watch->poll, events, socket_due);
    return 0;
}

static void
timer_due(uv_timer_t *timer)
{
    look(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static void
socket_due(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = container_of(poll, struct watch, poll);
    int what = status < 0 ? CURL_CSELECT_ERR : 0;

    what |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
    what |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
    look(watch->wire, watch->fd, what);
}

/* One result at a time: whoever is told may cancel others, whose results the
 * library then forgets, or stop it all. */
static void
look(struct rest_wire *wire, curl_socket_t fd, int events)
{
    CURLMsg *message;
    int n;

    wire->n_users++;
    curl_multi_socket_action(wire->multi, fd, events, &n);
    while (wire->multi && (message = curl_multi_info_read(wire->multi, &n))) {
        struct rest_transfer *t;
        CURLcode code = message->data.result; /* Goes with the handle. */

        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
        curl_multi_remove_handle(wire->multi, t->easy);
        tell(t, code);
        transfer_free(t);
    }
    wire_put(wire);
}

static void
tell(struct rest_transfer *t, CURLcode code)
{
    struct rest_outcome outcome = {
        .fault = fault_of(t, code),
        .why = t->why[0] ? t->why : curl_easy_strerror(code),
        .body = t->body ? t->body : "",
        .size = t->size,
        .token = t->token,
        .request_id = t->request_id,
    };
    long status = 0;

    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    outcome.status = (int)status;
    if (t->write_error) {
        outcome.why = strerror(t->write_error);
    }
    t->ended(t->aux, &outcome);
}

static enum rest_fault
fault_of(const struct rest_transfer *t, CURLcode code)
{
    curl_off_t connected_us = 0;

    curl_easy_getinfo(t->easy, CURLINFO_APPCONNECT_TIME_T, &connected_us);
    if (connected_us == 0) {
        curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &connected_us);
    }
    switch (code) {
    case CURLE_OK:
        return REST_OK;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
        return REST_UNREACHABLE;
    case CURLE_OPERATION_TIMEDOUT:
        return connected_us ? REST_TIMED_OUT : REST_UNREACHABLE;
    case CURLE_ABORTED_BY_CALLBACK:
        return REST_STOPPED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return REST_DISTRUSTED;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_FUNCTION_ARGUMENT:
        return REST_IMPOSSIBLE;
    default:
        return t->is_too_large  ? REST_TOO_LARGE
               : t->write_error ? REST_NOT_WRITTEN
                                : REST_LOST;
    }
}

static void
watch_closed(uv_handle_t *handle)
{
    struct watch *watch = container_of((uv_poll_t *)handle, struct watch, poll);

    wire_put(watch->wire);
    free(watch);
}

static void
timer_closed(uv_handle_t *handle)
{
    wire_put(handle->data);
}

static void
wire_put(struct rest_wire *wire)
{
    if (--wire->n_users == 0) {
        free(wire);
    }
}
