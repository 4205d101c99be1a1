#include <config.h>

#include "agent/nova/update_resources.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/nova/alloc_auditor.h"
#include "agent/nova/primitive.h"
#include "agent/nova/resource_provider.h"
#include "agent/nova/update_resources_internal.h"

LOG_MODULE(resources);

#define DEFAULT_INTERVAL_S 60

/* 'run' does the step and ends in round_go_on() or, through conducted(), in
 * 'take', which gets the answer; 'take' returns whether the step is over. */
struct round_step {
    const char *what;
    void (*run)(struct round *r);
    round_take *take;
};

static void ask_for_service(struct round *r);
static void tell_placement(struct round *r);
static void audit_allocations(struct round *r);
static round_take service_got;

/* In the order in which a control plane is used to see it. */
static const struct round_step steps[] = {
    {"list the records of this host", round_list_nodes, round_nodes_listed},
    {"ask the hypervisor", round_describe_host, NULL},
    {"look for the record of this host", round_find_node, round_node_found},
    {"create the record of this host", round_create_node, round_node_created},
    {"look for devices of this host", round_look_for_devices,
     round_devices_found},
    {"list the instances of this host", round_list_instances,
     round_instances_listed},
    {"list the migrations of this host", round_list_migrations,
     round_migrations_listed},
    {"get the instances that are moved", round_get_strangers,
     round_stranger_got},
    {"list the volumes of instances", round_list_volumes, round_volumes_listed},
    {"let a guest claim what it needs", round_let_claim, NULL},
    {"save the record of this host", round_save_node, round_node_saved},
    {"ask for the service of this host", ask_for_service, service_got},
    {"tell Placement", tell_placement, NULL},
    {"remove records of former names", round_remove_orphans, round_orphan_seen},
    {"look who has allocations of this host", audit_allocations, NULL},
    {NULL, NULL, NULL},
};

static void start_round(struct update_resources *u);
static void timer_due(uv_timer_t *timer);
static void timer_closed(uv_handle_t *handle);
static void drop(struct update_resources *u);
static void round_run(struct round *r);
static void round_end(struct round *r, struct error *error);
static void note(struct update_resources *u, struct error *error);
static void conducted(void *aux, struct json **result, struct error *error);

struct update_resources *
update_resources_create(const struct update_resources_options *options)
{
    struct update_resources *u = xzalloc(sizeof *u);

    u->o = *options;
    node_settings_init(&u->settings, options->conf);
    uv_timer_init(options->loop, &u->timer);
    u->timer.data = u;
    if (options->placement) {
        u->provider = resource_provider_create(
            options->placement, &u->settings,
            (unsigned)
                options->conf->compute.resource_provider_association_refresh);
        u->auditor =
            alloc_auditor_create(options->conductor, options->placement);
    }
    u->n_refs = 2;
    return u;
}

void
update_resources_close(struct update_resources *u)
{
    u->o.conductor = NULL;
    uv_close((uv_handle_t *)&u->timer, timer_closed);
    drop(u);
}

void
update_resources_begin(struct update_resources *u, void (*done)(void *aux),
                       void *aux)
{
    int interval_s = u->o.conf->update_resources_interval;
    uint64_t ms =
        (uint64_t)(interval_s ? interval_s : DEFAULT_INTERVAL_S) * 1000;

    u->has_begun = true;
    u->done = done;
    u->aux = aux;
    if (interval_s >= 0) {
        uv_timer_start(&u->timer, timer_due, ms, ms);
    }
    start_round(u);
}

void
update_resources_soon(struct update_resources *u)
{
    if (u->round) {
        u->again = true;
    } else if (u->has_begun) {
        start_round(u);
    }
}

const char *
update_resources_node(const struct update_resources *u)
{
    return u ? u->hostname : NULL;
}

struct update_resources_status
update_resources_status(const struct update_resources *u)
{
    struct update_resources_status status = u->status;

    status.ok_ms_ago = u->ok_ms ? (int64_t)(clock_now_ms() - u->ok_ms) : -1;
    status.error = u->error;
    status.uuid = u->node ? object_string(u->node, "uuid") : NULL;
    return status;
}

static void
timer_due(uv_timer_t *timer)
{
    update_resources_soon(timer->data);
}

static void
timer_closed(uv_handle_t *handle)
{
    drop(handle->data);
}

static void
drop(struct update_resources *u)
{
    if (--u->n_refs == 0) {
        resource_provider_free(u->provider);
        alloc_auditor_free(u->auditor);
        object_free(u->node);
        free(u->hostname);
        text_set_close(&u->dropped);
        free(u->claimant);
        free(u->error);
        free(u);
    }
}

/* Rounds. */

static void
start_round(struct update_resources *u)
{
    struct round *r = xzalloc(sizeof *r);

    r->u = u;
    r->context = rpc_context_create();
    r->strangers = json_object();
    u->round = r;
    u->again = false;
    u->n_refs++;
    round_run(r);
}

static void
round_run(struct round *r)
{
    r->next = 0;
    text_set_close(&r->uuids);
    if (steps[r->step].run) {
        steps[r->step].run(r);
    } else {
        round_end(r, NULL);
    }
}

void
round_go_on(struct round *r, struct error *error)
{
    if (!error && !r->u->o.conductor) {
        error = error_new(ERR_CANCELLED, "the agent stops");
    }
    if (error) {
        round_end(r, error_wrap(error, "%s", steps[r->step].what));
        return;
    }
    r->step++;
    round_run(r);
}

static void
round_end(struct round *r, struct error *error)
{
    struct update_resources *u = r->u;
    void (*done)(void *aux) = u->done;
    round_refuse_claims(r, error);
    note(u, error);
    json_free(r->context);
    json_free(r->nodes);
    json_free(r->instances);
    json_free(r->migrations);
    json_free(r->strangers);
    json_free(r->devices);
    host_resources_free(r->host);
    node_cpus_close(&r->cpus);
    node_usage_close(&r->usage);
    text_set_close(&r->uuids);
    object_free(r->orphan);
    free(r);
    u->round = NULL;
    u->done = NULL;
    if (done) {
        done(u->aux);
    }
    if (u->o.conductor && u->again) {
        start_round(u);
    }
    drop(u);
}

/* Takes 'error'.  What is wrong is said once, and when it is well again. */
static void
note(struct update_resources *u, struct error *error)
{
    char *text = error ? xstrdup(error_message(error)) : NULL;
    bool is_news = !str_eq(text, u->error);

    u->status.n_rounds++;
    if (!error) {
        u->ok_ms = clock_now_ms();
        if (is_news) {
            log_info(NULL, "the cloud knows again what this host has");
        }
    } else if (error_code(error) != ERR_CANCELLED) {
        u->status.n_failed++;
        log_at(is_news ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, NULL,
               "what this host has can't be told: %s", text);
    }
    free(u->error);
    u->error = text;
    error_free(error);
}

/* The answer of the conductor to what the step asked. */
static void
conducted(void *aux, struct json **result, struct error *error)
{
    struct round *r = aux;
    bool is_over = true;

    if (!error || error_code(error) != ERR_CANCELLED) {
        error = steps[r->step].take(r, result, error, &is_over);
    }
    if (error || is_over) {
        round_go_on(r, error);
    } else if (r->u->o.conductor) {
        steps[r->step].run(r);
    } else {
        round_go_on(r, NULL);
    }
}

void
round_ask(struct round *r, const char *class_name, const char *method,
          struct json *args, struct json *kwargs)
{
    AUTO_JSON owned_args UNUSED = args;
    AUTO_JSON owned_kwargs UNUSED = kwargs;

    conductor_class_action(r->u->o.conductor, r->context, class_name, method,
                           args, kwargs, conducted, r);
}

void
round_act(struct round *r, struct object *object, const char *method)
{
    conductor_object_action(r->u->o.conductor, r->context, object, method, NULL,
                            NULL, conducted, r);
}

struct json *
round_place(const struct update_resources *u, const char *node)
{
    struct json *args = json_array();

    json_append(args, json_string(u->settings.host));
    return json_append(args, json_string(node));
}

struct json *
round_names(const char *const *names, size_t n)
{
    struct json *array = json_array();

    for (size_t i = 0; i < n; i++) {
        json_append(array, json_string(names[i]));
    }
    return array;
}

struct node_records
round_records(const struct round *r)
{
    return (struct node_records){
        .host = r->u->settings.host,
        .node = r->u->hostname,
        .instances = r->instances,
        .migrations = r->migrations,
        .strangers = r->strangers,
        .devices = r->devices,
        .dropped = &r->u->dropped,
    };
}

/* 9.  Its trait says whether builds may come here. */

static void
ask_for_service(struct round *r)
{
    if (r->u->provider) {
        round_ask(r, "Service", "get_by_compute_host",
                  json_append(json_array(), json_string(r->u->settings.host)),
                  NULL);
    } else {
        round_go_on(r, NULL);
    }
}

static struct error *
service_got(struct round *r, struct json **result, struct error *error,
            bool *ret_is_over UNUSED)
{
    r->is_disabled =
        !error && json_bool_of(primitive_data(*result), "disabled");
    return error;
}

static void
placement_told(void *aux, struct error *error)
{
    round_go_on(aux, error);
}

static void
tell_placement(struct round *r)
{
    struct update_resources *u = r->u;
    const struct resource_report report = {
        .context = r->context,
        .uuid = object_string(u->node, "uuid"),
        .name = u->hostname,
        .host = r->host,
        .cpus = &r->cpus,
        .is_disabled = r->is_disabled,
    };

    if (u->provider) {
        resource_provider_update(u->provider, &report, placement_told, r);
    } else {
        round_go_on(r, NULL);
    }
}

/* What instances and migrations have of this host that are none of its. */

static void
audit_allocations(struct round *r)
{
    struct update_resources *u = r->u;

    if (!u->auditor) {
        round_go_on(r, NULL);
        return;
    }
    r->records = round_records(r);
    alloc_auditor_run(u->auditor, r->context, object_string(u->node, "uuid"),
                      &r->records, &r->usage, placement_told, r);
}
