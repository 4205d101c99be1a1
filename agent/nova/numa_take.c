#include <config.h>

#include "agent/nova/numa_take.h"

#include <stdlib.h>

#include "agent/nova/primitive.h"

struct taking {
    struct completion_queue *q;
    const char *host;
    struct object *instance;
    struct records_answer *answer;
};

static void recorded(void *aux, struct json **result, struct object *object,
                     struct error *error);
static bool is_coming(const struct json *instance, const char *host);

void
numa_take(const struct numa_take_place *place, const struct json *context,
          const struct object *instance, records_object_done *done, void *aux)
{
    struct taking *taking = xzalloc(sizeof *taking);
    struct json *kwargs = json_object();
    const struct conductor_work_request request = {
        .context = context,
        .class_name = "Instance",
        .method = "get_by_uuid",
        .args = json_append(json_array(),
                            json_string(object_string(instance, "uuid"))),
        .kwargs = kwargs,
        .patience_ms = place->patience_ms,
    };

    json_set(kwargs, "expected_attrs",
             json_append(json_array(), json_string("migration_context")));
    taking->q = place->q;
    taking->host = place->host;
    taking->instance = object_copy(instance);
    taking->answer = records_answer_create(aux);
    taking->answer->object_done = done;
    conductor_work_start(place->works, &request, recorded, taking);
}

static void
recorded(void *aux, struct json **result, struct object *object UNUSED,
         struct error *error)
{
    struct taking *taking = aux;
    const struct json *record = error ? NULL : *result;
    const struct json *topology = primitive_get(
        primitive_get(record, "migration_context"), "new_numa_topology");

    if (json_is_object(topology) && is_coming(record, taking->host)) {
        object_set(taking->instance, "numa_topology", json_copy(topology));
        object_set_changed(taking->instance, "numa_topology");
    }
    taking->answer->error = error;
    taking->answer->object = error ? NULL : steal(&taking->instance);
    records_answer_post(taking->answer, taking->q);
    object_free(taking->instance);
    free(taking);
}

/* One that is settled may have begun to go elsewhere: that claim is not ours.
 */
static bool
is_coming(const struct json *instance, const char *host)
{
    return str_eq(primitive_string(instance, "task_state"), "migrating") &&
           !str_eq(primitive_string(instance, "host"), host);
}
