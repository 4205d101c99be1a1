#include <config.h>

#include "agent/attach.h"

#include <stdlib.h>
#include <uv.h>

#include "agent/agent.h"
#include "agent/attachments.h"
#include "agent/base/worker.h"
#include "agent/plug_retry.h"

LOG_MODULE(attach);

/* Volumes and ports that this host itself connects and plugs, as the migrate
 * data describe them, or at a source its own record.  The records of a control
 * plane about them are others' business.
 *
 * One job does all of an instance, on a worker; between two attempts to plug it
 * waits on a timer. */

/* A hanging server or target holds one of them for its time. */
#define N_WORKERS 4

enum job_kind { JOB_CONNECT, JOB_DISCONNECT, JOB_PLUG, JOB_UNPLUG };

struct attach_job {
    struct agent *agent;
    struct attach_job *next, **at; /* Of those of the agent. */
    enum job_kind kind;
    struct volume_list volumes;
    struct vif_list vifs;
    struct plug_retry retry;
    struct error *error;
    uv_timer_t timer;
    bool is_waiting;
    attach_done *done;
    attach_connected *connected; /* Instead of 'done'. */
    struct object *data;         /* Only with 'connected'. */
    void *aux;
};

static void submit(struct attach_job *job);
static void work(void *aux);
static void worked(void *aux);
static void pause_over(uv_timer_t *timer);
static void finish(struct attach_job *job);
static void timer_closed(uv_handle_t *handle);
static void completion_finish(struct completion *c);

struct failed_start {
    struct completion completion;
    struct attach_job *job;
};

static struct attach_job *
job_create(struct agent *agent, enum job_kind kind, attach_done *done,
           void *aux)
{
    struct attach_job *job = xzalloc(sizeof *job);

    job->agent = agent;
    job->kind = kind;
    job->done = done;
    job->aux = aux;
    job->retry.n_max = (unsigned)agent->conf->live_migration_retry_count;
    job->timer.data = job;
    uv_timer_init(agent->loop, &job->timer);
    job->next = agent->attach_jobs;
    job->at = &agent->attach_jobs;
    if (job->next) {
        job->next->at = &job->next;
    }
    agent->attach_jobs = job;
    return job;
}

/* Takes 'error', why there is nothing to be done, and nothing that needs a
 * worker is left to it: but 'done' never comes before the call returned. */
static void
start(struct attach_job *job, struct error *error)
{
    job->error = error;
    if (!error && (job->volumes.n || job->vifs.n)) {
        submit(job);
        return;
    }
    struct failed_start *start = xzalloc(sizeof *start);
    start->job = job;
    start->completion.deliver = completion_finish;
    completion_post(job->agent->q, &start->completion);
}

static void
connect_dest(struct agent *agent, const struct json *context UNUSED,
             const struct object *instance, const struct object *data,
             attach_keep *keep UNUSED, attach_connected *done, void *aux)
{
    struct attach_job *job = job_create(agent, JOB_CONNECT, NULL, aux);

    job->connected = done;
    job->data = object_copy(data);
    start(job,
          attachments_volumes(agent->conf, data,
                              object_string(instance, "uuid"), &job->volumes));
}

static void
disconnect_dest(struct agent *agent, const struct json *context UNUSED,
                const struct object *instance, const struct object *data,
                attach_done *done, void *aux)
{
    struct attach_job *job = job_create(agent, JOB_DISCONNECT, done, aux);

    /* What could not be understood was not connected. */
    error_free(attachments_volumes(
        agent->conf, data, object_string(instance, "uuid"), &job->volumes));
    start(job, NULL);
}

static void
disconnect_source(struct agent *agent, const struct json *context UNUSED,
                  const struct object *instance,
                  const struct object *data UNUSED, attach_done *done,
                  void *aux)
{
    struct attach_job *job = job_create(agent, JOB_DISCONNECT, done, aux);

    start(job, attachments_own_volumes(agent->conf, instance, &job->volumes));
}

static void
plug_dest(struct agent *agent, const struct json *context UNUSED,
          const struct object *instance, const struct object *data,
          attach_done *done, void *aux)
{
    struct attach_job *job = job_create(agent, JOB_PLUG, done, aux);

    start(job, attachments_vifs(data, object_string(instance, "uuid"), false,
                                &job->vifs));
}

void
attach_host_plug(struct agent *agent, const struct vif_list *vifs,
                 attach_done *done, void *aux)
{
    struct attach_job *job = job_create(agent, JOB_PLUG, done, aux);

    job->vifs = vif_list_copy(vifs);
    start(job, NULL);
}

static void
unplug_dest(struct agent *agent, const struct json *context UNUSED,
            const struct object *instance, const struct object *data,
            attach_done *done, void *aux)
{
    struct attach_job *job = job_create(agent, JOB_UNPLUG, done, aux);

    error_free(attachments_vifs(data, object_string(instance, "uuid"), false,
                                &job->vifs));
    start(job, NULL);
}

static void
unplug_source(struct agent *agent, const struct json *context UNUSED,
              const struct object *instance, const struct object *data,
              attach_done *done, void *aux)
{
    struct attach_job *job = job_create(agent, JOB_UNPLUG, done, aux);

    start(job, attachments_vifs(data, object_string(instance, "uuid"), true,
                                &job->vifs));
}

static void
nothing(struct agent *agent, const struct json *context UNUSED,
        const struct object *instance UNUSED, const struct object *data UNUSED,
        attach_done *done, void *aux)
{
    start(job_create(agent, JOB_DISCONNECT, done, aux), NULL);
}

static void
nothing_allotted(struct agent *agent, const struct json *context UNUSED,
                 const char *instance_uuid UNUSED,
                 const char *migration_uuid UNUSED, attach_done *done,
                 void *aux)
{
    start(job_create(agent, JOB_DISCONNECT, done, aux), NULL);
}

const struct volume_ops volume_host = {
    .connect_dest = connect_dest,
    .disconnect_dest = disconnect_dest,
    .restore_source = nothing,
    .disconnect_source = disconnect_source,
};

const struct vif_ops vif_host = {
    .plug_dest = plug_dest,
    .unplug_dest = unplug_dest,
    .unbind_dest = nothing,
    .activate_dest = nothing,
    .restore_source = nothing,
    .unplug_source = unplug_source,
    .settle_dest = nothing,
};

const struct allocation_ops allocation_host = {
    .give_back = nothing_allotted,
    .release = nothing_allotted,
};

static void
no_images(struct agent *agent UNUSED, const struct json *context UNUSED,
          const struct object *instance UNUSED,
          const struct prepare_request *files UNUSED, attach_done *done,
          void *aux)
{
    done(aux, NULL);
}

static void
no_images_wanted(struct agent *agent UNUSED, const char *instance_uuid UNUSED)
{
}

const struct image_ops image_host = {.fetch = no_images,
                                     .cancel = no_images_wanted};

void
attach_host_open(struct agent *agent)
{
    const struct conf_libvirt *conf = &agent->conf->libvirt;

    agent->volumes = &volume_host;
    agent->vifs = &vif_host;
    agent->allocations = &allocation_host;
    agent->images = &image_host;
    agent->attach_workers = worker_pool_create(agent->q, "attach", N_WORKERS);
    agent->claims_path = xasprintf("%s/volumes", agent->conf->state_path);
    agent->host = (struct host){
        .run = host_run_command,
        .wait = host_wait,
        .aux = &agent->attach_stop,
        .root = "",
        .claims_path = agent->claims_path,
        .nfs_mount_point_base = conf->nfs_mount_point_base,
        .nfs_mount_options = conf->nfs_mount_options,
        .iscsi_iface = conf->iscsi_iface,
        .scan_tries = (unsigned)conf->num_volume_scan_tries,
    };
}

void
attach_host_close(struct agent *agent)
{
    struct attach_job *next;

    atomic_store(&agent->attach_stop, true);
    worker_pool_free(agent->attach_workers);
    free(agent->claims_path);

    for (struct attach_job *job = agent->attach_jobs; job; job = next) {
        next = job->next;
        if (job->is_waiting) {
            finish(job);
        }
    }
}

static void
submit(struct attach_job *job)
{
    worker_submit(job->agent->attach_workers, work, worked, job);
}

/* Of several failures the first is told; what is taken back is taken back as
 * far as it can be. */
static void
note(struct attach_job *job, struct error *error)
{
    if (job->error) {
        error_free(error);
    } else {
        job->error = error;
    }
}

static void
work(void *aux)
{
    struct attach_job *job = aux;
    const struct host *host = &job->agent->host;

    for (size_t i = 0; i < job->volumes.n; i++) {
        struct volume *volume = job->volumes.volumes[i];
        if (job->kind == JOB_DISCONNECT) {
            note(job, volume_disconnect(host, volume));
        } else if (!job->error) {
            note(job, volume_connect(host, volume));
        }
    }
    for (size_t i = 0; i < job->vifs.n; i++) {
        const struct vif *vif = job->vifs.vifs[i];
        if (job->kind == JOB_UNPLUG) {
            note(job, vif_unplug(host, vif));
        } else if (!job->error) {
            note(job, vif_plug(host, vif));
        }
    }
}

static void
worked(void *aux)
{
    struct attach_job *job = aux;

    if (job->kind != JOB_PLUG || !job->error || job->agent->stopping ||
        !plug_retry_again(&job->retry, error_code(job->error))) {
        finish(job);
        return;
    }
    log_warn(NULL, "instance '%s': attempt %u of %u failed: %s",
             job->vifs.vifs[0]->instance, job->retry.n_failed, job->retry.n_max,
             error_message(job->error));
    error_free(steal(&job->error));
    job->is_waiting = true;
    uv_timer_start(&job->timer, pause_over, PLUG_RETRY_PAUSE_MS, 0);
}

static void
pause_over(uv_timer_t *timer)
{
    struct attach_job *job = timer->data;

    job->is_waiting = false;
    submit(job);
}

static void
completion_finish(struct completion *c)
{
    struct failed_start *start =
        container_of(c, struct failed_start, completion);

    finish(start->job);
    free(start);
}

static void
finish(struct attach_job *job)
{
    struct error *error = steal(&job->error);

    if (job->is_waiting) { /* The agent stops. */
        error = error_new(ERR_CANCELLED, "the agent is stopping");
    }
    *job->at = job->next;
    if (job->next) {
        job->next->at = job->at;
    }
    if (!job->connected) {
        job->done(job->aux, error);
    } else if (error) {
        job->connected(job->aux, error, NULL);
    } else {
        attachments_set_paths(job->data, &job->volumes);
        job->connected(job->aux, NULL, steal(&job->data));
    }
    volume_list_close(&job->volumes);
    vif_list_close(&job->vifs);
    object_free(steal(&job->data));
    uv_close((uv_handle_t *)&job->timer, timer_closed);
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}
