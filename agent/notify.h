#ifndef DROVER_AGENT_NOTIFY_H
#define DROVER_AGENT_NOTIFY_H

/* Announces what happens to instances, in Nova's two formats.
 * (spec/live-migration 1.9)
 *
 * Threads: the loop. */

#include "conf/conf.h"
#include "rpc/notifier.h"
#include "rpc/object.h"

/* One row an event: name, legacy event type (after "compute.instance."),
 * versioned action (after "instance."), whether fixed_ips are in the legacy
 * payload, and whether the versioned one lists block devices even if
 * bdms_in_notifications is off. */
#define NOTIFY_EVENTS                                                          \
    NOTIFY_EVENT(PRE, "live_migration.pre", "live_migration_pre", true, true)  \
    NOTIFY_EVENT(POST, "live_migration._post", "live_migration_post", true,    \
                 false)                                                        \
    NOTIFY_EVENT(POST_DEST, "live_migration.post.dest",                        \
                 "live_migration_post_dest", true, false)                      \
    NOTIFY_EVENT(ROLLBACK, "live_migration._rollback",                         \
                 "live_migration_rollback", false, true)                       \
    NOTIFY_EVENT(ROLLBACK_DEST, "live_migration.rollback.dest",                \
                 "live_migration_rollback_dest", true, false)                  \
    NOTIFY_EVENT(ABORT, "live.migration.abort", "live_migration_abort", false, \
                 false)                                                        \
    NOTIFY_EVENT(FORCE_COMPLETE, "live.migration.force.complete",              \
                 "live_migration_force_complete", false, false)                \
    NOTIFY_EVENT(POWER_ON, "power_on", "power_on", false, false)               \
    NOTIFY_EVENT(POWER_OFF, "power_off", "power_off", false, false)            \
    NOTIFY_EVENT(REBOOT, "reboot", "reboot", false, true)                      \
    NOTIFY_EVENT(PAUSE, "pause", "pause", false, false)                        \
    NOTIFY_EVENT(UNPAUSE, "unpause", "unpause", false, false)                  \
    NOTIFY_EVENT(SUSPEND, "suspend", "suspend", false, false)                  \
    NOTIFY_EVENT(RESUME, "resume", "resume", false, false)                     \
    NOTIFY_EVENT(DELETE, "delete", "delete", false, true)                      \
    NOTIFY_EVENT(SHUTDOWN, "shutdown", "shutdown", false, true)
enum notify_event {
#define NOTIFY_EVENT(NAME, LEGACY, VERSIONED, FIXED_IPS, BDMS) NOTIFY_##NAME,
    NOTIFY_EVENTS
#undef NOTIFY_EVENT
        NOTIFY_N_EVENTS
};
enum notify_phase { NOTIFY_START, NOTIFY_END };

struct notify;

/* Both are borrowed for its life. */
struct notify *notify_create(struct notifier *notifier,
                             const struct conf *conf);
void notify_free(struct notify *notify); /* Null is fine. */

/* Sends what notification_format asks for. */
void notify_instance(struct notify *notify, const struct json *context,
                     enum notify_event event, enum notify_phase phase,
                     const struct object *instance);

/* "<function>" / compute.exception, priority ERROR: method 'function' of the
 * agent failed.  'instance' may be null, and of it only the UUID is sent:
 * whole, as Nova does it, it would tell secrets. */
void notify_exception(struct notify *notify, const struct json *context,
                      const char *function, const struct object *instance,
                      const struct error *error);

/* The payloads (agent/notify_payload.c); the caller's.  What the instance does
 * not say is null, or what Nova takes for nothing.  'context' may be null: then
 * nobody is named, and an image by its id instead of its URL. */
struct json *notify_legacy_payload(const struct object *instance,
                                   const struct json *context,
                                   bool with_fixed_ips);
struct json *notify_versioned_payload(const struct object *instance,
                                      const struct json *context,
                                      bool with_block_devices);
struct json *notify_legacy_exception(const struct object *instance,
                                     const struct error *error);
struct json *notify_versioned_exception(const char *function,
                                        const struct error *error);

#endif
