#ifndef DROVER_DRAIN_STATE_H
#define DROVER_DRAIN_STATE_H

/* What a drain knows of each guest, and what is to be done next: the record
 * that its journal keeps, without asking anything of anybody.
 *
 *   stuck ◀─ it can't be moved           to-return ◀─ host restore ─ moved
 *   planned ──▶ moving ──▶ moved            │
 *      ▲          ├──▶ planned (again)      ▼
 *      └ resume   └──▶ failed            returning ──▶ returned
 *   away: somebody else moved it            ├──▶ to-return (again)
 *                                           └──▶ not-returned
 *
 * Threads: the loop. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rpc/json.h"

/* Each once: name here, name for people and the journal. */
#define DRAIN_MOVE_STATES                          \
    DRAIN_MOVE_STATE(STUCK, "stuck")               \
    DRAIN_MOVE_STATE(PLANNED, "planned")           \
    DRAIN_MOVE_STATE(MOVING, "moving")             \
    DRAIN_MOVE_STATE(MOVED, "moved")               \
    DRAIN_MOVE_STATE(FAILED, "failed")             \
    DRAIN_MOVE_STATE(TO_RETURN, "to-return")       \
    DRAIN_MOVE_STATE(RETURNING, "returning")       \
    DRAIN_MOVE_STATE(RETURNED, "returned")         \
    DRAIN_MOVE_STATE(NOT_RETURNED, "not-returned") \
    DRAIN_MOVE_STATE(AWAY, "away")

enum drain_move_state {
#define DRAIN_MOVE_STATE(NAME, TEXT) DRAIN_##NAME,
    DRAIN_MOVE_STATES
#undef DRAIN_MOVE_STATE
        DRAIN_N_MOVE_STATES
};
const char *drain_move_state_name(enum drain_move_state state);

struct drain_move {
    char *uuid, *name; /* Of the instance. */
    int64_t memory_mb;
    char *host;      /* Where it is to go, or went; null: nowhere. */
    char *migration; /* UUID of the latest migration; null: none yet. */
    char *reason;    /* Why it is where it is; null: nothing to be said. */
    enum drain_move_state state;
    unsigned n_tries; /* That failed. */

    /* Not in the journal. */
    bool is_asked;    /* An answer is awaited. */
    bool is_written;  /* The journal has this state. */
    bool is_unsure;   /* The last question was not answered. */
    uint64_t due_ms;  /* Not to be tried before. */
    int64_t progress; /* Percent; -1: not known. */
};

enum drain_phase {
    DRAIN_DRAINING,
    DRAIN_DRAINED, /* No guest is left. */
    DRAIN_PARTLY,  /* All that could be done is done. */
    DRAIN_RESTORING,
    DRAIN_RESTORED,
    DRAIN_RESTORED_PARTLY,
    DRAIN_STOPPING, /* Those under way come to their end. */
    DRAIN_STOPPED,
};
const char *drain_phase_name(enum drain_phase phase);

struct drain_state {
    struct drain_move *moves;
    size_t n, n_room;
    bool is_returning; /* host restore was asked for. */
    bool is_stopped;   /* No new ones are to begin. */
};

/* More than that make room of those that are away; and a reason, which other
 * hosts may give, is cut off at so many bytes. */
#define DRAIN_MOVES_MAX 4096
#define DRAIN_REASON_MAX 1000

/* Failures of one guest before it is given up, and the pause before each try,
 * times their number. */
#define DRAIN_TRIES 3
#define DRAIN_PAUSE_MS 5000

void drain_state_close(struct drain_state *state);
struct json *drain_state_format(const struct drain_state *state);
/* ERR_STORAGE if it is none; then '*ret' is empty. */
struct error *drain_state_parse(const struct json *json,
                                struct drain_state *ret) WARN_UNUSED;

struct drain_move *drain_state_find(const struct drain_state *state,
                                    const char *uuid); /* Or null. */

/* A guest that is to go to 'host', or with null, for 'reason', is stuck.  What
 * was known of it is replaced, unless it is under way.  Pointers to moves that
 * were got before are void. */
void drain_state_plan(struct drain_state *state, const char *uuid,
                      const char *name, int64_t memory_mb, const char *host,
                      const char *reason);

enum drain_phase drain_state_phase(const struct drain_state *state);
bool drain_phase_is_resting(enum drain_phase phase); /* Until asked. */

/* The next one to begin when 'limit' (0: none) may be under way; null: none.
 * '*ret_due_ms' is, if it is only a matter of time, when; else 0. */
struct drain_move *drain_state_next(const struct drain_state *state,
                                    unsigned limit, uint64_t now_ms,
                                    uint64_t *ret_due_ms);

bool drain_move_is_under_way(const struct drain_move *move);

/* It begins, as the migration of that UUID. */
void drain_move_begin(struct drain_move *move, const char *migration);

/* It is over.  'reason' (may be null) is kept. */
void drain_move_done(struct drain_move *move);
void drain_move_away(struct drain_move *move, const char *reason);

/* It failed: is tried again later unless that is 'final', or often enough. */
void drain_move_failed(struct drain_move *move, const char *reason, bool final,
                       uint64_t now_ms);

/* Another moves the guest: wait for that. */
void drain_move_wait(struct drain_move *move, const char *reason,
                     uint64_t now_ms);

/* How it goes is not known: to be asked again, for as long as it takes. */
void drain_move_unsure(struct drain_move *move, const char *reason,
                       uint64_t now_ms);

/* Some are under way, and nobody says how any of them does. */
bool drain_state_is_unsure(const struct drain_state *state);

/* Guests that were moved are to come back; those that were not begun stay. */
void drain_state_return(struct drain_state *state);

/* The other way again: those that have not come back count as moved. */
void drain_state_resume(struct drain_state *state);

#endif
