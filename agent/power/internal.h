#ifndef DROVER_POWER_INTERNAL_H
#define DROVER_POWER_INTERNAL_H

/* What the files of agent/power/op.h share:
 *
 *   op.c            the table, its life and its journal
 *   record.c        what the records say of it
 *   act.c           what is done to the guest
 *
 * Threads: the loop. */

#include "agent/power/op.h"

struct power {
    struct agent *agent;
    struct json *context;
    struct object *instance; /* Never null. */
    bool is_hard;
    struct power_run run;

    /* Not in the journal. */
    const char *const *tasks; /* Of a reboot: those that are yet to be. */
    struct op_ticket *wait;   /* While it waits to look again. */
    uv_timer_t *timer;        /* Null: none yet. */
    bool has_turn;            /* At its instance, since a restart. */
    void (*done)(void *aux, struct error *error); /* Null: nobody waits. */
    void *aux;
};

const struct power_order_info *power_info(const struct power *p);
const char *power_uuid(const struct power *p);

/* record.c: steps. */
void power_where_undo(struct op *op, struct op_ticket *ticket);
void power_accept_run(struct op *op, struct op_ticket *ticket);
void power_record_run(struct op *op, struct op_ticket *ticket);

/* act.c: the same. */
void power_act_run(struct op *op, struct op_ticket *ticket);
void power_act_probe(struct op *op, struct op_ticket *ticket);
/* One that waits to look again looks now; it does so never again. */
void power_look_now(struct power *p);
void power_look_stop(struct power *p);

#endif
