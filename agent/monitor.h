#ifndef DROVER_AGENT_MONITOR_H
#define DROVER_AGENT_MONITOR_H

/* The monitor of a running migration: a pure core.
 *
 * It is told what the hypervisor says and what time it is, and answers what to
 * do; agent/migrate/monitor.c has the timer and does it.
 * (spec/live-migration 4.6, 4.7, 7.2)
 *
 * Threads: no shared state. */

#include <stdbool.h>
#include <stdint.h>

#include "conf/convergence.h"
#include "drivers/driver.h"

struct monitor_options {
    double data_gb;
    unsigned downtime_ms, downtime_steps, downtime_delay_s;
    uint64_t completion_timeout_s; /* 0: none. */
    bool timeout_forces_complete;  /* Else it aborts. */
    /* The migration was started so that it can be switched to post-copy, and
     * that its guest can be throttled. */
    bool permit_postcopy, permit_throttle;
    struct convergence convergence; /* Steps not permitted are left out. */
    unsigned save_interval_s;
    unsigned silence_s; /* See agent/stuck.h. */
};

/* One round's input. */
struct monitor_input {
    /* The migrate call is over with this, ERR_NONE for success; or it was
     * lost with an earlier run of the agent and the job is over, and then
     * 'call_error' is any error: nobody knows. */
    bool call_returned;
    enum error_code call_error;
    bool stats_failed; /* job_get answered 'stats_error'. */
    enum error_code stats_error;
    struct job_stats stats;
    /* Evidence, where it was asked for (MONITOR_ASK_*). */
    bool presence_known, peer_known;
    enum guest_presence presence, peer_presence;
    bool peer_has_arrived; /* And is off now: its agent saw it come. */
    bool stop_seen;        /* A STOPPED event came, with ... */
    int stop_detail;       /* ... of enum stop_detail. */
};

/* What to do now; several at once. */
enum monitor_action {
    MONITOR_SET_DOWNTIME = 1 << 0, /* 'downtime_ms', 'downtime_is_by_hand' */
    MONITOR_SAVE_PROGRESS = 1 << 1,
    MONITOR_LOG_PROGRESS = 1 << 2,
    MONITOR_ABORT = 1 << 3,
    MONITOR_SUSPEND = 1 << 4,  /* Force-complete without post-copy. */
    MONITOR_POSTCOPY = 1 << 5, /* Force-complete with it. */
    /* Then another round with the answer; without it if there was none. */
    MONITOR_ASK_PRESENCE = 1 << 6,
    MONITOR_ASK_PEER = 1 << 7,
    /* Post-copy broke: try to go on with it (MIGRATE_POSTCOPY_RESUME). */
    MONITOR_RESUME_POSTCOPY = 1 << 8,
    MONITOR_THROTTLE = 1 << 9,
    /* The link is gone, or an abort has no effect. */
    MONITOR_BREAK = 1 << 10,
};

enum monitor_outcome {
    MONITOR_RUNNING,
    MONITOR_COMPLETED,   /* It runs at the destination; or it did, and what
                          * there is of it is there. */
    MONITOR_FAILED,      /* It runs, or ended, at the source. */
    MONITOR_CANCELLED,   /* As failed; somebody asked for it. */
    MONITOR_GUEST_ENDED, /* It runs nowhere: it shut down or crashed. */
};

struct monitor_output {
    unsigned actions; /* Of enum monitor_action. */
    enum monitor_outcome outcome;
    unsigned downtime_ms;
    bool downtime_is_by_hand; /* Set it, whatever the job has now. */
    /* Not 0: the policy asks for the actions, after so many iterations without
     * gain, of which the best left so much memory. */
    unsigned n_stalled;
    int64_t best_left;
    bool is_silent; /* MONITOR_BREAK: nobody aborted it. */
};

struct monitor;
struct monitor *monitor_create(const struct monitor_options *options,
                               uint64_t start_ms);
void monitor_free(struct monitor *monitor);
CLEANUP_FUNC(struct monitor, monitor_free)

void monitor_run(struct monitor *monitor, uint64_t now_ms,
                 const struct monitor_input *input, struct monitor_output *ret);

/* Somebody wants it to complete now, or to stop. */
void monitor_force_complete(struct monitor *monitor);
void monitor_note_abort(struct monitor *monitor);
/* The switch happened: neither abort nor time-out from now on. */
void monitor_note_postcopy(struct monitor *monitor);
bool monitor_is_postcopy(const struct monitor *monitor);

/* The accepted pause: 'ms' is wanted by somebody, from now on and instead of
 * any other; or what the job has was not set here, and stays. */
void monitor_hold_downtime(struct monitor *monitor, unsigned ms);
void monitor_leave_downtime(struct monitor *monitor);

/* Could an earlier run of the agent have set this? */
bool monitor_is_own_downtime(const struct monitor *monitor, unsigned ms);

/* The next round is due after this many ms. */
unsigned monitor_interval_ms(const struct monitor *monitor,
                             const struct job_stats *stats);

/* The limit in seconds; 0: none. */
uint64_t monitor_timeout_s(unsigned s_per_gb, double data_gb);

/* data_gb of a guest: RAM and the files of 'disk_bytes'. */
double monitor_data_gb(int memory_mb, const int64_t *disk_bytes, size_t n);

/* Progress in per cent as Nova counts it: of memory; 0 when unknown. */
int monitor_progress(const struct job_stats *stats);

#endif
