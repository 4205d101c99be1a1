#ifndef DROVER_DRIVERS_FAKE_JOB_H
#define DROVER_DRIVERS_FAKE_JOB_H

/* What a live migration does to time and bytes: a model of pre-copy.
 *
 * Disks go first, then all memory, then again and again what the guest has
 * written meanwhile, until the rest can be sent within the allowed downtime;
 * then the guest stops and the rest follows.  A guest that writes faster than
 * the link carries never gets there.  (spec/live-migration 1.1)
 *
 * Pure: reads no clock, so it can be tested without waiting.  Threads: no
 * shared state; any. */

#include <stdbool.h>
#include <stdint.h>

#include "drivers/driver.h"

enum fake_phase {
    FAKE_DISK,
    FAKE_MEMORY,
    FAKE_STOPPED,  /* The guest waits while the rest is sent. */
    FAKE_POSTCOPY, /* The guest runs over there already. */
    FAKE_DONE,
};

/* To read; changed by the functions below.  Amounts are bytes. */
struct fake_job {
    enum fake_phase phase;
    bool auto_converge;
    double memory_total, disk_total;
    double rate;                   /* A second, on the link. */
    double dirty_rate;             /* A second, by the guest. */
    double memory_left, disk_left; /* Of this pass. */
    double dirty;                  /* Written in this pass. */
    double memory_sent;
    unsigned max_downtime_ms;
    unsigned iteration, throttle_percent;
    uint64_t start_us, now_us, stop_us;
};

struct fake_job_params {
    int64_t memory, disk, rate, dirty_rate;
    bool auto_converge, is_paused;
};

void fake_job_start(struct fake_job *job, const struct fake_job_params *params,
                    uint64_t now_us);

/* Brings the job up to 'now_us'. */
void fake_job_advance(struct fake_job *job, uint64_t now_us);

/* When the phase ends if nothing is changed. */
uint64_t fake_job_due_us(const struct fake_job *job);

/* All of these are to be called up to date. */
void fake_job_set_rate(struct fake_job *job, int64_t rate);
void fake_job_set_dirty_rate(struct fake_job *job, int64_t dirty_rate);
void fake_job_pause(struct fake_job *job); /* The guest writes no more. */
void fake_job_postcopy(struct fake_job *job);

void fake_job_stats(const struct fake_job *job, struct job_stats *ret);

#endif
