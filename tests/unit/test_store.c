#include <config.h>

#include "agent/store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/base/clock.h"

struct fixture {
    uv_loop_t loop;
    struct completion_queue *q;
    char directory[64], path[128];
    struct store *store;
};

/* What a load found, as "id:key:body " one after the other. */
static char found[4096];

static unsigned n_done, n_failed;

static void
visit(void *aux, int64_t id, const char *key, const char *body)
{
    size_t size = strlen(found);

    assert_null(aux);
    snprintf(found + size, sizeof found - size, "%lld:%s:%s ", (long long)id,
             key, body);
}

static const char *
load(struct fixture *f, enum store_table table)
{
    found[0] = '\0';
    AUTO_ERROR error = store_load(f->store, table, visit, NULL);
    assert_null(error);
    return found;
}

static void
done(void *aux, struct error *error)
{
    if (aux) {
        assert_int_equal(*(unsigned *)aux, n_done + n_failed); /* In order. */
        free(aux);
    }
    if (error) {
        assert_int_equal(error_code(error), ERR_STORAGE);
        n_failed++;
    } else {
        n_done++;
    }
    error_free(error);
}

static void
put(struct fixture *f, enum store_table table, int64_t id, const char *key,
    const char *body)
{
    store_put(f->store, table, id, key, xstrdup_null(body), done, NULL);
}

/* Runs the loop until 'n' were called back in all. */
static void
run_until(struct fixture *f, unsigned n)
{
    uint64_t end_ms = clock_now_ms() + 20000;

    while (n_done + n_failed < n) {
        assert_true(clock_now_ms() < end_ms);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void
open_store(struct fixture *f)
{
    AUTO_ERROR error = store_open(f->path, f->q, &f->store);

    assert_string_equal(error_message(error), "success");
}

static void
close_store(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

static int
setup_path(void **state)
{
    struct fixture *f = xzalloc(sizeof *f);

    snprintf(f->directory, sizeof f->directory, "/tmp/test-store-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->path, sizeof f->path, "%s/a/b/state.db", f->directory);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->q = completion_queue_create(&f->loop);
    n_done = n_failed = 0;
    *state = f;
    return 0;
}

static int
setup(void **state)
{
    setup_path(state);
    open_store(*state);
    return 0;
}

static int
setup_memory(void **state)
{
    setup_path(state);
    struct fixture *f = *state;
    snprintf(f->path, sizeof f->path, ":memory:");
    open_store(f);
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    char path[160];

    store_close(f->store);
    completion_queue_close(f->q);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    snprintf(path, sizeof path, "%s/a/b/state.db-wal", f->directory);
    unlink(path);
    path[strlen(path) - strlen("-wal")] = '\0';
    unlink(path);
    for (int i = 0; i < 3; i++) {
        *strrchr(path, '/') = '\0';
        rmdir(path);
    }
    free(f);
    return 0;
}

/* Runs SQL on the file while nobody has it open. */
static void
change(struct fixture *f, const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void
test_what_was_put_is_loaded_after_reopening(void **state)
{
    struct fixture *f = *state;

    put(f, STORE_INSTANCES, 2, "b", "{\"x\":\"\xc3\xa9\"}");
    put(f, STORE_INSTANCES, 1, "a", "{}");
    put(f, STORE_OPERATIONS, 1, "op", "[]");
    run_until(f, 3);
    assert_int_equal(n_failed, 0);
    close_store(f);

    open_store(f);
    assert_string_equal(load(f, STORE_INSTANCES),
                        "1:a:{} 2:b:{\"x\":\"\xc3\xa9\"} ");
    assert_string_equal(load(f, STORE_OPERATIONS), "1:op:[] ");
    assert_string_equal(load(f, STORE_MIGRATIONS), "");
}

static void
test_put_replaces_and_null_deletes(void **state)
{
    struct fixture *f = *state;

    put(f, STORE_MIGRATIONS, 7, "old", "1");
    put(f, STORE_MIGRATIONS, 8, "gone", "1");
    put(f, STORE_MIGRATIONS, 7, "new", "2");
    put(f, STORE_MIGRATIONS, 8, "gone", NULL);
    put(f, STORE_MIGRATIONS, 9, "never there", NULL);
    run_until(f, 5);
    assert_int_equal(n_failed, 0);
    assert_string_equal(load(f, STORE_MIGRATIONS), "7:new:2 ");
}

static void
test_done_is_called_later_and_in_order(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 50; i++) {
        unsigned *nth = xmemdup(&i, sizeof i);
        store_put(f->store, STORE_INSTANCES, i, "", xstrdup("{}"), done, nth);
        assert_int_equal(n_done, 0);
        if (i == 20) {
            store_put(f->store, STORE_INSTANCES, 0, "", xstrdup("{}"), NULL,
                      NULL);
        }
    }
    run_until(f, 50);
    assert_int_equal(n_done, 50);
}

static void
test_load_sees_what_was_just_put(void **state)
{
    struct fixture *f = *state;

    put(f, STORE_INSTANCES, 3, "k", "5");
    assert_string_equal(load(f, STORE_INSTANCES), "3:k:5 ");
    run_until(f, 1);
}

static void
test_closing_writes_all(void **state)
{
    struct fixture *f = *state;

    put(f, STORE_INSTANCES, 3, "k", "5");
    close_store(f);
    assert_int_equal(n_done, 1);
    open_store(f);
    assert_string_equal(load(f, STORE_INSTANCES), "3:k:5 ");
}

static void
test_ids_are_never_given_twice(void **state)
{
    struct fixture *f = *state;
    int64_t last = 0;

    for (int i = 0; i < 500; i++) {
        int64_t id = store_next_id(f->store, STORE_OPERATIONS);
        assert_int_equal(id, last + 1);
        last = id;
    }
    assert_int_equal(store_next_id(f->store, STORE_INSTANCES), 1);
    close_store(f);

    /* Not even when nothing was written under them. */
    open_store(f);
    assert_int_equal(store_next_id(f->store, STORE_OPERATIONS), last + 1);
    assert_int_equal(store_next_id(f->store, STORE_INSTANCES), 2);

    /* Nor if the rows were deleted. */
    put(f, STORE_OPERATIONS, last + 1, "", "{}");
    put(f, STORE_OPERATIONS, last + 1, "", NULL);
    close_store(f);
    open_store(f);
    assert_int_equal(store_next_id(f->store, STORE_OPERATIONS), last + 2);
}

/* A copy of the files as they are on disk is what a crash leaves. */
static void
copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    char buf[4096];
    size_t size;

    assert_non_null(in);
    assert_non_null(out);
    while ((size = fread(buf, 1, sizeof buf, in))) {
        assert_int_equal(fwrite(buf, 1, size, out), size);
    }
    fclose(in);
    fclose(out);
}

static void
test_after_a_crash_nothing_acknowledged_is_lost(void **state)
{
    struct fixture *f = *state;

    put(f, STORE_INSTANCES, 3, "k", "5");
    int64_t id = 0;
    for (int i = 0; i < 100; i++) {
        id = store_next_id(f->store, STORE_OPERATIONS);
        put(f, STORE_OPERATIONS, 1, "", "{}");
        run_until(f, 2 + (unsigned)i);
    }
    struct fixture copy = *f;
    AUTO_FREE wal = xasprintf("%s-wal", f->path);
    snprintf(copy.path, sizeof copy.path, "%s/copy.db", f->directory);
    AUTO_FREE copy_wal = xasprintf("%s-wal", copy.path);
    copy_file(f->path, copy.path);
    copy_file(wal, copy_wal);

    AUTO_ERROR error = store_open(copy.path, f->q, &copy.store);
    assert_null(error);
    assert_string_equal(load(&copy, STORE_INSTANCES), "3:k:5 ");
    assert_true(store_next_id(copy.store, STORE_OPERATIONS) > id);
    store_close(copy.store);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    unlink(copy.path);
    unlink(copy_wal);
}

static void
test_only_the_owner_may_read(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    put(f, STORE_INSTANCES, 1, "", "{}");
    run_until(f, 1);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    AUTO_FREE wal = xasprintf("%s-wal", f->path);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void
test_journal_is_a_write_ahead_log(void **state)
{
    struct fixture *f = *state;

    close_store(f);
    FILE *file = fopen(f->path, "rb");
    unsigned char header[20];
    assert_non_null(file);
    assert_int_equal(fread(header, 1, sizeof header, file), sizeof header);
    fclose(file);
    assert_int_equal(header[18], 2); /* 1: a rollback journal. */
}

static void
assert_refused(struct fixture *f, const char *reason)
{
    struct store *store = NULL;
    AUTO_ERROR error = store_open(f->path, f->q, &store);

    assert_int_equal(error_code(error), ERR_STORAGE);
    assert_non_null(strstr(error_message(error), reason));
    assert_non_null(strstr(error_message(error), f->path));
    assert_null(store);
}

static void
test_newer_database_is_refused(void **state)
{
    struct fixture *f = *state;

    close_store(f);
    change(f, "PRAGMA user_version = 2");
    assert_refused(f, "install the newer drover again");
    change(f, "PRAGMA user_version = 1");
    open_store(f);
}

static void
test_damaged_database_is_refused_and_left_alone(void **state)
{
    struct fixture *f = *state;

    for (int i = 1; i <= 200; i++) {
        put(f, STORE_INSTANCES, i, "key",
            "\"a body that is long enough to fill a number of pages\"");
    }
    close_store(f);
    FILE *file = fopen(f->path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 2 * 4096, SEEK_SET), 0); /* Page 3. */
    for (int i = 0; i < 64; i++) {
        fputc(0x5a, file);
    }
    fclose(file);
    struct stat before, after;
    assert_int_equal(stat(f->path, &before), 0);
    assert_refused(f, "is damaged");
    assert_int_equal(stat(f->path, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}

static void
test_other_file_is_refused(void **state)
{
    struct fixture *f = *state;

    close_store(f);
    FILE *file = fopen(f->path, "wb");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++) {
        fputs("this is not a database\n", file);
    }
    fclose(file);
    assert_refused(f, "move it");
}

static void
test_unwritable_directory_is_told(void **state)
{
    struct fixture *f = *state;

    snprintf(f->path, sizeof f->path, "/proc/none/state.db");
    assert_refused(f, "make directory");
}

static void
test_second_agent_is_refused(void **state)
{
    struct fixture *f = *state;

    put(f, STORE_INSTANCES, 1, "", "{}");
    run_until(f, 1);
    assert_refused(f, "second droverd");
}

static size_t
n_unsaved(struct fixture *f)
{
    struct store_backlog backlog = store_backlog(f->store);

    free(backlog.reason);
    return backlog.n;
}

static void
assert_backlog(struct fixture *f, size_t n, const char *reason)
{
    struct store_backlog backlog = store_backlog(f->store);

    assert_int_equal(backlog.n, n);
    assert_int_equal(backlog.reason != NULL, reason != NULL);
    assert_true(!reason || strstr(backlog.reason, reason));
    free(backlog.reason);
}

/* A file that may not grow is a full disk for SQLite. */
static void
limit_files(rlim_t size)
{
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void
fill_disk(void)
{
    limit_files(100);
}

static void
free_disk(void)
{
    limit_files(RLIM_INFINITY);
}

static void
test_full_disk_fails_the_write_but_not_the_store(void **state)
{
    struct fixture *f = *state;
    char *big = xmalloc(1 << 20);

    put(f, STORE_INSTANCES, 1, "", "1");
    run_until(f, 1);
    limit_files(200 << 10);

    memset(big, '7', (1 << 20) - 1);
    big[(1 << 20) - 1] = '\0';
    put(f, STORE_INSTANCES, 2, "", big);
    put(f, STORE_INSTANCES, 1, "", "2");
    run_until(f, 3);
    assert_int_equal(n_failed, 2); /* They stand and fall together. */
    assert_string_equal(load(f, STORE_INSTANCES), "1::1 ");
    assert_backlog(f, 2, "disk");

    /* Only what was put last counts; a deletion does, too. */
    put(f, STORE_INSTANCES, 1, "", "3");
    put(f, STORE_INSTANCES, 2, "", NULL);
    put(f, STORE_OPERATIONS, 1, "", "4");
    run_until(f, 6);
    assert_int_equal(n_failed, 5);
    assert_backlog(f, 3, "disk");
    free_disk();

    /* What is on disk has all before it. */
    put(f, STORE_OPERATIONS, 2, "", "5");
    run_until(f, 7);
    assert_int_equal(n_failed, 5);
    assert_string_equal(load(f, STORE_INSTANCES), "1::3 ");
    assert_string_equal(load(f, STORE_OPERATIONS), "1::4 2::5 ");
    assert_backlog(f, 0, NULL);
    free(big);
}

static void
test_what_failed_is_written_when_it_can_be(void **state)
{
    struct fixture *f = *state;

    fill_disk();
    put(f, STORE_INSTANCES, 1, "k", "1");
    run_until(f, 1);
    assert_int_equal(n_failed, 1);
    assert_int_equal(store_next_id(f->store, STORE_INSTANCES), 1);
    free_disk();

    uint64_t end_ms = clock_now_ms() + 20000;
    while (n_unsaved(f)) {
        assert_true(clock_now_ms() < end_ms);
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_string_equal(load(f, STORE_INSTANCES), "1:k:1 ");
}

static void
test_closing_tries_what_failed_once_more(void **state)
{
    struct fixture *f = *state;

    fill_disk();
    put(f, STORE_INSTANCES, 1, "k", "1");
    run_until(f, 1);
    free_disk();
    close_store(f);
    open_store(f);
    assert_string_equal(load(f, STORE_INSTANCES), "1:k:1 ");
}

static void
test_memory_is_enough(void **state)
{
    struct fixture *f = *state;

    put(f, STORE_INSTANCES, 1, "k", "{}");
    run_until(f, 1);
    assert_int_equal(n_failed, 0);
    assert_string_equal(load(f, STORE_INSTANCES), "1:k:{} ");
}

struct tapped {
    int n_put, n_done;
};

static bool
lose_even(void *aux, bool is_done, enum store_table table, int64_t id,
          const char *body)
{
    struct tapped *tapped = aux;

    assert_int_equal(table, STORE_INSTANCES);
    assert_non_null(body);
    *(is_done ? &tapped->n_done : &tapped->n_put) += 1;
    return id % 2;
}

static void
test_tap_sees_all_and_can_lose(void **state)
{
    struct fixture *f = *state;
    struct tapped tapped = {0};

    store_set_tap(f->store, lose_even, &tapped);
    for (int i = 1; i <= 4; i++) {
        put(f, STORE_INSTANCES, i, "k", "0");
    }
    assert_int_equal(tapped.n_put, 4);
    assert_int_equal(tapped.n_done, 0);
    run_until(f, 4);
    assert_int_equal(tapped.n_done, 4);
    assert_int_equal(n_failed, 2);
    assert_string_equal(load(f, STORE_INSTANCES), "1:k:0 3:k:0 ");
}

#define TEST(SETUP, NAME) cmocka_unit_test_setup_teardown(NAME, SETUP, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(setup, test_what_was_put_is_loaded_after_reopening),
        TEST(setup, test_put_replaces_and_null_deletes),
        TEST(setup, test_done_is_called_later_and_in_order),
        TEST(setup, test_load_sees_what_was_just_put),
        TEST(setup, test_closing_writes_all),
        TEST(setup, test_ids_are_never_given_twice),
        TEST(setup, test_after_a_crash_nothing_acknowledged_is_lost),
        TEST(setup, test_only_the_owner_may_read),
        TEST(setup, test_journal_is_a_write_ahead_log),
        TEST(setup, test_newer_database_is_refused),
        TEST(setup, test_damaged_database_is_refused_and_left_alone),
        TEST(setup, test_other_file_is_refused),
        TEST(setup_path, test_unwritable_directory_is_told),
        TEST(setup, test_second_agent_is_refused),
        TEST(setup, test_full_disk_fails_the_write_but_not_the_store),
        TEST(setup, test_what_failed_is_written_when_it_can_be),
        TEST(setup, test_closing_tries_what_failed_once_more),
        TEST(setup_memory, test_memory_is_enough),
        TEST(setup_memory, test_tap_sees_all_and_can_lose),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
