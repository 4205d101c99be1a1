#include <config.h>

#include "agent/placement.h"

#include <stdlib.h>

#include "agent/migrate_data.h"
#include "agent/migrate_rules.h"
#include "agent/peer.h"

LOG_MODULE(placement);

struct placement {
    struct agent *agent;
    struct log_context log;
    struct json *context;
    struct object *instance, *migration; /* The latter may be null. */
    char *wanted;                        /* Null: whoever will do. */
    int block_migration, disk_over_commit;
    char *hypervisor_type; /* Ours. */
    int64_t hypervisor_version;
    struct json *hosts; /* What they say of themselves, [host_show]. */
    struct json *rules;
    char *trying;
    struct error *last; /* Why the last one would not do. */
    placement_done *done;
    void *aux;
};

static void own_host_known(void *aux, struct error *error,
                           struct host_info *host);
static void host_answered(void *aux, const struct json *result,
                          const struct error *error);
static void hosts_known(void *aux);
static void try_next(struct placement *p);
static void try_host(struct placement *p, const struct json *host);
static void host_checked(void *aux, struct json **result, struct error *error);
static void reject(struct placement *p, struct error *error);
static void note(struct placement *p, const char *host,
                 const struct error *error);
static void drop_host(struct placement *p, const char *name);
static struct migrate_demand demand_of(const struct placement *p);
static struct migrate_candidate candidate_of(const struct json *host);
static void finish(struct placement *p, struct error *error,
                   struct object *data);
static struct json *tristate_json(int value);

void
placement_find(struct agent *agent, const struct placement_request *request,
               const struct log_context *log, placement_done *done, void *aux)
{
    struct placement *p = xzalloc(sizeof *p);

    p->agent = agent;
    p->log = *log;
    p->context = json_copy(request->context);
    p->instance = object_copy(request->instance);
    p->migration = object_copy(request->migration);
    p->wanted = xstrdup_null(request->dest);
    p->block_migration = request->block_migration;
    p->disk_over_commit = request->disk_over_commit;
    p->hosts = json_array();
    p->rules = json_array();
    p->done = done;
    p->aux = aux;
    driver_host_get(agent->driver, own_host_known, p);
}

static void
own_host_known(void *aux, struct error *error, struct host_info *host)
{
    struct placement *p = aux;

    if (error) {
        finish(p, error, NULL);
        return;
    }
    p->hypervisor_type = xstrdup_null(host->hypervisor_type);
    p->hypervisor_version = host->hypervisor_version;
    host_info_free(host);
    peer_gather(p->agent, "host_show", json_object(), p->context, host_answered,
                hosts_known, p);
}

/* A host of another kind (nova-compute) answers that it does not know us. */
static void
host_answered(void *aux, const struct json *result, const struct error *error)
{
    struct placement *p = aux;
    const char *name = json_string_of(result, "host");

    if (error || !name) {
        return;
    }
    if (p->wanted ? str_eq(name, p->wanted)
                  : !str_eq(name, p->agent->conf->host)) {
        json_append(p->hosts, json_copy(result));
    }
}

static void
hosts_known(void *aux)
{
    struct placement *p = aux;

    if (p->wanted && str_eq(p->wanted, p->agent->conf->host)) {
        struct error *error = error_new(ERR_UNABLE_TO_MIGRATE_TO_SELF,
                                        "the instance is on that host");
        error_set_arg(error, "instance_id", object_string(p->instance, "uuid"));
        error_set_arg(error, "host", p->wanted);
        finish(p, error, NULL);
        return;
    }
    if (p->wanted && !json_size(p->hosts)) {
        finish(p,
               error_set_arg(error_new(ERR_COMPUTE_HOST_NOT_FOUND,
                                       "no drover answers under that name"),
                             "host", p->wanted),
               NULL);
        return;
    }
    try_next(p);
}

static void
try_next(struct placement *p)
{
    size_t n = json_size(p->hosts), i = 0, chosen = 0;
    struct migrate_candidate *candidates = xcalloc(n, sizeof *candidates);
    struct migrate_demand demand = demand_of(p);
    struct error *error;

    json_for_each (host, p->hosts) {
        candidates[i++] = candidate_of(host);
    }
    if (p->wanted) {
        error = n ? migrate_rules_check_candidate(&candidates[0], &demand)
                  : steal(&p->last);
    } else if (!n && p->last) {
        /* The last reason says more than that nobody is left. */
        AUTO_FREE text = error_text(p->last);
        error = error_new(ERR_NO_VALID_HOST,
                          "none is left to try; the last one said: %s", text);
    } else {
        error =
            migrate_rules_choose_destination(candidates, n, &demand, &chosen);
    }
    free(candidates);
    if (error) {
        if (p->wanted && n) {
            note(p, p->wanted, error);
        }
        finish(p, error, NULL);
        return;
    }
    try_host(p, json_at(p->hosts, chosen));
}

static void
try_host(struct placement *p, const struct json *host)
{
    struct json *args = json_object();

    free(p->trying);
    p->trying = xstrdup(json_string_of(host, "host"));
    json_set(args, "instance", json_copy(object_json(p->instance)));
    json_set(args, "block_migration", tristate_json(p->block_migration));
    json_set(args, "disk_over_commit", tristate_json(p->disk_over_commit));
    json_set(args, "migration",
             p->migration ? json_copy(object_json(p->migration)) : NULL);
    json_set_null(args, "limits");
    peer_call(p->agent, p->trying, "check_can_live_migrate_destination", args,
              p->context, PEER_LONG, host_checked, p);
}

static void
host_checked(void *aux, struct json **result, struct error *error)
{
    struct placement *p = aux;
    struct object *data = NULL;

    if (!error) {
        error = migrate_data_parse(*result, &data);
    }
    note(p, p->trying, error);
    if (!error) {
        finish(p, NULL, data);
    } else {
        reject(p, error);
    }
}

/* A refusal that is the source's fault is the same at every host, and an agent
 * that stops asks no more. */
static void
reject(struct placement *p, struct error *error)
{
    enum error_code code = error_code(error);

    if (p->wanted || code == ERR_CANCELLED ||
        code == ERR_INVALID_LOCAL_STORAGE ||
        code == ERR_INVALID_SHARED_STORAGE || code == ERR_INSTANCE_NOT_FOUND) {
        finish(p, error, NULL);
        return;
    }
    log_info(&p->log, "host '%s' will not do: %s", p->trying,
             error_message(error));
    error_free(p->last);
    p->last = error;
    drop_host(p, p->trying);
    try_next(p);
}

static void
note(struct placement *p, const char *host, const struct error *error)
{
    struct json *rule = json_object();
    AUTO_FREE text = error ? error_text(error) : NULL;

    json_set_string(rule, "host", host);
    json_set_bool(rule, "ok", !error);
    json_set_string(rule, "reason", text);
    json_append(p->rules, rule);
}

static void
drop_host(struct placement *p, const char *name)
{
    struct json *left = json_array();

    json_for_each (host, p->hosts) {
        if (!str_eq(json_string_of(host, "host"), name)) {
            json_append(left, json_copy(host));
        }
    }
    json_free(p->hosts);
    p->hosts = left;
}

static struct migrate_demand
demand_of(const struct placement *p)
{
    const struct conf *conf = p->agent->conf;

    return (struct migrate_demand){
        .uuid = object_string(p->instance, "uuid"),
        .source = conf->host,
        .memory_mb = (int)object_int(p->instance, "memory_mb"),
        .hypervisor_type = p->hypervisor_type,
        .hypervisor_version = p->hypervisor_version,
        .skip_version_check =
            conf->workarounds.skip_hypervisor_version_check_on_lm,
    };
}

static struct migrate_candidate
candidate_of(const struct json *host)
{
    return (struct migrate_candidate){
        .host = json_string_of(host, "host"),
        .up = json_bool_of(host, "hypervisor_up"),
        .memory_free_mb = json_int_of(host, "memory_free_mb"),
        .hypervisor_type = json_string_of(host, "hypervisor_type"),
        .hypervisor_version = json_int_of(host, "hypervisor_version"),
    };
}

static void
finish(struct placement *p, struct error *error, struct object *data)
{
    p->done(p->aux, error, error ? NULL : steal(&p->trying), data,
            steal(&p->rules));
    json_free(p->context);
    object_free(p->instance);
    object_free(p->migration);
    json_free(p->hosts);
    error_free(p->last);
    free(p->wanted);
    free(p->hypervisor_type);
    free(p->trying);
    free(p);
}

static struct json *
tristate_json(int value)
{
    return value < 0 ? json_null() : json_bool(value);
}
