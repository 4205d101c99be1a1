#include <config.h>

#include "agent/link_conf.h"

/* Held while the broker takes nothing; notifications go first. */
#define MAX_QUEUE_BYTES (64u << 20)

static struct error *apply_query(struct conf *conf,
                                 const struct transport_url *url);
static void fill(struct link_options *options, const struct conf *conf);
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
    if (!error && topic) {
        error = link_check_server(conf->host);
    }
    if (error) {
        return error;
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

static void
fill(struct link_options *options, const struct conf *conf)
{
    const struct conf_oslo_messaging_rabbit *rabbit =
        &conf->oslo_messaging_rabbit;

    options->heartbeat_s = (unsigned)rabbit->heartbeat_timeout_threshold;
    options->prefetch = (unsigned)rabbit->rabbit_qos_prefetch_count;
    options->durable = rabbit->amqp_durable_queues;
    options->auto_delete = rabbit->amqp_auto_delete;
    options->ha_queues = rabbit->rabbit_ha_queues;
    options->quorum = rabbit->rabbit_quorum_queue;
    options->quorum_delivery_limit = rabbit->rabbit_quorum_delivery_limit;
    options->quorum_max_length = rabbit->rabbit_quorum_max_memory_length;
    options->quorum_max_bytes = rabbit->rabbit_quorum_max_memory_bytes;
    options->transient_ttl_s = (unsigned)rabbit->rabbit_transient_queues_ttl;
    options->cancel_on_failover = rabbit->enable_cancel_on_failover;
    options->shuffle = str_eq(rabbit->kombu_failover_strategy, "shuffle");
    options->external = str_eq(rabbit->rabbit_login_method, "EXTERNAL");
    options->ssl = rabbit->ssl;
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
    options->max_body = (size_t)conf->rpc_max_body;
    options->max_queue_bytes = MAX_QUEUE_BYTES;
}

static unsigned
milliseconds(double seconds)
{
    return (unsigned)(seconds * 1000 + 0.5);
}
