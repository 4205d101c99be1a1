#include <config.h>

#include "agent/link_conf.h"

#include <errno.h>
#include <limits.h>
#include <strings.h>
#include <unistd.h>

#include "agent/base/log.h"

LOG_MODULE(link_conf);

/* Held while the broker takes nothing; notifications go first. */
#define MAX_QUEUE_BYTES (64u << 20)

static struct error *apply_query(struct conf *conf,
                                 const struct transport_url *url);
static struct error *check(const struct conf_oslo_messaging_rabbit *rabbit);
static struct error *parse_tls_version(const char *name, int *ret);
static void fill(struct link_options *options, struct conf *conf);
static void fill_topology(struct link_options *options,
                          const struct conf *conf);
static void fill_connection(struct link_options *options,
                            const struct conf *conf);
static void set_queue_names(struct conf_oslo_messaging_rabbit *rabbit);
static unsigned milliseconds(double seconds);

struct error *
link_conf_make(struct conf *conf, const char *topic, const char *name,
               struct link_options *options, struct transport_url **ret_url)
{
    CLEANUP(transport_url_free_at) struct transport_url *url = NULL;
    struct error *error = transport_url_parse(conf->transport_url, &url);

    if (!error) {
        error = apply_query(conf, url);
    }
    if (!error) {
        error = check(&conf->oslo_messaging_rabbit);
    }
    if (!error && topic) {
        error = link_check_server(conf->host);
    }
    if (error) {
        return error;
    }
    if (url->some_lack_credentials) {
        log_warn(NULL, "some hosts of transport_url have no user: these get "
                       "'guest', not that of the others");
    }
    *options = (struct link_options){
        .url = url,
        .name = name,
        .exchange = conf->control_exchange,
        .topic = topic,
        .server = topic ? conf->host : NULL,
    };
    fill(options, conf);
    *ret_url = steal(&url);
    return NULL;
}

static struct error *
apply_query(struct conf *conf, const struct transport_url *url)
{
    struct error *error = NULL;

    for (size_t i = 0; !error && i < url->n_options; i++) {
        error = conf_set(conf, "oslo_messaging_rabbit", url->options[i].name,
                         url->options[i].value);
    }
    return error_wrap(error, "transport_url");
}

/* What cannot be meant or cannot be done is better said than worked round: the
 * agent would run, and wait in vain. */
static struct error *
check(const struct conf_oslo_messaging_rabbit *rabbit)
{
    int version;

    if (rabbit->rabbit_ha_queues && (rabbit->rabbit_quorum_queue ||
                                     rabbit->rabbit_transient_quorum_queue)) {
        return error_new(ERR_CONFIG,
                         "rabbit_ha_queues excludes rabbit_quorum_queue and "
                         "rabbit_transient_quorum_queue: quorum queues are "
                         "replicated in their own way");
    }
    if (rabbit->amqp_auto_delete && rabbit->rabbit_quorum_queue) {
        return error_new(ERR_CONFIG, "amqp_auto_delete excludes "
                                     "rabbit_quorum_queue: such queues are "
                                     "durable");
    }
    if (rabbit->rabbit_stream_fanout &&
        (!rabbit->rabbit_transient_quorum_queue ||
         !rabbit->rabbit_qos_prefetch_count)) {
        return error_new(ERR_CONFIG, "rabbit_stream_fanout needs "
                                     "rabbit_transient_quorum_queue and a "
                                     "rabbit_qos_prefetch_count above 0");
    }
    if (str_eq(rabbit->rabbit_login_method, "RABBIT-CR-DEMO")) {
        return error_new(ERR_CONFIG,
                         "rabbit_login_method RABBIT-CR-DEMO is not "
                         "to be had: use PLAIN, or EXTERNAL with a "
                         "client certificate");
    }
    if (str_eq(rabbit->rabbit_login_method, "EXTERNAL") &&
        !(rabbit->ssl && rabbit->ssl_cert_file)) {
        return error_new(ERR_CONFIG, "rabbit_login_method EXTERNAL needs ssl "
                                     "and ssl_cert_file");
    }
    if (rabbit->ssl_key_file && !rabbit->ssl_cert_file) {
        return error_new(ERR_CONFIG, "ssl_key_file needs ssl_cert_file");
    }
    return parse_tls_version(rabbit->ssl_version, &version);
}

/* Names as in Python's ssl module, in any case. */
static struct error *
parse_tls_version(const char *name, int *ret)
{
    static const struct {
        const char *name;
        int version;
    } rows[] = {
        {"", 0},         {"tls", 0},      {"sslv23", 0},
        {"tlsv1_2", 12}, {"tlsv1_3", 13}, {"sslv2", -1},
        {"sslv3", -1},   {"tlsv1", -1},   {"tlsv1_1", -1},
    };

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        if (strcasecmp(name ? name : "", rows[i].name) != 0) {
            continue;
        }
        if (rows[i].version < 0) {
            return error_new(ERR_CONFIG,
                             "ssl_version '%s' is not secure any more: use "
                             "TLSv1_2 or TLSv1_3, or leave it out",
                             name);
        }
        *ret = rows[i].version;
        return NULL;
    }
    return error_new(
        ERR_CONFIG,
        "ssl_version '%.40s' is not known: use TLSv1_2 or TLSv1_3, "
        "or leave it out",
        name);
}

static void
fill(struct link_options *options, struct conf *conf)
{
    set_queue_names(&conf->oslo_messaging_rabbit);
    fill_topology(options, conf);
    fill_connection(options, conf);
    options->max_body = (size_t)conf->rpc_max_body;
    options->max_queue_bytes = MAX_QUEUE_BYTES;
}

static void
fill_topology(struct link_options *options, const struct conf *conf)
{
    const struct conf_oslo_messaging_rabbit *rabbit =
        &conf->oslo_messaging_rabbit;

    options->prefetch = (unsigned)rabbit->rabbit_qos_prefetch_count;
    options->durable = rabbit->amqp_durable_queues;
    options->auto_delete = rabbit->amqp_auto_delete;
    options->ha_queues = rabbit->rabbit_ha_queues;
    options->quorum = rabbit->rabbit_quorum_queue;
    options->quorum_delivery_limit = rabbit->rabbit_quorum_delivery_limit;
    options->quorum_max_length = rabbit->rabbit_quorum_max_memory_length;
    options->quorum_max_bytes = rabbit->rabbit_quorum_max_memory_bytes;
    options->transient_quorum = rabbit->rabbit_transient_quorum_queue;
    options->stream_fanout = rabbit->rabbit_stream_fanout;
    options->transient_ttl_s = (unsigned)rabbit->rabbit_transient_queues_ttl;
    options->cancel_on_failover = rabbit->enable_cancel_on_failover;
    if (rabbit->use_queue_manager) {
        options->queue_host = rabbit->hostname;
        options->queue_process = rabbit->processname;
    }
}

static void
fill_connection(struct link_options *options, const struct conf *conf)
{
    const struct conf_oslo_messaging_rabbit *rabbit =
        &conf->oslo_messaging_rabbit;

    options->heartbeat_s = (unsigned)rabbit->heartbeat_timeout_threshold;
    options->heartbeat_rate = (unsigned)rabbit->heartbeat_rate;
    options->shuffle = str_eq(rabbit->kombu_failover_strategy, "shuffle");
    options->external = str_eq(rabbit->rabbit_login_method, "EXTERNAL");
    options->ssl = rabbit->ssl;
    error_free(parse_tls_version(rabbit->ssl_version, &options->tls_version));
    options->ssl_verify_hostname = rabbit->ssl_enforce_hostname_verification;
    options->ssl_ca_file = rabbit->ssl_ca_file;
    options->ssl_cert_file = rabbit->ssl_cert_file;
    options->ssl_key_file = rabbit->ssl_key_file;
    options->reconnect_delay_ms = milliseconds(rabbit->kombu_reconnect_delay);
    options->reconnect_splay_ms = milliseconds(rabbit->kombu_reconnect_splay);
    options->reconnect_backoff_ms =
        (unsigned)rabbit->rabbit_retry_backoff * 1000;
    options->reconnect_base_ms = (unsigned)rabbit->rabbit_retry_interval * 1000;
    options->reconnect_max_ms = (unsigned)rabbit->rabbit_interval_max * 1000;
}

static void
set_queue_names(struct conf_oslo_messaging_rabbit *rabbit)
{
    char name[HOST_NAME_MAX + 1] = "localhost";

    if (!rabbit->hostname) {
        gethostname(name, sizeof name - 1);
        rabbit->hostname = xstrdup(name);
    }
    if (!rabbit->processname) {
        rabbit->processname = xstrdup(program_invocation_short_name);
    }
}

static unsigned
milliseconds(double seconds)
{
    return (unsigned)(seconds * 1000 + 0.5);
}
