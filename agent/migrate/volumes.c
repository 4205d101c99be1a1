#include <config.h>

#include "agent/migrate/volumes.h"

#include <stdlib.h>

#include "agent/attachments.h"
#include "agent/peer.h"

LOG_MODULE(migrate);

struct returning {
    struct agent *agent;
    struct json *volumes; /* Ids. */
    const struct json *at;
    char *dest;
    struct json *context;
    struct object *instance, *data; /* With what it has here. */
    void (*done)(void *aux);
    void *aux;
};

static void next(struct returning *r);

static const struct json *
volumes_of(const struct migration *m)
{
    return json_get(m->attachments, "volumes");
}

bool
migrate_volumes_any(const struct migration *m)
{
    return json_size(volumes_of(m)) > 0;
}

static void
restored(void *aux, struct error *error)
{
    struct returning *r = aux;

    if (error) {
        log_warn(NULL, "instance '%s': %s", object_string(r->instance, "uuid"),
                 error_message(error));
        error_free(error);
    }
    r->done(r->aux);
    json_free(r->volumes);
    json_free(r->context);
    object_free(r->instance);
    object_free(r->data);
    free(r->dest);
    free(r);
}

static void
removed(void *aux, struct json **result UNUSED, struct error *error)
{
    struct returning *r = aux;

    if (error) {
        log_warn(NULL, "instance '%s': '%s' keeps volume '%s': %s",
                 object_string(r->instance, "uuid"), r->dest,
                 json_get_string(r->at), error_message(error));
        error_free(error);
    }
    r->at = json_next(r->at);
    next(r);
}

static void
next(struct returning *r)
{
    if (!r->at || !r->agent->ops) { /* All, or the agent goes. */
        r->agent->volumes->restore_source(r->agent, r->context, r->instance,
                                          r->data, restored, r);
        return;
    }
    struct json *args = json_object();
    AUTO_OBJECT bare = object_copy(r->instance);
    object_unset(bare, ATTACHMENTS_FIELD);
    json_set(args, "instance", json_copy(object_json(bare)));
    json_set(args, "volume_id", json_copy(r->at));
    peer_call(r->agent, r->dest, "remove_volume_connection", args, r->context,
              PEER_SHORT, removed, r);
}

void
migrate_volumes_return(struct op *op, void (*done)(void *aux), void *aux)
{
    struct migration *m = op_data(op);
    struct returning *r = xzalloc(sizeof *r);

    r->agent = m->agent;
    r->volumes = json_array();
    json_for_each (row, volumes_of(m)) {
        json_append(r->volumes, json_copy(json_get(row, "volume_id")));
    }
    r->at = json_first(r->volumes);
    r->dest = xstrdup(m->dest);
    r->context = json_copy(m->context);
    r->instance = migration_attached_instance(m);
    r->data = object_copy(m->data);
    r->done = done;
    r->aux = aux;
    next(r);
}
