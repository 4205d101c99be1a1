#include <config.h>

#include "agent/nova/terminate_internal.h"

#include <stdlib.h>
#include <string.h>

#include "agent/attachments.h"
#include "agent/migrate/data.h"
#include "agent/nova/cloud.h"
#include "agent/nova/nova.h"
#include "agent/nova/ports.h"
#include "agent/nova/primitive.h"

LOG_MODULE(terminate);

static bool
is_nothing(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);

    if (t->is_void) {
        op_ticket_done(ticket, NULL);
    }
    return t->is_void;
}

/* This host. */

/* As a source of a migration has them: what Nova has cached of its ports. */
void
terminate_unplug(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);

    if (!is_nothing(op, ticket)) {
        AUTO_OBJECT data = migrate_data_create();
        attachments_name_ports(t->instance, data);
        vif_host.unplug_source(t->agent, t->context, t->instance, data,
                               op_ticket_done_aux, ticket);
    }
}

static bool
is_volume(const struct json *bdm)
{
    return str_eq(primitive_string(bdm, "destination_type"), "volume") &&
           primitive_string(bdm, "volume_id");
}

/* What it is connected by is told by its record, but for its name in old
 * ones. */
static char *
connection_of(const struct json *bdm)
{
    const char *text = primitive_string(bdm, "connection_info");
    AUTO_JSON info = NULL;
    AUTO_ERROR error = text ? json_parse(text, strlen(text), &info) : NULL;

    if (error || !json_is_object(info)) {
        return NULL;
    }
    if (!json_string_of(info, "serial")) {
        json_set_string(info, "serial", primitive_string(bdm, "volume_id"));
    }
    return json_print(info, NULL);
}

static void
tell_volumes(const struct terminate *t, struct object *data)
{
    struct migrate_bdm bdms[ATTACHMENTS_MAX] = {{0}};
    char *texts[ATTACHMENTS_MAX];
    size_t n = 0;

    json_for_each (bdm, primitive_objects(t->bdms)) {
        char *text =
            n < ATTACHMENTS_MAX && is_volume(bdm) ? connection_of(bdm) : NULL;
        if (text) {
            bdms[n].serial = primitive_string(bdm, "volume_id");
            bdms[n].boot_index = -1;
            bdms[n].connection_info_json = texts[n] = text;
            n++;
        }
    }
    migrate_data_set_bdms(data, bdms, n);
    while (n > 0) {
        free(texts[--n]);
    }
}

void
terminate_disconnect(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);

    if (is_nothing(op, ticket)) {
        return;
    }
    AUTO_OBJECT data = migrate_data_create();
    AUTO_VOLUMES volumes = {0};
    tell_volumes(t, data);
    AUTO_ERROR error =
        attachments_volumes(t->agent->conf, data, terminate_uuid(t), &volumes);
    if (error) {
        log_warn(op_log(op), "volumes stay connected to this host: %s",
                 error_message(error));
    }
    volume_host.disconnect_dest(t->agent, t->context, t->instance, data,
                                op_ticket_done_aux, ticket);
}

void
terminate_remove_files(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);

    if (!is_nothing(op, ticket)) {
        AUTO_FREE directory = xasprintf("%s/%s", t->agent->conf->instances_path,
                                        terminate_uuid(t));
        AUTO_FREE uuid = xstrdup(terminate_uuid(t));
        const struct prepare_request request = {.uuid = uuid,
                                                .directory = directory};
        driver_unprepare(t->agent->driver, &request, op_ticket_done_aux,
                         ticket);
    }
}

/* Neutron. */

/* The ids of ports that were there before the instance. */
static struct json *
preserved_ports(const struct terminate *t)
{
    const struct json *cache =
        json_get(object_get(t->instance, "info_cache"), "nova_object.data");
    const char *text = json_string_of(cache, "network_info");
    struct json *ids = json_array();
    AUTO_JSON known = NULL;
    AUTO_ERROR error = text ? json_parse(text, strlen(text), &known) : NULL;

    if (!error) {
        json_for_each (vif, known) {
            if (json_bool_of(vif, "preserve_on_delete")) {
                json_append(ids, json_string(json_string_of(vif, "id")));
            }
        }
    }
    return ids;
}

void
terminate_release_ports(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);

    if (is_nothing(op, ticket)) {
        return;
    }
    if (!cloud_has_neutron(t->agent->conf)) {
        op_ticket_done(ticket, NULL);
        return;
    }
    const struct ports_of of = {
        .neutron = t->agent->nova->cloud->neutron,
        .context = t->context,
        .instance = terminate_uuid(t),
    };
    AUTO_JSON preserved = preserved_ports(t);
    ports_give_up(&of, preserved, op_ticket_done_aux, ticket);
}

/* Cinder: one volume after the other. */

static void attachment_deleted(void *aux, struct error *error);
static void volume_deleted(void *aux, struct error *error);

/* The next of the volumes that 'wants' says yes to; null: that was all. */
static const struct json *
next_volume(struct terminate *t, bool (*wants)(const struct json *bdm))
{
    do {
        t->bdm =
            t->bdm ? json_next(t->bdm) : json_first(primitive_objects(t->bdms));
    } while (t->bdm && !(is_volume(t->bdm) && wants(t->bdm)));
    return t->bdm;
}

static bool
is_any(const struct json *bdm UNUSED)
{
    return true;
}

static void
release_next(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);
    const struct json *bdm = next_volume(t, is_any);
    const char *attachment = primitive_string(bdm, "attachment_id");

    while (bdm && !attachment) {
        log_warn(op_log(op),
                 "volume '%s' is attached in the way of before Queens: it is "
                 "to be detached in Cinder by hand",
                 primitive_string(bdm, "volume_id"));
        bdm = next_volume(t, is_any);
        attachment = primitive_string(bdm, "attachment_id");
    }
    if (bdm) {
        cinder_attachment_delete(t->agent->nova->cloud->cinder, t->context,
                                 attachment, attachment_deleted, ticket);
    } else {
        op_ticket_done(ticket, NULL);
    }
}

static void
attachment_deleted(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (!op || error) {
        op_ticket_done(ticket, error);
    } else {
        release_next(op, ticket);
    }
}

void
terminate_release_volumes(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);

    if (!is_nothing(op, ticket)) {
        t->bdm = NULL;
        release_next(op, ticket);
    }
}

static bool
dies_with_it(const struct json *bdm)
{
    return json_bool_of(primitive_data(bdm), "delete_on_termination");
}

static void
delete_next(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);
    const struct json *bdm = next_volume(t, dies_with_it);

    if (bdm) {
        cinder_volume_delete(t->agent->nova->cloud->cinder, t->context,
                             primitive_string(bdm, "volume_id"), volume_deleted,
                             ticket);
    } else {
        op_ticket_done(ticket, NULL);
    }
}

/* As with Nova, a volume that Cinder does not delete is its owner's to see
 * to. */
static void
volume_deleted(void *aux, struct error *error)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (!op) {
        op_ticket_done(ticket, error);
        return;
    }
    if (error) {
        log_warn(op_log(op), "a volume is not deleted: %s",
                 error_message(error));
        error_free(error);
    }
    delete_next(op, ticket);
}

void
terminate_delete_volumes(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);

    if (!is_nothing(op, ticket)) {
        t->bdm = NULL;
        delete_next(op, ticket);
    }
}

/* Placement. */

void
terminate_release_allocation(struct op *op, struct op_ticket *ticket)
{
    struct terminate *t = op_data(op);

    if (is_nothing(op, ticket)) {
        return;
    }
    if (cloud_has_placement(t->agent->conf)) {
        placement_allocations_delete(t->agent->nova->cloud->placement,
                                     t->context, terminate_uuid(t),
                                     op_ticket_done_aux, ticket);
    } else {
        op_ticket_done(ticket, NULL);
    }
}
