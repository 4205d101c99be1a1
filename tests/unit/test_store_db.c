#include <config.h>

#include "agent/store_db.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Versions of the database, and that one that is refused stays as it is. */

static char directory[64], path[96], wal[104];

static int
setup(void **state UNUSED)
{
    snprintf(directory, sizeof directory, "/tmp/test-store-db-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/state.db", directory);
    snprintf(wal, sizeof wal, "%s-wal", path);
    return 0;
}

static int
teardown(void **state UNUSED)
{
    unlink(path);
    unlink(wal);
    return rmdir(directory);
}

static char *
read_file(const char *name, size_t *ret_size)
{
    FILE *in = fopen(name, "rb");
    char *bytes = NULL;
    size_t size = 0, n;

    if (!in) {
        return NULL;
    }
    do {
        bytes = xrealloc(bytes, size + 4097);
        n = fread(bytes + size, 1, 4096, in);
        size += n;
    } while (n);
    fclose(in);
    bytes[size] = '\0';
    *ret_size = size;
    return bytes;
}

static void
write_file(const char *name, const char *bytes, size_t size)
{
    FILE *out = fopen(name, "wb");

    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

static sqlite3 *
open_sqlite(void)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    return db;
}

static void
change(const char *sql)
{
    sqlite3 *db = open_sqlite();

    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* The first column of all rows, joined. */
static char *
ask(const char *sql)
{
    sqlite3 *db = open_sqlite();
    sqlite3_stmt *statement;
    char *all = xstrdup("");

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL),
                     SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        char *more = xasprintf("%s%s;", all,
                               (const char *)sqlite3_column_text(statement, 0));
        free(all);
        all = more;
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return all;
}

static void
assert_answer(const char *sql, const char *expected)
{
    AUTO_FREE answer = ask(sql);

    assert_string_equal(answer, expected);
}

static void
open_and_close(const struct store_schema *schema)
{
    struct store_db *db = NULL;
    AUTO_ERROR error = store_db_open(path, schema, &db);

    assert_string_equal(error_message(error), "success");
    store_db_close(db);
}

static void
assert_refused(const struct store_schema *schema, const char *reason)
{
    struct store_db *db = NULL;
    AUTO_ERROR error = store_db_open(path, schema, &db);

    assert_int_equal(error_code(error), ERR_STORAGE);
    assert_non_null(strstr(error_message(error), reason));
    assert_non_null(strstr(error_message(error), path));
    assert_null(db);
}

/* The database as a crash leaves it: what was written last is in the log. */
static void
leave_with_log(const char *sql)
{
    sqlite3 *db = open_sqlite();
    size_t size, wal_size;

    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    char *bytes = read_file(path, &size);
    char *wal_bytes = read_file(wal, &wal_size);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_true(wal_size > 0);
    write_file(path, bytes, size);
    write_file(wal, wal_bytes, wal_size);
    free(bytes);
    free(wal_bytes);
}

static void
assert_refused_and_untouched(const char *reason)
{
    size_t size, wal_size, size_now, wal_size_now;
    AUTO_FREE bytes = read_file(path, &size);
    AUTO_FREE wal_bytes = read_file(wal, &wal_size);

    assert_refused(&store_schema, reason);
    AUTO_FREE bytes_now = read_file(path, &size_now);
    AUTO_FREE wal_bytes_now = read_file(wal, &wal_size_now);
    assert_int_equal(size, size_now);
    assert_memory_equal(bytes, bytes_now, size);
    assert_int_equal(wal_bytes != NULL, wal_bytes_now != NULL);
    if (wal_bytes) {
        assert_int_equal(wal_size, wal_size_now);
        assert_memory_equal(wal_bytes, wal_bytes_now, wal_size);
    }
}

static unsigned n_visited;

static void
visit(void *aux UNUSED, int64_t id, const char *key, const char *body)
{
    assert_true(id > 0);
    assert_true(*key && *body == '{');
    n_visited++;
}

/* Each version that there ever was is a file of the corpus. */
static void
test_every_older_version_becomes_the_newest(void **state UNUSED)
{
    static const char schema_of[] =
        "SELECT name || sql FROM sqlite_schema WHERE sql NOT NULL ORDER BY 1";
    const char *srcdir = getenv("srcdir");
    AUTO_FREE version = xasprintf("%u;", store_schema.n);

    open_and_close(&store_schema);
    AUTO_FREE newest = ask(schema_of);
    for (unsigned v = 1; v <= store_schema.n; v++) {
        AUTO_FREE name = xasprintf("%s/tests/corpus/store/v%u.sql",
                                   srcdir ? srcdir : ".", v);
        size_t size;
        AUTO_FREE sql = read_file(name, &size);
        int64_t next_id = 0;
        struct store_db *db = NULL;

        unlink(path);
        unlink(wal);
        assert_non_null(sql);
        change(sql);
        AUTO_ERROR error = store_db_open(path, &store_schema, &db);
        assert_null(error);
        n_visited = 0;
        for (enum store_table t = 0; t < STORE_N_TABLES; t++) {
            AUTO_ERROR load_error = store_db_load(db, t, visit, NULL);
            assert_null(load_error);
        }
        assert_int_equal(n_visited, 4);
        AUTO_ERROR id_error = store_db_next_id(db, STORE_OPERATIONS, &next_id);
        assert_null(id_error);
        assert_int_equal(next_id, 73);
        store_db_close(db);

        AUTO_FREE now = ask(schema_of);
        assert_string_equal(now, newest);
        assert_answer("PRAGMA user_version", version);
    }
}

static const char *const later[] = {
    "CREATE TABLE a (x)",
    "INSERT INTO a VALUES (1); CREATE TABLE b (y)",
    "INSERT INTO b SELECT x + 1 FROM a",
};

static void
test_steps_are_gone_through_in_order_from_each_version(void **state UNUSED)
{
    for (unsigned v = 0; v <= N_ELEMENTS(later); v++) {
        unlink(path);
        unlink(wal);
        open_and_close(&(struct store_schema){later, v});
        open_and_close(&(struct store_schema){later, N_ELEMENTS(later)});
        assert_answer("PRAGMA user_version", "3;");
        assert_answer("SELECT y FROM b", "2;");
        open_and_close(&(struct store_schema){later, N_ELEMENTS(later)});
        assert_answer("SELECT y FROM b", "2;"); /* Once. */
    }
}

static void
test_a_step_that_fails_leaves_the_version_before_it(void **state UNUSED)
{
    static const char *const bad[] = {
        "CREATE TABLE a (x)",
        "INSERT INTO a VALUES (1)",
        "CREATE TABLE b (y); INSERT INTO a VALUES (2); no SQL",
    };

    open_and_close(&(struct store_schema){bad, 1});
    assert_refused(&(struct store_schema){bad, 3}, "to version 3");
    assert_answer("PRAGMA user_version", "2;");
    assert_answer("SELECT x FROM a", "1;");
    assert_answer("SELECT count(*) FROM sqlite_schema", "1;");
}

static void
test_a_newer_database_is_left_alone_with_its_log(void **state UNUSED)
{
    open_and_close(&store_schema);
    leave_with_log("PRAGMA user_version = 99; CREATE TABLE more (z);"
                   "INSERT INTO instances VALUES (1, 'a', '{}')");
    assert_refused_and_untouched("install the newer drover again");
    change("PRAGMA user_version = 1"); /* Nothing of it is lost. */
    open_and_close(&store_schema);
    assert_answer("SELECT key FROM instances", "a;");
}

static void
test_a_damaged_database_is_left_alone_with_its_log(void **state UNUSED)
{
    open_and_close(&store_schema);
    for (int i = 0; i < 40; i++) {
        AUTO_FREE sql = xasprintf(
            "INSERT INTO instances VALUES (%d, 'k', hex(zeroblob(400)))", i);
        change(sql);
    }
    leave_with_log("INSERT INTO operations VALUES (1, 'a', '{}')");
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -2 * 4096, SEEK_END), 0);
    for (int i = 0; i < 64; i++) {
        fputc(0x5a, file);
    }
    fclose(file);
    assert_refused_and_untouched("is damaged");
}

static void
test_somebody_elses_database_is_refused(void **state UNUSED)
{
    change("CREATE TABLE theirs (x)");
    assert_refused_and_untouched("is not drover's");
    assert_answer("SELECT name FROM sqlite_schema", "theirs;");
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_every_older_version_becomes_the_newest),
        TEST(test_steps_are_gone_through_in_order_from_each_version),
        TEST(test_a_step_that_fails_leaves_the_version_before_it),
        TEST(test_a_newer_database_is_left_alone_with_its_log),
        TEST(test_a_damaged_database_is_left_alone_with_its_log),
        TEST(test_somebody_elses_database_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
