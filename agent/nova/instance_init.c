#include <config.h>

#include "agent/nova/instance_init.h"

#include <stddef.h>

#include "agent/base/mem.h"
#include "drivers/driver.h"

static bool is_one_of(const char *text, const char *const *list);
static enum init_action about_task(const struct init_facts *facts);
static enum init_action about_reboot(const struct init_facts *facts);
static enum init_action about_migration(const struct init_facts *facts);

static const char *const names[] = {
    [INIT_SKIP] = "left alone",
    [INIT_ELSEWHERE] = "of another host",
    [INIT_BUILD_FAILED] = "put in error",
    [INIT_CLEAR_TASK] = "freed of its task",
    [INIT_ACTIVE] = "freed of its task and active",
    [INIT_UNPAUSE] = "unpaused",
    [INIT_DELETE] = "deleted",
    [INIT_REBOOT] = "rebooted",
    [INIT_STOP] = "stopped",
    [INIT_START] = "started",
    [INIT_RESIZE_BACK] = "taken back from a resize",
    [INIT_MIGRATION_LOST] = "kept, as its migration is lost",
    [INIT_RESUME] = "started, as it ran before",
    [INIT_NOTHING] = "as it should be",
};

/* In the order of the table. */
enum init_action
instance_init_decide(const struct init_facts *facts)
{
    static const char *const builds[] = {"scheduling", "block_device_mapping",
                                         "networking", "spawning", NULL};
    static const char *const rebuilds[] = {
        "rebuilding", "rebuild_block_device_mapping", "rebuild_spawning", NULL};
    const char *vm = facts->vm_state, *task = facts->task_state;

    if (!facts->is_of_this_host) {
        return INIT_ELSEWHERE;
    }
    if (facts->has_operation) {
        return INIT_NOTHING; /* It goes on by itself. */
    }
    if (str_eq(vm, "soft-delete") ||
        (str_eq(vm, "error") && !str_eq(task, "resize_migrating") &&
         !str_eq(task, "deleting"))) {
        return INIT_SKIP;
    }
    if (str_eq(vm, "deleted")) {
        return INIT_DELETE;
    }
    if (str_eq(vm, "building") || is_one_of(task, builds)) {
        return INIT_BUILD_FAILED;
    }
    if ((str_eq(vm, "active") || str_eq(vm, "stopped")) &&
        is_one_of(task, rebuilds)) {
        return INIT_BUILD_FAILED;
    }
    return about_task(facts);
}

const char *
init_action_name(enum init_action action)
{
    return names[action];
}

static bool
is_one_of(const char *text, const char *const *list)
{
    for (; *list; list++) {
        if (str_eq(text, *list)) {
            return true;
        }
    }
    return false;
}

static enum init_action
about_task(const struct init_facts *facts)
{
    static const char *const interrupted[] = {
        "image_snapshot",       "image_snapshot_pending",
        "image_pending_upload", "image_uploading",
        "resize_prep",          NULL};
    static const char *const settled[] = {"pausing", "unpausing", NULL};
    /* Before these the request has not been taken, and still comes. */
    static const char *const reboots[] = {"reboot_pending", "reboot_started",
                                          "reboot_pending_hard",
                                          "reboot_started_hard", NULL};
    const char *task = facts->task_state;
    bool is_running = facts->actual_power == POWER_RUNNING;

    if (is_one_of(task, interrupted)) {
        return INIT_CLEAR_TASK;
    }
    if (str_eq(task, "deleting")) {
        return INIT_DELETE;
    }
    if (is_one_of(task, reboots)) {
        return about_reboot(facts);
    }
    if (is_running && is_one_of(task, settled)) {
        return INIT_ACTIVE;
    }
    if (facts->actual_power == POWER_PAUSED && str_eq(task, "unpausing")) {
        return INIT_UNPAUSE;
    }
    if (str_eq(task, "powering-off")) {
        return INIT_STOP;
    }
    if (str_eq(task, "powering-on")) {
        return INIT_START;
    }
    if (str_eq(task, "resize_migrating")) {
        return INIT_RESIZE_BACK;
    }
    if (str_eq(task, "migrating")) {
        return about_migration(facts);
    }
    if (facts->recorded_power == POWER_RUNNING && !is_running && !task &&
        facts->resumes_guests && facts->actual_power != POWER_PAUSED) {
        return INIT_RESUME;
    }
    return INIT_NOTHING;
}

/* One that was begun and after which it runs is done. */
static enum init_action
about_reboot(const struct init_facts *facts)
{
    static const char *const begun[] = {"reboot_started", "reboot_started_hard",
                                        NULL};

    return facts->actual_power == POWER_RUNNING &&
                   is_one_of(facts->task_state, begun)
               ? INIT_ACTIVE
               : INIT_REBOOT;
}

/* Of what the journal does not know, another agent was in charge that is gone:
 * it is over if the guest runs here.  If it does not, it may run at the
 * destination, and nothing is known of that; and a request that nobody took yet
 * is still to come. */
static enum init_action
about_migration(const struct init_facts *facts)
{
    bool is_here = facts->actual_power == POWER_RUNNING ||
                   facts->actual_power == POWER_PAUSED;

    if (str_eq(facts->migration_status, "accepted") || !is_here) {
        return INIT_NOTHING;
    }
    return INIT_MIGRATION_LOST;
}
