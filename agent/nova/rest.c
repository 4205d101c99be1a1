#include <config.h>

#include "agent/nova/rest.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/nova/rest_download.h"

LOG_MODULE(rest);

#define MAX_SENT 8
#define MAX_DOWNLOADS 4
#define MAX_CALLS 1000
#define PAUSE_MS 500
#define ANSWER_MAX ((size_t)1 << 20)

enum call_state {
    CALL_WAITS,  /* For a place or the module. */
    CALL_SENT,   /* Has a place. */
    CALL_PAUSES, /* Until the next try, without a place. */
    CALL_FAILS,  /* Is told so when the timer is due. */
    CALL_ENDED,
};

struct rest_call {
    struct rest *rest;
    struct rest_call *prev, *next; /* Of all calls, in order. */
    enum call_state state;
    uv_timer_t timer;
    struct rest_transfer *transfer; /* Of CALL_SENT: one of these two. */
    struct rest_download *download;
    struct error *error; /* Of CALL_FAILS. */
    rest_done *done;
    void *aux;
    unsigned n_holders; /* The timer, a download. */

    char *method, *url, *body;
    char **headers; /* Ends with null. */
    size_t size;
    struct rest_tls tls;
    bool is_repeatable;
    int file; /* -1: none. */
    unsigned n_tries, pause_ms;
    uint64_t deadline_ms;
    struct log_context log;
};

struct rest {
    struct rest_options options;
    char *module; /* Path of the wire's. */
    const struct rest_curl_ops *ops;
    struct rest_wire *wire; /* Null: not loaded yet. */
    bool is_loading, is_closed;
    unsigned n_users;             /* The owner, a load under way, timers. */
    unsigned n_sent, n_downloads; /* With a place; the latter to files. */
    struct rest_call *first, *last;
    struct rest_counters counters;
};

/* The module on its way in, which may have to wait for the disk. */
struct load {
    struct rest *rest;
    const struct rest_curl_ops *ops;
    char *fault;
};

static struct rest_call *call_create(struct rest *rest, rest_done *done,
                                     void *aux);
static void fail_soon(struct rest_call *call, struct error *error);
static void send_waiting(struct rest *rest);
static bool has_place(const struct rest_call *call);
static unsigned *places_of(const struct rest_call *call);
static void send_one(struct rest_call *call);
static void stop_sent(struct rest_call *call);
static void download_ended(void *aux, const struct rest_outcome *outcome);
static void transfer_ended(void *aux, const struct rest_outcome *outcome);
static bool may_try_again(const struct rest_call *call,
                          const struct rest_outcome *outcome);
static void try_later(struct rest_call *call,
                      const struct rest_outcome *outcome);
static struct error *outcome_error(const struct rest_call *call,
                                   const struct rest_outcome *outcome);
static void timer_due(uv_timer_t *timer);
static void call_end(struct rest_call *call, const struct rest_answer *answer,
                     struct error *error);
static void call_remove(struct rest_call *call);
static void timer_closed(uv_handle_t *handle);
static void call_put(struct rest_call *call);
static void load_start(struct rest *rest);
static void load_run(void *aux);
static void load_done(void *aux);
static char **copy_headers(const char *const *headers);
static void rest_put(struct rest *rest);

struct rest *
rest_create(const struct rest_options *options)
{
    struct rest *rest = xzalloc(sizeof *rest);
    struct rest_options *o = &rest->options;

    *o = *options;
    o->max_sent = o->max_sent ? o->max_sent : MAX_SENT;
    o->max_downloads = o->max_downloads ? o->max_downloads : MAX_DOWNLOADS;
    o->max_calls = o->max_calls ? o->max_calls : MAX_CALLS;
    o->pause_ms = o->pause_ms ? o->pause_ms : PAUSE_MS;
    o->answer_max = o->answer_max ? o->answer_max : ANSWER_MAX;
    rest->module = xasprintf("%s/drover-rest.so", options->directory);
    o->directory = NULL;
    rest->n_users = 1;
    return rest;
}

void
rest_close(struct rest *rest)
{
    rest->is_closed = true;
    while (rest->first) {
        struct rest_call *call = rest->first;

        stop_sent(call);
        call_end(call, NULL,
                 error_new(ERR_CANCELLED, "%s '%s': the agent stops",
                           call->method, call->url));
    }
    if (rest->wire) {
        rest->ops->stop(steal(&rest->wire));
    }
}

void
rest_free(struct rest *rest)
{
    assert(!rest || rest->is_closed);
    if (rest) {
        rest_put(rest);
    }
}

struct rest_call *
rest_send(struct rest *rest, const struct rest_request *request,
          rest_done *done, void *aux)
{
    struct rest_call *call = call_create(rest, done, aux);
    unsigned timeout_ms =
        request->timeout_ms ? request->timeout_ms : REST_TIMEOUT_MS;

    call->method = xstrdup(request->method);
    call->url = xstrdup(request->url);
    call->headers = copy_headers(request->headers);
    call->body = request->body ? xmemdup(request->body, request->size) : NULL;
    call->size = request->size;
    call->is_repeatable =
        request->is_repeatable || !str_eq(request->method, "POST");
    if (request->tls) {
        call->tls = *request->tls;
    }
    if (request->log) {
        call->log = *request->log;
    }
    if (request->file) {
        call->file = fcntl(*request->file, F_DUPFD_CLOEXEC, 0);
    }
    call->deadline_ms = clock_now_ms() + timeout_ms;
    if (rest->is_closed) {
        fail_soon(call, error_new(ERR_CANCELLED, "the agent stops"));
    } else if (request->file && call->file < 0) {
        fail_soon(call, error_new(ERR_REST, "its file: %s", strerror(errno)));
    } else if (rest->counters.n_open > rest->options.max_calls) {
        fail_soon(call, error_new(ERR_REST, "%u requests are under way already",
                                  rest->options.max_calls));
    } else {
        uv_timer_start(&call->timer, timer_due, timeout_ms, 0);
        send_waiting(rest);
    }
    return call;
}

struct rest_call *
rest_fail(struct rest *rest, struct error *error, rest_done *done, void *aux)
{
    struct rest_call *call = call_create(rest, done, aux);

    call->method = xstrdup("");
    call->url = xstrdup("");
    fail_soon(call, error);
    return call;
}

void
rest_cancel(struct rest_call *call)
{
    struct rest *rest = call->rest;

    stop_sent(call);
    call_remove(call);
    send_waiting(rest);
}

struct rest_counters
rest_counters(const struct rest *rest)
{
    return rest->counters;
}

static struct rest_call *
call_create(struct rest *rest, rest_done *done, void *aux)
{
    struct rest_call *call = xzalloc(sizeof *call);

    call->rest = rest;
    call->done = done;
    call->aux = aux;
    call->file = -1;
    call->n_holders = 1;
    call->pause_ms = rest->options.pause_ms;
    uv_timer_init(rest->options.loop, &call->timer);
    rest->n_users++;
    rest->counters.n_calls++;
    rest->counters.n_open++;
    call->prev = rest->last;
    *(call->prev ? &call->prev->next : &rest->first) = call;
    rest->last = call;
    return call;
}

static void
fail_soon(struct rest_call *call, struct error *error)
{
    call->state = CALL_FAILS;
    call->error = error;
    uv_timer_start(&call->timer, timer_due, 0, 0);
}

/* All are looked at: one that has no place holds up its own kind only.  Whoever
 * comes here again from within finds less to do. */
static void
send_waiting(struct rest *rest)
{
    struct rest_call *call = rest->first;

    if (rest->is_closed || !call) {
        return;
    }
    if (!rest->wire) {
        load_start(rest);
        return;
    }
    for (; call; call = call->next) {
        if (call->state == CALL_WAITS && has_place(call)) {
            send_one(call);
        }
    }
}

static bool
has_place(const struct rest_call *call)
{
    const struct rest_options *options = &call->rest->options;

    return *places_of(call) <
           (call->file >= 0 ? options->max_downloads : options->max_sent);
}

/* How many are taken of those that it may have. */
static unsigned *
places_of(const struct rest_call *call)
{
    return call->file >= 0 ? &call->rest->n_downloads : &call->rest->n_sent;
}

/* The transfer has a time-out of its own: what is left of ours. */
static void
send_one(struct rest_call *call)
{
    struct rest *rest = call->rest;
    uint64_t now_ms = clock_now_ms();
    struct rest_exchange exchange = {
        .method = call->method,
        .url = call->url,
        .headers = (const char *const *)call->headers,
        .body = call->body,
        .size = call->size,
        .tls = &call->tls,
        .is_repeatable = call->is_repeatable,
        .timeout_ms = call->deadline_ms > now_ms
                          ? (unsigned)(call->deadline_ms - now_ms)
                          : 1,
        .answer_max = rest->options.answer_max,
    };

    uv_timer_stop(&call->timer);
    call->state = CALL_SENT;
    call->n_tries++;
    ++*places_of(call);
    if (call->file >= 0) {
        call->n_holders++;
        call->download =
            rest_download_begin(rest->options.workers, rest->ops, &exchange,
                                call->file, download_ended, call);
    } else {
        call->transfer =
            rest->ops->begin(rest->wire, &exchange, transfer_ended, call);
    }
}

static void
stop_sent(struct rest_call *call)
{
    if (call->transfer) {
        call->rest->ops->cancel(steal(&call->transfer));
    }
    if (call->download) {
        rest_download_stop(steal(&call->download));
    }
}

/* Perhaps of a call that has ended before. */
static void
download_ended(void *aux, const struct rest_outcome *outcome)
{
    struct rest_call *call = aux;

    if (steal(&call->download)) {
        transfer_ended(call, outcome);
    }
    call_put(call);
}

static void
transfer_ended(void *aux, const struct rest_outcome *outcome)
{
    struct rest_call *call = aux;
    struct rest *rest = call->rest;
    struct rest_answer answer = {
        .status = outcome->status,
        .body = outcome->body,
        .size = outcome->size,
        .token = outcome->token,
        .request_id = outcome->request_id,
    };

    call->transfer = NULL;
    if (may_try_again(call, outcome)) {
        try_later(call, outcome);
    } else if (outcome->fault) {
        call_end(call, NULL, outcome_error(call, outcome));
    } else {
        log_debug(&call->log, "%s '%s': %d, %zu bytes%s%s", call->method,
                  call->url, answer.status, answer.size,
                  answer.request_id ? ", " : "",
                  answer.request_id ? answer.request_id : "");
        call_end(call, &answer, NULL);
    }
    send_waiting(rest);
}

static bool
may_try_again(const struct rest_call *call, const struct rest_outcome *outcome)
{
    bool is_over = call->n_tries >= REST_N_TRIES ||
                   clock_now_ms() + call->pause_ms >= call->deadline_ms;

    switch (outcome->fault) {
    case REST_OK:
        return !is_over && call->is_repeatable &&
               (outcome->status == 502 || outcome->status == 503 ||
                outcome->status == 504);
    case REST_UNREACHABLE:
        return !is_over;
    case REST_LOST:
        return !is_over && call->is_repeatable;
    default:
        return false;
    }
}

static void
try_later(struct rest_call *call, const struct rest_outcome *outcome)
{
    struct rest *rest = call->rest;

    if (outcome->fault) {
        log_debug(&call->log, "%s '%s': %s; again in %u ms", call->method,
                  call->url, outcome->why, call->pause_ms);
    } else {
        log_debug(&call->log, "%s '%s': %d; again in %u ms", call->method,
                  call->url, outcome->status, call->pause_ms);
    }
    rest->counters.n_retried++;
    --*places_of(call);
    call->state = CALL_PAUSES;
    uv_timer_start(&call->timer, timer_due, call->pause_ms, 0);
    call->pause_ms *= 2;
}

static struct error *
outcome_error(const struct rest_call *call, const struct rest_outcome *outcome)
{
    if (outcome->fault == REST_TOO_LARGE) {
        return error_new(ERR_REST, "%s '%s': the answer is too large",
                         call->method, call->url);
    }
    if (outcome->fault == REST_NOT_WRITTEN) {
        return error_new(ERR_STORAGE, "%s '%s': write what comes: %s",
                         call->method, call->url, outcome->why);
    }
    return error_new(ERR_REST, "%s '%s': %s%s", call->method, call->url,
                     outcome->why,
                     call->n_tries > 1 ? ", after several tries" : "");
}

static void
timer_due(uv_timer_t *timer)
{
    struct rest_call *call = container_of(timer, struct rest_call, timer);
    struct rest *rest = call->rest;
    uint64_t now_ms = clock_now_ms();

    if (call->state == CALL_FAILS) {
        call_end(call, NULL, steal(&call->error));
    } else if (call->state == CALL_PAUSES && call->deadline_ms > now_ms) {
        call->state = CALL_WAITS;
        uv_timer_start(&call->timer, timer_due, call->deadline_ms - now_ms, 0);
        send_waiting(rest);
    } else {
        call_end(call, NULL,
                 error_new(ERR_REST, "%s '%s': no turn within the time-out",
                           call->method, call->url));
    }
}

static void
call_end(struct rest_call *call, const struct rest_answer *answer,
         struct error *error)
{
    rest_done *done = call->done;
    void *aux = call->aux;

    call->rest->counters.n_failed += error ? 1 : 0;
    call_remove(call);
    done(aux, answer, error);
}

/* The call's memory, of which an answer holds nothing, goes with its timer, or
 * with the thread that still looks at it. */
static void
call_remove(struct rest_call *call)
{
    struct rest *rest = call->rest;

    *places_of(call) -= call->state == CALL_SENT ? 1 : 0;
    call->state = CALL_ENDED;
    rest->counters.n_open--;
    *(call->prev ? &call->prev->next : &rest->first) = call->next;
    *(call->next ? &call->next->prev : &rest->last) = call->prev;
    uv_close((uv_handle_t *)&call->timer, timer_closed);
}

static void
timer_closed(uv_handle_t *handle)
{
    call_put(container_of((uv_timer_t *)handle, struct rest_call, timer));
}

static void
call_put(struct rest_call *call)
{
    if (--call->n_holders) {
        return;
    }
    if (call->file >= 0) {
        close(call->file);
    }
    for (size_t i = 0; call->headers && call->headers[i]; i++) {
        free(call->headers[i]);
    }
    free(call->headers);
    free(call->method);
    free(call->url);
    free(call->body);
    error_free(call->error);
    rest_put(call->rest);
    free(call);
}

static void
load_start(struct rest *rest)
{
    if (!rest->is_loading) {
        struct load *load = xzalloc(sizeof *load);

        rest->is_loading = true;
        rest->n_users++;
        load->rest = rest;
        worker_submit(rest->options.workers, load_run, load_done, load);
    }
}

/* On a worker. */
static void
load_run(void *aux)
{
    struct load *load = aux;
    /* Its library keeps what it likes: never unloaded. */
    void *module =
        dlopen(load->rest->module, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

    if (!module) {
        load->fault = xstrdup(dlerror());
        return;
    }
    load->ops = dlsym(module, REST_CURL_SYMBOL);
    if (!load->ops || load->ops->abi != REST_CURL_ABI) {
        load->fault = xstrdup("it is not ours");
    }
}

/* Who waits is told of a fault; the next one has it looked for again. */
static void
load_done(void *aux)
{
    struct load *load = aux;
    struct rest *rest = load->rest;

    rest->is_loading = false;
    rest->ops = load->ops;
    if (!load->fault && !rest->is_closed) {
        rest->wire = rest->ops->start(rest->options.loop);
        load->fault = rest->wire ? NULL : xstrdup("the library does not start");
    }
    for (struct rest_call *call = rest->first; call && load->fault;
         call = call->next) {
        if (call->state == CALL_WAITS) {
            fail_soon(call, error_new(ERR_REST, "'%s': %s", rest->module,
                                      load->fault));
        }
    }
    if (rest->wire) {
        send_waiting(rest);
    }
    free(load->fault);
    free(load);
    rest_put(rest);
}

static char **
copy_headers(const char *const *headers)
{
    size_t n = 0;

    while (headers && headers[n]) {
        n++;
    }
    char **copy = xcalloc(n + 1, sizeof *copy);
    for (size_t i = 0; i < n; i++) {
        copy[i] = xstrdup(headers[i]);
    }
    return copy;
}

static void
rest_put(struct rest *rest)
{
    if (--rest->n_users == 0) {
        free(rest->module);
        free(rest);
    }
}
