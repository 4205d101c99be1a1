#include <config.h>

#include "tests/unit/torture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/clock.h"

/* How a step fails: it did nothing, or it did all and says it failed; or, if it
 * has a time-out, it says nothing, until it is taken for lost. */
enum manner { FAIL_EMPTY, FAIL_DONE, LOST_EMPTY, LOST_DONE, N_MANNERS };

static bool
is_lost(enum manner manner)
{
    return manner == LOST_EMPTY || manner == LOST_DONE;
}

enum crash { NO_CRASH, BEFORE_RECORD, AFTER_RECORD, BEFORE_WORK, AFTER_WORK };

/* One history: what goes wrong in it.  Steps by index, -1: none. */
struct plan {
    int fail_step;
    enum manner manner;
    unsigned n_run_failures;
    unsigned n_undo_failures; /* Of each undo. */
    int cancel_step;          /* While it is run. */
    unsigned n_unknowns;      /* Of the probe, before it knows. */
    enum crash crash;
    unsigned crash_at; /* The nth record or work since the start. */
    unsigned n_crashes;
};

static struct world {
    const struct op_type *real;
    struct step steps[TORTURE_STEPS_MAX + 1];
    struct op_type type;
    int n_steps, commit;

    uv_loop_t loop;
    struct completion_queue *q;
    struct store *store;
    struct op_engine *engine;
    uv_timer_t watchdog;
    char key[32];
    unsigned n_histories, n_plans;

    /* Of one history. */
    struct plan plan;
    bool done[TORTURE_STEPS_MAX];
    unsigned n_run_failures, n_undo_failures[TORTURE_STEPS_MAX], n_unknowns;
    struct op_ticket *lost[STEP_TRIES + 1];
    unsigned n_lost;
    unsigned n_records, n_works; /* Since the start, or the restart. */
    unsigned n_crashes;
    bool crash_now, is_accepted, cancel_taken;
    bool end_is_recorded;
    unsigned n_told;
    bool told_error;
    int64_t op_id;
} w;

/* Of a longer one each way to die at each point is gone through for every
 * fourth way to fail. */
#define SHORT_TABLE 8

int torture_broken_undo = -1;
void (*torture_on_failure)(const char *what);

/* The end of a step on its way. */
struct step_end {
    struct completion completion; /* First: it is posted. */
    struct op_ticket *ticket;
    struct error *error;
};

static void copy_table(const struct op_type *);
static unsigned torture_plan(struct plan *);
static void run_history(const struct plan *);
static void start_engine(bool is_restart);
static void crash(void);
static void run_loop(void);
static bool is_over(void);
static void check_end(void);
static void failed(const char *what);
static void step_run(struct op *, struct op_ticket *, int i);
static void step_undo(struct op *, struct op_ticket *, int i);
static void lose(struct op_ticket *, int i);
static bool work_begins(struct op_ticket *);
static bool work_ends(struct op_ticket *);

/* The engine gives a step no name of itself: a function for each index. */
#define FIRST_10(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9)
#define NEXT_5(X) X(10) X(11) X(12) X(13) X(14)
#define LAST_5(X) X(15) X(16) X(17) X(18) X(19)
#define EACH_STEP(X) FIRST_10(X) NEXT_5(X) LAST_5(X)
#define DEFINE_STEP(I)                                       \
    static void run_##I(struct op *op, struct op_ticket *t)  \
    {                                                        \
        step_run(op, t, I);                                  \
    }                                                        \
    static void undo_##I(struct op *op, struct op_ticket *t) \
    {                                                        \
        step_undo(op, t, I);                                 \
    }
EACH_STEP(DEFINE_STEP)
#define RUN_OF(I) run_##I,
#define UNDO_OF(I) undo_##I,
static void (*const runs[])(struct op *,
                            struct op_ticket *) = {EACH_STEP(RUN_OF)};
static void (*const undos[])(struct op *,
                             struct op_ticket *) = {EACH_STEP(UNDO_OF)};

static void
step_cancel(struct op *op)
{
    (void)op; /* What is under way here ends soon by itself. */
}

static void
end_deliver(struct completion *c)
{
    struct step_end *end = container_of(c, struct step_end, completion);

    op_ticket_done(end->ticket, end->error);
    free(end);
}

static void
end_soon(struct op_ticket *ticket, struct error *error)
{
    struct step_end *end = xzalloc(sizeof *end);

    end->completion.deliver = end_deliver;
    end->ticket = ticket;
    end->error = error;
    completion_post(w.q, &end->completion);
}

static struct error *
no_luck(void)
{
    return error_new(ERR_MIGRATION, "no luck");
}

static void
step_run(struct op *op, struct op_ticket *ticket, int i)
{
    for (int before = 0; before < i; before++) {
        if (!w.done[before] && !w.real->steps[before].may_be_left) {
            failed("a step ran before the one before it was done");
        }
    }
    if (!work_begins(ticket)) {
        return;
    }
    if (i == w.plan.cancel_step && !w.cancel_taken) {
        w.cancel_taken = op_cancel(op, error_new(ERR_CANCELLED, "not wanted"));
    }
    bool fails = i == w.plan.fail_step && w.n_run_failures;
    if (fails) {
        w.n_run_failures--;
    }
    if (!fails || w.plan.manner == FAIL_DONE || w.plan.manner == LOST_DONE) {
        w.done[i] = true;
    }
    if (fails && is_lost(w.plan.manner)) {
        lose(ticket, i);
    } else if (work_ends(ticket)) {
        end_soon(ticket, fails ? no_luck() : NULL);
    }
}

/* It never comes back; what is tried later does. */
static void
lose(struct op_ticket *ticket, int i)
{
    if (!w.n_run_failures) {
        w.steps[i].timeout_s = 0;
    }
    assert_true(w.n_lost < N_ELEMENTS(w.lost));
    w.lost[w.n_lost++] = ticket;
    if (w.plan.crash == AFTER_WORK && w.n_works == w.plan.crash_at &&
        w.n_crashes < w.plan.n_crashes) {
        w.crash_now = true;
    }
}

static void
step_undo(struct op *op, struct op_ticket *ticket, int i)
{
    bool is_residue = str_eq(op_step_name(op), "finished");

    w.steps[i].timeout_s = 0; /* The step may have died before it was lost. */
    if (w.done[w.commit] && i != w.commit) {
        failed("a step was undone though the operation is committed");
    }
    for (int after = i + 1; after < w.n_steps; after++) {
        if (w.done[after] && w.real->steps[after].undo && !is_residue &&
            !w.plan.n_undo_failures) {
            failed("a step was undone before the one after it");
        }
    }
    if (!work_begins(ticket)) {
        return;
    }
    bool fails = w.n_undo_failures[i];
    if (fails) {
        w.n_undo_failures[i]--;
    } else if (i != torture_broken_undo) {
        w.done[i] = false;
    }
    if (work_ends(ticket)) {
        end_soon(ticket, fails ? no_luck() : NULL);
    }
}

static void
step_probe(struct op *op, struct op_ticket *ticket)
{
    (void)op;
    if (w.n_unknowns) {
        w.n_unknowns--;
        op_ticket_answer(ticket, PROBE_UNKNOWN);
    } else {
        op_ticket_answer(ticket, w.done[w.commit] ? PROBE_YES : PROBE_NO);
    }
}

static void
step_readopt(struct op *op, struct op_ticket *ticket)
{
    step_run(op, ticket, w.commit);
}

/* The work counts, whatever becomes of it; false: the agent died. */
static bool
work_begins(struct op_ticket *ticket)
{
    w.n_works++;
    if (w.plan.crash == BEFORE_WORK && w.n_works == w.plan.crash_at &&
        w.n_crashes < w.plan.n_crashes) {
        w.crash_now = true;
        end_soon(ticket, no_luck()); /* Too late for anyone to hear. */
        return false;
    }
    return true;
}

static bool
work_ends(struct op_ticket *ticket)
{
    if (w.plan.crash == AFTER_WORK && w.n_works == w.plan.crash_at &&
        w.n_crashes < w.plan.n_crashes) {
        w.crash_now = true;
        end_soon(ticket, NULL);
        return false;
    }
    return true;
}

static struct json *
data_save(const void *data)
{
    return json_string(data);
}

static struct error *
data_load(void *aux, const struct json *json, void **ret_data)
{
    (void)aux;
    const char *text = json_get_string(json);

    if (!text) {
        return error_new(ERR_STORAGE, "no data");
    }
    *ret_data = xstrdup(text);
    return NULL;
}

static void
finished(struct op *op, const struct error *error)
{
    if (!str_eq(op_data(op), "data")) {
        failed("the data are others");
    }
    w.n_told++;
    w.told_error = error;
}

static void
accepted(void *aux, struct op *op, struct error *error)
{
    (void)aux;
    w.is_accepted = op;
    error_free(error);
}

/* Between the engine and the disk: counts records, and dies there. */
static bool
tap(void *aux, bool is_done, enum store_table table, int64_t id,
    const char *body)
{
    (void)aux;
    if (table != STORE_OPERATIONS || id < w.op_id) {
        return true;
    }
    if (!is_done) {
        if (w.crash_now) {
            return false; /* The dead write nothing. */
        }
        w.n_records++;
        if (w.plan.crash == BEFORE_RECORD && w.n_records == w.plan.crash_at &&
            w.n_crashes < w.plan.n_crashes) {
            w.crash_now = true;
            return false;
        }
        if (w.plan.crash == AFTER_RECORD && w.n_records == w.plan.crash_at &&
            w.n_crashes < w.plan.n_crashes) {
            w.crash_now = true;
        }
        w.end_is_recorded |= body && strstr(body, "\"status\":\"finished\"");
        return true;
    }
    if (w.crash_now) {
        crash(); /* Before the engine hears of it. */
    }
    return true;
}

unsigned
torture_type(const struct op_type *type)
{
    static const unsigned n_run_failures[] = {1, STEP_TRIES + 1};
    static const unsigned n_undo_failures[] = {0, 1, STEP_TRIES + 1};

    memset(&w, 0, sizeof w);
    copy_table(type);
    uv_loop_init(&w.loop);
    uv_timer_init(&w.loop, &w.watchdog);
    w.q = completion_queue_create(&w.loop);
    AUTO_ERROR error = store_open(":memory:", w.q, &w.store);
    assert_null(error);
    store_set_tap(w.store, tap, NULL);

    for (int step = -1; step < w.n_steps; step++) {
        struct plan plan = {.fail_step = step, .cancel_step = -1};

        if (step < 0) { /* All goes well, or is cancelled. */
            for (int c = -1; c < w.n_steps; c++) {
                plan.cancel_step = c;
                torture_plan(&plan);
            }
            continue;
        }
        for (int m = 0; m < N_MANNERS; m++) {
            for (size_t n = 0; n < N_ELEMENTS(n_run_failures); n++) {
                for (size_t u = 0; u < N_ELEMENTS(n_undo_failures); u++) {
                    plan.manner = (enum manner)m;
                    plan.n_run_failures = n_run_failures[n];
                    plan.n_undo_failures = n_undo_failures[u];
                    plan.n_unknowns = m % 2;
                    /* Before the commit one failure is enough. */
                    if ((n == 0 || step >= w.commit) &&
                        (!is_lost(plan.manner) ||
                         (type->steps[step].timeout_s && u == 0))) {
                        torture_plan(&plan);
                    }
                }
            }
        }
    }
    store_close(w.store);
    uv_close((uv_handle_t *)&w.watchdog, NULL);
    completion_queue_close(w.q);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w.loop), 0);
    return w.n_histories;
}

static void
copy_table(const struct op_type *type)
{
    w.real = type;
    w.commit = -1;
    for (int i = 0; type->steps[i].name; i++) {
        struct step *step = &w.steps[i];

        assert_true(i < TORTURE_STEPS_MAX);
        *step = type->steps[i];
        step->timeout_s = 0;
        step->run = runs[i];
        step->undo = step->undo ? undos[i] : NULL;
        step->cancel = step->cancel ? step_cancel : NULL;
        step->readopt = step->readopt ? step_readopt : NULL;
        if (step->probe) {
            assert_int_equal(w.commit, -1); /* There is exactly one. */
            w.commit = i;
            step->probe = step_probe;
        }
        if (w.commit >= 0 && i > w.commit) {
            assert_null(step->undo);
        }
        w.n_steps = i + 1;
    }
    assert_true(w.commit >= 0);
    w.type = (struct op_type){.name = type->name,
                              .steps = w.steps,
                              .save = data_save,
                              .load = data_load,
                              .free_data = free,
                              .finished = finished};
}

/* The history without a crash tells how many points there are to crash at. */
static unsigned
torture_plan(struct plan *plan)
{
    plan->crash = NO_CRASH;
    plan->n_crashes = 0;
    run_history(plan);

    unsigned n_records = w.n_records, n_works = w.n_works;
    bool all = w.n_steps <= SHORT_TABLE || getenv("TORTURE_ALL");

    w.n_plans++;
    for (enum crash c = BEFORE_RECORD; c <= AFTER_WORK; c++) {
        unsigned n = c <= AFTER_RECORD ? n_records : n_works;

        for (unsigned at = 1; at <= n; at++) {
            if (!all && (at + w.n_plans) % 4 != c - BEFORE_RECORD) {
                continue; /* It is another plan's turn. */
            }
            for (unsigned n_crashes = 1; n_crashes <= 2; n_crashes++) {
                plan->crash = c;
                plan->crash_at = at;
                plan->n_crashes = n_crashes;
                run_history(plan);
                if (w.n_crashes < n_crashes) {
                    break; /* The second point was not reached. */
                }
            }
        }
    }
    return n_records;
}

static void
run_history(const struct plan *plan)
{
    w.plan = *plan;
    w.n_histories++;
    memset(w.done, 0, sizeof w.done);
    w.n_run_failures = plan->n_run_failures;
    if (plan->fail_step >= 0) {
        w.steps[plan->fail_step].timeout_s = is_lost(plan->manner);
    }
    for (int i = 0; i < w.n_steps; i++) {
        w.n_undo_failures[i] = plan->n_undo_failures;
    }
    w.n_unknowns = plan->n_unknowns;
    w.n_records = w.n_works = w.n_crashes = w.n_told = 0;
    w.crash_now = w.is_accepted = w.cancel_taken = false;
    w.end_is_recorded = w.told_error = false;
    snprintf(w.key, sizeof w.key, "history-%u", w.n_histories);

    start_engine(false);
    w.op_id = store_next_id(w.store, STORE_OPERATIONS);
    op_start(w.engine, &w.type, w.key, NULL, xstrdup("data"), accepted, NULL);
    run_loop();
    check_end();
    op_engine_prune(w.engine, 0);
    op_engine_close(steal(&w.engine));
    while (w.n_lost) {
        op_ticket_done(w.lost[--w.n_lost], NULL); /* Too late for anyone. */
    }
    if (plan->fail_step >= 0) {
        w.steps[plan->fail_step].timeout_s = 0;
    }
}

static void
start_engine(bool is_restart)
{
    static const struct op_type *types[2];

    types[0] = &w.type;
    w.engine = op_engine_create(&w.loop, w.store, types, NULL);
    op_engine_set_pause(w.engine, 0);
    op_engine_set_timeout(w.engine, 0);
    if (is_restart) {
        AUTO_ERROR error = op_engine_load(w.engine);
        if (error) {
            failed(error_message(error));
        }
        w.n_records = w.n_works = 0;
        op_engine_resume(w.engine);
    }
}

static void
crash(void)
{
    if (w.engine) {
        op_engine_close(steal(&w.engine));
    }
}

static void
watchdog_fired(uv_timer_t *timer)
{
    (void)timer;
    failed("it does not come to an end");
    abort();
}

static void
run_loop(void)
{
    uv_timer_start(&w.watchdog, watchdog_fired, 20000, 0);
    while (!is_over()) {
        uv_run(&w.loop, UV_RUN_ONCE);
        if (w.crash_now) {
            crash();
            /* What was under way when it died is heard by nobody. */
            uv_run(&w.loop, UV_RUN_NOWAIT);
            w.crash_now = false;
            w.n_crashes++;
            start_engine(true);
        }
    }
    uv_timer_stop(&w.watchdog);
}

/* Nothing to be done any more: no operation, no residue, no crash to come. */
static bool
is_over(void)
{
    AUTO_JSON list = w.crash_now ? NULL : op_engine_list(w.engine);

    return !w.crash_now && json_size(list) == 0;
}

static void
check_end(void)
{
    bool is_known = op_is_known_finished(w.engine, w.key);
    bool committed = w.done[w.commit];

    if (!is_known) { /* It died before the first record was on disk. */
        for (int i = 0; i < w.n_steps; i++) {
            if (w.done[i]) {
                failed("a step is done that the journal knows nothing of");
            }
        }
        if (w.n_told || w.is_accepted || w.plan.crash != BEFORE_RECORD) {
            failed("an operation that was accepted is lost");
        }
        return;
    }
    for (int i = 0; i < w.n_steps; i++) {
        if (committed ? !w.done[i] : w.done[i] && w.real->steps[i].undo) {
            failed(committed ? "a step was not done"
                             : "a step was not taken back");
        }
        if (!committed && i > w.commit && w.done[i]) {
            failed("a step after the commit was done without it");
        }
    }
    if (w.n_told > 1) {
        failed("the caller was told twice");
    }
    if (w.n_told == 0 && !(w.plan.crash == AFTER_RECORD && w.end_is_recorded)) {
        failed("the caller was not told");
    }
    if (w.n_told && w.told_error != !committed) {
        failed("the caller was not told the truth");
    }
    if (w.cancel_taken && w.plan.cancel_step < w.commit && committed &&
        w.n_crashes == 0) {
        failed("it was cancelled, and yet it went on");
    }
}

static void
failed(const char *what)
{
    static const char *const crashes[] = {"no crash", "before record",
                                          "after record", "before work",
                                          "after work"};
    static const char *const manners[] = {"empty", "done", "empty and lost",
                                          "done and lost"};
    const struct plan *p = &w.plan;

    if (torture_on_failure) {
        torture_on_failure(what);
        return;
    }
    fail_msg("%s: '%s' fails %u times (%s), undos fail %u times, '%s' is "
             "cancelled, %u crashes %s %u: %s",
             w.real->name, p->fail_step < 0 ? "-" : w.steps[p->fail_step].name,
             p->n_run_failures, manners[p->manner], p->n_undo_failures,
             p->cancel_step < 0 ? "-" : w.steps[p->cancel_step].name,
             p->n_crashes, crashes[p->crash], p->crash_at, what);
}
