#include <config.h>

#include "agent/api/methods.h"

#include <stdlib.h>
#include <string.h>

#include "agent/check/check.h"
#include "agent/conduct.h"
#include "agent/forecaster.h"
#include "agent/incoming/incoming.h"
#include "agent/migrate/data.h"
#include "agent/migrate/migration.h"
#include "agent/placement.h"
#include "rpc/uuid.h"

/* Starting. */

static void
started(void *aux, struct error *error, struct object *record)
{
    struct api_call *call = aux;

    if (error) {
        api_fail(call, error);
        return;
    }
    api_reply(call, migration_describe(api_agent(call), record));
    object_free(record);
}

/* On success '*ret' is another, to be closed. */
static struct error *
find_settings(const struct api_call *call, struct migrate_settings *ret)
{
    const struct conf *conf = api_agent(call)->conf;
    struct error *error =
        migrate_settings_parse(json_get(api_args(call), "settings"), ret);

    return error ? error : migrate_settings_check(ret, conf);
}

struct check_answer {
    struct api_call *call;
    struct json *json;
};

static void
foreseen(void *aux, struct json *forecast)
{
    struct check_answer *answer = aux;

    json_set(answer->json, "forecast", forecast);
    api_reply(answer->call, answer->json);
    free(answer);
}

static void
foresee(struct api_call *call, struct json *json, const char *dest,
        bool block_migration)
{
    struct check_answer *answer = xzalloc(sizeof *answer);
    const struct object *instance = NULL;
    AUTO_SETTINGS settings = MIGRATE_SETTINGS_NONE;
    struct error *error =
        api_find_instance(call, api_text(call, "instance"), &instance);

    answer->call = call;
    answer->json = json;
    if (!error) {
        error = find_settings(call, &settings);
    }
    if (error) { /* It went in the meantime. */
        error_free(error);
        foreseen(answer, NULL);
        return;
    }
    struct forecaster_request request = {
        .uuid = object_string(instance, "uuid"),
        .dest = dest,
        .block_migration = block_migration,
        .settings = &settings,
    };
    forecaster_start(api_agent(call), &request, api_context(call),
                     api_log(call), foreseen, answer);
}

static void
checked(void *aux, struct error *error, char *dest, struct object *data,
        struct json *rules)
{
    struct api_call *call = aux;
    struct json *json = json_object();
    AUTO_FREE reason = error ? error_text(error) : NULL;
    AUTO_FREE owned UNUSED = dest;

    json_set_bool(json, "ok", !error);
    json_set_string(json, "reason", reason);
    json_set_string(json, "dest", dest);
    json_set(json, "data", data ? object_json_clean(data) : NULL);
    json_set(json, "rules", rules);
    json_set_null(json, "forecast");
    if (error || object_has(data, CHECK_KIND_FIELD)) {
        api_reply(call, json); /* How fast files are copied nobody knows. */
    } else {
        foresee(call, json, dest, migrate_data_block_migration(data));
    }
    error_free(error);
    object_free(data);
}

static struct error *
check_settings(const struct migrate_settings *settings, enum migrate_kind kind)
{
    bool has_others = settings->downtime_ms >= 0 ||
                      settings->completion_timeout_s >= 0 ||
                      settings->timeout_action || settings->convergence ||
                      settings->compression;

    return kind != MIGRATE_LIVE && has_others
               ? error_new(ERR_VALUE, "a guest that does not run is moved with "
                                      "no setting but its bandwidth")
               : NULL;
}

/* Of a guest at rest the checks have more to say. */
static struct error *
check_movable(const struct object *instance, enum migrate_kind kind)
{
    const char *task = object_string(instance, "task_state");
    int64_t power = object_int(instance, "power_state");

    if (task) {
        return error_set_arg(
            error_set_arg(
                error_set_arg(
                    error_set_arg(error_new(ERR_INSTANCE_INVALID_STATE,
                                            "it is busy (%s)", task),
                                  "instance_uuid",
                                  object_string(instance, "uuid")),
                    "attr", "task_state"),
                "state", task),
            "method", "os-migrateLive");
    }
    if (kind == MIGRATE_LIVE && power != POWER_RUNNING &&
        power != POWER_PAUSED) {
        return error_set_arg(
            error_set_arg(
                error_set_arg(
                    error_set_arg(error_new(ERR_INSTANCE_INVALID_STATE,
                                            "it does not run"),
                                  "instance_uuid",
                                  object_string(instance, "uuid")),
                    "attr", "vm_state"),
                "state", object_string(instance, "vm_state")),
            "method", "os-migrateLive");
    }
    return NULL;
}

void
api_migrate(struct api_call *call)
{
    const struct object *instance;
    int block = -1, over_commit = -1, check = -1;
    enum migrate_kind kind = MIGRATE_LIVE;
    AUTO_SETTINGS settings = MIGRATE_SETTINGS_NONE;

    struct error *error =
        api_find_instance(call, api_text(call, "instance"), &instance);
    if (!error) {
        error = api_tristate(call, "block_migration", &block);
    }
    if (!error) {
        error = api_tristate(call, "disk_over_commit", &over_commit);
    }
    if (!error) {
        error = api_tristate(call, "check", &check);
    }
    if (!error) {
        error = find_settings(call, &settings);
    }
    if (!error) {
        error = migrate_kind_parse(api_text(call, "kind"), &kind);
    }
    if (!error) {
        error = check_settings(&settings, kind);
    }
    if (!error) {
        error = check_movable(instance, kind);
    }
    if (error) {
        api_fail(call, error);
        return;
    }
    if (check == 1) {
        struct placement_request request = {
            .context = api_context(call),
            .instance = instance,
            .dest = api_text(call, "dest"),
            .block_migration = block,
            .disk_over_commit = over_commit,
            .kind = kind,
        };
        placement_find(api_agent(call), &request, api_log(call), checked, call);
        return;
    }
    struct log_context log = *api_log(call);
    snprintf(log.instance, sizeof log.instance, "%s",
             object_string(instance, "uuid"));
    struct conduct_request request = {
        .context = api_context(call),
        .instance = instance,
        .dest = api_text(call, "dest"),
        .uuid = api_text(call, "uuid"), /* Of migrate_once only. */
        .block_migration = block,
        .disk_over_commit = over_commit,
        .settings = &settings,
        .kind = kind,
    };
    conduct_start(api_agent(call), &request, &log, started, call);
}

/* Looking. */

static void
migrations_known(void *aux, struct error *error, struct object **records,
                 size_t n)
{
    struct api_call *call = aux;

    if (error) {
        api_fail(call, error);
        return;
    }
    struct json *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_append(list, migration_describe(api_agent(call), records[i]));
        object_free(records[i]);
    }
    free(records);
    api_reply(call, list);
}

void
api_migration_list(struct api_call *call)
{
    struct agent *agent = api_agent(call);
    struct records *records = agent->records;
    const char *name = api_text(call, "instance");
    const char *uuid = name;
    const struct object *instance = NULL;

    /* One that moved away is known here by its UUID only. */
    if (name && agent->local) {
        size_t n;
        instance = records_local_find(agent->local, name, &n);
        uuid = instance ? object_string(instance, "uuid") : name;
    }
    records->ops->migration_list(records->state, api_context(call), uuid,
                                 migrations_known, call);
}

/* One migration, by what a person calls it. */
struct lookup {
    struct api_call *call;
    char *name;
    char *instance_uuid; /* If the name is an instance's; else null. */
    void (*found)(struct api_call *call, struct object *record); /* Takes. */
};

static void lookup_ended(struct lookup *lookup, struct error *error,
                         struct object *found);

static bool
is_meant(const struct lookup *lookup, const struct object *record)
{
    const char *uuid = object_string(record, "uuid");
    const char *instance = object_string(record, "instance_uuid");
    size_t size = strlen(lookup->name);

    return str_eq(instance, lookup->instance_uuid) ||
           str_eq(instance, lookup->name) ||
           str_eq(object_string(record, "instance_name"), lookup->name) ||
           (size >= 4 && uuid && strncmp(uuid, lookup->name, size) == 0);
}

static void
lookup_known(void *aux, struct error *error, struct object **records, size_t n)
{
    struct lookup *lookup = aux;
    struct object *found = NULL;

    /* Newest first. */
    for (size_t i = 0; i < n; i++) {
        if (!found && is_meant(lookup, records[i])) {
            found = steal(&records[i]);
        }
        object_free(records[i]);
    }
    free(records);
    if (!error && !found) {
        error = error_set_arg(error_new(ERR_MIGRATION_NOT_FOUND,
                                        "host '%s' knows no such one",
                                        api_agent(lookup->call)->conf->host),
                              "migration_id", lookup->name);
    }
    lookup_ended(lookup, error, found);
}

/* Takes all. */
static void
lookup_ended(struct lookup *lookup, struct error *error, struct object *found)
{
    if (error) {
        api_fail(lookup->call, error);
    } else {
        lookup->found(lookup->call, found);
    }
    free(lookup->name);
    free(lookup->instance_uuid);
    free(lookup);
}

static void
list_all(struct lookup *lookup)
{
    struct records *records = api_agent(lookup->call)->records;

    records->ops->migration_list(records->state, api_context(lookup->call),
                                 NULL, lookup_known, lookup);
}

/* By its UUID it is found without looking at all; the UUID may be an
 * instance's. */
static void
lookup_got(void *aux, struct error *error, struct object *record)
{
    struct lookup *lookup = aux;

    if (error_code(error) == ERR_MIGRATION_NOT_FOUND) {
        error_free(error);
        list_all(lookup);
        return;
    }
    lookup_ended(lookup, error, record);
}

static void
look_up(struct api_call *call,
        void (*found)(struct api_call *call, struct object *record))
{
    struct agent *agent = api_agent(call);
    const char *name = api_text(call, "migration");
    const struct object *instance = NULL;
    size_t n;

    if (!name || !*name) {
        api_fail(call, error_new(ERR_VALUE, "no migration is named"));
        return;
    }
    struct lookup *lookup = xzalloc(sizeof *lookup);
    lookup->call = call;
    lookup->name = xstrdup(name);
    lookup->found = found;
    if (agent->local) {
        instance = records_local_find(agent->local, name, &n);
    }
    if (instance) {
        lookup->instance_uuid = xstrdup(object_string(instance, "uuid"));
    }
    if (uuid_is_valid(name)) {
        agent->records->ops->migration_get(agent->records->state,
                                           api_context(call), 0, name,
                                           lookup_got, lookup);
        return;
    }
    list_all(lookup);
}

static void
show(struct api_call *call, struct object *record)
{
    api_reply(call, migration_describe(api_agent(call), record));
    object_free(record);
}

void
api_migration_show(struct api_call *call)
{
    look_up(call, show);
}

/* Steering. */

static void
answer(void *aux, struct error *error)
{
    if (error) {
        api_fail(aux, error);
    } else {
        api_reply(aux, NULL);
    }
}

static struct error *
not_running(const struct object *record, const char *method)
{
    struct error *error =
        error_new(ERR_INVALID_MIGRATION_STATE, "it is not under way here");

    error_set_arg(error, "migration_id", object_string(record, "uuid"));
    error_set_arg(error, "instance_uuid",
                  object_string(record, "instance_uuid"));
    error_set_arg(error, "state", object_string(record, "status"));
    return error_set_arg(error, "method", method);
}

static void
set_done(void *aux, struct error *error)
{
    struct api_call *call = aux;

    if (error) {
        api_fail(call, error);
    } else {
        look_up(call, show);
    }
}

static void
set_it(struct api_call *call, struct object *record)
{
    struct op *op =
        op_find(api_agent(call)->ops, object_string(record, "uuid"));
    AUTO_SETTINGS settings = MIGRATE_SETTINGS_NONE;
    struct error *error = find_settings(call, &settings);

    if (!error &&
        (settings.completion_timeout_s >= 0 || settings.timeout_action ||
         settings.convergence || settings.compression)) {
        error = error_new(ERR_VALUE, "only bandwidth and downtime can be "
                                     "changed when it is under way");
    }
    if (!error && settings.bandwidth_mib_s < 0 && settings.downtime_ms < 0) {
        error = error_new(ERR_VALUE, "neither bandwidth nor downtime is set");
    }
    if (!error && !op) {
        error = not_running(record, "set");
    }
    if (error) {
        api_fail(call, error);
    } else {
        migrate_source_set(op, &settings, set_done, call);
    }
    object_free(record);
}

void
api_migration_set(struct api_call *call)
{
    look_up(call, set_it);
}

static void
abort_it(struct api_call *call, struct object *record)
{
    struct op *op =
        op_find(api_agent(call)->ops, object_string(record, "uuid"));

    if (op) {
        migrate_source_abort(op, api_context(call), answer, call);
    } else {
        api_fail(call, not_running(record, "abort"));
    }
    object_free(record);
}

void
api_migration_abort(struct api_call *call)
{
    look_up(call, abort_it);
}

static void
force_it(struct api_call *call, struct object *record)
{
    struct op *op =
        op_find(api_agent(call)->ops, object_string(record, "uuid"));

    answer(call, op ? migrate_source_force_complete(op, api_context(call))
                    : not_running(record, "force complete"));
    object_free(record);
}

void
api_migration_force_complete(struct api_call *call)
{
    look_up(call, force_it);
}

void
api_migration_is_open(struct api_call *call)
{
    const char *uuid = api_text(call, "instance");
    const char *dest = api_text(call, "dest");

    if (!uuid || !dest) {
        api_fail(call, error_new(ERR_VALUE, "instance and dest are texts"));
        return;
    }
    struct op *op = migrate_source_find(api_agent(call), uuid);
    const struct migration *m = op ? op_data(op) : NULL;
    struct json *json = json_object();
    json_set_bool(json, "open", m && str_eq(m->dest, dest));
    api_reply(call, json);
}

void
api_guest_has_arrived(struct api_call *call)
{
    const char *uuid = api_text(call, "instance");
    struct json *json;

    if (!uuid) {
        api_fail(call, error_new(ERR_VALUE, "instance is a text"));
        return;
    }
    json = json_object();
    json_set_bool(json, "arrived", incoming_has_arrived(api_agent(call), uuid));
    api_reply(call, json);
}
