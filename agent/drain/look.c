#include <config.h>

#include "agent/drain/drain.h"

#include <stdlib.h>

#include "agent/drain/guests.h"
#include "agent/incoming/incoming.h"

/* When all is done that was planned: has anybody come by a way that does not
 * ask, or gone without us?  Only when that is known, and nobody is on its way
 * here any more, is it over. */

struct drain_look {
    struct drain *drain; /* Null: it is no more. */
};

static void found(void *aux, struct error *error, struct drain_guests *guests);
static bool compare(struct drain_state *state,
                    const struct drain_guests *guests);
static bool accounts_for(const struct drain_move *move,
                         const struct guest *guest);
static bool is_known_left(const struct drain_move *move);
static char *why_left(const struct guest *guest, const char *doubt);
static bool is_one_under_way(struct agent *agent,
                             const struct drain_guests *guests);

void
drain_look(struct drain *drain)
{
    const struct drain_state *state = &drain->state;

    if (drain->look) {
        return;
    }
    char **expected = xcalloc(state->n + 1, sizeof *expected);
    size_t n = 0;

    for (size_t i = 0; i < state->n; i++) {
        if (is_known_left(&state->moves[i])) {
            expected[n++] = xstrdup(state->moves[i].uuid);
        }
    }
    drain->look = xzalloc(sizeof *drain->look);
    drain->look->drain = drain;
    drain->look_is_old = false;
    drain_guests_find(drain->agent, expected, n, found, drain->look);
}

void
drain_look_again(struct drain *drain)
{
    drain->is_surveyed = false;
    drain->look_is_old = true;
}

void
drain_look_close(struct drain *drain)
{
    if (drain->look) {
        drain->look->drain = NULL;
    }
}

static void
found(void *aux, struct error *error, struct drain_guests *guests)
{
    struct drain_look *look = aux;
    struct drain *drain = look->drain;
    CLEANUP(drain_guests_free_at) struct drain_guests *owned UNUSED = guests;
    AUTO_ERROR owned_error UNUSED = error;

    free(look);
    if (!drain) {
        return;
    }
    drain->look = NULL;
    if (error || drain->look_is_old || !drain->ticket ||
        drain->agent->stopping) {
        return; /* The next round looks again. */
    }
    bool is_changed = compare(&drain->state, guests);
    drain->is_surveyed = !is_one_under_way(drain->agent, guests);
    if (is_changed) {
        drain_save(drain);
    }
    if (is_changed || drain->is_surveyed) {
        drain_drive(drain);
    }
}

/* True if that changed something. */
static bool
compare(struct drain_state *state, const struct drain_guests *guests)
{
    bool is_changed = false;

    for (size_t i = 0; i < state->n; i++) {
        struct drain_move *move = &state->moves[i];

        if (is_known_left(move) && !drain_guests_has(guests, move->uuid)) {
            drain_move_away(move, "it is not on this host any more");
            is_changed = true;
        }
    }
    for (size_t i = 0; i < guests->list->n; i++) {
        const struct guest *guest = guests->list->guests[i];
        const struct drain_move *move = drain_state_find(state, guest->uuid);

        if (drain_guests_has(guests, guest->uuid) &&
            !(move && accounts_for(move, guest))) {
            AUTO_FREE reason = why_left(guest, guests->doubts[i]);
            drain_state_plan(state, guest->uuid,
                             guest->title ? guest->title : guest->name,
                             guest->memory_mb, NULL, reason);
            is_changed = true;
        }
    }
    return is_changed;
}

/* A definition may be left of one that was moved. */
static bool
accounts_for(const struct drain_move *move, const struct guest *guest)
{
    return is_known_left(move) ||
           (move->state == DRAIN_MOVED && guest->presence == GUEST_OFF);
}

static bool
is_known_left(const struct drain_move *move)
{
    return move->state == DRAIN_STUCK || move->state == DRAIN_FAILED;
}

/* The caller's. */
static char *
why_left(const struct guest *guest, const char *doubt)
{
    if (doubt) {
        return xasprintf("it can't be read: %s", doubt);
    }
    return xstrdup(guest->presence == GUEST_POSTCOPY_FAILED
                       ? "its post-copy is broken"
                       : "it was not here when the drain was planned");
}

/* It was let in before, or is half gone: what becomes of it is waited for.
 * What was prepared for one need not be a guest yet. */
static bool
is_one_under_way(struct agent *agent, const struct drain_guests *guests)
{
    for (size_t i = 0; i < guests->list->n; i++) {
        enum guest_presence presence = guests->list->guests[i]->presence;

        if (presence == GUEST_INCOMING || presence == GUEST_POSTCOPY) {
            return true;
        }
    }
    return incoming_count(agent) > 0;
}
