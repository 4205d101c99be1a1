#include <config.h>

#include "agent/nova/image_fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/nova/cloud.h"
#include "agent/nova/image_sum.h"
#include "agent/nova/nova.h"

LOG_MODULE(nova_image);

/* Who waits for an image. */
struct image_waiter {
    struct image_waiter *next;
    attach_done *done;
    void *aux;
};

struct image_fetch {
    struct agent *agent;
    struct image_fetch *next; /* Of all under way. */
    struct log_context log;
    struct json *context;
    struct object *instance;
    char *name, *backing_format; /* Of the file, as the disk has it. */
    int64_t virtual_size;
    struct image_waiter *waiters; /* The first of all is told the error. */

    char *format; /* Glance's. */
    struct image_sum sum;
    int fd; /* -1: none. */
    struct error *error;
};

static struct image_fetch *find(const struct agent *agent, const char *name);
static void wait_for(struct image_fetch *fetch, attach_done *done, void *aux);
static void begin(struct image_fetch *fetch);
static void image_known(void *aux, const struct glance_image *image,
                        struct error *error);
static void file_made(void *aux, struct error *error, int fd);
static void downloaded(void *aux, struct error *error);
static void sum_run(void *aux);
static void sum_known(void *aux);
static void kept(void *aux, struct error *error);
static void copy_from_source(struct image_fetch *fetch, struct error *why);
static void copied(void *aux, struct error *error);
static void finish(struct image_fetch *fetch, struct error *error);

void
image_fetch(struct agent *agent, const struct json *context,
            const struct object *instance, const struct prepare_disk *disk,
            attach_done *done, void *aux)
{
    struct image_fetch *fetch = find(agent, disk->backing_path);

    if (fetch) {
        wait_for(fetch, done, aux);
        return;
    }
    fetch = xzalloc(sizeof *fetch);
    fetch->agent = agent;
    fetch->context = json_copy(context);
    fetch->instance = object_copy(instance);
    fetch->name = xstrdup(disk->backing_path);
    fetch->backing_format = xstrdup_null(disk->backing_format);
    fetch->virtual_size = disk->virtual_size;
    fetch->fd = -1;
    snprintf(fetch->log.instance, sizeof fetch->log.instance, "%s",
             object_string(instance, "uuid"));
    fetch->next = agent->image_fetches;
    agent->image_fetches = fetch;
    wait_for(fetch, done, aux);
    begin(fetch);
}

static struct image_fetch *
find(const struct agent *agent, const char *name)
{
    struct image_fetch *fetch = agent->image_fetches;

    while (fetch && !str_eq(fetch->name, name)) {
        fetch = fetch->next;
    }
    return fetch;
}

static void
wait_for(struct image_fetch *fetch, attach_done *done, void *aux)
{
    struct image_waiter **at = &fetch->waiters;
    struct image_waiter *waiter = xzalloc(sizeof *waiter);

    waiter->done = done;
    waiter->aux = aux;
    while (*at) {
        at = &(*at)->next;
    }
    *at = waiter;
}

/* Null: it is closed. */
static struct service *
glance_of(const struct image_fetch *fetch)
{
    const struct nova *nova = fetch->agent->nova;

    return nova && nova->cloud ? nova->cloud->glance : NULL;
}

static void
begin(struct image_fetch *fetch)
{
    const char *image = object_string(fetch->instance, "image_ref");
    AUTO_FREE name = image ? image_sum_cache_name(image) : NULL;

    if (!str_eq(name, fetch->name)) {
        copy_from_source(fetch, NULL);
    } else if (glance_of(fetch)) {
        glance_image_get(glance_of(fetch), fetch->context, image, image_known,
                         fetch);
    } else {
        finish(fetch, error_new(ERR_CANCELLED, "the agent is stopping"));
    }
}

static void
image_known(void *aux, const struct glance_image *image, struct error *error)
{
    struct image_fetch *fetch = aux;

    if (!error && (!str_eq(image->status, "active") || !image->disk_format)) {
        error = error_new(ERR_IMAGE_NOT_FOUND, "image '%s' is %s", image->id,
                          image->status);
        error_set_arg(error, "image_id", image->id);
    }
    if (error) {
        copy_from_source(fetch, error);
        return;
    }
    log_info(&fetch->log, "image '%s', %lld bytes, is fetched", image->id,
             (long long)image->size);
    fetch->format = xstrdup(image->disk_format);
    image_sum_init(&fetch->sum, image->json);
    driver_image_create(fetch->agent->driver, fetch->name, file_made, fetch);
}

static void
file_made(void *aux, struct error *error, int fd)
{
    struct image_fetch *fetch = aux;
    unsigned timeout_ms = (unsigned)fetch->agent->conf->long_rpc_timeout * 1000;

    fetch->fd = fd;
    if (!error && !glance_of(fetch)) {
        error = error_new(ERR_CANCELLED, "the agent is stopping");
    }
    if (error) {
        finish(fetch, error);
        return;
    }
    glance_image_download(glance_of(fetch), fetch->context,
                          object_string(fetch->instance, "image_ref"), fd,
                          timeout_ms, downloaded, fetch);
}

static void
downloaded(void *aux, struct error *error)
{
    struct image_fetch *fetch = aux;

    if (error) {
        copy_from_source(fetch, error);
    } else {
        worker_run_alone(fetch->agent->attach_workers, "image", sum_run,
                         sum_known, fetch);
    }
}

/* On a thread of its own. */
static void
sum_run(void *aux)
{
    struct image_fetch *fetch = aux;

    fetch->error =
        image_sum_check(&fetch->sum, fetch->fd, &fetch->agent->attach_stop);
}

/* As nova-compute keeps it, unless the source tells how it has it. */
static bool
is_made_raw(const struct image_fetch *fetch)
{
    const char *told = fetch->backing_format;

    return told ? !str_eq(told, "qcow2")
                : fetch->agent->conf->force_raw_images ||
                      !str_eq(fetch->format, "qcow2");
}

static void
sum_known(void *aux)
{
    struct image_fetch *fetch = aux;
    const struct image_request request = {
        .name = fetch->name,
        .fd = fetch->fd,
        .format = fetch->format,
        .is_made_raw = is_made_raw(fetch),
        .virtual_max = fetch->virtual_size,
    };

    if (!fetch->error && !fetch->agent->ops) { /* The driver is closed. */
        fetch->error = error_new(ERR_CANCELLED, "the agent is stopping");
    }
    if (fetch->error) {
        kept(fetch, steal(&fetch->error));
    } else {
        driver_image_keep(fetch->agent->driver, &request, kept, fetch);
    }
}

static void
kept(void *aux, struct error *error)
{
    struct image_fetch *fetch = aux;
    const char *image = object_string(fetch->instance, "image_ref");

    if (error) {
        error = error_set_arg(error_wrap(error, "image '%s'", image),
                              "image_id", image);
    }
    finish(fetch, error);
}

/* What was fetched so far would take the room of what comes instead. */
static void
drop_file(struct image_fetch *fetch)
{
    if (fetch->fd >= 0) {
        close(fetch->fd);
        fetch->fd = -1;
    }
}

/* As Glance does not have it ('why', taken), or null: nobody else has.  Where
 * it is this host that has no room for it, the source is of no help. */
static void
copy_from_source(struct image_fetch *fetch, struct error *why)
{
    const char *source = object_string(fetch->instance, "host");
    const struct image_request request = {
        .name = fetch->name,
        .fd = -1,
        .format = fetch->backing_format,
        .virtual_max = fetch->virtual_size,
        .host = (char *)source,
    };

    drop_file(fetch);
    if (error_code(why) == ERR_CANCELLED || error_code(why) == ERR_STORAGE ||
        !source) {
        finish(fetch, why ? why
                          : error_new(ERR_MIGRATION,
                                      "nobody is known who has image '%s'",
                                      fetch->name));
        return;
    }
    log_info(&fetch->log, "image '%s' is copied from '%s'%s%s", fetch->name,
             source, why ? ": " : "", why ? error_message(why) : "");
    fetch->error = why;
    driver_image_copy(fetch->agent->driver, &request, copied, fetch);
}

/* Of both failures Glance's is the one that peers know. */
static void
copied(void *aux, struct error *error)
{
    struct image_fetch *fetch = aux;
    struct error *why = steal(&fetch->error);

    if (error && why) {
        log_warn(&fetch->log, "image '%s': %s", fetch->name,
                 error_message(error));
        error_free(error);
        error = why;
    } else {
        error_free(why);
        error = error_wrap(error, "image '%s'", fetch->name);
    }
    finish(fetch, error);
}

/* Who began it has failed with it; the others may have more luck, with a token
 * or a source of their own. */
static void
finish(struct image_fetch *fetch, struct error *error)
{
    struct image_fetch **at = &fetch->agent->image_fetches;

    while (*at != fetch) {
        at = &(*at)->next;
    }
    *at = fetch->next;
    drop_file(fetch);
    image_sum_close(&fetch->sum);
    if (!error) {
        log_info(&fetch->log, "image '%s' is here", fetch->name);
    }
    while (fetch->waiters) {
        struct image_waiter *waiter = fetch->waiters;

        fetch->waiters = waiter->next;
        waiter->done(waiter->aux, steal(&error));
        free(waiter);
    }
    json_free(fetch->context);
    object_free(fetch->instance);
    free(fetch->name);
    free(fetch->backing_format);
    free(fetch->format);
    free(fetch);
}
