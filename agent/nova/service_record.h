#ifndef DROVER_NOVA_SERVICE_RECORD_H
#define DROVER_NOVA_SERVICE_RECORD_H

/* The record by which the control plane knows this host, and its heartbeat.
 * (spec/drop-in 3)
 *
 * It has a conductor of its own, so that no other call is before it in a queue,
 * and it is silent while 'is_alive' says that the agent could not do what it is
 * asked for: a host that is half dead had better look dead.
 *
 * Threads: the loop. */

#include <uv.h>

#include "rpc/conductor.h"

struct service_record;

struct service_record_options {
    uv_loop_t *loop;
    struct conductor *conductor; /* Borrowed for its life, and longer. */
    const char *host;            /* Copied. */
    int version;                 /* What the host can do, in Nova's count. */
    unsigned report_interval_s;
    bool (*is_alive)(void *aux, const char **ret_reason);
    void *aux;
};

struct service_record *
service_record_create(const struct service_record_options *options);

/* The conductor is closed first, so that no call is under way. */
void service_record_close(struct service_record *service);

/* Finds the record, with our version, or makes it.  'done' once, perhaps before
 * it returns, 'error' taken; ERR_CONFIG: this cell does not take it. */
void service_record_register(struct service_record *service,
                             void (*done)(void *aux, struct error *error),
                             void *aux);

/* From now on it beats: first soon, then at each interval. */
void service_record_start_beating(struct service_record *service);

/* Whether builds may come here: what is disabled for 'reason' is marked so that
 * it is enabled again by us, and what an operator disabled stays so.  Goes on
 * until it is done or the opposite is wanted. */
void service_record_set_able(struct service_record *service, bool is_able,
                             const char *reason);

struct service_status {
    bool is_registered;
    uint64_t n_beats, n_failed, n_withheld;
    int64_t beat_ms_ago;    /* The last that was taken; -1: none. */
    const char *last_error; /* Null: the last one was taken. */
};
struct service_status service_record_status(const struct service_record *);

#endif
