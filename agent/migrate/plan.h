#ifndef DROVER_MIGRATE_PLAN_H
#define DROVER_MIGRATE_PLAN_H

/* What the configuration of this host makes of a migration: the rules, URIs
 * and file lists of the pure modules, fed with our options.
 *
 * Threads: no shared state. */

#include "agent/migrate/settings.h"
#include "conf/conf.h"
#include "drivers/driver.h"
#include "rpc/object.h"

/* The libvirt of the destination, and where the data go (null: libvirt
 * chooses); the second may be a null pointer.  Both are the caller's.  Null
 * 'data': the destination named no address. */
struct error *migrate_plan_uris(const struct conf *conf, const char *dest,
                                const struct object *data, char **ret_dest_uri,
                                char **ret_migrate_uri) WARN_UNUSED;

/* Of enum migrate_flag; 'n_disks' are to be copied. */
unsigned migrate_plan_flags(const struct conf *conf, const struct object *data,
                            const struct migrate_settings *settings,
                            size_t n_disks, const char *vm_state);

/* What the hypervisor is told to do with 'guest'; the caller's. */
struct error *migrate_plan_request(const struct conf *conf, const char *dest,
                                   const struct object *instance,
                                   const struct object *data,
                                   const struct migrate_settings *settings,
                                   const struct guest *guest,
                                   struct migrate_request **ret) WARN_UNUSED;

/* The files that a destination makes and, after success, a source removes:
 * the disks of the text 'disks' (may be null) and the instance's directory.
 * Null without an error: there are none, as on shared storage. (3.3) */
struct error *migrate_plan_files(const struct conf *conf,
                                 const struct object *data, const char *uuid,
                                 const char *disks,
                                 struct prepare_request **ret) WARN_UNUSED;

/* The same of a guest at rest: all files of the text are copied, also where
 * its disks are shared. */
struct error *migrate_plan_rest_files(const struct conf *conf,
                                      const struct object *data,
                                      const char *uuid, const char *disks,
                                      struct prepare_request **ret) WARN_UNUSED;

/* The instance's directory, if it is this host's alone; else null. */
char *migrate_plan_directory(const struct conf *conf,
                             const struct object *data);

/* What pre_live_migration answers with. (3.5) */
void migrate_plan_set_results(const struct conf *conf, struct object *data);

/* The six counters of the Migration. (4.6) */
void migrate_plan_record_stats(struct object *record,
                               const struct job_stats *stats);

#endif
