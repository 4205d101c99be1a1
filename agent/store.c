#include <config.h>

#include "agent/store.h"

#include <assert.h>
#include <stdlib.h>

#include "agent/base/log.h"
#include "agent/base/worker.h"
#include "agent/store_db.h"

LOG_MODULE(store);

/* How long until what could not be written is tried again, if nothing else is
 * to be written. */
#define AGAIN_NS UINT64_C(1000000000)

/* Ids are handed out on the loop, which does not wait for the disk: a range of
 * them is reserved on disk ahead of use, and what a crash leaves of it is
 * never used.  A new range is asked for when fewer than half are left. */
#define ID_RANGE 64

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
    uv_thread_t thread;

    /* The thread's while anything is queued, else the loop's. */
    struct store_db *db;
    struct write_list unsaved; /* The latest of each document; older than what
                                * is queued.  Changed with the mutex held. */
    size_t n_unsaved;
    char *reason; /* Why there are any; else null. */

    uv_mutex_t mutex; /* Guards what follows. */
    uv_cond_t changed;
    struct write_list queued;
    bool is_writing, stopping;
};

static struct error *load_ids(struct store *);
static struct error *write_ids(struct store *, bool as_reserved);
static void list_init(struct write_list *);
static void list_append(struct write_list *, struct write *);
static void list_move(struct write_list *to, struct write_list *from);
static void put_later(struct store *, struct write *);
static void flush_deliver(struct completion *);
static void flush(struct store *);
static void wait_idle(struct store *);
static void writer_main(void *aux);
static bool wait_for_work(struct store *);
static struct error *write_all(struct store *, const struct write *);
static void keep_account(struct store *, const struct batch *);
static void keep_unsaved(struct store *, const struct write *);
static void writes_free(struct write *);
static struct error *write_one(struct store *, const struct write *);
static void batch_deliver(struct completion *);
static void store_gone(struct completion *);
static void store_free(struct store *);

struct error *
store_open(const char *path, struct completion_queue *q, struct store **ret)
{
    CLEANUP(store_close_at) struct store *store = xzalloc(sizeof *store);

    store->q = q;
    store->is_closed = true; /* Until the thread runs. */
    list_init(&store->pending);
    list_init(&store->queued);
    list_init(&store->unsaved);
    uv_mutex_init(&store->mutex);
    uv_cond_init(&store->changed);
    struct error *error = store_db_open(path, &store_schema, &store->db);
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
        store_free(store);
        return;
    }
    flush(store);
    uv_mutex_lock(&store->mutex);
    store->stopping = true;
    uv_cond_broadcast(&store->changed);
    uv_mutex_unlock(&store->mutex);
    uv_thread_join(&store->thread);

    if (store->n_unsaved) {
        struct batch last = {.error = write_all(store, NULL)};
        keep_account(store, &last);
        error_free(last.error);
    }
    /* So that ids have gaps after a crash only; harmless if it fails. */
    error_free(write_ids(store, false));
    if (store->n_unsaved) {
        log_error(NULL, "%zu documents were never written: %s",
                  store->n_unsaved, store->reason);
    }
    store_db_close(steal(&store->db));
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
    wait_idle(store);
    return store_db_load(store->db, table, visit, aux);
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

struct store_backlog
store_backlog(struct store *store)
{
    struct store_backlog backlog;

    uv_mutex_lock(&store->mutex);
    backlog.n = store->n_unsaved;
    backlog.reason = xstrdup_null(store->reason);
    uv_mutex_unlock(&store->mutex);
    return backlog;
}

void
store_set_tap(struct store *store, store_tap *tap, void *aux)
{
    store->tap = tap;
    store->tap_aux = aux;
}

/* Reads what ids are free, and reserves the first range of each. */
static struct error *
load_ids(struct store *store)
{
    for (enum store_table t = 0; t < STORE_N_TABLES; t++) {
        struct error *error =
            store_db_next_id(store->db, t, &store->next_ids[t]);
        if (error) {
            return error;
        }
        store->id_limits[t] = store->next_ids[t] + ID_RANGE;
    }
    return write_ids(store, true);
}

static struct error *
write_ids(struct store *store, bool as_reserved)
{
    const int64_t *ids = as_reserved ? store->id_limits : store->next_ids;
    struct error *error = store_db_begin(store->db);

    for (enum store_table t = 0; t < STORE_N_TABLES && !error; t++) {
        error = store_db_set_next_id(store->db, t, ids[t]);
    }
    return store_db_end(store->db, error);
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
    while (wait_for_work(store)) {
        struct batch *batch = xzalloc(sizeof *batch);
        batch->completion.deliver = batch_deliver;
        batch->store = store;
        batch->writes = store->queued.head;
        list_init(&store->queued);
        store->is_writing = true;
        uv_mutex_unlock(&store->mutex);

        batch->error = write_all(store, batch->writes);

        uv_mutex_lock(&store->mutex);
        keep_account(store, batch);
        completion_post(store->q, &batch->completion);
        store->is_writing = false;
        uv_cond_broadcast(&store->changed);
    }
    uv_mutex_unlock(&store->mutex);
}

/* False: the end. */
static bool
wait_for_work(struct store *store)
{
    while (!store->queued.head && !store->stopping) {
        if (!store->n_unsaved) {
            uv_cond_wait(&store->changed, &store->mutex);
        } else if (uv_cond_timedwait(&store->changed, &store->mutex,
                                     AGAIN_NS)) {
            return true;
        }
    }
    return store->queued.head;
}

/* The unsaved ones first, as they are older. */
static struct error *
write_all(struct store *store, const struct write *writes)
{
    struct error *error = store_db_begin(store->db);

    for (const struct write *w = store->unsaved.head; w && !error;
         w = w->next) {
        error = write_one(store, w);
    }
    for (const struct write *w = writes; w && !error; w = w->next) {
        error = write_one(store, w);
    }
    return store_db_end(store->db, error);
}

/* What is unsaved now that the batch was tried. */
static void
keep_account(struct store *store, const struct batch *batch)
{
    size_t n_before = store->n_unsaved;

    free(steal(&store->reason));
    if (!batch->error) {
        writes_free(store->unsaved.head);
        list_init(&store->unsaved);
        store->n_unsaved = 0;
        if (n_before) {
            log_warn(NULL, "all is on disk again");
        }
        return;
    }
    store->reason = xstrdup(error_message(batch->error));
    for (const struct write *w = batch->writes; w; w = w->next) {
        if (!w->is_lost) {
            keep_unsaved(store, w);
        }
    }
    if (!n_before && store->n_unsaved) {
        log_error(NULL, "kept in memory until it can be written: %s",
                  store->reason);
    }
}

static void
keep_unsaved(struct store *store, const struct write *write)
{
    struct write *w = store->unsaved.head;

    while (w && (w->table != write->table || w->is_range != write->is_range ||
                 (w->id != write->id && !w->is_range))) {
        w = w->next;
    }
    if (!w) {
        w = xzalloc(sizeof *w);
        w->table = write->table;
        w->is_range = write->is_range;
        list_append(&store->unsaved, w);
        store->n_unsaved++;
    }
    w->id = write->id;
    free(w->key);
    free(w->body);
    w->key = xstrdup_null(write->key);
    w->body = xstrdup_null(write->body);
}

static void
writes_free(struct write *writes)
{
    for (struct write *w = writes, *next; w; w = next) {
        next = w->next;
        free(w->key);
        free(w->body);
        free(w);
    }
}

static struct error *
write_one(struct store *store, const struct write *w)
{
    if (w->is_range) {
        return store_db_set_next_id(store->db, w->table, w->id);
    }
    return w->is_lost
               ? NULL
               : store_db_put(store->db, w->table, w->id, w->key, w->body);
}

static void
batch_deliver(struct completion *c)
{
    struct batch *batch = container_of(c, struct batch, completion);
    struct store *store = batch->store;

    for (struct write *w = batch->writes; w; w = w->next) {
        if (store->tap && !w->is_range) {
            store->tap(store->tap_aux, true, w->table, w->id, w->body);
        }
        if (w->done) {
            w->done(w->aux, w->is_lost ? error_new(ERR_STORAGE, "lost")
                                       : error_copy(batch->error));
        }
    }
    writes_free(batch->writes);
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
    store_db_close(store->db);
    writes_free(store->unsaved.head);
    free(store->reason);
    free(store);
}
