#include <config.h>

#include "agent/nova/volume_nova.h"

#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/attachments.h"
#include "agent/migrate/data.h"
#include "agent/nova/cloud.h"
#include "agent/nova/connector.h"
#include "agent/nova/nova.h"
#include "agent/nova/volume_records.h"
#include "agent/nova/volume_rows.h"

LOG_MODULE(nova_volume);

struct job {
    struct agent *agent;
    struct json *context;
    struct object *instance, *data; /* The latter may be null. */
    struct json *devices;           /* BlockDeviceMappingList */
    struct json *rows, *connector;
    struct json *at; /* The row that is worked on. */
    struct error *error;
    attach_keep *keep;
    attach_connected *connected;
    attach_noted *noted;
    attach_done *done;
    void *aux;
};

static struct job *
job_create(struct agent *agent, const struct json *context,
           const struct object *instance, const struct object *data, void *aux)
{
    struct job *job = xzalloc(sizeof *job);

    job->agent = agent;
    job->context = json_copy(context);
    job->instance = object_copy(instance);
    job->data = object_copy(data);
    job->aux = aux;
    return job;
}

/* Takes 'error'; the first one is told. */
static void
note(struct job *job, struct error *error)
{
    if (error && job->error) {
        log_warn(NULL, "instance '%s': %s",
                 object_string(job->instance, "uuid"), error_message(error));
        error_free(error);
    } else if (error) {
        job->error = error;
    }
}

static void
finish(struct job *job, struct error *error)
{
    note(job, error);
    error = steal(&job->error);
    if (job->connected) {
        job->connected(job->aux, error, error ? NULL : steal(&job->data));
    } else if (job->noted) {
        job->noted(job->aux, error, error ? NULL : steal(&job->rows));
    } else {
        job->done(job->aux, error);
    }
    json_free(job->context);
    object_free(job->instance);
    object_free(job->data);
    json_free(job->devices);
    json_free(job->rows);
    json_free(job->connector);
    free(job);
}

/* Null: it is closed, and the job over. */
static struct service *
cinder_of(struct job *job)
{
    struct cloud *cloud = job->agent->nova->cloud;

    if (!cloud) {
        finish(job, error_new(ERR_CANCELLED, "the agent is stopping"));
    }
    return cloud ? cloud->cinder : NULL;
}

static void
list(struct job *job, volume_records_done *listed)
{
    volume_records_list(job->agent->nova, job->context,
                        object_string(job->instance, "uuid"), listed, job);
}

/* ---- At the source: what it has -------------------------------------------
 */

static void
source_listed(void *aux, struct json *devices, struct error *error)
{
    struct job *job = aux;

    job->devices = devices;
    job->rows = json_object();
    json_set(job->rows, "volumes", volume_rows_of(devices, true));
    json_set(job->rows, "vifs", json_array());
    finish(job, error);
}

static void
note_source(struct agent *agent, const struct json *context,
            const struct object *instance, attach_noted *done, void *aux)
{
    struct job *job = job_create(agent, context, instance, NULL, aux);

    job->noted = done;
    list(job, source_listed);
}

/* ---- At the destination: attachments --------------------------------------
 */

static void next_attachment(struct job *job);
static void host_connected(void *aux, struct error *error, struct object *data);
static void next_completion(struct job *job);

static const char *
volume_at(const struct job *job)
{
    return json_string_of(job->at, "volume_id");
}

/* What is to be undone is in the migrate data before anything else is. */
static void
note_attachment(struct job *job, const char *attachment)
{
    const struct json *device =
        volume_rows_device(job->devices, volume_at(job));
    const struct json *info =
        json_get(json_get(device, "nova_object.data"), "connection_info");
    const char *old = json_string_of(job->at, "attachment_id");
    struct json *made =
        json_copy(object_get(job->data, ATTACHMENTS_MADE_FIELD));
    struct json *entry = json_object();

    json_set_string(entry, "volume_id", volume_at(job));
    json_set_string(entry, "old", old);
    json_set_string(entry, "new", attachment);
    json_set(entry, "info", json_copy(info));
    made = made ? made : json_array();
    json_append(made, entry);
    object_set(job->data, ATTACHMENTS_MADE_FIELD, made);
    migrate_data_set_old_vol_attachment_id(job->data, volume_at(job), old);
    json_set_string(job->at, "attachment_id", attachment);
    json_remove(job->at, "connection_info");
}

static void
attachment_saved(void *aux, struct error *error)
{
    struct job *job = aux;

    if (error) {
        finish(job, error);
    } else {
        job->at = json_next(job->at);
        next_attachment(job);
    }
}

static void
save_attachment(struct job *job)
{
    AUTO_FREE info = json_print(json_get(job->at, "connection_info"), NULL);

    volume_rows_tell(job->rows, job->data);
    volume_records_save(job->agent->nova, job->context,
                        volume_rows_device(job->devices, volume_at(job)),
                        json_string_of(job->at, "attachment_id"), info,
                        attachment_saved, job);
}

static void
attachment_got(void *aux, const struct cinder_attachment *attachment,
               struct error *error)
{
    struct job *job = aux;

    if (!error && !json_size(attachment->connection_info)) {
        error =
            error_new(ERR_CINDER_CONNECTION,
                      "attachment '%s' has no connection_info", attachment->id);
    }
    if (error) {
        finish(job, error);
        return;
    }
    volume_row_connect(job->at, attachment->connection_info);
    save_attachment(job);
}

/* The journal knows of it now. */
static void
attachment_kept(void *aux, struct error *error)
{
    struct job *job = aux;
    struct service *cinder = error ? NULL : cinder_of(job);

    if (error) {
        finish(job, error);
    } else if (cinder) {
        cinder_attachment_get(cinder, job->context,
                              json_string_of(job->at, "attachment_id"),
                              attachment_got, job);
    }
}

static void
attachment_made(void *aux, const struct cinder_attachment *attachment,
                struct error *error)
{
    struct job *job = aux;

    if (error) {
        finish(job, error_wrap(error, "attach volume '%s'", volume_at(job)));
        return;
    }
    note_attachment(job, attachment->id);
    job->keep(job->aux, job->data, attachment_kept, job);
}

static void
next_attachment(struct job *job)
{
    struct service *cinder = cinder_of(job);

    if (!cinder) {
        return;
    }
    if (!job->at) {
        job->at = json_first(job->rows);
        volume_host.connect_dest(job->agent, job->context, job->instance,
                                 job->data, NULL, host_connected, job);
        return;
    }
    cinder_attachment_create(
        cinder, job->context, volume_at(job),
        object_string(job->instance, "uuid"), job->connector,
        json_string_of(job->at, "device_name"), attachment_made, job);
}

static void
connector_got(void *aux, struct json *connector)
{
    struct job *job = aux;

    job->connector = connector;
    job->at = json_first(job->rows);
    next_attachment(job);
}

static void
dest_listed(void *aux, struct json *devices, struct error *error)
{
    struct job *job = aux;

    job->devices = devices;
    job->rows = volume_rows_of(devices, false);
    error = error ? error : volume_rows_check(job->rows);
    if (error) {
        finish(job, error);
        return;
    }
    object_unset(job->data, ATTACHMENTS_MADE_FIELD);
    migrate_data_init_old_vol_attachment_ids(job->data);
    if (!json_size(job->rows)) {
        migrate_data_set_bdms(job->data, NULL, 0);
        finish(job, NULL);
    } else {
        connector_get(job->agent, connector_got, job);
    }
}

static void
connect_dest(struct agent *agent, const struct json *context,
             const struct object *instance, const struct object *data,
             attach_keep *keep, attach_connected *done, void *aux)
{
    struct job *job = job_create(agent, context, instance, data, aux);

    job->keep = keep;
    job->connected = done;
    list(job, dest_listed);
}

/* They are connected: Cinder is told, and where they are is recorded. */

static void
host_connected(void *aux, struct error *error, struct object *data)
{
    struct job *job = aux;

    if (error) {
        finish(job, error);
        return;
    }
    object_free(job->data);
    job->data = data;
    next_completion(job);
}

static void
completed(void *aux, struct error *error)
{
    struct job *job = aux;

    if (error) {
        finish(job, error);
    } else {
        job->at = json_next(job->at);
        next_completion(job);
    }
}

static void
path_saved(void *aux, struct error *error)
{
    struct job *job = aux;
    struct service *cinder = error ? NULL : cinder_of(job);

    if (error) {
        finish(job, error);
    } else if (cinder) {
        cinder_attachment_complete(cinder, job->context,
                                   json_string_of(job->at, "attachment_id"),
                                   completed, job);
    }
}

static const char *
info_of(const struct job *job)
{
    for (size_t i = 0; i < migrate_data_n_bdms(job->data); i++) {
        struct migrate_bdm bdm = migrate_data_bdm(job->data, i);
        if (str_eq(bdm.serial, volume_at(job))) {
            return bdm.connection_info_json;
        }
    }
    return NULL;
}

static void
next_completion(struct job *job)
{
    if (!job->at) {
        finish(job, NULL);
        return;
    }
    volume_records_save(job->agent->nova, job->context,
                        volume_rows_device(job->devices, volume_at(job)),
                        json_string_of(job->at, "attachment_id"), info_of(job),
                        path_saved, job);
}

/* ---- Back -----------------------------------------------------------------
 */

static void next_return(struct job *job);

static void
returned(void *aux, struct error *error)
{
    struct job *job = aux;

    note(job, error);
    job->at = json_next(job->at);
    next_return(job);
}

/* The record does not name it any more. */
static void
record_returned(void *aux, struct error *error)
{
    struct job *job = aux;
    const char *made = json_string_of(job->at, "new");

    if (error || !made) {
        returned(job, error);
        return;
    }
    struct service *cinder = cinder_of(job);
    if (cinder) {
        cinder_attachment_delete(cinder, job->context, made, returned, job);
    }
}

/* A nova-compute that could not prepare leaves its own there. */
static bool
has_own_info(const struct job *job, const struct json *device)
{
    const char *is =
        json_string_of(json_get(device, "nova_object.data"), "connection_info");
    const char *was = json_string_of(job->at, "info");
    AUTO_JSON now = NULL;
    AUTO_JSON before = NULL;

    if (is) {
        error_free(json_parse(is, strlen(is), &now));
    }
    if (was) {
        error_free(json_parse(was, strlen(was), &before));
    }
    return json_equal(now, before);
}

/* 'at' is {"volume_id", "old", "new", "info"}; without a "new" it is what the
 * record names, at the source of a migration that is still under way. */
static void
next_return(struct job *job)
{
    const struct json *device =
        volume_rows_device(job->devices, job->at ? volume_at(job) : NULL);
    const char *now =
        json_string_of(json_get(device, "nova_object.data"), "attachment_id");

    if (!job->at) {
        finish(job, NULL);
        return;
    }
    const char *old = json_string_of(job->at, "old");
    bool is_others = now && !str_eq(now, old);
    bool is_of_source = !json_has(job->at, "new");
    if (is_of_source && is_others) {
        json_set_string(job->at, "new", now);
    }
    bool is_ours = is_others && str_eq(now, json_string_of(job->at, "new"));
    if (is_ours || (is_of_source && now && !has_own_info(job, device))) {
        volume_records_save(job->agent->nova, job->context, device, old,
                            json_string_of(job->at, "info"), record_returned,
                            job);
    } else {
        record_returned(job, NULL);
    }
}

static void
return_listed(void *aux, struct json *devices, struct error *error)
{
    struct job *job = aux;

    job->devices = devices;
    if (error) {
        finish(job, error);
        return;
    }
    job->at = json_first(job->rows);
    next_return(job);
}

static void
host_disconnected(void *aux, struct error *error)
{
    struct job *job = aux;

    note(job, error);
    if (json_size(job->rows)) {
        list(job, return_listed);
    } else {
        finish(job, NULL);
    }
}

static void
disconnect_dest(struct agent *agent, const struct json *context,
                const struct object *instance, const struct object *data,
                attach_done *done, void *aux)
{
    struct job *job = job_create(agent, context, instance, data, aux);

    job->done = done;
    job->rows =
        data ? json_copy(object_get(data, ATTACHMENTS_MADE_FIELD)) : NULL;
    volume_host.disconnect_dest(agent, context, instance, data,
                                host_disconnected, job);
}

/* Of the rows that note_source() made, with the text of what is recorded. */
static struct json *
own_entries(const struct object *instance)
{
    struct json *entries = json_array();

    json_for_each (row, json_get(attachments_of(instance), "volumes")) {
        const char *attachment = json_string_of(row, "attachment_id");
        AUTO_FREE info = json_print(json_get(row, "connection_info"), NULL);
        struct json *entry;

        if (attachment) {
            entry = json_object();
            json_set_string(entry, "volume_id",
                            json_string_of(row, "volume_id"));
            json_set_string(entry, "old", attachment);
            json_set_string(entry, "info", info);
            json_append(entries, entry);
        }
    }
    return entries;
}

static void
restore_source(struct agent *agent, const struct json *context,
               const struct object *instance, const struct object *data,
               attach_done *done, void *aux)
{
    struct json *entries = own_entries(instance);

    if (!json_size(entries)) {
        json_free(entries);
        volume_host.restore_source(agent, context, instance, data, done, aux);
        return;
    }
    struct job *job = job_create(agent, context, instance, NULL, aux);
    job->rows = entries;
    job->done = done;
    list(job, return_listed);
}

/* ---- At the source: after success -----------------------------------------
 */

static void next_deletion(struct job *job);

static void
deleted(void *aux, struct error *error)
{
    struct job *job = aux;

    note(job, error);
    job->at = json_next(job->at);
    next_deletion(job);
}

static void
next_deletion(struct job *job)
{
    struct service *cinder = cinder_of(job);

    if (!cinder) {
        return;
    }
    if (!job->at) {
        finish(job, NULL);
    } else {
        cinder_attachment_delete(cinder, job->context,
                                 json_string_of(job->at, "old"), deleted, job);
    }
}

/* What the host could not let go of is tried again, and what Cinder could
 * not. */
static void
source_disconnected(void *aux, struct error *error)
{
    struct job *job = aux;

    note(job, error);
    job->at = json_first(job->rows);
    if (job->at) {
        next_deletion(job);
    } else {
        finish(job, NULL);
    }
}

static void
disconnect_source(struct agent *agent, const struct json *context,
                  const struct object *instance, const struct object *data,
                  attach_done *done, void *aux)
{
    struct job *job = job_create(agent, context, instance, data, aux);

    job->done = done;
    job->rows = own_entries(instance);
    volume_host.disconnect_source(agent, context, instance, data,
                                  source_disconnected, job);
}

const struct volume_ops volume_nova = {
    .note_source = note_source,
    .connect_dest = connect_dest,
    .disconnect_dest = disconnect_dest,
    .restore_source = restore_source,
    .disconnect_source = disconnect_source,
};
