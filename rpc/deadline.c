#include <config.h>

#include "rpc/deadline.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/base/mem.h"

struct deadlines {
    uv_timer_t timer;
    struct deadline **heap; /* From 1; the earliest is first. */
    size_t n, room;
    uint64_t armed_ms; /* When the timer fires; UINT64_MAX: never. */
    void (*closed)(void *aux);
    void *aux;
};

static void timer_fired(uv_timer_t *timer);
static void timer_closed(uv_handle_t *handle);
static void arm(struct deadlines *);
static void place(struct deadlines *, struct deadline *, size_t i);
static void sift_up(struct deadlines *, size_t i);
static void sift_down(struct deadlines *, size_t i);

struct deadlines *
deadlines_create(uv_loop_t *loop)
{
    struct deadlines *d = xzalloc(sizeof *d);

    uv_timer_init(loop, &d->timer);
    d->timer.data = d;
    d->armed_ms = UINT64_MAX;
    return d;
}

void
deadlines_close(struct deadlines *d, void (*closed)(void *aux), void *aux)
{
    d->closed = closed;
    d->aux = aux;
    while (d->n) {
        deadlines_clear(d, d->heap[d->n]);
    }
    uv_close((uv_handle_t *)&d->timer, timer_closed);
}

void
deadlines_set(struct deadlines *d, struct deadline *deadline, uint64_t at_ms)
{
    deadline->at_ms = at_ms;
    if (!deadline->place) {
        if (d->n + 1 >= d->room) {
            d->heap = xgrow(d->heap, &d->room, sizeof *d->heap);
        }
        place(d, deadline, ++d->n);
    }
    sift_up(d, deadline->place);
    sift_down(d, deadline->place);
    arm(d);
}

void
deadlines_clear(struct deadlines *d, struct deadline *deadline)
{
    size_t i = deadline->place;

    if (!i) {
        return;
    }
    deadline->place = 0;
    struct deadline *last = d->heap[d->n--];
    if (last != deadline) {
        place(d, last, i);
        sift_up(d, last->place);
        sift_down(d, last->place);
    }
}

static void
timer_fired(uv_timer_t *timer)
{
    struct deadlines *d = timer->data;
    uint64_t now_ms = clock_now_ms();

    d->armed_ms = UINT64_MAX;
    while (d->n && d->heap[1]->at_ms <= now_ms) {
        struct deadline *deadline = d->heap[1];

        deadlines_clear(d, deadline);
        deadline->due(deadline);
    }
    if (!uv_is_closing((uv_handle_t *)timer)) {
        arm(d);
    }
}

static void
timer_closed(uv_handle_t *handle)
{
    struct deadlines *d = handle->data;
    void (*closed)(void *) = d->closed;
    void *aux = d->aux;

    free(d->heap);
    free(d);
    closed(aux);
}

/* A timer that fires too early does no harm, and is cheaper than one that is
 * moved for each deadline that is met. */
static void
arm(struct deadlines *d)
{
    if (!d->n || d->heap[1]->at_ms >= d->armed_ms) {
        return;
    }
    uint64_t now_ms = clock_now_ms();
    uint64_t at_ms = d->heap[1]->at_ms;

    d->armed_ms = at_ms;
    uv_update_time(d->timer.loop);
    uv_timer_start(&d->timer, timer_fired, at_ms > now_ms ? at_ms - now_ms : 0,
                   0);
}

static void
place(struct deadlines *d, struct deadline *deadline, size_t i)
{
    d->heap[i] = deadline;
    deadline->place = i;
}

static void
sift_up(struct deadlines *d, size_t i)
{
    struct deadline *deadline = d->heap[i];

    while (i > 1 && d->heap[i / 2]->at_ms > deadline->at_ms) {
        place(d, d->heap[i / 2], i);
        i /= 2;
    }
    place(d, deadline, i);
}

static void
sift_down(struct deadlines *d, size_t i)
{
    struct deadline *deadline = d->heap[i];

    for (;;) {
        size_t child = i * 2;

        if (child < d->n && d->heap[child + 1]->at_ms < d->heap[child]->at_ms) {
            child++;
        }
        if (child > d->n || d->heap[child]->at_ms >= deadline->at_ms) {
            break;
        }
        place(d, d->heap[child], i);
        i = child;
    }
    place(d, deadline, i);
}
