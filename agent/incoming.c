#include <config.h>

#include "agent/incoming.h"

#include <stdlib.h>
#include <string.h>

#include "agent/adopt.h"
#include "agent/drain.h"
#include "agent/incoming_places.h"
#include "agent/migrate_plan.h"
#include "rpc/uuid.h"

LOG_MODULE(incoming);

struct incoming {
    struct agent *agent;
    struct json *context;
    struct object *instance;
    struct object *data; /* Null if this agent did not prepare. */
    char *disks;         /* Null: none were asked for. */
    bool taken_over;     /* The source said so. */

    /* Not in the journal. */
    struct slot *place;
    struct op_ticket *wait; /* Of the step that waits for the guest. */
    struct error *refusal;  /* The record is somebody else's. */
    void (*prepared)(void *aux, struct error *error, struct object *data);
    void *prepared_aux;
    attach_done *ended; /* Who waits for the end, or null. */
    void *ended_aux;
    bool told_to_roll_back;
};

static void announce_pre(struct op *op, struct op_ticket *ticket);
static void volumes_run(struct op *op, struct op_ticket *ticket);
static void volumes_undo(struct op *op, struct op_ticket *ticket);
static void disks_check(struct op *op, struct op_ticket *ticket);
static void disks_run(struct op *op, struct op_ticket *ticket);
static void disks_undo(struct op *op, struct op_ticket *ticket);
static void ports_run(struct op *op, struct op_ticket *ticket);
static void ports_undo(struct op *op, struct op_ticket *ticket);
static void answer_run(struct op *op, struct op_ticket *ticket);
static void wait_run(struct op *op, struct op_ticket *ticket);
static void wait_undo(struct op *op, struct op_ticket *ticket);
static void arrived_run(struct op *op, struct op_ticket *ticket);
static void arrived_probe(struct op *op, struct op_ticket *ticket);
static void announce_post(struct op *op, struct op_ticket *ticket);
static void settle_ports(struct op *op, struct op_ticket *ticket);
static void persist_run(struct op *op, struct op_ticket *ticket);
static void record_run(struct op *op, struct op_ticket *ticket);
static void announce_end(struct op *op, struct op_ticket *ticket);
static struct json *incoming_save(const void *data);
static struct error *incoming_load(void *aux, const struct json *json,
                                   void **ret_data);
static void incoming_free(void *data);
static void incoming_finished(struct op *op, const struct error *error);
static struct op *find(struct agent *agent, const char *uuid);
static void prepare_enter(struct agent *agent, struct incoming *in,
                          const struct log_context *log);
static void prepare_start(struct agent *agent, struct incoming *in,
                          const struct log_context *log);

/* What follows the arrival; the same in both tables. */
#define STEPS_AFTER_ARRIVAL                                           \
    {.name = "announce-post", .run = announce_post},                  \
        {.name = "settle-ports",                                      \
         .run = settle_ports,                                         \
         .timeout_s = 300,                                            \
         .may_be_left = true},                                        \
        {.name = "persist",                                           \
         .run = persist_run,                                          \
         .timeout_s = 120,                                            \
         .may_be_left = true},                                        \
        {.name = "take-record", .run = record_run, .timeout_s = 300}, \
        {.name = "announce-end", .run = announce_end},                \
    {                                                                 \
        .name = NULL                                                  \
    }

static const struct step incoming_steps[] = {
    {.name = "announce-pre", .run = announce_pre},
    {.name = "connect-volumes", .run = volumes_run, .undo = volumes_undo},
    {.name = "check-disks", .run = disks_check, .timeout_s = 120},
    {.name = "make-disks",
     .run = disks_run,
     .undo = disks_undo,
     .timeout_s = 600},
    {.name = "plug-ports", .run = ports_run, .undo = ports_undo},
    {.name = "answer", .run = answer_run},
    /* The commit: the guest runs here. */
    {.name = "wait",
     .run = wait_run,
     .undo = wait_undo,
     .probe = arrived_probe,
     .readopt = wait_run},
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

static struct incoming *
incoming_create(struct agent *agent, struct incoming_request *request)
{
    struct incoming *in = xzalloc(sizeof *in);

    in->agent = agent;
    in->context = steal(&request->context);
    in->instance = steal(&request->instance);
    in->data = steal(&request->data);
    in->disks = steal(&request->disks);
    return in;
}

static const char *
uuid_of(const struct incoming *in)
{
    return object_string(in->instance, "uuid");
}

/* The newest who asks is told of the end; one whose question was repeated has
 * given up, but is answered all the same. */
static void
set_ended(struct incoming *in, attach_done *done, void *aux)
{
    if (in->ended) {
        in->ended(in->ended_aux,
                  error_new(ERR_MIGRATION, "the request was repeated"));
    }
    in->ended = done;
    in->ended_aux = aux;
}

/* Signals. */

struct prepare_again {
    struct agent *agent;
    struct incoming *in;
    struct log_context log;
};

static void
leftover_gone(void *aux, struct error *error)
{
    struct prepare_again *again = aux;

    if (error) {
        again->in->prepared(again->in->prepared_aux,
                            error_wrap(error, "take back an earlier attempt"),
                            NULL);
        again->in->prepared = NULL;
        incoming_free(again->in);
    } else {
        prepare_enter(again->agent, again->in, &again->log);
    }
    free(again);
}

void
incoming_prepare(struct agent *agent, struct incoming_request *request,
                 const struct log_context *log,
                 void (*done)(void *aux, struct error *error,
                              struct object *data),
                 void *aux)
{
    struct incoming *in = incoming_create(agent, request);
    struct error *error = drain_check_incoming(agent);

    if (error) {
        incoming_free(in);
        done(aux, error, NULL);
        return;
    }
    in->prepared = done;
    in->prepared_aux = aux;
    if (!find(agent, uuid_of(in))) {
        prepare_enter(agent, in, log);
        return;
    }

    log_warn(log, "an earlier attempt was never ended: it is taken back");
    struct prepare_again *again = xzalloc(sizeof *again);
    again->agent = agent;
    again->in = in;
    again->log = *log;
    struct incoming_request old = {
        .context = json_copy(in->context),
        .instance = object_copy(in->instance),
        .data = object_copy(in->data),
    };
    incoming_roll_back(agent, &old, log, leftover_gone, again);
}

static void
place_got(void *aux, struct error *error, struct slot *place)
{
    struct prepare_again *again = aux;

    if (error) {
        again->in->prepared(again->in->prepared_aux, error, NULL);
        again->in->prepared = NULL;
        incoming_free(again->in);
    } else {
        again->in->place = place;
        prepare_start(again->agent, again->in, &again->log);
    }
    free(again);
}

/* A drover is told that there is no place for it, any other source waits. */
static void
prepare_enter(struct agent *agent, struct incoming *in,
              const struct log_context *log)
{
    bool asks_again = object_bool(in->data, PLACES_WAITS_FIELD);

    if (asks_again && incoming_places_are_full(agent->incoming)) {
        object_set_bool(in->data, PLACES_BUSY_FIELD, true);
        in->prepared(in->prepared_aux, NULL, object_copy(in->data));
        in->prepared = NULL;
        incoming_free(in);
        return;
    }
    struct prepare_again *again = xzalloc(sizeof *again);
    again->agent = agent;
    again->in = in;
    again->log = *log;
    incoming_places_request(agent->incoming, place_got, again);
}

struct prepare_call {
    void (*done)(void *aux, struct error *error, struct object *data);
    void *aux;
};

/* From now on a step of the operation tells, or its end. */
static void
prepare_accepted(void *aux, struct op *op, struct error *error)
{
    struct prepare_call *call = aux;

    if (error) {
        call->done(call->aux, error, NULL);
    } else {
        struct incoming *in = op_data(op);
        in->prepared = call->done;
        in->prepared_aux = call->aux;
    }
    free(call);
}

/* Each attempt has a key of its own: a guest may come here many times. */
static void
prepare_start(struct agent *agent, struct incoming *in,
              const struct log_context *log)
{
    char key[UUID_SIZE];
    struct prepare_call *call = xzalloc(sizeof *call);

    call->done = steal(&in->prepared);
    call->aux = in->prepared_aux;
    op_start(agent->ops, &incoming_type, uuid_generate_text(key), log, in,
             prepare_accepted, call);
}

struct take_over {
    attach_done *done;
    void *aux;
};

static void
arrival_accepted(void *aux, struct op *op, struct error *error)
{
    struct take_over *call = aux;
    struct incoming *in = error ? NULL : op_data(op);

    if (error) {
        call->done(call->aux, error);
    } else if (in->ended) { /* It was repeated meanwhile. */
        call->done(call->aux,
                   error_new(ERR_MIGRATION, "the request was repeated"));
    } else {
        set_ended(in, call->done, call->aux);
    }
    free(call);
}

void
incoming_take_over(struct agent *agent, struct incoming_request *request,
                   const struct log_context *log, attach_done *done, void *aux)
{
    struct op *op = find(agent, object_string(request->instance, "uuid"));

    if (!op) {
        /* Prepared by somebody else, or told before. */
        char key[UUID_SIZE];
        struct take_over *call = xzalloc(sizeof *call);
        struct incoming *in = incoming_create(agent, request);
        call->done = done;
        call->aux = aux;
        in->taken_over = true;
        op_start(agent->ops, &incoming_arrival_type, uuid_generate_text(key),
                 log, in, arrival_accepted, call);
        return;
    }

    struct incoming *in = op_data(op);
    object_free(in->instance);
    in->instance = steal(&request->instance);
    json_free(request->context);
    object_free(request->data);
    free(request->disks);
    in->taken_over = true;
    set_ended(in, done, aux);
    if (in->wait) {
        op_ticket_done(steal(&in->wait), NULL);
    }
}

struct roll_back {
    struct agent *agent;
    struct incoming_request request;
    struct log_context log;
    bool is_announced;
    attach_done *done;
    void *aux;
};

static void
announce_roll_back(struct roll_back *call)
{
    if (!call->is_announced) {
        call->is_announced = true;
        notify_instance(call->agent->notify, call->request.context,
                        NOTIFY_ROLLBACK_DEST, NOTIFY_START,
                        call->request.instance);
    }
}

static void
roll_back_done(void *aux, struct error *error)
{
    struct roll_back *call = aux;

    if (!error) {
        announce_roll_back(call);
        notify_instance(call->agent->notify, call->request.context,
                        NOTIFY_ROLLBACK_DEST, NOTIFY_END,
                        call->request.instance);
    }
    call->done(call->aux, error);
    json_free(call->request.context);
    object_free(call->request.instance);
    object_free(call->request.data);
    free(call);
}

static void
roll_back_asked(void *aux, struct error *error, struct guest *guest)
{
    struct roll_back *call = aux;
    const char *uuid = object_string(call->request.instance, "uuid");
    bool is_here = guest && (guest->presence == GUEST_ACTIVE ||
                             guest->presence == GUEST_POSTCOPY ||
                             guest->presence == GUEST_POSTCOPY_FAILED);
    struct op *op = find(call->agent, uuid);

    guest_free(guest);
    bool is_unknown = error && error_code(error) != ERR_INSTANCE_NOT_FOUND;
    if (is_unknown && !op) {
        roll_back_done(call, error);
        return;
    }
    error_free(error);
    if (is_here) {
        log_error(&call->log, "refused to roll back: the guest runs here");
        roll_back_done(
            call,
            error_new(ERR_MIGRATION, "instance '%s' runs on this host", uuid));
        return;
    }

    /* The source does not ask again: where it is not known if the guest is
     * here, the operation finds out before it goes back. */
    if (!is_unknown) {
        announce_roll_back(call);
    }
    if (!op) {
        /* The journal knows of nothing: whatever is here is not ours. */
        roll_back_done(call, NULL);
        return;
    }
    struct incoming *in = op_data(op);
    in->told_to_roll_back = true;
    set_ended(in, roll_back_done, call);
    if (in->wait) {
        op_ticket_done(steal(&in->wait),
                       error_new(ERR_CANCELLED, "the source rolled back"));
    } else if (!op_is_going_back(op)) {
        op_cancel(op, error_new(ERR_CANCELLED, "the source rolled back"));
    }
}

void
incoming_roll_back(struct agent *agent, struct incoming_request *request,
                   const struct log_context *log, attach_done *done, void *aux)
{
    struct roll_back *call = xzalloc(sizeof *call);

    call->agent = agent;
    call->request = *request;
    call->log = *log;
    call->done = done;
    call->aux = aux;
    driver_guest_get(agent->driver, object_string(request->instance, "uuid"),
                     roll_back_asked, call);
}

bool
incoming_is_expected(struct agent *agent, const char *instance_uuid)
{
    return find(agent, instance_uuid) != NULL;
}

unsigned
incoming_count(struct agent *agent)
{
    unsigned n = 0;

    for (struct op *op = op_first(agent->ops); op; op = op_next(op)) {
        n += str_eq(op_type_name(op), incoming_type.name);
    }
    return n;
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

static void
volumes_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    in->agent->volumes->connect_dest(in->agent, in->context, in->instance,
                                     in->data, op_ticket_done_aux, ticket);
}

static void
volumes_undo(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    in->agent->volumes->disconnect_dest(in->agent, in->context, in->instance,
                                        in->data, op_ticket_done_aux, ticket);
}

/* Null without an error: there is nothing to make. */
static struct error *
files_of(const struct incoming *in, struct prepare_request **ret)
{
    return migrate_plan_files(in->agent->conf, in->data, uuid_of(in), in->disks,
                              ret);
}

static void
prepare_files(struct op *op, struct op_ticket *ticket, bool only_check)
{
    struct incoming *in = op_data(op);
    CLEANUP(prepare_request_free_at) struct prepare_request *files = NULL;
    struct error *error = files_of(in, &files);

    if (error || !files) {
        op_ticket_done(ticket, error);
        return;
    }
    files->only_check = only_check;
    driver_prepare(in->agent->driver, files, op_ticket_done_aux, ticket);
}

/* A step of its own, so that once the journal names "make-disks" whatever
 * stands there is ours to remove. */
static void
disks_check(struct op *op, struct op_ticket *ticket)
{
    prepare_files(op, ticket, true);
}

static void
disks_run(struct op *op, struct op_ticket *ticket)
{
    prepare_files(op, ticket, false);
}

static void
disks_undo(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);
    CLEANUP(prepare_request_free_at) struct prepare_request *files = NULL;
    struct error *error = files_of(in, &files);

    if (error || !files ||
        error_code(op_error(op)) == ERR_DESTINATION_DISK_EXISTS) {
        /* There is nothing, or somebody made it after our check: what stands
         * there is not ours. */
        error_free(error);
        op_ticket_done(ticket, NULL);
        return;
    }
    driver_unprepare(in->agent->driver, files, op_ticket_done_aux, ticket);
}

static void
ports_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    in->agent->vifs->plug_dest(in->agent, in->context, in->instance, in->data,
                               op_ticket_done_aux, ticket);
}

static void
ports_undo(struct op *op, struct op_ticket *ticket)
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
    }
}

static void
wait_undo(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    driver_discard(in->agent->driver, uuid_of(in), op_ticket_done_aux, ticket);
}

static void
arrival_seen(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;

    if (!error && guest->presence != GUEST_ACTIVE &&
        guest->presence != GUEST_POSTCOPY) {
        error = error_set_arg(
            error_new(ERR_INSTANCE_NOT_RUNNING, "the guest did not arrive"),
            "instance_id", guest->uuid);
    }
    guest_free(guest);
    op_ticket_done(ticket, error);
}

static void
arrived_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    driver_guest_get(in->agent->driver, uuid_of(in), arrival_seen, ticket);
}

static void
arrival_probed(void *aux, struct error *error, struct guest *guest)
{
    struct op_ticket *ticket = aux;
    enum probe_answer answer = PROBE_UNKNOWN;

    if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        answer = PROBE_NO;
    } else if (!error) {
        bool is_here = guest->presence == GUEST_ACTIVE ||
                       guest->presence == GUEST_POSTCOPY ||
                       guest->presence == GUEST_POSTCOPY_FAILED;
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

    driver_guest_get(in->agent->driver, uuid_of(in), arrival_probed, ticket);
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

static void
settle_ports(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    in->agent->vifs->settle_dest(in->agent, in->context, in->instance, in->data,
                                 op_ticket_done_aux, ticket);
}

static void
persist_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    driver_persist(in->agent->driver, uuid_of(in), op_ticket_done_aux, ticket);
}

static void
record_conflict(void *aux, struct error *error, struct object *stored)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    struct incoming *in = op ? op_data(op) : NULL;

    if (!error && in &&
        !str_eq(object_string(stored, "host"), in->agent->conf->host)) {
        log_error(op_log(op),
                  "the guest runs here, but its record says host '%s'",
                  object_string(stored, "host"));
        in->refusal = error_new(ERR_UNEXPECTED_TASK_STATE,
                                "the record was settled by another host");
        error_set_arg(in->refusal, "instance_uuid", uuid_of(in));
        error_set_arg(in->refusal, "expected", "migrating");
        error_set_arg(in->refusal, "actual", "None");
    } else if (!error && in) {
        object_free(in->instance); /* Told before: nothing is to be done. */
        in->instance = steal(&stored);
    }
    object_free(stored);
    op_ticket_done(ticket, error);
}

static void
record_saved(void *aux, struct error *error, struct object *stored)
{
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);
    struct incoming *in = op ? op_data(op) : NULL;

    if (error_code(error) == ERR_UNEXPECTED_TASK_STATE && in) {
        struct records *records = in->agent->records;
        error_free(error);
        records->ops->instance_get(records->state, in->context, uuid_of(in),
                                   record_conflict, ticket);
        return;
    }
    if (in && stored) {
        object_free(in->instance);
        in->instance = steal(&stored);
    }
    object_free(stored);
    op_ticket_done(ticket, error);
}

static void
record_take(void *aux, struct error *error, struct guest *guest)
{
    static const char *const expected[] = {"migrating", NULL};
    struct op_ticket *ticket = aux;
    struct op *op = op_ticket_op(ticket);

    if (error || !op) {
        guest_free(guest);
        op_ticket_done(ticket, error);
        return;
    }
    struct incoming *in = op_data(op);
    struct records *records = in->agent->records;
    object_set_string(in->instance, "host", in->agent->conf->host);
    object_set_string(in->instance, "node",
                      in->agent->node ? in->agent->node
                                      : in->agent->conf->host);
    object_set_int(in->instance, "power_state", guest->power_state);
    /* Saved whatever the request said of them: what is stored is newer. */
    object_set_null(in->instance, "task_state");
    object_set_changed(in->instance, "task_state");
    object_set_int(in->instance, "progress", 0);
    object_set_changed(in->instance, "progress");
    guest_free(guest);
    records->ops->instance_save(records->state, in->context, in->instance,
                                expected, record_saved, ticket);
}

static void
record_run(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    driver_guest_get(in->agent->driver, uuid_of(in), record_take, ticket);
}

static void
announce_end(struct op *op, struct op_ticket *ticket)
{
    struct incoming *in = op_data(op);

    notify_instance(in->agent->notify, in->context, NOTIFY_POST_DEST,
                    NOTIFY_END, in->instance);
    op_ticket_done(ticket, NULL);
}

/* The journal's side. */

static struct json *
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
    return json;
}

static struct error *
incoming_load(void *aux, const struct json *json, void **ret_data)
{
    struct incoming *in = xzalloc(sizeof *in);
    const struct json *data = json_get(json, "migrate_data");

    in->agent = aux;
    in->place = incoming_places_take(in->agent->incoming);
    in->context = json_copy(json_get(json, "context"));
    in->disks = xstrdup_null(json_string_of(json, "disks"));
    in->taken_over = json_bool_of(json, "taken_over");
    struct error *error =
        object_parse(json_get(json, "instance"), "Instance", &in->instance);
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

static void
incoming_free(void *data)
{
    struct incoming *in = data;

    if (!in) {
        return;
    }
    if (in->prepared) {
        in->prepared(in->prepared_aux, stopping(), NULL);
    }
    if (in->ended) {
        in->ended(in->ended_aux, stopping());
    }
    if (in->wait) {
        op_ticket_done(in->wait, NULL);
    }
    slot_release(in->place);
    json_free(in->context);
    object_free(in->instance);
    object_free(in->data);
    error_free(in->refusal);
    free(in->disks);
    free(in);
}

static void
incoming_finished(struct op *op, const struct error *error)
{
    struct incoming *in = op_data(op);

    if (in->prepared) {
        in->prepared(in->prepared_aux, error_copy(error), NULL);
        in->prepared = NULL;
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
    adopt_again(in->agent, uuid_of(in));
    if (!error) {
        drain_guest_came(in->agent);
    }
}

static struct op *
find(struct agent *agent, const char *uuid)
{
    for (struct op *op = op_first(agent->ops); op; op = op_next(op)) {
        if (str_eq(op_type_name(op), incoming_type.name) ||
            str_eq(op_type_name(op), incoming_arrival_type.name)) {
            const struct incoming *in = op_data(op);
            if (str_eq(uuid_of(in), uuid)) {
                return op;
            }
        }
    }
    return NULL;
}
