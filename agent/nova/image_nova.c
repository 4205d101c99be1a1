#include <config.h>

#include "agent/nova/image_nova.h"

#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/nova/image_fetch.h"

/* The files that an instance's disks are based on, one after the other. */
struct image_walk {
    struct agent *agent;
    struct image_walk *next; /* Of all that are open. */
    struct json *context;
    struct object *instance;
    struct prepare_request *files;
    size_t i_file;
    attach_done *done; /* Null: nobody waits for its end any more. */
    void *aux;
};

static void next_file(struct image_walk *walk);
static void existence_known(void *aux, struct error *error, bool exists);
static void fetched(void *aux, struct error *error);
static bool is_over(struct image_walk *walk, struct error *error);
static void tell(struct image_walk *walk, struct error *error);
static void finish(struct image_walk *walk, struct error *error);

static const struct prepare_disk *
file_at(const struct image_walk *walk)
{
    return &walk->files->disks[walk->i_file];
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
    struct image_walk *walk = xzalloc(sizeof *walk);
    walk->agent = agent;
    walk->context = json_copy(context);
    walk->instance = object_copy(instance);
    walk->files = prepare_request_copy(files);
    walk->done = done;
    walk->aux = aux;
    walk->next = agent->image_walks;
    agent->image_walks = walk;
    next_file(walk);
}

static void
cancel(struct agent *agent, const char *instance_uuid)
{
    for (struct image_walk *walk = agent->image_walks; walk;
         walk = walk->next) {
        if (str_eq(object_string(walk->instance, "uuid"), instance_uuid)) {
            tell(walk, error_new(ERR_CANCELLED, "its images are not waited "
                                                "for any more"));
        }
    }
}

const struct image_ops image_nova = {.fetch = fetch_images, .cancel = cancel};

/* What is based on a file elsewhere than in the cache is for the check of the
 * disks to judge. */
static void
next_file(struct image_walk *walk)
{
    size_t n = walk->files->n_disks;

    while (walk->i_file < n && (!file_at(walk)->backing_path ||
                                strchr(file_at(walk)->backing_path, '/'))) {
        walk->i_file++;
    }
    if (walk->i_file == n) {
        finish(walk, NULL);
    } else {
        driver_image_exists(walk->agent->driver, file_at(walk)->backing_path,
                            existence_known, walk);
    }
}

static void
existence_known(void *aux, struct error *error, bool exists)
{
    struct image_walk *walk = aux;

    if (is_over(walk, error)) {
        return;
    }
    if (exists) {
        walk->i_file++;
        next_file(walk);
    } else {
        image_fetch(walk->agent, walk->context, walk->instance, file_at(walk),
                    fetched, walk);
    }
}

/* It is looked for again: perhaps it was another's, which failed. */
static void
fetched(void *aux, struct error *error)
{
    struct image_walk *walk = aux;

    if (!is_over(walk, error)) {
        next_file(walk);
    }
}

/* Takes the error.  When the agent stops there is no driver to be asked. */
static bool
is_over(struct image_walk *walk, struct error *error)
{
    if (!error && walk->done && walk->agent->ops) {
        return false;
    }
    finish(walk,
           error ? error
                 : error_new(ERR_CANCELLED, "images are not fetched any more"));
    return true;
}

static void
tell(struct image_walk *walk, struct error *error)
{
    attach_done *done = steal(&walk->done);

    if (done) {
        done(walk->aux, error);
    } else {
        error_free(error);
    }
}

static void
finish(struct image_walk *walk, struct error *error)
{
    struct image_walk **at = &walk->agent->image_walks;

    while (*at != walk) {
        at = &(*at)->next;
    }
    *at = walk->next;
    tell(walk, error);
    json_free(walk->context);
    object_free(walk->instance);
    prepare_request_free(walk->files);
    free(walk);
}
