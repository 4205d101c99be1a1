#include <config.h>

#include "agent/drain/drain.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "rpc/uuid.h"

LOG_MODULE(drain);

static void begin_run(struct op *op, struct op_ticket *ticket);
static void begin_probe(struct op *op, struct op_ticket *ticket);
static void move_run(struct op *op, struct op_ticket *ticket);
static struct json *drain_format(const void *data);
static struct error *drain_load(void *aux, const struct json *json,
                                void **ret_data);
static void drain_free(void *data);
static struct drain *find(struct agent *agent);
static struct error *find_resting(struct agent *agent, struct drain **ret);
static struct error *check_plan(const struct drain *drain,
                                const struct json *plan);
static void take_plan(struct drain *drain, const struct json *plan);
static struct json *describe(const struct drain *drain);
static size_t count_left(const struct drain_state *state);

/* There is nothing to take back: what was moved stays moved until somebody
 * wants it back.  So the commit comes first, and then it only goes on. */
static const struct step drain_steps[] = {
    {.name = "begin", .run = begin_run, .probe = begin_probe},
    {.name = "move", .run = move_run},
    {.name = NULL},
};

const struct op_type drain_type = {
    .name = "drain",
    .steps = drain_steps,
    .save = drain_format,
    .load = drain_load,
    .free_data = drain_free,
};

struct start_call {
    driver_done *done;
    void *aux;
};

static void
accepted(void *aux, struct op *op UNUSED, struct error *error)
{
    struct start_call *call = aux;

    call->done(call->aux, error);
    free(call);
}

void
drain_start(struct agent *agent, const struct json *plan,
            const struct log_context *log, driver_done *done, void *aux)
{
    const struct drain *other = find(agent);
    struct drain *drain = xzalloc(sizeof *drain);
    struct error *error;

    drain->agent = agent;
    if (other) {
        error =
            error_new(ERR_INVALID, "host '%s' is being drained already (%s)",
                      agent->conf->host,
                      drain_phase_name(drain_state_phase(&other->state)));
    } else {
        error = check_plan(drain, plan);
    }
    if (error) {
        drain_free(drain);
        done(aux, error);
        return;
    }
    take_plan(drain, plan);
    struct start_call *call = xzalloc(sizeof *call);
    char uuid[UUID_SIZE];
    AUTO_FREE key = xasprintf("drain:%s", uuid_generate_text(uuid));
    *call = (struct start_call){done, aux};
    json_free(steal(&agent->last_drain));
    op_start(agent->ops, &drain_type, key, log, drain, accepted, call);
}

struct error *
drain_resume(struct agent *agent, const struct json *plan)
{
    struct drain *drain;
    struct error *error = find_resting(agent, &drain);

    if (!error) {
        error = check_plan(drain, plan);
    }
    if (!error) {
        drain_state_resume(&drain->state);
        take_plan(drain, plan);
        drain_look_again(drain);
        drain_save(drain);
        drain_drive(drain);
    }
    return error;
}

struct error *
drain_stop(struct agent *agent)
{
    struct drain *drain = find(agent);

    if (!drain) {
        return error_new(ERR_NOT_FOUND, "host '%s' is not being drained",
                         agent->conf->host);
    }
    if (drain_phase_is_resting(drain_state_phase(&drain->state))) {
        return NULL; /* There is nothing to stop. */
    }
    log_info(op_log(drain->op), "to be stopped");
    drain->state.is_stopped = true;
    drain_save(drain);
    drain_drive(drain);
    return NULL;
}

struct error *
drain_restore(struct agent *agent)
{
    struct drain *drain;
    struct error *error = find_resting(agent, &drain);

    if (!error) {
        log_info(op_log(drain->op), "to be undone");
        drain_state_return(&drain->state);
        drain_save(drain);
        drain_drive(drain);
    }
    return error;
}

struct error *
drain_end(struct agent *agent)
{
    struct drain *drain = find(agent);

    if (!drain) {
        return error_new(ERR_NOT_FOUND, "host '%s' is not being drained",
                         agent->conf->host);
    }
    enum drain_phase phase = drain_state_phase(&drain->state);
    /* A host that never answers again must not keep this one for ever. */
    bool is_in_vain =
        phase == DRAIN_STOPPING && drain_state_is_unsure(&drain->state);
    if (!drain_phase_is_resting(phase) && !is_in_vain) {
        return error_new(ERR_INVALID, "host '%s' is %s: %s", agent->conf->host,
                         drain_phase_name(phase),
                         phase == DRAIN_STOPPING ? "wait for that"
                                                 : "stop that first");
    }
    log_info(op_log(drain->op), "to be given up");
    drain->is_given_up = true;
    drain_save(drain);
    drain_drive(drain);
    return NULL;
}

struct json *
drain_describe(struct agent *agent)
{
    const struct drain *drain = find(agent);

    return drain ? describe(drain) : json_copy(agent->last_drain);
}

struct error *
drain_check_incoming(struct agent *agent)
{
    const char *drain = drain_bars(agent);

    return drain ? error_new(ERR_MIGRATION_PRE_CHECK,
                             "host '%s' takes no guests: it is %s",
                             agent->conf->host, drain)
                 : NULL;
}

const char *
drain_bars(struct agent *agent)
{
    const struct drain *drain = find(agent);

    return drain && !drain->state.is_returning && !drain->is_given_up
               ? drain_phase_name(drain_state_phase(&drain->state))
               : NULL;
}

void
drain_guests_changed(struct agent *agent)
{
    struct drain *drain = find(agent);

    if (drain && drain->ticket) {
        bool was_surveyed = drain->is_surveyed;
        drain_look_again(drain);
        if (was_surveyed) {
            drain_drive(drain);
        }
    }
}

/* ---- The operation ------------------------------------------------------- */

static void
begin_run(struct op *op UNUSED, struct op_ticket *ticket)
{
    op_ticket_done(ticket, NULL);
}

/* It is what the journal says it is. */
static void
begin_probe(struct op *op UNUSED, struct op_ticket *ticket)
{
    op_ticket_answer(ticket, PROBE_YES);
}

static void
move_run(struct op *op, struct op_ticket *ticket)
{
    struct drain *drain = op_data(op);

    drain->op = op;
    drain->ticket = ticket;
    drain_drive(drain);
}

static struct json *
drain_format(const void *data)
{
    const struct drain *drain = data;
    struct json *json = drain_state_format(&drain->state);

    json_set_bool(json, "is_given_up", drain->is_given_up);
    return json;
}

static struct error *
drain_load(void *aux, const struct json *json, void **ret_data)
{
    struct drain *drain = xzalloc(sizeof *drain);

    drain->agent = aux;
    drain->is_given_up = json_bool_of(json, "is_given_up");
    struct error *error = drain_state_parse(json, &drain->state);
    if (error) {
        drain_free(drain);
        return error;
    }
    *ret_data = drain;
    return NULL;
}

static void
drain_free(void *data)
{
    struct drain *drain = data;

    drain_run_close(drain);
    drain_state_close(&drain->state);
    free(drain);
}

/* The open one; there is at most one. */
static struct drain *
find(struct agent *agent)
{
    for (struct op *op = op_first(agent->ops); op; op = op_next(op)) {
        if (str_eq(op_type_name(op), drain_type.name)) {
            struct drain *drain = op_data(op);
            drain->op = op;
            return drain;
        }
    }
    return NULL;
}

static struct error *
find_resting(struct agent *agent, struct drain **ret)
{
    struct drain *drain = find(agent);

    if (!drain) {
        return error_new(ERR_NOT_FOUND, "host '%s' is not drained",
                         agent->conf->host);
    }
    enum drain_phase phase = drain_state_phase(&drain->state);
    if (!drain_phase_is_resting(phase) || !drain->ticket) {
        return error_new(ERR_INVALID, "host '%s' is %s: stop that first",
                         agent->conf->host, drain_phase_name(phase));
    }
    *ret = drain;
    return NULL;
}

static struct error *
check_plan(const struct drain *drain, const struct json *plan)
{
    const struct json *guests = json_get(plan, "guests");
    size_t n = drain->state.n;

    if (!json_is_array(guests)) {
        return error_new(ERR_VALUE, "the plan has no guests");
    }
    json_for_each (guest, guests) {
        const char *uuid = json_string_of(guest, "uuid");

        if (!uuid || !uuid_is_valid(uuid) ||
            str_eq(json_string_of(guest, "dest"), drain->agent->conf->host)) {
            return error_new(ERR_VALUE, "the plan is none for this host");
        }
        n += !drain_state_find(&drain->state, uuid);
        if (n > DRAIN_MOVES_MAX) {
            return error_new(ERR_VALUE, "the plan has too many guests");
        }
    }
    return NULL;
}

/* One that was checked. */
static void
take_plan(struct drain *drain, const struct json *plan)
{
    json_for_each (guest, json_get(plan, "guests")) {
        drain_state_plan(
            &drain->state, json_string_of(guest, "uuid"),
            json_string_of(guest, "name"), json_int_of(guest, "memory_mb"),
            json_string_of(guest, "dest"), json_string_of(guest, "reason"));
    }
}

/* ---- For people ---------------------------------------------------------- */

static struct json *
describe(const struct drain *drain)
{
    struct json *json = drain_state_format(&drain->state);
    enum drain_phase phase = drain_state_phase(&drain->state);
    bool looks_on = phase == DRAIN_DRAINED || phase == DRAIN_PARTLY;
    bool rests = drain->is_given_up || (drain_phase_is_resting(phase) &&
                                        (!looks_on || drain->is_surveyed));
    size_t i = 0;

    json_for_each (move, json_get(json, "moves")) {
        int64_t progress = drain->state.moves[i++].progress;
        json_set(move, "progress",
                 progress >= 0 ? json_int(progress) : json_null());
    }
    json_remove(json, "is_given_up");
    json_remove(json, "is_returning");
    json_remove(json, "is_stopped");
    json_set_string(json, "host", drain->agent->conf->host);
    json_set_string(json, "phase",
                    drain->is_given_up   ? "given up"
                    : looks_on && !rests ? drain_phase_name(DRAIN_DRAINING)
                                         : drain_phase_name(phase));
    json_set_bool(json, "is_over", rests);
    json_set_int(json, "started_at",
                 drain->op ? op_started_us(drain->op) : clock_wall_us());
    json_set_int(json, "n_left", (int64_t)count_left(&drain->state));
    return json;
}

/* Guests that are here still, or again. */
static size_t
count_left(const struct drain_state *state)
{
    size_t n = 0;

    for (size_t i = 0; i < state->n; i++) {
        switch (state->moves[i].state) {
        case DRAIN_STUCK:
        case DRAIN_PLANNED:
        case DRAIN_MOVING:
        case DRAIN_FAILED:
        case DRAIN_RETURNED:
            n++;
            break;
        default:
            break;
        }
    }
    return n;
}
