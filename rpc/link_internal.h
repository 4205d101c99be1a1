#ifndef DROVER_RPC_LINK_INTERNAL_H
#define DROVER_RPC_LINK_INTERNAL_H

/* What the parts of rpc/link.h share, and nobody else includes.
 *
 *   link.c          the loop's side: struct transport, state, closing
 *   link_settings.c a copy of the options, and the names of queues
 *   link_thread.c   a thread's mailbox, its waiting and reconnecting
 *   link_consumer.c the thread that consumes
 *   link_publisher.c the thread that publishes
 *   link_amqp.c     one connection: declarations, outcome of calls
 *   link_login.c    how it comes about: socket, login
 *   link_dial.c     the socket, with a wait for it that can be ended
 *   link_tls.c      TLS, and what is wrong with it
 *   link_table.c    tables of arguments and properties
 *   link_topology.c which exchanges and queues there are
 *   link_frames.c   frames in: messages assembled, unasked methods sorted
 *   link_health.c   whether a connection is alive
 *
 * Loop and thread meet in the thread's mailbox (struct link_thread, under its
 * mutex), and in completions on the way back.  All else belongs to one side. */

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#endif

#include "rpc/inflow.h"
#include "rpc/link.h"
#include "rpc/names.h"
#include "rpc/outbox.h"
#include "rpc/queue_manager.h"
#include "rpc/reconnect.h"

/* Settings: a deep copy that nobody changes, so all threads read it. */
struct link_settings {
    struct link_options o;
    char *fanout_exchange, *topic_queue, *server_queue, *fanout_queue;
    char *reply_queue;
    char *listen_queue; /* Null: none. */
    /* Whose name these queues have; null: nobody else ever had it. */
    struct queue_manager *queue_manager;
    bool keeps_fanout; /* Its queue outlives us. */
    char stream_max_age[16];
};

void link_settings_init(struct link_settings *s,
                        const struct link_options *options);
void link_settings_close(struct link_settings *s);

/* ---- Waits that another thread can end (link_dial.c) ---- */

/* A thread that connects or logs in waits for a socket in there. */
struct interrupt {
    uv_mutex_t mutex;
    int n_raised;
    int fd; /* Its socket, a duplicate; -1: it waits for none. */
};
void interrupt_init(struct interrupt *interrupt);
void interrupt_close(struct interrupt *interrupt);

/* Any thread: ends the wait under way and all that come, until it has been
 * lowered as often. */
void interrupt_raise(struct interrupt *interrupt);
void interrupt_lower(struct interrupt *interrupt);
bool interrupt_is_raised(struct interrupt *interrupt);

/* Its thread: from now on 'fd' is waited for; not any more. */
void interrupt_arm(struct interrupt *interrupt, int fd);
void interrupt_disarm(struct interrupt *interrupt);

/* Connects to the first address of 'host' that answers; '*ret' does not
 * block.  The error says why; ERR_NOT_FOUND: nobody listens there. */
struct error *dial(struct interrupt *interrupt,
                   const struct transport_host *host, unsigned timeout_s,
                   int *ret) WARN_UNUSED;

/* ---- A connection (link_amqp.c); its thread's alone ---- */

#define CHANNEL_MAIN 1
#define CHANNEL_SIDE 2 /* For declarations: one that fails closes it. */

/* A delivery that has left rabbitmq-c; one allocation. */
struct inbound {
    struct inbound *next;
    bool is_reply, is_heard;
    struct delivery delivery; /* Its pointers lead into this block. */
    struct delivery_block block;
    struct inflow *inflow; /* Where it counts; null: nowhere. */
    char *fill;            /* Where the next byte of the body goes. */
};

/* What the frames mean to the owner of the connection; each may be null. */
struct conn_events {
    /* Takes 'in'. */
    void (*deliver)(void *aux, struct inbound *in);
    /* A delivery that was too large and has been skipped. */
    void (*oversized)(void *aux, uint64_t tag);
    void (*returned)(void *aux, const char *routing_key, const char *body,
                     size_t size);
    void (*confirmed)(void *aux, uint64_t tag, bool multiple, bool ok);
    void (*cancelled)(void *aux, const char *consumer_tag);
    /* 'reason' is null when it is over. */
    void (*blocked)(void *aux, const char *reason);
    void *aux;
};

/* A message whose frames are coming in. */
struct assembly {
    enum { ASSEMBLY_NONE, ASSEMBLY_DELIVER, ASSEMBLY_RETURN } kind;
    bool skipped, redelivered;
    uint64_t tag;
    char consumer_tag[16], routing_key[256];
    uint64_t size, n_read;
    struct inbound *in; /* Null before the header, and if skipped. */
};

/* Exchanges and queues that are used as they are: "queue 'NAME'".  Of both
 * threads of a link, so that each is told once. */
struct mismatches {
    uv_mutex_t mutex;
    struct names names;
};
bool mismatches_has(struct mismatches *mismatches, const char *name);
/* False: it is in there already. */
bool mismatches_add(struct mismatches *mismatches, const char *name);
void mismatches_remove(struct mismatches *mismatches, const char *name);

/* What a thread lends to its connections, one after the other. */
struct conn_owner {
    struct interrupt interrupt;
    struct inflow *inflow;         /* Null: all that comes is taken. */
    struct mismatches *mismatches; /* Those of the link. */
    int64_t stream_next; /* Where to go on in the stream; 0: at its end. */
};

struct conn {
    amqp_connection_state_t amqp;
    const struct link_settings *settings;
    struct conn_owner *owner;
    struct conn_events events;
    struct assembly part;
    bool is_opening;  /* TLS comes about. */
    bool dead;        /* Beyond use: only to be destroyed. */
    bool main_closed; /* The broker closed CHANNEL_MAIN; 'code', 'reason'. */
    bool side_open;
    bool is_closed; /* The broker closed it; 'code', 'reason'. */
    bool is_silent; /* Nothing was heard from it for too long. */
    int code;       /* Of the broker's last refusal; 0: it was none. */
    char reason[256];
    uint64_t last_write_ms;
    char tls_reason[256]; /* Why the broker's certificate is not trusted. */
};

/* A table of AMQP's, made on the stack; must stay where it is while it is
 * used, and texts as well (link_table.c). */
#define TABLE_SIZE 8
struct table {
    amqp_table_entry_t entries[TABLE_SIZE];
    int n;
};
void table_add_int(struct table *table, const char *key, int value);
void table_add_int64(struct table *table, const char *key, int64_t value);
void table_add_text(struct table *table, const char *key, const char *value);
void table_add_bool(struct table *table, const char *key, bool value);
void table_add_table(struct table *table, const char *key, struct table *inner);
amqp_table_t table_value(struct table *table);

struct queue_spec {
    const char *name;
    bool is_transient; /* Fanout and reply queues: they expire. */
    bool is_stream;    /* That of all fanouts. */
};

/* Connects to one host, logs in, opens CHANNEL_MAIN.  'role' is for
 * connection_name. */
struct error *conn_open(const struct link_settings *settings,
                        const struct transport_host *host, const char *role,
                        struct conn_owner *owner,
                        struct conn **ret) WARN_UNUSED;

/* link_tls.c: a socket of TLS, which 'conn' owns; and what went wrong with it
 * last, null if nothing is known. */
struct error *tls_socket_new(struct conn *conn,
                             const struct transport_host *host,
                             amqp_socket_t **ret) WARN_UNUSED;
const char *tls_reason(const struct conn *conn);

/* Closes politely if it is alive; null is fine. */
void conn_free(struct conn *conn);

int conn_fd(const struct conn *conn);
struct error *conn_reopen_main(struct conn *conn) WARN_UNUSED;

/* Declarations, on a channel of their own.  A mismatch (406) takes what is
 * there as it is, and says so once; a transient queue whose home is gone (404)
 * is made anew. */
struct error *conn_declare_exchange(struct conn *conn, const char *name,
                                    bool is_fanout) WARN_UNUSED;
struct error *conn_declare_queue(struct conn *conn,
                                 const struct queue_spec *queue) WARN_UNUSED;
struct error *conn_bind(struct conn *conn, const char *queue,
                        const char *exchange, const char *key) WARN_UNUSED;
struct error *conn_delete_queue(struct conn *conn,
                                const char *queue) WARN_UNUSED;
/* Consumers of a queue, by a passive declaration; -1 if that is unknown. */
int conn_count_consumers(struct conn *conn, const char *queue);
/* Is it known not to be there? */
bool conn_lacks_exchange(struct conn *conn, const char *name);
void conn_close_side(struct conn *conn);

/* All that the settings ask for (link_topology.c). */
struct error *conn_declare_topology(struct conn *conn) WARN_UNUSED;

/* What may be lost of it without anybody noticing: nothing that we send to
 * ourselves goes through the fanout. */
struct error *conn_declare_fanout(struct conn *conn) WARN_UNUSED;

struct error *conn_consume(struct conn *conn, const char *queue,
                           const char *consumer_tag) WARN_UNUSED;
struct error *conn_cancel(struct conn *conn,
                          const char *consumer_tag) WARN_UNUSED;

/* The outcome of the last synchronous call on 'channel', as an error that
 * starts with the formatted text.  Sets 'dead', 'code' and so on. */
struct error *conn_result(struct conn *conn, amqp_channel_t channel,
                          const char *fmt, ...) PRINTF_FORMAT(3, 4) WARN_UNUSED;
struct error *conn_check_reply(struct conn *conn, amqp_channel_t channel,
                               amqp_rpc_reply_t reply,
                               const char *what) WARN_UNUSED;
/* The same of a call that returns an amqp_status. */
struct error *conn_status(struct conn *conn, int status,
                          const char *what) WARN_UNUSED;

/* ---- Is it alive? (link_health.c) ---- */

/* The kernel finds out within 20 s that nobody answers on the other side, and
 * gives up a write that a broker does not read. */
void conn_set_socket_options(const struct conn *conn);

/* How long a call waits for its answer: less while all should be well, so that
 * a broker that hangs is found in time, and little while it is suspected. */
#define PATIENCE_S 15
#define PATIENCE_CHECKING_S 8
#define PATIENCE_SUSPECTING_S 5
void conn_set_patience(struct conn *conn, unsigned seconds);

/* Sends a heartbeat if nothing was sent for almost half an interval. */
struct error *conn_heartbeat(struct conn *conn) WARN_UNUSED;

/* When the next is due, from now. */
uint64_t conn_heartbeat_in_ms(const struct conn *conn);

/* Whether something can be written at once.  A broker that is short of memory
 * stops reading, and a write then waits for it: better not to begin one. */
bool conn_can_write(const struct conn *conn);

/* Keeps small writes together until it is undone. */
void conn_cork(struct conn *conn, bool cork);

/* link_frames.c: takes all frames that are there.  The broker may close
 * CHANNEL_MAIN underway ('main_closed'): that is no error. */
struct error *conn_drain(struct conn *conn) WARN_UNUSED;
bool conn_has_more(const struct conn *conn); /* Though poll() may not say. */
void assembly_reset(struct assembly *part);

/* ---- A thread (link_thread.c) ---- */

enum command_type {
    COMMAND_CONSUME,
    COMMAND_CANCEL,
    COMMAND_COUNT,
    COMMAND_REDECLARE,
    COMMAND_RECONNECT,
    COMMAND_CLOSE
};

/* From the loop to a thread; comes back as a completion, carried out. */
struct command {
    struct completion completion; /* First: it is posted. */
    struct command *next;
    enum command_type type;
    char *queue;       /* To count. */
    int n;             /* Its consumers. */
    unsigned grace_ms; /* To close. */
    void (*done)(void *aux);
    void (*counted)(void *aux, int n);
    void *aux;
};

struct settle {
    uint64_t tag;
    enum transport_settle how;
};

struct thread_status {
    bool up, blocked;
    int64_t since_us, blocked_us, last_error_us; /* As in link_status. */
    char blocked_reason[64], broker[128], last_error[256];
    struct link_counters count;
    uint64_t n_heard;
    size_t n_unconfirmed;
};

struct link_thread {
    struct link *link; /* To put into completions; never followed. */
    const struct link_settings *settings;
    struct completion_queue *q;
    const char *role;
    int wakeup; /* eventfd: something is in the mailbox. */
    uv_thread_t thread;
    bool running; /* The loop's, as the next two. */
    bool defers;  /* Wakes the thread once for several. */
    unsigned n_deferred;
    struct conn_owner owner; /* The thread's, but for its interrupt. */
    uint64_t tick_ms;        /* Atomic: when the thread was last seen alive. */

    uv_mutex_t mutex; /* Guards what follows. */
    bool woken;
    struct command *commands, **commands_tail;
    struct settle *settles;
    size_t n_settles, room_settles;
    struct outbox outbox;
    struct thread_status status;
};

void link_thread_init(struct link_thread *thread, struct link *link,
                      const struct link_settings *settings,
                      struct completion_queue *q, const char *role);
void link_thread_close(struct link_thread *thread);

/* The loop's side of the mailbox. */
void link_thread_tell(struct link_thread *thread, struct command *command);
void link_thread_settle(struct link_thread *thread, uint64_t tag,
                        enum transport_settle how);
void link_thread_publish(struct link_thread *thread, struct message *message,
                         struct message_list *dropped);

/* Between 'true' and 'false' the thread is not woken for each piece of mail:
 * to wake it costs more than to handle one. */
void link_thread_defer(struct link_thread *thread, bool defers);

/* The thread's side. */
struct mail {
    struct command *commands; /* The taker's. */
    struct settle *settles;   /* The taker's to free. */
    size_t n_settles;
};
struct mail link_thread_take(struct link_thread *thread);

/* Waits for 'events' of 'fd' (-1: none), for mail, or for 'timeout_ms'. */
void link_thread_wait(struct link_thread *thread, int fd, short events,
                      uint64_t timeout_ms);

/* How long 'conn' may rest before it wants attention. */
uint64_t link_thread_rest_ms(const struct link_thread *thread,
                             const struct conn *conn);

/* Tells the loop, once, when it has changed whether it is up or blocked;
 * 'blocked_reason' is null if it is not. */
void link_thread_report(struct link_thread *thread, bool up,
                        const char *blocked_reason);
void link_thread_failed(struct link_thread *thread, struct error *error);

/* The same of a connection that was there, and counts why it is no more. */
void link_thread_lost(struct link_thread *thread, const struct conn *conn,
                      struct error *error);

/* Adds to a counter of 'thread->status.count'. */
void link_thread_count(struct link_thread *thread, uint64_t *counter,
                       uint64_t n);
void link_thread_count_dropped(struct link_thread *thread,
                               const struct message_list *dropped);

/* A state machine for the hosts of the settings; the caller's. */
struct reconnect *link_thread_reconnect(struct link_thread *thread);

/* Does what 'reconnect' says next: waits, or connects to one host.  Null: take
 * the mail and call again.  The caller owes a reconnect_connected() or
 * reconnect_failed() for what is returned, once it knows. */
struct conn *link_thread_connect(struct link_thread *thread,
                                 struct reconnect *reconnect);

/* ---- What the threads run, and what they post ---- */

void link_consumer_run(void *thread);  /* link_consumer.c */
void link_publisher_run(void *thread); /* link_publisher.c */

/* link.c; called by the threads. */
void link_post_deliveries(struct link_thread *thread, struct inbound *first);
void link_post_settled(struct link_thread *thread, struct message_list *list);
void link_post_state(struct link_thread *thread);
/* A queue of ours cannot be reached: it is made sure of at once. */
void link_post_deaf(struct link_thread *thread);
void link_post_command(struct link_thread *thread, struct command *command);

#endif
