#ifndef DROVER_RPC_LINK_H
#define DROVER_RPC_LINK_H

/* Two connections to RabbitMQ: one consumes, one publishes.
 *
 * rpc/link*.c are the only users of rabbitmq-c, which blocks: each connection
 * has a thread of its own that nobody else's data enters; it speaks with the
 * loop through completions, the loop with it through a queue and an eventfd.
 * Reconnecting (rpc/reconnect.h), redeclaring and consuming again are its own
 * affair. (spec/rpc-wire 1, 6; spec/library-notes 1)
 *
 * Threads: the functions here, the loop. */

#include "agent/base/completion.h"
#include "rpc/message.h"
#include "rpc/transport_url.h"

struct link;

/* Everything is copied. */
struct link_options {
    const struct transport_url *url;
    const char *name; /* For connection_name: "droverd:<host>". */
    const char *exchange;
    const char *topic;  /* Null: nothing is served, only replies arrive. */
    const char *server; /* Service host name; null if 'topic' is. */
    /* Further routing keys of the exchange, such as "notifications.*", ending
     * with null; or null.  A queue of our own is bound to them: whoever else
     * consumes them loses nothing, and what was sent before is not heard.
     * Deliveries go to 'heard' of the transport's server. */
    const char *const *listen_keys;
    unsigned heartbeat_s;
    unsigned heartbeat_rate; /* Checks, two an interval; at least 2. */
    unsigned prefetch;       /* 0: 64. */
    bool durable, auto_delete, ha_queues, quorum;
    int quorum_delivery_limit, quorum_max_length, quorum_max_bytes;
    bool transient_quorum; /* Of fanout and reply queues. */
    bool stream_fanout;    /* With 'transient_quorum' and 'prefetch' only. */
    unsigned transient_ttl_s;
    /* Own queues are called "<host>:<process>:<n>" (rpc/queue_manager.h)
     * instead of something random, if these are not null. */
    const char *queue_host, *queue_process;
    bool cancel_on_failover;
    bool shuffle;  /* kombu_failover_strategy = shuffle. */
    bool external; /* SASL EXTERNAL. */
    bool ssl, ssl_verify_hostname;
    int tls_version; /* 12 or 13: only this one; 0: any of them. */
    const char *ssl_ca_file, *ssl_cert_file, *ssl_key_file; /* or null */
    /* How long to wait before connecting again: after a loss a random time of
     * up to twice 'reconnect_delay_ms', and 'reconnect_splay_ms' more; after a
     * round without success a random time below a limit that is
     * 'reconnect_base_ms' (0: 1000) first, then twice as much each time (for
     * a 'reconnect_backoff_ms' of 0: always the same; for one above the limit:
     * longer by that), and 'reconnect_max_ms' (0: 30000) at most. */
    unsigned reconnect_delay_ms, reconnect_splay_ms;
    unsigned reconnect_base_ms, reconnect_backoff_ms, reconnect_max_ms;
    unsigned check_s; /* Without requests for so long, bindings are made sure
                       * of; 0: 60. */
    size_t max_body;  /* Bytes of one message. */
    size_t max_queue_bytes; /* Held while the broker takes nothing. */
};

/* ERR_CONFIG for a host name that cannot be part of a routing key: "*" and
 * "#" would be wildcards. (spec/rpc-wire 1.1) */
struct error *link_check_server(const char *server) WARN_UNUSED;

struct link *link_create(struct completion_queue *q,
                         const struct link_options *options);

/* Connects and goes on doing so.  Requests are consumed only after
 * link_consume(), replies at once. */
void link_start(struct link *link);
void link_consume(struct link *link);

/* Cancels the consumers of requests and calls 'done'; what is unacknowledged
 * stays with the caller to settle. */
void link_cancel(struct link *link, void (*done)(void *aux), void *aux);

/* Publishes and confirms what is queued (at most 'grace_ms'), deletes our own
 * fanout and reply queues, closes, and calls 'closed'; once that has
 * returned the link, with its transport, is gone. */
void link_close(struct link *link, unsigned grace_ms, void (*closed)(void *aux),
                void *aux);

struct transport *link_transport(struct link *link);

struct link_status {
    bool consuming, publishing, blocked;
    char broker[128]; /* "host:port/vhost", no password. */
    char last_error[256];
    uint64_t n_connects, n_disconnects, n_cancels, n_returns, n_dropped;
    size_t n_queued, n_queued_bytes, n_unconfirmed;
};
struct link_status link_status(struct link *link);

/* An answer from each thread within its heartbeat: both are alive. */
bool link_threads_ticked(struct link *link);

#endif
