#include <config.h>

#include "rpc/ack_window.h"

#include <stdlib.h>

#include "agent/base/mem.h"

enum { OUTSTANDING, MARKED, SETTLED };

static unsigned char *state_of(struct ack_window *window, uint64_t tag);
static void grow(struct ack_window *window);

void
ack_window_close(struct ack_window *window)
{
    free(window->state);
    free(window->marked);
    *window = (struct ack_window){0};
}

void
ack_window_reset(struct ack_window *window)
{
    window->first = 0;
    window->n = window->n_marked = 0;
}

void
ack_window_add(struct ack_window *window, uint64_t tag)
{
    if (!window->n) {
        window->first = tag;
    }
    if (window->n == window->room) {
        grow(window);
    }
    window->n++;
    *state_of(window, tag) = OUTSTANDING;
}

bool
ack_window_mark(struct ack_window *window, uint64_t tag)
{
    unsigned char *state = state_of(window, tag);

    if (!state || *state != OUTSTANDING) {
        return false;
    }
    *state = MARKED;
    if (window->n_marked == window->room_marked) {
        window->marked =
            xgrow(window->marked, &window->room_marked, sizeof *window->marked);
    }
    window->marked[window->n_marked++] = tag;
    return true;
}

bool
ack_window_forget(struct ack_window *window, uint64_t tag)
{
    unsigned char *state = state_of(window, tag);

    if (!state || *state != OUTSTANDING) {
        return false;
    }
    *state = SETTLED;
    return true;
}

/* First one method for the run at the front, then one for each behind a gap. */
bool
ack_window_next(struct ack_window *window, uint64_t *ret_tag,
                bool *ret_multiple)
{
    unsigned n_in_run = 0;

    while (window->n) {
        unsigned char state = *state_of(window, window->first);

        if (state == OUTSTANDING) {
            break;
        }
        if (state == MARKED) {
            *ret_tag = window->first;
            n_in_run++;
        }
        window->first++;
        window->n--;
    }
    if (n_in_run) {
        *ret_multiple = n_in_run > 1;
        return true;
    }

    while (window->n_marked) {
        uint64_t tag = window->marked[--window->n_marked];
        unsigned char *state = state_of(window, tag);

        if (state && *state == MARKED) {
            *state = SETTLED;
            *ret_tag = tag;
            *ret_multiple = false;
            return true;
        }
    }
    return false;
}

static unsigned char *
state_of(struct ack_window *window, uint64_t tag)
{
    if (tag < window->first || tag - window->first >= window->n) {
        return NULL;
    }
    return &window->state[tag & (window->room - 1)];
}

static void
grow(struct ack_window *window)
{
    size_t room = window->room ? window->room * 2 : 64;
    unsigned char *state = xzalloc(room);

    for (size_t i = 0; i < window->n; i++) {
        uint64_t tag = window->first + i;
        state[tag & (room - 1)] = window->state[tag & (window->room - 1)];
    }
    free(window->state);
    window->state = state;
    window->room = room;
}
