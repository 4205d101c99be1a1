#include <config.h>

#include "agent/incoming/places.h"

#include <stdlib.h>

#include "agent/base/mem.h"

/* One who waits.  Freed when its timer is closed. */
struct wait {
    struct incoming_places *places;
    struct wait *next;
    uv_timer_t timer;
    struct slot *slot;
    void (*got)(void *aux, struct error *error, struct slot *place);
    void *aux;
};

struct incoming_places {
    uv_loop_t *loop;
    struct slots *slots;
    unsigned timeout_s;
    bool is_stopped;
    struct wait *waits;
};

static void granted(void *aux);
static void timer_due(uv_timer_t *timer);
static void wait_end(struct wait *wait, struct error *error);
static void timer_closed(uv_handle_t *handle);
static struct error *stopping(void);

struct incoming_places *
incoming_places_create(uv_loop_t *loop, unsigned n, unsigned timeout_s)
{
    struct incoming_places *places = xzalloc(sizeof *places);

    places->loop = loop;
    places->slots = slots_create(n);
    places->timeout_s = timeout_s;
    return places;
}

void
incoming_places_stop(struct incoming_places *places)
{
    places->is_stopped = true;
    while (places->waits) {
        wait_end(places->waits, stopping());
    }
}

void
incoming_places_free(struct incoming_places *places)
{
    if (places) {
        slots_free(places->slots);
        free(places);
    }
}

bool
incoming_places_are_full(const struct incoming_places *places)
{
    return slots_are_full(places->slots);
}

unsigned
incoming_places_n_waiting(const struct incoming_places *places)
{
    return slots_n_waiting(places->slots);
}

void
incoming_places_request(struct incoming_places *places,
                        void (*got)(void *aux, struct error *error,
                                    struct slot *place),
                        void *aux)
{
    if (places->is_stopped) {
        got(aux, stopping(), NULL);
        return;
    }
    if (!slots_are_full(places->slots)) {
        got(aux, NULL, slots_take(places->slots));
        return;
    }
    struct wait *wait = xzalloc(sizeof *wait);
    wait->places = places;
    wait->got = got;
    wait->aux = aux;
    wait->next = places->waits;
    places->waits = wait;
    wait->timer.data = wait;
    uv_timer_init(places->loop, &wait->timer);
    uv_timer_start(&wait->timer, timer_due, places->timeout_s * UINT64_C(1000),
                   0);
    wait->slot = slots_request(places->slots, granted, wait);
}

struct slot *
incoming_places_take(struct incoming_places *places)
{
    return slots_take(places->slots);
}

static void
granted(void *aux)
{
    wait_end(aux, NULL);
}

static void
timer_due(uv_timer_t *timer)
{
    struct wait *wait = timer->data;

    wait_end(wait, error_new(ERR_MIGRATION_PRE_CHECK,
                             "this host had no place for an incoming "
                             "migration in %u s",
                             wait->places->timeout_s));
}

/* Takes 'error'; null: it has its place. */
static void
wait_end(struct wait *wait, struct error *error)
{
    struct wait **at = &wait->places->waits;

    while (*at != wait) {
        at = &(*at)->next;
    }
    *at = wait->next;
    uv_close((uv_handle_t *)&wait->timer, timer_closed);
    if (error) {
        slot_release(steal(&wait->slot));
    }
    wait->got(wait->aux, error, steal(&wait->slot));
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static struct error *
stopping(void)
{
    return error_new(ERR_CANCELLED, "the agent is stopping");
}
