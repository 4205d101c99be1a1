#ifndef DROVER_AGENT_CONDUCT_H
#define DROVER_AGENT_CONDUCT_H

/* The conductor's part of a live migration, played by the source where there
 * is no conductor: claims the instance, makes the Migration record, finds a
 * destination, and hands over to agent/migrate/migration.h.
 * (spec/live-migration 2.1)
 *
 * Threads: the loop. */

#include "agent/agent.h"
#include "agent/migrate/kind.h"
#include "agent/migrate/settings.h"

extern const struct op_type conduct_type;

struct conduct_request {
    const char *uuid; /* Of the migration; null: a new one. */
    const struct json *context;
    const struct object *instance;
    const char *dest;                        /* Null: whoever will do. */
    int block_migration;                     /* 1, 0, -1: find out. */
    int disk_over_commit;                    /* 1, 0, -1: do not check. */
    const struct migrate_settings *settings; /* Null: as configured. */
    enum migrate_kind kind;
};

/* 'done' is called when the migration is on its way, with its record (the
 * callee's), or with why it is not; then nothing is left of it but a record in
 * status "error".  A UUID that was used before: ERR_INVALID. */
void conduct_start(struct agent *agent, const struct conduct_request *request,
                   const struct log_context *log,
                   void (*done)(void *aux, struct error *error,
                                struct object *record),
                   void *aux);

/* The migration of that UUID is being started. */
bool conduct_is_under_way(struct agent *agent, const char *uuid);

#endif
