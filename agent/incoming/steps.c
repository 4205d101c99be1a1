#include <config.h>

#include "agent/incoming/internal.h"

#include <stdlib.h>
#include <string.h>

#include "agent/leftover.h"
#include "agent/migrate/data.h"
#include "agent/migrate/plan.h"
#include "agent/serial_ports.h"

LOG_MODULE(incoming);

/* The longest of all calls that wait for it is over by then. */
#define IMAGES_TIMEOUT_S 7200

static void announce_pre(struct op *op, struct op_ticket *ticket);
static void consoles_run(struct op *op, struct op_ticket *ticket);
static void answer_run(struct op *op, struct op_ticket *ticket);
static void wait_run(struct op *op, struct op_ticket *ticket);
static void wait_again(struct op *op, struct op_ticket *ticket);
static void wait_undo(struct op *op, struct op_ticket *ticket);
static void arrived_run(struct op *op, struct op_ticket *ticket);
static void arrived_probe(struct op *op, struct op_ticket *ticket);
static void announce_post(struct op *op, struct op_ticket *ticket);
static void persist_run(struct op *op, struct op_ticket *ticket);
static void announce_end(struct op *op, struct op_ticket *ticket);

/* What follows the arrival; the same in both tables. */
#define STEPS_AFTER_ARRIVAL                                                    \
    {.name = "announce-post", .run = announce_post},                           \
        {.name = "settle-ports",                                               \
         .run = incoming_settle_ports,                                         \
         .timeout_s = 300,                                                     \
         .may_be_left = true},                                                 \
        {.name = "persist",                                                    \
         .run = persist_run,                                                   \
         .timeout_s = 120,                                                     \
         .may_be_left = true},                                                 \
        {.name = "take-record", .run = incoming_record_run, .timeout_s = 300}, \
        {.name = "announce-end", .run = announce_end},                         \
    {                                                                          \
        .name = NULL                                                           \
    }

static const struct step incoming_steps[] = {
    {.name = "announce-pre", .run = announce_pre},
    {.name = "connect-volumes",
     .run = incoming_volumes_run,
     .undo = incoming_volumes_undo,
     .strips_host = true},
    /* Nothing to take back: the cache is kept. */
    {.name = "fetch-images",
     .run = incoming_images_run,
     .cancel = incoming_images_cancel,
     .timeout_s = IMAGES_TIMEOUT_S},
    {.name = "check-disks", .run = incoming_disks_check, .timeout_s = 120},
    {.name = "make-disks",
     .run = incoming_disks_run,
     .undo = incoming_disks_undo,
     .timeout_s = 600,
     .strips_host = true},
    /* Nothing to take back: what is reserved is the operation's own. */
    {.name = "reserve-consoles", .run = consoles_run},
    {.name = "plug-ports",
     .run = incoming_ports_run,
     .undo = incoming_ports_undo,
     .strips_host = true},
    {.name = "answer", .run = answer_run},
    /* The commit: the guest runs here. */
    {.name = "wait",
     .run = wait_run,
     .undo = wait_undo,
     .probe = arrived_probe,
     .readopt = wait_again,
     .only_waits = true,
     .strips_host = true},
    STEPS_AFTER_ARRIVAL,
};

static const struct step arrival_steps[] = {
    {.name = "arrive", .run = arrived_run, .probe = arrived_probe},
    STEPS_AFTER_ARRIVAL,
};

const struct op_type incoming_type = {
    .name = "incoming-migration",
    .steps = incoming_steps,
    .save = incoming_save,
    .load = incoming_load,
    .free_data = incoming_free,
    .finished = incoming_finished,
};

const struct op_type incoming_arrival_type = {
    .name = "incoming-arrival",
    .steps = arrival_steps,
    .save = incoming_save,
    .load = incoming_load,
    .free_data = incoming_free,
    .finished = incoming_finished,
};

const char *
incoming_uuid(const struct incoming *in)
{
    return object_string(in->instance, "uuid");
}

/* Steps before the arrival. */

static void
announce_pre(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    notify_instance(in->agent->notify, in->context, NOTIFY_PRE, NOTIFY_START,
                    in->instance);
    op_ticket_done(ticket, NULL);
}

/* Where they are now goes into the journal with the end of the step. */
static void
volumes_connected(void *aux, struct error *error, struct object *data)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (op && data) {
        struct incoming *in = op_data(op);
        object_free(in->data);
        in->data = steal(&data);
    }
    object_free(data);
    op_ticket_done(ticket, error);
}

static void
volumes_keep(void *aux, const struct object *data, attach_done *kept,
             void *kept_aux)
{
    struct op *op = op_ticket_op(aux);
    struct incoming *in = op ? op_data(op) : NULL;

    if (!in) {
        kept(kept_aux, error_new(ERR_CANCELLED, "it came too late"));
        return;
    }
    object_free(in->data);
    in->data = object_copy(data);
    op_save(op, kept, kept_aux);
}

void
incoming_volumes_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    in->agent->volumes->connect_dest(in->agent, in->context, in->instance,
                                     in->data, volumes_keep, volumes_connected,
                                     ticket);
}

void
incoming_volumes_undo(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    in->agent->volumes->disconnect_dest(in->agent, in->context, in->instance,
                                        in->data, op_ticket_done_aux, ticket);
}

/* Is it reserved for another guest on its way here, or used? */
static bool
is_port_taken(void *aux, int port)
{
    const struct incoming *in = aux;

    for (struct op *op = op_first(in->agent->ops); op; op = op_next(op)) {
        const struct incoming *other = op_data(op);

        if (str_eq(op_type_name(op), incoming_type.name) && other != in &&
            other->data && migrate_data_has_serial_port(other->data, port)) {
            return true;
        }
    }
    return serial_ports_in_use(
        in->agent->conf->serial_console.proxyclient_address, port);
}

static void
consoles_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);
    const struct conf *conf = in->agent->conf;
    int ports[SERIAL_PORTS_MAX];
    unsigned n = 0;

    /* Nova's guests have one unless it is said how many. */
    if (conf->serial_console.enabled &&
        migrate_data_serial_listen_addr(in->data)) {
        n = serial_ports_wanted(in->instance, in->agent->local ? 0 : 1);
    }
    struct error *error = serial_ports_choose(conf->serial_console.port_range,
                                              n, is_port_taken, in, ports);
    migrate_data_set_serial_listen_ports(in->data, ports, error ? 0 : n);
    op_ticket_done(ticket, error);
}

void
incoming_ports_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    in->agent->vifs->plug_dest(in->agent, in->context, in->instance, in->data,
                               op_ticket_done_aux, ticket);
}

void
incoming_ports_undo(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    in->agent->vifs->unplug_dest(in->agent, in->context, in->instance, in->data,
                                 op_ticket_done_aux, ticket);
}

static void
answer_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    migrate_plan_set_results(in->agent->conf, in->data);
    notify_instance(in->agent->notify, in->context, NOTIFY_PRE, NOTIFY_END,
                    in->instance);
    op_ticket_done(ticket, NULL);
}

/* The wait, and what ends it. */

/* The answer goes out only now that the journal names this step: once the
 * source has it, a restart must ask where the guest is and not just go back. */
static void
wait_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    if (in->prepared) {
        in->prepared(in->prepared_aux, NULL, object_copy(in->data));
        in->prepared = NULL;
    }
    in->wait = ticket;
    if (in->taken_over) {
        op_ticket_done(steal(&in->wait), NULL);
    } else {
        incoming_watch_start(in, op);
        incoming_look(in, op); /* It may have come while the agent was away. */
    }
}

/* What was said meanwhile, nobody heard. */
static void
wait_again(struct op *op, struct op_ticket *ticket)
{
    wait_run(op, ticket);
    incoming_watch_soon(op_data(op));
}

static void
wait_undo(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    leftover_remove(in->agent, incoming_uuid(in), NULL, ticket);
}

static void
arrival_seen(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    const struct incoming *in = op ? op_data(op) : NULL;
    bool was_here =
        in && in->has_arrived && guest && guest->presence == GUEST_OFF;

    if (!error && guest->presence != GUEST_ACTIVE &&
        guest->presence != GUEST_POSTCOPY && !was_here) {
        error = error_set_arg(
            error_new(ERR_INSTANCE_NOT_RUNNING, "the guest did not arrive"),
            "instance_id", guest->uuid);
    }
    if (!error && op) {
        op_residue_drop(op_engine_of(op), guest->uuid);
    }
    guest_free(guest);
    op_ticket_done(ticket, error);
}

static void
arrived_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    driver_guest_get(in->agent->driver, incoming_uuid(in), arrival_seen,
                     ticket);
}

static void
arrival_probed(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    const struct incoming *in = op ? op_data(op) : NULL;
    enum probe_answer answer = PROBE_UNKNOWN;

    if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        answer = PROBE_NO;
    } else if (!error) {
        bool is_here = guest->presence == GUEST_ACTIVE ||
                       guest->presence == GUEST_POSTCOPY ||
                       guest->presence == GUEST_POSTCOPY_FAILED ||
                       (guest->presence == GUEST_OFF && in && in->has_arrived);
        answer = is_here ? PROBE_YES : PROBE_NO;
    }
    error_free(error);
    guest_free(guest);
    op_ticket_answer(ticket, answer);
}

static void
arrived_probe(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    /* Even if it was shut down since; but one that a person ended here as it
     * ran twice stays where it is. */
    if (in->has_arrived && !in->told_to_roll_back) {
        op_ticket_answer(ticket, PROBE_YES);
        return;
    }
    driver_guest_get(in->agent->driver, incoming_uuid(in), arrival_probed,
                     ticket);
}

/* Steps after the arrival. (5.5) */

static void
announce_post(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    notify_instance(in->agent->notify, in->context, NOTIFY_POST_DEST,
                    NOTIFY_START, in->instance);
    op_ticket_done(ticket, NULL);
}

void
incoming_settle_ports(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);
    AUTO_OBJECT nothing = migrate_data_create();

    in->agent->vifs->settle_dest(in->agent, in->context, in->instance,
                                 in->data ? in->data : nothing,
                                 op_ticket_done_aux, ticket);
}

static void
persist_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    driver_persist(in->agent->driver, incoming_uuid(in), op_ticket_done_aux,
                   ticket);
}

static void
announce_end(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    notify_instance(in->agent->notify, in->context, NOTIFY_POST_DEST,
                    NOTIFY_END, in->instance);
    op_ticket_done(ticket, NULL);
}
