#include <config.h>

#include "agent/nova/power_rules.h"

#include <stddef.h>

#include "agent/base/mem.h"
#include "drivers/driver.h"

static enum power_action action_of(const char *vm_state, int actual);
static bool ends_with_its_power(const struct power_facts *facts);
static bool is_off(int power);

static const char *const texts[] = {
    [POWER_ACT_NOTHING] = NULL,
    [POWER_ACT_STOP] = "it was shut down from within, and is stopped",
    [POWER_ACT_STOP_HARD] = "it runs, although it was stopped: it is powered "
                            "off",
    [POWER_ACT_DELETE] = "it was shut down from within, and is deleted, as its "
                         "user has set (shutdown_terminate)",
    [POWER_ACT_WARN_PAUSED] = "it is paused, although its record says active",
    [POWER_ACT_WARN_GONE] = "it is not here, although its record says active",
    [POWER_ACT_WARN_DELETED] = "it runs, although its record says deleted",
};

/* A guest on its way is nobody's to judge but its operation's. */
struct power_verdict
power_rules_judge(const struct power_facts *facts)
{
    struct power_verdict verdict = {.action = POWER_ACT_NOTHING};

    if (!facts->is_of_this_host || facts->has_operation || facts->task_state) {
        return verdict;
    }
    verdict.saves_power = facts->recorded != facts->actual;
    verdict.action = ends_with_its_power(facts)
                         ? POWER_ACT_DELETE
                         : action_of(facts->vm_state, facts->actual);
    return verdict;
}

const char *
power_action_text(enum power_action action)
{
    return texts[action];
}

static enum power_action
action_of(const char *vm_state, int actual)
{
    if (str_eq(vm_state, "active")) {
        return is_off(actual) || actual == POWER_SUSPENDED ? POWER_ACT_STOP
               : actual == POWER_PAUSED  ? POWER_ACT_WARN_PAUSED
               : actual == POWER_NOSTATE ? POWER_ACT_WARN_GONE
                                         : POWER_ACT_NOTHING;
    }
    if (str_eq(vm_state, "paused")) {
        return is_off(actual) ? POWER_ACT_STOP : POWER_ACT_NOTHING;
    }
    if (is_off(actual) || actual == POWER_NOSTATE) {
        return POWER_ACT_NOTHING;
    }
    if (str_eq(vm_state, "stopped")) {
        return POWER_ACT_STOP_HARD;
    }
    if (str_eq(vm_state, "deleted") || str_eq(vm_state, "soft-delete")) {
        return POWER_ACT_WARN_DELETED;
    }
    return POWER_ACT_NOTHING;
}

/* Whom nobody saw ending, and who has both flags, is only stopped. */
static bool
ends_with_its_power(const struct power_facts *facts)
{
    return facts->shutdown_terminate && !facts->disable_terminate &&
           facts->has_ended && str_eq(facts->vm_state, "active") &&
           is_off(facts->actual);
}

static bool
is_off(int power)
{
    return power == POWER_SHUTDOWN || power == POWER_CRASHED;
}
