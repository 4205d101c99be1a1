#ifndef DROVER_MIGRATE_NUMBERS_H
#define DROVER_MIGRATE_NUMBERS_H

/* What a migration did, in numbers that are true.
 *
 * While a job runs, the hypervisor's downtime is a forecast; only that of the
 * job which moved the guest was measured.  The two are kept apart, and what
 * nobody measured stays unknown.  (spec/live-migration 4.6,
 * spec/library-notes)
 *
 * Threads: no shared state. */

#include "drivers/driver.h"
#include "rpc/json.h"

/* A plain record; -1: not known. */
struct migrate_numbers {
    struct job_stats stats;   /* Of the ended job, else the newest. */
    bool is_measured;         /* The two downtimes in 'stats' are. */
    int64_t throttle_percent; /* The most that it ever was. */
    bool used_postcopy;
    int64_t total_ms; /* Of the migration, with all its steps. */
};

void migrate_numbers_init(struct migrate_numbers *numbers);

/* Takes what the running job says of itself; JOB_NONE says nothing. */
void migrate_numbers_note(struct migrate_numbers *numbers,
                          const struct job_stats *stats);

/* The job is over, and has moved the guest or not; 'final' is what the
 * hypervisor has of the ended job, null if it has nothing.  Only a completed
 * job is believed, and only if the guest has moved: the last one that libvirt
 * remembers may be an earlier one. */
void migrate_numbers_conclude(struct migrate_numbers *numbers, bool has_moved,
                              const struct job_stats *final);

/* Bytes a second: of the running job now, of an ended one on average; -1. */
int64_t migrate_numbers_rate(const struct migrate_numbers *numbers,
                             bool is_running);

/* Adds those of what people see (agent/api/api.h) that the Migration itself has
 * no room for, unknown ones as null. */
void migrate_numbers_describe(const struct migrate_numbers *numbers,
                              bool is_running, struct json *json);

/* To and from a record or the journal; what is missing in 'json' (may be null)
 * is not known. */
struct json *migrate_numbers_format(const struct migrate_numbers *numbers);
void migrate_numbers_parse(const struct json *json,
                           struct migrate_numbers *ret);

#endif
