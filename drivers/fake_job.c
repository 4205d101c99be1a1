#include <config.h>

#include "drivers/fake_job.h"

#define PAGE_SIZE_BYTES 4096
#define DEFAULT_DOWNTIME_MS 300 /* QEMU's */

static double amount_left(const struct fake_job *job);
static void transmit(struct fake_job *job, double amount, double seconds);
static void end_phase(struct fake_job *job);
static double effective_dirty_rate(const struct fake_job *job);
static void stop_guest(struct fake_job *job);
static void gather_rest(struct fake_job *job);

void
fake_job_start(struct fake_job *job, const struct fake_job_params *params,
               uint64_t now_us)
{
    *job = (struct fake_job){
        .phase = FAKE_DISK,
        .auto_converge = params->auto_converge,
        .memory_total = (double)params->memory,
        .disk_total = (double)params->disk,
        .dirty_rate = params->is_paused ? 0 : (double)params->dirty_rate,
        .memory_left = (double)params->memory,
        .disk_left = (double)params->disk,
        .max_downtime_ms = DEFAULT_DOWNTIME_MS,
        .start_us = now_us,
        .now_us = now_us,
    };
    fake_job_set_rate(job, params->rate);
}

void
fake_job_advance(struct fake_job *job, uint64_t now_us)
{
    while (job->phase != FAKE_DONE) {
        uint64_t due_us = fake_job_due_us(job);

        if (due_us > now_us) {
            if (now_us > job->now_us) {
                double seconds = (double)(now_us - job->now_us) / 1e6;

                transmit(job, job->rate * seconds, seconds);
                job->now_us = now_us;
            }
            return;
        }
        transmit(job, amount_left(job), (double)(due_us - job->now_us) / 1e6);
        job->now_us = due_us;
        end_phase(job);
    }
}

uint64_t
fake_job_due_us(const struct fake_job *job)
{
    if (job->phase == FAKE_DONE) {
        return job->now_us;
    }
    return job->now_us + (uint64_t)(amount_left(job) / job->rate * 1e6);
}

void
fake_job_set_rate(struct fake_job *job, int64_t rate)
{
    job->rate = rate < 1 ? 1 : (double)rate;
}

void
fake_job_set_dirty_rate(struct fake_job *job, int64_t dirty_rate)
{
    job->dirty_rate = (double)dirty_rate;
}

void
fake_job_pause(struct fake_job *job)
{
    job->dirty_rate = 0;
    if (job->phase == FAKE_MEMORY) {
        stop_guest(job);
    }
}

/* Disks must be complete before the switch; they are taken to be. */
void
fake_job_postcopy(struct fake_job *job)
{
    job->disk_left = 0;
    gather_rest(job);
    job->phase = FAKE_POSTCOPY;
}

void
fake_job_stats(const struct fake_job *job, struct job_stats *ret)
{
    double to_send = job->memory_left + job->dirty;
    double downtime_us = job->stop_us ? (double)(job->now_us - job->stop_us)
                                      : to_send / job->rate * 1e6;

    *ret = (struct job_stats){
        .type = job->phase == FAKE_DONE ? JOB_COMPLETED : JOB_UNBOUNDED,
        .elapsed_ms = (int64_t)((job->now_us - job->start_us) / 1000),
        .downtime_ms = (int64_t)(downtime_us / 1000) + 1,
        .downtime_net_ms = (int64_t)(downtime_us / 1000),
        .memory_total = (int64_t)job->memory_total,
        .memory_processed = (int64_t)job->memory_sent,
        .memory_remaining = (int64_t)job->memory_left,
        .disk_total = (int64_t)job->disk_total,
        .disk_processed = (int64_t)(job->disk_total - job->disk_left),
        .disk_remaining = (int64_t)job->disk_left,
        .memory_bps = job->phase == FAKE_DISK ? 0 : (int64_t)job->rate,
        .disk_bps = job->phase == FAKE_DISK ? (int64_t)job->rate : 0,
        .iteration = job->iteration,
        .dirty_rate_pages =
            (int64_t)(effective_dirty_rate(job) / PAGE_SIZE_BYTES),
        .page_size = PAGE_SIZE_BYTES,
        .auto_converge_percent =
            job->auto_converge ? (int64_t)job->throttle_percent : -1,
    };
}

static double
amount_left(const struct fake_job *job)
{
    return job->phase == FAKE_DISK ? job->disk_left : job->memory_left;
}

static void
transmit(struct fake_job *job, double amount, double seconds)
{
    if (job->phase == FAKE_DISK) {
        job->disk_left -= amount > job->disk_left ? job->disk_left : amount;
        return;
    }
    amount = amount > job->memory_left ? job->memory_left : amount;
    job->memory_left -= amount;
    job->memory_sent += amount;
    if (job->phase == FAKE_MEMORY) {
        job->dirty += effective_dirty_rate(job) * seconds;
        if (job->dirty > job->memory_total) {
            job->dirty = job->memory_total;
        }
    }
}

static void
end_phase(struct fake_job *job)
{
    switch (job->phase) {
    case FAKE_DISK:
        job->disk_left = 0;
        job->phase = FAKE_MEMORY;
        job->iteration = 1;
        return;
    case FAKE_MEMORY:
        job->memory_left = 0;
        if (job->dirty < PAGE_SIZE_BYTES ||
            job->dirty / job->rate * 1000 <= job->max_downtime_ms) {
            stop_guest(job);
            return;
        }
        job->memory_left = job->dirty;
        job->dirty = 0;
        job->iteration++;
        if (job->auto_converge && job->iteration > 2 &&
            job->throttle_percent < 90) {
            job->throttle_percent += job->throttle_percent ? 10 : 20;
        }
        return;
    default:
        job->memory_left = 0;
        job->phase = FAKE_DONE;
    }
}

static double
effective_dirty_rate(const struct fake_job *job)
{
    return job->dirty_rate * (100 - job->throttle_percent) / 100;
}

static void
stop_guest(struct fake_job *job)
{
    gather_rest(job);
    job->phase = FAKE_STOPPED;
    job->stop_us = job->now_us;
}

/* What was not sent yet and what was written again overlap. */
static void
gather_rest(struct fake_job *job)
{
    job->memory_left += job->dirty;
    job->dirty = 0;
    if (job->memory_left > job->memory_total) {
        job->memory_left = job->memory_total;
    }
}
