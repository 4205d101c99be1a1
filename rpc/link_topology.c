#include <config.h>

#include "rpc/link_internal.h"

static struct error *declare_served(struct conn *);
static struct error *declare_fanout(struct conn *);
static struct error *declare_and_bind(struct conn *, const char *exchange,
                                      bool is_fanout, const char *queue,
                                      const char *key);
static struct error *declare_listening(struct conn *);

/* In the order in which the peers do it. (spec/rpc-wire 1.1) */
struct error *
conn_declare_topology(struct conn *conn)
{
    const struct link_settings *s = conn->settings;
    const struct queue_spec reply = {.name = s->reply_queue,
                                     .is_transient = true};
    struct error *error = s->o.topic ? declare_served(conn) : NULL;

    if (!error) {
        error = conn_declare_queue(conn, &reply);
    }
    if (!error && s->listen_queue) {
        error = declare_listening(conn);
    }
    if (!error) {
        conn_close_side(conn);
    }
    return error;
}

struct error *
conn_declare_fanout(struct conn *conn)
{
    const struct link_settings *s = conn->settings;
    struct error *error = s->o.topic ? declare_fanout(conn) : NULL;

    if (!error) {
        conn_close_side(conn);
    }
    return error;
}

static struct error *
declare_served(struct conn *conn)
{
    const struct link_settings *s = conn->settings;
    const char *topic = s->topic_queue;
    struct error *error =
        declare_and_bind(conn, s->o.exchange, false, topic, topic);

    if (!error) {
        error = declare_and_bind(conn, s->o.exchange, false, s->server_queue,
                                 s->server_queue);
    }
    return error ? error : declare_fanout(conn);
}

static struct error *
declare_fanout(struct conn *conn)
{
    const struct link_settings *s = conn->settings;

    return declare_and_bind(conn, s->fanout_exchange, true, s->fanout_queue,
                            s->topic_queue);
}

/* A queue of a fanout exchange is its consumer's, unless it is a stream. */
static struct error *
declare_and_bind(struct conn *conn, const char *exchange, bool is_fanout,
                 const char *queue, const char *key)
{
    bool is_stream = is_fanout && conn->settings->o.stream_fanout;
    const struct queue_spec spec = {
        .name = queue,
        .is_transient = is_fanout && !is_stream,
        .is_stream = is_stream,
    };
    struct error *error = conn_declare_exchange(conn, exchange, is_fanout);

    if (!error) {
        error = conn_declare_queue(conn, &spec);
    }
    if (!error) {
        error = conn_bind(conn, queue, exchange, key);
    }
    return error;
}

static struct error *
declare_listening(struct conn *conn)
{
    const struct link_settings *s = conn->settings;
    const struct queue_spec spec = {.name = s->listen_queue,
                                    .is_transient = true};
    struct error *error = conn_declare_exchange(conn, s->o.exchange, false);

    if (!error) {
        error = conn_declare_queue(conn, &spec);
    }
    for (size_t i = 0; !error && s->o.listen_keys[i]; i++) {
        error = conn_bind(conn, spec.name, s->o.exchange, s->o.listen_keys[i]);
    }
    return error;
}
