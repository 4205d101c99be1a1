#include <config.h>

#include "agent/slots.h"

#include <stdlib.h>

#include "agent/base/mem.h"

struct slot {
    struct slots *slots;
    struct slot *next; /* Of those who wait. */
    bool granted;
    void (*on_granted)(void *aux);
    void *aux;
};

struct slots {
    unsigned n, n_used;
    struct slot *head, **tail;
};

static bool has_room(const struct slots *);
static void grant(struct slot *);
static void dequeue(struct slot *);

struct slots *
slots_create(unsigned n)
{
    struct slots *slots = xzalloc(sizeof *slots);

    slots->n = n;
    slots->tail = &slots->head;
    return slots;
}

void
slots_free(struct slots *slots)
{
    free(slots);
}

struct slot *
slots_request(struct slots *slots, void (*granted)(void *aux), void *aux)
{
    struct slot *slot = xzalloc(sizeof *slot);

    slot->slots = slots;
    slot->on_granted = granted;
    slot->aux = aux;
    if (has_room(slots) && !slots->head) {
        grant(slot);
    } else {
        *slots->tail = slot;
        slots->tail = &slot->next;
    }
    return slot;
}

struct slot *
slots_take(struct slots *slots)
{
    struct slot *slot = xzalloc(sizeof *slot);

    slot->slots = slots;
    slot->granted = true;
    slots->n_used++;
    return slot;
}

bool
slots_are_full(const struct slots *slots)
{
    return !has_room(slots) || slots->head;
}

unsigned
slots_n_used(const struct slots *slots)
{
    return slots->n_used;
}

unsigned
slots_n_waiting(const struct slots *slots)
{
    unsigned n = 0;

    for (const struct slot *slot = slots->head; slot; slot = slot->next) {
        n++;
    }
    return n;
}

bool
slot_is_granted(const struct slot *slot)
{
    return slot->granted;
}

void
slot_release(struct slot *slot)
{
    if (!slot) {
        return;
    }

    struct slots *slots = slot->slots;
    if (slot->granted) {
        slots->n_used--;
    } else {
        dequeue(slot);
    }
    free(slot);

    while (slots->head && has_room(slots)) {
        struct slot *first = slots->head;
        dequeue(first);
        grant(first);
    }
}

static bool
has_room(const struct slots *slots)
{
    return slots->n == 0 || slots->n_used < slots->n;
}

static void
grant(struct slot *slot)
{
    slot->granted = true;
    slot->slots->n_used++;
    slot->on_granted(slot->aux);
}

static void
dequeue(struct slot *slot)
{
    struct slots *slots = slot->slots;

    for (struct slot **p = &slots->head; *p; p = &(*p)->next) {
        if (*p == slot) {
            *p = slot->next;
            if (!*p) {
                slots->tail = p;
            }
            break;
        }
    }
    slot->next = NULL;
}
