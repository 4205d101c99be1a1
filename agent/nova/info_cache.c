#include <config.h>

#include "agent/nova/info_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/nova/cloud.h"
#include "agent/nova/network_info.h"
#include "agent/nova/primitive.h"

LOG_MODULE(info_cache);

/* Of one instance, those that wait included. */
#define JOBS_MAX 20

struct job {
    struct info_cache *cache;
    struct job *next;
    struct log_context log;
    struct json *context;
    char *project, *port;
    enum info_scope scope;
    bool runs;
    attach_done *done;
    void *aux;

    struct json *known, *ports, *networks, *subnets, *dhcp_ports, *floating;
    struct json *order;
    struct network_queries queries;
    unsigned at; /* Of 'stages'. */
};

struct info_cache {
    struct nova *nova; /* Null: closed. */
    struct job *first; /* Oldest first. */
    unsigned n_refs;   /* The owner, and each job. */
};

static void go_on(struct job *job, struct error *error);
static void finish(struct job *job, struct error *error);
static void start_next(struct info_cache *cache, const char *instance);

struct info_cache *
info_cache_create(struct nova *nova)
{
    struct info_cache *cache = xzalloc(sizeof *cache);

    cache->nova = nova;
    cache->n_refs = 1;
    return cache;
}

static void
drop(struct info_cache *cache)
{
    if (--cache->n_refs == 0) {
        free(cache);
    }
}

void
info_cache_close(struct info_cache *cache)
{
    if (cache) {
        cache->nova = NULL;
        drop(cache);
    }
}

/* ---- What is asked --------------------------------------------------------
 */

static void
ask_conductor(struct job *job, const char *class_name,
              conductor_work_done *done)
{
    struct nova *nova = job->cache->nova;
    const struct conductor_work_request request = {
        .context = job->context,
        .class_name = class_name,
        .method = "get_by_instance_uuid",
        .args = json_append(json_array(), json_string(job->log.instance)),
        .patience_ms = (unsigned)nova->agent->conf->rpc_response_timeout * 1000,
    };

    conductor_work_start(nova->works, &request, done, job);
}

static void
known_got(void *aux, struct json **result, struct object *object,
          struct error *error)
{
    struct job *job = aux;
    const char *text = error ? NULL : primitive_string(*result, "network_info");

    object_free(object);
    if (text) { /* What is none is made anew. */
        error_free(json_parse(text, strlen(text), &job->known));
    }
    go_on(job, error);
}

static void
get_known(struct job *job)
{
    ask_conductor(job, "InstanceInfoCache", known_got);
}

static void
ports_got(void *aux, const struct neutron_port *ports, size_t n,
          struct error *error)
{
    struct job *job = aux;

    job->ports = json_array();
    for (size_t i = 0; i < n; i++) {
        json_append(job->ports, json_copy(ports[i].json));
    }
    job->queries = network_info_queries(job->ports);
    go_on(job, error);
}

static void
get_ports(struct job *job)
{
    const struct neutron_port_query query = {
        .device_id = job->log.instance,
        .project_id = job->project,
    };

    neutron_ports(job->cache->nova->cloud->neutron, job->context, &query,
                  ports_got, job);
}

static void
list(struct job *job, const char *what, const char *query,
     neutron_list_done *done)
{
    if (query) {
        neutron_list(job->cache->nova->cloud->neutron, job->context, what,
                     query, done, job);
    } else {
        go_on(job, NULL);
    }
}

#define LIST(WHAT, MEMBER, QUERY)                                 \
    static void MEMBER##_got(void *aux, const struct json *items, \
                             struct error *error)                 \
    {                                                             \
        struct job *job = aux;                                    \
                                                                  \
        job->MEMBER = json_copy(items);                           \
        go_on(job, error);                                        \
    }                                                             \
                                                                  \
    static void get_##MEMBER(struct job *job)                     \
    {                                                             \
        list(job, WHAT, job->queries.QUERY, MEMBER##_got);        \
    }
LIST("networks", networks, networks)
LIST("subnets", subnets, subnets)
LIST("ports", dhcp_ports, dhcp_ports)
LIST("floatingips", floating, floating_ips)

static int
by_id(const void *a, const void *b)
{
    int64_t ids[] = {primitive_int(*(const struct json *const *)a, "id"),
                     primitive_int(*(const struct json *const *)b, "id")};

    return (ids[0] > ids[1]) - (ids[0] < ids[1]);
}

/* Nova has a record of each, with the port's id and a number that grows. */
static void
order_got(void *aux, struct json **result, struct object *object,
          struct error *error)
{
    struct job *job = aux;
    const struct json *rows = error ? NULL : primitive_objects(*result);
    size_t n = json_size(rows), i = 0;
    const struct json **sorted = xcalloc(n, sizeof *sorted);

    object_free(object);
    json_for_each (row, rows) {
        sorted[i++] = row;
    }
    if (n) {
        qsort(sorted, n, sizeof *sorted, by_id);
    }
    job->order = json_array();
    for (i = 0; i < n; i++) {
        json_append(job->order,
                    json_string(primitive_string(sorted[i], "uuid")));
    }
    free(sorted);
    go_on(job, error);
}

static void
get_order(struct job *job)
{
    if (job->scope == INFO_ALL) {
        ask_conductor(job, "VirtualInterfaceList", order_got);
    } else {
        go_on(job, NULL);
    }
}

/* ---- What is saved --------------------------------------------------------
 */

static struct json *
build(const struct job *job)
{
    const struct network_facts facts = {
        .ports = job->ports,
        .networks = job->networks,
        .subnets = job->subnets,
        .dhcp_ports = job->dhcp_ports,
        .floating_ips = job->floating,
        .ovs_bridge = job->cache->nova->agent->conf->neutron.ovs_bridge,
    };

    switch (job->scope) {
    case INFO_KNOWN:
        break;
    case INFO_PORT:
        return network_info_refresh(&facts, job->known, job->port);
    case INFO_ALL:
        return network_info_collect(&facts, job->known, job->order);
    }
    return network_info_rebuild(&facts, job->known);
}

static void
saved(void *aux, struct json **result UNUSED, struct object *object,
      struct error *error)
{
    object_free(object);
    go_on(aux, error);
}

static void
save(struct job *job)
{
    struct nova *nova = job->cache->nova;
    AUTO_JSON info = build(job);
    const struct json *other = network_info_changed_kind(job->known, info);

    if (other) {
        log_error(&job->log,
                  "port '%s' is of another vnic_type than '%s', which it was "
                  "when it was plugged: set it back",
                  json_string_of(other, "id"),
                  json_string_of(other, "vnic_type"));
    }
    if (json_equal(info, job->known)) {
        go_on(job, NULL);
        return;
    }
    AUTO_OBJECT cache = object_create("InstanceInfoCache", "1.5");
    AUTO_FREE text = json_print(info, NULL);
    object_set_string(cache, "instance_uuid", job->log.instance);
    object_set_string(cache, "network_info", text);
    const struct conductor_work_request request = {
        .context = job->context,
        .object = cache,
        .method = "save",
        .patience_ms = (unsigned)nova->agent->conf->rpc_response_timeout * 1000,
    };
    log_info(&job->log, "what is recorded of its ports is written anew");
    conductor_work_start(nova->works, &request, saved, job);
}

/* ---- Jobs -----------------------------------------------------------------
 */

static void (*const stages[])(struct job *job) = {
    get_known,      get_ports,    get_networks, get_subnets,
    get_dhcp_ports, get_floating, get_order,    save,
};

static void
go_on(struct job *job, struct error *error)
{
    if (!error && !job->cache->nova) {
        error = error_new(ERR_CANCELLED, "the agent is stopping");
    }
    if (error || job->at == N_ELEMENTS(stages)) {
        finish(job, error);
    } else {
        stages[job->at++](job);
    }
}

static unsigned
count(const struct info_cache *cache, const char *instance)
{
    unsigned n = 0;

    for (const struct job *job = cache->first; job; job = job->next) {
        n += str_eq(job->log.instance, instance);
    }
    return n;
}

/* One that waits and does the same, or null. */
static bool
is_asked_for(const struct info_cache *cache, const struct info_request *request)
{
    for (const struct job *job = cache->first; job; job = job->next) {
        if (!job->runs && job->scope == request->scope &&
            str_eq(job->log.instance, request->instance) &&
            (job->scope != INFO_PORT || str_eq(job->port, request->port))) {
            return true;
        }
    }
    return false;
}

static struct job *
job_create(struct info_cache *cache, const struct info_request *request,
           attach_done *done, void *aux)
{
    struct job *job = xzalloc(sizeof *job);
    struct job **link = &cache->first;

    job->cache = cache;
    cache->n_refs++;
    snprintf(job->log.instance, sizeof job->log.instance, "%s",
             request->instance);
    job->context = json_copy(request->context);
    job->project = xstrdup_null(request->project);
    job->port = xstrdup_null(request->port);
    job->scope = request->scope;
    job->done = done;
    job->aux = aux;
    while (*link) {
        link = &(*link)->next;
    }
    *link = job;
    return job;
}

void
info_cache_refresh(struct info_cache *cache, const struct info_request *request,
                   attach_done *done, void *aux)
{
    unsigned n = count(cache, request->instance);

    if (!done && (is_asked_for(cache, request) || n >= JOBS_MAX)) {
        return;
    }
    job_create(cache, request, done, aux);
    if (n == 0) {
        start_next(cache, request->instance);
    }
}

static void
start_next(struct info_cache *cache, const char *instance)
{
    for (struct job *job = cache->first; job; job = job->next) {
        if (str_eq(job->log.instance, instance)) {
            job->runs = true;
            go_on(job, NULL);
            return;
        }
    }
}

static void
tell(const struct job *job, struct error *error)
{
    enum error_code code = error_code(error);
    bool is_gone = code == ERR_INSTANCE_NOT_FOUND ||
                   code == ERR_INFO_CACHE_NOT_FOUND ||
                   code == ERR_PORT_NOT_FOUND || code == ERR_CANCELLED;

    if (error) {
        log_limited(is_gone ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, &job->log,
                    "what is recorded of its ports stays as it is: %s",
                    error_message(error));
        error_free(error);
    }
}

static void
finish(struct job *job, struct error *error)
{
    struct info_cache *cache = job->cache;
    struct job **link = &cache->first;

    while (*link != job) {
        link = &(*link)->next;
    }
    *link = job->next;
    if (job->done) {
        job->done(job->aux, error);
    } else {
        tell(job, error);
    }
    start_next(cache, job->log.instance);
    network_queries_close(&job->queries);
    json_free(job->context);
    json_free(job->known);
    json_free(job->ports);
    json_free(job->networks);
    json_free(job->subnets);
    json_free(job->dhcp_ports);
    json_free(job->floating);
    json_free(job->order);
    free(job->project);
    free(job->port);
    free(job);
    drop(cache);
}
