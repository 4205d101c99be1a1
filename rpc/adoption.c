#include <config.h>

#include "rpc/adoption.h"

#include <stdlib.h>

#include "agent/base/clock.h"
#include "rpc/object_internal.h"

struct adoption {
    struct conductor *conductor;
    struct json *context;
    struct json **primitives; /* In the tree. */
    size_t n, room, pos;
    uint64_t end_ms;
    void (*done)(void *aux, struct error *error);
    void *aux;
};

static struct error *collect(void *aux, struct json *primitive);
static void adopt_next(struct adoption *);
static void adopted_one(void *aux, struct json **result, struct error *error);
static void adoption_end(struct adoption *, struct error *error);

void
adoption_start(struct conductor *conductor, const struct json *context,
               struct json *json, unsigned timeout_ms,
               void (*done)(void *aux, struct error *error), void *aux)
{
    struct adoption *a = xzalloc(sizeof *a);

    a->conductor = conductor;
    a->context = json_copy(context);
    a->end_ms = clock_now_ms() + timeout_ms;
    a->done = done;
    a->aux = aux;
    object_drop_fixes(json, conductor_own_version, conductor);
    struct error *error = object_walk(json, true, collect, a);
    if (error) {
        adoption_end(a, error);
    } else {
        adopt_next(a);
    }
}

/* An outermost object of a class that we do not know is nothing that we could
 * ask for in our version. */
static struct error *
collect(void *aux, struct json *primitive)
{
    struct adoption *a = aux;
    const char *name = object_primitive_name(primitive);
    struct object_version own;
    enum object_fit fit =
        object_fit(primitive, conductor_own_version, a->conductor);

    if (fit == OBJECT_FITS || !name ||
        !conductor_own_version(a->conductor, name, &own)) {
        return NULL;
    }
    if (fit == OBJECT_OTHER_MAJOR) {
        return object_incompatible(name, json_string_of(primitive, KEY_VERSION),
                                   own);
    }
    if (a->n == a->room) {
        a->primitives = xgrow(a->primitives, &a->room, sizeof *a->primitives);
    }
    a->primitives[a->n++] = primitive;
    return NULL;
}

static void
adopt_next(struct adoption *a)
{
    uint64_t now_ms = clock_now_ms();

    if (a->pos == a->n) {
        adoption_end(a, NULL);
    } else {
        conductor_backport(a->conductor, a->context, a->primitives[a->pos],
                           a->end_ms > now_ms ? (unsigned)(a->end_ms - now_ms)
                                              : 0,
                           adopted_one, a);
    }
}

static void
adopted_one(void *aux, struct json **result, struct error *error)
{
    struct adoption *a = aux;

    if (error) {
        adoption_end(a, error);
        return;
    }
    object_overwrite(a->primitives[a->pos++], *result);
    adopt_next(a);
}

static void
adoption_end(struct adoption *a, struct error *error)
{
    a->done(a->aux, error);
    json_free(a->context);
    free(a->primitives);
    free(a);
}
