#include <config.h>

#include "drivers/driver_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void call_run(void *aux);
static void call_done(void *aux);
static void migration_thread(void *aux);
static void migration_done(struct completion *c);

struct driver_call *
driver_call_create(struct driver *driver, void (*run)(struct driver_call *),
                   void (*deliver)(struct driver_call *), void *aux)
{
    struct driver_call *call = xzalloc(sizeof *call);

    call->driver = driver;
    call->run = run;
    call->deliver = deliver;
    call->aux = aux;
    call->ret_fd = -1;
    uv_mutex_lock(&driver->mutex);
    driver->n_holders++;
    uv_mutex_unlock(&driver->mutex);
    call->next = driver->calls;
    if (call->next) {
        call->next->prev = call;
    }
    driver->calls = call;
    return call;
}

/* After driver_cancel() it is only listed, for that to end it. */
void
driver_call_submit(struct driver_call *call)
{
    if (!call->driver->is_cancelled) {
        call->is_submitted = true;
        worker_submit(call->driver->pool, call_run, call_done, call);
    }
}

/* On a thread of its own, which the driver's end does not wait for. */
void
driver_call_submit_alone(struct driver_call *call)
{
    struct driver *driver = call->driver;
    uv_thread_t thread;

    call->completion.deliver = migration_done;
    if (driver->is_cancelled) {
        return;
    }
    call->is_submitted = true;
    uv_mutex_lock(&driver->mutex);
    driver->n_users++;
    driver->n_holders++;
    uv_mutex_unlock(&driver->mutex);
    worker_thread_start(&thread, "migration", migration_thread, call);
}

void
driver_call_unlist(struct driver_call *call)
{
    *(call->prev ? &call->prev->next : &call->driver->calls) = call->next;
    if (call->next) {
        call->next->prev = call->prev;
    }
    call->prev = call->next = NULL;
}

static void
call_run(void *aux)
{
    struct driver_call *call = aux;

    call->run(call);
}

/* On the loop; whoever asked may be gone once the driver is closed. */
static void
call_done(void *aux)
{
    struct driver_call *call = aux;

    if (!call->is_told) {
        driver_call_unlist(call);
        call->deliver(call);
    }
    driver_call_free(call);
}

static void
texts_free(char **texts)
{
    for (char **text = texts; text && *text; text++) {
        free(*text);
    }
    free(texts);
}

static void
close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

void
driver_call_free(struct driver_call *call)
{
    driver_drop_holder(call->driver);
    free(call->text);
    free(call->more_text);
    prepare_request_free(call->prepare);
    migrate_request_free(call->migrate);
    at_rest_request_free(call->rest);
    copy_request_free(call->copy);
    if (call->image) {
        close_fd(call->image->fd);
    }
    image_request_free(call->image);
    error_free(call->error);
    host_info_free(call->ret_host);
    host_resources_free(call->ret_resources);
    texts_free(call->texts[0]);
    texts_free(call->texts[1]);
    close_fd(call->ret_fd);
    free(call->ret_text);
    guest_free(call->ret_guest);
    guest_rest_free(call->ret_rest);
    guest_list_free(call->ret_list);
    guest_counters_free(call->ret_counters);
    free(call);
}

static void
migration_thread(void *aux)
{
    struct driver_call *call = aux;
    struct driver *driver = call->driver;

    pthread_detach(pthread_self());
    call->run(call);
    uv_mutex_lock(&driver->mutex);
    bool posted = !driver->is_closed;
    if (posted) {
        completion_post(driver->q, &call->completion);
    }
    uv_mutex_unlock(&driver->mutex);
    if (!posted) {
        driver_call_free(call);
    }
    driver_drop_user(driver);
    driver_drop_holder(driver);
}

static void
migration_done(struct completion *c)
{
    call_done(container_of(c, struct driver_call, completion));
}
