#ifndef DROVER_MIGRATE_SETTINGS_H
#define DROVER_MIGRATE_SETTINGS_H

/* What one migration has instead of the configuration, and what it has with
 * both: the one place where that is decided.
 *
 * Given when it is started, changed while it waits or runs, and kept in its
 * operation and its record.  On the wire and in the journal they are an object
 * with any of these members:
 *
 *   bandwidth           MiB/s; 0: no limit
 *   downtime            ms
 *   completion_timeout  s, for the whole migration; 0: no limit
 *   timeout_action      "abort" or "force_complete"
 *   convergence         as live_migration_convergence
 *   compression         as live_migration_compression
 *   holds_downtime      true: downtime was set by hand in the middle, and is
 * not only what the schedule comes to in the end
 *
 * Threads: no shared state. */

#include "conf/conf.h"
#include "conf/convergence.h"
#include "rpc/json.h"

struct migrate_settings {
    int64_t bandwidth_mib_s, downtime_ms, completion_timeout_s; /* -1: not. */
    char *timeout_action, *convergence, *compression;           /* Or null. */
    bool holds_downtime;
};

/* An initialiser: nothing is set. */
#define MIGRATE_SETTINGS_NONE                                                \
    {                                                                        \
        .bandwidth_mib_s = -1, .downtime_ms = -1, .completion_timeout_s = -1 \
    }

/* From 'json', which may be null: nothing is set.  ERR_VALUE says what is wrong
 * with it, and leaves '*ret' alone; else '*ret' is to be closed. */
struct error *migrate_settings_parse(const struct json *json,
                                     struct migrate_settings *ret) WARN_UNUSED;
struct json *migrate_settings_format(const struct migrate_settings *settings);
void migrate_settings_close(struct migrate_settings *settings);
#define AUTO_SETTINGS CLEANUP(migrate_settings_close) struct migrate_settings

/* Null 'from': nothing is set. */
void migrate_settings_copy(struct migrate_settings *to,
                           const struct migrate_settings *from);

/* Sets what 'from' sets of bandwidth and downtime, the two that can be changed
 * in the middle. */
void migrate_settings_change(struct migrate_settings *settings,
                             const struct migrate_settings *from);

/* ERR_VALUE if they ask for what 'conf' does not permit. */
struct error *migrate_settings_check(const struct migrate_settings *settings,
                                     const struct conf *conf) WARN_UNUSED;

/* What holds.  MiB/s, 0: no limit. */
unsigned migrate_settings_bandwidth(const struct migrate_settings *settings,
                                    const struct conf *conf);
unsigned migrate_settings_downtime_ms(const struct migrate_settings *settings,
                                      const struct conf *conf);
/* 0: no limit. */
uint64_t migrate_settings_timeout_s(const struct migrate_settings *settings,
                                    const struct conf *conf, double data_gb);
bool migrate_settings_timeout_forces(const struct migrate_settings *settings,
                                     const struct conf *conf);
/* Null: none.  Borrowed from one of both. */
const char *
migrate_settings_compression(const struct migrate_settings *settings,
                             const struct conf *conf);
struct convergence
migrate_settings_convergence(const struct migrate_settings *settings,
                             const struct conf *conf);

#endif
