#ifndef DROVER_AGENT_STORE_DB_H
#define DROVER_AGENT_STORE_DB_H

/* The database of agent/store.h: one file of SQLite, opened by this process
 * alone, with a write-ahead log and synchronous FULL.
 *
 * Nothing is changed before the file is known to be whole and ours; then its
 * schema is brought up to date, one version after the other, each in a
 * transaction.  One of a newer version, of somebody else or a damaged one is
 * left as it is, down to the last byte of its log.  (spec/library-notes 6)
 *
 * Threads: one at a time.  Every function may wait for the disk. */

#include "agent/store.h"

struct store_db;

/* The step at index N makes version N + 1 of version N.  SQL, run in a
 * transaction that also sets the version. */
struct store_schema {
    const char *const *steps;
    unsigned n;
};

/* What this drover writes. */
extern const struct store_schema store_schema;

/* ":memory:" is allowed.  ERR_STORAGE, with the way out in the message. */
struct error *store_db_open(const char *path, const struct store_schema *schema,
                            struct store_db **ret) WARN_UNUSED;

/* Folds the log into the file.  Null is fine. */
void store_db_close(struct store_db *db);
CLEANUP_FUNC(struct store_db, store_db_close)

/* As store_load(). */
struct error *store_db_load(struct store_db *db, enum store_table table,
                            void (*visit)(void *aux, int64_t id,
                                          const char *key, const char *body),
                            void *aux) WARN_UNUSED;

/* The lowest id of a table that was never given to anybody. */
struct error *store_db_next_id(struct store_db *db, enum store_table table,
                               int64_t *ret) WARN_UNUSED;

/* A transaction: begin, any of the others while there is no error, and end
 * with the first error, which it takes and returns, or its own.  With null it
 * commits: then all is on disk; else nothing is. */
struct error *store_db_begin(struct store_db *db) WARN_UNUSED;
struct error *store_db_put(struct store_db *db, enum store_table table,
                           int64_t id, const char *key,
                           const char *body) WARN_UNUSED; /* Null: delete. */
struct error *store_db_set_next_id(struct store_db *db, enum store_table table,
                                   int64_t next) WARN_UNUSED;
struct error *store_db_end(struct store_db *db,
                           struct error *error) WARN_UNUSED;

#endif
