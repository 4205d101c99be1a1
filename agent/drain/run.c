#include <config.h>

#include "agent/drain/drain.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/api/api.h"
#include "agent/base/clock.h"
#include "agent/drain/guests.h"
#include "agent/peer.h"
#include "rpc/uuid.h"

LOG_MODULE(drain);

#define POLL_MS 1000

/* Without a limit to migrations this many are asked for at a time. */
#define AT_ONCE_MAX 16

/* A question that is not answered yet. */
struct drain_request {
    struct drain *drain; /* Null: it is no more. */
    struct drain_request *next;
    char uuid[UUID_SIZE]; /* Of the instance. */
    void (*heard)(struct drain *drain, struct drain_move *move,
                  const struct json *result, struct error *error);
};

static void begin_more(struct drain *drain);
static void follow(struct drain *drain);
static void write_down(struct drain *drain, struct drain_move *move);
static void written(void *aux, struct error *error);
static void ask_to_migrate(struct drain *drain, struct drain_move *move);
static void asked(struct drain *drain, struct drain_move *move,
                  const struct json *result, struct error *error);
static void ask_how_it_goes(struct drain *drain, struct drain_move *move);
static void told(struct drain *drain, struct drain_move *move,
                 const struct json *result, struct error *error);
static void judge(struct drain *drain, struct drain_move *move,
                  const struct json *migration);
static void set_away(const struct drain *drain, struct drain_move *move);
static void look_here(struct drain *drain, struct drain_move *move);
static void looked_here(void *aux, struct error *error, struct guest *guest);
static bool is_busy_error(const struct error *error);
static const char *source_of(const struct drain *drain,
                             const struct drain_move *move);
static void ask(struct drain *drain, struct drain_move *move,
                const char *method, struct json *args,
                void (*heard)(struct drain *, struct drain_move *,
                              const struct json *, struct error *));
static struct drain_request *request_create(struct drain *drain,
                                            struct drain_move *move);
static struct drain_move *request_close(struct drain_request *request,
                                        struct drain **ret_drain);
static void end(struct drain *drain);
static void note_phase(struct drain *drain, enum drain_phase phase);
static void drive_in(struct drain *drain, uint64_t ms);
static void timer_due(uv_timer_t *timer);

void
drain_drive(struct drain *drain)
{
    if (!drain->ticket || drain->agent->stopping) {
        return;
    }
    if (!drain->is_given_up) {
        begin_more(drain);
        follow(drain);
    }
    enum drain_phase phase = drain_state_phase(&drain->state);
    bool is_done = phase == DRAIN_DRAINED || phase == DRAIN_PARTLY;
    if (drain->is_given_up || phase == DRAIN_RESTORED) {
        end(drain);
        return;
    }
    if (is_done && !drain->is_surveyed) {
        drain_look(drain);
    } else {
        note_phase(drain, phase);
    }
    if (!drain_phase_is_resting(phase) || (is_done && !drain->is_surveyed)) {
        drive_in(drain, POLL_MS);
    }
}

void
drain_save(struct drain *drain)
{
    op_save(drain->op, NULL, NULL);
}

void
drain_run_close(struct drain *drain)
{
    for (struct drain_request *r = drain->requests; r; r = r->next) {
        r->drain = NULL;
    }
    drain->requests = NULL;
    drain_look_close(drain);
    if (drain->ticket) { /* The operation stays as the journal has it. */
        op_ticket_done(steal(&drain->ticket), NULL);
    }
    if (drain->timer) {
        drain->timer->data = NULL;
        uv_close((uv_handle_t *)steal(&drain->timer), (uv_close_cb)free);
    }
}

/* ---- One guest ----------------------------------------------------------- */

static void
begin_more(struct drain *drain)
{
    unsigned limit =
        (unsigned)drain->agent->conf->max_concurrent_live_migrations;
    struct drain_move *move;
    uint64_t due_ms;

    while ((move = drain_state_next(&drain->state, limit ? limit : AT_ONCE_MAX,
                                    clock_now_ms(), &due_ms))) {
        char uuid[UUID_SIZE];

        drain_move_begin(move, uuid_generate_text(uuid));
        log_info(op_log(drain->op), "instance '%s' is to go %s host '%s'",
                 move->name,
                 move->state == DRAIN_RETURNING ? "back from" : "to",
                 move->host);
        write_down(drain, move);
    }
}

static void
follow(struct drain *drain)
{
    uint64_t now_ms = clock_now_ms();

    for (size_t i = 0; i < drain->state.n; i++) {
        struct drain_move *move = &drain->state.moves[i];

        if (!drain_move_is_under_way(move) || move->is_asked ||
            move->due_ms > now_ms) {
            continue;
        }
        if (move->is_written) {
            ask_how_it_goes(drain, move);
        } else {
            write_down(drain, move);
        }
    }
}

/* The migration's UUID is on disk before anybody hears of it. */
static void
write_down(struct drain *drain, struct drain_move *move)
{
    op_save(drain->op, written, request_create(drain, move));
}

static void
written(void *aux, struct error *error)
{
    struct drain *drain;
    struct drain_move *move = request_close(aux, &drain);

    if (error) {
        log_limited(LOG_LEVEL_WARN, NULL, "waiting for the journal: %s",
                    error_message(error));
        error_free(error);
    } else if (move) {
        move->is_written = true;
        ask_to_migrate(drain, move);
    }
}

static void
ask_to_migrate(struct drain *drain, struct drain_move *move)
{
    bool is_back = move->state == DRAIN_RETURNING;
    struct json *args = json_object();

    json_set_string(args, "instance", move->uuid);
    json_set_string(args, "dest",
                    is_back ? drain->agent->conf->host : move->host);
    json_set_string(args, "uuid", move->migration);
    ask(drain, move, "migrate_once", args, asked);
}

static void
asked(struct drain *drain, struct drain_move *move, const struct json *result,
      struct error *error)
{
    uint64_t now_ms = clock_now_ms();
    AUTO_FREE text = error ? error_text(error) : NULL;

    (void)result;
    switch (error_code(error)) {
    case ERR_NONE:
        return; /* It is on its way: follow() asks how it goes. */
    case ERR_TIMEOUT:
        /* Perhaps it is on its way. */
        drain_move_unsure(move, text, now_ms);
        return;
    case ERR_INSTANCE_NOT_FOUND:
        if (move->state == DRAIN_RETURNING) {
            look_here(drain, move); /* It may have come by itself. */
            return;
        }
        set_away(drain, move);
        break;
    case ERR_UNDELIVERABLE:
        if (move->state == DRAIN_RETURNING) {
            drain_move_wait(move, text, now_ms); /* Its agent is away. */
        } else {
            drain_move_failed(move, text, false, now_ms);
        }
        break;
    case ERR_INSTANCE_INVALID_STATE:
    case ERR_UNEXPECTED_TASK_STATE:
        if (is_busy_error(error)) {
            drain_move_wait(move, text, now_ms);
        } else {
            drain_move_failed(move, text, true, now_ms);
        }
        break;
    default:
        drain_move_failed(move, text, false, now_ms);
        break;
    }
    log_info(op_log(drain->op), "instance '%s' is not moved (%s): %s",
             move->name, drain_move_state_name(move->state),
             error_message(error));
    drain_save(drain);
}

static void
set_away(const struct drain *drain, struct drain_move *move)
{
    AUTO_FREE reason =
        xasprintf("it is not on host '%s' any more", source_of(drain, move));

    drain_move_away(move, reason);
}

static void
look_here(struct drain *drain, struct drain_move *move)
{
    struct drain_request *request = request_create(drain, move);

    driver_guest_get(drain->agent->driver, request->uuid, looked_here, request);
}

static void
looked_here(void *aux, struct error *error, struct guest *guest)
{
    struct drain *drain;
    struct drain_move *move = request_close(aux, &drain);
    CLEANUP(guest_free_at) struct guest *owned UNUSED = guest;
    AUTO_ERROR owned_error UNUSED = error;

    if (!move || move->state != DRAIN_RETURNING) {
        return;
    }
    if (error ? error_code(error) != ERR_INSTANCE_NOT_FOUND
              : guest->presence == GUEST_INCOMING) {
        drain_move_unsure(
            move, error ? error_message(error) : "another brings it back",
            clock_now_ms());
        return;
    }
    if (guest && drain_guest_is_here(guest)) {
        drain_move_done(move);
    } else {
        set_away(drain, move);
    }
    log_info(op_log(drain->op), "instance '%s' was moved by another: %s",
             move->name, drain_move_state_name(move->state));
    drain_save(drain);
    drive_in(drain, 0);
}

/* Another moves it, or does something else that will be over. */
static bool
is_busy_error(const struct error *error)
{
    return error_code(error) == ERR_UNEXPECTED_TASK_STATE ||
           str_eq(error_arg(error, "attr"), "task_state");
}

static void
ask_how_it_goes(struct drain *drain, struct drain_move *move)
{
    struct json *args = json_object();

    json_set_string(args, "migration", move->migration);
    ask(drain, move, "migration_show", args, told);
}

static void
told(struct drain *drain, struct drain_move *move, const struct json *result,
     struct error *error)
{
    switch (error_code(error)) {
    case ERR_NONE:
        judge(drain, move, result);
        break;
    case ERR_MIGRATION_NOT_FOUND:
        ask_to_migrate(drain, move); /* It may not have heard of it. */
        break;
    default:
        drain_move_unsure(move, error_message(error), clock_now_ms());
        break;
    }
}

static void
judge(struct drain *drain, struct drain_move *move,
      const struct json *migration)
{
    const char *status = json_string_of(migration, "status");
    const char *reason = json_string_of(migration, "error");
    const char *dest = json_string_of(migration, "dest");
    bool is_cancelled = str_eq(status, "cancelled");
    bool is_completed = str_eq(status, "completed");

    move->progress = json_int_of(migration, "progress");
    if (json_string_of(migration, "step") ||
        !(is_completed || is_cancelled || str_eq(status, "failed") ||
          str_eq(status, "error"))) {
        return; /* It is not over. */
    }
    if (is_completed) {
        if (dest && move->state == DRAIN_MOVING) {
            free(move->host);
            move->host = xstrdup(dest);
        }
        drain_move_done(move);
    } else {
        drain_move_failed(move, reason ? reason : status, is_cancelled,
                          clock_now_ms());
    }
    log_info(op_log(drain->op), "instance '%s': migration %s is %s, %s",
             move->name, move->migration, status,
             drain_move_state_name(move->state));
    drain_save(drain);
}

/* ---- Questions ----------------------------------------------------------- */

static const char *
source_of(const struct drain *drain, const struct drain_move *move)
{
    return move->state == DRAIN_RETURNING ? move->host
                                          : drain->agent->conf->host;
}

static void
heard(struct drain_request *request, const struct json *result,
      struct error *error)
{
    void (*use)(struct drain *, struct drain_move *, const struct json *,
                struct error *) = request->heard;
    struct drain *drain;
    struct drain_move *move = request_close(request, &drain);

    if (move) {
        move->is_unsure = false;
        use(drain, move, result, error);
        drive_in(drain, drain_move_is_under_way(move) ? POLL_MS : 0);
    }
    error_free(error);
}

static void
heard_here(void *aux, struct json *result, struct error *error)
{
    heard(aux, result, error);
    json_free(result);
}

static void
heard_there(void *aux, struct json **result, struct error *error)
{
    heard(aux, error ? NULL : *result, error);
}

/* Takes 'args'.  This host needs no bus to talk to itself. */
static void
ask(struct drain *drain, struct drain_move *move, const char *method,
    struct json *args,
    void (*use)(struct drain *, struct drain_move *, const struct json *,
                struct error *))
{
    struct drain_request *request = request_create(drain, move);
    const char *host = source_of(drain, move);
    AUTO_JSON owned = args;

    request->heard = use;
    if (str_eq(host, drain->agent->conf->host)) {
        api_call_local(drain->agent, method, args, heard_here, request);
    } else {
        peer_call_drover(drain->agent, host, method, steal(&owned), NULL,
                         str_eq(method, "migrate_once") ? PEER_LONG
                                                        : PEER_SHORT,
                         heard_there, request);
    }
}

static struct drain_request *
request_create(struct drain *drain, struct drain_move *move)
{
    struct drain_request *request = xzalloc(sizeof *request);

    request->drain = drain;
    request->next = drain->requests;
    drain->requests = request;
    snprintf(request->uuid, sizeof request->uuid, "%s", move->uuid);
    move->is_asked = true;
    return request;
}

/* Null if it does not matter any more. */
static struct drain_move *
request_close(struct drain_request *request, struct drain **ret_drain)
{
    struct drain *drain = request->drain;
    struct drain_move *move = NULL;

    if (drain) {
        struct drain_request **link = &drain->requests;

        while (*link != request) {
            link = &(*link)->next;
        }
        *link = request->next;
        move = drain_state_find(&drain->state, request->uuid);
    }
    free(request);
    if (move) {
        move->is_asked = false;
    }
    *ret_drain = drain;
    return drain && drain->ticket && !drain->agent->stopping ? move : NULL;
}

/* ---- At the end ---------------------------------------------------------- */

static void
end(struct drain *drain)
{
    struct agent *agent = drain->agent;

    note_phase(drain, drain_state_phase(&drain->state));
    json_free(steal(&agent->last_drain));
    agent->last_drain = drain_describe(agent);
    op_ticket_done(steal(&drain->ticket), NULL);
}

static void
note_phase(struct drain *drain, enum drain_phase phase)
{
    if (!drain->is_known || drain->shown != phase) {
        log_info(op_log(drain->op), "host is %s", drain_phase_name(phase));
    }
    drain->is_known = true;
    drain->shown = phase;
}

/* The sooner of this and what is set already. */
static void
drive_in(struct drain *drain, uint64_t ms)
{
    uint64_t due_ms = clock_now_ms() + ms;

    if (!drain->timer) {
        drain->timer = xzalloc(sizeof *drain->timer);
        uv_timer_init(drain->agent->loop, drain->timer);
        drain->timer->data = drain;
        drain->timer_due_ms = 0;
    }
    if (!drain->timer_due_ms || due_ms < drain->timer_due_ms) {
        drain->timer_due_ms = due_ms;
        uv_timer_start(drain->timer, timer_due, ms, 0);
    }
}

static void
timer_due(uv_timer_t *timer)
{
    struct drain *drain = timer->data;

    if (drain) {
        drain->timer_due_ms = 0;
        drain_drive(drain);
    }
}
