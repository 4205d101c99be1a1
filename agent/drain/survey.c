#include <config.h>

#include "agent/drain/survey.h"

#include <stdlib.h>

#include "agent/drain/forecast.h"
#include "agent/drain/guests.h"
#include "agent/drain/plan.h"
#include "agent/migrate/data.h"
#include "agent/migrate/rules.h"
#include "agent/peer.h"
#include "agent/placement.h"

LOG_MODULE(drain);

#define CHECKS_AT_ONCE 4
#define FORECASTS_AT_ONCE 8

struct survey_guest {
    struct guest *guest;
    struct object *instance; /* Null: it has no record. */
    char *name;
    char *stuck;
    bool *accepted;   /* Of each host: it said yes. */
    bool is_copied;   /* Its disks, as the latest check said. */
    bool is_checking; /* By one host at a time. */
    bool is_foretold; /* Or being. */
    struct json *forecast;
};

struct survey_host {
    struct json *json; /* host_show; null: it did not answer. */
    char *name, *barred;
};

struct survey {
    struct agent *agent;
    struct log_context log;
    struct json *context, *to;
    struct host_info *own;
    struct drain_guests *found;
    struct survey_guest *guests;
    size_t n_guests;
    struct survey_host *hosts;
    size_t n_hosts, n_hosts_room;
    struct drain_refusal *refusals;
    size_t n_refusals, n_refusals_room;
    struct drain_choice *choices;
    unsigned n_checking, n_foretelling;
    struct error *error; /* Why it ends when the checks are back. */
    drain_survey_done *done;
    void *aux;
};

struct check {
    struct survey *survey;
    size_t guest, host;
};

static void guests_known(void *aux, struct error *error,
                         struct drain_guests *found);
static void own_host_known(void *aux, struct error *error,
                           struct host_info *host);
static void host_answered(void *aux, const struct json *result,
                          const struct error *error);
static void hosts_known(void *aux);
static void add_guest(struct survey *s, struct guest *guest, const char *doubt);
static char *why_stuck(const struct guest *guest,
                       const struct object *instance);
static bool is_wanted(const struct survey *s, const char *host);
static struct survey_host *add_host(struct survey *s, const char *name);
static bool knows_host(const struct survey *s, const char *name);
static char *why_barred(const struct survey *s, const struct json *host);
static void plan(struct survey *s);
static void check_more(struct survey *s);
static void start_check(struct survey *s, size_t guest, size_t host);
static void checked(void *aux, struct error *error, char *dest,
                    struct object *data, struct json *rules);
static void refuse(struct survey *s, size_t guest, size_t host,
                   struct error *error);
static void foretell_more(struct survey *s);
static void foretell(struct survey *s, size_t guest);
static void foretold(void *aux, struct json *forecast);
static int64_t copied_bytes(const struct survey_guest *g);
static struct json *describe(const struct survey *s);
static struct json *describe_hosts(const struct survey *s);
static struct json *describe_guests(const struct survey *s);
static void finish(struct survey *s);

void
drain_survey(struct agent *agent, const struct json *context,
             const struct json *to, const struct log_context *log,
             drain_survey_done *done, void *aux)
{
    struct survey *s = xzalloc(sizeof *s);

    s->agent = agent;
    s->log = *log;
    s->context = json_copy(context);
    s->to = json_copy(to);
    s->done = done;
    s->aux = aux;
    drain_guests_find(agent, NULL, 0, guests_known, s);
}

static void
guests_known(void *aux, struct error *error, struct drain_guests *found)
{
    struct survey *s = aux;

    s->found = found;
    if (error) {
        s->error = error;
        finish(s);
        return;
    }
    s->guests = xcalloc(found->list->n + 1, sizeof *s->guests);
    for (size_t i = 0; i < found->list->n; i++) {
        add_guest(s, found->list->guests[i], found->doubts[i]);
    }
    driver_host_get(s->agent->driver, own_host_known, s);
}

static void
add_guest(struct survey *s, struct guest *guest, const char *doubt)
{
    if (!doubt && !drain_guest_is_here(guest)) {
        return;
    }
    const struct object *instance =
        records_local_find(s->agent->local, guest->uuid, NULL);
    struct survey_guest *g = &s->guests[s->n_guests++];
    const char *name =
        instance ? object_string(instance, "display_name") : NULL;

    g->guest = guest;
    g->instance = object_copy(instance);
    g->name = xstrdup(name ? name : guest->name);
    g->stuck = doubt ? xasprintf("it can't be read: %s", doubt)
                     : why_stuck(guest, instance);
}

/* The caller's; null: as far as this host knows it can be moved. */
static char *
why_stuck(const struct guest *guest, const struct object *instance)
{
    const char *task = instance ? object_string(instance, "task_state") : NULL;

    if (!instance) {
        return xstrdup("the agent does not know it yet");
    }
    if (task) {
        return xasprintf("it is busy (%s)", task);
    }
    if (guest->presence == GUEST_OFF) {
        return xstrdup("it is shut off, and only running guests are moved");
    }
    if (guest->presence != GUEST_ACTIVE ||
        (guest->power_state != POWER_RUNNING &&
         guest->power_state != POWER_PAUSED)) {
        return xstrdup("it neither runs nor is paused");
    }
    AUTO_ERROR error = migrate_rules_check_devices(guest);
    return error ? xstrdup(error_message(error)) : NULL;
}

static void
own_host_known(void *aux, struct error *error, struct host_info *host)
{
    struct survey *s = aux;

    s->own = host;
    if (error) {
        s->error = error;
        finish(s);
        return;
    }
    peer_gather(s->agent, "host_show", json_object(), s->context, host_answered,
                hosts_known, s);
}

static void
host_answered(void *aux, const struct json *result, const struct error *error)
{
    struct survey *s = aux;
    const char *name = json_string_of(result, "host");

    if (error || !name || str_eq(name, s->agent->conf->host) ||
        !is_wanted(s, name) || knows_host(s, name)) {
        return;
    }
    struct survey_host *host = add_host(s, name);
    host->json = json_copy(result);
    host->barred = why_barred(s, result);
}

static bool
is_wanted(const struct survey *s, const char *host)
{
    json_for_each (name, s->to) {
        if (str_eq(json_get_string(name), host)) {
            return true;
        }
    }
    return !s->to;
}

static struct survey_host *
add_host(struct survey *s, const char *name)
{
    if (s->n_hosts == s->n_hosts_room) {
        s->hosts = xgrow(s->hosts, &s->n_hosts_room, sizeof *s->hosts);
    }
    s->hosts[s->n_hosts] = (struct survey_host){.name = xstrdup(name)};
    return &s->hosts[s->n_hosts++];
}

static bool
knows_host(const struct survey *s, const char *name)
{
    for (size_t i = 0; i < s->n_hosts; i++) {
        if (str_eq(s->hosts[i].name, name)) {
            return true;
        }
    }
    return false;
}

/* The rules for any guest, which says nothing of memory yet; the caller's. */
static char *
why_barred(const struct survey *s, const struct json *host)
{
    const struct conf *conf = s->agent->conf;
    const char *drain = json_string_of(host, "drain");
    struct migrate_candidate candidate = {
        .host = json_string_of(host, "host"),
        .up = json_bool_of(host, "hypervisor_up"),
        .memory_free_mb = INT64_MAX,
        .hypervisor_type = json_string_of(host, "hypervisor_type"),
        .hypervisor_version = json_int_of(host, "hypervisor_version"),
    };
    struct migrate_demand demand = {
        .uuid = "",
        .source = conf->host,
        .hypervisor_type = s->own->hypervisor_type,
        .hypervisor_version = s->own->hypervisor_version,
        .skip_version_check =
            conf->workarounds.skip_hypervisor_version_check_on_lm,
    };

    if (drain) {
        return xasprintf("it is kept empty (%s)", drain);
    }
    AUTO_ERROR error = migrate_rules_check_candidate(&candidate, &demand);
    return error ? xstrdup(error_message(error)) : NULL;
}

static void
hosts_known(void *aux)
{
    struct survey *s = aux;

    json_for_each (item, s->to) {
        const char *name = json_get_string(item);

        if (!knows_host(s, name)) {
            add_host(s, name)->barred =
                xstrdup(str_eq(name, s->agent->conf->host)
                            ? "it is the host to be drained"
                            : "no drover answers under that name");
        }
    }
    for (size_t i = 0; i < s->n_guests; i++) {
        s->guests[i].accepted =
            xcalloc(s->n_hosts + 1, sizeof *s->guests[i].accepted);
    }
    plan(s);
}

/* Nova's rule, which each migration is measured by again, has a guest leave
 * something over: a MiB less is free. */
static void
plan(struct survey *s)
{
    struct drain_guest *guests = xcalloc(s->n_guests + 1, sizeof *guests);
    struct drain_host *hosts = xcalloc(s->n_hosts + 1, sizeof *hosts);
    struct drain_problem problem = {guests,     s->n_guests, hosts,
                                    s->n_hosts, s->refusals, s->n_refusals};

    for (size_t i = 0; i < s->n_guests; i++) {
        const struct survey_guest *g = &s->guests[i];
        guests[i] =
            (struct drain_guest){g->guest->uuid, g->guest->memory_mb, g->stuck};
    }
    for (size_t i = 0; i < s->n_hosts; i++) {
        const struct survey_host *h = &s->hosts[i];
        hosts[i] = (struct drain_host){
            h->name, json_int_of(h->json, "memory_free_mb") - 1, h->barred};
    }
    drain_choices_free(s->choices, s->n_guests);
    s->choices = drain_plan(&problem);
    free(guests);
    free(hosts);
    check_more(s);
}

/* When all that are chosen have agreed the plan stands. */
static void
check_more(struct survey *s)
{
    for (size_t i = 0; i < s->n_guests && !s->error; i++) {
        const struct survey_guest *g = &s->guests[i];
        size_t host = s->choices[i].host;

        if (s->n_checking < CHECKS_AT_ONCE && host != DRAIN_NOWHERE &&
            !g->accepted[host] && !g->is_checking) {
            start_check(s, i, host);
        }
    }
    if (!s->n_checking) {
        foretell_more(s);
    }
}

static void
start_check(struct survey *s, size_t guest, size_t host)
{
    struct check *check = xzalloc(sizeof *check);
    struct placement_request request = {
        .context = s->context,
        .instance = s->guests[guest].instance,
        .dest = s->hosts[host].name,
        .host = s->hosts[host].json,
        .block_migration = -1,
        .disk_over_commit = -1,
    };

    *check = (struct check){s, guest, host};
    s->guests[guest].is_checking = true;
    s->n_checking++;
    placement_find(s->agent, &request, &s->log, checked, check);
}

static void
checked(void *aux, struct error *error, char *dest, struct object *data,
        struct json *rules)
{
    struct check *check = aux;
    struct survey *s = check->survey;
    struct survey_guest *g = &s->guests[check->guest];

    s->n_checking--;
    g->is_checking = false;
    if (error) {
        refuse(s, check->guest, check->host, error);
        plan(s);
    } else {
        g->accepted[check->host] = true;
        g->is_copied = migrate_data_block_migration(data);
        check_more(s);
    }
    free(check);
    free(dest);
    object_free(data);
    json_free(rules);
}

/* Takes 'error'.  What is the guest's own fault is the same at every host. */
static void
refuse(struct survey *s, size_t guest, size_t host, struct error *error)
{
    struct survey_guest *g = &s->guests[guest];
    enum error_code code = error_code(error);
    AUTO_FREE text = error_text(error);

    log_info(&s->log, "host '%s' will not have '%s': %s", s->hosts[host].name,
             g->name, error_message(error));
    if (s->agent->stopping && !s->error) {
        s->error = error;
        return;
    }
    error_free(error);
    if (code == ERR_INVALID_LOCAL_STORAGE ||
        code == ERR_INVALID_SHARED_STORAGE || code == ERR_INSTANCE_NOT_FOUND ||
        code == ERR_INSTANCE_NOT_RUNNING) {
        free(g->stuck);
        g->stuck = steal(&text);
        return;
    }
    if (s->n_refusals == s->n_refusals_room) {
        s->refusals =
            xgrow(s->refusals, &s->n_refusals_room, sizeof *s->refusals);
    }
    s->refusals[s->n_refusals++] =
        (struct drain_refusal){guest, host, steal(&text)};
}

/* The plan stands; what is missing is how long it will take. */
static void
foretell_more(struct survey *s)
{
    s->n_foretelling++; /* Answers may come at once. */
    for (size_t i = 0; i < s->n_guests && !s->error; i++) {
        if (s->n_foretelling <= FORECASTS_AT_ONCE &&
            s->choices[i].host != DRAIN_NOWHERE && !s->guests[i].is_foretold) {
            foretell(s, i);
        }
    }
    if (--s->n_foretelling == 0) {
        finish(s);
    }
}

static void
foretell(struct survey *s, size_t guest)
{
    struct survey_guest *g = &s->guests[guest];
    struct drain_forecast_request request = {
        .guest = g->guest,
        .dest = s->hosts[s->choices[guest].host].name,
        .disk_bytes = copied_bytes(g),
    };
    struct check *check = xzalloc(sizeof *check);

    *check = (struct check){.survey = s, .guest = guest};
    g->is_foretold = true;
    s->n_foretelling++;
    drain_forecast(s->agent, &request, s->context, &s->log, foretold, check);
}

static void
foretold(void *aux, struct json *forecast)
{
    struct check *check = aux;
    struct survey *s = check->survey;

    s->guests[check->guest].forecast = forecast;
    free(check);
    if (--s->n_foretelling == 0) {
        foretell_more(s);
    }
}

static int64_t
copied_bytes(const struct survey_guest *g)
{
    return g->is_copied ? migrate_rules_disk_need(g->guest, false) : 0;
}

static struct json *
describe(const struct survey *s)
{
    struct json *json = json_object();

    json_set_string(json, "host", s->agent->conf->host);
    json_set(json, "hosts", describe_hosts(s));
    json_set(json, "guests", describe_guests(s));
    return json;
}

static struct json *
describe_hosts(const struct survey *s)
{
    struct json *list = json_array();

    for (size_t h = 0; h < s->n_hosts; h++) {
        const struct survey_host *host = &s->hosts[h];
        int64_t taken_mb = 0, n = 0;

        for (size_t g = 0; g < s->n_guests; g++) {
            if (s->choices[g].host == h) {
                taken_mb += s->guests[g].guest->memory_mb;
                n++;
            }
        }
        struct json *json = json_object();
        int64_t free_mb = json_int_of(host->json, "memory_free_mb");
        json_set_string(json, "host", host->name);
        json_set_string(json, "reason", host->barred);
        json_set_int(json, "n_guests", n);
        json_set(json, "memory_mb",
                 json_copy(json_get(host->json, "memory_mb")));
        json_set(json, "memory_free_mb",
                 host->json ? json_int(free_mb) : json_null());
        json_set(json, "memory_after_mb",
                 host->json ? json_int(free_mb - taken_mb) : json_null());
        json_append(list, json);
    }
    return list;
}

static struct json *
describe_guests(const struct survey *s)
{
    struct json *list = json_array();

    for (size_t i = 0; i < s->n_guests; i++) {
        const struct survey_guest *g = &s->guests[i];
        const struct drain_choice *choice = &s->choices[i];
        bool moves = choice->host != DRAIN_NOWHERE;
        struct json *json = json_object();

        json_set_string(json, "uuid", g->guest->uuid);
        json_set_string(json, "name", g->name);
        json_set_int(json, "memory_mb", g->guest->memory_mb);
        json_set(json, "disk_mb",
                 moves ? json_int(copied_bytes(g) >> 20) : json_null());
        json_set_string(json, "dest",
                        moves ? s->hosts[choice->host].name : NULL);
        json_set_string(json, "reason", choice->reason);
        json_set(json, "forecast", json_copy(g->forecast));
        json_append(list, json);
    }
    return list;
}

static void
finish(struct survey *s)
{
    struct json *result = s->error ? NULL : describe(s);

    s->done(s->aux, steal(&s->error), result);
    for (size_t i = 0; i < s->n_guests; i++) {
        object_free(s->guests[i].instance);
        free(s->guests[i].name);
        free(s->guests[i].stuck);
        free(s->guests[i].accepted);
        json_free(s->guests[i].forecast);
    }
    for (size_t i = 0; i < s->n_hosts; i++) {
        json_free(s->hosts[i].json);
        free(s->hosts[i].name);
        free(s->hosts[i].barred);
    }
    for (size_t i = 0; i < s->n_refusals; i++) {
        free((char *)s->refusals[i].reason);
    }
    drain_choices_free(s->choices, s->n_guests);
    json_free(s->context);
    json_free(s->to);
    host_info_free(s->own);
    drain_guests_free(s->found);
    free(s->guests);
    free(s->hosts);
    free(s->refusals);
    free(s);
}
