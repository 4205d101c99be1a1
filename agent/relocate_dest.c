#include <config.h>

#include "agent/relocate.h"

#include "agent/peer.h"

/* What the source of a guest at rest asks of its destination. */

static struct json *
args_of(const struct migration *m)
{
    struct json *args = json_object();

    json_set(args, "instance", json_copy(object_json(m->instance)));
    json_set_string(args, "migration", object_string(m->record, "uuid"));
    return args;
}

static void
answered(void *aux, struct json **result UNUSED, struct error *error)
{
    op_ticket_done(aux, error);
}

static void
call(struct migration *m, const char *method, struct json *args,
     struct op_ticket *ticket)
{
    peer_call_drover(m->agent, m->dest, method, args, m->context, PEER_LONG,
                     answered, ticket);
}

void
relocate_ask(struct migration *m, const struct object *data, rpc_done *done,
             void *aux)
{
    struct json *args = args_of(m);

    json_set(args, "data", json_copy(object_json(data)));
    json_set_string(args, "kind", migrate_kind_word(m->relocation->kind));
    peer_call_drover(m->agent, m->dest, "relocate_prepare", args, m->context,
                     PEER_LONG, done, aux);
}

/* A call, where a live migration has a cast: a destination that does not hear
 * it would keep the files until the next attempt. */
void
relocate_roll_back(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    call(m, "relocate_roll_back", args_of(m), ticket);
}

void
relocate_files_run(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);
    const struct relocation *r = m->relocation;
    struct json *args = args_of(m);

    json_set_string(args, "name", r->name);
    json_set_string(args, "definition", r->definition);
    json_set_bool(args, "autostart", r->autostart);
    json_set_string(args, "disks", m->disks);
    call(m, "relocate_files", args, ticket);
}

void
relocate_serve(struct migration *m, const char *path, rpc_done *done, void *aux)
{
    struct json *args = args_of(m);

    json_set_string(args, "path", path);
    peer_call_drover(m->agent, m->dest, "relocate_serve", args, m->context,
                     PEER_SHORT, done, aux);
}

void
relocate_seal_run(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    call(m, "relocate_seal", args_of(m), ticket);
}

void
relocate_finish_run(struct op *op, struct op_ticket *ticket)
{
    struct migration *m = op_data(op);

    call(m, "relocate_finish", args_of(m), ticket);
}
