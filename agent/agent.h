#ifndef DROVER_AGENT_AGENT_H
#define DROVER_AGENT_AGENT_H

/* The agent of one host: everything that its parts need of each other.
 *
 * main.c wires one up on a loop, a bus and a driver; a test wires two up in one
 * process.  There is no global state.
 *
 * Threads: the loop. */

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "agent/attach.h"
#include "agent/instance_queue.h"
#include "agent/notify.h"
#include "agent/op/op.h"
#include "agent/records.h"
#include "agent/records_local.h"
#include "agent/slots.h"
#include "agent/stamp.h"
#include "agent/store.h"
#include "agent/tally.h"
#include "conf/conf.h"
#include "drivers/driver.h"
#include "drivers/host.h"
#include "rpc/client.h"
#include "rpc/notifier.h"
#include "rpc/server.h"

struct attach_job;
struct collection;
struct event_waits;
struct forecaster;
struct image_job;
struct incoming_places;
struct link;
struct nova;
struct self_test;

struct agent {
    uv_loop_t *loop;
    struct completion_queue *q;
    const struct conf *conf;

    struct driver *driver;
    char *node;          /* The hypervisor's name of this host; null: not known
                          * yet. */
    bool guests_listed;  /* libvirt was asked since it was last reached. */
    unsigned n_listings; /* Of guests, under way. */
    bool list_again;     /* If they fail: it was reached meanwhile. */

    struct store *store;
    struct records *records;
    struct records_local *local; /* Null with a control plane. */
    struct nova *nova;           /* Null without. */
    struct op_engine *ops;
    struct instance_queue *queue;
    uint64_t n_instance_busy; /* Requests that found it full. */
    struct tally tally;       /* What was done so far. */
    struct slots *outgoing;   /* max_concurrent_live_migrations */
    struct incoming_places *incoming;
    struct event_waits *event_waits; /* Of requests and operations. */
    const struct volume_ops *volumes;
    const struct vif_ops *vifs;
    const struct allocation_ops *allocations;
    const struct image_ops *images;
    struct image_walk *image_walks;    /* Of instances that come. */
    struct image_fetch *image_fetches; /* Under way. */
    struct host host;                  /* Of the first two. */
    struct worker_pool *attach_workers;
    struct attach_job *attach_jobs; /* Under way. */
    atomic_bool attach_stop;
    char *claims_path;

    struct transport *transport;
    struct link *link;           /* Null in tests: the transport is another. */
    struct self_test *self_test; /* Null: none, or not yet. */
    struct rpc_server *server;
    struct rpc_client *client;
    struct worker_pool *parsers; /* Of large messages, for the last two. */
    struct notifier *notifier;
    struct notify *notify;

    uv_timer_t *sync; /* Of adopt_regularly(). */
    struct json
        *last_drain; /* How it ended (agent/drain/drain.h); null: none. */
    struct forecaster *forecasters; /* Under way. */
    struct collection *collections; /* Of facts for audits, under way. */

    struct stamp started;
    bool stopping;
    struct completion gone; /* The last one of this agent. */
};

/* Every type of operation that a journal may hold; ends with null. */
extern const struct op_type *const agent_op_types[];

/* What an agent is made of; all borrowed for its life but 'store', which it
 * closes. */
struct agent_parts {
    struct completion_queue *q;
    const struct conf *conf;
    struct transport *transport;
    struct link *link; /* Or null. */
    struct store *store;
};

/* Makes the agent and loads its state and driver, touching nothing of the
 * world. */
struct error *agent_create(const struct agent_parts *parts,
                           struct agent **ret) WARN_UNUSED;

/* Lists the guests, settles what the journal holds, waits for the control plane
 * if there is one, and then calls 'ready': only now may requests be consumed,
 * and not at all if there is an error (taken).  It is not called if the agent
 * is freed before. */
void agent_start(struct agent *agent,
                 void (*ready)(void *aux, struct error *error), void *aux);

/* No new requests; 'stopped' when those under way are answered, or 'grace_ms'
 * is over.  Migrations are left to libvirt and the journal. */
void agent_stop(struct agent *agent, unsigned grace_ms,
                void (*stopped)(void *aux), void *aux);

/* After agent_stop().  Memory goes when the completion queue has been drained;
 * timers close, so the loop must run once more. */
void agent_free(struct agent *agent);

#endif
