#include <config.h>

#include "agent/store_db.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/fault.h"

/* Checking takes time in proportion to the size; a healthy database is small.
 * Whatever is found in this time must do. */
#define CHECK_MS 2000

enum { PUT, DELETE, N_STATEMENTS };

struct store_db {
    char *path;
    sqlite3 *db;
    sqlite3_stmt *statements[STORE_N_TABLES][N_STATEMENTS];
};

static const char *const table_names[STORE_N_TABLES] = {
    [STORE_INSTANCES] = "instances",
    [STORE_MIGRATIONS] = "migrations",
    [STORE_OPERATIONS] = "operations",
};

/* A released step is never changed: what it makes is in tests/corpus/store. */
static const char *const schema_steps[] = {
    "CREATE TABLE instances (id INTEGER PRIMARY KEY, key TEXT NOT NULL,"
    " body TEXT NOT NULL) STRICT;"
    "CREATE TABLE migrations (id INTEGER PRIMARY KEY, key TEXT NOT NULL,"
    " body TEXT NOT NULL) STRICT;"
    "CREATE TABLE operations (id INTEGER PRIMARY KEY, key TEXT NOT NULL,"
    " body TEXT NOT NULL) STRICT;"
    "CREATE TABLE ids (name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT;",
};
const struct store_schema store_schema = {schema_steps,
                                          N_ELEMENTS(schema_steps)};

static struct error *make_file(const char *path);
static struct error *open_file(struct store_db *, const struct store_schema *);
static struct error *check_whole(struct store_db *);
static struct error *check_version(struct store_db *,
                                   const struct store_schema *);
static struct error *upgrade(struct store_db *, const struct store_schema *);
static int64_t first_int(struct store_db *, const char *sql, int64_t fallback);
static struct error *exec(struct store_db *, const char *what, const char *sql);
static struct error *db_error(struct store_db *, const char *what);
static struct error *damaged(struct store_db *, const char *found);

struct error *
store_db_open(const char *path, const struct store_schema *schema,
              struct store_db **ret)
{
    CLEANUP(store_db_close_at) struct store_db *db = xzalloc(sizeof *db);
    struct error *error = NULL;

    db->path = xstrdup(path);
    if (!str_eq(path, ":memory:")) {
        error = make_file(path);
    }
    if (!error) {
        error = open_file(db, schema);
    }
    if (!error) {
        *ret = steal(&db);
    }
    return error;
}

void
store_db_close(struct store_db *db)
{
    if (!db) {
        return;
    }
    for (int t = 0; t < STORE_N_TABLES; t++) {
        for (int i = 0; i < N_STATEMENTS; i++) {
            sqlite3_finalize(db->statements[t][i]);
        }
    }
    sqlite3_close(db->db);
    free(db->path);
    free(db);
}

struct error *
store_db_load(struct store_db *db, enum store_table table,
              void (*visit)(void *aux, int64_t id, const char *key,
                            const char *body),
              void *aux)
{
    AUTO_FREE sql = xasprintf("SELECT id, key, body FROM %s ORDER BY id",
                              table_names[table]);
    sqlite3_stmt *statement;
    int status;

    if (sqlite3_prepare_v2(db->db, sql, -1, &statement, NULL)) {
        return db_error(db, "read");
    }
    while ((status = sqlite3_step(statement)) == SQLITE_ROW) {
        visit(aux, sqlite3_column_int64(statement, 0),
              (const char *)sqlite3_column_text(statement, 1),
              (const char *)sqlite3_column_text(statement, 2));
    }
    struct error *error = status == SQLITE_DONE ? NULL : db_error(db, "read");
    sqlite3_finalize(statement);
    return error;
}

struct error *
store_db_next_id(struct store_db *db, enum store_table table, int64_t *ret)
{
    AUTO_FREE sql = xasprintf(
        "SELECT max(coalesce((SELECT next FROM ids WHERE name = '%s'), 1),"
        " coalesce((SELECT max(id) + 1 FROM %s), 1))",
        table_names[table], table_names[table]);
    int64_t next = first_int(db, sql, 0);

    if (next < 1) {
        return db_error(db, "read ids of");
    }
    *ret = next;
    return NULL;
}

struct error *
store_db_begin(struct store_db *db)
{
    struct error *error = FAULT_ERROR("store-write");

    return error ? error : exec(db, "write to", "BEGIN IMMEDIATE");
}

struct error *
store_db_put(struct store_db *db, enum store_table table, int64_t id,
             const char *key, const char *body)
{
    static const char *const formats[N_STATEMENTS] = {
        [PUT] = "INSERT INTO %s (id, key, body) VALUES (?1, ?2, ?3)"
                " ON CONFLICT (id) DO UPDATE SET"
                " key = excluded.key, body = excluded.body",
        [DELETE] = "DELETE FROM %s WHERE id = ?1",
    };
    int kind = body ? PUT : DELETE;
    sqlite3_stmt **statement = &db->statements[table][kind];

    if (!*statement) {
        char *sql = sqlite3_mprintf(formats[kind], table_names[table]);
        int status = sqlite3_prepare_v3(
            db->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
        sqlite3_free(sql);
        if (status) {
            return db_error(db, "write to");
        }
    }
    sqlite3_bind_int64(*statement, 1, id);
    if (kind == PUT) {
        sqlite3_bind_text(*statement, 2, key, -1, SQLITE_STATIC);
        sqlite3_bind_text(*statement, 3, body, -1, SQLITE_STATIC);
    }
    int status = sqlite3_step(*statement);
    struct error *error =
        status == SQLITE_DONE ? NULL : db_error(db, "write to");
    sqlite3_reset(*statement);
    sqlite3_clear_bindings(*statement);
    return error;
}

struct error *
store_db_set_next_id(struct store_db *db, enum store_table table, int64_t next)
{
    char *sql = sqlite3_mprintf("INSERT INTO ids (name, next) VALUES (%Q, %lld)"
                                " ON CONFLICT (name) DO UPDATE SET"
                                " next = excluded.next",
                                table_names[table], (long long)next);
    int status = sqlite3_exec(db->db, sql, NULL, NULL, NULL);

    sqlite3_free(sql);
    return status ? db_error(db, "write ids to") : NULL;
}

struct error *
store_db_end(struct store_db *db, struct error *error)
{
    FAULT_POINT("store-before-commit");
    if (!error) {
        error = exec(db, "write to", "COMMIT");
    }
    FAULT_POINT("store-after-commit");
    /* Some errors have ended the transaction by themselves. */
    if (!sqlite3_get_autocommit(db->db)) {
        sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return error;
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

/* The lock is exclusive: two agents on one journal would be the end of it.
 * Little is cached, as all is read once.  A log that another process left is
 * read, but folded into the file only when that is known to be right. */
static struct error *
open_file(struct store_db *db, const struct store_schema *schema)
{
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;

    if (sqlite3_open_v2(db->path, &db->db, flags, NULL)) {
        return db_error(db, "open");
    }
    sqlite3_extended_result_codes(db->db, 1);
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_LOOKASIDE, NULL, 0, 0);
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_busy_timeout(db->db, 1000);

    /* The lock first: what is read before makes a file of shared memory. */
    struct error *error = exec(db, "prepare",
                               "PRAGMA locking_mode = EXCLUSIVE;"
                               "PRAGMA cache_size = -128;"
                               "PRAGMA mmap_size = 0;"
                               "PRAGMA temp_store = MEMORY;");
    if (!error) {
        error = check_whole(db);
    }
    if (!error) {
        error = check_version(db, schema);
    }
    if (error) {
        return error;
    }
    sqlite3_db_config(db->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    error = exec(db, "prepare",
                 "PRAGMA journal_mode = WAL;"
                 "PRAGMA synchronous = FULL;"
                 "PRAGMA wal_autocheckpoint = 250;");
    return error ? error : upgrade(db, schema);
}

static int
is_too_long(void *aux)
{
    const uint64_t *end_ms = aux;

    return clock_now_ms() > *end_ms;
}

static struct error *
check_whole(struct store_db *db)
{
    uint64_t end_ms = clock_now_ms() + CHECK_MS;
    AUTO_FREE found = NULL;
    sqlite3_stmt *statement;

    sqlite3_progress_handler(db->db, 10000, is_too_long, &end_ms);
    int status = sqlite3_prepare_v2(db->db, "PRAGMA quick_check(1)", -1,
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
    sqlite3_progress_handler(db->db, 0, NULL, NULL);

    if (status != SQLITE_ROW && (status & 0xff) != SQLITE_INTERRUPT) {
        return db_error(db, "check");
    }
    return found && !str_eq(found, "ok") ? damaged(db, found) : NULL;
}

static struct error *
check_version(struct store_db *db, const struct store_schema *schema)
{
    int64_t version = first_int(db, "PRAGMA user_version", -1);

    if (version < 0 || version > schema->n) {
        return error_new(ERR_STORAGE,
                         "database '%s' has version %lld, this drover knows "
                         "%u: install the newer drover again, or move the "
                         "database away to start without it",
                         db->path, (long long)version, schema->n);
    }
    if (version == 0 &&
        first_int(db, "SELECT count(*) FROM sqlite_schema", 1)) {
        return error_new(ERR_STORAGE,
                         "database '%s' is not drover's: move it away",
                         db->path);
    }
    return NULL;
}

/* A step that fails leaves the version before it. */
static struct error *
upgrade(struct store_db *db, const struct store_schema *schema)
{
    int64_t version = first_int(db, "PRAGMA user_version", -1);
    struct error *error = NULL;

    for (unsigned v = (unsigned)version; v < schema->n && !error; v++) {
        AUTO_FREE set_version = xasprintf("PRAGMA user_version = %u", v + 1);

        error = exec(db, "upgrade", "BEGIN IMMEDIATE");
        if (!error) {
            error = exec(db, "upgrade", schema->steps[v]);
        }
        if (!error) {
            error = exec(db, "upgrade", set_version);
        }
        error = error_wrap(store_db_end(db, error),
                           "bring database to version %u", v + 1);
    }
    return error;
}

static int64_t
first_int(struct store_db *db, const char *sql, int64_t fallback)
{
    sqlite3_stmt *statement;
    int64_t value = fallback;

    if (!sqlite3_prepare_v2(db->db, sql, -1, &statement, NULL)) {
        if (sqlite3_step(statement) == SQLITE_ROW) {
            value = sqlite3_column_int64(statement, 0);
        }
        sqlite3_finalize(statement);
    }
    return value;
}

static struct error *
exec(struct store_db *db, const char *what, const char *sql)
{
    return sqlite3_exec(db->db, sql, NULL, NULL, NULL) ? db_error(db, what)
                                                       : NULL;
}

static struct error *
db_error(struct store_db *db, const char *what)
{
    switch (sqlite3_errcode(db->db) & 0xff) {
    case SQLITE_BUSY:
        return error_new(ERR_STORAGE,
                         "%s database '%s': another process uses it; is a "
                         "second droverd running?",
                         what, db->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return damaged(db, sqlite3_errmsg(db->db));
    default:
        return error_new(ERR_STORAGE, "%s database '%s': %s (%d)", what,
                         db->path, sqlite3_errmsg(db->db),
                         sqlite3_extended_errcode(db->db));
    }
}

static struct error *
damaged(struct store_db *db, const char *found)
{
    return error_new(ERR_STORAGE,
                     "database '%s' is damaged (%s): restore it, or move it "
                     "and '%s-wal' away to start without records and open "
                     "operations",
                     db->path, found, db->path);
}
