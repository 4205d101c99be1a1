#ifndef DROVER_RPC_RECONNECT_H
#define DROVER_RPC_RECONNECT_H

/* When to connect, and to which host.  (spec/rpc-wire 6.4)
 *
 * Every host is tried once a round, without pause; after a round without
 * success comes a wait of random length, up to a limit that grows each time
 * until a connection has lived for a minute.  What an attempt took is part of
 * the wait.  A host that refuses the connection costs nothing to ask: while all
 * do, the limit stays at four seconds, and a broker that was restarted is found
 * soon.  After a loss the first attempt is put off by a random time, so that a
 * thousand agents do not come back in step.
 *
 * A pure state machine: it is told what happens and when, and says what to do.
 *
 * Threads: no shared state. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mem.h"

struct reconnect;

struct reconnect_options {
    size_t n_hosts;      /* At least 1. */
    unsigned base_ms;    /* The first limit; 0: 1000. */
    unsigned backoff_ms; /* It grows by so much, or doubles if that is more;
                          * 0: it does not grow. */
    unsigned max_ms;     /* 0: 30000. */
    unsigned delay_ms;   /* After a loss: on average. */
    unsigned splay_ms;   /* After a loss: up to so much more. */
    bool shuffle;        /* Another order of hosts each round. */
    /* Any number, evenly distributed. */
    uint32_t (*random)(void *aux);
    void *aux;
};

enum reconnect_action {
    RECONNECT_WAIT,    /* Until reconnect_due_ms(). */
    RECONNECT_CONNECT, /* Now; then tell how it went. */
    RECONNECT_NONE,    /* An attempt or a connection is under way. */
};

/* The first attempt is due at once. */
struct reconnect *reconnect_create(const struct reconnect_options *options,
                                   uint64_t now_ms);
void reconnect_free(struct reconnect *r); /* Null is fine. */
CLEANUP_FUNC(struct reconnect, reconnect_free)

/* With RECONNECT_CONNECT '*ret_host' is the index of the host to try, and the
 * caller owes a reconnect_connected() or reconnect_failed(). */
enum reconnect_action reconnect_run(struct reconnect *r, uint64_t now_ms,
                                    size_t *ret_host);

/* When reconnect_run() will say RECONNECT_CONNECT; UINT64_MAX if it waits for
 * something else than time. */
uint64_t reconnect_due_ms(const struct reconnect *r);

/* The attempt succeeded: usable, not merely a TCP connection. */
void reconnect_connected(struct reconnect *r, uint64_t now_ms);

/* The attempt failed.  'refused': at once, as nobody listens there. */
void reconnect_failed(struct reconnect *r, uint64_t now_ms, bool refused);

/* The connection that was there is lost. */
void reconnect_lost(struct reconnect *r, uint64_t now_ms);

#endif
