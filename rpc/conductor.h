#ifndef DROVER_RPC_CONDUCTOR_H
#define DROVER_RPC_CONDUCTOR_H

/* The object calls of nova-conductor. (spec/rpc-wire 8.4 to 8.6)
 *
 * A compute service has no database: it has the conductor run the methods of
 * its objects.  Every object in a request is sent no newer than our own
 * version and the conductor's, which is learnt first (rpc/learnt.h); what
 * can't be made so is not sent.  A result with objects that are newer than
 * ours is handed out when the conductor has made them older (rpc/adoption.h).
 *
 * Calls do not wait for one another, but no more than so many are with the
 * conductor at once; the others wait in order, and all end within their
 * time-out.
 *
 * Threads: the loop. */

#include "rpc/client.h"
#include "rpc/object.h"
#include "rpc/object_level.h"

struct conductor;

/* Zero stands for what is said. */
struct conductor_options {
    const char *exchange; /* Null: "nova".  Copied. */
    unsigned timeout_ms;  /* Of a call with all it waits for; 60 s. */
    unsigned max_sent;    /* Calls with the conductor at once; 32. */
    unsigned max_calls;   /* Those and those that wait; 10000.  More fail. */

    /* {"Instance": "2.5", ...}: what to take for our version of these classes,
     * so as to be older or newer than a conductor.  Null: as the table says.
     * Copied. */
    const struct json *own_versions;
};

struct conductor *conductor_create(struct rpc_client *client,
                                   const struct conductor_options *options);

/* Calls under way end with ERR_CANCELLED.  The client is to be closed after
 * it: the memory goes when that has ended its calls. */
void conductor_close(struct conductor *conductor);

/* Called once on the loop, perhaps before the function that it was given to
 * returns.  'result' is freed after the call unless stolen through it; 'error'
 * is taken: a failure of the conductor's or the method's keeps its class,
 * ERR_TIMEOUT, ERR_UNDELIVERABLE (nobody serves it, or too many calls),
 * ERR_UNSUPPORTED_OBJECT or ERR_INCOMPATIBLE_OBJECT (an object that it has
 * not got, or not of that major version), ERR_BAD_MESSAGE. */
typedef void conductor_done(void *aux, struct json **result,
                            struct error *error);

/* Runs a class method: object_class_action_versions.  'context' null is work
 * of our own; 'args' (a list) and 'kwargs' (an object) may be null for none.
 * All are borrowed for the call only. */
void conductor_class_action(struct conductor *conductor,
                            const struct json *context, const char *class_name,
                            const char *method, const struct json *args,
                            const struct json *kwargs, conductor_done *done,
                            void *aux);

/* Runs a method on 'object': object_action.  Before 'done', what the method
 * changed is changed in 'object' and what it left dirty is what is dirty.  The
 * object must live, and be left alone, until then; after a failure it is as it
 * was.  Rest as above. */
void conductor_object_action(struct conductor *conductor,
                             const struct json *context, struct object *object,
                             const char *method, const struct json *args,
                             const struct json *kwargs, conductor_done *done,
                             void *aux);

/* Makes a primitive that is newer than we are one that is not; so many ms of
 * time.  One that is newer than the conductor's as well is not sent: asking
 * would keep it busy for minutes. */
void conductor_backport(struct conductor *conductor, const struct json *context,
                        const struct json *primitive, unsigned timeout_ms,
                        conductor_done *done, void *aux);

/* How the objects in 'json', which come from elsewhere, compare with our
 * versions.  Third parts of versions that only mark fixes are dropped. */
enum object_fit conductor_fit(struct conductor *conductor, struct json *json);

/* Our version of a class; an object_version_of, 'aux' being the struct
 * conductor. */
bool conductor_own_version(void *aux, const char *name,
                           struct object_version *ret);

struct conductor_counters {
    uint64_t n_calls, n_failed, n_backported;
    unsigned n_open;
};
struct conductor_counters conductor_counters(const struct conductor *);

#endif
