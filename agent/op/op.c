#include <config.h>

#include "agent/op/op.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/op/internal.h"

/* An operation that could not be started: the caller hears of it later. */
struct refusal {
    struct completion completion; /* First: it is posted. */
    void (*accepted)(void *aux, struct op *op, struct error *error);
    void *aux;
    struct error *error;
};

struct loading {
    struct op_engine *engine;
    struct error *error; /* The first. */
};

static void load_row(void *aux, int64_t id, const char *key, const char *body);
static void refuse(struct op_engine *, struct error *,
                   void (*accepted)(void *, struct op *, struct error *),
                   void *aux);
static void refusal_deliver(struct completion *);
static const struct op *find_any(const struct op_engine *, const char *key);
static bool is_among(const struct op_type *, const struct op_type *const *);
static struct op *first_open(struct op *);
static void op_free(struct op *);

struct op_engine *
op_engine_create(uv_loop_t *loop, struct store *store,
                 const struct op_type *const *types, void *type_aux)
{
    struct op_engine *engine = xzalloc(sizeof *engine);

    engine->loop = loop;
    engine->store = store;
    engine->types = types;
    engine->type_aux = type_aux;
    return engine;
}

struct error *
op_engine_load(struct op_engine *engine)
{
    struct loading loading = {.engine = engine};
    struct error *error =
        store_load(engine->store, STORE_OPERATIONS, load_row, &loading);

    if (error) {
        error_free(loading.error);
        return error;
    }
    return loading.error;
}

void
op_engine_resume(struct op_engine *engine)
{
    for (struct op *op = engine->first, *next; op; op = next) {
        next = op->next;
        /* One that a resumed one started is under way already. */
        if (op->restarted) {
            op_machine_resume(op);
        }
    }
}

void
op_engine_close(struct op_engine *engine)
{
    if (!engine) {
        return;
    }
    for (struct op *op = engine->first, *next; op; op = next) {
        next = op->next;
        op_wait_stop(op);
        if (!op->is_accepted && op->accepted) {
            op->accepted(op->accepted_aux, NULL,
                         error_new(ERR_INTERNAL, "the agent is stopping"));
        }
        if (op->forgotten) {
            op->forgotten(op->forgotten_aux,
                          error_new(ERR_INTERNAL, "the agent is stopping"));
        }
        op_free(op);
    }
    op_residue_close(engine);
    for (size_t i = 0; i < engine->n_known; i++) {
        free(engine->known[i].key);
    }
    free(engine->known);
    free(engine);
}

void
op_start(struct op_engine *engine, const struct op_type *type, const char *key,
         const struct log_context *log, void *data,
         void (*accepted)(void *aux, struct op *op, struct error *error),
         void *aux)
{
    if (find_any(engine, key) || op_is_known_finished(engine, key)) {
        struct error *error =
            error_new(ERR_INVALID, "operation '%s' is under way or done", key);
        if (data && type->free_data) {
            type->free_data(data);
        }
        refuse(engine, error, accepted, aux);
        return;
    }

    struct op *op = xzalloc(sizeof *op);
    op->id = store_next_id(engine->store, STORE_OPERATIONS);
    op->type = type;
    op->key = xstrdup(key);
    if (log) {
        op->log = *log;
    }
    op->log.op = op->id;
    op->data = data;
    stamp_take(&op->started);
    op->accepted = accepted;
    op->accepted_aux = aux;
    op_engine_add(engine, op);
    op_machine_start(op);
}

void
op_save(struct op *op, void (*done)(void *aux, struct error *error), void *aux)
{
    if (op) {
        store_put(op->engine->store, STORE_OPERATIONS, op->id, op->key,
                  op_journal_format(op), done, aux);
    }
}

void *
op_data(struct op *op)
{
    return op->data;
}

int64_t
op_id(const struct op *op)
{
    return op->id;
}

const char *
op_key(const struct op *op)
{
    return op->key;
}

const char *
op_type_name(const struct op *op)
{
    return op->type->name;
}

const char *
op_step_name(const struct op *op)
{
    return op->finished ? "finished" : op_step(op)->name;
}

const struct log_context *
op_log(const struct op *op)
{
    return op ? &op->log : NULL;
}

bool
op_is_committed(const struct op *op)
{
    return op->committed;
}

bool
op_is_going_back(const struct op *op)
{
    return op->going_back;
}

bool
op_was_restarted(const struct op *op)
{
    return op->restarted;
}

const struct error *
op_error(const struct op *op)
{
    return op->error;
}

struct op_engine *
op_engine_of(struct op *op)
{
    return op->engine;
}

int64_t
op_started_us(const struct op *op)
{
    return op->started.wall_us;
}

uint64_t
op_age_ms(const struct op *op)
{
    return stamp_age_ms(&op->started);
}

struct op *
op_find(struct op_engine *engine, const char *key)
{
    for (struct op *op = op_first(engine); op; op = op_next(op)) {
        if (str_eq(op->key, key)) {
            return op;
        }
    }
    return NULL;
}

struct op *
op_first(struct op_engine *engine)
{
    return engine ? first_open(engine->first) : NULL;
}

struct op *
op_next(struct op *op)
{
    return first_open(op->next);
}

void
op_engine_count(const struct op_engine *engine, unsigned *ret_n_open,
                unsigned *ret_n_residue)
{
    *ret_n_open = *ret_n_residue = 0;
    for (const struct op *op = engine->first; op; op = op->next) {
        *ret_n_open += !op->finished;
        for (const struct residue *r = op->residue; r; r = r->next) {
            (*ret_n_residue)++;
        }
    }
}

bool
op_is_known_finished(struct op_engine *engine, const char *key)
{
    const struct op *op = find_any(engine, key);

    if (op) {
        return op->finished;
    }
    for (size_t i = 0; i < engine->n_known; i++) {
        if (str_eq(engine->known[i].key, key)) {
            return true;
        }
    }
    return false;
}

bool
op_latest_was_done(const struct op_engine *engine,
                   const struct op_type *const *types, const char *instance)
{
    int64_t latest = 0;
    bool was_done = false;

    for (size_t i = 0; i < engine->n_known; i++) {
        const struct known *known = &engine->known[i];

        if (known->id > latest && str_eq(known->instance, instance) &&
            is_among(known->type, types)) {
            latest = known->id;
            was_done = !known->went_back;
        }
    }
    for (const struct op *op = engine->first; op; op = op->next) {
        if (op->id > latest && str_eq(op->log.instance, instance) &&
            is_among(op->type, types)) {
            latest = op->id;
            was_done = op->finished && !op->going_back;
        }
    }
    return was_done;
}

/* Those that finished first come first, and are forgotten first. */
static void
forget_old(struct op_engine *engine)
{
    int64_t limit_us = engine->has_retention
                           ? clock_wall_us() - engine->retention_us
                           : INT64_MIN;
    size_t n = 0;

    while (n < engine->n_known && (engine->n_known - n > OP_KNOWN_MAX ||
                                   engine->known[n].finished_us <= limit_us)) {
        const struct known *known = &engine->known[n++];

        store_put(engine->store, STORE_OPERATIONS, known->id, known->key, NULL,
                  NULL, NULL);
        free(known->key);
    }
    if (n > 0) {
        engine->n_known -= n;
        memmove(engine->known, engine->known + n,
                engine->n_known * sizeof *engine->known);
    }
}

static int
by_end(const void *a, const void *b)
{
    const struct known *x = a, *y = b;

    return (x->finished_us > y->finished_us) -
           (x->finished_us < y->finished_us);
}

void
op_engine_prune(struct op_engine *engine, unsigned days)
{
    engine->has_retention = true;
    engine->retention_us = (int64_t)days * 24 * 3600 * INT64_C(1000000);
    if (engine->n_known > 0) {
        qsort(engine->known, engine->n_known, sizeof *engine->known, by_end);
    }
    forget_old(engine);
}

void
op_engine_set_pause(struct op_engine *engine, unsigned ms)
{
    engine->has_pause = true;
    engine->pause_ms = ms;
}

void
op_engine_set_timeout(struct op_engine *engine, unsigned ms)
{
    engine->has_timeout = true;
    engine->timeout_ms = ms;
}

void
op_engine_add(struct op_engine *engine, struct op *op)
{
    op->engine = engine;
    op->prev = engine->last;
    *(engine->last ? &engine->last->next : &engine->first) = op;
    engine->last = op;
}

void
op_engine_add_known(struct op_engine *engine, const struct known *known)
{
    if (engine->n_known == engine->n_known_room) {
        engine->known =
            xgrow(engine->known, &engine->n_known_room, sizeof *engine->known);
    }
    engine->known[engine->n_known] = *known;
    engine->known[engine->n_known++].key = xstrdup(known->key);
}

void
op_retire(struct op *op)
{
    struct op_engine *engine = op->engine;
    struct log_context log = op->log;

    struct known known = {.id = op->id,
                          .finished_us = op->finished_us,
                          .key = op->key,
                          .type = op->type,
                          .went_back = op->going_back};
    memcpy(known.instance, log.instance, sizeof known.instance);
    op_engine_add_known(engine, &known);
    op_discard(op);
    forget_old(engine);
    op_residue_note(engine, log.instance);
}

void
op_discard(struct op *op)
{
    struct op_engine *engine = op->engine;

    *(op->prev ? &op->prev->next : &engine->first) = op->next;
    *(op->next ? &op->next->prev : &engine->last) = op->prev;
    op_wait_stop(op);
    op_free(op);
}

static void
load_row(void *aux, int64_t id, const char *key, const char *body)
{
    struct loading *loading = aux;

    if (!loading->error) {
        loading->error = op_journal_parse(loading->engine, id, key, body);
    }
}

static void
refuse(struct op_engine *engine, struct error *error,
       void (*accepted)(void *, struct op *, struct error *), void *aux)
{
    struct refusal *refusal = xzalloc(sizeof *refusal);

    refusal->completion.deliver = refusal_deliver;
    refusal->accepted = accepted;
    refusal->aux = aux;
    refusal->error = error;
    completion_post(store_queue(engine->store), &refusal->completion);
}

static void
refusal_deliver(struct completion *c)
{
    struct refusal *refusal = container_of(c, struct refusal, completion);

    if (refusal->accepted) {
        refusal->accepted(refusal->aux, NULL, refusal->error);
    } else {
        error_free(refusal->error);
    }
    free(refusal);
}

static const struct op *
find_any(const struct op_engine *engine, const char *key)
{
    const struct op *op = engine->first;

    while (op && !str_eq(op->key, key)) {
        op = op->next;
    }
    return op;
}

static bool
is_among(const struct op_type *type, const struct op_type *const *types)
{
    while (*types && *types != type) {
        types++;
    }
    return *types;
}

static struct op *
first_open(struct op *op)
{
    while (op && op->finished) {
        op = op->next;
    }
    return op;
}

static void
op_free(struct op *op)
{
    for (struct residue *r = op->residue, *next; r; r = next) {
        next = r->next;
        residue_free(r);
    }
    if (op->data && op->type && op->type->free_data) {
        op->type->free_data(op->data);
    }
    error_free(op->error);
    error_free(op->last_error);
    free(op->key);
    free(op);
}
