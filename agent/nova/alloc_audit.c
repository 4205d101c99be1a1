#include <config.h>

#include "agent/nova/alloc_audit.h"

#include <stdlib.h>

#include "agent/nova/primitive.h"

void
alloc_finding_close(struct alloc_finding *finding)
{
    free(finding->text);
    finding->text = NULL;
}

enum alloc_verdict
alloc_audit_look(const struct alloc_audit *audit, const char *consumer)
{
    if (text_set_has(&audit->usage->tracked, consumer)) {
        return ALLOC_FINE;
    }
    json_for_each (migration, primitive_objects(audit->records->migrations)) {
        if (str_eq(primitive_string(migration, "uuid"), consumer)) {
            return ALLOC_FINE;
        }
    }
    return ALLOC_ASK;
}

static struct alloc_finding
finding(enum alloc_verdict verdict, enum log_level level, char *text)
{
    return (struct alloc_finding){verdict, level, text};
}

static bool
is_deleted(const struct json *instance)
{
    return json_bool_of(primitive_data(instance), "deleted") &&
           !json_bool_of(primitive_data(instance), "hidden");
}

/* One that is hidden is in another cell; whoever moved it there cleans up. */
struct alloc_finding
alloc_audit_instance(const struct alloc_audit *audit, const char *consumer,
                     const struct json *instance)
{
    const struct node_records *records = audit->records;
    const char *host = primitive_string(instance, "host");
    const char *task = primitive_string(instance, "task_state");

    if (!instance) {
        return finding(ALLOC_ASK, LOG_LEVEL_DEBUG, NULL);
    }
    if (is_deleted(instance)) {
        return finding(ALLOC_REMOVE, LOG_LEVEL_INFO,
                       xasprintf("instance '%s' was deleted: what is still "
                                 "allocated to it here is given back",
                                 consumer));
    }
    if (!host || !*host) {
        return finding(ALLOC_LEAVE, LOG_LEVEL_DEBUG,
                       xasprintf("instance '%s' is scheduled to this host, and "
                                 "not here yet",
                                 consumer));
    }
    if (!str_eq(host, records->host)) {
        return finding(ALLOC_LEAVE, LOG_LEVEL_WARN,
                       xasprintf("instance '%s' has been moved to '%s', and "
                                 "there are allocations remaining against this "
                                 "host",
                                 consumer, host));
    }
    if (!str_eq(primitive_string(instance, "node"), records->node)) {
        return finding(ALLOC_LEAVE, LOG_LEVEL_DEBUG, NULL);
    }
    return finding(ALLOC_LEAVE, task ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN,
                   xasprintf("instance '%s' is of this host, with task '%s', "
                             "and has allocations, but is not counted here",
                             consumer, task ? task : ""));
}

static bool
is_terminal(const char *status)
{
    return str_eq(status, "completed") || str_eq(status, "failed") ||
           str_eq(status, "cancelled");
}

/* A live migration that is over holds nothing, if it was this host's: either
 * its instance has gone, or that holds what it needs itself. */
struct alloc_finding
alloc_audit_migration(const struct alloc_audit *audit, const char *consumer,
                      const struct json *migration)
{
    const char *status = primitive_string(migration, "status");
    const char *uuid = primitive_string(migration, "instance_uuid");
    bool is_here = text_set_has(&audit->usage->tracked, uuid);
    bool holds_itself = json_has(audit->allocations, uuid);

    if (!migration) {
        return finding(ALLOC_LEAVE, LOG_LEVEL_INFO,
                       xasprintf("'%s' has allocations against this host, and "
                                 "is not found in the database",
                                 consumer));
    }
    if (!is_terminal(status) ||
        !str_eq(primitive_string(migration, "migration_type"),
                "live-migration") ||
        !str_eq(primitive_string(migration, "source_compute"),
                audit->records->host)) {
        return finding(ALLOC_LEAVE, LOG_LEVEL_DEBUG, NULL);
    }
    if (is_here ? holds_itself : str_eq(status, "completed")) {
        return finding(ALLOC_REMOVE, LOG_LEVEL_INFO,
                       xasprintf("migration '%s' of instance '%s' is %s: what "
                                 "is still allocated to it here is given back",
                                 consumer, uuid, status));
    }
    return finding(ALLOC_LEAVE, LOG_LEVEL_WARN,
                   xasprintf("migration '%s' of instance '%s' is %s, and still "
                             "has allocations against this host, which the "
                             "instance may need",
                             consumer, uuid, status));
}
