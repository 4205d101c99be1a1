#ifndef DROVER_NOVA_TERMINATE_H
#define DROVER_NOVA_TERMINATE_H

/* The end of an instance: its guest, and all that it has on this host and in
 * the cloud. (spec/drop-in 12, terminate_instance)
 *
 * An operation.  Up to the end of the guest a failure leaves all there is, with
 * the instance in error, and it can be deleted again; after it the only way is
 * on.  An agent that is restarted in the middle goes on where it was.
 *
 * A guest that is on its way elsewhere is kept here first.  Files are only
 * removed of a guest of which it is known that it is nowhere else: if its last
 * migration has no known end, the other host is asked.  An instance that has
 * moved since its deletion was asked for is deleted where it is.
 *
 * Threads: the loop. */

#include "agent/agent.h"

extern const struct op_type terminate_type;

struct terminate_request {
    const struct json *context; /* Null: work of our own. */
    const struct object *instance;
    const struct json *bdms; /* BlockDeviceMappingList; null: to be asked. */
    const char *key;         /* By which it is known when it is told twice. */
};

/* Carries it out, in the instance's turn (agent/instance_queue.h); all of the
 * request is borrowed.  'done' is called at its end, with null or why the
 * instance is still there.  Told twice, the second is a success at once. */
void terminate_start(struct agent *agent,
                     const struct terminate_request *request,
                     const struct log_context *log, attach_done *done,
                     void *aux);

/* After the journal was loaded: those under way have their instances' turn. */
void terminate_take_turns(struct agent *agent);

#endif
