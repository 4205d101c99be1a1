#include <config.h>

#include "drivers/libvirt_internal.h"

#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

/* Enough for the migrations that can end between an event and the question. */
#define N_KEPT 64

/* The event that tells them can come a little after the end. */
#define LATE_MS 500

struct kept {
    char uuid[VIR_UUID_STRING_BUFLEN]; /* Empty: unused. */
    bool is_known;
    struct job_stats stats;
};

struct libvirt_jobs {
    pthread_mutex_t mutex; /* For what follows. */
    pthread_cond_t changed;
    size_t next; /* To be overwritten. */
    struct kept kept[N_KEPT];
};

static struct error *ask(struct libvirt *state, const char *uuid,
                         unsigned flags, struct job_stats *ret);
static bool recall(struct libvirt_jobs *jobs, const char *uuid,
                   struct job_stats *ret);
static struct kept *find(struct libvirt_jobs *jobs, const char *uuid);
static struct kept *find_or_add(struct libvirt_jobs *jobs, const char *uuid);
static void read_stats(virTypedParameterPtr params, int n_params,
                       struct job_stats *ret);
static enum job_type job_type_of(int type);

struct libvirt_jobs *
libvirt_job_cache_create(void)
{
    struct libvirt_jobs *jobs = xzalloc(sizeof *jobs);

    pthread_mutex_init(&jobs->mutex, NULL);
    libvirt_cond_init(&jobs->changed);
    return jobs;
}

void
libvirt_job_cache_free(struct libvirt_jobs *jobs)
{
    pthread_cond_destroy(&jobs->changed);
    pthread_mutex_destroy(&jobs->mutex);
    free(jobs);
}

void
libvirt_job_note(struct libvirt_jobs *jobs, virDomainPtr domain,
                 virTypedParameterPtr params, int n_params)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    struct job_stats stats;
    int has_succeeded = 1; /* Not always told. */

    if (virDomainGetUUIDString(domain, uuid) < 0) {
        return;
    }
    read_stats(params, n_params, &stats);
    virTypedParamsGetBoolean(params, n_params, VIR_DOMAIN_JOB_SUCCESS,
                             &has_succeeded);
    stats.type = has_succeeded ? JOB_COMPLETED : JOB_FAILED;

    pthread_mutex_lock(&jobs->mutex);
    struct kept *kept = find_or_add(jobs, uuid);
    kept->stats = stats;
    kept->is_known = true;
    pthread_cond_broadcast(&jobs->changed);
    pthread_mutex_unlock(&jobs->mutex);
}

void
libvirt_job_expect(struct libvirt_jobs *jobs, const char *uuid)
{
    pthread_mutex_lock(&jobs->mutex);
    find_or_add(jobs, uuid)->is_known = false;
    pthread_mutex_unlock(&jobs->mutex);
}

struct error *
libvirt_job_get(void *state_, const char *uuid, bool completed,
                struct job_stats *ret)
{
    struct libvirt *state = state_;
    unsigned flags = completed ? VIR_DOMAIN_JOB_STATS_COMPLETED |
                                     VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
                               : 0;
    AUTO_ERROR error = ask(state, uuid, flags, ret);

    /* Only a guest that is gone: of one that is here, libvirt knows. */
    if (completed && error_code(error) == ERR_INSTANCE_NOT_FOUND &&
        recall(state->jobs, uuid, ret)) {
        return NULL;
    }
    return error_wrap(steal(&error), "ask for the job of '%s'", uuid);
}

static struct error *
ask(struct libvirt *state, const char *uuid, unsigned flags,
    struct job_stats *ret)
{
    AUTO_DOMAIN domain = NULL;
    virTypedParameterPtr params = NULL;
    int type = VIR_DOMAIN_JOB_NONE, n_params = 0;

    struct error *error = libvirt_guest_find(state, uuid, &domain);
    if (error) {
        return error;
    }
    if (virDomainGetJobStats(domain, &type, &params, &n_params, flags) < 0) {
        AUTO_ERROR reason = libvirt_error(ERR_INTERNAL, uuid);
        /* QEMU between the last pass and the end of the job. */
        if (!strstr(error_message(reason), "no RAM info was set")) {
            return steal(&reason);
        }
        type = VIR_DOMAIN_JOB_NONE;
    }
    read_stats(params, n_params, ret);
    ret->type = job_type_of(type);
    virTypedParamsFree(params, n_params);
    return NULL;
}

/* False: nothing is known, or awaited. */
static bool
recall(struct libvirt_jobs *jobs, const char *uuid, struct job_stats *ret)
{
    struct timespec deadline = libvirt_deadline_in(LATE_MS);
    const struct kept *kept;

    pthread_mutex_lock(&jobs->mutex);
    while ((kept = find(jobs, uuid)) && !kept->is_known &&
           libvirt_cond_wait(&jobs->changed, &jobs->mutex, &deadline)) {
    }
    bool is_known = kept && kept->is_known;
    if (is_known) {
        *ret = kept->stats;
    }
    pthread_mutex_unlock(&jobs->mutex);
    return is_known;
}

static struct kept *
find(struct libvirt_jobs *jobs, const char *uuid)
{
    for (size_t i = 0; i < N_KEPT; i++) {
        if (strcmp(jobs->kept[i].uuid, uuid) == 0) {
            return &jobs->kept[i];
        }
    }
    return NULL;
}

static struct kept *
find_or_add(struct libvirt_jobs *jobs, const char *uuid)
{
    struct kept *kept = find(jobs, uuid);

    if (!kept) {
        kept = &jobs->kept[jobs->next];
        jobs->next = (jobs->next + 1) % N_KEPT;
        snprintf(kept->uuid, sizeof kept->uuid, "%s", uuid);
    }
    return kept;
}

/* Every field is optional, and their order is not told. */
static void
read_stats(virTypedParameterPtr params, int n_params, struct job_stats *ret)
{
    const struct {
        const char *name;
        int64_t *ret;
    } fields[] = {
        {VIR_DOMAIN_JOB_TIME_ELAPSED, &ret->elapsed_ms},
        {VIR_DOMAIN_JOB_DOWNTIME, &ret->downtime_ms},
        {VIR_DOMAIN_JOB_DOWNTIME_NET, &ret->downtime_net_ms},
        {VIR_DOMAIN_JOB_MEMORY_TOTAL, &ret->memory_total},
        {VIR_DOMAIN_JOB_MEMORY_PROCESSED, &ret->memory_processed},
        {VIR_DOMAIN_JOB_MEMORY_REMAINING, &ret->memory_remaining},
        {VIR_DOMAIN_JOB_DISK_TOTAL, &ret->disk_total},
        {VIR_DOMAIN_JOB_DISK_PROCESSED, &ret->disk_processed},
        {VIR_DOMAIN_JOB_DISK_REMAINING, &ret->disk_remaining},
        {VIR_DOMAIN_JOB_MEMORY_BPS, &ret->memory_bps},
        {VIR_DOMAIN_JOB_DISK_BPS, &ret->disk_bps},
        {VIR_DOMAIN_JOB_MEMORY_ITERATION, &ret->iteration},
        {VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE, &ret->dirty_rate_pages},
        {VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE, &ret->page_size},
    };
    unsigned long long value;
    int percent;

    for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
        *fields[i].ret = virTypedParamsGetULLong(params, n_params,
                                                 fields[i].name, &value) == 1 &&
                                 value <= INT64_MAX
                             ? (int64_t)value
                             : -1;
    }
    ret->auto_converge_percent =
        virTypedParamsGetInt(params, n_params,
                             VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE,
                             &percent) == 1
            ? percent
            : -1;
}

static enum job_type
job_type_of(int type)
{
    switch ((virDomainJobType)type) {
    case VIR_DOMAIN_JOB_BOUNDED:
        return JOB_BOUNDED;
    case VIR_DOMAIN_JOB_UNBOUNDED:
        return JOB_UNBOUNDED;
    case VIR_DOMAIN_JOB_COMPLETED:
        return JOB_COMPLETED;
    case VIR_DOMAIN_JOB_FAILED:
        return JOB_FAILED;
    case VIR_DOMAIN_JOB_CANCELLED:
        return JOB_CANCELLED;
    case VIR_DOMAIN_JOB_NONE:
    default:
        return JOB_NONE;
    }
}
