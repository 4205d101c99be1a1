#include <config.h>

#include "agent/nova/attach_nova.h"

#include <stdlib.h>

#include "agent/agent.h"
#include "agent/base/completion.h"
#include "agent/migrate/data.h"
#include "agent/nova/cloud.h"
#include "agent/nova/info_cache.h"
#include "agent/nova/nova.h"
#include "agent/nova/ports.h"

LOG_MODULE(nova_attach);

/* One of the functions of 'vif_nova': its stages one after the other. */
struct job {
    struct agent *agent;
    struct json *context;
    struct object *instance, *data;
    void (*const *next)(struct job *job); /* Ends with null. */
    bool goes_on; /* After a failure, too; the first is told. */
    struct error *error;
    attach_done *done;
    void *aux;
};
typedef void stage(struct job *job);

/* What is asked for when the services are closed already. */
struct late_call {
    struct completion completion;
    attach_done *done;
    void *aux;
};

static void staged(void *aux, struct error *error);

static void
refused(struct completion *c)
{
    struct late_call *late = container_of(c, struct late_call, completion);

    late->done(late->aux, error_new(ERR_CANCELLED, "the agent is stopping"));
    free(late);
}

/* True: 'done' will be told so. */
static bool
refuse(struct agent *agent, attach_done *done, void *aux)
{
    if (agent->nova->cloud) {
        return false;
    }
    struct late_call *late = xzalloc(sizeof *late);
    late->completion.deliver = refused;
    late->done = done;
    late->aux = aux;
    completion_post(agent->q, &late->completion);
    return true;
}

static void
begin(stage *const *stages, bool goes_on, struct agent *agent,
      const struct json *context, const struct object *instance,
      const struct object *data, attach_done *done, void *aux)
{
    if (refuse(agent, done, aux)) {
        return;
    }
    struct job *job = xzalloc(sizeof *job);
    job->agent = agent;
    job->context = json_copy(context);
    job->instance = object_copy(instance);
    job->data = object_copy(data);
    job->next = stages;
    job->goes_on = goes_on;
    job->done = done;
    job->aux = aux;
    (*job->next++)(job);
}

static void
staged(void *aux, struct error *error)
{
    struct job *job = aux;

    if (error && job->error) {
        log_warn(NULL, "instance '%s': %s",
                 object_string(job->instance, "uuid"), error_message(error));
        error_free(error);
    } else if (error) {
        job->error = error;
    }
    bool is_open = job->agent->nova->cloud;
    if (*job->next && !is_open && !job->error) {
        job->error = error_new(ERR_CANCELLED, "the agent is stopping");
    }
    if (*job->next && is_open && (!job->error || job->goes_on)) {
        (*job->next++)(job);
        return;
    }
    job->done(job->aux, steal(&job->error));
    json_free(job->context);
    object_free(job->instance);
    object_free(job->data);
    free(job);
}

/* ---- Stages ---------------------------------------------------------------
 */

static struct ports_of
ports_of(const struct job *job)
{
    return (struct ports_of){
        .neutron = job->agent->nova->cloud->neutron,
        .context = job->context,
        .instance = object_string(job->instance, "uuid"),
        .project = object_string(job->instance, "project_id"),
    };
}

/* Where the guest was when the request was made. */
static const char *
source_of(const struct job *job)
{
    return object_string(job->instance, "host");
}

/* At the source: where its ports have bindings to; null: they have none. */
static const char *
dest_of(const struct job *job)
{
    const struct json *migration =
        json_get(migrate_data_migration(job->data), "nova_object.data");

    return migrate_data_n_vifs(job->data) > 0
               ? json_string_of(migration, "dest_compute")
               : NULL;
}

static void
plug(struct job *job)
{
    vif_host.plug_dest(job->agent, job->context, job->instance, job->data,
                       staged, job);
}

static void
unplug(struct job *job)
{
    vif_host.unplug_dest(job->agent, job->context, job->instance, job->data,
                         staged, job);
}

static void
mark(struct job *job)
{
    struct ports_of of = ports_of(job);

    ports_set_migrating(&of, source_of(job), job->agent->conf->host, staged,
                        job);
}

static void
unmark(struct job *job)
{
    struct ports_of of = ports_of(job);

    ports_set_migrating(&of, source_of(job), NULL, staged, job);
}

static void
activate(struct job *job)
{
    struct ports_of of = ports_of(job);
    const char *dest = dest_of(job);
    AUTO_JSON ids = json_array();

    for (size_t i = 0; dest && i < migrate_data_n_vifs(job->data); i++) {
        json_append(ids, json_string(migrate_data_vif(job->data, i).port_id));
    }
    ports_activate(&of, ids, dest ? dest : "", staged, job);
}

static void
settle(struct job *job)
{
    struct ports_of of = ports_of(job);
    const char *zone = object_string(job->instance, "availability_zone");

    ports_settle(&of, job->agent->conf->host,
                 zone ? zone : job->agent->conf->availability_zone, staged,
                 job);
}

/* The record of what the ports are; one that is not written now is looked after
 * later. */
static void
refreshed(void *aux, struct error *error)
{
    struct job *job = aux;

    if (error) {
        log_warn(NULL, "instance '%s': what is recorded of its ports: %s",
                 object_string(job->instance, "uuid"), error_message(error));
        error_free(error);
    }
    staged(job, NULL);
}

static void
refresh(struct job *job)
{
    const struct info_request request = {
        .context = job->context,
        .instance = object_string(job->instance, "uuid"),
        .project = object_string(job->instance, "project_id"),
        .scope = INFO_KNOWN,
    };

    info_cache_refresh(job->agent->nova->info_cache, &request, refreshed, job);
}

/* Those of the host that the guest left; they are on this one now. */
static void
release_source(struct job *job)
{
    struct ports_of of = ports_of(job);

    ports_release(&of, job->agent->conf->host, source_of(job), staged, job);
}

static void
release_dest(struct job *job)
{
    struct ports_of of = ports_of(job);

    ports_release(&of, source_of(job), job->agent->conf->host, staged, job);
}

/* The same from the source's side, as a Nova that shares the directory is not
 * told of the roll-back. */
static void
release_there(struct job *job)
{
    struct ports_of of = ports_of(job);
    const char *dest = dest_of(job);

    ports_release(&of, source_of(job), dest ? dest : source_of(job), staged,
                  job);
}

/* ---- Tables ---------------------------------------------------------------
 */

/* Those that the conductor told of, or that the instance is known to have.
 * Neutron is not asked about a guest without. */
static bool
has_ports(const struct object *instance, const struct object *data)
{
    const struct json *cache =
        json_get(object_get(instance, "info_cache"), "nova_object.data");
    const char *text = json_string_of(cache, "network_info");

    return migrate_data_n_vifs(data) > 0 ||
           (text && *text && !str_eq(text, "[]"));
}

static void
plug_dest(struct agent *agent, const struct json *context,
          const struct object *instance, const struct object *data,
          attach_done *done, void *aux)
{
    static stage *const stages[] = {plug, mark, NULL};

    if (has_ports(instance, data)) {
        begin(stages, false, agent, context, instance, data, done, aux);
    } else {
        vif_host.plug_dest(agent, context, instance, data, done, aux);
    }
}

static void
unplug_dest(struct agent *agent, const struct json *context,
            const struct object *instance, const struct object *data,
            attach_done *done, void *aux)
{
    static stage *const stages[] = {unplug, unmark, release_dest, NULL};

    if (has_ports(instance, data)) {
        begin(stages, true, agent, context, instance, data, done, aux);
    } else {
        vif_host.unplug_dest(agent, context, instance, data, done, aux);
    }
}

/* They are bound to this host before it is asked for anything. */
static void
unbind_dest(struct agent *agent, const struct json *context,
            const struct object *instance, const struct object *data,
            attach_done *done, void *aux)
{
    static stage *const stages[] = {unmark, release_dest, NULL};

    if (has_ports(instance, data) &&
        !str_eq(object_string(instance, "host"), agent->conf->host)) {
        begin(stages, true, agent, context, instance, data, done, aux);
    } else {
        vif_host.unbind_dest(agent, context, instance, data, done, aux);
    }
}

static void
activate_dest(struct agent *agent, const struct json *context,
              const struct object *instance, const struct object *data,
              attach_done *done, void *aux)
{
    static stage *const stages[] = {activate, NULL};

    if (has_ports(instance, data)) {
        begin(stages, false, agent, context, instance, data, done, aux);
    } else {
        vif_host.activate_dest(agent, context, instance, data, done, aux);
    }
}

static void
restore_source(struct agent *agent, const struct json *context,
               const struct object *instance, const struct object *data,
               attach_done *done, void *aux)
{
    static stage *const stages[] = {unmark, release_there, NULL};

    if (has_ports(instance, data)) {
        begin(stages, true, agent, context, instance, data, done, aux);
    } else {
        vif_host.restore_source(agent, context, instance, data, done, aux);
    }
}

static void
unplug_source(struct agent *agent, const struct json *context,
              const struct object *instance, const struct object *data,
              attach_done *done, void *aux)
{
    vif_host.unplug_source(agent, context, instance, data, done, aux);
}

static void
settle_dest(struct agent *agent, const struct json *context,
            const struct object *instance, const struct object *data,
            attach_done *done, void *aux)
{
    static stage *const stages[] = {unmark, settle, refresh, release_source,
                                    NULL};

    if (has_ports(instance, data)) {
        begin(stages, false, agent, context, instance, data, done, aux);
    } else {
        vif_host.settle_dest(agent, context, instance, data, done, aux);
    }
}

const struct vif_ops vif_nova = {
    .plug_dest = plug_dest,
    .unplug_dest = unplug_dest,
    .unbind_dest = unbind_dest,
    .activate_dest = activate_dest,
    .restore_source = restore_source,
    .unplug_source = unplug_source,
    .settle_dest = settle_dest,
};

static void
give_back(struct agent *agent, const struct json *context,
          const char *instance_uuid, const char *migration_uuid,
          attach_done *done, void *aux)
{
    if (!cloud_has_placement(agent->conf)) {
        allocation_host.give_back(agent, context, instance_uuid, migration_uuid,
                                  done, aux);
        return;
    }
    if (refuse(agent, done, aux)) {
        return;
    }
    placement_allocations_move(agent->nova->cloud->placement, context,
                               migration_uuid, instance_uuid, done, aux);
}

static void
release(struct agent *agent, const struct json *context,
        const char *instance_uuid, const char *migration_uuid,
        attach_done *done, void *aux)
{
    if (!cloud_has_placement(agent->conf)) {
        allocation_host.release(agent, context, instance_uuid, migration_uuid,
                                done, aux);
        return;
    }
    if (refuse(agent, done, aux)) {
        return;
    }
    placement_allocations_delete(agent->nova->cloud->placement, context,
                                 migration_uuid, done, aux);
}

const struct allocation_ops allocation_nova = {
    .give_back = give_back,
    .release = release,
};
