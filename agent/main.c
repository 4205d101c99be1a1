#include <config.h>

/* droverd: options, wiring, the loop.  What happens when is elsewhere. */

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "agent/agent.h"
#include "agent/base/loop_watch.h"
#include "agent/ctl.h"
#include "agent/http.h"
#include "agent/link_conf.h"
#include "agent/self_test.h"
#include "agent/supervise.h"
#include "rpc/link.h"

LOG_MODULE(main);

#define TOPIC "compute"
#define STOP_GRACE_MS 10000

#ifdef ENABLE_LOOP_WATCHDOG
#define LOOP_LIMIT_MS 50
#endif

struct daemon {
    uv_loop_t loop;
    struct completion_queue *q;
    struct conf *conf;
    struct transport_url *url;
    struct link *link;
    struct agent *agent;
    struct ctl *ctl;
    struct http *http;
    struct supervise *supervise;
    struct loop_watch *watch;
    uv_signal_t sigterm, sigint;
    bool stopping;
    int exit_status;
};

static void usage(FILE *out);
static int check_config(const char *path);
static int run(const char *path, const char *log_level);
static struct error *wire(struct daemon *d, const char *path);
static struct error *make_link(struct daemon *d, const char *path);
static void set_log_levels(const struct conf *conf, const char *override);
static void on_ready(void *aux, struct error *error);
static void on_signal(uv_signal_t *handle, int number);
static void stop(struct daemon *d);
static void test_oneself(struct daemon *d);
static void look_at_bus(void *aux, struct self_test_bus *ret);
static void repair_bus(void *aux, enum link_repair how);
static void consumers_cancelled(void *aux);
static void requests_answered(void *aux);
static void link_closed(void *aux);
static void warn(void *aux, const char *text);

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config-file", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 'C'},
        {"log-level", required_argument, NULL, 'l'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *path = SYSCONFDIR "/drover/droverd.conf";
    const char *log_level = NULL;
    bool only_check = false;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'C':
            only_check = true;
            break;
        case 'l':
            if (!log_set_level_text(optarg)) {
                fprintf(stderr, "droverd: --log-level: unknown '%s'\n", optarg);
                usage(stderr);
                return 2;
            }
            log_level = optarg;
            break;
        case 'V':
            puts("droverd " PACKAGE_VERSION);
            return 0;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (optind != argc) {
        usage(stderr);
        return 2;
    }
    return only_check ? check_config(path) : run(path, log_level);
}

static void
usage(FILE *out)
{
    fputs("usage: droverd [--config-file FILE] [--check-config] "
          "[--log-level LEVEL]\n"
          "       droverd --version | --help\n"
          "See droverd(8).\n",
          out);
}

static int
complain(struct error *error)
{
    fprintf(stderr, "droverd: %s\n", error_message(error));
    error_free(error);
    return 1;
}

/* All that can be said of the file without starting anything. */
static int
check_config(const char *path)
{
    AUTO_CONF conf = NULL;
    struct error *error = conf_load(path, warn, stderr, &conf);

    if (!error) {
        CLEANUP(transport_url_free_at) struct transport_url *url = NULL;
        struct link_options options;
        error = error_wrap(
            link_conf_make(conf, TOPIC, "droverd", &options, &url), "%s", path);
    }
    if (error) {
        return complain(error);
    }
    printf("%s: ok\n", path);
    return 0;
}

static int
run(const char *path, const char *log_level)
{
    struct daemon d = {0};

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* A file that may not grow is a full disk. */
    json_init();
    log_init();
    struct error *error = conf_load(path, warn, NULL, &d.conf);
    if (!error) {
        set_log_levels(d.conf, log_level);
        error = wire(&d, path);
    }
    if (error) {
        _exit(complain(error)); /* Half wired: the system tidies up. */
    }
    if (log_unknown_module()) {
        log_warn(NULL, "a log level is set for '%s', which is no module",
                 log_unknown_module());
    }
    log_info(NULL, "droverd " PACKAGE_VERSION " starts on host '%s'",
             d.conf->host);
#ifdef LOOP_LIMIT_MS
    /* Not before: until now nobody waited for the loop. */
    d.watch = loop_watch_start(&d.loop, LOOP_LIMIT_MS, true);
#endif
    agent_start(d.agent, on_ready, &d);
    uv_run(&d.loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&d.loop) != 0) {
        log_error(NULL, "handles are left open at the end");
    }
    transport_url_free(d.url);
    conf_free(d.conf);
    return d.exit_status;
}

static struct error *
wire(struct daemon *d, const char *path)
{
    uv_loop_init(&d->loop);
    d->q = completion_queue_create(&d->loop);

    struct error *error = make_link(d, path);
    if (error) {
        return error;
    }
    struct agent_parts parts = {
        .q = d->q,
        .conf = d->conf,
        .transport = link_transport(d->link),
        .link = d->link,
    };
    AUTO_FREE db = xasprintf("%s/state.db", d->conf->state_path);
    error = store_open(db, d->q, &parts.store);
    if (!error) {
        error = agent_create(&parts, &d->agent);
    }
    if (!error) {
        error = ctl_create(d->agent, d->conf->control_socket, &d->ctl);
    }
    if (!error) {
        error = http_create(d->agent, &d->http);
    }
    if (error) {
        return error;
    }
    uv_signal_init(&d->loop, &d->sigterm);
    uv_signal_init(&d->loop, &d->sigint);
    d->sigterm.data = d->sigint.data = d;
    uv_signal_start(&d->sigterm, on_signal, SIGTERM);
    uv_signal_start(&d->sigint, on_signal, SIGINT);
    link_start(d->link); /* Connects while the guests are listed. */
    return NULL;
}

static struct error *
make_link(struct daemon *d, const char *path)
{
    struct link_options options;
    AUTO_FREE name = xasprintf("droverd:%s", d->conf->host);
    struct error *error =
        link_conf_make(d->conf, TOPIC, name, &options, &d->url);

    if (!error) {
        d->link = link_create(d->q, &options);
    }
    return error_wrap(error, "%s", path);
}

/* What is on the command line goes last.  All are known to be levels. */
static void
set_log_levels(const struct conf *conf, const char *override)
{
    for (char **level = conf->log_level; *level; level++) {
        (void)log_set_level_text(*level);
    }
    if (override) {
        (void)log_set_level_text(override);
    }
}

static void
on_ready(void *aux, struct error *error)
{
    struct daemon *d = aux;

    if (error) {
        log_error(NULL, "this host must not serve: %s", error_message(error));
        error_free(error);
        d->exit_status = 1;
        stop(d);
    } else if (!d->stopping) {
        link_consume(d->link);
        test_oneself(d);
        d->supervise = supervise_start(d->agent);
    }
}

static void
test_oneself(struct daemon *d)
{
    const struct self_test_options options = {
        .loop = &d->loop,
        .client = d->agent->client,
        .exchange = d->conf->control_exchange,
        .topic = TOPIC,
        .host = d->conf->host,
        .interval_s = (unsigned)d->conf->rpc_self_test_interval,
        .look = look_at_bus,
        .repair = repair_bus,
        .aux = d->link,
    };

    d->agent->self_test = self_test_start(&options);
}

static void
look_at_bus(void *aux, struct self_test_bus *ret)
{
    struct link_status status = link_status(aux);

    *ret = (struct self_test_bus){
        .is_up = status.is_up,
        .is_blocked = status.blocked,
        .n_connects = status.count.n_connects,
        .n_heard = status.n_heard,
    };
}

static void
repair_bus(void *aux, enum link_repair how)
{
    link_repair(aux, how);
}

/* The end, in order: no new requests; those under way are answered; what they
 * published is confirmed; all is closed. */
static void
on_signal(uv_signal_t *handle, int number)
{
    struct daemon *d = handle->data;

    if (!d->stopping) {
        log_info(NULL,
                 "signal %d: stopping; running transfers are left to the "
                 "hypervisor",
                 number);
        stop(d);
    }
}

static void
stop(struct daemon *d)
{
    if (d->stopping) {
        return;
    }
    d->stopping = true;
    if (d->supervise) {
        supervise_stop(d->supervise);
    }
    self_test_stop(steal(&d->agent->self_test));
    ctl_close(d->ctl);
    http_close(d->http);
    link_cancel(d->link, consumers_cancelled, d);
}

static void
consumers_cancelled(void *aux)
{
    struct daemon *d = aux;

    agent_stop(d->agent, STOP_GRACE_MS, requests_answered, d);
}

static void
requests_answered(void *aux)
{
    struct daemon *d = aux;

    link_close(d->link, STOP_GRACE_MS, link_closed, d);
}

static void
link_closed(void *aux)
{
    struct daemon *d = aux;

    /* Nobody waits for the loop any more: it may, for what is saved last. */
    loop_watch_stop(d->watch);
    agent_free(d->agent);
    uv_close((uv_handle_t *)&d->sigterm, NULL);
    uv_close((uv_handle_t *)&d->sigint, NULL);
    completion_queue_close(d->q);
    log_info(NULL, "stopped");
}

/* 'aux' is null for the log, anything else for standard error. */
static void
warn(void *aux, const char *text)
{
    if (aux) {
        fprintf(stderr, "droverd: %s\n", text);
    } else {
        log_warn(NULL, "%s", text);
    }
}
