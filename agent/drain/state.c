#include <config.h>

#include "agent/drain/state.h"

#include <stdlib.h>
#include <string.h>

static const char *const move_states[] = {
#define DRAIN_MOVE_STATE(NAME, TEXT) TEXT,
    DRAIN_MOVE_STATES
#undef DRAIN_MOVE_STATE
};

static struct drain_move *add(struct drain_state *state);
static struct drain_move *find_away(const struct drain_state *state);
static void move_close(struct drain_move *move);
static void set_text(char **text, const char *value);
static void set_reason(struct drain_move *move, const char *reason);
static struct json *move_format(const struct drain_move *move);
static struct error *move_parse(const struct json *json,
                                struct drain_state *state);
static bool is_to_begin(const struct drain_state *state,
                        const struct drain_move *move);
static size_t count_under_way(const struct drain_state *state);
static bool has(const struct drain_state *state, enum drain_move_state what);

const char *
drain_move_state_name(enum drain_move_state state)
{
    return move_states[state];
}

const char *
drain_phase_name(enum drain_phase phase)
{
    switch (phase) {
    case DRAIN_DRAINING:
        return "draining";
    case DRAIN_DRAINED:
        return "drained";
    case DRAIN_PARTLY:
        return "partly drained";
    case DRAIN_RESTORING:
        return "restoring";
    case DRAIN_RESTORED:
        return "restored";
    case DRAIN_RESTORED_PARTLY:
        return "partly restored";
    case DRAIN_STOPPING:
        return "stopping";
    case DRAIN_STOPPED:
        break;
    }
    return "stopped";
}

void
drain_state_close(struct drain_state *state)
{
    for (size_t i = 0; i < state->n; i++) {
        move_close(&state->moves[i]);
    }
    free(state->moves);
    *state = (struct drain_state){.moves = NULL};
}

struct json *
drain_state_format(const struct drain_state *state)
{
    struct json *json = json_object();
    struct json *moves = json_array();

    for (size_t i = 0; i < state->n; i++) {
        json_append(moves, move_format(&state->moves[i]));
    }
    json_set(json, "moves", moves);
    json_set_bool(json, "is_returning", state->is_returning);
    json_set_bool(json, "is_stopped", state->is_stopped);
    return json;
}

struct error *
drain_state_parse(const struct json *json, struct drain_state *ret)
{
    *ret = (struct drain_state){
        .is_returning = json_bool_of(json, "is_returning"),
        .is_stopped = json_bool_of(json, "is_stopped"),
    };
    json_for_each (item, json_get(json, "moves")) {
        struct error *error = move_parse(item, ret);
        if (error) {
            drain_state_close(ret);
            return error;
        }
    }
    return NULL;
}

struct drain_move *
drain_state_find(const struct drain_state *state, const char *uuid)
{
    for (size_t i = 0; i < state->n; i++) {
        if (str_eq(state->moves[i].uuid, uuid)) {
            return &state->moves[i];
        }
    }
    return NULL;
}

void
drain_state_plan(struct drain_state *state, const char *uuid, const char *name,
                 int64_t memory_mb, const char *host, const char *reason)
{
    struct drain_move *move = drain_state_find(state, uuid);

    if (move && drain_move_is_under_way(move)) {
        return;
    }
    if (move) {
        move_close(move);
        *move = (struct drain_move){.progress = -1};
    } else {
        move = add(state);
    }
    move->uuid = xstrdup(uuid);
    move->name = xstrdup_null(name);
    move->memory_mb = memory_mb;
    move->host = xstrdup_null(host);
    set_reason(move, host ? NULL : reason);
    move->state = host ? DRAIN_PLANNED : DRAIN_STUCK;
}

enum drain_phase
drain_state_phase(const struct drain_state *state)
{
    bool is_busy = count_under_way(state) > 0;
    bool has_more =
        has(state, state->is_returning ? DRAIN_TO_RETURN : DRAIN_PLANNED);

    if (state->is_stopped && is_busy) {
        return DRAIN_STOPPING;
    }
    if (state->is_stopped && has_more) {
        return DRAIN_STOPPED;
    }
    if (state->is_returning) {
        return is_busy || has_more              ? DRAIN_RESTORING
               : has(state, DRAIN_NOT_RETURNED) ? DRAIN_RESTORED_PARTLY
                                                : DRAIN_RESTORED;
    }
    return is_busy || has_more ? DRAIN_DRAINING
           : has(state, DRAIN_STUCK) || has(state, DRAIN_FAILED)
               ? DRAIN_PARTLY
               : DRAIN_DRAINED;
}

bool
drain_phase_is_resting(enum drain_phase phase)
{
    return phase != DRAIN_DRAINING && phase != DRAIN_RESTORING &&
           phase != DRAIN_STOPPING;
}

struct drain_move *
drain_state_next(const struct drain_state *state, unsigned limit,
                 uint64_t now_ms, uint64_t *ret_due_ms)
{
    *ret_due_ms = 0;
    if (state->is_stopped || (limit && count_under_way(state) >= limit)) {
        return NULL;
    }
    for (size_t i = 0; i < state->n; i++) {
        struct drain_move *move = &state->moves[i];

        if (!is_to_begin(state, move)) {
            continue;
        }
        if (move->due_ms <= now_ms) {
            return move;
        }
        if (!*ret_due_ms || move->due_ms < *ret_due_ms) {
            *ret_due_ms = move->due_ms;
        }
    }
    return NULL;
}

bool
drain_move_is_under_way(const struct drain_move *move)
{
    return move->state == DRAIN_MOVING || move->state == DRAIN_RETURNING;
}

void
drain_move_begin(struct drain_move *move, const char *migration)
{
    move->state =
        move->state == DRAIN_TO_RETURN ? DRAIN_RETURNING : DRAIN_MOVING;
    set_text(&move->migration, migration);
    move->is_written = false;
    move->is_unsure = false;
    move->progress = -1;
}

void
drain_move_done(struct drain_move *move)
{
    move->state = move->state == DRAIN_RETURNING ? DRAIN_RETURNED : DRAIN_MOVED;
    set_reason(move, NULL);
    move->n_tries = 0;
}

void
drain_move_away(struct drain_move *move, const char *reason)
{
    move->state = DRAIN_AWAY;
    set_reason(move, reason);
}

void
drain_move_failed(struct drain_move *move, const char *reason, bool final,
                  uint64_t now_ms)
{
    bool is_back =
        move->state == DRAIN_RETURNING || move->state == DRAIN_TO_RETURN;

    set_reason(move, reason);
    if (++move->n_tries < DRAIN_TRIES && !final) {
        move->state = is_back ? DRAIN_TO_RETURN : DRAIN_PLANNED;
        move->due_ms = now_ms + move->n_tries * (uint64_t)DRAIN_PAUSE_MS;
    } else {
        move->state = is_back ? DRAIN_NOT_RETURNED : DRAIN_FAILED;
    }
}

void
drain_move_wait(struct drain_move *move, const char *reason, uint64_t now_ms)
{
    move->state =
        move->state == DRAIN_RETURNING || move->state == DRAIN_TO_RETURN
            ? DRAIN_TO_RETURN
            : DRAIN_PLANNED;
    set_reason(move, reason);
    move->due_ms = now_ms + DRAIN_PAUSE_MS;
}

void
drain_move_unsure(struct drain_move *move, const char *reason, uint64_t now_ms)
{
    set_reason(move, reason);
    move->due_ms = now_ms + DRAIN_PAUSE_MS;
    move->is_unsure = true;
}

bool
drain_state_is_unsure(const struct drain_state *state)
{
    size_t n = 0;

    for (size_t i = 0; i < state->n; i++) {
        const struct drain_move *move = &state->moves[i];

        n += drain_move_is_under_way(move) && move->is_unsure;
    }
    return n && n == count_under_way(state);
}

void
drain_state_return(struct drain_state *state)
{
    state->is_returning = true;
    state->is_stopped = false;
    for (size_t i = 0; i < state->n; i++) {
        struct drain_move *move = &state->moves[i];

        if (move->state == DRAIN_MOVED || move->state == DRAIN_NOT_RETURNED) {
            move->state = DRAIN_TO_RETURN;
            move->n_tries = 0;
            move->due_ms = 0;
        } else if (move->state == DRAIN_PLANNED) {
            move->state = DRAIN_STUCK;
            set_reason(move, "the drain was undone before its turn");
        }
    }
}

void
drain_state_resume(struct drain_state *state)
{
    state->is_returning = false;
    state->is_stopped = false;
    for (size_t i = 0; i < state->n; i++) {
        struct drain_move *move = &state->moves[i];

        if (move->state == DRAIN_TO_RETURN ||
            move->state == DRAIN_NOT_RETURNED) {
            move->state = DRAIN_MOVED;
        }
    }
}

static struct drain_move *
add(struct drain_state *state)
{
    struct drain_move *away =
        state->n >= DRAIN_MOVES_MAX ? find_away(state) : NULL;

    if (away) {
        move_close(away);
        *away = (struct drain_move){.progress = -1};
        return away;
    }
    if (state->n == state->n_room) {
        state->moves =
            xgrow(state->moves, &state->n_room, sizeof *state->moves);
    }
    state->moves[state->n] = (struct drain_move){.progress = -1};
    return &state->moves[state->n++];
}

static struct drain_move *
find_away(const struct drain_state *state)
{
    for (size_t i = 0; i < state->n; i++) {
        if (state->moves[i].state == DRAIN_AWAY) {
            return &state->moves[i];
        }
    }
    return NULL;
}

static void
move_close(struct drain_move *move)
{
    free(move->uuid);
    free(move->name);
    free(move->host);
    free(move->migration);
    free(move->reason);
}

static void
set_text(char **text, const char *value)
{
    char *copy = xstrdup_null(value);

    free(*text);
    *text = copy;
}

/* Not in the middle of a character. */
static void
set_reason(struct drain_move *move, const char *reason)
{
    size_t size = reason ? strnlen(reason, DRAIN_REASON_MAX + 1) : 0;

    if (size <= DRAIN_REASON_MAX) {
        set_text(&move->reason, reason);
        return;
    }
    size = DRAIN_REASON_MAX - strlen("...");
    while (((unsigned char)reason[size] & 0xC0) == 0x80) {
        size--;
    }
    AUTO_FREE cut = xasprintf("%.*s...", (int)size, reason);
    set_text(&move->reason, cut);
}

static struct json *
move_format(const struct drain_move *move)
{
    struct json *json = json_object();

    json_set_string(json, "uuid", move->uuid);
    json_set_string(json, "name", move->name);
    json_set_int(json, "memory_mb", move->memory_mb);
    json_set_string(json, "host", move->host);
    json_set_string(json, "migration", move->migration);
    json_set_string(json, "reason", move->reason);
    json_set_string(json, "state", drain_move_state_name(move->state));
    json_set_int(json, "n_tries", move->n_tries);
    return json;
}

static struct error *
move_parse(const struct json *json, struct drain_state *state)
{
    const char *uuid = json_string_of(json, "uuid");
    const char *name = json_string_of(json, "state");
    int which = 0;

    while (which < DRAIN_N_MOVE_STATES && !str_eq(move_states[which], name)) {
        which++;
    }
    if (!uuid || which == DRAIN_N_MOVE_STATES) {
        return error_new(ERR_STORAGE, "guest '%s' of a drain is '%s'",
                         uuid ? uuid : "", name ? name : "");
    }
    struct drain_move *move = add(state);
    move->uuid = xstrdup(uuid);
    move->name = xstrdup_null(json_string_of(json, "name"));
    move->memory_mb = json_int_of(json, "memory_mb");
    move->host = xstrdup_null(json_string_of(json, "host"));
    move->migration = xstrdup_null(json_string_of(json, "migration"));
    move->reason = xstrdup_null(json_string_of(json, "reason"));
    move->state = (enum drain_move_state)which;
    move->n_tries = (unsigned)json_int_of(json, "n_tries");
    move->is_written = true;
    return NULL;
}

static bool
is_to_begin(const struct drain_state *state, const struct drain_move *move)
{
    return move->state ==
           (state->is_returning ? DRAIN_TO_RETURN : DRAIN_PLANNED);
}

static size_t
count_under_way(const struct drain_state *state)
{
    size_t n = 0;

    for (size_t i = 0; i < state->n; i++) {
        n += drain_move_is_under_way(&state->moves[i]);
    }
    return n;
}

static bool
has(const struct drain_state *state, enum drain_move_state what)
{
    for (size_t i = 0; i < state->n; i++) {
        if (state->moves[i].state == what) {
            return true;
        }
    }
    return false;
}
