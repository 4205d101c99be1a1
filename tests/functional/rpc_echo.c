#include <config.h>

/* A service and a client that are nothing but rpc/, for the functional tests
 * of the bus.
 *
 *   rpc_echo [OPTIONS] serve                  until SIGTERM
 *   rpc_echo [OPTIONS] call METHOD ARGS
 *   rpc_echo [OPTIONS] cast METHOD ARGS
 *   rpc_echo [OPTIONS] gather METHOD ARGS
 *   rpc_echo [OPTIONS] class|object ...       see echo_objects.h
 *   rpc_echo [OPTIONS] notify PRIORITY EVENT PAYLOAD
 *   rpc_echo [OPTIONS] flood COUNT IN-FLIGHT  many pings
 *
 * Each line of the output is a JSON object.  SIGUSR1 makes a service print its
 * status, SIGUSR2 makes it ask all services who they are. */

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/loop_watch.h"
#include "agent/base/worker.h"
#include "agent/link_conf.h"
#include "rpc/client.h"
#include "rpc/failure.h"
#include "rpc/link.h"
#include "rpc/notifier.h"
#include "rpc/server.h"
#include "rpc/server_base.h"
#include "tests/functional/echo_objects.h"

struct echo {
    uv_loop_t loop;
    struct completion_queue *q;
    struct link *link;
    struct rpc_server *server;
    struct rpc_client *client;
    struct notifier *notifier;
    struct echo_objects *objects; /* Null: it knows no conductor. */
    bool has_conductor;
    struct json *own_versions;
    uv_signal_t signals[3];
    struct rpc_target target;
    struct rpc_options options;
    const char *notify_topic;
    unsigned grace_ms, watch_ms, max_held, max_held_bytes;
    struct loop_watch *watch;
    struct worker_pool *workers;
    char **args; /* What follows the command. */
    const char *command;
    unsigned n_left, n_in_flight, n_wanted, n_errors, n_met;
    uint64_t start_ms;
    int status;
};

struct sleeper {
    uv_timer_t timer;
    struct request *request;
    struct json *result;
};

/* Sends 'count' notifications, one at a time. */
struct announcer {
    uv_timer_t timer;
    struct echo *e;
    int64_t n, count;
};

static void print_line(struct json *line);
static void notify(struct echo *e, const char *priority, const char *event,
                   struct json *payload);

/* ---- The service --------------------------------------------------------- */

static unsigned n_executed;

static void
echo(void *aux UNUSED, struct request *request)
{
    n_executed++;
    request_reply(request, json_copy(request_arg(request, "value")));
}

static void
sleeper_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void
sleep_over(uv_timer_t *timer)
{
    struct sleeper *sleeper = timer->data;

    request_reply(sleeper->request, sleeper->result);
    uv_close((uv_handle_t *)timer, sleeper_closed);
}

static void
sleep_a_while(void *aux, struct request *request)
{
    struct echo *e = aux;
    struct sleeper *sleeper = xzalloc(sizeof *sleeper);
    const struct json *seconds = request_arg(request, "seconds");

    n_executed++;
    if (request_arg(request, "mark")) {
        struct json *line = json_object();

        json_set_string(line, "event", "ran");
        json_set(line, "mark", json_copy(request_arg(request, "mark")));
        print_line(line);
    }
    uv_timer_init(&e->loop, &sleeper->timer);
    sleeper->timer.data = sleeper;
    sleeper->request = request;
    sleeper->result = json_copy(seconds);
    uv_timer_start(&sleeper->timer, sleep_over,
                   (uint64_t)(json_get_double(seconds) * 1000), 0);
}

static void
fail(void *aux UNUSED, struct request *request)
{
    const char *with = json_get_string(request_arg(request, "with"));

    n_executed++;
    if (str_eq(with, "InstanceNotFound")) {
        request_fail(request,
                     error_set_arg(error_new(ERR_INSTANCE_NOT_FOUND, "gone"),
                                   "instance_id", "42"));
    } else if (str_eq(with, "NotImplementedError")) {
        request_fail(request, error_new(ERR_NOT_IMPLEMENTED, "not here"));
    } else {
        request_fail(request, error_new(ERR_INTERNAL, "it failed"));
    }
}

static void
none(void *aux UNUSED, struct request *request)
{
    n_executed++;
    request_reply(request, NULL);
}

/* Numbered requests, of a few kinds: do they come in order, and all? */
#define N_KINDS 16
static struct {
    int64_t next[N_KINDS];
    int64_t n_seen, n_disordered;
} seen_steps;

static void
step(void *aux UNUSED, struct request *request)
{
    int64_t of = json_get_int(request_arg(request, "of"));
    int64_t n = json_get_int(request_arg(request, "n"));

    if (of < 0 || of >= N_KINDS) {
        request_fail(request, error_new(ERR_VALUE, "of what?"));
        return;
    }
    seen_steps.n_seen++;
    seen_steps.n_disordered += n != seen_steps.next[of];
    seen_steps.next[of] = n + 1;
    request_reply(request, NULL);
}

static void
steps(void *aux UNUSED, struct request *request)
{
    struct json *result = json_object();

    json_set_int(result, "seen", seen_steps.n_seen);
    json_set_int(result, "disordered", seen_steps.n_disordered);
    request_reply(request, result);
}

static void
count(void *aux UNUSED, struct request *request)
{
    request_reply(request, json_uint(n_executed));
}

static void
context(void *aux UNUSED, struct request *request)
{
    request_reply(request, json_copy(request_context(request)));
}

static void
who(void *aux, struct request *request)
{
    const struct echo *e = aux;

    request_reply(request, json_string(e->target.server));
}

/* As a console gives them: they need not be text. */
static void
bytes(void *aux UNUSED, struct request *request)
{
    const char *hex = json_get_string(request_arg(request, "hex"));
    AUTO_FREE raw = xstrdup(hex);
    size_t n = 0;

    for (; sscanf(&hex[n * 2], "%2hhx", (unsigned char *)&raw[n]) == 1; n++) {
    }
    request_reply(request, json_string_n(raw, n));
}

static void
relayed(void *aux, struct json **result, struct error *error)
{
    struct request *request = aux;

    if (error) {
        request_fail(request, error);
    } else {
        request_reply(request, steal(result));
    }
}

/* Passes on what another service says. */
static void
relay(void *aux, struct request *request)
{
    struct echo *e = aux;
    const struct rpc_target target = {
        .exchange = e->target.exchange,
        .topic = json_get_string(request_arg(request, "topic")),
        .version = "1.0",
    };

    rpc_call(e->client, &target, &e->options, request_context(request),
             json_get_string(request_arg(request, "what")), NULL, relayed,
             request);
}

static void
announcer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void
announce_one(uv_timer_t *timer)
{
    struct announcer *a = timer->data;
    struct json *payload = json_object();

    json_set_int(payload, "n", a->n++);
    notify(a->e, "INFO", "it.happened", payload);
    if (a->n == a->count) {
        struct json *line = json_object();

        json_set_string(line, "event", "announced");
        json_set_int(line, "count", a->count);
        print_line(line);
        uv_close((uv_handle_t *)timer, announcer_closed);
    }
}

static void
announce(void *aux, struct request *request)
{
    struct echo *e = aux;
    const struct json *args = request_args(request);
    struct announcer *a = xzalloc(sizeof *a);

    uv_timer_init(&e->loop, &a->timer);
    a->timer.data = a;
    a->e = e;
    a->count = json_int_of(args, "count");
    uv_timer_start(&a->timer, announce_one,
                   (uint64_t)json_int_of(args, "first_ms"),
                   (uint64_t)json_int_of(args, "every_ms"));
    request_reply(request, NULL);
}

static const struct rpc_method methods[] = {
    {"echo", {{"value", true}, {"old", false, 5}}, echo},
    {"sleep", {{"seconds", true}, {"mark"}}, sleep_a_while},
    {"bytes", {{"hex", true}}, bytes},
    {"relay", {{"topic", true}, {"what", true}}, relay},
    {"announce",
     {{"count", true}, {"first_ms", true}, {"every_ms", true}},
     announce},
    {"fail", {{"with"}}, fail},
    {"none", {{NULL}}, none},
    {"step", {{"of", true}, {"n", true}}, step},
    {"steps", {{NULL}}, steps},
    {"count", {{NULL}}, count},
    {"context", {{NULL}}, context},
    {"who", {{NULL}}, who},
    {"_private", {{NULL}}, none},
    {NULL},
};

static void
print_event(const char *event)
{
    struct json *line = json_object();

    json_set_string(line, "event", event);
    print_line(line);
}

static void
closed(void *aux)
{
    struct echo *e = aux;

    for (size_t i = 0; i < N_ELEMENTS(e->signals); i++) {
        uv_close((uv_handle_t *)&e->signals[i], NULL);
    }
    worker_pool_free(e->workers);
    completion_queue_close(e->q);
    loop_watch_stop(e->watch);
}

static void
finish(struct echo *e)
{
    echo_objects_close(steal(&e->objects));
    if (e->server) {
        struct rpc_server_counters c = rpc_server_counters(e->server);
        struct json *line = json_object();

        json_set_string(line, "event", "stopped");
        json_set_int(line, "requests", (int64_t)c.n_requests);
        json_set_int(line, "duplicates", (int64_t)c.n_duplicates);
        json_set_int(line, "rejected", (int64_t)c.n_rejected);
        json_set_int(line, "stale", (int64_t)c.n_stale);
        json_set_int(line, "keepalives", (int64_t)c.n_keepalives);
        json_set_int(line, "dropped", (int64_t)c.n_replies_dropped);
        json_set_int(line, "executed", n_executed);
        print_line(line);
        rpc_server_close(e->server);
    }
    rpc_client_close(e->client);
    notifier_free(e->notifier);
    link_close(e->link, 10000, closed, e);
}

static void
server_stopped(void *aux)
{
    finish(aux);
}

static void
consumers_cancelled(void *aux)
{
    struct echo *e = aux;

    print_event("cancelled");
    rpc_server_stop(e->server, e->grace_ms, server_stopped, e);
}

static void
add_refusals(struct json *line, const char *name, const uint64_t *n)
{
    static const char *const names[] = {
        [REFUSAL_TYPE] = "type",
        [REFUSAL_SIZE] = "size",
        [REFUSAL_COMPRESSION] = "compression",
        [REFUSAL_BODY] = "body",
    };
    struct json *refusals = json_object();

    for (size_t i = 0; i < N_REFUSALS; i++) {
        json_set(refusals, names[i], json_uint(n[i]));
    }
    json_set(line, name, refusals);
}

static void
add_counters(struct echo *e, struct json *line)
{
    struct rpc_client_counters mine = rpc_client_counters(e->client);

    json_set(line, "unknown", json_uint(mine.n_unknown));
    add_refusals(line, "replies_refused", mine.n_rejected_for);
    if (e->server) {
        struct rpc_server_counters n = rpc_server_counters(e->server);

        json_set_int(line, "held", n.n_held);
        json_set(line, "held_bytes", json_uint(n.n_held_bytes));
        json_set_int(line, "parsing", n.n_parsing);
        json_set(line, "put_off", json_uint(n.n_put_off));
        json_set(line, "invalid", json_uint(n.n_invalid));
        json_set(line, "rejected", json_uint(n.n_rejected));
        json_set(line, "duplicates", json_uint(n.n_duplicates));
        json_set(line, "replies_dropped", json_uint(n.n_replies_dropped));
        add_refusals(line, "refused", n.n_rejected_for);
    }
}

static void
print_status(struct echo *e)
{
    struct link_status s = link_status(e->link);
    struct json *line = json_object();

    json_set_string(line, "event", "status");
    json_set_bool(line, "consuming", s.consuming);
    json_set_bool(line, "publishing", s.publishing);
    json_set_bool(line, "blocked", s.blocked);
    json_set_int(line, "connects", (int64_t)s.count.n_connects);
    json_set_int(line, "queued", (int64_t)s.n_queued);
    json_set_int(line, "unconfirmed", (int64_t)s.n_unconfirmed);
    json_set_int(line, "returns", (int64_t)s.count.n_returns);
    json_set_int(line, "dropped", (int64_t)s.count.n_dropped);
    json_set_string(line, "reply_queue", link_transport(e->link)->reply_queue);
    add_counters(e, line);
    json_set_bool(line, "ticked", link_threads_ticked(e->link));
#define LINK_COUNTER(NAME) json_set(line, #NAME, json_uint(s.count.NAME));
    LINK_COUNTERS
#undef LINK_COUNTER
    json_set_string(line, "error", s.last_error);
    print_line(line);
}

static void
met_one(void *aux, const struct json *result UNUSED,
        const struct error *error UNUSED)
{
    struct echo *e = aux;

    e->n_met++;
}

static void
met(void *aux)
{
    struct echo *e = aux;
    struct json *line = json_object();

    json_set_string(line, "event", "met");
    json_set_int(line, "hosts", e->n_met);
    print_line(line);
}

/* Asks all services who they are, itself among them. */
static void
meet(struct echo *e)
{
    struct rpc_target target = e->target;

    target.version = "6.0";
    e->n_met = 0;
    rpc_gather(e->client, &target, 1000, NULL, "who", NULL, met_one, met, e);
}

static void
signalled(uv_signal_t *handle, int number)
{
    struct echo *e = handle->data;

    if (number == SIGUSR1) {
        print_status(e);
    } else if (number == SIGUSR2) {
        meet(e);
    } else if (e->server) {
        uv_signal_stop(handle);
        link_cancel(e->link, consumers_cancelled, e);
    } else {
        finish(e);
    }
}

static void
state_changed(void *aux UNUSED, bool up)
{
    print_event(up ? "up" : "down");
}

static void
serve(struct echo *e, struct transport *transport)
{
    const struct rpc_server_options options = {
        .max_held = e->max_held,
        .max_held_bytes = e->max_held_bytes,
        .workers = e->workers,
        .max_body = 64u << 20,
    };

    e->server = rpc_server_create(&e->loop, transport, &options);
    transport->server.state = state_changed;
    rpc_server_add(e->server, (struct rpc_endpoint){NULL, 6, 1, methods, e});
    rpc_server_add(e->server, (struct rpc_endpoint){NULL, 5, 13, methods, e});
    rpc_server_add(e->server,
                   (struct rpc_endpoint){NULL, 6, 1, echo_object_methods, e});
    if (e->has_conductor) {
        e->objects = echo_objects_create(e->client, e->server, e->own_versions,
                                         e->options.timeout_ms);
    }
    server_base_add(e->server, e->target.topic);
    rpc_server_start(e->server);
    link_consume(e->link);
}

/* ---- The client ---------------------------------------------------------- */

static void
print_line(struct json *line)
{
    AUTO_JSON owned = line;
    AUTO_FREE text = json_print(owned, NULL);

    puts(text);
    fflush(stdout);
}

static struct json *
line_of(const struct json *result, const struct error *error)
{
    struct json *line = json_object();

    json_set_bool(line, "ok", !error);
    if (error) {
        AUTO_FREE text = error_text(error);

        json_set_string(line, "class", error_class_name(error));
        json_set_string(line, "module", error_module(error));
        json_set_string(line, "message", text);
    } else {
        json_set(line, "result", json_copy(result));
    }
    return line;
}

static void
call_done(void *aux, struct json **result, struct error *error)
{
    struct echo *e = aux;

    print_line(line_of(*result, error));
    e->status = error != NULL;
    error_free(error);
    finish(e);
}

static void
cast_done(void *aux, struct error *error)
{
    struct echo *e = aux;

    print_line(line_of(NULL, error));
    e->status = error != NULL;
    error_free(error);
    finish(e);
}

static void
gathered_one(void *aux UNUSED, const struct json *result,
             const struct error *error)
{
    print_line(line_of(result, error));
}

static void
gathered(void *aux)
{
    finish(aux);
}

static void flood_more(struct echo *e);

static void
flood_done(void *aux, struct json **result UNUSED, struct error *error)
{
    struct echo *e = aux;

    e->n_errors += error != NULL;
    error_free(error);
    e->n_in_flight--;
    if (e->n_left) {
        flood_more(e);
    } else if (!e->n_in_flight) {
        struct json *line = json_object();
        double seconds = (double)(clock_now_ms() - e->start_ms) / 1000;

        json_set_int(line, "errors", e->n_errors);
        json_set(line, "seconds", json_double(seconds));
        print_line(line);
        finish(e);
    }
}

static void
flood_more(struct echo *e)
{
    struct rpc_target target = e->target;
    AUTO_JSON args = json_object();

    json_set_string(args, "arg", "x");
    target.name_space = "baseapi";
    target.version = "1.0";
    while (e->n_left && e->n_in_flight < e->n_wanted) {
        e->n_left--;
        e->n_in_flight++;
        rpc_call(e->client, &target, &e->options, NULL, "ping", args,
                 flood_done, e);
    }
}

static void
act(struct echo *e)
{
    const char *last = e->args[0] && e->args[1] ? e->args[1] : "{}";
    AUTO_JSON json = NULL;

    if (str_eq(e->command, "class") || str_eq(e->command, "object")) {
        e->objects = echo_objects_create(e->client, NULL, e->own_versions,
                                         e->options.timeout_ms);
        if (!echo_objects_act(e->objects, e->command, e->args, call_done, e)) {
            exit(2);
        }
        return;
    }
    AUTO_JSON context_json = rpc_context_create();

    if (str_eq(e->command, "notify")) {
        last = e->args[2];
    }
    AUTO_ERROR error = json_parse(last, strlen(last), &json);
    if (error) {
        fprintf(stderr, "rpc_echo: %s\n", error_message(error));
        exit(2);
    }
    if (str_eq(e->command, "call")) {
        rpc_call(e->client, &e->target, &e->options, context_json, e->args[0],
                 json, call_done, e);
    } else if (str_eq(e->command, "cast")) {
        rpc_cast(e->client, &e->target, context_json, e->args[0], json,
                 e->options.timeout_ms, cast_done, e);
    } else if (str_eq(e->command, "gather")) {
        rpc_gather(e->client, &e->target, e->options.timeout_ms, context_json,
                   e->args[0], json, gathered_one, gathered, e);
    } else if (str_eq(e->command, "flood")) {
        e->n_left = (unsigned)strtoul(e->args[0], NULL, 10);
        e->n_wanted = (unsigned)strtoul(e->args[1], NULL, 10);
        e->start_ms = clock_now_ms();
        flood_more(e);
    } else {
        notify(e, e->args[0], e->args[1], steal(&json));
        finish(e);
    }
}

/* On both topics, with a context that knows secrets. */
static void
notify(struct echo *e, const char *priority, const char *event,
       struct json *payload)
{
    const char *topics[] = {e->notify_topic, "versioned_notifications", NULL};
    AUTO_JSON context = rpc_context_create();
    struct json *catalog = json_append(json_array(), json_object());
    struct json *trace = json_object();

    json_set_string(json_at(catalog, 0), "endpoint", "secret-catalog");
    json_set_string(trace, "hmac_key", "secret-trace");
    json_set_string(context, "auth_token", "secret-token");
    json_set(context, "service_catalog", catalog);
    json_set(context, "trace_info", trace);
    notifier_send(e->notifier, topics, "echo:here", priority, event, context,
                  payload);
}

static const struct option long_options[] = {
    {"url", required_argument, NULL, 'u'},
    {"host", required_argument, NULL, 'h'},
    {"to", required_argument, NULL, 't'},
    {"topic", required_argument, NULL, 'p'},
    {"version", required_argument, NULL, 'v'},
    {"namespace", required_argument, NULL, 'n'},
    {"timeout", required_argument, NULL, 'o'},
    {"monitor", required_argument, NULL, 'm'},
    {"heartbeat", required_argument, NULL, 'b'},
    {"check", required_argument, NULL, 'c'},
    {"grace", required_argument, NULL, 'g'},
    {"notify-topic", required_argument, NULL, 'T'},
    {"ca", required_argument, NULL, 'a'},
    {"any-name", no_argument, NULL, 'y'},
    {"durable", no_argument, NULL, 'd'},
    {"auto-delete", no_argument, NULL, 'A'},
    {"ha", no_argument, NULL, 'H'},
    {"quorum", no_argument, NULL, 'q'},
    {"ttl", required_argument, NULL, 'l'},
    {"notify-driver", required_argument, NULL, 'r'},
    {"queue-bytes", required_argument, NULL, 'Q'},
    {"max-held", required_argument, NULL, 'M'},
    {"max-held-bytes", required_argument, NULL, 'B'},
    {"watch", required_argument, NULL, 'w'},
    {"reconnect-max", required_argument, NULL, 'R'},
    {"debug", no_argument, NULL, 'D'},
    {"conductor", no_argument, NULL, 'C'},
    {"own", required_argument, NULL, 'O'}, /* CLASS=VERSION */
    {NULL, 0, NULL, 0},
};

static void
usage(void)
{
    fputs("usage: rpc_echo", stderr);
    for (const struct option *o = long_options; o->name; o++) {
        fprintf(stderr, " [--%s%s]", o->name, o->has_arg ? " VALUE" : "");
    }
    fputs(" serve|call|cast|gather|notify|flood ...\n", stderr);
    exit(2);
}

/* What the options say. */
struct settings {
    const char *url, *host;
    struct notifier_options notifier;
    struct link_options link;
};

static unsigned
number(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

static void
take_own_version(struct echo *e, const char *text)
{
    size_t n = strcspn(text, "=");
    AUTO_FREE class = xstrndup(text, n);

    if (!e->own_versions) {
        e->own_versions = json_object();
    }
    json_set_string(e->own_versions, class, text + n + (text[n] == '='));
}

static void
take_option(struct echo *e, struct settings *s, int option)
{
    switch (option) {
    case 'u':
        s->url = optarg;
        break;
    case 'h':
        s->host = optarg;
        break;
    case 't':
        e->target.server = optarg;
        break;
    case 'p':
        e->target.topic = optarg;
        break;
    case 'v':
        e->target.version = optarg;
        break;
    case 'n':
        e->target.name_space = optarg;
        break;
    case 'o':
        e->options.timeout_ms = number(optarg);
        break;
    case 'm':
        e->options.monitor_s = number(optarg);
        break;
    case 'b':
        s->link.heartbeat_s = number(optarg);
        break;
    case 'c':
        s->link.check_s = number(optarg);
        break;
    case 'g':
        e->grace_ms = number(optarg);
        break;
    case 'T':
        e->notify_topic = optarg;
        break;
    case 'a':
        s->link.ssl = true;
        s->link.ssl_ca_file = optarg;
        break;
    case 'y':
        s->link.ssl_verify_hostname = false;
        break;
    case 'd':
        s->link.durable = true;
        break;
    case 'A':
        s->link.auto_delete = true;
        break;
    case 'H':
        s->link.ha_queues = true;
        break;
    case 'q':
        s->link.quorum = true;
        s->link.quorum_delivery_limit = 3;
        s->link.quorum_max_length = 1000;
        s->link.quorum_max_bytes = 100000;
        break;
    case 'l':
        s->link.transient_ttl_s = number(optarg);
        break;
    case 'r':
        s->notifier.messaging =
            str_eq(optarg, "messaging") || str_eq(optarg, "both");
        s->notifier.messagingv2 =
            str_eq(optarg, "messagingv2") || str_eq(optarg, "both");
        break;
    case 'Q':
        s->link.max_queue_bytes = number(optarg);
        break;
    case 'B':
        e->max_held_bytes = number(optarg);
        break;
    case 'M':
        e->max_held = number(optarg);
        break;
    case 'w':
        e->watch_ms = number(optarg);
        break;
    case 'R':
        s->link.reconnect_max_ms = number(optarg);
        break;
    case 'D':
        log_set_level(LOG_LEVEL_DEBUG);
        break;
    case 'C':
        e->has_conductor = true;
        break;
    case 'O':
        take_own_version(e, optarg);
        break;
    default:
        usage();
    }
}

/* Options in the URL are those of a configuration file: all settings are then
 * made as the agent makes them. */
static struct error *
take_query(struct settings *s, struct conf *conf, struct transport_url **ret)
{
    unsigned check_s = s->link.check_s;

    free(conf->transport_url);
    free(conf->host);
    conf->transport_url = xstrdup(s->url);
    conf->host = xstrdup(s->host);
    struct error *error =
        link_conf_make(conf, s->link.topic, "rpc_echo", &s->link, ret);
    s->link.check_s = check_s;
    return error;
}

static void
start(struct echo *e, const struct settings *s)
{
    static const int numbers[] = {SIGTERM, SIGUSR1, SIGUSR2};

    uv_loop_init(&e->loop);
    e->q = completion_queue_create(&e->loop);
    e->link = link_create(e->q, &s->link);
    struct transport *transport = link_transport(e->link);
    e->workers = worker_pool_create(e->q, "bus-parse", 2);
    e->client = rpc_client_create(&e->loop, transport);
    rpc_client_set_workers(e->client, e->workers);
    e->notifier = notifier_create(transport, &s->notifier);
    for (size_t i = 0; i < N_ELEMENTS(e->signals); i++) {
        uv_signal_init(&e->loop, &e->signals[i]);
        e->signals[i].data = e;
        uv_signal_start(&e->signals[i], signalled, numbers[i]);
    }
    if (e->watch_ms) {
        e->watch = loop_watch_start(&e->loop, e->watch_ms, 0);
    }
    if (s->link.topic) {
        serve(e, transport);
    }
    link_start(e->link);
    if (!s->link.topic) {
        act(e);
    }
}

int
main(int argc, char **argv)
{
    struct echo e = {
        .target = {.exchange = "nova", .topic = "compute"},
        .options = {.timeout_ms = 60000},
        .grace_ms = 10000,
        .notify_topic = "notifications",
        .max_held = 10000,
        .max_held_bytes = 256u << 20,
    };
    struct settings s = {
        .url = "rabbit://guest:guest@127.0.0.1:5672/",
        .host = "echo1",
        .notifier = {.exchange = "nova", .messagingv2 = true, .retry = -1},
        .link =
            {
                .name = "rpc_echo",
                .exchange = "nova",
                .heartbeat_s = 60,
                .reconnect_delay_ms = 1000,
                .reconnect_backoff_ms = 2000,
                .transient_ttl_s = 1800,
                .ssl_verify_hostname = true,
                .max_body = 64u << 20,
                .max_queue_bytes = 64u << 20,
            },
    };
    int option;

    log_init();
    json_init();
    signal(SIGPIPE, SIG_IGN);
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        take_option(&e, &s, option);
    }
    if (optind == argc) {
        usage();
    }
    e.command = argv[optind];
    e.args = &argv[optind + 1];
    CLEANUP(transport_url_free_at) struct transport_url *url = NULL;
    AUTO_ERROR error = transport_url_parse(s.url, &url);
    if (error) {
        fprintf(stderr, "rpc_echo: %s\n", error_message(error));
        return 2;
    }
    s.link.url = url;
    if (str_eq(e.command, "serve")) {
        s.link.topic = e.target.topic;
        s.link.server = e.target.server = s.host;
    }
    CLEANUP(conf_free_at) struct conf *conf = conf_defaults();
    CLEANUP(transport_url_free_at) struct transport_url *again = NULL;
    AUTO_ERROR refused = url->n_options ? take_query(&s, conf, &again) : NULL;
    if (refused) {
        fprintf(stderr, "rpc_echo: %s\n", error_message(refused));
        return 2;
    }
    start(&e, &s);
    uv_run(&e.loop, UV_RUN_DEFAULT);
    json_free(e.own_versions);
    return uv_loop_close(&e.loop) ? 3 : e.status;
}
