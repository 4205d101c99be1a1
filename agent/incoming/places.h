#ifndef DROVER_INCOMING_PLACES_H
#define DROVER_INCOMING_PLACES_H

/* How many migrations may come here at a time, and who waits for that.
 *
 * A source that is a drover says so (PLACES_WAITS_FIELD) and is told at once
 * that there is no place (PLACES_BUSY_FIELD): it gives up its place among the
 * outgoing ones of its host while it waits, and asks again.  As nobody holds a
 * place of one kind while waiting for one of the other, two hosts that are full
 * of migrations to each other do not wait for each other for ever.  Any other
 * source waits for the answer, kept alive as every long call; what it waits for
 * is held by migrations that need nothing more of it.
 *
 * Threads: the loop. */

#include <uv.h>

#include "agent/base/error.h"
#include "agent/slots.h"

/* Fields of the migrate data in pre_live_migration, between drovers. */
#define PLACES_WAITS_FIELD "drover_waits"
#define PLACES_BUSY_FIELD "drover_busy"

struct incoming_places;

/* 'n' of 0: no limit.  Nobody waits for longer than 'timeout_s'. */
struct incoming_places *incoming_places_create(uv_loop_t *loop, unsigned n,
                                               unsigned timeout_s);

/* Who waits gets ERR_CANCELLED, also who asks from now on. */
void incoming_places_stop(struct incoming_places *places);

/* After that, and after all places were given back; null is fine. */
void incoming_places_free(struct incoming_places *places);

/* Who asks now would have to wait. */
bool incoming_places_are_full(const struct incoming_places *places);
unsigned incoming_places_n_waiting(const struct incoming_places *places);

/* Calls 'got', at once or later, with a place or with an error, its to free;
 * the place goes back by slot_release(). */
void incoming_places_request(struct incoming_places *places,
                             void (*got)(void *aux, struct error *error,
                                         struct slot *place),
                             void *aux);

/* A place for one that is here already, whatever the limit. */
struct slot *incoming_places_take(struct incoming_places *places);

#endif
