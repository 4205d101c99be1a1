#ifndef DROVER_CHECK_CHECK_H
#define DROVER_CHECK_CHECK_H

/* The checks before a live migration, on both sides.  They leave nothing
 * behind but the times of a directory. (spec/live-migration 2.3 to 2.9)
 *
 * Threads: the loop. */

#include "agent/agent.h"
#include "agent/migrate/kind.h"

/* Fields of the migrate data, between drovers without a control plane: the
 * destination's name, in a report the disks that are copied, as
 * migrate_data_disks_format() has them, and the names of the bridges and
 * devices that the guest needs. */
#define CHECK_DEST_FIELD "drover_dest"
#define CHECK_DISKS_FIELD "drover_disks"
#define CHECK_LINKS_FIELD "drover_links"

/* Of a guest at rest the kind of its move, as migrate_kind_word() has it. */
#define CHECK_KIND_FIELD "drover_kind"

struct check_report;

/* With a report the checks go on after a rule is broken, as far as that is
 * possible, and both 'error', the first broken rule, and 'data', as far as it
 * is known, may be given; without one they end there, and it is one or the
 * other.  Both are the callee's to free. */
typedef void check_done(void *aux, struct error *error, struct object *data);

/* check_can_live_migrate_destination: may 'instance' come here?  All of the
 * request is borrowed, the report until 'done'; the error is one of the classes
 * that a conductor knows. */
struct check_dest_request {
    const struct json *context;
    const struct object *instance;
    int block_migration;  /* 1, 0, -1: not said. */
    int disk_over_commit; /* 1, 0, -1: not said. */
    const char *cpu_xml;  /* What the guest needs; null: not said. */
    enum migrate_kind kind;
    bool makes_claims;           /* Of nodes, if the source uses them. (2.8) */
    struct check_report *report; /* Null: to the first broken rule. */
};
void check_dest(struct agent *agent, const struct check_dest_request *request,
                const struct log_context *log, check_done *done, void *aux);

/* check_can_live_migrate_source: may it leave, and how?  As above. */
struct check_source_request {
    const struct json *context;
    const struct object *instance;
    const struct object *data; /* What the destination says. */
    const char *dest;          /* The host that asks; null: not known. */
    struct check_report *report;
};
void check_source(struct agent *agent,
                  const struct check_source_request *request,
                  const struct log_context *log, check_done *done, void *aux);

/* The same error, of a class that a conductor knows, for whatever else it is
 * would put the running guest into error.  (1.8, 2.3)  Takes, null is fine. */
struct error *check_as_pre_check(struct error *error) WARN_UNUSED;

/* check_instance_shared_storage: is there a file of this absolute path?  Only
 * where this host keeps disks. */
void check_shared_file(struct agent *agent, const char *path,
                       driver_bool_done *done, void *aux);

#endif
