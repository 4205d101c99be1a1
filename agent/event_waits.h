#ifndef DROVER_AGENT_EVENT_WAITS_H
#define DROVER_AGENT_EVENT_WAITS_H

/* Who waits for which word from outside, such as Neutron's that a port is
 * plugged. (spec/drop-in 10)
 *
 * A wait is registered before what causes the event is begun, so that none is
 * missed: one that comes before anybody looks counts.  One that comes before it
 * is registered is nobody's.  Two who wait for the same one both hear of it.
 *
 * Pure: time is others' business.  Threads: the loop. */

#include <stdbool.h>
#include <stddef.h>

struct event_wait;
struct event_waits;

struct event_waits *event_waits_create(void);

/* All that is waited for has failed, and so has all that is registered from
 * then on. */
void event_waits_close(struct event_waits *waits);
/* Waits may outlive it; null is fine. */
void event_waits_free(struct event_waits *waits);

/* 'heard' is called after each word, from event_waits_tell() or
 * event_waits_close(); the wait may be freed in it. */
struct event_wait *event_wait_create(struct event_waits *waits,
                                     const char *instance,
                                     void (*heard)(void *aux), void *aux);
/* One more event is waited for: "network-vif-plugged" of a port.  'tag' may be
 * null. */
void event_wait_add(struct event_wait *wait, const char *name, const char *tag);
void event_wait_free(struct event_wait *wait); /* Null is fine. */

/* How many are waited for still. */
size_t event_wait_n_open(const struct event_wait *wait);
/* The first one of them, or the first one that failed, as "name-tag"; null:
 * none. */
const char *event_wait_open(const struct event_wait *wait);
const char *event_wait_failed(const struct event_wait *wait);

/* An event came.  False: nobody waited for it. */
bool event_waits_tell(struct event_waits *waits, const char *instance,
                      const char *name, const char *tag, bool is_completed);

#endif
