#ifndef DROVER_NOVA_CONDUCTOR_WORK_H
#define DROVER_NOVA_CONDUCTOR_WORK_H

/* Calls of the conductor that outlast its absence, in order.
 *
 * A conductor, a database or a broker that is away for a while is no reason
 * for a migration to fail: what was not done is asked for again, with growing
 * pauses, until its patience is over. (spec/live-migration 4.6, 8.3)
 *
 * Saves of one object go one after the other: a conductor has several workers,
 * and of two saves on their way the later one must not be overtaken.
 *
 * Threads: the loop. */

#include <uv.h>

#include "rpc/conductor.h"

struct conductor_works;

/* 'conductor' is borrowed for its life. */
struct conductor_works *conductor_works_create(uv_loop_t *loop,
                                               struct conductor *conductor);

/* All that is open ends with ERR_CANCELLED, and so does what is started from
 * then on.  Before conductor_close(). */
void conductor_works_close(struct conductor_works *works);

/* After it; nothing is started any more. */
void conductor_works_free(struct conductor_works *works);

/* How many are open. */
unsigned conductor_works_n(const struct conductor_works *works);

struct conductor_work_request {
    const struct json *context; /* Null: work of our own.  Copied. */
    /* An action on a copy of 'object', or else of the class. */
    const struct object *object;
    const char *class_name;
    const char *method;         /* Static storage. */
    struct json *args, *kwargs; /* Taken; may be null. */
    const char *key;            /* Waits for those of the same one; or null. */
    unsigned patience_ms;       /* For how long it is tried again. */
    bool only_once; /* It may not be done twice: what may have been done is not
                     * tried again. */
};

/* Once, perhaps before conductor_work_start() returns.  'result' is freed after
 * the call unless stolen through it.  Of an action on an object, 'object' is
 * what it is now, taken; else null.  'error' is taken. */
typedef void conductor_work_done(void *aux, struct json **result,
                                 struct object *object, struct error *error);

void conductor_work_start(struct conductor_works *works,
                          const struct conductor_work_request *request,
                          conductor_work_done *done, void *aux);

/* Is it nothing that the conductor decided, so that it may be otherwise next
 * time? */
bool conductor_error_is_passing(const struct error *error);

#endif
