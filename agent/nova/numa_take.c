#include <config.h>

#include "agent/nova/numa_take.h"

#include <stdlib.h>

#include "agent/nova/primitive.h"

struct taking {
    struct records *records;
    struct completion_queue *q;
    struct json *context;
    struct object *instance;
    struct records_answer *answer;
};

static void context_known(void *aux, struct json **result,
                          struct object *object, struct error *error);
static void topology_saved(void *aux, struct error *error,
                           struct object *instance);
static void drop(struct taking *taking);
static void finish(void *aux, struct error *error, struct object *instance);

void
numa_take(const struct numa_take_place *place, const struct json *context,
          const struct object *instance, records_object_done *done, void *aux)
{
    struct taking *taking = xzalloc(sizeof *taking);
    const struct conductor_work_request request = {
        .context = context,
        .class_name = "MigrationContext",
        .method = "get_by_instance_uuid",
        .args = json_append(json_array(),
                            json_string(object_string(instance, "uuid"))),
        .patience_ms = place->patience_ms,
    };

    taking->records = place->records;
    taking->q = place->q;
    taking->context = json_copy(context);
    taking->instance = object_copy(instance);
    taking->answer = records_answer_create(aux);
    taking->answer->object_done = done;
    conductor_work_start(place->works, &request, context_known, taking);
}

/* None: it was taken before, or the source made no use of one. */
static void
context_known(void *aux, struct json **result, struct object *object UNUSED,
              struct error *error)
{
    static const char *const expected[] = {"migrating", NULL};
    struct taking *taking = aux;
    const struct json *topology =
        error ? NULL : primitive_get(*result, "new_numa_topology");

    if (error && !str_eq(error_class_name(error), "MigrationContextNotFound")) {
        finish(taking, error, NULL);
        return;
    }
    error_free(error);
    if (!json_is_object(topology)) {
        drop(taking);
        return;
    }
    AUTO_OBJECT change = object_copy(taking->instance);
    object_clear_changes(change);
    object_set(change, "numa_topology", json_copy(topology));
    object_set_changed(change, "numa_topology");
    object_set(taking->instance, "numa_topology", json_copy(topology));
    object_clear_change(taking->instance, "numa_topology");
    taking->records->ops->instance_save(taking->records->state, taking->context,
                                        change, expected, topology_saved,
                                        taking);
}

/* One who settled it otherwise is found by the save that says where it is. */
static void
topology_saved(void *aux, struct error *error, struct object *instance)
{
    struct taking *taking = aux;

    object_free(instance);
    if (error && error_code(error) != ERR_UNEXPECTED_TASK_STATE) {
        finish(taking, error, NULL);
        return;
    }
    error_free(error);
    drop(taking);
}

static void
drop(struct taking *taking)
{
    taking->records->ops->instance_drop_claim(taking->records->state,
                                              taking->context, taking->instance,
                                              finish, taking);
}

static void
finish(void *aux, struct error *error, struct object *instance)
{
    struct taking *taking = aux;

    taking->answer->error = error;
    taking->answer->object = instance;
    records_answer_post(taking->answer, taking->q);
    json_free(taking->context);
    object_free(taking->instance);
    free(taking);
}
