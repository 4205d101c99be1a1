#ifndef DROVER_AGENT_STORE_H
#define DROVER_AGENT_STORE_H

/* The state that survives: documents in one SQLite database.
 *
 * Tables of (id, key, body), the body being JSON text.  Everything is read at
 * start, into the modules that own it (agent/journal.h, agent/records_local.h);
 * from then on they keep it in memory and write through.  A write is on disk,
 * power cut or not, when its 'done' is called: WAL, synchronous FULL, on a
 * thread of its own.  (spec/library-notes 6)
 *
 * What could not be written, as the disk was full, is kept, and written with or
 * before all that comes later: a write that succeeds says that those before it
 * are on disk, too.  So whoever leads the disk, as the records do, need not
 * repeat what failed, and who must not, as the journal, still waits.
 *
 * Threads: the loop. */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/completion.h"
#include "agent/base/error.h"

struct store;

enum store_table {
    STORE_INSTANCES,
    STORE_MIGRATIONS,
    STORE_OPERATIONS,
    STORE_N_TABLES
};

/* Opens or makes the database; ":memory:" is allowed.  Runs on the caller's
 * thread, at start only.  A damaged database, or one of a newer drover, is
 * ERR_STORAGE with the way out in the message; nothing is changed then. */
struct error *store_open(const char *path, struct completion_queue *q,
                         struct store **ret) WARN_UNUSED;

/* Waits until all is written, and closes.  The 'done' of what was written last
 * are called when the completion queue is next drained; the memory goes then.
 * Null is fine. */
void store_close(struct store *store);
CLEANUP_FUNC(struct store, store_close)

/* The queue by which 'done' comes: who needs to put off a call can use it. */
struct completion_queue *store_queue(struct store *store);

/* Calls 'visit' for every document, by id.  Waits for the writes that are
 * under way: at start only. */
struct error *store_load(struct store *store, enum store_table table,
                         void (*visit)(void *aux, int64_t id, const char *key,
                                       const char *body),
                         void *aux) WARN_UNUSED;

/* The next unused id of a table; never given twice, not even after a
 * restart of an agent that wrote nothing under it since. */
int64_t store_next_id(struct store *store, enum store_table table);

/* Puts (or replaces) a document, or with a null 'body' deletes it.  Writes
 * happen in order; those of one loop iteration share a transaction.  'done'
 * (may be null) is called on the loop, with ERR_STORAGE (the callee's to free)
 * if it is not on disk yet; it is written as soon as that can be, unless the
 * document is put again.  Takes 'body'. */
void store_put(struct store *store, enum store_table table, int64_t id,
               const char *key, char *body,
               void (*done)(void *aux, struct error *error), void *aux);

/* How many documents are not on disk though they should be, and why; null: no
 * reason.  The caller's to free. */
struct store_backlog {
    size_t n;
    char *reason;
};
struct store_backlog store_backlog(struct store *store);

/* For tests: stands between the store and the disk.  It is called with
 * 'is_done' false when a document is put ('body' is null for a deletion): if
 * it answers false the document is not written, and 'done' gets an error; and
 * with 'is_done' true right before 'done'. */
typedef bool store_tap(void *aux, bool is_done, enum store_table table,
                       int64_t id, const char *body);
void store_set_tap(struct store *store, store_tap *tap, void *aux);

#endif
