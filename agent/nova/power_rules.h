#ifndef DROVER_NOVA_POWER_RULES_H
#define DROVER_NOVA_POWER_RULES_H

/* What follows from a guest that is not as its record says: a pure core.
 * (spec/drop-in 9)
 *
 * Threads: no shared state; any. */

#include <stdbool.h>

enum power_action {
    POWER_ACT_NOTHING,
    POWER_ACT_STOP,      /* It is off, or asleep: as if its user had said so. */
    POWER_ACT_STOP_HARD, /* It runs, although it is stopped. */
    POWER_ACT_DELETE,    /* It is off, and its record says that it ends so. */
    POWER_ACT_WARN_PAUSED,
    POWER_ACT_WARN_GONE,
    POWER_ACT_WARN_DELETED, /* It runs, although it is deleted. */
};

struct power_facts {
    bool is_of_this_host;
    bool has_operation;                         /* Somebody is at it. */
    const char *vm_state, *task_state;          /* Null: none. */
    bool shutdown_terminate, disable_terminate; /* As recorded. */
    int recorded, actual;                       /* Of enum power_state. */
    bool has_ended; /* By itself, as was seen: its host may go down as well. */
};

struct power_verdict {
    bool saves_power;
    enum power_action action;
};

struct power_verdict power_rules_judge(const struct power_facts *facts);

/* For the log; null: nothing to say. */
const char *power_action_text(enum power_action action);

#endif
