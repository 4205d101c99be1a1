#ifndef DROVER_NOVA_TERMINATE_INTERNAL_H
#define DROVER_NOVA_TERMINATE_INTERNAL_H

/* What the files of agent/nova/terminate.h share:
 *
 *   terminate.c          the table, its life, its journal, the guest
 *   terminate_release.c  what the guest had, after its end
 *
 * Threads: the loop. */

#include "agent/nova/terminate.h"

struct terminate {
    struct agent *agent;
    struct json *context;
    struct object *instance; /* Never null. */
    struct json *bdms;       /* BlockDeviceMappingList; null: not known yet. */
    bool is_void; /* There is nothing to do here: it was deleted meanwhile, or
                   * is another host's, which was told. */

    /* Not in the journal. */
    struct op_ticket *wait;  /* While it waits for the end of a migration, */
    uv_timer_t *timer;       /* with this; null: none yet. */
    uint64_t waits_since_ms; /* 0: not yet. */
    const struct json *bdm;  /* Of the step, the one that is seen to. */
    bool has_turn;           /* At its instance, since a restart. */
    attach_done *done;       /* Null: nobody waits. */
    void *aux;
};

const char *terminate_uuid(const struct terminate *t);

/* Steps after the end of the guest; each may be run again. */
void terminate_unplug(struct op *op, struct op_ticket *ticket);
void terminate_disconnect(struct op *op, struct op_ticket *ticket);
void terminate_remove_files(struct op *op, struct op_ticket *ticket);
void terminate_release_ports(struct op *op, struct op_ticket *ticket);
void terminate_release_volumes(struct op *op, struct op_ticket *ticket);
void terminate_delete_volumes(struct op *op, struct op_ticket *ticket);
void terminate_release_allocation(struct op *op, struct op_ticket *ticket);

#endif
