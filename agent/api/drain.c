#include <config.h>

#include "agent/api/methods.h"

#include "agent/conduct.h"
#include "agent/drain/drain.h"
#include "agent/drain/survey.h"
#include "agent/migrate/migration.h"
#include "rpc/uuid.h"

/* What droverctl can do with the drain of this host, and what that asks of
 * other agents. */

static void
answer(void *aux, struct error *error)
{
    struct api_call *call = aux;

    if (error) {
        api_fail(call, error);
    } else {
        api_reply(call, drain_describe(api_agent(call)));
    }
}

static void
surveyed(void *aux, struct error *error, struct json *plan)
{
    if (error) {
        api_fail(aux, error);
    } else {
        api_reply(aux, plan);
    }
}

static struct error *
check_names(const struct json *to)
{
    if (!json_is_array(to)) {
        return error_new(ERR_VALUE, "'to' is no list of hosts");
    }
    json_for_each (name, to) {
        if (!json_is_string(name)) {
            return error_new(ERR_VALUE, "'to' is no list of hosts");
        }
    }
    return NULL;
}

void
api_drain_plan(struct api_call *call)
{
    const struct json *to = json_get(api_args(call), "to");
    struct error *error = NULL;

    if (json_is_null(to)) {
        to = NULL;
    }
    if (!api_agent(call)->local) {
        error = error_new(ERR_NOT_IMPLEMENTED,
                          "the hosts of a control plane are drained there");
    } else if (to) {
        error = check_names(to);
    }
    if (error) {
        api_fail(call, error);
    } else {
        drain_survey(api_agent(call), api_context(call), to, api_log(call),
                     surveyed, call);
    }
}

void
api_drain_start(struct api_call *call)
{
    drain_start(api_agent(call), json_get(api_args(call), "plan"),
                api_log(call), answer, call);
}

void
api_drain_resume(struct api_call *call)
{
    answer(call,
           drain_resume(api_agent(call), json_get(api_args(call), "plan")));
}

void
api_drain_stop(struct api_call *call)
{
    answer(call, drain_stop(api_agent(call)));
}

void
api_drain_restore(struct api_call *call)
{
    answer(call, drain_restore(api_agent(call)));
}

void
api_drain_end(struct api_call *call)
{
    answer(call, drain_end(api_agent(call)));
}

void
api_drain_show(struct api_call *call)
{
    struct json *json = drain_describe(api_agent(call));

    if (json) {
        api_reply(call, json);
    } else {
        api_fail(call, error_new(ERR_NOT_FOUND, "host '%s' is not drained",
                                 api_agent(call)->conf->host));
    }
}

static void
migration_known(void *aux, struct error *error, struct object *record)
{
    struct api_call *call = aux;

    if (error_code(error) == ERR_MIGRATION_NOT_FOUND) {
        error_free(error);
        api_migrate(call);
    } else if (error) {
        api_fail(call, error);
    } else {
        api_reply(call, migration_describe(api_agent(call), record));
        object_free(record);
    }
}

/* Who names the migration may ask again, as he does not know whether the first
 * time was heard: it is answered as if it had been the only one. */
void
api_migrate_once(struct api_call *call)
{
    struct agent *agent = api_agent(call);
    const char *uuid = api_text(call, "uuid");

    if (!uuid || !uuid_is_valid(uuid)) {
        api_fail(call, error_new(ERR_VALUE, "the migration has no UUID"));
    } else if (conduct_is_under_way(agent, uuid)) {
        struct json *json = json_object();
        json_set_string(json, "uuid", uuid);
        json_set_string(json, "status", "accepted");
        api_reply(call, json);
    } else {
        agent->records->ops->migration_get(agent->records->state,
                                           api_context(call), 0, uuid,
                                           migration_known, call);
    }
}
