#ifndef DROVER_INCOMING_INTERNAL_H
#define DROVER_INCOMING_INTERNAL_H

/* What the parts of agent/incoming/incoming.h share, and nobody else includes.
 *
 *   incoming.c         what the source says: prepare, take over, roll back
 *   steps.c            what is done then
 *   files.c            its files, before it comes
 *   record.c           its record, once it is here
 *   state.c            the journal's side of it, and its end
 *   watch.c            what is done when the source says nothing
 *   watch_records.c    what a control plane knows of it then
 *   arrival.c          what shows that the guest has arrived
 *   relocate.c         both, of a guest that does not run
 *
 * Threads: the loop. */

#include "agent/incoming/incoming.h"
#include "agent/migrate/kind.h"
#include "agent/slots.h"

struct incoming {
    struct agent *agent;
    struct json *context;
    struct object *instance;
    struct object *data; /* Null if this agent did not prepare. */
    char *disks;         /* Null: none were asked for. */
    bool taken_over;     /* The source said so. */
    bool has_arrived;    /* It ran here, or was seen as this host's. */

    /* Of a guest at rest (agent/relocate.h). */
    enum migrate_kind kind;
    char *name, *definition; /* Null: not told yet. */
    bool autostart;

    /* Not in the journal. */
    struct slot *place;
    struct op_ticket *wait; /* Of the step that waits for the guest. */
    struct error *refusal;  /* The record is somebody else's. */
    void (*prepared)(void *aux, struct error *error, struct object *data);
    void *prepared_aux;
    attach_done *files_made; /* Who waits for them, or null. */
    void *files_made_aux;
    attach_done *ended; /* Who waits for the end, or null. */
    void *ended_aux;
    bool told_to_roll_back;
    /* Of watch.c. */
    struct op *op;     /* While it waits. */
    uv_timer_t *watch; /* Null: it does not wait. */
    uint64_t heard_ms; /* When the source was last heard of. */
    bool is_watched;   /* A question is under way. */
};

/* From when it waits on, until it does no longer or is freed. */
void incoming_watch_start(struct incoming *in, struct op *op);
void incoming_watch_stop(struct incoming *in);
void incoming_watch_now(struct incoming *in);
void incoming_watch_soon(struct incoming *in);

/* Is the source's part over, as its records have it? */
enum incoming_word {
    INCOMING_OPEN,   /* No, or it is not known. */
    INCOMING_OVER,   /* Yes; where the guest is, the hypervisors know. */
    INCOMING_LEFT,   /* Nobody waits for its end, which nobody has recorded. */
    INCOMING_STAYED, /* Yes, and the guest is not to come. */
};

/* In Nova's place; with a source in the instance.  Calls 'done' once, on the
 * loop, perhaps after 'in' is gone. */
void incoming_ask_records(struct incoming *in,
                          void (*done)(void *aux, enum incoming_word word),
                          void *aux);

/* Looks whether the guest has arrived, and notes it if so. */
void incoming_look(struct incoming *in, const struct op *op);

/* Whoever still waits is told that the agent stops. */
void incoming_free(void *data);

const char *incoming_uuid(const struct incoming *in);

/* The operation of that instance, of any type; null: none. */
struct op *incoming_find(struct agent *agent, const char *uuid);

/* The newest who asks is told of the end. */
void incoming_set_ended(struct incoming *in, attach_done *done, void *aux);

/* What is to be made for it; null without an error: nothing. */
struct error *incoming_files_of(const struct incoming *in,
                                struct prepare_request **ret) WARN_UNUSED;

void incoming_volumes_run(struct op *op, struct op_ticket *ticket);
void incoming_volumes_undo(struct op *op, struct op_ticket *ticket);
void incoming_images_run(struct op *op, struct op_ticket *ticket);
void incoming_images_cancel(struct op *op);
void incoming_disks_check(struct op *op, struct op_ticket *ticket);
void incoming_disks_run(struct op *op, struct op_ticket *ticket);
void incoming_disks_undo(struct op *op, struct op_ticket *ticket);
void incoming_ports_run(struct op *op, struct op_ticket *ticket);
void incoming_ports_undo(struct op *op, struct op_ticket *ticket);
void incoming_settle_ports(struct op *op, struct op_ticket *ticket);
void incoming_record_run(struct op *op, struct op_ticket *ticket);
struct json *incoming_save(const void *data);
struct error *incoming_load(void *aux, const struct json *json,
                            void **ret_data);
void incoming_finished(struct op *op, const struct error *error);

#endif
