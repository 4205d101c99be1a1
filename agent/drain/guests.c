#include <config.h>

#include "agent/drain/guests.h"

#include <stdlib.h>

struct finding {
    struct agent *agent;
    struct drain_guests *found;
    char **uuids; /* To be asked for, unless the list has them. */
    size_t n, at;
    drain_guests_done *done;
    void *aux;
};

static void listed(void *aux, struct error *error, struct guest_list *list);
static void add_records(struct finding *f);
static void ask_next(struct finding *f);
static void told(void *aux, struct error *error, struct guest *guest);
static void add(struct finding *f, struct guest *guest, char *doubt);
static struct guest *from_record(const struct finding *f, const char *uuid);
static void finish(struct finding *f, struct error *error);

void
drain_guests_free(struct drain_guests *guests)
{
    if (!guests) {
        return;
    }
    for (size_t i = 0; guests->doubts && i < guests->list->n; i++) {
        free(guests->doubts[i]);
    }
    free(guests->doubts);
    guest_list_free(guests->list);
    free(guests);
}

bool
drain_guest_is_here(const struct guest *guest)
{
    return guest->presence != GUEST_INCOMING &&
           guest->presence != GUEST_MIGRATED && guest->presence != GUEST_ABSENT;
}

bool
drain_guests_has(const struct drain_guests *guests, const char *uuid)
{
    for (size_t i = 0; i < guests->list->n; i++) {
        const struct guest *guest = guests->list->guests[i];

        if (str_eq(guest->uuid, uuid)) {
            return guests->doubts[i] || drain_guest_is_here(guest);
        }
    }
    return false;
}

void
drain_guests_find(struct agent *agent, char **expected, size_t n,
                  drain_guests_done *done, void *aux)
{
    struct finding *f = xzalloc(sizeof *f);

    *f = (struct finding){.agent = agent,
                          .found = xzalloc(sizeof *f->found),
                          .uuids = expected,
                          .n = n,
                          .done = done,
                          .aux = aux};
    driver_guest_list(agent->driver, listed, f);
}

static void
listed(void *aux, struct error *error, struct guest_list *list)
{
    struct finding *f = aux;

    f->found->list = list;
    if (error) {
        finish(f, error);
        return;
    }
    add_records(f);
    list->guests =
        xrealloc(list->guests, (list->n + f->n + 1) * sizeof *list->guests);
    f->found->doubts = xcalloc(list->n + f->n + 1, sizeof *f->found->doubts);
    ask_next(f);
}

static void
add_records(struct finding *f)
{
    size_t n = 0;
    char **uuids =
        f->agent->local ? records_local_uuids(f->agent->local, &n) : NULL;

    f->uuids = xrealloc(f->uuids, (f->n + n + 1) * sizeof *f->uuids);
    for (size_t i = 0; i < n; i++) {
        f->uuids[f->n++] = uuids[i];
    }
    free(uuids);
}

/* One after the other: there are few, and others have questions too. */
static void
ask_next(struct finding *f)
{
    while (f->at < f->n && guest_list_has(f->found->list, f->uuids[f->at])) {
        f->at++;
    }
    if (f->at == f->n) {
        finish(f, NULL);
    } else if (f->agent->stopping) {
        finish(f, error_new(ERR_CANCELLED, "the agent is stopping"));
    } else {
        driver_guest_get(f->agent->driver, f->uuids[f->at], told, f);
    }
}

static void
told(void *aux, struct error *error, struct guest *guest)
{
    struct finding *f = aux;
    const char *uuid = f->uuids[f->at++];

    switch (error_code(error)) {
    case ERR_NONE:
        add(f, guest, NULL);
        break;
    case ERR_INSTANCE_NOT_FOUND:
        break;
    case ERR_HYPERVISOR_UNAVAILABLE:
    case ERR_CANCELLED:
        finish(f, error);
        return;
    default:
        add(f, from_record(f, uuid), error_text(error));
        break;
    }
    error_free(error);
    ask_next(f);
}

/* Takes both. */
static void
add(struct finding *f, struct guest *guest, char *doubt)
{
    struct guest_list *list = f->found->list;

    f->found->doubts[list->n] = doubt;
    list->guests[list->n++] = guest;
}

static struct guest *
from_record(const struct finding *f, const char *uuid)
{
    const struct object *record =
        f->agent->local ? records_local_find(f->agent->local, uuid, NULL)
                        : NULL;
    const char *name = record ? object_string(record, "display_name") : NULL;
    struct guest *guest = xzalloc(sizeof *guest);

    guest->uuid = xstrdup(uuid);
    guest->name = xstrdup(name ? name : uuid);
    guest->memory_mb = record ? (int)object_int(record, "memory_mb") : 0;
    return guest;
}

/* Takes 'error'. */
static void
finish(struct finding *f, struct error *error)
{
    if (error) {
        drain_guests_free(steal(&f->found));
    }
    f->done(f->aux, error, f->found);
    for (size_t i = 0; i < f->n; i++) {
        free(f->uuids[i]);
    }
    free(f->uuids);
    free(f);
}
