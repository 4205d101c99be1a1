#include <config.h>

#include "agent/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/fault.h"
#include "agent/base/worker.h"

#define SCHEMA_VERSION 1

/* Ids are handed out on the loop, which does not wait for the disk: a range of
 * them is reserved on disk ahead of use, and what a crash leaves of it is
 * never used.  A new range is asked for when fewer than half are left. */
#define ID_RANGE 64

/* Checking takes time in proportion to the size; a healthy database is small.
 * Whatever is found in this time must do. */
#define CHECK_MS 2000

struct write {
    struct write *next;
    enum store_table table;
    bool is_range; /* 'id' is the table's new limit; the rest is null. */
    bool is_lost;  /* The tap's doing. */
    int64_t id;
    char *key, *body;
    void (*done)(void *aux, struct error *error);
    void *aux;
};

struct write_list {
    struct write *head, **tail;
};

/* The writes of one transaction on their way back to the loop. */
struct batch {
    struct completion completion; /* First: it is posted. */
    struct store *store;
    struct write *writes;
    struct error *error; /* Of all of them. */
};

enum { PUT, DELETE, N_STATEMENTS };

struct store {
    /* The loop's. */
    struct completion_queue *q;
    struct completion flush; /* Underway if 'is_flush_posted'. */
    bool is_flush_posted, is_closed;
    struct completion gone;    /* The last one of this store. */
    struct write_list pending; /* Since the last flush. */
    int64_t next_ids[STORE_N_TABLES];
    int64_t id_limits[STORE_N_TABLES]; /* On disk, or on the way. */
    store_tap *tap;
    void *tap_aux;
    char *path;
    uv_thread_t thread;

    /* The thread's while anything is queued, else the loop's. */
    sqlite3 *db;
    sqlite3_stmt *statements[STORE_N_TABLES][N_STATEMENTS];

    uv_mutex_t mutex; /* Guards what follows. */
    uv_cond_t changed;
    struct write_list queued;
    bool is_writing, stopping;
};

static const char *const table_names[STORE_N_TABLES] = {
    [STORE_INSTANCES] = "instances",
    [STORE_MIGRATIONS] = "migrations",
    [STORE_OPERATIONS] = "operations",
};

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE instances (id INTEGER PRIMARY KEY, key TEXT NOT NULL,"
    " body TEXT NOT NULL) STRICT;"
    "CREATE TABLE migrations (id INTEGER PRIMARY KEY, key TEXT NOT NULL,"
    " body TEXT NOT NULL) STRICT;"
    "CREATE TABLE operations (id INTEGER PRIMARY KEY, key TEXT NOT NULL,"
    " body TEXT NOT NULL) STRICT;"
    "CREATE TABLE ids (name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT;"
    "PRAGMA user_version = 1;"
    "COMMIT;";

static struct error *make_file(const char *path);
static struct error *open_db(struct store *);
static struct error *check_db(struct store *);
static struct error *load_ids(struct store *);
static int64_t first_int(struct store *, const char *sql, int64_t fallback);
static struct error *exec(struct store *, const char *sql);
static struct error *db_error(struct store *, const char *what);
static struct error *damaged(struct store *, const char *found);
static void list_init(struct write_list *);
static void list_append(struct write_list *, struct write *);
static void list_move(struct write_list *to, struct write_list *from);
static void put_later(struct store *, struct write *);
static void flush_deliver(struct completion *);
static void flush(struct store *);
static void wait_idle(struct store *);
static void writer_main(void *aux);
static struct error *write_all(struct store *, const struct write *);
static struct error *write_one(struct store *, const struct write *);
static struct error *write_range(struct store *, enum store_table,
                                 int64_t limit);
static void batch_deliver(struct completion *);
static void store_gone(struct completion *);
static void store_free(struct store *);
static void close_db(struct store *);

struct error *
store_open(const char *path, struct completion_queue *q, struct store **ret)
{
    CLEANUP(store_close_at) struct store *store = xzalloc(sizeof *store);
    struct error *error = NULL;

    store->q = q;
    store->path = xstrdup(path);
    store->is_closed = true; /* Until the thread runs. */
    list_init(&store->pending);
    list_init(&store->queued);
    uv_mutex_init(&store->mutex);
    uv_cond_init(&store->changed);
    if (!str_eq(path, ":memory:")) {
        error = make_file(path);
    }
    if (!error) {
        error = open_db(store);
    }
    if (!error) {
        error = load_ids(store);
    }
    if (error) {
        return error;
    }
    store->is_closed = false;
    worker_thread_start(&store->thread, "store", writer_main, store);
    *ret = steal(&store);
    return NULL;
}

void
store_close(struct store *store)
{
    if (!store) {
        return;
    }
    if (store->is_closed) { /* It was never open. */
        close_db(store);
        store_free(store);
        return;
    }
    flush(store);
    uv_mutex_lock(&store->mutex);
    store->stopping = true;
    uv_cond_broadcast(&store->changed);
    uv_mutex_unlock(&store->mutex);
    uv_thread_join(&store->thread);

    /* So that ids have gaps after a crash only; harmless if it fails. */
    for (enum store_table t = 0; t < STORE_N_TABLES; t++) {
        error_free(write_range(store, t, store->next_ids[t]));
    }
    close_db(store);
    store->is_closed = true;
    store->gone.deliver = store_gone; /* Behind all batches. */
    completion_post(store->q, &store->gone);
}

struct completion_queue *
store_queue(struct store *store)
{
    return store->q;
}

struct error *
store_load(struct store *store, enum store_table table,
           void (*visit)(void *aux, int64_t id, const char *key,
                         const char *body),
           void *aux)
{
    AUTO_FREE sql = xasprintf("SELECT id, key, body FROM %s ORDER BY id",
                              table_names[table]);
    sqlite3_stmt *statement;
    int status;

    wait_idle(store);
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL)) {
        return db_error(store, "read");
    }
    while ((status = sqlite3_step(statement)) == SQLITE_ROW) {
        visit(aux, sqlite3_column_int64(statement, 0),
              (const char *)sqlite3_column_text(statement, 1),
              (const char *)sqlite3_column_text(statement, 2));
    }
    struct error *error =
        status == SQLITE_DONE ? NULL : db_error(store, "read");
    sqlite3_finalize(statement);
    return error;
}

int64_t
store_next_id(struct store *store, enum store_table table)
{
    int64_t id = store->next_ids[table]++;

    if (store->id_limits[table] - id < ID_RANGE / 2) {
        struct write *write = xzalloc(sizeof *write);

        store->id_limits[table] = id + ID_RANGE;
        write->table = table;
        write->is_range = true;
        write->id = store->id_limits[table];
        put_later(store, write);
    }
    return id;
}

void
store_put(struct store *store, enum store_table table, int64_t id,
          const char *key, char *body,
          void (*done)(void *aux, struct error *error), void *aux)
{
    struct write *write = xzalloc(sizeof *write);

    write->table = table;
    write->id = id;
    write->key = xstrdup(key);
    write->body = body;
    write->done = done;
    write->aux = aux;
    write->is_lost =
        store->tap && !store->tap(store->tap_aux, false, table, id, body);
    put_later(store, write);
}

void
store_set_tap(struct store *store, store_tap *tap, void *aux)
{
    store->tap = tap;
    store->tap_aux = aux;
}

/* Makes the directory and an empty file, neither for everyone to read: guests'
 * particulars are in it.  SQLite gives the WAL the mode of the file. */
static struct error *
make_file(const char *path)
{
    AUTO_FREE directory = xstrdup(path);

    for (char *p = directory + 1; *directory && (p = strchr(p, '/')); p++) {
        *p = '\0';
        if (mkdir(directory, 0750) && errno != EEXIST) {
            return error_new(ERR_STORAGE,
                             "make directory '%s' of database '%s': %s",
                             directory, path, strerror(errno));
        }
        *p = '/';
    }
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
    } else if (errno != EEXIST) {
        return error_new(ERR_STORAGE, "make database '%s': %s", path,
                         strerror(errno));
    } else if (chmod(path, 0600) && errno != EPERM) {
        return error_new(ERR_STORAGE, "protect database '%s': %s", path,
                         strerror(errno));
    }
    return NULL;
}

/* Nothing is changed before the database is known to be whole and ours.  The
 * lock is exclusive: two agents on one journal would be the end of it.  Little
 * is cached, as all is read once. */
static struct error *
open_db(struct store *store)
{
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;

    if (sqlite3_open_v2(store->path, &store->db, flags, NULL)) {
        return db_error(store, "open");
    }
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_LOOKASIDE, NULL, 0, 0);
    sqlite3_busy_timeout(store->db, 1000);

    struct error *error = exec(store, "PRAGMA cache_size = -128;"
                                      "PRAGMA mmap_size = 0;"
                                      "PRAGMA temp_store = MEMORY;"
                                      "PRAGMA locking_mode = EXCLUSIVE;");
    if (!error) {
        error = check_db(store);
    }
    if (!error) {
        error = exec(store, "PRAGMA journal_mode = WAL;"
                            "PRAGMA synchronous = FULL;"
                            "PRAGMA wal_autocheckpoint = 250;");
    }
    if (!error && first_int(store, "PRAGMA user_version", 0) == 0) {
        error = exec(store, schema);
    }
    return error;
}

static int
is_too_long(void *aux)
{
    const uint64_t *end_ms = aux;

    return clock_now_ms() > *end_ms;
}

static struct error *
check_db(struct store *store)
{
    uint64_t end_ms = clock_now_ms() + CHECK_MS;
    AUTO_FREE found = NULL;
    sqlite3_stmt *statement;

    sqlite3_progress_handler(store->db, 10000, is_too_long, &end_ms);
    int status = sqlite3_prepare_v2(store->db, "PRAGMA quick_check(1)", -1,
                                    &statement, NULL);
    if (!status) {
        status = sqlite3_step(statement);
        if (status == SQLITE_ROW) {
            found = xstrdup((const char *)sqlite3_column_text(statement, 0));
            for (char *p = found; (p = strchr(p, '\n')); p++) {
                *p = ' '; /* It is to be one line of the log. */
            }
        }
        sqlite3_finalize(statement);
    }
    sqlite3_progress_handler(store->db, 0, NULL, NULL);

    if (status != SQLITE_ROW && (status & 0xff) != SQLITE_INTERRUPT) {
        return db_error(store, "check");
    }
    if (found && !str_eq(found, "ok")) {
        return damaged(store, found);
    }

    int64_t version = first_int(store, "PRAGMA user_version", -1);
    if (version < 0 || version > SCHEMA_VERSION) {
        return error_new(ERR_STORAGE,
                         "database '%s' has version %lld, this drover knows "
                         "%d: install the newer drover again, or move the "
                         "database away to start without it",
                         store->path, (long long)version, SCHEMA_VERSION);
    }
    return NULL;
}

static struct error *
load_ids(struct store *store)
{
    for (enum store_table t = 0; t < STORE_N_TABLES; t++) {
        AUTO_FREE sql = xasprintf(
            "SELECT max(coalesce((SELECT next FROM ids WHERE name = '%s'), 1),"
            " coalesce((SELECT max(id) + 1 FROM %s), 1))",
            table_names[t], table_names[t]);
        int64_t next = first_int(store, sql, 0);

        if (next < 1) {
            return db_error(store, "read ids");
        }
        store->next_ids[t] = next;
        store->id_limits[t] = next + ID_RANGE;
        struct error *error = write_range(store, t, store->id_limits[t]);
        if (error) {
            return error;
        }
    }
    return NULL;
}

static int64_t
first_int(struct store *store, const char *sql, int64_t fallback)
{
    sqlite3_stmt *statement;
    int64_t value = fallback;

    if (!sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL)) {
        if (sqlite3_step(statement) == SQLITE_ROW) {
            value = sqlite3_column_int64(statement, 0);
        }
        sqlite3_finalize(statement);
    }
    return value;
}

static struct error *
exec(struct store *store, const char *sql)
{
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL)
               ? db_error(store, "prepare")
               : NULL;
}

static struct error *
db_error(struct store *store, const char *what)
{
    switch (sqlite3_errcode(store->db) & 0xff) {
    case SQLITE_BUSY:
        return error_new(ERR_STORAGE,
                         "%s database '%s': another process uses it; is a "
                         "second droverd running?",
                         what, store->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return damaged(store, sqlite3_errmsg(store->db));
    default:
        return error_new(ERR_STORAGE, "%s database '%s': %s (%d)", what,
                         store->path, sqlite3_errmsg(store->db),
                         sqlite3_extended_errcode(store->db));
    }
}

static struct error *
damaged(struct store *store, const char *found)
{
    return error_new(ERR_STORAGE,
                     "database '%s' is damaged (%s): restore it, or move it "
                     "and '%s-wal' away to start without records and open "
                     "operations",
                     store->path, found, store->path);
}

static void
list_init(struct write_list *list)
{
    list->head = NULL;
    list->tail = &list->head;
}

static void
list_append(struct write_list *list, struct write *write)
{
    *list->tail = write;
    list->tail = &write->next;
}

static void
list_move(struct write_list *to, struct write_list *from)
{
    if (from->head) {
        *to->tail = from->head;
        to->tail = from->tail;
        list_init(from);
    }
}

/* The thread gets all writes of a loop iteration at once, when the loop comes
 * to its completions: they stand or fall together. */
static void
put_later(struct store *store, struct write *write)
{
    assert(!store->is_closed);
    list_append(&store->pending, write);
    if (!store->is_flush_posted) {
        store->is_flush_posted = true;
        store->flush.deliver = flush_deliver;
        completion_post(store->q, &store->flush);
    }
}

static void
flush_deliver(struct completion *c)
{
    struct store *store = container_of(c, struct store, flush);

    store->is_flush_posted = false;
    if (!store->is_closed) {
        flush(store);
    }
}

static void
flush(struct store *store)
{
    uv_mutex_lock(&store->mutex);
    list_move(&store->queued, &store->pending);
    uv_cond_broadcast(&store->changed);
    uv_mutex_unlock(&store->mutex);
}

static void
wait_idle(struct store *store)
{
    flush(store);
    uv_mutex_lock(&store->mutex);
    while (store->queued.head || store->is_writing) {
        uv_cond_wait(&store->changed, &store->mutex);
    }
    uv_mutex_unlock(&store->mutex);
}

static void
writer_main(void *aux)
{
    struct store *store = aux;

    uv_mutex_lock(&store->mutex);
    for (;;) {
        while (!store->queued.head && !store->stopping) {
            uv_cond_wait(&store->changed, &store->mutex);
        }
        if (!store->queued.head) {
            break;
        }
        struct batch *batch = xzalloc(sizeof *batch);
        batch->completion.deliver = batch_deliver;
        batch->store = store;
        batch->writes = store->queued.head;
        list_init(&store->queued);
        store->is_writing = true;
        uv_mutex_unlock(&store->mutex);

        batch->error = write_all(store, batch->writes);
        completion_post(store->q, &batch->completion);

        uv_mutex_lock(&store->mutex);
        store->is_writing = false;
        uv_cond_broadcast(&store->changed);
    }
    uv_mutex_unlock(&store->mutex);
}

static struct error *
write_all(struct store *store, const struct write *writes)
{
    struct error *error = FAULT_ERROR("store-write");

    if (error) {
        return error;
    }
    error = exec(store, "BEGIN IMMEDIATE");
    for (const struct write *w = writes; w && !error; w = w->next) {
        error = write_one(store, w);
    }
    FAULT_POINT("store-before-commit");
    if (!error) {
        error = exec(store, "COMMIT");
    }
    FAULT_POINT("store-after-commit");
    /* Some errors have ended the transaction by themselves. */
    if (!sqlite3_get_autocommit(store->db)) {
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return error;
}

static struct error *
write_one(struct store *store, const struct write *write)
{
    static const char *const formats[N_STATEMENTS] = {
        [PUT] = "INSERT INTO %s (id, key, body) VALUES (?1, ?2, ?3)"
                " ON CONFLICT (id) DO UPDATE SET"
                " key = excluded.key, body = excluded.body",
        [DELETE] = "DELETE FROM %s WHERE id = ?1",
    };
    int kind = write->body ? PUT : DELETE;
    sqlite3_stmt **statement = &store->statements[write->table][kind];

    if (write->is_range) {
        return write_range(store, write->table, write->id);
    }
    if (write->is_lost) {
        return NULL;
    }
    if (!*statement) {
        char *sql = sqlite3_mprintf(formats[kind], table_names[write->table]);
        int status = sqlite3_prepare_v3(
            store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
        sqlite3_free(sql);
        if (status) {
            return db_error(store, "write to");
        }
    }
    sqlite3_bind_int64(*statement, 1, write->id);
    if (kind == PUT) {
        sqlite3_bind_text(*statement, 2, write->key, -1, SQLITE_STATIC);
        sqlite3_bind_text(*statement, 3, write->body, -1, SQLITE_STATIC);
    }
    int status = sqlite3_step(*statement);
    struct error *error =
        status == SQLITE_DONE ? NULL : db_error(store, "write to");
    sqlite3_reset(*statement);
    sqlite3_clear_bindings(*statement);
    return error;
}

static struct error *
write_range(struct store *store, enum store_table table, int64_t limit)
{
    char *sql = sqlite3_mprintf("INSERT INTO ids (name, next) VALUES (%Q, %lld)"
                                " ON CONFLICT (name) DO UPDATE SET"
                                " next = excluded.next",
                                table_names[table], (long long)limit);
    int status = sqlite3_exec(store->db, sql, NULL, NULL, NULL);

    sqlite3_free(sql);
    return status ? db_error(store, "write ids to") : NULL;
}

static void
batch_deliver(struct completion *c)
{
    struct batch *batch = container_of(c, struct batch, completion);
    struct store *store = batch->store;

    for (struct write *w = batch->writes, *next; w; w = next) {
        next = w->next;
        if (store->tap && !w->is_range) {
            store->tap(store->tap_aux, true, w->table, w->id, w->body);
        }
        if (w->done) {
            w->done(w->aux, w->is_lost ? error_new(ERR_STORAGE, "lost")
                                       : error_copy(batch->error));
        }
        free(w->key);
        free(w->body);
        free(w);
    }
    error_free(batch->error);
    free(batch);
}

static void
store_gone(struct completion *c)
{
    store_free(container_of(c, struct store, gone));
}

static void
store_free(struct store *store)
{
    uv_cond_destroy(&store->changed);
    uv_mutex_destroy(&store->mutex);
    free(store->path);
    free(store);
}

/* The last connection folds the WAL into the database. */
static void
close_db(struct store *store)
{
    for (int t = 0; t < STORE_N_TABLES; t++) {
        for (int i = 0; i < N_STATEMENTS; i++) {
            sqlite3_finalize(store->statements[t][i]);
        }
    }
    sqlite3_close(store->db);
}
