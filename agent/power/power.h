#ifndef DROVER_POWER_POWER_H
#define DROVER_POWER_POWER_H

/* How a guest gets into the state that somebody asked for: what is next, judged
 * by what the guest is now.  Asked again after each move, and after a restart
 * of the agent, it comes to the same end.
 *
 * Pure: no clock, no hypervisor.  (spec/drop-in 12)
 *
 * Threads: no shared state; any. */

#include <stdbool.h>
#include <stdint.h>

#include "drivers/driver.h"

/* One row an order: name, which the journal has, Nova's method, vm_state at the
 * end, and the task that it is.  A reboot may be soft or hard. */
#define POWER_ORDERS                                                           \
    POWER_ORDER(START, "start", "start_instance", "active", "powering-on")     \
    POWER_ORDER(STOP, "stop", "stop_instance", "stopped", "powering-off")      \
    POWER_ORDER(REBOOT, "reboot", "reboot_instance", "active", "rebooting")    \
    POWER_ORDER(PAUSE, "pause", "pause_instance", "paused", "pausing")         \
    POWER_ORDER(UNPAUSE, "unpause", "unpause_instance", "active", "unpausing") \
    POWER_ORDER(SUSPEND, "suspend", "suspend_instance", "suspended",           \
                "suspending")                                                  \
    POWER_ORDER(RESUME, "resume", "resume_instance", "active", "resuming")

enum power_order {
#define POWER_ORDER(NAME, TEXT, METHOD, VM_STATE, TASK) ORDER_##NAME,
    POWER_ORDERS
#undef POWER_ORDER
        ORDER_N
};

struct power_order_info {
    const char *name, *method, *vm_state, *task;
};
extern const struct power_order_info power_orders[ORDER_N];

/* ORDER_N: no such. */
enum power_order power_order_by_name(const char *name);
enum power_order power_order_by_method(const char *method);

/* Whether the guest may run at the end of it that did not run before. */
bool power_order_starts(enum power_order order);

/* What is to be reached, and how far it is. */
struct power_run {
    enum power_order order;
    unsigned patience_ms; /* For a guest to end by itself; 0: none. */
    unsigned retry_ms;    /* It is asked again so often. */

    bool went_off;    /* Of a reboot: to be kept, or it would begin anew. */
    bool was_started; /* By us, since it was off. */
    bool was_asked;   /* To end by itself, ... */
    uint64_t first_ms, last_ms; /* ... first and last at these times. */
};

enum power_move {
    MOVE_NONE,      /* Look again soon. */
    MOVE_DONE,      /* It is as it should be. */
    MOVE_REFUSE,    /* It can't be: see the error. */
    MOVE_SHUT_DOWN, /* What driver_shut_down() does, ... */
    MOVE_POWER_OFF,
    MOVE_POWER_ON,
    MOVE_SUSPEND,
    MOVE_RESUME,
    MOVE_SAVE,
};

/* What is next.  'now_ms' is of any clock that never goes back.  '*ret' is set
 * to the reason with MOVE_REFUSE only. */
enum power_move power_next(struct power_run *run, const struct guest *guest,
                           uint64_t now_ms, struct error **ret);

/* The last 'lines' lines of what was on a console, all of it if they are less
 * than 0; the caller's, with U+FFFD for what is no text. */
char *console_tail(const char *text, int64_t lines);

/* Whether the end was reached, told from the guest alone. */
bool power_is_reached(const struct power_run *run, const struct guest *guest);

#endif
