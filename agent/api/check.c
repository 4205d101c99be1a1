#include <config.h>

#include "agent/api/methods.h"

#include <stdlib.h>

#include "agent/check/check.h"
#include "agent/check/report.h"
#include "agent/forecaster.h"
#include "agent/migrate/data.h"

/* What two agents ask each other before a migration, and what is to be expected
 * of one. */

struct check_call {
    struct api_call *call;
    struct check_report *report;
};

static void
checked(void *aux, struct error *error, struct object *data)
{
    struct check_call *check = aux;
    struct json *json = json_object();

    /* It is in the report, too. */
    json_set(json, "report", check_report_format(check->report));
    json_set(json, "data", data ? json_copy(object_json(data)) : NULL);
    error_free(error);
    object_free(data);
    api_reply(check->call, json);
    check_report_free(check->report);
    free(check);
}

static struct check_call *
check_call_create(struct api_call *call)
{
    struct check_call *check = xzalloc(sizeof *check);

    check->call = call;
    check->report = check_report_create();
    return check;
}

void
api_check_incoming(struct api_call *call)
{
    struct object *instance = NULL;
    struct check_dest_request request = {
        .context = api_context(call),
        .cpu_xml = api_text(call, "cpu_xml"),
    };
    struct error *error = object_parse(json_get(api_args(call), "instance"),
                                       "Instance", &instance);

    if (!error) {
        error = api_tristate(call, "block_migration", &request.block_migration);
    }
    if (!error) {
        error =
            api_tristate(call, "disk_over_commit", &request.disk_over_commit);
    }
    if (!error) {
        error = migrate_kind_parse(api_text(call, "kind"), &request.kind);
    }
    if (!error && !object_string(instance, "uuid")) {
        error = error_new(ERR_VALUE, "the instance has no UUID");
    }
    if (error) {
        object_free(instance);
        api_fail(call, error);
        return;
    }
    struct check_call *check = check_call_create(call);
    request.instance = instance;
    request.report = check->report;
    check_dest(api_agent(call), &request, api_log(call), checked, check);
    object_free(instance);
}

void
api_check_outgoing(struct api_call *call)
{
    struct object *instance = NULL, *data = NULL;
    struct error *error = object_parse(json_get(api_args(call), "instance"),
                                       "Instance", &instance);

    if (!error) {
        error = migrate_data_parse(json_get(api_args(call), "data"), &data);
    }
    if (!error && !object_string(instance, "uuid")) {
        error = error_new(ERR_VALUE, "the instance has no UUID");
    }
    if (!error) {
        struct check_call *check = check_call_create(call);
        struct check_source_request request = {
            .context = api_context(call),
            .instance = instance,
            .data = data,
            .dest = object_string(data, CHECK_DEST_FIELD),
            .report = check->report,
        };
        check_source(api_agent(call), &request, api_log(call), checked, check);
    } else {
        api_fail(call, error);
    }
    object_free(instance);
    object_free(data);
}

static void
foreseen(void *aux, struct json *forecast)
{
    api_reply(aux, forecast);
}

void
api_forecast(struct api_call *call)
{
    const struct object *instance;
    AUTO_SETTINGS settings = MIGRATE_SETTINGS_NONE;
    struct forecaster_request request = {
        .dest = api_text(call, "dest"),
        .settings = &settings,
    };
    struct error *error =
        api_find_instance(call, api_text(call, "instance"), &instance);

    if (!error) {
        error = api_tristate(call, "block_migration", &request.block_migration);
    }
    if (!error) {
        error = migrate_settings_parse(json_get(api_args(call), "settings"),
                                       &settings);
    }
    if (!error) {
        error = migrate_settings_check(&settings, api_agent(call)->conf);
    }
    if (error) {
        api_fail(call, error);
        return;
    }
    request.uuid = object_string(instance, "uuid");
    forecaster_start(api_agent(call), &request, api_context(call),
                     api_log(call), foreseen, call);
}
