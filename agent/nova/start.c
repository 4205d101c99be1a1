#include <config.h>

#include "agent/nova/start.h"

#include <stdlib.h>

#include "agent/base/systemd.h"
#include "agent/nova/instance_start.h"
#include "agent/nova/scheduler_info.h"

LOG_MODULE(nova);

/* The oldest release that one of Zed works with is Yoga. */
#define MINIMUM_VERSION 61

#define PING_MS 10000
#define N_SHORT_PINGS 10
#define PAUSE_MS 1000

struct nova_start {
    struct nova *nova; /* Null: cancelled. */
    uv_timer_t timer;
    bool waits; /* A callback is to come; else the timer runs. */
    size_t step;
    unsigned n_tries; /* Of this step. */
    struct object **instances;
    size_t n_instances, next;
    void (*ready)(void *aux, struct error *error);
    void *aux;
};

struct start_step {
    const char *what;
    void (*run)(struct nova_start *start);
};

static void ping(struct nova_start *start);
static void check_minimum(struct nova_start *start);
static void enable(struct nova_start *start);
static void list_instances(struct nova_start *start);
static void look_for_evacuated(struct nova_start *start);
static void start_instances(struct nova_start *start);
static void enter(struct nova_start *start);
static void tell_resources(struct nova_start *start);

static const struct start_step steps[] = {
    {"call the conductor", ping},
    {"look for the oldest compute service", check_minimum},
    {"enable the service", enable},
    {"list the instances of this host", list_instances},
    {"look for evacuated instances", look_for_evacuated},
    {"see to the instances of this host", start_instances},
    {"enter this host", enter},
    {"tell what this host has", tell_resources},
    {NULL, NULL},
};

static void run_step(struct nova_start *start);
static void step_done(struct nova_start *start, struct error *error);
static void try_again(uv_timer_t *timer);
static void start_end(struct nova_start *start, struct error *error);
static void start_drop(struct nova_start *start);
static void timer_closed(uv_handle_t *handle);

void
nova_start_begin(struct nova *nova,
                 void (*ready)(void *aux, struct error *error), void *aux)
{
    struct nova_start *start = xzalloc(sizeof *start);

    start->nova = nova;
    start->ready = ready;
    start->aux = aux;
    uv_timer_init(nova->agent->loop, &start->timer);
    start->timer.data = start;
    nova->start = start;
    systemd_notify("STATUS=Waiting for nova-conductor.");
    run_step(start);
}

void
nova_start_cancel(struct nova *nova)
{
    struct nova_start *start = nova->start;

    if (start) {
        nova->start = NULL;
        start->nova = NULL;
        uv_timer_stop(&start->timer);
        if (!start->waits) {
            start_drop(start);
        }
    }
}

static void
run_step(struct nova_start *start)
{
    start->waits = true;
    steps[start->step].run(start);
}

static void
step_done(struct nova_start *start, struct error *error)
{
    start->waits = false;
    if (!start->nova) {
        error_free(error);
        start_drop(start);
        return;
    }
    if (!error) {
        start->step++;
        start->n_tries = 0;
        if (steps[start->step].run) {
            run_step(start);
        } else {
            start_end(start, NULL);
        }
        return;
    }
    if (error_code(error) == ERR_CONFIG) {
        start_end(start, error);
        return;
    }
    if (start->n_tries++ == 0) {
        log_warn(NULL, "can't %s, trying again: %s", steps[start->step].what,
                 error_message(error));
    }
    error_free(error);
    uv_timer_start(&start->timer, try_again, PAUSE_MS, 0);
}

static void
try_again(uv_timer_t *timer)
{
    run_step(timer->data);
}

static void
start_end(struct nova_start *start, struct error *error)
{
    void (*ready)(void *aux, struct error *error) = start->ready;
    void *aux = start->aux;

    start->nova->start = NULL;
    start_drop(start);
    ready(aux, error);
}

static void
start_drop(struct nova_start *start)
{
    for (size_t i = 0; i < start->n_instances; i++) {
        object_free(start->instances[i]);
    }
    free(start->instances);
    uv_close((uv_handle_t *)&start->timer, timer_closed);
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* 1. */

static void
ponged(void *aux, struct json **result UNUSED, struct error *error)
{
    step_done(aux, error);
}

static void
ping(struct nova_start *start)
{
    struct agent *agent = start->nova->agent;
    AUTO_JSON args = json_object();
    const struct rpc_target target = {
        .exchange = agent->conf->control_exchange,
        .topic = "conductor",
        .name_space = "baseapi",
        .version = "1.0",
    };
    const struct rpc_options options = {
        .timeout_ms = start->n_tries < N_SHORT_PINGS
                          ? PING_MS
                          : (unsigned)agent->conf->rpc_response_timeout * 1000,
    };

    json_set_string(args, "arg", "1.21 GigaWatts");
    rpc_call(agent->client, &target, &options, NULL, "ping", args, ponged,
             start);
}

/* 2. */

static void
minimum_known(void *aux, struct json **result, struct object *object UNUSED,
              struct error *error)
{
    struct nova_start *start = aux;
    int64_t version = error ? 0 : json_get_int(*result);

    if (version && version < MINIMUM_VERSION && start->nova) {
        /* Of this host it may be as well: it would be made newer only after. */
        error = error_new(ERR_CONFIG,
                          "a compute service of version %lld is in this cell, "
                          "and %d is the oldest that this one works with: "
                          "upgrade it, or set workarounds."
                          "disable_compute_service_check_for_ffu",
                          (long long)version, MINIMUM_VERSION);
        if (start->nova->agent->conf->workarounds
                .disable_compute_service_check_for_ffu) {
            log_warn(NULL, "%s", error_message(error));
            error_free(steal(&error));
        }
    }
    step_done(start, error);
}

static void
check_minimum(struct nova_start *start)
{
    const struct conductor_work_request request = {
        .class_name = "Service",
        .method = "get_minimum_version",
        .args = json_append(json_array(), json_string("nova-compute")),
    };

    conductor_work_start(start->nova->works, &request, minimum_known, start);
}

/* 4: what Nova does once libvirt is connected.  It goes on by itself. */
static void
enable(struct nova_start *start)
{
    nova_tell_able(start->nova);
    step_done(start, NULL);
}

/* 5. */

static void
instances_listed(void *aux, struct error *error, struct object **objects,
                 size_t n)
{
    struct nova_start *start = aux;

    if (!error) {
        start->instances = objects;
        start->n_instances = n;
        log_info(NULL, "%zu instances are recorded for this host", n);
    }
    step_done(start, error);
}

static void
list_instances(struct nova_start *start)
{
    const char *host = start->nova->agent->conf->host;
    struct json *names = json_array(), *kwargs = json_object();

    json_append(names, json_string("info_cache"));
    json_append(names, json_string("metadata"));
    json_append(names, json_string("numa_topology"));
    json_set(kwargs, "expected_attrs", names);
    records_conductor_list(start->nova->records, NULL, "InstanceList",
                           "get_by_host",
                           json_append(json_array(), json_string(host)), kwargs,
                           instances_listed, start);
}

/* 9.  A guest that was rebuilt elsewhere while this host was down must not run
 * here as well; but it is not for a program to end it. */

static void
evacuated_listed(void *aux, struct error *error, struct object **objects,
                 size_t n)
{
    for (size_t i = 0; i < n; i++) {
        log_error(NULL,
                  "instance '%s' was evacuated to '%s': what is left of it "
                  "here must not be started, and is to be removed by hand",
                  object_string(objects[i], "instance_uuid"),
                  object_string(objects[i], "dest_compute"));
        object_free(objects[i]);
    }
    free(objects);
    step_done(aux, error);
}

static void
look_for_evacuated(struct nova_start *start)
{
    static const char *const statuses[] = {"accepted", "pre-migrating", "done"};
    struct json *filters = json_object(), *list = json_array();

    for (size_t i = 0; i < N_ELEMENTS(statuses); i++) {
        json_append(list, json_string(statuses[i]));
    }
    json_set_string(filters, "source_compute", start->nova->agent->conf->host);
    json_set(filters, "status", list);
    json_set_string(filters, "migration_type", "evacuation");
    records_conductor_list(start->nova->records, NULL, "MigrationList",
                           "get_by_filters", json_append(json_array(), filters),
                           NULL, evacuated_listed, start);
}

/* 10. */

static void
instance_started(void *aux)
{
    struct nova_start *start = aux;

    if (start->nova && start->next < start->n_instances) {
        instance_start(start->nova, start->instances[start->next++],
                       instance_started, start);
    } else {
        if (start->nova) {
            scheduler_info_update(start->nova->schedulers, start->instances,
                                  start->n_instances);
        }
        step_done(start, NULL);
    }
}

static void
start_instances(struct nova_start *start)
{
    instance_started(start);
}

/* 13. */

static void
entered(void *aux, struct error *error)
{
    step_done(aux, error);
}

static void
enter(struct nova_start *start)
{
    service_record_register(start->nova->service, entered, start);
}

/* 14.  It keeps nobody from serving: the next time comes. */

static void
told(void *aux)
{
    step_done(aux, NULL);
}

static void
tell_resources(struct nova_start *start)
{
    update_resources_begin(start->nova->resources, told, start);
}
