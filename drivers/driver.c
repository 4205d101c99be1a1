#include <config.h>

#include "drivers/driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/worker.h"

LOG_MODULE(driver);

#define N_WORKERS 4

/* All that struct driver_ops must have. */
#define REQUIRED_ENTRIES         \
    ENTRY(open)                  \
    ENTRY(close)                 \
    ENTRY(is_connected)          \
    ENTRY(host_get)              \
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
    ENTRY(copy_progress)

struct driver {
    char *name;
    void *module;
    const struct driver_ops *ops;
    void *state;
    struct completion_queue *q;
    struct worker_pool *pool;
    void (*on_event)(void *aux, const struct driver_event *event);
    void *on_event_aux;
    struct call *calls; /* Under way. */
    bool is_cancelled;  /* Nothing is submitted any more. */

    uv_mutex_t mutex;   /* Guards what follows. */
    bool is_closed;     /* Nothing may be posted or delivered any more. */
    unsigned n_users;   /* Of the module: the owner, and each migration. */
    unsigned n_holders; /* Of this: the users, and each call and event. */
};

/* A call on its way to a worker and back.  The worker has it alone, then the
 * loop. */
struct call {
    struct completion completion; /* Of a migration only. */
    struct call *prev, *next;     /* Under way; the loop's. */
    bool is_submitted;
    bool is_told; /* It was cancelled, and is off the list. */
    struct driver *driver;
    void (*run)(struct call *call);
    void (*deliver)(struct call *call); /* Gives the results to 'done'. */
    union {
        driver_done *plain;
        driver_host_done *host;
        driver_text_done *text;
        driver_guest_done *guest;
        driver_rest_done *rest;
        driver_list_done *list;
        driver_bool_done *answer;
        driver_presence_done *presence;
        driver_job_done *job;
        driver_number_done *number;
        driver_dirty_rate_done *dirty_rate;
    } done;
    void *aux;

    /* Arguments. */
    char *text, *more_text;
    struct prepare_request *prepare;
    struct migrate_request *migrate;
    struct rest_request *rest;
    struct copy_request *copy;
    unsigned number;
    bool completed;

    /* Results. */
    struct error *error;
    struct host_info *ret_host;
    char *ret_text;
    struct guest *ret_guest;
    struct guest_rest *ret_rest;
    struct guest_list *ret_list;
    bool ret_answer;
    enum guest_presence ret_presence;
    struct job_stats ret_job;
    unsigned ret_number;
    struct dirty_rate ret_dirty_rate;
};

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
static struct call *call_create(struct driver *, void (*run)(struct call *),
                                void (*deliver)(struct call *), void *aux);
static void call_submit(struct call *call);
static void call_submit_alone(struct call *call);
static void call_unlist(struct call *call);
static void call_run(void *aux);
static void call_done(void *aux);
static void call_free(struct call *call);
static void migration_thread(void *aux);
static void migration_done(struct completion *c);
static bool is_closed(struct driver *driver);
static void drop_user(struct driver *driver);
static void drop_holder(struct driver *driver);

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
    struct call *call;

    driver->is_cancelled = true;
    while ((call = driver->calls)) {
        /* The worker has the call: its own results stay as they are. */
        struct call told = {
            .done = call->done,
            .aux = call->aux,
            .error = error_new(ERR_CANCELLED, "the agent is stopping"),
        };

        call_unlist(call);
        call->is_told = true;
        call->deliver(&told);
        if (!call->is_submitted) {
            call_free(call);
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
        call_unlist(driver->calls);
    }
    uv_mutex_lock(&driver->mutex);
    driver->is_closed = true;
    uv_mutex_unlock(&driver->mutex);
    worker_pool_free(driver->pool);
    drop_user(driver);
    drop_holder(driver);
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

/* How each kind of result reaches its caller. */

static void
deliver_plain(struct call *c)
{
    c->done.plain(c->aux, steal(&c->error));
}

static void
deliver_host(struct call *c)
{
    c->done.host(c->aux, steal(&c->error), steal(&c->ret_host));
}

static void
deliver_text(struct call *c)
{
    c->done.text(c->aux, steal(&c->error), steal(&c->ret_text));
}

static void
deliver_guest(struct call *c)
{
    c->done.guest(c->aux, steal(&c->error), steal(&c->ret_guest));
}

static void
deliver_rest(struct call *c)
{
    c->done.rest(c->aux, steal(&c->error), steal(&c->ret_rest));
}

static void
deliver_list(struct call *c)
{
    c->done.list(c->aux, steal(&c->error), steal(&c->ret_list));
}

static void
deliver_answer(struct call *c)
{
    c->done.answer(c->aux, steal(&c->error), c->ret_answer);
}

static void
deliver_presence(struct call *c)
{
    c->done.presence(c->aux, steal(&c->error), c->ret_presence);
}

static void
deliver_job(struct call *c)
{
    struct error *error = steal(&c->error);

    c->done.job(c->aux, error, error ? NULL : &c->ret_job);
}

static void
deliver_number(struct call *c)
{
    c->done.number(c->aux, steal(&c->error), c->ret_number);
}

static void
deliver_dirty_rate(struct call *c)
{
    struct error *error = steal(&c->error);

    c->done.dirty_rate(c->aux, error, error ? NULL : &c->ret_dirty_rate);
}

/* The table's entries, on a worker: OP(ARGUMENTS) of the call 'c'. */
#define RUN(OP, ...)                                                  \
    static void run_##OP(struct call *c)                              \
    {                                                                 \
        c->error = c->driver->ops->OP(c->driver->state, __VA_ARGS__); \
    }
RUN(host_get, &c->ret_host)
RUN(host_uptime, &c->ret_text)
RUN(compare_cpu, c->text)
RUN(guest_list, &c->ret_list)
RUN(guest_get, c->text, &c->ret_guest)
RUN(peer_presence, c->more_text, c->text, &c->ret_presence)
RUN(probe_create, c->text, &c->ret_text)
RUN(probe_exists, c->text, c->more_text, &c->ret_answer)
RUN(probe_remove, c->text, c->more_text)
RUN(prepare, c->prepare)
RUN(unprepare, c->prepare)
RUN(migrate, c->migrate)
RUN(migrate_abort, c->text)
RUN(migrate_set_downtime, c->text, c->number)
RUN(migrate_get_downtime, c->text, &c->ret_number)
RUN(migrate_set_bandwidth, c->text, c->number)
RUN(migrate_get_bandwidth, c->text, &c->ret_number)
RUN(migrate_throttle, c->text)
RUN(migrate_postcopy, c->text)
RUN(job_get, c->text, c->completed, &c->ret_job)
RUN(dirty_rate_start, c->text, c->number)
RUN(dirty_rate_get, c->text, &c->ret_dirty_rate)
RUN(suspend, c->text)
RUN(resume, c->text)
RUN(persist, c->text)
RUN(discard, c->text)
RUN(save, c->text)
RUN(rest_get, c->text, &c->ret_rest)
RUN(rest_seal, c->rest)
RUN(rest_give_up, c->rest)
RUN(rest_take, c->rest)
RUN(rest_wake, c->rest)
RUN(copy_serve, c->copy, &c->ret_text)
RUN(copy_stop, c->text)
RUN(copy, c->copy)
RUN(copy_abort, c->text)
RUN(copy_progress, c->text, &c->ret_number)
RUN(steer, c->text, &c->ret_text)
#undef RUN

void
driver_host_get(struct driver *driver, driver_host_done *done, void *aux)
{
    struct call *c = call_create(driver, run_host_get, deliver_host, aux);

    c->done.host = done;
    call_submit(c);
}

void
driver_host_uptime(struct driver *driver, driver_text_done *done, void *aux)
{
    struct call *c = call_create(driver, run_host_uptime, deliver_text, aux);

    c->done.text = done;
    call_submit(c);
}

void
driver_compare_cpu(struct driver *driver, const char *cpu_xml,
                   driver_done *done, void *aux)
{
    struct call *c = call_create(driver, run_compare_cpu, deliver_plain, aux);

    c->done.plain = done;
    c->text = xstrdup_null(cpu_xml);
    call_submit(c);
}

void
driver_guest_list(struct driver *driver, driver_list_done *done, void *aux)
{
    struct call *c = call_create(driver, run_guest_list, deliver_list, aux);

    c->done.list = done;
    call_submit(c);
}

void
driver_guest_get(struct driver *driver, const char *uuid,
                 driver_guest_done *done, void *aux)
{
    struct call *c = call_create(driver, run_guest_get, deliver_guest, aux);

    c->done.guest = done;
    c->text = xstrdup(uuid);
    call_submit(c);
}

void
driver_peer_presence(struct driver *driver, const char *uri, const char *uuid,
                     driver_presence_done *done, void *aux)
{
    struct call *c =
        call_create(driver, run_peer_presence, deliver_presence, aux);

    c->done.presence = done;
    c->text = xstrdup(uuid);
    c->more_text = xstrdup(uri);
    call_submit(c);
}

void
driver_probe_create(struct driver *driver, const char *directory,
                    driver_text_done *done, void *aux)
{
    struct call *c = call_create(driver, run_probe_create, deliver_text, aux);

    c->done.text = done;
    c->text = xstrdup_null(directory);
    call_submit(c);
}

void
driver_probe_exists(struct driver *driver, const char *directory,
                    const char *name, driver_bool_done *done, void *aux)
{
    struct call *c = call_create(driver, run_probe_exists, deliver_answer, aux);

    c->done.answer = done;
    c->text = xstrdup_null(directory);
    c->more_text = xstrdup(name);
    call_submit(c);
}

void
driver_probe_remove(struct driver *driver, const char *directory,
                    const char *name, driver_done *done, void *aux)
{
    struct call *c = call_create(driver, run_probe_remove, deliver_plain, aux);

    c->done.plain = done;
    c->text = xstrdup_null(directory);
    c->more_text = xstrdup(name);
    call_submit(c);
}

void
driver_prepare(struct driver *driver, const struct prepare_request *request,
               driver_done *done, void *aux)
{
    struct call *c = call_create(driver, run_prepare, deliver_plain, aux);

    c->done.plain = done;
    c->prepare = prepare_request_copy(request);
    call_submit(c);
}

void
driver_unprepare(struct driver *driver, const struct prepare_request *request,
                 driver_done *done, void *aux)
{
    struct call *c = call_create(driver, run_unprepare, deliver_plain, aux);

    c->done.plain = done;
    c->prepare = prepare_request_copy(request);
    call_submit(c);
}

/* It may take hours, and the daemon must be able to end before it: the pool
 * would wait for it. */
void
driver_migrate(struct driver *driver, struct migrate_request *request,
               driver_done *done, void *aux)
{
    struct call *c = call_create(driver, run_migrate, deliver_plain, aux);

    c->done.plain = done;
    c->migrate = request;
    call_submit_alone(c);
}

void
driver_copy(struct driver *driver, const struct copy_request *request,
            driver_done *done, void *aux)
{
    struct call *c = call_create(driver, run_copy, deliver_plain, aux);

    c->done.plain = done;
    c->copy = copy_request_copy(request);
    call_submit_alone(c);
}

/* Calls that take a guest's UUID and give no more than an error. */
#define PLAIN_UUID_CALL(OP)                                                 \
    void driver_##OP(struct driver *driver, const char *uuid,               \
                     driver_done *done, void *aux)                          \
    {                                                                       \
        struct call *c = call_create(driver, run_##OP, deliver_plain, aux); \
                                                                            \
        c->done.plain = done;                                               \
        c->text = xstrdup(uuid);                                            \
        call_submit(c);                                                     \
    }
PLAIN_UUID_CALL(migrate_abort)
PLAIN_UUID_CALL(migrate_throttle)
PLAIN_UUID_CALL(migrate_postcopy)
PLAIN_UUID_CALL(suspend)
PLAIN_UUID_CALL(resume)
PLAIN_UUID_CALL(persist)
PLAIN_UUID_CALL(discard)
PLAIN_UUID_CALL(save)
PLAIN_UUID_CALL(copy_stop)
PLAIN_UUID_CALL(copy_abort)
#undef PLAIN_UUID_CALL

/* Calls about a guest at rest. */
#define REST_CALL(OP)                                                       \
    void driver_##OP(struct driver *driver,                                 \
                     const struct rest_request *request, driver_done *done, \
                     void *aux)                                             \
    {                                                                       \
        struct call *c = call_create(driver, run_##OP, deliver_plain, aux); \
                                                                            \
        c->done.plain = done;                                               \
        c->rest = rest_request_copy(request);                               \
        call_submit(c);                                                     \
    }
REST_CALL(rest_seal)
REST_CALL(rest_give_up)
REST_CALL(rest_take)
REST_CALL(rest_wake)
#undef REST_CALL

void
driver_rest_get(struct driver *driver, const char *uuid, driver_rest_done *done,
                void *aux)
{
    struct call *c = call_create(driver, run_rest_get, deliver_rest, aux);

    c->done.rest = done;
    c->text = xstrdup(uuid);
    call_submit(c);
}

void
driver_copy_serve(struct driver *driver, const struct copy_request *request,
                  driver_text_done *done, void *aux)
{
    struct call *c = call_create(driver, run_copy_serve, deliver_text, aux);

    c->done.text = done;
    c->copy = copy_request_copy(request);
    call_submit(c);
}

void
driver_copy_progress(struct driver *driver, const char *uuid,
                     driver_number_done *done, void *aux)
{
    struct call *c =
        call_create(driver, run_copy_progress, deliver_number, aux);

    c->done.number = done;
    c->text = xstrdup(uuid);
    call_submit(c);
}

void
driver_migrate_set_downtime(struct driver *driver, const char *uuid,
                            unsigned ms, driver_done *done, void *aux)
{
    struct call *c =
        call_create(driver, run_migrate_set_downtime, deliver_plain, aux);

    c->done.plain = done;
    c->text = xstrdup(uuid);
    c->number = ms;
    call_submit(c);
}

void
driver_migrate_get_downtime(struct driver *driver, const char *uuid,
                            driver_number_done *done, void *aux)
{
    struct call *c =
        call_create(driver, run_migrate_get_downtime, deliver_number, aux);

    c->done.number = done;
    c->text = xstrdup(uuid);
    call_submit(c);
}

void
driver_migrate_get_bandwidth(struct driver *driver, const char *uuid,
                             driver_number_done *done, void *aux)
{
    struct call *c =
        call_create(driver, run_migrate_get_bandwidth, deliver_number, aux);

    c->done.number = done;
    c->text = xstrdup(uuid);
    call_submit(c);
}

void
driver_migrate_set_bandwidth(struct driver *driver, const char *uuid,
                             unsigned mib_s, driver_done *done, void *aux)
{
    struct call *c =
        call_create(driver, run_migrate_set_bandwidth, deliver_plain, aux);

    c->done.plain = done;
    c->text = xstrdup(uuid);
    c->number = mib_s;
    call_submit(c);
}

void
driver_job_get(struct driver *driver, const char *uuid, bool completed,
               driver_job_done *done, void *aux)
{
    struct call *c = call_create(driver, run_job_get, deliver_job, aux);

    c->done.job = done;
    c->text = xstrdup(uuid);
    c->completed = completed;
    call_submit(c);
}

void
driver_dirty_rate_start(struct driver *driver, const char *uuid,
                        unsigned seconds, driver_done *done, void *aux)
{
    struct call *c =
        call_create(driver, run_dirty_rate_start, deliver_plain, aux);

    c->done.plain = done;
    c->text = xstrdup(uuid);
    c->number = seconds;
    call_submit(c);
}

void
driver_dirty_rate_get(struct driver *driver, const char *uuid,
                      driver_dirty_rate_done *done, void *aux)
{
    struct call *c =
        call_create(driver, run_dirty_rate_get, deliver_dirty_rate, aux);

    c->done.dirty_rate = done;
    c->text = xstrdup(uuid);
    call_submit(c);
}

void
driver_steer(struct driver *driver, const char *text, driver_text_done *done,
             void *aux)
{
    struct call *c = call_create(driver, run_steer, deliver_text, aux);

    c->done.text = done;
    c->text = xstrdup(text);
    call_submit(c);
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
    drop_holder(driver);
}

static struct call *
call_create(struct driver *driver, void (*run)(struct call *),
            void (*deliver)(struct call *), void *aux)
{
    struct call *call = xzalloc(sizeof *call);

    call->driver = driver;
    call->run = run;
    call->deliver = deliver;
    call->aux = aux;
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
static void
call_submit(struct call *call)
{
    if (!call->driver->is_cancelled) {
        call->is_submitted = true;
        worker_submit(call->driver->pool, call_run, call_done, call);
    }
}

/* On a thread of its own, which the driver's end does not wait for. */
static void
call_submit_alone(struct call *call)
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

static void
call_unlist(struct call *call)
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
    struct call *call = aux;

    call->run(call);
}

/* On the loop; whoever asked may be gone once the driver is closed. */
static void
call_done(void *aux)
{
    struct call *call = aux;

    if (!call->is_told) {
        call_unlist(call);
        call->deliver(call);
    }
    call_free(call);
}

static void
call_free(struct call *call)
{
    drop_holder(call->driver);
    free(call->text);
    free(call->more_text);
    prepare_request_free(call->prepare);
    migrate_request_free(call->migrate);
    rest_request_free(call->rest);
    copy_request_free(call->copy);
    error_free(call->error);
    host_info_free(call->ret_host);
    free(call->ret_text);
    guest_free(call->ret_guest);
    guest_rest_free(call->ret_rest);
    guest_list_free(call->ret_list);
    free(call);
}

static void
migration_thread(void *aux)
{
    struct call *call = aux;
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
        call_free(call);
    }
    drop_user(driver);
    drop_holder(driver);
}

static void
migration_done(struct completion *c)
{
    call_done(container_of(c, struct call, completion));
}

static bool
is_closed(struct driver *driver)
{
    uv_mutex_lock(&driver->mutex);
    bool answer = driver->is_closed;
    uv_mutex_unlock(&driver->mutex);
    return answer;
}

/* The last one, on whatever thread, closes the module's state. */
static void
drop_user(struct driver *driver)
{
    uv_mutex_lock(&driver->mutex);
    bool last = --driver->n_users == 0;
    uv_mutex_unlock(&driver->mutex);
    if (last && driver->ops) {
        driver->ops->close(driver->state);
    }
}

/* The last one frees the driver. */
static void
drop_holder(struct driver *driver)
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
