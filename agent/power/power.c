#include <config.h>

#include "agent/power/power.h"

#include <string.h>

#include "rpc/utf8.h"

static enum power_move end_it(struct power_run *run, const struct guest *guest,
                              uint64_t now_ms);
static enum power_move start_it(struct power_run *run, struct error **ret);
static enum power_move refuse(struct error **ret, struct error *error);
static struct error *not_running(const struct guest *guest);

const struct power_order_info power_orders[ORDER_N] = {
#define POWER_ORDER(NAME, TEXT, METHOD, VM_STATE, TASK) \
    [ORDER_##NAME] = {TEXT, METHOD, VM_STATE, TASK},
    POWER_ORDERS
#undef POWER_ORDER
};

enum power_order
power_order_by_name(const char *name)
{
    enum power_order order = 0;

    while (order < ORDER_N && !str_eq(power_orders[order].name, name)) {
        order++;
    }
    return order;
}

enum power_order
power_order_by_method(const char *method)
{
    enum power_order order = 0;

    while (order < ORDER_N && !str_eq(power_orders[order].method, method)) {
        order++;
    }
    return order;
}

bool
power_order_starts(enum power_order order)
{
    return order == ORDER_START || order == ORDER_REBOOT ||
           order == ORDER_RESUME;
}

static enum power_move
next_of_active(struct power_run *run, const struct guest *guest,
               uint64_t now_ms)
{
    bool is_paused = guest->power_state == POWER_PAUSED;

    switch (run->order) {
    case ORDER_STOP:
        return end_it(run, guest, now_ms);
    case ORDER_REBOOT:
        return run->went_off ? MOVE_DONE : end_it(run, guest, now_ms);
    case ORDER_PAUSE:
        return is_paused ? MOVE_DONE : MOVE_SUSPEND;
    case ORDER_UNPAUSE:
        return is_paused ? MOVE_RESUME : MOVE_DONE;
    case ORDER_SUSPEND:
        return MOVE_SAVE;
    case ORDER_START:
    case ORDER_RESUME:
    case ORDER_N:
        break;
    }
    return MOVE_DONE;
}

static enum power_move
next_of_off(struct power_run *run, const struct guest *guest,
            struct error **ret)
{
    switch (run->order) {
    case ORDER_STOP:
        return MOVE_DONE;
    case ORDER_REBOOT:
        run->went_off = true;
        return start_it(run, ret);
    case ORDER_START:
        return start_it(run, ret);
    case ORDER_RESUME:
        if (!guest->is_saved && !run->was_started) {
            return refuse(ret, error_new(ERR_INVALID,
                                         "the saved memory of guest '%s' is "
                                         "gone: it can only be started",
                                         guest->uuid));
        }
        return start_it(run, ret);
    case ORDER_SUSPEND:
        if (guest->is_saved) {
            return MOVE_DONE;
        }
        break;
    case ORDER_PAUSE:
    case ORDER_UNPAUSE:
    case ORDER_N:
        break;
    }
    return refuse(ret, not_running(guest));
}

enum power_move
power_next(struct power_run *run, const struct guest *guest, uint64_t now_ms,
           struct error **ret)
{
    switch (guest->presence) {
    case GUEST_ACTIVE:
        return next_of_active(run, guest, now_ms);
    case GUEST_OFF:
        return next_of_off(run, guest, ret);
    case GUEST_ABSENT:
    case GUEST_INCOMING:
    case GUEST_MIGRATED:
    case GUEST_POSTCOPY:
    case GUEST_POSTCOPY_FAILED:
        break;
    }
    return refuse(ret, error_new(ERR_INVALID,
                                 "guest '%s' went to another host, or is on "
                                 "its way",
                                 guest->uuid));
}

bool
power_is_reached(const struct power_run *run, const struct guest *guest)
{
    bool is_active = guest->presence == GUEST_ACTIVE;
    bool is_paused = guest->power_state == POWER_PAUSED;

    switch (run->order) {
    case ORDER_START:
    case ORDER_RESUME:
        return is_active;
    case ORDER_REBOOT:
        return is_active && run->went_off;
    case ORDER_STOP:
        return guest->presence == GUEST_OFF;
    case ORDER_PAUSE:
        return is_active && is_paused;
    case ORDER_UNPAUSE:
        return is_active && !is_paused;
    case ORDER_SUSPEND:
        return guest->presence == GUEST_OFF && guest->is_saved;
    case ORDER_N:
        break;
    }
    return false;
}

char *
console_tail(const char *text, int64_t lines)
{
    size_t size = strlen(text), at = lines < 0 ? 0 : size;
    int64_t n = 0;

    for (; at > 0; at--) {
        n += text[at - 1] == '\n' && at < size; /* Its end begins no line. */
        if (n >= lines) {
            break;
        }
    }
    return utf8_clean(text + at, size - at);
}

/* One that is paused can't listen. */
static enum power_move
end_it(struct power_run *run, const struct guest *guest, uint64_t now_ms)
{
    if (run->patience_ms == 0 || guest->power_state == POWER_PAUSED) {
        return MOVE_POWER_OFF;
    }
    if (!run->was_asked) {
        run->was_asked = true;
        run->first_ms = run->last_ms = now_ms;
        return MOVE_SHUT_DOWN;
    }
    if (now_ms - run->first_ms >= run->patience_ms) {
        return MOVE_POWER_OFF;
    }
    if (now_ms - run->last_ms >= run->retry_ms) {
        run->last_ms = now_ms;
        return MOVE_SHUT_DOWN;
    }
    return MOVE_NONE;
}

static enum power_move
start_it(struct power_run *run, struct error **ret)
{
    if (run->was_started) {
        return refuse(ret, error_new(ERR_INTERNAL,
                                     "the guest ended as soon as it started"));
    }
    run->was_started = true;
    return MOVE_POWER_ON;
}

static enum power_move
refuse(struct error **ret, struct error *error)
{
    *ret = error;
    return MOVE_REFUSE;
}

static struct error *
not_running(const struct guest *guest)
{
    return error_set_arg(error_new(ERR_INSTANCE_NOT_RUNNING,
                                   "guest '%s' does not run here", guest->uuid),
                         "instance_id", guest->uuid);
}
