#include <config.h>

#include "agent/api/methods.h"

#include <stdlib.h>

#include "agent/incoming/incoming.h"
#include "agent/migrate/data.h"
#include "rpc/uuid.h"

/* What the source of a guest at rest asks of us (agent/relocate.h). */

#define KEY "incoming:%s"

/* What begins, ends or turns back waits its turn at the instance. */
struct turn {
    struct api_call *call;
    struct object *instance, *data;
    enum migrate_kind kind;
    char *key;
    void (*start)(struct turn *turn);
};

static void
turn_end(struct turn *turn, struct json *result, struct error *error)
{
    instance_queue_leave(api_agent(turn->call)->queue,
                         object_string(turn->instance, "uuid"));
    if (error) {
        json_free(result);
        api_fail(turn->call, error);
    } else {
        api_reply(turn->call, result);
    }
    object_free(turn->instance);
    object_free(turn->data);
    free(turn->key);
    free(turn);
}

static void
turn_done(void *aux, struct error *error)
{
    turn_end(aux, NULL, error);
}

static void
turn_came(void *aux)
{
    struct turn *turn = aux;

    if (api_agent(turn->call)->ops) {
        turn->start(turn);
    } else { /* It was before us when the agent was freed. */
        turn_done(turn, error_new(ERR_CANCELLED, "the agent is stopping"));
    }
}

static struct error *
take_instance(const struct api_call *call, struct object **ret)
{
    struct object *instance = NULL;
    struct error *error = object_parse(json_get(api_args(call), "instance"),
                                       "Instance", &instance);
    const char *uuid = error ? NULL : object_string(instance, "uuid");

    if (!error && (!uuid || !uuid_is_valid(uuid))) {
        object_free(instance);
        error = error_new(ERR_VALUE, "the instance has no valid UUID");
    }
    if (!error) {
        *ret = instance;
    }
    return error;
}

static void
turn_enter(struct api_call *call, void (*start)(struct turn *turn))
{
    const char *migration = api_text(call, "migration");
    struct turn *turn = xzalloc(sizeof *turn);
    struct error *error =
        !migration || !uuid_is_valid(migration)
            ? error_new(ERR_VALUE, "the migration has no valid UUID")
            : take_instance(call, &turn->instance);

    if (!error && json_has(api_args(call), "data")) {
        error =
            migrate_data_parse(json_get(api_args(call), "data"), &turn->data);
    }
    if (!error) {
        error = migrate_kind_parse(api_text(call, "kind"), &turn->kind);
    }
    if (!error &&
        instance_queue_is_full(api_agent(call)->queue,
                               object_string(turn->instance, "uuid"))) {
        error = error_new(ERR_MIGRATION, "too much waits for the instance");
    }
    if (error) {
        object_free(turn->instance);
        object_free(turn->data);
        free(turn);
        api_fail(call, error);
        return;
    }
    turn->call = call;
    turn->key = xasprintf(KEY, migration);
    turn->start = start;
    instance_queue_enter(api_agent(call)->queue,
                         object_string(turn->instance, "uuid"), turn_came,
                         turn);
}

static struct incoming_request
request_of(struct turn *turn)
{
    return (struct incoming_request){
        .context = json_copy(api_context(turn->call)),
        .instance = object_copy(turn->instance),
        .data = steal(&turn->data),
        .kind = turn->kind == MIGRATE_LIVE ? MIGRATE_COLD : turn->kind,
        .key = turn->key,
    };
}

static void
prepared(void *aux, struct error *error, struct object *data)
{
    struct json *result = data ? json_copy(object_json(data)) : NULL;

    object_free(data);
    turn_end(aux, result, error);
}

static void
prepare(struct turn *turn)
{
    struct incoming_request request = request_of(turn);

    incoming_prepare(api_agent(turn->call), &request, api_log(turn->call),
                     prepared, turn);
}

void
api_relocate_prepare(struct api_call *call)
{
    turn_enter(call, prepare);
}

static void
roll_back(struct turn *turn)
{
    struct incoming_request request = request_of(turn);

    incoming_roll_back(api_agent(turn->call), &request, api_log(turn->call),
                       turn_done, turn);
}

void
api_relocate_roll_back(struct api_call *call)
{
    turn_enter(call, roll_back);
}

static void
take_over(struct turn *turn)
{
    incoming_rest_finish(api_agent(turn->call), turn->instance, turn->key,
                         turn_done, turn);
}

void
api_relocate_finish(struct api_call *call)
{
    turn_enter(call, take_over);
}

/* What happens in between comes from the one source, one after the other. */

static void
answer(void *aux, struct error *error)
{
    if (error) {
        api_fail(aux, error);
    } else {
        api_reply(aux, NULL);
    }
}

void
api_relocate_files(struct api_call *call)
{
    struct object *instance = NULL;
    struct error *error = take_instance(call, &instance);
    const char *name = api_text(call, "name");
    const char *definition = api_text(call, "definition");

    if (!error && (!name || !definition)) {
        error = error_new(ERR_VALUE, "the guest has no name or definition");
    }
    if (error) {
        object_free(instance);
        api_fail(call, error);
        return;
    }
    struct incoming_rest rest = {
        .disks = xstrdup_null(api_text(call, "disks")),
        .name = xstrdup(name),
        .definition = xstrdup(definition),
        .autostart = json_bool_of(api_args(call), "autostart"),
    };
    incoming_rest_files(api_agent(call), object_string(instance, "uuid"), &rest,
                        answer, call);
    object_free(instance);
}

static void
served(void *aux, struct error *error, char *place)
{
    struct api_call *call = aux;

    if (error) {
        api_fail(call, error);
        return;
    }
    struct json *json = json_object();
    json_set_string(json, "place", place);
    free(place);
    api_reply(call, json);
}

void
api_relocate_serve(struct api_call *call)
{
    struct object *instance = NULL;
    struct error *error = take_instance(call, &instance);
    const char *path = api_text(call, "path");

    if (!error && !path) {
        error = error_new(ERR_VALUE, "no file is named");
    }
    if (error) {
        api_fail(call, error);
    } else {
        incoming_rest_serve(api_agent(call), object_string(instance, "uuid"),
                            path, served, call);
    }
    object_free(instance);
}

void
api_relocate_seal(struct api_call *call)
{
    struct object *instance = NULL;
    struct error *error = take_instance(call, &instance);

    if (error) {
        api_fail(call, error);
    } else {
        incoming_rest_seal(api_agent(call), object_string(instance, "uuid"),
                           answer, call);
    }
    object_free(instance);
}
