#ifndef DROVER_AGENT_MIGRATE_MONITOR_H
#define DROVER_AGENT_MIGRATE_MONITOR_H

/* What the parts of the running monitor share, and nobody else includes; what
 * others may do with it is in agent/migration.h.
 *
 *   migrate_monitor.c  rounds, evidence, the end
 *   migrate_adjust.c   accepted pause and throttling of the job
 *   migrate_bandwidth.c
 *
 * Threads: the loop. */

#include "agent/migration.h"
#include "agent/monitor.h"

/* The hands of agent/monitor.h: asks the hypervisor in rounds, tells the core,
 * does what it answers.  It outlives its operation until the last answer is
 * in: 'n_pending' counts what is still out. */
struct migrate_monitor {
    struct agent *agent;
    struct op_ticket *ticket; /* Null once the outcome is told. */
    struct monitor *core;
    char *uuid, *dest_uri;
    uv_timer_t timer;
    unsigned n_pending; /* Calls to the driver, and the timer's closing. */
    bool adopted;       /* After a restart: the call is nobody's any more. */
    unsigned n_idle;    /* Rounds without a job since. */
    bool stopped, in_round, is_saving, abort_wanted;
    struct monitor_input input;
    struct job_stats last;    /* The newest that said anything. */
    struct error *call_error; /* Of the migrate call. */
    enum monitor_outcome outcome;

    /* migrate_adjust.c */
    unsigned downtime_ms; /* As it was set here; 0: it was not. */
    unsigned wanted_downtime_ms, setting_downtime_ms;
    bool is_setting_bandwidth, is_setting_downtime, is_asking_downtime;
};

/* Null once the outcome is told, or the operation is no more. */
struct migration *migrate_monitor_migration(const struct migrate_monitor *mm);

/* The end of a call to the driver, of which no more is to be said than that it
 * failed. */
void migrate_monitor_done(struct migrate_monitor *mm, struct error *error);

/* In a round in which the job runs: does 'out', as far as it is about these. */
void migrate_adjust(struct migrate_monitor *mm,
                    const struct monitor_output *out);

/* Likewise, tells the job what bandwidth it has now, if that is another. */
void migrate_bandwidth_adjust(struct migrate_monitor *mm);

#endif
