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
    unsigned check_s; /* How often the fanout's binding is made sure of, and
                       * every third time all else; 0: 20. */
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

/* What went wrong so far, of both connections together. */
#define LINK_COUNTERS                                                          \
    LINK_COUNTER(n_connects)    /* Connections made. */                        \
    LINK_COUNTER(n_failures)    /* Attempts to connect that failed. */         \
    LINK_COUNTER(n_disconnects) /* Connections lost, for any reason; of these  \
                                 * the broker ... */                           \
    LINK_COUNTER(n_closed)      /* ... closed so many, saying why, and ... */  \
    LINK_COUNTER(n_silent)      /* ... was not heard for too long in these. */ \
    LINK_COUNTER(n_channels)    /* Channels closed by the broker. */           \
    LINK_COUNTER(n_cancels)     /* Queues of ours that were deleted. */        \
    LINK_COUNTER(n_deaf)        /* Queues of ours that nothing came to, as we  \
                                 * saw from what we sent to ourselves. */      \
    LINK_COUNTER(n_repairs)     /* Calls of link_repair(). */                  \
    LINK_COUNTER(n_blocks)      /* The broker stopped taking messages. */      \
    LINK_COUNTER(n_returns)     /* Messages that no queue took. */             \
    LINK_COUNTER(n_refused)     /* Messages that the broker refused. */        \
    LINK_COUNTER(n_oversized)   /* Messages too large to be read. */           \
    LINK_COUNTER(n_expired)     /* Not sent before it was too late. */         \
    LINK_COUNTER(n_dropped)     /* Dropped for want of room; of these ... */   \
    LINK_COUNTER(n_dropped_progress)                                           \
    LINK_COUNTER(n_dropped_notifications)                                      \
    LINK_COUNTER(n_dropped_replies)                                            \
    LINK_COUNTER(n_dropped_requests)

struct link_counters {
#define LINK_COUNTER(NAME) uint64_t NAME;
    LINK_COUNTERS
#undef LINK_COUNTER
};

struct link_status {
    bool consuming, publishing, blocked;
    bool is_up;              /* Consuming and publishing, blocked or not, ... */
    int64_t since_us;        /* ... since this wall time, or not so. */
    int64_t blocked_us;      /* Blocked since then. */
    char blocked_reason[64]; /* The broker's word. */
    char broker[128];        /* "host:port/vhost", no password. */
    char last_error[256];
    int64_t last_error_us;
    struct link_counters count;
    uint64_t n_heard; /* Requests that were delivered. */
    size_t n_queued, n_queued_bytes, n_unconfirmed;
};
struct link_status link_status(struct link *link);

/* For whoever finds that the agent does not hear itself although both
 * connections claim to be up. */
enum link_repair {
    LINK_REDECLARE, /* Exchanges, queues, bindings; consumers are made sure of,
                     * and so is the connection itself. */
    LINK_RECONNECT, /* Both connections. */
};
void link_repair(struct link *link, enum link_repair how);

/* An answer from each thread within 90 s: both are alive. */
bool link_threads_ticked(struct link *link);

#endif
