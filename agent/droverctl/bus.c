#include <config.h>

#include "agent/droverctl/droverctl.h"

#include <signal.h>
#include <stdlib.h>
#include <uv.h>

#include "agent/base/clock.h"
#include "agent/link_conf.h"
#include "rpc/client.h"
#include "rpc/delivery.h"

/* The api of the agents, agent/api/api.h. */
#define TOPIC "compute"
#define NAME_SPACE "drover"
#define VERSION "1.0"

/* A call that takes longer than this to answer asks for signs of life. */
#define MONITOR_FROM_MS 60000
#define MONITOR_S 20

/* How long leaving may take; the broker removes what is left behind. */
#define GRACE_MS 1000
#define CLOSE_MS 3000

struct bus {
    uv_loop_t loop;
    struct completion_queue *q;
    struct link *link;
    struct rpc_client *client;
    struct json *context;
    uv_timer_t timer;
    uv_signal_t signals[2];
    bool is_up, is_interrupted, catches_signals, timer_fired, is_closed;
    bus_heard *heard;
    void *heard_aux;
    size_t max_body;
};

/* A question under way.  A signal may make us not wait for its answer. */
struct pending {
    bool is_done, is_abandoned;
    struct json *result;
    struct error *error;
    struct answers *answers; /* Gathering. */
};

static struct error *bus_open(struct tool *tool, const char *const *keys);
static void bus_create(struct tool *tool, const struct link_options *options);
static struct error *wait_until_up(struct tool *tool);
static struct rpc_target target_of(struct tool *tool, const char *host);
static struct error *wait_for(struct bus *bus, struct pending *pending);
static void called(void *aux, struct json **result, struct error *error);
static void gathered_one(void *aux, const struct json *result,
                         const struct error *error);
static void gathered(void *aux);
static bool is_about_not_having(const struct error *error);
static void on_state(void *aux, bool up);
static void on_heard(void *aux, const struct delivery *delivery);
static void on_timer(uv_timer_t *timer);
static void on_signal(uv_signal_t *handle, int number);
static void on_closed(void *aux);

struct error *
bus_ask(struct tool *tool, const char *host, const char *method,
        const struct json *args, unsigned timeout_ms, struct json **ret)
{
    struct error *error = bus_open(tool, NULL);

    if (error) {
        return error;
    }
    struct bus *bus = tool->bus;
    struct rpc_target target = target_of(tool, host);
    struct rpc_options options = {
        .timeout_ms = timeout_ms,
        .monitor_s = timeout_ms >= MONITOR_FROM_MS ? MONITOR_S : 0,
    };
    AUTO_JSON none = json_object();
    struct pending *pending = xzalloc(sizeof *pending);
    rpc_call(bus->client, &target, &options, bus->context, method,
             args ? args : none, called, pending);
    error = wait_for(bus, pending);
    if (pending->is_abandoned) {
        return error;
    }
    if (!error) {
        *ret = pending->result ? pending->result : json_null();
    }
    free(pending);
    return error_code(error) == ERR_UNDELIVERABLE
               ? error_wrap(error, "host '%s' has no agent on this bus", host)
               : error;
}

struct error *
bus_gather(struct tool *tool, const char *method, const struct json *args,
           struct answers *ret)
{
    *ret = (struct answers){.results = json_array()};
    struct error *error = bus_open(tool, NULL);
    if (error) {
        return error;
    }
    struct bus *bus = tool->bus;
    struct rpc_target target = target_of(tool, NULL);
    AUTO_JSON none = json_object();
    struct pending *pending = xzalloc(sizeof *pending);
    uint64_t start_ms = clock_now_ms();
    pending->answers = ret;
    rpc_gather(bus->client, &target, tool->timeout_ms, bus->context, method,
               args ? args : none, gathered_one, gathered, pending);
    error = wait_for(bus, pending);
    if (pending->is_abandoned) {
        return error;
    }
    free(pending);
    ret->is_incomplete = clock_now_ms() >= start_ms + tool->timeout_ms;
    if (!error && ret->n_hosts == 0 && !ret->error) {
        error = error_new(ERR_NOT_FOUND,
                          "no agent answers (is droverd running on any host, "
                          "and on this bus?)");
    }
    return error;
}

void
answers_close(struct answers *answers)
{
    json_free(answers->results);
    error_free(answers->error);
}

struct error *
answers_judge(struct answers *answers)
{
    if (answers->error && json_size(answers->results) == 0) {
        return steal(&answers->error);
    }
    if (answers->error) {
        AUTO_FREE text = error_text(answers->error);
        AUTO_FREE clean = text_clean(text);
        fprintf(stderr, "droverctl: one host answered: %s\n", clean);
    }
    if (answers->is_incomplete) {
        fputs("droverctl: not all hosts have answered\n", stderr);
    }
    return NULL;
}

/* The names in 'hosts' that are not in 'others', or with null all, as one text;
 * the caller's, null if there is none. */
static char *
join_names(const struct json *hosts, const struct json *others)
{
    char *text = NULL;

    json_for_each (host, hosts) {
        const char *name = json_name(host);

        if (!json_has(others, name)) {
            char *longer =
                xasprintf("%s%s%s", text ? text : "", text ? ", " : "", name);
            free(text);
            text = longer;
        }
    }
    return text;
}

/* Who is there, and of whom they know; each an object with the names. */
static void
gather_names(struct tool *tool, struct json *there, struct json *known)
{
    AUTO_ANSWERS answers;
    AUTO_ERROR error = bus_gather(tool, "host_names", NULL, &answers);

    json_for_each (answer, error ? NULL : answers.results) {
        const char *host = json_string_of(answer, "host");

        if (host) {
            json_set_bool(there, host, true);
        }
        json_for_each (name, json_get(answer, "known")) {
            if (json_is_string(name)) {
                json_set_bool(known, json_get_string(name), true);
            }
        }
    }
}

struct error *
answers_nothing(struct tool *tool, struct answers *answers,
                enum error_code code, const char *arg_name, const char *name)
{
    if (answers->error) {
        return steal(&answers->error);
    }
    AUTO_JSON there = json_object();
    AUTO_JSON known = json_object();
    gather_names(tool, there, known);
    AUTO_FREE silent = join_names(known, there);
    if (silent) {
        AUTO_FREE heard = join_names(there, NULL);
        return error_new(ERR_TIMEOUT,
                         "no host that answered (%s) knows '%s', and some did "
                         "not answer: %s",
                         heard ? heard : "none", name, silent);
    }
    if (answers->is_incomplete) {
        return error_new(ERR_TIMEOUT,
                         "no host that answered knows '%s', and not all have "
                         "answered",
                         name);
    }
    return error_set_arg(
        error_new(code, "none of %u hosts knows it", answers->n_hosts),
        arg_name, name);
}

struct error *
bus_listen(struct tool *tool, const char *const *keys, bus_heard *heard,
           void *aux)
{
    struct error *error = bus_open(tool, keys);

    if (!error) {
        tool->bus->heard = heard;
        tool->bus->heard_aux = aux;
    }
    return error;
}

void
bus_stop_listening(struct tool *tool)
{
    tool->bus->is_interrupted = true;
}

struct error *
bus_catch_signals(struct tool *tool)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    struct error *error = bus_open(tool, NULL);

    if (error || tool->bus->catches_signals) {
        return error;
    }
    tool->bus->catches_signals = true;
    for (size_t i = 0; i < N_ELEMENTS(numbers); i++) {
        uv_signal_t *handle = &tool->bus->signals[i];

        uv_signal_init(&tool->bus->loop, handle);
        handle->data = tool->bus;
        uv_signal_start(handle, on_signal, numbers[i]);
    }
    return NULL;
}

bool
bus_is_interrupted(const struct tool *tool)
{
    return tool->bus && tool->bus->is_interrupted;
}

void
bus_wait(struct tool *tool, unsigned ms)
{
    struct bus *bus = tool->bus;

    bus->timer_fired = false;
    uv_timer_start(&bus->timer, on_timer, ms, 0);
    while (!bus->timer_fired && !bus->is_interrupted) {
        uv_run(&bus->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&bus->timer);
}

void
bus_close(struct tool *tool)
{
    struct bus *bus = tool->bus;

    if (!bus) {
        return;
    }
    bus->heard = NULL;
    rpc_client_close(bus->client);
    link_close(bus->link, GRACE_MS, on_closed, bus);
    bus->timer_fired = false;
    uv_timer_start(&bus->timer, on_timer, CLOSE_MS, 0);
    while (!bus->is_closed && !bus->timer_fired) {
        uv_run(&bus->loop, UV_RUN_ONCE);
    }
    if (!bus->is_closed) {
        return; /* Some thread is stuck; the end of the process frees all. */
    }
    completion_queue_close(bus->q);
    uv_close((uv_handle_t *)&bus->timer, NULL);
    for (size_t i = 0; bus->catches_signals && i < N_ELEMENTS(bus->signals);
         i++) {
        uv_close((uv_handle_t *)&bus->signals[i], NULL);
    }
    uv_run(&bus->loop, UV_RUN_DEFAULT);
    uv_loop_close(&bus->loop);
    json_free(bus->context);
    free(bus);
    tool->bus = NULL;
}

struct error *
agent_ask(struct tool *tool, const char *host, const char *method,
          const struct json *args, struct json **ret)
{
    host = host ? host : tool->host;
    return host ? bus_ask(tool, host, method, args, tool->timeout_ms, ret)
                : socket_ask(tool, method, args, ret);
}

/* At the first call connects and waits until that is done. */
static struct error *
bus_open(struct tool *tool, const char *const *keys)
{
    CLEANUP(transport_url_free_at) struct transport_url *url = NULL;
    struct link_options options;
    struct conf *conf;

    if (tool->bus) {
        return NULL;
    }
    struct error *error = tool_conf(tool, &conf);
    if (!error) {
        error = link_conf_make(conf, NULL, "droverctl", &options, &url);
    }
    if (error) {
        return error;
    }
    options.listen_keys = keys;
    bus_create(tool, &options);
    return wait_until_up(tool);
}

static void
bus_create(struct tool *tool, const struct link_options *options)
{
    struct bus *bus = xzalloc(sizeof *bus);

    tool->bus = bus;
    uv_loop_init(&bus->loop);
    uv_timer_init(&bus->loop, &bus->timer);
    bus->timer.data = bus;
    bus->q = completion_queue_create(&bus->loop);
    bus->link = link_create(bus->q, options);
    bus->max_body = options->max_body;
    struct transport *transport = link_transport(bus->link);
    bus->client = rpc_client_create(&bus->loop, transport);
    transport->server = (struct transport_events){
        .heard = on_heard,
        .state = on_state,
        .aux = bus,
    };
    bus->context = rpc_context_create();
    link_start(bus->link);
}

static struct error *
wait_until_up(struct tool *tool)
{
    struct bus *bus = tool->bus;

    uv_timer_start(&bus->timer, on_timer, tool->timeout_ms, 0);
    while (!bus->is_up && !bus->timer_fired) {
        uv_run(&bus->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&bus->timer);
    if (bus->is_up) {
        return NULL;
    }
    struct link_status status = link_status(bus->link);
    return error_new(ERR_TIMEOUT, "the broker can't be reached: %s",
                     *status.last_error ? status.last_error : "no answer");
}

static struct rpc_target
target_of(struct tool *tool, const char *host)
{
    return (struct rpc_target){
        .exchange = tool->conf->control_exchange,
        .topic = TOPIC,
        .server = host,
        .name_space = NAME_SPACE,
        .version = VERSION,
    };
}

/* What is abandoned frees itself; the rest is the caller's to free. */
static struct error *
wait_for(struct bus *bus, struct pending *pending)
{
    while (!pending->is_done && !bus->is_interrupted) {
        uv_run(&bus->loop, UV_RUN_ONCE);
    }
    if (pending->is_done) {
        return steal(&pending->error);
    }
    pending->is_abandoned = true;
    return error_new(ERR_CANCELLED, "interrupted");
}

static void
called(void *aux, struct json **result, struct error *error)
{
    struct pending *pending = aux;

    if (pending->is_abandoned) {
        error_free(error);
        free(pending);
        return;
    }
    pending->is_done = true;
    pending->error = error;
    pending->result = error ? NULL : steal(result);
}

static void
gathered_one(void *aux, const struct json *result, const struct error *error)
{
    struct pending *pending = aux;
    struct answers *answers = pending->answers;

    if (pending->is_abandoned) {
        return;
    }
    answers->n_hosts++;
    if (!error) {
        json_append(answers->results, result ? json_copy(result) : json_null());
    } else if (!answers->error && !is_about_not_having(error)) {
        answers->error = error_copy(error);
    }
}

static void
gathered(void *aux)
{
    struct pending *pending = aux;

    if (pending->is_abandoned) {
        free(pending);
    } else {
        pending->is_done = true;
    }
}

/* The host has no such thing, or is not one of drover's. */
static bool
is_about_not_having(const struct error *error)
{
    switch (error_code(error)) {
    case ERR_INSTANCE_NOT_FOUND:
    case ERR_MIGRATION_NOT_FOUND:
    case ERR_NO_SUCH_METHOD:
    case ERR_UNSUPPORTED_VERSION:
        return true;
    default:
        return false;
    }
}

static void
on_state(void *aux, bool up)
{
    struct bus *bus = aux;

    bus->is_up = up;
    if (bus->heard) {
        fputs(up ? "droverctl: the broker is back\n"
                 : "droverctl: the broker is away; waiting for it\n",
              stderr);
    }
}

static void
on_heard(void *aux, const struct delivery *delivery)
{
    struct bus *bus = aux;
    AUTO_FREE inflated = NULL;
    const char *body;
    size_t size;

    AUTO_ERROR error =
        delivery_open(delivery, bus->max_body, &inflated, &body, &size, NULL);
    if (error) {
        fprintf(stderr, "droverctl: %s\n", error_message(error));
    } else if (bus->heard) {
        bus->heard(bus->heard_aux, body, size);
    }
}

static void
on_timer(uv_timer_t *timer)
{
    struct bus *bus = timer->data;

    bus->timer_fired = true;
}

static void
on_signal(uv_signal_t *handle, int number UNUSED)
{
    struct bus *bus = handle->data;

    bus->is_interrupted = true;
}

static void
on_closed(void *aux)
{
    struct bus *bus = aux;

    bus->is_closed = true;
}
