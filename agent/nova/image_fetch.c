#include <config.h>

#include "agent/nova/image_nova.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/nova/cloud.h"
#include "agent/nova/image_sum.h"
#include "agent/nova/nova.h"

LOG_MODULE(nova_image);

/* The images of one instance, one after the other. */
struct image_job {
    struct agent *agent;
    struct image_job *next; /* Of all that are open. */
    struct json *context;
    struct object *instance;
    struct prepare_request *files;
    size_t i_file;
    attach_done *done;
    void *aux;

    const char *name; /* Of the file that is fetched or waited for; or null. */
    bool is_waiting;  /* Another job fetches it. */
    char *format;     /* Glance's. */
    struct image_sum sum;
    int fd; /* -1: none. */
    struct error *error;
};

static void next_file(struct image_job *job);
static void existence_known(void *aux, struct error *error, bool exists);
static const struct image_job *find_fetching(const struct image_job *job);
static void fetch(struct image_job *job);
static void image_known(void *aux, const struct glance_image *image,
                        struct error *error);
static void file_made(void *aux, struct error *error, int fd);
static void downloaded(void *aux, struct error *error);
static void sum_run(void *aux);
static void sum_known(void *aux);
static void kept(void *aux, struct error *error);
static void copy_from_source(struct image_job *job, struct error *why);
static void copied(void *aux, struct error *error);
static void fetched(struct image_job *job);
static void let_go(struct image_job *job);
static void finish(struct image_job *job, struct error *error);

static const struct prepare_disk *
file_at(const struct image_job *job)
{
    return &job->files->disks[job->i_file];
}

/* Which its guest is started with from its directory. */
static bool
has_kernel(const struct object *instance)
{
    const char *kernel = object_string(instance, "kernel_id");

    return kernel && *kernel;
}

static void
fetch_images(struct agent *agent, const struct json *context,
             const struct object *instance, const struct prepare_request *files,
             attach_done *done, void *aux)
{
    if (has_kernel(instance)) {
        done(aux, error_new(ERR_MIGRATION, "kernel and ramdisk images are not "
                                           "fetched"));
        return;
    }
    struct image_job *job = xzalloc(sizeof *job);
    job->agent = agent;
    job->context = json_copy(context);
    job->instance = object_copy(instance);
    job->files = prepare_request_copy(files);
    job->done = done;
    job->aux = aux;
    job->fd = -1;
    job->next = agent->image_jobs;
    agent->image_jobs = job;
    next_file(job);
}

const struct image_ops image_nova = {.fetch = fetch_images};

/* What is based on a file elsewhere than in the cache is for the check of the
 * disks to judge. */
static void
next_file(struct image_job *job)
{
    size_t n = job->files->n_disks;

    while (job->i_file < n && (!file_at(job)->backing_path ||
                               strchr(file_at(job)->backing_path, '/'))) {
        job->i_file++;
    }
    if (job->i_file == n) {
        finish(job, NULL);
    } else {
        driver_image_exists(job->agent->driver, file_at(job)->backing_path,
                            existence_known, job);
    }
}

static void
existence_known(void *aux, struct error *error, bool exists)
{
    struct image_job *job = aux;

    if (error) {
        finish(job, error);
    } else if (exists) {
        job->i_file++;
        next_file(job);
    } else {
        job->name = file_at(job)->backing_path;
        job->is_waiting = find_fetching(job);
        if (!job->is_waiting) {
            fetch(job);
        }
    }
}

static const struct image_job *
find_fetching(const struct image_job *job)
{
    const struct image_job *other = job->agent->image_jobs;

    while (other && (other == job || other->is_waiting ||
                     !str_eq(other->name, job->name))) {
        other = other->next;
    }
    return other;
}

/* Null: it is closed. */
static struct service *
glance_of(const struct image_job *job)
{
    const struct nova *nova = job->agent->nova;

    return nova && nova->cloud ? nova->cloud->glance : NULL;
}

static void
fetch(struct image_job *job)
{
    const char *image = object_string(job->instance, "image_ref");
    AUTO_FREE name = image ? image_sum_cache_name(image) : NULL;

    if (!str_eq(name, job->name)) {
        copy_from_source(job, NULL);
    } else if (glance_of(job)) {
        glance_image_get(glance_of(job), job->context, image, image_known, job);
    } else {
        finish(job, error_new(ERR_CANCELLED, "the agent is stopping"));
    }
}

static void
image_known(void *aux, const struct glance_image *image, struct error *error)
{
    struct image_job *job = aux;

    if (!error && (!str_eq(image->status, "active") || !image->disk_format)) {
        error = error_new(ERR_IMAGE_NOT_FOUND, "image '%s' is %s", image->id,
                          image->status);
        error_set_arg(error, "image_id", image->id);
    }
    if (error) {
        copy_from_source(job, error);
        return;
    }
    log_info(NULL, "image '%s', %lld bytes, is fetched", image->id,
             (long long)image->size);
    job->format = xstrdup(image->disk_format);
    image_sum_init(&job->sum, image->json);
    driver_image_create(job->agent->driver, job->name, file_made, job);
}

static void
file_made(void *aux, struct error *error, int fd)
{
    struct image_job *job = aux;
    unsigned timeout_ms = (unsigned)job->agent->conf->long_rpc_timeout * 1000;

    job->fd = fd;
    if (!error && !glance_of(job)) {
        error = error_new(ERR_CANCELLED, "the agent is stopping");
    }
    if (error) {
        finish(job, error);
        return;
    }
    glance_image_download(glance_of(job), job->context,
                          object_string(job->instance, "image_ref"), fd,
                          timeout_ms, downloaded, job);
}

static void
downloaded(void *aux, struct error *error)
{
    struct image_job *job = aux;

    if (error) {
        copy_from_source(job, error);
    } else {
        worker_run_alone(job->agent->attach_workers, "image", sum_run,
                         sum_known, job);
    }
}

/* On a thread of its own. */
static void
sum_run(void *aux)
{
    struct image_job *job = aux;

    job->error = image_sum_check(&job->sum, job->fd, &job->agent->attach_stop);
}

static void
sum_known(void *aux)
{
    struct image_job *job = aux;
    const struct prepare_disk *disk = file_at(job);
    const struct image_request request = {
        .name = (char *)job->name,
        .fd = job->fd,
        .format = job->format,
        .is_made_raw = !str_eq(disk->backing_format, "qcow2"),
        .virtual_max = disk->virtual_size,
    };

    if (job->error) {
        kept(job, steal(&job->error));
    } else {
        driver_image_keep(job->agent->driver, &request, kept, job);
    }
}

static void
kept(void *aux, struct error *error)
{
    struct image_job *job = aux;
    const char *image = object_string(job->instance, "image_ref");

    if (error) {
        error = error_set_arg(error_wrap(error, "image '%s'", image),
                              "image_id", image);
        finish(job, error);
    } else {
        fetched(job);
    }
}

/* As Glance does not have it ('why', taken), or null: nobody else has. */
static void
copy_from_source(struct image_job *job, struct error *why)
{
    const char *source = object_string(job->instance, "host");
    const struct prepare_disk *disk = file_at(job);
    const struct image_request request = {
        .name = (char *)job->name,
        .fd = -1,
        .format = disk->backing_format,
        .virtual_max = disk->virtual_size,
        .host = (char *)source,
    };

    if (error_code(why) == ERR_CANCELLED || !source) {
        finish(job, why ? why
                        : error_new(ERR_MIGRATION,
                                    "nobody is known who has image '%s'",
                                    job->name));
        return;
    }
    log_info(NULL, "image '%s' is copied from '%s'%s%s", job->name, source,
             why ? ": " : "", why ? error_message(why) : "");
    job->error = why;
    driver_image_copy(job->agent->driver, &request, copied, job);
}

/* Of both failures Glance's is the one that peers know. */
static void
copied(void *aux, struct error *error)
{
    struct image_job *job = aux;
    struct error *why = steal(&job->error);

    if (error && why) {
        log_warn(NULL, "image '%s': %s", job->name, error_message(error));
        error_free(error);
        finish(job, why);
        return;
    }
    error_free(why);
    if (error) {
        finish(job, error_wrap(error, "image '%s'", job->name));
    } else {
        fetched(job);
    }
}

static void
fetched(struct image_job *job)
{
    log_info(NULL, "image '%s' is here", job->name);
    let_go(job);
    next_file(job);
}

/* Of the image that was fetched, or could not be; who waits for it looks again
 * whether it is there. */
static void
let_go(struct image_job *job)
{
    const char *name = steal(&job->name);
    struct image_job *other = job->agent->image_jobs, *next;

    if (job->fd >= 0) {
        close(job->fd);
        job->fd = -1;
    }
    free(steal(&job->format));
    image_sum_close(&job->sum);
    for (; other; other = next) {
        next = other->next;
        if (name && other->is_waiting && str_eq(other->name, name)) {
            other->is_waiting = false;
            other->name = NULL;
            next_file(other);
        }
    }
}

static void
finish(struct image_job *job, struct error *error)
{
    struct image_job **at = &job->agent->image_jobs;

    while (*at != job) {
        at = &(*at)->next;
    }
    *at = job->next;
    let_go(job);
    job->done(job->aux, error);
    json_free(job->context);
    object_free(job->instance);
    prepare_request_free(job->files);
    free(job);
}
