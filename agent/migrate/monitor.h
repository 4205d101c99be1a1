#ifndef DROVER_MIGRATE_MONITOR_H
#define DROVER_MIGRATE_MONITOR_H

/* What the parts of the running monitor share, and nobody else includes; what
 * others may do with it is in agent/migrate/migration.h.
 *
 *   monitor.c          rounds, evidence, the end
 *   adjust.c           accepted pause and throttling of the job
 *   postcopy.c
 *   bandwidth.c
 *
 * Threads: the loop. */

#include "agent/migrate/migration.h"
#include "agent/monitor.h"

/* The hands of agent/monitor.h: asks the hypervisor in rounds, tells the core,
 * does what it answers.  It outlives its operation until the last answer is
 * in: 'n_pending' counts what is still out. */
struct migrate_monitor {
    struct agent *agent;
    struct op_ticket *ticket; /* Null once the outcome is told. */
    struct monitor *core;
    char *uuid, *dest, *dest_uri;
    uv_timer_t timer;
    unsigned n_pending; /* Calls to the driver, and the timer's closing. */
    bool adopted;       /* After a restart: the call is nobody's any more. */
    unsigned n_idle;    /* Rounds without a job since. */
    bool stopped, in_round, is_saving, abort_wanted;
    bool is_aborting; /* An abort is on its way again. */
    struct monitor_input input;
    struct job_stats last;    /* The newest that said anything. */
    struct error *call_error; /* Of the migrate call. */
    enum monitor_outcome outcome;

    /* adjust.c */
    unsigned downtime_ms; /* As it was set here; 0: it was not. */
    unsigned wanted_downtime_ms, setting_downtime_ms;
    bool downtime_is_by_hand; /* The one that is wanted. */
    bool downtime_is_due;     /* The hypervisor was away as it was told. */
    bool is_setting_bandwidth, is_setting_downtime, is_asking_downtime;

    /* postcopy.c: what was to be told of the guest may have been
     * missed, so that it is to be looked at. */
    bool look_is_due, is_looking;
};

/* Null once the outcome is told, or the operation is no more. */
struct migration *migrate_monitor_migration(const struct migrate_monitor *mm);

/* The end of a call to the driver, of which no more is to be said than that it
 * failed. */
void migrate_monitor_done(struct migrate_monitor *mm, struct error *error);

/* In a round in which the job runs: does 'out', as far as it is about these. */
void migrate_adjust(struct migrate_monitor *mm,
                    const struct monitor_output *out);

/* Asks for the switch to post-copy. */
void migrate_postcopy_start(struct migrate_monitor *mm);

/* It happened, whoever asked for it: from here on the migration can only go on,
 * also for a later run of the agent.  A second time it does nothing. */
void migrate_postcopy_enter(struct migrate_monitor *mm);

/* This host has a guest like that: it may have happened. */
void migrate_postcopy_note(struct migrate_monitor *mm,
                           enum guest_presence presence);

/* Finds out, if it is due, whether somebody switched it while nobody here was
 * told. */
void migrate_postcopy_look(struct migrate_monitor *mm);

/* A broken post-copy leaves the guest paused, not lost: the same migration,
 * asked for again, fetches the rest. (7.2) */
void migrate_postcopy_resume(struct migrate_monitor *mm);

/* In a round in which the job runs: tells the job what bandwidth it has now, if
 * that is another. */
void migrate_bandwidth_adjust(struct migrate_monitor *mm);

#endif
