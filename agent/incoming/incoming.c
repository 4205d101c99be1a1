#include <config.h>

#include "agent/incoming/incoming.h"

#include <stdlib.h>
#include <string.h>

#include "agent/attachments.h"
#include "agent/drain/drain.h"
#include "agent/incoming/internal.h"
#include "agent/incoming/places.h"
#include "agent/migrate/data.h"
#include "rpc/uuid.h"

LOG_MODULE(incoming);

static void prepare_enter(struct agent *agent, struct incoming *in,
                          const struct log_context *log, const char *key);
static void prepare_start(struct agent *agent, struct incoming *in,
                          const struct log_context *log, const char *key);

static struct incoming *
incoming_create(struct agent *agent, struct incoming_request *request)
{
    struct incoming *in = xzalloc(sizeof *in);

    in->agent = agent;
    in->context = steal(&request->context);
    in->instance = steal(&request->instance);
    in->data = steal(&request->data);
    in->disks = steal(&request->disks);
    in->kind = request->kind;
    return in;
}

static void
request_drop(struct incoming_request *request)
{
    json_free(request->context);
    object_free(request->instance);
    object_free(request->data);
    free(request->disks);
}

/* The newest who asks is told of the end; one whose question was repeated has
 * given up, but is answered all the same. */
void
incoming_set_ended(struct incoming *in, attach_done *done, void *aux)
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
    char *key; /* Null: a new one. */
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
        prepare_enter(again->agent, again->in, &again->log, again->key);
    }
    free(again->key);
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
    if (in->data) { /* No peer says what is ours to take back. */
        object_unset(in->data, ATTACHMENTS_MADE_FIELD);
    }
    in->prepared = done;
    in->prepared_aux = aux;
    if (!incoming_find(agent, incoming_uuid(in))) {
        prepare_enter(agent, in, log, request->key);
        return;
    }

    log_warn(log, "an earlier attempt was never ended: it is taken back");
    struct prepare_again *again = xzalloc(sizeof *again);
    again->agent = agent;
    again->in = in;
    again->log = *log;
    again->key = xstrdup_null(request->key);
    struct incoming_request old = {
        .context = json_copy(in->context),
        .instance = object_copy(in->instance),
        .data = object_copy(in->data),
    };
    incoming_roll_back(agent, &old, log, leftover_gone, again);
}

/* What an ended migration left behind would take away what is prepared now. */
static void
residue_settled(void *aux, struct error *error)
{
    struct prepare_again *again = aux;

    if (!error) { /* A drain may have begun since it asked. */
        error = drain_check_incoming(again->agent);
    }
    if (error) {
        again->in->prepared(again->in->prepared_aux, error, NULL);
        again->in->prepared = NULL;
        incoming_free(again->in);
    } else {
        prepare_start(again->agent, again->in, &again->log, again->key);
    }
    free(again->key);
    free(again);
}

static void
place_got(void *aux, struct error *error, struct slot *place)
{
    struct prepare_again *again = aux;

    again->in->place = place;
    if (error) {
        residue_settled(again, error);
    } else {
        op_residue_settle(again->agent->ops, incoming_uuid(again->in),
                          residue_settled, again);
    }
}

/* A drover is told that there is no place for it, any other source waits. */
static void
prepare_enter(struct agent *agent, struct incoming *in,
              const struct log_context *log, const char *key)
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
    again->key = xstrdup_null(key);
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
              const struct log_context *log, const char *key)
{
    char uuid[UUID_SIZE];
    struct prepare_call *call = xzalloc(sizeof *call);

    call->done = steal(&in->prepared);
    call->aux = in->prepared_aux;
    op_start(agent->ops,
             in->kind == MIGRATE_LIVE ? &incoming_type : &incoming_rest_type,
             key ? key : uuid_generate_text(uuid), log, in, prepare_accepted,
             call);
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
        incoming_set_ended(in, call->done, call->aux);
    }
    free(call);
}

void
incoming_take_over(struct agent *agent, struct incoming_request *request,
                   const struct log_context *log, attach_done *done, void *aux)
{
    struct op *op =
        incoming_find(agent, object_string(request->instance, "uuid"));

    if (op && str_eq(op_type_name(op), incoming_rest_type.name)) {
        request_drop(request);
        done(aux, error_new(ERR_MIGRATION, "the guest comes in another way"));
        return;
    }
    if (!op) {
        /* Prepared by somebody else, or told before. */
        char key[UUID_SIZE];
        struct take_over *call = xzalloc(sizeof *call);
        struct incoming *in = incoming_create(agent, request);
        call->done = done;
        call->aux = aux;
        in->taken_over = true;
        in->has_arrived = incoming_has_arrived(agent, incoming_uuid(in));
        op_start(agent->ops, &incoming_arrival_type, uuid_generate_text(key),
                 log, in, arrival_accepted, call);
        return;
    }

    struct incoming *in = op_data(op);
    object_free(in->instance);
    in->instance = steal(&request->instance);
    request_drop(request);
    in->taken_over = true;
    incoming_set_ended(in, done, aux);
    if (in->wait) {
        op_ticket_done(steal(&in->wait), NULL);
    }
}

struct roll_back {
    struct agent *agent;
    struct incoming_request request;
    struct log_context log;
    bool is_announced;
    bool is_silent; /* Nova has no notifications of it. */
    attach_done *done;
    void *aux;
};

static void
announce_roll_back(struct roll_back *call)
{
    if (!call->is_announced && !call->is_silent) {
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

    if (!error && !call->is_silent) {
        announce_roll_back(call);
        notify_instance(call->agent->notify, call->request.context,
                        NOTIFY_ROLLBACK_DEST, NOTIFY_END,
                        call->request.instance);
    }
    call->done(call->aux, error);
    request_drop(&call->request);
    free(call);
}

/* The journal knows of nothing: whatever is here is not ours.  But that the
 * ports of a guest that is not here are bound to this host, too, would be in
 * the way of the next attempt. */
static void
roll_back_nothing(struct roll_back *call, bool is_absent)
{
    struct agent *agent = call->agent;
    const struct incoming_request *request = &call->request;

    if (is_absent && request->data) {
        agent->vifs->unbind_dest(agent, request->context, request->instance,
                                 request->data, roll_back_done, call);
    } else {
        roll_back_done(call, NULL);
    }
}

static void
roll_back_asked(void *aux, struct error *error, struct guest *guest)
{
    struct roll_back *call = aux;
    const char *uuid = object_string(call->request.instance, "uuid");
    bool is_here = guest && (guest->presence == GUEST_ACTIVE ||
                             guest->presence == GUEST_POSTCOPY ||
                             guest->presence == GUEST_POSTCOPY_FAILED);
    struct op *op = incoming_find(call->agent, uuid);

    bool was_here = op && guest && guest->presence == GUEST_OFF &&
                    incoming_has_arrived(call->agent, uuid);
    guest_free(guest);
    bool is_absent = error_code(error) == ERR_INSTANCE_NOT_FOUND;
    bool is_unknown = error && !is_absent;
    if (is_unknown && !op) {
        roll_back_done(call, error);
        return;
    }
    error_free(error);
    if (is_here || was_here) {
        log_error(&call->log, "refused to roll back: the guest %s here",
                  is_here ? "runs" : "arrived");
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
        roll_back_nothing(call, is_absent);
        return;
    }
    struct incoming *in = op_data(op);
    in->told_to_roll_back = true;
    incoming_set_ended(in, roll_back_done, call);
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
    struct op *op =
        incoming_find(agent, object_string(request->instance, "uuid"));

    call->is_silent = request->kind != MIGRATE_LIVE ||
                      (op && str_eq(op_type_name(op), incoming_rest_type.name));
    call->request = *request;
    call->log = *log;
    call->done = done;
    call->aux = aux;
    driver_guest_get(agent->driver, object_string(request->instance, "uuid"),
                     roll_back_asked, call);
}

void
incoming_cut_short(struct agent *agent, const char *instance_uuid)
{
    struct op *op = incoming_find(agent, instance_uuid);
    const struct incoming *in = op ? op_data(op) : NULL;

    if (in && in->prepared && !in->wait && !op_is_going_back(op)) {
        op_cancel(op, error_new(ERR_CANCELLED, "the source rolled back"));
    }
}

bool
incoming_is_expected(struct agent *agent, const char *instance_uuid)
{
    return incoming_find(agent, instance_uuid) != NULL;
}

struct object *
incoming_volume(struct agent *agent, const char *instance_uuid,
                const char *volume)
{
    struct op *op = incoming_find(agent, instance_uuid);
    const struct incoming *in = op ? op_data(op) : NULL;

    if (!in || !in->data || in->has_arrived || op_is_committed(op)) {
        return NULL;
    }
    for (size_t i = 0; i < migrate_data_n_bdms(in->data); i++) {
        AUTO_OBJECT data = object_copy(in->data);
        struct migrate_bdm bdm = migrate_data_bdm(in->data, i);
        if (str_eq(bdm.serial, volume)) {
            migrate_data_set_bdms(data, &bdm, 1);
            return steal(&data);
        }
    }
    return NULL;
}

struct error *
incoming_ask_source(struct agent *agent, const char *instance_uuid)
{
    struct op *op = incoming_find(agent, instance_uuid);
    struct incoming *in = op ? op_data(op) : NULL;

    if (!in || !in->watch) {
        return error_new(ERR_INVALID, "no operation waits for the guest");
    }
    incoming_watch_now(in);
    return NULL;
}

/* One that was prepared for here. */
static bool
is_to_come(const struct op *op)
{
    return str_eq(op_type_name(op), incoming_type.name) ||
           str_eq(op_type_name(op), incoming_rest_type.name);
}

void
incoming_take_places(struct agent *agent)
{
    for (struct op *op = op_first(agent->ops); op; op = op_next(op)) {
        if (is_to_come(op)) {
            struct incoming *in = op_data(op);
            in->place = incoming_places_take(agent->incoming);
        }
    }
}

unsigned
incoming_count(struct agent *agent)
{
    unsigned n = 0;

    for (struct op *op = op_first(agent->ops); op; op = op_next(op)) {
        n += is_to_come(op);
    }
    return n;
}

struct op *
incoming_find(struct agent *agent, const char *uuid)
{
    for (struct op *op = op_first(agent->ops); op; op = op_next(op)) {
        if (str_eq(op_type_name(op), incoming_type.name) ||
            str_eq(op_type_name(op), incoming_rest_type.name) ||
            str_eq(op_type_name(op), incoming_arrival_type.name)) {
            const struct incoming *in = op_data(op);
            if (str_eq(incoming_uuid(in), uuid)) {
                return op;
            }
        }
    }
    return NULL;
}
