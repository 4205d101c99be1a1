#include <config.h>

#include "agent/incoming/internal.h"

#include <stdlib.h>

#include "agent/adopt.h"
#include "agent/drain/drain.h"
#include "agent/nova/nova.h"

/* An operation's data: in the journal, at its end, and who waits for it. */

struct json *
incoming_save(const void *data)
{
    const struct incoming *in = data;
    struct json *json = json_object();

    json_set(json, "context", json_copy(in->context));
    json_set(json, "instance", json_copy(object_json(in->instance)));
    json_set(json, "migrate_data",
             in->data ? json_copy(object_json(in->data)) : NULL);
    json_set_string(json, "disks", in->disks);
    json_set_bool(json, "taken_over", in->taken_over);
    json_set_bool(json, "has_arrived", in->has_arrived);
    if (in->kind != MIGRATE_LIVE) {
        json_set_string(json, "kind", migrate_kind_word(in->kind));
        json_set_string(json, "name", in->name);
        json_set_string(json, "definition", in->definition);
        json_set_bool(json, "autostart", in->autostart);
    }
    return json;
}

struct error *
incoming_load(void *aux, const struct json *json, void **ret_data)
{
    struct incoming *in = xzalloc(sizeof *in);
    const struct json *data = json_get(json, "migrate_data");

    in->agent = aux;
    in->context = json_copy(json_get(json, "context"));
    in->disks = xstrdup_null(json_string_of(json, "disks"));
    in->taken_over = json_bool_of(json, "taken_over");
    in->has_arrived = json_bool_of(json, "has_arrived");
    in->name = xstrdup_null(json_string_of(json, "name"));
    in->definition = xstrdup_null(json_string_of(json, "definition"));
    in->autostart = json_bool_of(json, "autostart");
    struct error *error =
        migrate_kind_parse(json_string_of(json, "kind"), &in->kind);
    if (!error) {
        error =
            object_parse(json_get(json, "instance"), "Instance", &in->instance);
    }
    if (!error && data && !json_is_null(data)) {
        error = object_parse(data, NULL, &in->data);
    }
    if (error) {
        incoming_free(in);
        return error;
    }
    *ret_data = in;
    return NULL;
}

static struct error *
stopping(void)
{
    return error_new(ERR_CANCELLED, "the agent is stopping");
}

void
incoming_free(void *data)
{
    struct incoming *in = data;

    if (!in) {
        return;
    }
    if (in->prepared) {
        in->prepared(in->prepared_aux, stopping(), NULL);
    }
    if (in->files_made) {
        in->files_made(in->files_made_aux, stopping());
    }
    if (in->ended) {
        in->ended(in->ended_aux, stopping());
    }
    incoming_watch_stop(in);
    if (in->wait) {
        op_ticket_done(in->wait, NULL);
    }
    slot_release(in->place);
    json_free(in->context);
    object_free(in->instance);
    object_free(in->data);
    error_free(in->refusal);
    free(in->disks);
    free(in->name);
    free(in->definition);
    free(in);
}

void
incoming_finished(struct op *op, const struct error *error)
{
    struct incoming *in = op_data(op);

    if (in->prepared) {
        in->prepared(in->prepared_aux, error_copy(error), NULL);
        in->prepared = NULL;
    }
    if (in->files_made) {
        in->files_made(in->files_made_aux, error_copy(error));
        in->files_made = NULL;
    }
    if (in->ended) {
        struct error *answer = NULL;
        if (in->refusal) {
            answer = steal(&in->refusal);
        } else if (!in->told_to_roll_back) {
            answer = error_copy(error);
        } else if (!error) {
            answer = error_new(ERR_MIGRATION, "the guest has arrived");
        }
        in->ended(in->ended_aux, answer);
        in->ended = NULL;
    }
    slot_release(steal(&in->place));
    tally_incoming(&in->agent->tally, error);
    adopt_again(in->agent, incoming_uuid(in));
    if (!error) {
        drain_guests_changed(in->agent);
    }
    if (in->agent->nova && error) {
        nova_guests_changed(in->agent->nova);
    } else if (in->agent->nova) {
        nova_instance_came(in->agent->nova, in->instance);
    }
}
