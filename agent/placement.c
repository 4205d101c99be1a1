#include <config.h>

#include "agent/placement.h"

#include <stdlib.h>

#include "agent/check/check.h"
#include "agent/check/report.h"
#include "agent/migrate/data.h"
#include "agent/migrate/rules.h"
#include "agent/peer.h"

LOG_MODULE(placement);

struct placement {
    struct agent *agent;
    struct log_context log;
    struct json *context;
    struct object *instance, *migration; /* The latter may be null. */
    char *wanted;                        /* Null: whoever will do. */
    int block_migration, disk_over_commit;
    enum migrate_kind kind;
    struct guest *guest;
    struct host_info *own; /* This host. */
    struct json *hosts;    /* What they say of themselves, [host_show]. */
    struct json *rules;
    char *trying;
    struct check_report *report; /* Of that one. */
    struct error *last;          /* Why the last one would not do. */
    placement_done *done;
    void *aux;
};

static void guest_known(void *aux, struct error *error, struct guest *guest);
static void own_host_known(void *aux, struct error *error,
                           struct host_info *host);
static void host_answered(void *aux, const struct json *result,
                          const struct error *error);
static void hosts_known(void *aux);
static void note_unfit(struct placement *p);
static void try_next(struct placement *p);
static struct error *choose(struct placement *p, size_t *ret);
static void try_host(struct placement *p, const struct json *host);
static void host_checked(void *aux, struct json **result, struct error *error);
static void reject(struct placement *p, struct error *error);
static void note(struct placement *p, const char *host,
                 const struct check_report *report);
static void drop_host(struct placement *p, const char *name);
static struct migrate_demand demand_of(const struct placement *p);
static const char *known_loader(const struct placement *p);
static void finish(struct placement *p, struct error *error,
                   struct object *data);
static struct json *tristate_json(int value);

/* What a host says of itself, as the rules read it. */
struct host_view {
    struct migrate_candidate candidate;
    struct host_hugepages *hugepages;
    const char **loaders;
};
static struct host_view *view_create(const struct json *host);
static void view_free(struct host_view *view);
CLEANUP_FUNC(struct host_view, view_free)

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
    p->kind = request->kind;
    p->hosts = json_array();
    if (request->host) {
        json_append(p->hosts, json_copy(request->host));
    }
    p->rules = json_array();
    p->done = done;
    p->aux = aux;
    driver_guest_get(agent->driver, object_string(p->instance, "uuid"),
                     guest_known, p);
}

static void
guest_known(void *aux, struct error *error, struct guest *guest)
{
    struct placement *p = aux;

    p->guest = guest;
    if (error) {
        finish(p, error, NULL);
        return;
    }
    driver_host_get(p->agent->driver, own_host_known, p);
}

static void
own_host_known(void *aux, struct error *error, struct host_info *host)
{
    struct placement *p = aux;

    if (error) {
        finish(p, error, NULL);
        return;
    }
    p->own = host;
    if (json_size(p->hosts)) {
        hosts_known(p);
        return;
    }
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
    if (!p->wanted) {
        note_unfit(p);
    }
    try_next(p);
}

/* Nobody asks them; but who looks wants to know why. */
static void
note_unfit(struct placement *p)
{
    struct migrate_demand demand = demand_of(p);

    json_for_each (host, p->hosts) {
        CLEANUP(view_free_at) struct host_view *view = view_create(host);
        CLEANUP(check_report_free_at)
        struct check_report *report = check_report_create();

        migrate_rules_check_host(&view->candidate, &demand, report);
        if (check_report_error(report)) {
            note(p, view->candidate.host, report);
        }
    }
}

/* A host that is named is asked whatever the rules say of it: who looks wants
 * to know all that is wrong. */
static void
try_next(struct placement *p)
{
    size_t chosen = 0;
    struct error *error = NULL;

    if (!json_size(p->hosts) && p->last) {
        /* The last reason says more than that nobody is left. */
        AUTO_FREE text = error_text(p->last);
        error = error_new(ERR_NO_VALID_HOST,
                          "none is left to try; the last one said: %s", text);
    } else if (!p->wanted) {
        error = choose(p, &chosen);
    }
    if (error) {
        finish(p, error, NULL);
        return;
    }
    try_host(p, json_at(p->hosts, chosen));
}

static struct error *
choose(struct placement *p, size_t *ret)
{
    size_t n = json_size(p->hosts), i = 0;
    struct host_view **views = xcalloc(n, sizeof *views);
    struct migrate_candidate *candidates = xcalloc(n, sizeof *candidates);
    struct migrate_demand demand = demand_of(p);

    json_for_each (host, p->hosts) {
        views[i] = view_create(host);
        candidates[i] = views[i]->candidate;
        i++;
    }
    struct error *error =
        migrate_rules_choose_destination(candidates, n, &demand, ret);
    while (i--) {
        view_free(views[i]);
    }
    free(views);
    free(candidates);
    return error;
}

static void
try_host(struct placement *p, const struct json *host)
{
    CLEANUP(view_free_at) struct host_view *view = view_create(host);
    struct migrate_demand demand = demand_of(p);
    struct json *args = json_object();

    free(p->trying);
    p->trying = xstrdup(json_string_of(host, "host"));
    check_report_free(p->report);
    p->report = check_report_create();
    migrate_rules_check_host(&view->candidate, &demand, p->report);
    json_set(args, "instance", json_copy(object_json(p->instance)));
    json_set_string(args, "cpu_xml",
                    p->guest->cpu_xml ? p->guest->cpu_xml : p->own->cpu_xml);
    json_set(args, "block_migration", tristate_json(p->block_migration));
    json_set(args, "disk_over_commit", tristate_json(p->disk_over_commit));
    if (p->kind != MIGRATE_LIVE) { /* Else older agents need not know. */
        json_set_string(args, "kind", migrate_kind_word(p->kind));
    }
    peer_call_drover(p->agent, p->trying, "check_incoming", args, p->context,
                     PEER_LONG, host_checked, p);
}

static void
host_checked(void *aux, struct json **result, struct error *error)
{
    struct placement *p = aux;
    struct object *data = NULL;

    if (error) {
        check_report_note(p->report, CHECK_RULE_HOST_UP, error_copy(error));
    } else {
        check_report_merge(p->report, json_get(*result, "report"));
        error = error_copy(check_report_error(p->report));
    }
    if (!error) {
        error = migrate_data_parse(json_get(*result, "data"), &data);
        if (error) {
            check_report_note(p->report, CHECK_RULE_STORAGE, error_copy(error));
        }
    }
    note(p, p->trying, p->report);
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

    if (code != ERR_CANCELLED) {
        error = check_as_pre_check(error);
    }
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
note(struct placement *p, const char *host, const struct check_report *report)
{
    struct json *rule = json_object();
    const struct error *error = check_report_error(report);
    AUTO_FREE text = error ? error_text(error) : NULL;

    json_set_string(rule, "host", host);
    json_set_bool(rule, "ok", !error);
    json_set_string(rule, "reason", text);
    json_set(rule, "checks", check_report_rules(report));
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
        .hypervisor_type = p->own->hypervisor_type,
        .hypervisor_version = p->own->hypervisor_version,
        .skip_version_check =
            conf->workarounds.skip_hypervisor_version_check_on_lm,
        .is_off = p->kind == MIGRATE_COLD,
        .n_pinned_cpus = p->guest->last_cpu + 1,
        .n_bound_nodes = p->guest->last_node + 1,
        .hugepage_kib = p->guest->hugepage_kib,
        .loader = known_loader(p),
    };
}

/* A firmware that libvirt does not know here, it need not know there. */
static const char *
known_loader(const struct placement *p)
{
    for (size_t i = 0; i < p->own->n_loaders; i++) {
        if (str_eq(p->own->loaders[i], p->guest->loader)) {
            return p->guest->loader;
        }
    }
    return NULL;
}

static struct host_view *
view_create(const struct json *host)
{
    const struct json *hugepages = json_get(host, "hugepages");
    const struct json *loaders = json_get(host, "loaders");
    struct host_view *view = xzalloc(sizeof *view);

    view->candidate = (struct migrate_candidate){
        .host = json_string_of(host, "host"),
        .up = json_bool_of(host, "hypervisor_up"),
        .memory_free_mb = json_int_of(host, "memory_free_mb"),
        .hypervisor_type = json_string_of(host, "hypervisor_type"),
        .hypervisor_version = json_int_of(host, "hypervisor_version"),
        .n_cpus = (int)json_int_of(host, "n_cpus"),
        .n_nodes = (int)json_int_of(host, "n_nodes"),
    };
    view->hugepages =
        xcalloc(json_size(hugepages) + 1, sizeof *view->hugepages);
    view->candidate.hugepages = view->hugepages;
    json_for_each (pages, hugepages) {
        int64_t size_kib = json_int_of(pages, "size_kib");
        if (size_kib > 0) {
            view->hugepages[view->candidate.n_hugepages++] =
                (struct host_hugepages){size_kib, json_int_of(pages, "n_free")};
        }
    }
    view->loaders = xcalloc(json_size(loaders) + 1, sizeof *view->loaders);
    view->candidate.loaders = view->loaders;
    json_for_each (loader, loaders) {
        view->loaders[view->candidate.n_loaders++] = json_get_string(loader);
    }
    return view;
}

static void
view_free(struct host_view *view)
{
    free(view->hugepages);
    free(view->loaders);
    free(view);
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
    guest_free(p->guest);
    host_info_free(p->own);
    check_report_free(p->report);
    free(p->trying);
    free(p);
}

static struct json *
tristate_json(int value)
{
    return value < 0 ? json_null() : json_bool(value);
}
