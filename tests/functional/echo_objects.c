#include <config.h>

#include "tests/functional/echo_objects.h"

#include <stdlib.h>
#include <string.h>

#include "rpc/gate.h"

struct echo_objects {
    struct conductor *conductor;
    struct gate *gate; /* Null: no server. */
};

/* A method of an object under way. */
struct action {
    struct object *object;
    rpc_done *done;
    void *aux;
};

static void look(void *aux, struct request *);
static void tally(void *aux, struct request *);
static void acted(void *aux, struct json **result, struct error *error);
static struct json *parse(const char *text);

const struct rpc_method echo_object_methods[] = {
    {"look", {{"object", true}, {"instance"}}, look},
    {"tally", {{"objects", true}}, tally},
    {NULL},
};

struct echo_objects *
echo_objects_create(struct rpc_client *client, struct rpc_server *server,
                    const struct json *own, unsigned timeout_ms)
{
    struct echo_objects *objects = xzalloc(sizeof *objects);
    const struct conductor_options options = {
        .timeout_ms = timeout_ms,
        .own_versions = own,
    };

    objects->conductor = conductor_create(client, &options);
    if (server) {
        objects->gate = gate_create(server, objects->conductor, timeout_ms);
    }
    return objects;
}

void
echo_objects_close(struct echo_objects *objects)
{
    if (objects) {
        if (objects->gate) {
            gate_close(objects->gate);
        }
        conductor_close(objects->conductor);
        free(objects);
    }
}

bool
echo_objects_act(struct echo_objects *objects, const char *command, char **args,
                 rpc_done *done, void *aux)
{
    if (!args[0] || !args[1]) {
        return false;
    }
    AUTO_JSON words = parse(args[2] ? args[2] : "{}");
    if (str_eq(command, "class")) {
        conductor_class_action(objects->conductor, NULL, args[0], args[1],
                               json_get(words, "args"),
                               json_get(words, "kwargs"), done, aux);
        return true;
    }
    AUTO_JSON primitive = parse(args[0]);
    struct action *action = xzalloc(sizeof *action);
    struct error *error = object_parse(primitive, NULL, &action->object);

    action->done = done;
    action->aux = aux;
    if (error) {
        struct json *none = NULL;
        acted(action, &none, error);
    } else {
        conductor_object_action(objects->conductor, NULL, action->object,
                                args[1], json_get(words, "args"),
                                json_get(words, "kwargs"), acted, action);
    }
    return true;
}

static void
acted(void *aux, struct json **result, struct error *error)
{
    struct action *action = aux;
    struct json *both = NULL;

    if (!error) {
        both = json_object();
        json_set(both, "object", json_copy(object_json(action->object)));
        json_set(both, "result", steal(result));
    }
    action->done(action->aux, &both, error);
    json_free(both);
    object_free(action->object);
    free(action);
}

/* {"object": the primitive, "version": ..., "integers": {field: value},
 * "instants": {field: microseconds}} */
static void
look(void *aux UNUSED, struct request *request)
{
    AUTO_OBJECT object = NULL;
    struct error *error =
        object_parse(request_arg(request, "object"), NULL, &object);

    if (error) {
        request_fail(request, error);
        return;
    }
    struct json *result = json_object();
    struct json *integers = json_object(), *instants = json_object();
    json_set_string(result, "version", object_version(object));
    json_set(result, "object", json_copy(object_json(object)));
    json_set(result, "integers", integers);
    json_set(result, "instants", instants);
    json_for_each (field, json_get(object_json(object), "nova_object.data")) {
        const char *name = json_name(field);
        int64_t us;

        if (json_is_int(field)) {
            json_set_int(integers, name, object_int(object, name));
        } else if (object_parse_datetime(object_string(object, name), &us)) {
            json_set_int(instants, name, us);
        }
    }
    request_reply(request, result);
}

static void
tally(void *aux UNUSED, struct request *request)
{
    AUTO_OBJECT list = NULL;
    struct error *error =
        object_parse(request_arg(request, "objects"), NULL, &list);

    if (error) {
        request_fail(request, error);
    } else {
        request_reply(request,
                      json_uint(json_size(object_get(list, "objects"))));
    }
}

static struct json *
parse(const char *text)
{
    struct json *json = NULL;
    AUTO_ERROR error = json_parse(text, strlen(text), &json);

    if (error) {
        abort(); /* A mistake of the test. */
    }
    return json;
}
