#ifndef DROVER_NOVA_INSTANCE_INIT_H
#define DROVER_NOVA_INSTANCE_INIT_H

/* What is to be done about an instance whose host's agent was away: a pure
 * core. (spec/drop-in 8, spec/live-migration 8)
 *
 * Threads: no shared state; any. */

#include <stdbool.h>

enum init_action {
    INIT_SKIP,
    INIT_ELSEWHERE,    /* Its record says another host. */
    INIT_BUILD_FAILED, /* vm_state error: nobody goes on with it. */
    INIT_CLEAR_TASK, /* What was to be done was not, and may be asked again. */
    INIT_ACTIVE,     /* The same, and it runs. */
    INIT_UNPAUSE,    /* It was asked for: do it now. */
    INIT_DELETE,     /* The same, these need a power method. */
    INIT_REBOOT,
    INIT_STOP,
    INIT_START,
    INIT_RESIZE_BACK,
    INIT_MIGRATION_LOST, /* Nobody moves it any more, and it runs here. */
    INIT_RESUME,         /* It ran before the host was booted. */
    INIT_NOTHING,        /* It is as it should be. */
};

struct init_facts {
    bool is_of_this_host;
    const char *vm_state;         /* Null: none. */
    const char *task_state;       /* Null: none. */
    int recorded_power;           /* Of enum power_state. */
    int actual_power;             /* The same; POWER_NOSTATE: not here. */
    bool has_operation;           /* The journal works on it, or moves it. */
    const char *migration_status; /* Of its newest live migration from here that
                                   * is not over; null: there is none. */
    bool resumes_guests;          /* resume_guests_state_on_host_boot */
};

enum init_action instance_init_decide(const struct init_facts *facts);

/* For the log. */
const char *init_action_name(enum init_action action);

#endif
