#include <config.h>

#include "drivers/driver.h"

#include <fcntl.h>

#include "drivers/driver_internal.h"

/* How each kind of result reaches its caller. */

static void
deliver_plain(struct driver_call *c)
{
    c->done.plain(c->aux, steal(&c->error));
}

static void
deliver_host(struct driver_call *c)
{
    c->done.host(c->aux, steal(&c->error), steal(&c->ret_host));
}

static void
deliver_resources(struct driver_call *c)
{
    c->done.resources(c->aux, steal(&c->error), steal(&c->ret_resources));
}

static void
deliver_text(struct driver_call *c)
{
    c->done.text(c->aux, steal(&c->error), steal(&c->ret_text));
}

static void
deliver_guest(struct driver_call *c)
{
    c->done.guest(c->aux, steal(&c->error), steal(&c->ret_guest));
}

static void
deliver_rest(struct driver_call *c)
{
    c->done.rest(c->aux, steal(&c->error), steal(&c->ret_rest));
}

static void
deliver_list(struct driver_call *c)
{
    c->done.list(c->aux, steal(&c->error), steal(&c->ret_list));
}

static void
deliver_counters(struct driver_call *c)
{
    c->done.counters(c->aux, steal(&c->error), steal(&c->ret_counters));
}

/* Nobody's any more, whoever was told. */
static void
deliver_fd(struct driver_call *c)
{
    struct error *error = steal(&c->error);
    int fd = error ? -1 : c->ret_fd;

    c->ret_fd = -1;
    c->done.fd(c->aux, error, fd);
}

static void
deliver_answer(struct driver_call *c)
{
    c->done.answer(c->aux, steal(&c->error), c->ret_answer);
}

static void
deliver_presence(struct driver_call *c)
{
    c->done.presence(c->aux, steal(&c->error), c->ret_presence);
}

static void
deliver_job(struct driver_call *c)
{
    struct error *error = steal(&c->error);

    c->done.job(c->aux, error, error ? NULL : &c->ret_job);
}

static void
deliver_number(struct driver_call *c)
{
    c->done.number(c->aux, steal(&c->error), c->ret_number);
}

static void
deliver_dirty_rate(struct driver_call *c)
{
    struct error *error = steal(&c->error);

    c->done.dirty_rate(c->aux, error, error ? NULL : &c->ret_dirty_rate);
}

/* The table's entries, on a worker: OP(ARGUMENTS) of the call 'c'. */
#define RUN(OP, ...)                                                  \
    static void run_##OP(struct driver_call *c)                       \
    {                                                                 \
        c->error = c->driver->ops->OP(c->driver->state, __VA_ARGS__); \
    }
RUN(host_get, &c->ret_host)
RUN(host_resources, &c->resources, &c->ret_resources)
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
RUN(migrate_break, c->text)
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
RUN(power_on, c->text)
RUN(shut_down, c->text)
RUN(power_off, c->text)
RUN(console_read, c->text, &c->ret_text)
RUN(guest_counters, c->text, &c->ret_counters)
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
RUN(image_exists, c->text, &c->ret_answer)
RUN(image_create, c->text, &c->ret_fd)
RUN(image_keep, c->image)
RUN(image_copy, c->image)
RUN(steer, c->text, &c->ret_text)
#undef RUN

void
driver_host_get(struct driver *driver, driver_host_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_host_get, deliver_host, aux);

    c->done.host = done;
    driver_call_submit(c);
}

static const char *const *
keep_texts(const char *const *texts, char ***ret)
{
    size_t n = 0;

    if (!texts) {
        return NULL;
    }
    while (texts[n]) {
        n++;
    }
    *ret = xcalloc(n + 1, sizeof **ret);
    for (size_t i = 0; i < n; i++) {
        (*ret)[i] = xstrdup(texts[i]);
    }
    return (const char *const *)*ret;
}

void
driver_host_resources(struct driver *driver,
                      const struct host_resources_request *request,
                      driver_resources_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_host_resources, deliver_resources, aux);

    c->done.resources = done;
    c->text = xstrdup(request->virt_type);
    c->resources.virt_type = c->text;
    c->resources.machines = keep_texts(request->machines, &c->texts[0]);
    c->resources.cpu_models = keep_texts(request->cpu_models, &c->texts[1]);
    driver_call_submit(c);
}

void
driver_host_uptime(struct driver *driver, driver_text_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_host_uptime, deliver_text, aux);

    c->done.text = done;
    driver_call_submit(c);
}

void
driver_compare_cpu(struct driver *driver, const char *cpu_xml,
                   driver_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_compare_cpu, deliver_plain, aux);

    c->done.plain = done;
    c->text = xstrdup_null(cpu_xml);
    driver_call_submit(c);
}

void
driver_guest_list(struct driver *driver, driver_list_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_guest_list, deliver_list, aux);

    c->done.list = done;
    driver_call_submit(c);
}

void
driver_guest_get(struct driver *driver, const char *uuid,
                 driver_guest_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_guest_get, deliver_guest, aux);

    c->done.guest = done;
    c->text = xstrdup(uuid);
    driver_call_submit(c);
}

void
driver_peer_presence(struct driver *driver, const char *uri, const char *uuid,
                     driver_presence_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_peer_presence, deliver_presence, aux);

    c->done.presence = done;
    c->text = xstrdup(uuid);
    c->more_text = xstrdup(uri);
    driver_call_submit(c);
}

void
driver_probe_create(struct driver *driver, const char *directory,
                    driver_text_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_probe_create, deliver_text, aux);

    c->done.text = done;
    c->text = xstrdup_null(directory);
    driver_call_submit(c);
}

void
driver_probe_exists(struct driver *driver, const char *directory,
                    const char *name, driver_bool_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_probe_exists, deliver_answer, aux);

    c->done.answer = done;
    c->text = xstrdup_null(directory);
    c->more_text = xstrdup(name);
    driver_call_submit(c);
}

void
driver_probe_remove(struct driver *driver, const char *directory,
                    const char *name, driver_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_probe_remove, deliver_plain, aux);

    c->done.plain = done;
    c->text = xstrdup_null(directory);
    c->more_text = xstrdup(name);
    driver_call_submit(c);
}

void
driver_prepare(struct driver *driver, const struct prepare_request *request,
               driver_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_prepare, deliver_plain, aux);

    c->done.plain = done;
    c->prepare = prepare_request_copy(request);
    driver_call_submit(c);
}

void
driver_unprepare(struct driver *driver, const struct prepare_request *request,
                 driver_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_unprepare, deliver_plain, aux);

    c->done.plain = done;
    c->prepare = prepare_request_copy(request);
    driver_call_submit(c);
}

/* It may take hours, and the daemon must be able to end before it: the pool
 * would wait for it. */
void
driver_migrate(struct driver *driver, struct migrate_request *request,
               driver_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_migrate, deliver_plain, aux);

    c->done.plain = done;
    c->migrate = request;
    driver_call_submit_alone(c);
}

void
driver_copy(struct driver *driver, const struct copy_request *request,
            driver_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_copy, deliver_plain, aux);

    c->done.plain = done;
    c->copy = copy_request_copy(request);
    driver_call_submit_alone(c);
}

/* Calls that take a guest's UUID and give no more than an error. */
#define PLAIN_UUID_CALL(OP)                                           \
    void driver_##OP(struct driver *driver, const char *uuid,         \
                     driver_done *done, void *aux)                    \
    {                                                                 \
        struct driver_call *c =                                       \
            driver_call_create(driver, run_##OP, deliver_plain, aux); \
                                                                      \
        c->done.plain = done;                                         \
        c->text = xstrdup(uuid);                                      \
        driver_call_submit(c);                                        \
    }
PLAIN_UUID_CALL(migrate_abort)
PLAIN_UUID_CALL(migrate_break)
PLAIN_UUID_CALL(migrate_throttle)
PLAIN_UUID_CALL(migrate_postcopy)
PLAIN_UUID_CALL(suspend)
PLAIN_UUID_CALL(resume)
PLAIN_UUID_CALL(power_on)
PLAIN_UUID_CALL(shut_down)
PLAIN_UUID_CALL(power_off)
PLAIN_UUID_CALL(persist)
PLAIN_UUID_CALL(discard)
PLAIN_UUID_CALL(save)
PLAIN_UUID_CALL(copy_stop)
PLAIN_UUID_CALL(copy_abort)
#undef PLAIN_UUID_CALL

void
driver_guest_counters(struct driver *driver, const char *uuid,
                      driver_counters_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_guest_counters, deliver_counters, aux);

    c->done.counters = done;
    c->text = xstrdup(uuid);
    driver_call_submit(c);
}

void
driver_console_read(struct driver *driver, const char *uuid,
                    driver_text_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_console_read, deliver_text, aux);

    c->done.text = done;
    c->text = xstrdup(uuid);
    driver_call_submit(c);
}

/* Calls about a guest at rest. */
#define REST_CALL(OP)                                                          \
    void driver_##OP(struct driver *driver,                                    \
                     const struct at_rest_request *request, driver_done *done, \
                     void *aux)                                                \
    {                                                                          \
        struct driver_call *c =                                                \
            driver_call_create(driver, run_##OP, deliver_plain, aux);          \
                                                                               \
        c->done.plain = done;                                                  \
        c->rest = at_rest_request_copy(request);                               \
        driver_call_submit(c);                                                 \
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
    struct driver_call *c =
        driver_call_create(driver, run_rest_get, deliver_rest, aux);

    c->done.rest = done;
    c->text = xstrdup(uuid);
    driver_call_submit(c);
}

void
driver_copy_serve(struct driver *driver, const struct copy_request *request,
                  driver_text_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_copy_serve, deliver_text, aux);

    c->done.text = done;
    c->copy = copy_request_copy(request);
    driver_call_submit(c);
}

void
driver_copy_progress(struct driver *driver, const char *uuid,
                     driver_number_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_copy_progress, deliver_number, aux);

    c->done.number = done;
    c->text = xstrdup(uuid);
    driver_call_submit(c);
}

void
driver_migrate_set_downtime(struct driver *driver, const char *uuid,
                            unsigned ms, driver_done *done, void *aux)
{
    struct driver_call *c = driver_call_create(driver, run_migrate_set_downtime,
                                               deliver_plain, aux);

    c->done.plain = done;
    c->text = xstrdup(uuid);
    c->number = ms;
    driver_call_submit(c);
}

void
driver_migrate_get_downtime(struct driver *driver, const char *uuid,
                            driver_number_done *done, void *aux)
{
    struct driver_call *c = driver_call_create(driver, run_migrate_get_downtime,
                                               deliver_number, aux);

    c->done.number = done;
    c->text = xstrdup(uuid);
    driver_call_submit(c);
}

void
driver_migrate_get_bandwidth(struct driver *driver, const char *uuid,
                             driver_number_done *done, void *aux)
{
    struct driver_call *c = driver_call_create(
        driver, run_migrate_get_bandwidth, deliver_number, aux);

    c->done.number = done;
    c->text = xstrdup(uuid);
    driver_call_submit(c);
}

void
driver_migrate_set_bandwidth(struct driver *driver, const char *uuid,
                             unsigned mib_s, driver_done *done, void *aux)
{
    struct driver_call *c = driver_call_create(
        driver, run_migrate_set_bandwidth, deliver_plain, aux);

    c->done.plain = done;
    c->text = xstrdup(uuid);
    c->number = mib_s;
    driver_call_submit(c);
}

void
driver_job_get(struct driver *driver, const char *uuid, bool completed,
               driver_job_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_job_get, deliver_job, aux);

    c->done.job = done;
    c->text = xstrdup(uuid);
    c->completed = completed;
    driver_call_submit(c);
}

void
driver_dirty_rate_start(struct driver *driver, const char *uuid,
                        unsigned seconds, driver_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_dirty_rate_start, deliver_plain, aux);

    c->done.plain = done;
    c->text = xstrdup(uuid);
    c->number = seconds;
    driver_call_submit(c);
}

void
driver_dirty_rate_get(struct driver *driver, const char *uuid,
                      driver_dirty_rate_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_dirty_rate_get, deliver_dirty_rate, aux);

    c->done.dirty_rate = done;
    c->text = xstrdup(uuid);
    driver_call_submit(c);
}

void
driver_image_exists(struct driver *driver, const char *name,
                    driver_bool_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_image_exists, deliver_answer, aux);

    c->done.answer = done;
    c->text = xstrdup(name);
    driver_call_submit(c);
}

void
driver_image_create(struct driver *driver, const char *name,
                    driver_fd_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_image_create, deliver_fd, aux);

    c->done.fd = done;
    c->text = xstrdup(name);
    driver_call_submit(c);
}

/* Who is told by driver_cancel() closes the descriptor while the worker still
 * has it.  Without one there is none to look at, which the worker finds. */
void
driver_image_keep(struct driver *driver, const struct image_request *request,
                  driver_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_image_keep, deliver_plain, aux);

    c->done.plain = done;
    c->image = image_request_copy(request);
    c->image->fd = fcntl(request->fd, F_DUPFD_CLOEXEC, 0);
    driver_call_submit_alone(c);
}

void
driver_image_copy(struct driver *driver, const struct image_request *request,
                  driver_done *done, void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_image_copy, deliver_plain, aux);

    c->done.plain = done;
    c->image = image_request_copy(request);
    c->image->fd = -1;
    driver_call_submit_alone(c);
}

void
driver_steer(struct driver *driver, const char *text, driver_text_done *done,
             void *aux)
{
    struct driver_call *c =
        driver_call_create(driver, run_steer, deliver_text, aux);

    c->done.text = done;
    c->text = xstrdup(text);
    driver_call_submit(c);
}
