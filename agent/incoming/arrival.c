#include <config.h>

#include "agent/incoming/internal.h"

#include <stdlib.h>

/* The evidence that a guest has arrived.
 *
 * A guest that runs here shows it.  One that was shut down since looks as one
 * that was defined here and never came; so what the hypervisor tells while the
 * guest is waited for goes into the journal: that its CPUs ran here, or that it
 * was seen as this host's.  It can't be told of one that arrived and ended
 * while this agent was away, and then nobody decides. */

LOG_MODULE(incoming);

struct look {
    struct agent *agent;
    char *key; /* Of the operation. */
};

static struct incoming *waiting(struct op *op);
static void looked(void *aux, struct error *error, struct guest *guest);
static void note(struct op *op);

void
incoming_event(struct agent *agent, const struct driver_event *event)
{
    bool is_of_all = event->type == DRIVER_EVENT_CONNECTED;

    for (struct op *op = op_first(agent->ops); op; op = op_next(op)) {
        struct incoming *in = waiting(op);

        if (!in || (!is_of_all && !str_eq(incoming_uuid(in), event->uuid))) {
            continue;
        }
        /* What is received does not run: it is resumed when all is here. */
        if (event->type == DRIVER_EVENT_RESUMED) {
            note(op);
        } else {
            incoming_look(in, op);
        }
    }
}

void
incoming_look(struct incoming *in, const struct op *op)
{
    struct look *look = xzalloc(sizeof *look);

    look->agent = in->agent;
    look->key = xstrdup(op_key(op));
    driver_guest_get(in->agent->driver, incoming_uuid(in), looked, look);
}

bool
incoming_has_arrived(struct agent *agent, const char *instance_uuid)
{
    static const struct op_type *const types[] = {&incoming_type, NULL};
    struct op *op = incoming_find(agent, instance_uuid);
    const struct incoming *in = op ? op_data(op) : NULL;

    return in ? in->has_arrived || op_is_committed(op)
              : op_latest_was_done(agent->ops, types, instance_uuid);
}

/* Null: it waits for nothing, or knows. */
static struct incoming *
waiting(struct op *op)
{
    struct incoming *in =
        str_eq(op_type_name(op), incoming_type.name) ? op_data(op) : NULL;

    return in && in->wait && !in->has_arrived ? in : NULL;
}

static void
looked(void *aux, struct error *error, struct guest *guest)
{
    struct look *look = aux;
    struct op *op = op_find(look->agent->ops, look->key);

    if (op && waiting(op) && guest &&
        (guest->presence == GUEST_ACTIVE ||
         guest->presence == GUEST_POSTCOPY)) {
        note(op);
    }
    error_free(error);
    guest_free(guest);
    free(look->key);
    free(look);
}

static void
note(struct op *op)
{
    struct incoming *in = op_data(op);

    log_info(op_log(op), "the guest has arrived");
    in->has_arrived = true;
    op_save(op, NULL, NULL);
}
