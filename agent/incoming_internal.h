#ifndef DROVER_AGENT_INCOMING_INTERNAL_H
#define DROVER_AGENT_INCOMING_INTERNAL_H

/* What the parts of agent/incoming.h share, and nobody else includes.
 *
 *   incoming.c        what the source says: prepare, take over, roll back
 *   incoming_steps.c  what is done then, and the journal's side of it
 *   incoming_watch.c  what is done when the source says nothing
 *
 * Threads: the loop. */

#include "agent/incoming.h"
#include "agent/slots.h"

struct incoming {
    struct agent *agent;
    struct json *context;
    struct object *instance;
    struct object *data; /* Null if this agent did not prepare. */
    char *disks;         /* Null: none were asked for. */
    bool taken_over;     /* The source said so. */

    /* Not in the journal. */
    struct slot *place;
    struct op_ticket *wait; /* Of the step that waits for the guest. */
    struct error *refusal;  /* The record is somebody else's. */
    void (*prepared)(void *aux, struct error *error, struct object *data);
    void *prepared_aux;
    attach_done *ended; /* Who waits for the end, or null. */
    void *ended_aux;
    bool told_to_roll_back;
    /* Of incoming_watch.c. */
    struct op *op;     /* While it waits. */
    uv_timer_t *watch; /* Null: it does not wait. */
    uint64_t heard_ms; /* When the source was last heard of. */
    bool is_watched;   /* A question is under way. */
};

/* From when it waits on, until it does no longer or is freed. */
void incoming_watch_start(struct incoming *in, struct op *op);
void incoming_watch_stop(struct incoming *in);
void incoming_watch_now(struct incoming *in);

/* Whoever still waits is told that the agent stops. */
void incoming_free(void *data);

const char *incoming_uuid(const struct incoming *in);

#endif
