#include <config.h>

#include "agent/nova/records_conductor.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/completion.h"
#include "agent/base/log.h"
#include "agent/nova/numa_take.h"
#include "agent/records_answer.h"
#include "rpc/uuid.h"

LOG_MODULE(records);

/* Of a host's migrations no more are listed. */
#define MIGRATIONS_MAX 200

/* What the database has room for. */
#define FAULT_MESSAGE_MAX 255

struct records_conductor {
    struct records records;
    struct completion_queue *q;
    struct conductor_works *works;
    char *host;
    unsigned read_patience_ms, save_patience_ms;
};

/* What nobody waits for; to be named if it fails. */
struct unheard {
    const char *what;
    char *uuid;
};

/* An answer under way. */
struct asking {
    struct records_conductor *records;
    struct records_answer *answer;
    const char *item; /* The class of what is asked for, or in the list. */
};

static void instance_get(void *state, const struct json *context,
                         const char *uuid, records_object_done *done,
                         void *aux);
static void instance_list(void *state, const struct json *context,
                          records_list_done *done, void *aux);
static void instance_save(void *state, const struct json *context,
                          const struct object *instance,
                          const char *const *expected,
                          records_object_done *done, void *aux);
static void instance_drop_claim(void *state, const struct json *context,
                                const struct object *instance,
                                records_object_done *done, void *aux);
static void instance_take_claim(void *state, const struct json *context,
                                const struct object *instance,
                                records_object_done *done, void *aux);
static void migration_create(void *state, const struct json *context,
                             const struct object *migration,
                             records_object_done *done, void *aux);
static void migration_save(void *state, const struct json *context,
                           const struct object *migration,
                           records_object_done *done, void *aux);
static void migration_get(void *state, const struct json *context, int64_t id,
                          const char *uuid, records_object_done *done,
                          void *aux);
static void migration_list(void *state, const struct json *context,
                           const char *instance_uuid, records_list_done *done,
                           void *aux);
static void event_start(void *state, const struct json *context,
                        const char *instance_uuid, const char *event);
static void event_finish(void *state, const struct json *context,
                         const char *instance_uuid, const char *event,
                         const struct error *error);
static void fault_create(void *state, const struct json *context,
                         const char *instance_uuid, const struct error *error);
static void instance_moved_away(void *state, const char *uuid, const char *dest,
                                records_done *done, void *aux);

static void get_object(struct records_conductor *records,
                       const struct json *context, const char *class_name,
                       const char *method, struct json *args,
                       struct json *kwargs, records_object_done *done,
                       void *aux);
static void save_object(struct records_conductor *records,
                        const struct conductor_work_request *request,
                        records_object_done *done, void *aux);
static struct asking *asking_create(struct records_conductor *records,
                                    const char *item,
                                    records_object_done *object_done,
                                    records_list_done *list_done, void *aux);
static void object_got(void *aux, struct json **result, struct object *object,
                       struct error *error);
static void list_got(void *aux, struct json **result, struct object *object,
                     struct error *error);
static struct error *take_list(struct asking *asking,
                               const struct json *result);
static void object_saved(void *aux, struct json **result, struct object *object,
                         struct error *error);
static void answer(struct asking *asking, struct error *error);
static struct error *as_ours(struct error *error);
static void tell(struct records_conductor *records,
                 const struct conductor_work_request *request, const char *what,
                 const char *uuid);
static void told(void *aux, struct json **result, struct object *object,
                 struct error *error);
static struct json *expected_states(const char *const *expected);
static char *fault_message(const struct error *error);
static struct json *one_arg(const char *text);
static struct json *attributes(const char *const *names);

static const struct records_ops ops = {
    .instance_get = instance_get,
    .instance_list = instance_list,
    .instance_save = instance_save,
    .instance_drop_claim = instance_drop_claim,
    .instance_take_claim = instance_take_claim,
    .migration_create = migration_create,
    .migration_save = migration_save,
    .migration_get = migration_get,
    .migration_list = migration_list,
    .event_start = event_start,
    .event_finish = event_finish,
    .fault_create = fault_create,
    .instance_moved_away = instance_moved_away,
};

struct records_conductor *
records_conductor_create(const struct records_conductor_options *options)
{
    struct records_conductor *records = xzalloc(sizeof *records);

    records->records.ops = &ops;
    records->records.state = records;
    records->q = options->q;
    records->works = options->works;
    records->host = xstrdup(options->host);
    records->read_patience_ms = options->read_patience_ms;
    records->save_patience_ms = options->save_patience_ms;
    return records;
}

void
records_conductor_free(struct records_conductor *records)
{
    if (records) {
        free(records->host);
        free(records);
    }
}

struct records *
records_conductor_records(struct records_conductor *records)
{
    return &records->records;
}

void
records_conductor_list(struct records_conductor *records,
                       const struct json *context, const char *class_name,
                       const char *method, struct json *args,
                       struct json *kwargs, records_list_done *done, void *aux)
{
    const char *item =
        str_eq(class_name, "InstanceList") ? "Instance" : "Migration";
    const struct conductor_work_request request = {
        .context = context,
        .class_name = class_name,
        .method = method,
        .args = args,
        .kwargs = kwargs,
        .patience_ms = records->read_patience_ms,
    };

    conductor_work_start(records->works, &request, list_got,
                         asking_create(records, item, NULL, done, aux));
}

void
records_conductor_get_bare(struct records_conductor *records,
                           const struct json *context, const char *uuid,
                           records_object_done *done, void *aux)
{
    static const char *const none[] = {NULL};

    get_object(records, context, "Instance", "get_by_uuid", one_arg(uuid),
               attributes(none), done, aux);
}

void
records_conductor_destroy(struct records_conductor *records,
                          const struct json *context,
                          const struct object *instance,
                          records_object_done *done, void *aux)
{
    const struct conductor_work_request request = {
        .context = context,
        .object = instance,
        .method = "destroy",
    };

    save_object(records, &request, done, aux);
}

/* The entries. */

/* With all that notifications and messages tell of it. */
static void
instance_get(void *state, const struct json *context, const char *uuid,
             records_object_done *done, void *aux)
{
    static const char *const names[] = {"flavor", "info_cache", "metadata",
                                        "system_metadata", NULL};

    get_object(state, context, "Instance", "get_by_uuid", one_arg(uuid),
               attributes(names), done, aux);
}

static void
instance_list(void *state, const struct json *context, records_list_done *done,
              void *aux)
{
    static const char *const names[] = {"flavor", NULL};
    struct records_conductor *records = state;

    records_conductor_list(records, context, "InstanceList", "get_by_host",
                           one_arg(records->host), attributes(names), done,
                           aux);
}

static void
instance_save(void *state, const struct json *context,
              const struct object *instance, const char *const *expected,
              records_object_done *done, void *aux)
{
    const struct conductor_work_request request = {
        .context = context,
        .object = instance,
        .method = "save",
        .kwargs = expected ? expected_states(expected) : NULL,
    };

    save_object(state, &request, done, aux);
}

static void
instance_drop_claim(void *state, const struct json *context,
                    const struct object *instance, records_object_done *done,
                    void *aux)
{
    const struct conductor_work_request request = {
        .context = context,
        .object = instance,
        .method = "drop_migration_context",
    };

    save_object(state, &request, done, aux);
}

/* Only nodes are claimed. */
static void
instance_take_claim(void *state, const struct json *context,
                    const struct object *instance, records_object_done *done,
                    void *aux)
{
    struct records_conductor *records = state;
    const struct numa_take_place place = {
        .works = records->works,
        .q = records->q,
        .host = records->host,
        .patience_ms = records->read_patience_ms,
    };

    numa_take(&place, context, instance, done, aux);
}

/* A second one would be another migration: if the answer is lost, so is it. */
static void
migration_create(void *state, const struct json *context,
                 const struct object *migration, records_object_done *done,
                 void *aux)
{
    AUTO_OBJECT copy = object_copy(migration);
    char uuid[UUID_SIZE];
    const struct conductor_work_request request = {
        .context = context,
        .object = copy,
        .method = "create",
        .only_once = true,
    };

    if (!object_string(copy, "uuid")) {
        object_set_string(copy, "uuid", uuid_generate_text(uuid));
    }
    save_object(state, &request, done, aux);
}

static void
migration_save(void *state, const struct json *context,
               const struct object *migration, records_object_done *done,
               void *aux)
{
    const struct conductor_work_request request = {
        .context = context,
        .object = migration,
        .method = "save",
    };

    save_object(state, &request, done, aux);
}

static void
migration_get(void *state, const struct json *context, int64_t id,
              const char *uuid, records_object_done *done, void *aux)
{
    struct json *args = json_array();

    json_append(args, uuid ? json_string(uuid) : json_int(id));
    get_object(state, context, "Migration", uuid ? "get_by_uuid" : "get_by_id",
               args, NULL, done, aux);
}

static void
migration_list(void *state, const struct json *context,
               const char *instance_uuid, records_list_done *done, void *aux)
{
    struct records_conductor *records = state;
    struct json *filters = json_object(), *kwargs = json_object();
    struct json *keys = json_array(), *directions = json_array();

    json_set_string(filters, "host", records->host);
    if (instance_uuid) {
        json_set_string(filters, "instance_uuid", instance_uuid);
    }
    json_append(keys, json_string("id"));
    json_append(directions, json_string("desc"));
    json_set(kwargs, "sort_keys", keys);
    json_set(kwargs, "sort_dirs", directions);
    json_set_int(kwargs, "limit", MIGRATIONS_MAX);
    records_conductor_list(records, context, "MigrationList", "get_by_filters",
                           json_append(json_array(), filters), kwargs, done,
                           aux);
}

static void
event_start(void *state, const struct json *context, const char *instance_uuid,
            const char *event)
{
    struct records_conductor *records = state;
    struct json *kwargs = json_object();
    const struct conductor_work_request request = {
        .context = context,
        .class_name = "InstanceActionEvent",
        .method = "event_start",
        .args = json_append(one_arg(instance_uuid), json_string(event)),
        .kwargs = kwargs,
        .only_once = true,
    };

    json_set_bool(kwargs, "want_result", false);
    json_set_string(kwargs, "host", records->host);
    tell(records, &request, "start of an action's event", instance_uuid);
}

/* It is a failure for the conductor if there is a traceback. */
static void
event_finish(void *state, const struct json *context, const char *instance_uuid,
             const char *event, const struct error *error)
{
    struct json *kwargs = json_object();
    const struct conductor_work_request request = {
        .context = context,
        .class_name = "InstanceActionEvent",
        .method = "event_finish_with_failure",
        .args = json_append(one_arg(instance_uuid), json_string(event)),
        .kwargs = kwargs,
    };
    AUTO_FREE text = error ? fault_message(error) : NULL;

    json_set(kwargs, "exc_val", json_string(text));
    json_set(kwargs, "exc_tb",
             json_string(error ? error_message(error) : NULL));
    json_set_bool(kwargs, "want_result", false);
    tell(state, &request, "end of an action's event", instance_uuid);
}

static void
fault_create(void *state, const struct json *context, const char *instance_uuid,
             const struct error *error)
{
    struct records_conductor *records = state;
    AUTO_OBJECT fault = object_create("InstanceFault", "1.2");
    AUTO_FREE text = fault_message(error);
    int code = error_class(error_code(error))->http_code;
    const struct conductor_work_request request = {
        .context = context,
        .object = fault,
        .method = "create",
        .only_once = true,
    };

    object_set_string(fault, "instance_uuid", instance_uuid);
    object_set_int(fault, "code", code ? code : 500);
    object_set_string(fault, "message", text);
    object_set_string(fault, "details", error_message(error));
    object_set_string(fault, "host", records->host);
    tell(records, &request, "fault", instance_uuid);
}

/* Nova keeps one record of it, which says where it is. */
static void
instance_moved_away(void *state, const char *uuid UNUSED,
                    const char *dest UNUSED, records_done *done, void *aux)
{
    struct records_conductor *records = state;
    struct records_answer *nothing = records_answer_create(aux);

    nothing->done = done;
    records_answer_post(nothing, records->q);
}

/* What they share. */

static void
get_object(struct records_conductor *records, const struct json *context,
           const char *class_name, const char *method, struct json *args,
           struct json *kwargs, records_object_done *done, void *aux)
{
    const struct conductor_work_request request = {
        .context = context,
        .class_name = class_name,
        .method = method,
        .args = args,
        .kwargs = kwargs,
        .patience_ms = records->read_patience_ms,
    };

    conductor_work_start(records->works, &request, object_got,
                         asking_create(records, class_name, done, NULL, aux));
}

static void
save_object(struct records_conductor *records,
            const struct conductor_work_request *request,
            records_object_done *done, void *aux)
{
    struct conductor_work_request keyed = *request;

    keyed.key = object_string(request->object, "uuid");
    keyed.patience_ms = records->save_patience_ms;
    conductor_work_start(
        records->works, &keyed, object_saved,
        asking_create(records, object_name(request->object), done, NULL, aux));
}

static struct asking *
asking_create(struct records_conductor *records, const char *item,
              records_object_done *object_done, records_list_done *list_done,
              void *aux)
{
    struct asking *asking = xzalloc(sizeof *asking);

    asking->records = records;
    asking->item =
        str_eq(item, "Migration") ? "Migration" : "Instance"; /* To keep. */
    asking->answer = records_answer_create(aux);
    asking->answer->object_done = object_done;
    asking->answer->list_done = list_done;
    return asking;
}

static void
object_got(void *aux, struct json **result, struct object *object UNUSED,
           struct error *error)
{
    struct asking *asking = aux;

    if (!error) {
        error =
            object_take(steal(result), asking->item, &asking->answer->object);
    }
    answer(asking, error);
}

static void
list_got(void *aux, struct json **result, struct object *object UNUSED,
         struct error *error)
{
    struct asking *asking = aux;

    if (!error) {
        error = take_list(asking, *result);
    }
    answer(asking, error);
}

static struct error *
take_list(struct asking *asking, const struct json *result)
{
    struct records_answer *list = asking->answer;
    const struct json *items =
        json_get(json_get(result, "nova_object.data"), "objects");
    struct error *error = NULL;

    if (!json_is_array(items)) {
        return error_new(ERR_BAD_MESSAGE, "the conductor's answer is no list");
    }
    list->objects = xcalloc(json_size(items), sizeof(struct object *));
    json_for_each (item, items) {
        error = object_parse(item, asking->item, &list->objects[list->n]);
        if (error) {
            break;
        }
        list->n++;
    }
    if (error) {
        while (list->n) {
            object_free(list->objects[--list->n]);
        }
        free(steal(&list->objects));
    }
    return error;
}

static void
object_saved(void *aux, struct json **result UNUSED, struct object *object,
             struct error *error)
{
    struct asking *asking = aux;

    asking->answer->object = object;
    answer(asking, error);
}

static void
answer(struct asking *asking, struct error *error)
{
    asking->answer->error = as_ours(error);
    records_answer_post(asking->answer, asking->records->q);
    free(asking);
}

/* One who saves while the instance is being deleted has lost as well. */
static struct error *
as_ours(struct error *error)
{
    if (!str_eq(error ? error_class_name(error) : NULL,
                "UnexpectedDeletingTaskStateError")) {
        return error;
    }
    struct error *ours =
        error_new(ERR_UNEXPECTED_TASK_STATE, "it is being deleted: %s",
                  error_message(error));
    for (size_t i = 0; i < error_n_args(error); i++) {
        struct error_arg arg = error_arg_at(error, i);
        error_set_arg(ours, arg.name, arg.value);
    }
    error_free(error);
    return ours;
}

/* In their order: a fault is there before the event ends. */
static void
tell(struct records_conductor *records,
     const struct conductor_work_request *request, const char *what,
     const char *uuid)
{
    struct conductor_work_request patient = *request;
    struct unheard *unheard = xzalloc(sizeof *unheard);
    AUTO_FREE key = xasprintf("told of %s", uuid);

    unheard->what = what;
    unheard->uuid = xstrdup(uuid);
    patient.key = key;
    patient.patience_ms = records->save_patience_ms;
    conductor_work_start(records->works, &patient, told, unheard);
}

static void
told(void *aux, struct json **result UNUSED, struct object *object,
     struct error *error)
{
    struct unheard *unheard = aux;

    if (error && error_code(error) != ERR_CANCELLED) {
        log_limited(LOG_LEVEL_WARN, NULL, "%s of '%s' is not recorded: %s",
                    unheard->what, unheard->uuid, error_message(error));
    }
    error_free(error);
    object_free(object);
    free(unheard->uuid);
    free(unheard);
}

static struct json *
expected_states(const char *const *expected)
{
    struct json *states = json_array();

    for (size_t i = 0; expected[i]; i++) {
        json_append(states, json_string(*expected[i] ? expected[i] : NULL));
    }
    return json_set(json_object(), "expected_task_state", states);
}

/* As it fits into the column, without cutting a character. */
static char *
fault_message(const struct error *error)
{
    AUTO_FREE text = error_text(error);
    size_t size = strlen(text);

    if (size > FAULT_MESSAGE_MAX) {
        size = FAULT_MESSAGE_MAX;
        while (size && ((unsigned char)text[size] & 0xc0) == 0x80) {
            size--;
        }
    }
    return xstrndup(text, size);
}

static struct json *
one_arg(const char *text)
{
    return json_append(json_array(), json_string(text));
}

static struct json *
attributes(const char *const *names)
{
    struct json *list = json_array();

    for (size_t i = 0; names[i]; i++) {
        json_append(list, json_string(names[i]));
    }
    return json_set(json_object(), "expected_attrs", list);
}
