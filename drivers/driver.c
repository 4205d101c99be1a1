#include <config.h>

#include "drivers/driver.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "drivers/driver_internal.h"

LOG_MODULE(driver);

#define N_WORKERS 4

/* All that struct driver_ops must have. */
#define REQUIRED_ENTRIES         \
    ENTRY(open)                  \
    ENTRY(close)                 \
    ENTRY(is_connected)          \
    ENTRY(host_get)              \
    ENTRY(host_resources)        \
    ENTRY(host_uptime)           \
    ENTRY(compare_cpu)           \
    ENTRY(guest_list)            \
    ENTRY(guest_get)             \
    ENTRY(peer_presence)         \
    ENTRY(probe_create)          \
    ENTRY(probe_exists)          \
    ENTRY(probe_remove)          \
    ENTRY(prepare)               \
    ENTRY(unprepare)             \
    ENTRY(migrate)               \
    ENTRY(migrate_abort)         \
    ENTRY(migrate_break)         \
    ENTRY(migrate_set_downtime)  \
    ENTRY(migrate_get_downtime)  \
    ENTRY(migrate_set_bandwidth) \
    ENTRY(migrate_get_bandwidth) \
    ENTRY(migrate_throttle)      \
    ENTRY(migrate_postcopy)      \
    ENTRY(job_get)               \
    ENTRY(dirty_rate_start)      \
    ENTRY(dirty_rate_get)        \
    ENTRY(suspend)               \
    ENTRY(power_on)              \
    ENTRY(shut_down)             \
    ENTRY(power_off)             \
    ENTRY(console_read)          \
    ENTRY(guest_counters)        \
    ENTRY(resume)                \
    ENTRY(persist)               \
    ENTRY(discard)               \
    ENTRY(save)                  \
    ENTRY(rest_get)              \
    ENTRY(rest_seal)             \
    ENTRY(rest_give_up)          \
    ENTRY(rest_take)             \
    ENTRY(rest_wake)             \
    ENTRY(copy_serve)            \
    ENTRY(copy_stop)             \
    ENTRY(copy)                  \
    ENTRY(copy_abort)            \
    ENTRY(copy_progress)         \
    ENTRY(image_exists)          \
    ENTRY(image_create)          \
    ENTRY(image_keep)            \
    ENTRY(image_copy)

struct event_call {
    struct completion completion;
    struct driver *driver;
    struct driver_event event;
};

static struct error *load_module(struct driver *, const char *directory);
static const char *missing_entry(const struct driver_ops *ops);
static bool is_plain_name(const char *name);
static void post_event(void *aux, const struct driver_event *event);
static void deliver_event(struct completion *c);
static bool is_closed(struct driver *driver);

struct error *
driver_load(struct completion_queue *q, const char *directory, const char *name,
            const struct driver_options *options,
            void (*on_event)(void *aux, const struct driver_event *event),
            void *aux, struct driver **ret)
{
    struct driver_options ours = *options;

    if (!is_plain_name(name)) {
        return error_new(ERR_CONFIG, "'%s' is not the name of a driver", name);
    }
    struct driver *driver = xzalloc(sizeof *driver);
    driver->name = xstrdup(name);
    driver->q = q;
    driver->on_event = on_event;
    driver->on_event_aux = aux;
    driver->n_users = driver->n_holders = 1;
    uv_mutex_init(&driver->mutex);

    struct error *error = load_module(driver, directory);
    if (!error) {
        ours.event = post_event;
        ours.event_aux = driver;
        error = driver->ops->open(&ours, &driver->state);
    }
    if (error) {
        driver->ops = NULL;
        driver_close(driver);
        return error_wrap(error, "driver '%s'", name);
    }
    driver->pool = worker_pool_create(q, "driver", N_WORKERS);
    *ret = driver;
    return NULL;
}

void
driver_cancel(struct driver *driver)
{
    struct driver_call *call;

    driver->is_cancelled = true;
    while ((call = driver->calls)) {
        /* The worker has the call: its own results stay as they are. */
        struct driver_call told = {
            .done = call->done,
            .aux = call->aux,
            .error = error_new(ERR_CANCELLED, "the agent is stopping"),
        };

        driver_call_unlist(call);
        call->is_told = true;
        call->deliver(&told);
        if (!call->is_submitted) {
            driver_call_free(call);
        }
    }
}

void
driver_close(struct driver *driver)
{
    if (!driver) {
        return;
    }
    while (driver->calls) {
        driver->calls->is_told = true;
        driver_call_unlist(driver->calls);
    }
    uv_mutex_lock(&driver->mutex);
    driver->is_closed = true;
    uv_mutex_unlock(&driver->mutex);
    worker_pool_free(driver->pool);
    driver_drop_user(driver);
    driver_drop_holder(driver);
}

const char *
driver_name(const struct driver *driver)
{
    return driver->name;
}

bool
driver_is_connected(struct driver *driver)
{
    return driver->ops->is_connected(driver->state);
}

bool
driver_can_steer(const struct driver *driver)
{
    return driver->ops->steer != NULL;
}
/* The last one, on whatever thread, closes the module's state. */
void
driver_drop_user(struct driver *driver)
{
    uv_mutex_lock(&driver->mutex);
    bool last = --driver->n_users == 0;
    uv_mutex_unlock(&driver->mutex);
    if (last && driver->ops) {
        driver->ops->close(driver->state);
    }
}

/* The last one frees the driver. */
void
driver_drop_holder(struct driver *driver)
{
    uv_mutex_lock(&driver->mutex);
    bool last = --driver->n_holders == 0;
    uv_mutex_unlock(&driver->mutex);
    if (!last) {
        return;
    }
    if (driver->module) {
        dlclose(driver->module);
    }
    uv_mutex_destroy(&driver->mutex);
    free(driver->name);
    free(driver);
}

static struct error *
load_module(struct driver *driver, const char *directory)
{
    AUTO_FREE path = xasprintf("%s/drover-%s.so", directory, driver->name);

    /* A hypervisor's library may keep threads for ever: never unloaded. */
    driver->module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!driver->module) {
        return error_new(ERR_CONFIG, "load module: %s", dlerror());
    }
    const struct driver_ops *ops = dlsym(driver->module, DRIVER_SYMBOL);
    if (!ops) {
        return error_new(ERR_CONFIG, "'%s' is not a driver", path);
    }
    if (ops->abi != DRIVER_ABI) {
        return error_new(ERR_CONFIG, "'%s' is of version %d, not %d", path,
                         ops->abi, DRIVER_ABI);
    }
    const char *missing = missing_entry(ops);
    if (missing) {
        return error_new(ERR_CONFIG, "'%s' has no '%s'", path, missing);
    }
    driver->ops = ops;
    return NULL;
}

static const char *
missing_entry(const struct driver_ops *ops)
{
#define ENTRY(NAME)   \
    if (!ops->NAME) { \
        return #NAME; \
    }
    REQUIRED_ENTRIES
#undef ENTRY
    return NULL;
}

/* The name becomes part of a path. */
static bool
is_plain_name(const char *name)
{
    return *name && !name[strspn(name, "abcdefghijklmnopqrstuvwxyz"
                                       "0123456789-_")];
}

/* On a thread of the module. */
static void
post_event(void *aux, const struct driver_event *event)
{
    struct driver *driver = aux;
    struct event_call *call = xzalloc(sizeof *call);

    call->completion.deliver = deliver_event;
    call->driver = driver;
    call->event = *event;
    uv_mutex_lock(&driver->mutex);
    bool posted = !driver->is_closed;
    if (posted) {
        driver->n_holders++;
        completion_post(driver->q, &call->completion);
    }
    uv_mutex_unlock(&driver->mutex);
    if (!posted) {
        free(call);
    }
}

static void
deliver_event(struct completion *c)
{
    struct event_call *call = container_of(c, struct event_call, completion);
    struct driver *driver = call->driver;

    if (!is_closed(driver)) {
        driver->on_event(driver->on_event_aux, &call->event);
    }
    free(call);
    driver_drop_holder(driver);
}

static bool
is_closed(struct driver *driver)
{
    uv_mutex_lock(&driver->mutex);
    bool answer = driver->is_closed;
    uv_mutex_unlock(&driver->mutex);
    return answer;
}
