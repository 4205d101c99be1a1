#include <config.h>

#include "agent/op/op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/clock.h"

/* Five steps as a migration has them: the third is the commit, the fourth may
 * be left behind, the second has nothing to take back.  What they do is set by
 * the plan below, what was done is in the diary. */
enum { CHECK, NOTE, MOVE, TIDY, TELL, N_STEPS };

struct plan {
    unsigned n_run_failures[N_STEPS];
    unsigned n_undo_failures[N_STEPS];
    bool run_hangs[N_STEPS], undo_hangs[N_STEPS];
    enum probe_answer answers[8]; /* One after the other; then the last. */
    unsigned n_answers;
};

static struct fixture {
    uv_loop_t loop;
    struct completion_queue *q;
    struct store *store;
    struct op_engine *engine;
    struct plan plan;
    char diary[2048];
    struct op_ticket *held; /* Of a step that hangs. */
    unsigned n_told;
    bool told_error;
    char told_message[128], told_path[32], told_class[64];
    enum error_code told_code;
    unsigned n_accepted, n_refused;
    bool cancel_ends_it;
    unsigned n_writes_lost;
    struct op *op;
} f;

struct step_end {
    struct completion completion; /* First: it is posted. */
    struct op_ticket *ticket;
    struct error *error;
};

static void
note(const char *what, const char *name)
{
    size_t size = strlen(f.diary);

    snprintf(f.diary + size, sizeof f.diary - size, "%s%s%s ", what,
             *what ? ":" : "", name);
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
    completion_post(f.q, &end->completion);
}

static void
do_step(int i, bool is_undo, struct op_ticket *ticket)
{
    static const char *const names[] = {"check", "note", "move", "tidy",
                                        "tell"};
    unsigned *n_failures =
        is_undo ? &f.plan.n_undo_failures[i] : &f.plan.n_run_failures[i];

    note(is_undo ? "undo" : "", names[i]);
    if (is_undo ? f.plan.undo_hangs[i] : f.plan.run_hangs[i]) {
        f.held = ticket;
        return;
    }
    if (*n_failures) {
        --*n_failures;
        end_soon(ticket, error_set_arg(error_new(ERR_MIGRATION, "no luck"),
                                       "path", "/x"));
    } else if (i == CHECK) {
        op_ticket_done(ticket, NULL); /* At once is allowed, too. */
    } else {
        end_soon(ticket, NULL);
    }
}

#define STEP(NAME, I)                                                       \
    static void NAME##_run(struct op *op, struct op_ticket *ticket)         \
    {                                                                       \
        f.op = op;                                                          \
        do_step(I, false, ticket);                                          \
    }                                                                       \
    UNUSED static void NAME##_undo(struct op *op, struct op_ticket *ticket) \
    {                                                                       \
        f.op = op;                                                          \
        do_step(I, true, ticket);                                           \
    }
STEP(check, CHECK)
STEP(note, NOTE)
STEP(move, MOVE)
STEP(tidy, TIDY)
STEP(tell, TELL)

static void
move_probe(struct op *op, struct op_ticket *ticket)
{
    f.op = op;
    note("probe", "move");
    assert_true(f.plan.n_answers < N_ELEMENTS(f.plan.answers));
    op_ticket_answer(ticket, f.plan.answers[f.plan.n_answers++]);
}

static void
move_readopt(struct op *op, struct op_ticket *ticket)
{
    f.op = op;
    note("readopt", "move");
    do_step(MOVE, false, ticket);
}

static void
cancel(struct op *op)
{
    note("cancel", op_step_name(op));
    if (f.cancel_ends_it) {
        end_soon(steal(&f.held), error_new(ERR_MIGRATION, "cut short"));
    }
}

static const struct step steps[] = {
    {.name = "check", .run = check_run, .undo = check_undo, .cancel = cancel},
    {.name = "note", .run = note_run, .timeout_s = 1, .only_waits = true},
    {.name = "move",
     .run = move_run,
     .undo = move_undo,
     .probe = move_probe,
     .cancel = cancel},
    {.name = "tidy", .run = tidy_run, .may_be_left = true, .strips_host = true},
    {.name = "tell", .run = tell_run},
    {.name = NULL},
};

static struct json *
data_save(const void *data)
{
    struct json *json = json_object();

    json_set_string(json, "text", data);
    return json;
}

static struct error *
data_load(void *aux, const struct json *json, void **ret_data)
{
    assert_string_equal(aux, "type aux");
    const char *text = json_string_of(json, "text");
    if (!text) {
        return error_new(ERR_STORAGE, "no text");
    }
    *ret_data = xstrdup(text);
    return NULL;
}

static void
finished(struct op *op, const struct error *error)
{
    assert_string_equal(op_step_name(op), "finished");
    assert_string_equal(op_data(op), "the data");
    f.n_told++;
    f.told_error = error;
    f.told_code = error_code(error);
    snprintf(f.told_message, sizeof f.told_message, "%s", error_message(error));
    if (error) {
        const char *path = error_arg(error, "path");
        snprintf(f.told_path, sizeof f.told_path, "%s", path ? path : "");
        snprintf(f.told_class, sizeof f.told_class, "%s.%s",
                 error_module(error), error_class_name(error));
    }
}

static struct op_type type = {
    .name = "journey",
    .steps = steps,
    .save = data_save,
    .load = data_load,
    .free_data = free,
    .finished = finished,
};
static const struct op_type *const types[] = {&type, NULL};

/* The same, but its commit can be taken up again. */
static struct step readopting_steps[N_ELEMENTS(steps)];

static bool
tap(void *aux UNUSED, bool is_done, enum store_table table, int64_t id UNUSED,
    const char *body UNUSED)
{
    if (!is_done && table == STORE_OPERATIONS && f.n_writes_lost) {
        f.n_writes_lost--;
        return false;
    }
    return true;
}

static void
create_engine(void)
{
    f.engine = op_engine_create(&f.loop, f.store, types, (void *)"type aux");
    op_engine_set_pause(f.engine, 0);
}

static int
setup(void **state UNUSED)
{
    memset(&f, 0, sizeof f);
    uv_loop_init(&f.loop);
    f.q = completion_queue_create(&f.loop);
    AUTO_ERROR error = store_open(":memory:", f.q, &f.store);
    assert_null(error);
    store_set_tap(f.store, tap, NULL);
    type.steps = steps;
    type.name = "journey";
    create_engine();
    return 0;
}

static int
teardown(void **state UNUSED)
{
    op_engine_close(f.engine);
    if (f.held) {
        op_ticket_done(f.held, NULL);
    }
    store_close(f.store);
    completion_queue_close(f.q);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    return uv_loop_close(&f.loop);
}

static void
accepted(void *aux, struct op *op, struct error *error)
{
    assert_string_equal(aux, "accepted aux");
    if (op) {
        assert_null(error);
        assert_string_equal(f.diary, ""); /* Nothing was begun before. */
        f.n_accepted++;
    } else {
        assert_non_null(error);
        f.n_refused++;
        f.told_code = error_code(error);
        error_free(error);
    }
}

static void
start(const char *key)
{
    static const struct log_context log = {.request = "req-1",
                                           .instance = "inst-1"};

    op_start(f.engine, &type, key, &log, xstrdup("the data"), accepted,
             (void *)"accepted aux");
}

#define run_until(CONDITION)                       \
    do {                                           \
        uint64_t end_ms_ = clock_now_ms() + 20000; \
        while (!(CONDITION)) {                     \
            assert_true(clock_now_ms() < end_ms_); \
            uv_run(&f.loop, UV_RUN_ONCE);          \
        }                                          \
    } while (0)

/* Lets all come in that is on its way. */
static void
settle_down(void)
{
    for (int i = 0; i < 20; i++) {
        uv_run(&f.loop, UV_RUN_NOWAIT);
    }
}

static void
run_to_the_end(const char *key)
{
    start(key);
    run_until(f.n_told == 1);
}

/* The agent dies and starts again. */
static void
restart_with_pause(unsigned pause_ms)
{
    op_engine_close(f.engine);
    if (f.held) {
        op_ticket_done(steal(&f.held), NULL); /* Too late: dropped. */
    }
    settle_down();
    f.diary[0] = '\0';
    memset(&f.plan.run_hangs, 0, sizeof f.plan.run_hangs);
    memset(&f.plan.undo_hangs, 0, sizeof f.plan.undo_hangs);
    create_engine();
    op_engine_set_pause(f.engine, pause_ms);
    AUTO_ERROR error = op_engine_load(f.engine);
    assert_string_equal(error_message(error), "success");
    assert_string_equal(f.diary, "");
    op_engine_resume(f.engine);
}

static void
restart(void)
{
    restart_with_pause(0);
}

static void
start_and_hang(int step, bool in_undo)
{
    *(in_undo ? &f.plan.undo_hangs[step] : &f.plan.run_hangs[step]) = true;
    start("k");
    run_until(f.held);
}

static char row[4096];

static void
visit(void *aux UNUSED, int64_t id UNUSED, const char *key UNUSED,
      const char *body)
{
    size_t size = strlen(row);

    snprintf(row + size, sizeof row - size, "%s", body);
}

/* All rows of the journal. */
static const char *
journal(void)
{
    row[0] = '\0';
    AUTO_ERROR error = store_load(f.store, STORE_OPERATIONS, visit, NULL);
    assert_null(error);
    return row;
}

static size_t
list_size(void)
{
    AUTO_JSON list = op_engine_list(f.engine);

    return json_size(list);
}

/* What comes later is the residue's. */
static void
assert_diary_begins(const char *text)
{
    assert_int_equal(strncmp(f.diary, text, strlen(text)), 0);
}

static void
assert_succeeded(void)
{
    assert_int_equal(f.n_told, 1);
    assert_false(f.told_error);
    assert_null(op_find(f.engine, "k"));
    assert_true(op_is_known_finished(f.engine, "k"));
}

static void
assert_went_back(enum error_code code, const char *message)
{
    assert_int_equal(f.n_told, 1);
    assert_true(f.told_error);
    assert_int_equal(f.told_code, code);
    assert_string_equal(f.told_message, message);
    assert_null(op_find(f.engine, "k"));
    assert_true(op_is_known_finished(f.engine, "k"));
}

static void
test_steps_run_in_order_and_the_end_is_told(void **state UNUSED)
{
    start("k");
    assert_int_equal(f.n_accepted, 0);
    struct op *op = op_find(f.engine, "k");
    assert_non_null(op);
    assert_string_equal(op_step_name(op), "check");
    assert_string_equal(op_type_name(op), "journey");
    assert_int_equal(op_log(op)->op, op_id(op));
    assert_string_equal(op_log(op)->request, "req-1");
    assert_false(op_was_restarted(op));
    assert_false(op_is_known_finished(f.engine, "k"));

    run_until(f.n_told);
    assert_int_equal(f.n_accepted, 1);
    assert_string_equal(f.diary, "check note move tidy tell ");
    assert_succeeded();
    assert_int_equal(list_size(), 0);
    assert_non_null(strstr(journal(), "\"finished\""));
    assert_null(strstr(journal(), "the data"));
}

static void
test_failure_before_the_commit_goes_back(void **state UNUSED)
{
    f.plan.n_run_failures[NOTE] = 1;
    run_to_the_end("k");
    assert_string_equal(f.diary, "check note undo:check ");
    assert_went_back(ERR_MIGRATION, "step 'note': no luck");
}

static void
test_failure_of_the_first_step_undoes_it(void **state UNUSED)
{
    f.plan.n_run_failures[CHECK] = 1;
    run_to_the_end("k");
    assert_string_equal(f.diary, "check undo:check ");
    assert_went_back(ERR_MIGRATION, "step 'check': no luck");
}

static void
test_failed_commit_is_asked_about_and_goes_back_on_no(void **state UNUSED)
{
    f.plan.n_run_failures[MOVE] = 1;
    f.plan.answers[0] = PROBE_NO;
    run_to_the_end("k");
    assert_string_equal(f.diary,
                        "check note move probe:move undo:move undo:check ");
    assert_went_back(ERR_MIGRATION, "step 'move': no luck");
}

static void
test_failed_commit_goes_on_when_it_did_happen(void **state UNUSED)
{
    f.plan.n_run_failures[MOVE] = 1;
    f.plan.answers[0] = PROBE_YES;
    run_to_the_end("k");
    assert_string_equal(f.diary, "check note move probe:move tidy tell ");
    assert_succeeded();
}

static void
test_unknown_is_asked_again(void **state UNUSED)
{
    f.plan.n_run_failures[MOVE] = 1;
    f.plan.answers[0] = f.plan.answers[1] = PROBE_UNKNOWN;
    f.plan.answers[2] = PROBE_YES;
    run_to_the_end("k");
    assert_string_equal(f.diary, "check note move probe:move probe:move "
                                 "probe:move tidy tell ");
    assert_succeeded();
}

static void
test_waiting_is_shown(void **state UNUSED)
{
    f.plan.n_run_failures[MOVE] = 1;
    f.plan.answers[0] = PROBE_UNKNOWN;
    op_engine_set_pause(f.engine, 60000);
    start("k");
    run_until(f.plan.n_answers == 1);

    AUTO_JSON list = op_engine_list(f.engine);
    const struct json *json = json_at(list, 0);
    assert_string_equal(json_string_of(json, "type"), "journey");
    assert_string_equal(json_string_of(json, "key"), "k");
    assert_string_equal(json_string_of(json, "step"), "move");
    assert_string_equal(json_string_of(json, "direction"), "run");
    assert_false(json_bool_of(json, "committed"));
    assert_in_range(json_int_of(json, "waiting_s"), 55, 60);
    assert_string_equal(json_string_of(json, "error"), "step 'move': no luck");
    assert_int_equal(json_size(json_get(json, "residue")), 0);
    assert_true(json_int_of(json, "op") > 0);
}

static void
test_after_the_commit_a_step_is_tried_until_it_succeeds(void **state UNUSED)
{
    f.plan.n_run_failures[TELL] = 7;
    run_to_the_end("k");
    assert_string_equal(f.diary, "check note move tidy tell tell tell tell "
                                 "tell tell tell tell ");
    assert_succeeded();
}

static void
test_step_that_may_be_left_becomes_residue(void **state UNUSED)
{
    f.plan.n_run_failures[TIDY] = STEP_TRIES + 20;
    start("k");
    run_until(f.n_told);
    assert_diary_begins("check note move tidy tidy tidy tidy tidy tell ");
    assert_succeeded();
    assert_int_equal(list_size(), 1);
    assert_null(op_first(f.engine));

    AUTO_JSON list = op_engine_list(f.engine);
    const struct json *residue =
        json_at(json_get(json_at(list, 0), "residue"), 0);
    assert_string_equal(json_string_of(residue, "step"), "tidy");
    assert_string_equal(json_string_of(residue, "direction"), "run");
    assert_string_equal(json_string_of(residue, "error"),
                        "step 'tidy': no luck");
    assert_non_null(strstr(journal(), "the data"));

    run_until(list_size() == 0);
    assert_int_equal(f.plan.n_run_failures[TIDY], 0);
    assert_null(strstr(journal(), "\"tidy\""));
    assert_null(strstr(journal(), "the data"));
    assert_succeeded();
}

static void
test_undo_that_fails_is_tried_and_left(void **state UNUSED)
{
    f.plan.n_run_failures[MOVE] = 1;
    f.plan.answers[0] = PROBE_NO;
    f.plan.n_undo_failures[MOVE] = STEP_TRIES + 20;
    f.plan.n_undo_failures[CHECK] = STEP_TRIES - 1;
    start("k");
    run_until(f.n_told);
    assert_diary_begins("check note move probe:move undo:move undo:move "
                        "undo:move undo:move undo:move undo:check undo:check "
                        "undo:check undo:check undo:check ");
    assert_went_back(ERR_MIGRATION, "step 'move': no luck");
    assert_int_equal(list_size(), 1);
    run_until(list_size() == 0);
    assert_int_equal(f.plan.n_undo_failures[MOVE], 0);
    assert_int_equal(f.n_told, 1);
}

static void
test_residue_survives_a_restart(void **state UNUSED)
{
    f.plan.n_run_failures[TIDY] = STEP_TRIES;
    start("k");
    run_until(f.n_told);
    restart();
    assert_int_equal(list_size(), 1);
    assert_true(op_is_known_finished(f.engine, "k"));
    run_until(list_size() == 0);
    assert_string_equal(f.diary, "tidy ");
    assert_succeeded(); /* And told once. */
}

static void
test_undo_waits_for_the_late_end_of_what_timed_out(void **state UNUSED)
{
    start_and_hang(NOTE, false);
    struct op_ticket *ticket = f.held;
    assert_ptr_equal(op_ticket_op(ticket), f.op);
    run_until(!op_ticket_op(ticket)); /* Its second is over. */
    settle_down();
    assert_string_equal(f.diary, "check note ");

    op_ticket_done(steal(&f.held), NULL); /* Not believed. */
    run_until(f.n_told);
    assert_string_equal(f.diary, "check note undo:check ");
    assert_went_back(ERR_TIMEOUT, "step 'note': no end in 1 s");
}

static void
test_step_that_never_ends_is_taken_for_lost(void **state UNUSED)
{
    start_and_hang(NOTE, false);
    run_until(f.n_told);
    assert_string_equal(f.diary, "check note undo:check ");
    assert_went_back(ERR_TIMEOUT, "step 'note': no end in 1 s");
    assert_null(op_ticket_op(f.held));
}

static void
test_cancel_cuts_the_running_step_short(void **state UNUSED)
{
    f.cancel_ends_it = true;
    start_and_hang(CHECK, false);
    assert_true(op_cancel(f.op, error_new(ERR_CANCELLED, "enough")));
    assert_false(op_cancel(f.op, error_new(ERR_CANCELLED, "again")));
    run_until(f.n_told);
    assert_string_equal(f.diary, "check cancel:check undo:check ");
    assert_went_back(ERR_CANCELLED, "enough");
}

static void
test_cancelled_step_that_ends_well_is_undone_all_the_same(void **state UNUSED)
{
    start_and_hang(NOTE, false);
    assert_true(op_cancel(f.op, error_new(ERR_CANCELLED, "enough")));
    settle_down();
    assert_string_equal(f.diary, "check note ");
    op_ticket_done(steal(&f.held), NULL);
    run_until(f.n_told);
    assert_string_equal(f.diary, "check note undo:check ");
    assert_went_back(ERR_CANCELLED, "enough");
}

static void
test_cancel_between_steps_begins_no_other(void **state UNUSED)
{
    start_and_hang(NOTE, false);
    op_ticket_done(steal(&f.held), NULL); /* 'move' is being recorded. */
    assert_string_equal(op_step_name(f.op), "move");
    assert_true(op_cancel(f.op, error_new(ERR_CANCELLED, "enough")));
    run_until(f.n_told);
    assert_string_equal(f.diary, "check note undo:check ");
    assert_went_back(ERR_CANCELLED, "enough");
}

static void
test_cancel_before_the_first_step_does_nothing_at_all(void **state UNUSED)
{
    start("k");
    assert_true(
        op_cancel(op_find(f.engine, "k"), error_new(ERR_CANCELLED, "enough")));
    run_until(f.n_told);
    assert_int_equal(f.n_accepted, 1);
    assert_string_equal(f.diary, "");
    assert_went_back(ERR_CANCELLED, "enough");
}

static void
test_cancel_of_the_commit_is_decided_by_the_world(void **state UNUSED)
{
    f.cancel_ends_it = true;
    f.plan.answers[0] = PROBE_YES;
    start_and_hang(MOVE, false);
    assert_true(op_cancel(f.op, error_new(ERR_CANCELLED, "enough")));
    run_until(f.n_told);
    assert_string_equal(f.diary,
                        "check note move cancel:move probe:move tidy tell ");
    assert_succeeded();
}

static void
test_cancel_of_a_commit_that_did_not_happen_goes_back(void **state UNUSED)
{
    f.cancel_ends_it = true;
    f.plan.answers[0] = PROBE_NO;
    start_and_hang(MOVE, false);
    assert_true(op_cancel(f.op, error_new(ERR_CANCELLED, "enough")));
    run_until(f.n_told);
    assert_went_back(ERR_CANCELLED, "enough");
}

static void
test_no_cancel_after_the_commit_or_on_the_way_back(void **state UNUSED)
{
    start_and_hang(TELL, false);
    assert_true(op_is_committed(f.op));
    assert_false(op_cancel(f.op, error_new(ERR_CANCELLED, "enough")));
    op_ticket_done(steal(&f.held), NULL);
    run_until(f.n_told);
    assert_succeeded();

    f.n_told = 0;
    f.diary[0] = '\0';
    f.plan.n_run_failures[NOTE] = 1;
    f.plan.undo_hangs[CHECK] = true;
    start("l");
    run_until(f.held);
    assert_true(op_is_going_back(f.op));
    assert_false(op_cancel(f.op, error_new(ERR_CANCELLED, "enough")));
    op_ticket_done(steal(&f.held), NULL);
    run_until(f.n_told);
    assert_int_equal(f.told_code, ERR_MIGRATION);
}

static void
test_key_is_unique(void **state UNUSED)
{
    start_and_hang(NOTE, false);
    start("k");
    assert_int_equal(f.n_refused, 0); /* Later. */
    run_until(f.n_refused == 1);
    assert_int_equal(f.told_code, ERR_INVALID);

    op_ticket_done(steal(&f.held), NULL);
    run_until(f.n_told);
    start("k");
    run_until(f.n_refused == 2);

    restart();
    start("k");
    run_until(f.n_refused == 3);
    assert_int_equal(f.n_accepted, 1);
}

static void
test_old_ones_are_forgotten(void **state UNUSED)
{
    run_to_the_end("k");
    op_engine_prune(f.engine, 1);
    assert_true(op_is_known_finished(f.engine, "k"));
    assert_non_null(strstr(journal(), "finished"));
    op_engine_prune(f.engine, 0);
    assert_false(op_is_known_finished(f.engine, "k"));
    assert_string_equal(journal(), "");
}

static void
test_number_of_those_that_are_remembered_is_limited(void **state UNUSED)
{
    for (unsigned i = 0; i <= OP_KNOWN_MAX; i++) {
        char key[16];

        snprintf(key, sizeof key, "k%u", i);
        f.n_told = f.n_accepted = 0;
        f.diary[0] = '\0';
        run_to_the_end(key);
    }
    assert_false(op_is_known_finished(f.engine, "k0"));
    assert_true(op_is_known_finished(f.engine, "k1"));
    assert_true(op_is_known_finished(f.engine, "k500"));
    restart();
    assert_false(op_is_known_finished(f.engine, "k0"));
    assert_true(op_is_known_finished(f.engine, "k1"));
    op_engine_prune(f.engine, 0);
    assert_false(op_is_known_finished(f.engine, "k500"));
}

static void
test_restart_before_the_commit_goes_back(void **state UNUSED)
{
    start_and_hang(NOTE, false);
    restart();
    run_until(f.n_told);
    assert_string_equal(f.diary, "undo:check ");
    assert_went_back(ERR_INTERNAL, "the agent was restarted in step 'note'");
}

static void
test_restart_in_the_commit_asks(void **state UNUSED)
{
    start_and_hang(MOVE, false);
    f.plan.answers[0] = PROBE_YES;
    restart();
    run_until(f.n_told);
    assert_string_equal(f.diary, "probe:move tidy tell ");
    assert_succeeded();
}

static void
use_readopting_type(void)
{
    memcpy(readopting_steps, steps, sizeof steps);
    readopting_steps[MOVE].readopt = move_readopt;
    type.steps = readopting_steps;
}

static void
test_restart_in_the_commit_takes_it_up_if_that_can_be(void **state UNUSED)
{
    use_readopting_type();
    start_and_hang(MOVE, false);
    restart();
    run_until(f.n_told);
    assert_string_equal(f.diary, "readopt:move move tidy tell ");
    assert_succeeded();
}

static void
test_wish_to_cancel_survives_a_restart(void **state UNUSED)
{
    use_readopting_type();
    start_and_hang(MOVE, false);
    assert_true(op_cancel(f.op, error_new(ERR_CANCELLED, "enough")));
    settle_down();
    op_engine_close(f.engine);
    op_ticket_done(steal(&f.held), NULL);
    f.cancel_ends_it = true;
    f.plan.answers[0] = PROBE_NO;
    f.diary[0] = '\0';
    create_engine();
    AUTO_ERROR error = op_engine_load(f.engine);
    assert_null(error);
    op_engine_resume(f.engine);
    run_until(f.n_told);
    assert_string_equal(f.diary, "readopt:move move cancel:move probe:move "
                                 "undo:move undo:check ");
    assert_went_back(ERR_CANCELLED, "enough");
}

static void
test_restart_after_the_commit_runs_the_step_again(void **state UNUSED)
{
    start_and_hang(TIDY, false);
    restart();
    assert_true(op_was_restarted(op_first(f.engine)));
    assert_string_equal(op_log(op_first(f.engine))->request, "req-1");
    assert_string_equal(op_log(op_first(f.engine))->instance, "inst-1");
    run_until(f.n_told);
    assert_string_equal(f.diary, "tidy tell ");
    assert_succeeded();
}

static void
test_restart_on_the_way_back_keeps_the_reason(void **state UNUSED)
{
    f.plan.n_run_failures[MOVE] = 1;
    f.plan.answers[0] = PROBE_NO;
    start_and_hang(CHECK, true);
    restart();
    run_until(f.n_told);
    assert_string_equal(f.told_path, "/x");
    assert_string_equal(f.diary, "undo:check ");
    assert_went_back(ERR_MIGRATION, "step 'move': no luck");
}

static void
test_peers_error_keeps_its_class(void **state UNUSED)
{
    start_and_hang(NOTE, false);
    f.plan.undo_hangs[CHECK] = true;
    op_ticket_done(steal(&f.held),
                   error_new_remote("SomeError", "some.module", "text"));
    run_until(f.held);
    restart();
    run_until(f.n_told);
    assert_int_equal(f.told_code, ERR_REMOTE);
    assert_string_equal(f.told_class, "some.module.SomeError");
}

static void
test_finished_is_not_told_again_after_a_restart(void **state UNUSED)
{
    run_to_the_end("k");
    restart();
    settle_down();
    assert_string_equal(f.diary, "");
    assert_succeeded();
}

static void
assert_load_fails(const char *message)
{
    op_engine_close(f.engine);
    op_ticket_done(steal(&f.held), NULL);
    create_engine();
    AUTO_ERROR error = op_engine_load(f.engine);
    assert_non_null(error);
    assert_string_equal(error_message(error), message);
}

static void
test_unknown_step_in_the_journal_is_an_error(void **state UNUSED)
{
    static const struct step other[] = {
        {.name = "other", .run = check_run, .probe = move_probe},
        {.name = NULL},
    };

    start_and_hang(NOTE, false);
    type.steps = other;
    op_engine_close(f.engine);
    op_ticket_done(steal(&f.held), NULL);
    create_engine();
    AUTO_ERROR error = op_engine_load(f.engine);
    assert_string_equal(error_message(error),
                        "operation 1 in the journal: type 'journey' has no "
                        "step 'note'");
}

static void
test_unknown_type_in_the_journal_is_an_error(void **state UNUSED)
{
    start_and_hang(NOTE, false);
    type.name = "voyage";
    assert_load_fails("operation 1 in the journal: type 'journey' is unknown");
}

static void
test_row_that_is_no_json_is_an_error(void **state UNUSED)
{
    store_put(f.store, STORE_OPERATIONS, 9, "k", xstrdup("{"), NULL, NULL);
    AUTO_ERROR error = op_engine_load(f.engine);
    assert_non_null(error);
    assert_non_null(strstr(error_message(error), "operation 9"));
}

static void
test_what_cannot_be_written_is_refused(void **state UNUSED)
{
    f.n_writes_lost = 1;
    start("k");
    run_until(f.n_refused);
    assert_int_equal(f.told_code, ERR_STORAGE);
    assert_null(op_find(f.engine, "k"));
    assert_false(op_is_known_finished(f.engine, "k"));
    assert_string_equal(f.diary, "");
    assert_string_equal(journal(), "");

    start("k"); /* It may be tried again. */
    run_until(f.n_told);
    assert_succeeded();
}

static void
test_step_waits_for_the_journal(void **state UNUSED)
{
    start_and_hang(NOTE, false);
    f.n_writes_lost = 3;
    op_ticket_done(steal(&f.held), NULL);
    run_until(f.n_writes_lost == 0);
    assert_string_equal(f.diary, "check note ");
    run_until(f.n_told);
    assert_string_equal(f.diary, "check note move tidy tell ");
    assert_succeeded();
}

static void
saved(void *aux, struct error *error)
{
    assert_null(error);
    *(bool *)aux = true;
}

static void
test_data_can_be_saved_in_a_step(void **state UNUSED)
{
    bool is_saved = false;

    start_and_hang(NOTE, false);
    ((char *)op_data(f.op))[0] = 'T';
    op_save(f.op, saved, &is_saved);
    assert_false(is_saved);
    run_until(is_saved);
    assert_non_null(strstr(journal(), "The data"));
    assert_non_null(strstr(journal(), "\"step\":\"note\""));
    ((char *)op_data(f.op))[0] = 't';
    op_ticket_done(steal(&f.held), NULL);
    run_until(f.n_told);
    assert_succeeded();
}

static void
test_closing_tells_who_waits_for_acceptance(void **state UNUSED)
{
    start("k");
    op_engine_close(steal(&f.engine));
    assert_int_equal(f.n_refused, 1);
}

static void
test_operations_do_not_wait_for_each_other(void **state UNUSED)
{
    start_and_hang(NOTE, false);
    struct op *first = f.op;
    f.plan.run_hangs[NOTE] = false;
    struct op_ticket *held = f.held;
    f.diary[0] = '\0';
    start("l");
    assert_ptr_equal(op_first(f.engine), first);
    assert_string_equal(op_key(op_next(first)), "l");
    assert_null(op_next(op_next(first)));
    run_until(f.n_told);
    assert_ptr_equal(op_find(f.engine, "k"), first);
    assert_true(op_is_known_finished(f.engine, "l"));
    f.n_told = 0;
    op_ticket_done(held, NULL);
    f.held = NULL;
    run_until(f.n_told);
}

/* What an operator wants. */

static struct op *
search(const char *text)
{
    struct op *op = NULL;
    AUTO_ERROR error = op_search(f.engine, text, &op);

    assert_int_equal(error_code(error), op ? ERR_NONE : ERR_INVALID);
    return op;
}

/* "move:run tell:run ", what is left to do. */
static const char *
todo(const struct op *op)
{
    static char text[128];
    AUTO_JSON json = op_describe(op);

    text[0] = '\0';
    json_for_each (step, json_get(json, "todo")) {
        size_t size = strlen(text);
        snprintf(text + size, sizeof text - size, "%s:%s ",
                 json_string_of(step, "step"),
                 json_string_of(step, "direction"));
    }
    return text;
}

static unsigned n_forgotten, n_not_forgotten;

static void
forgotten(void *aux, struct error *error)
{
    assert_string_equal(aux, "forget aux");
    n_forgotten += !error;
    n_not_forgotten += error != NULL;
    error_free(error);
}

static void
forget(struct op *op)
{
    n_forgotten = n_not_forgotten = 0;
    op_forget(op, forgotten, (void *)"forget aux");
}

static void
test_an_operation_is_found_by_number_key_or_its_beginning(void **state UNUSED)
{
    char number[24];

    start("key-one");
    start("key-two");
    struct op *op = op_find(f.engine, "key-two");
    snprintf(number, sizeof number, "%d", (int)op_id(op));
    assert_ptr_equal(search(number), op);
    assert_ptr_equal(search("key-two"), op);
    assert_ptr_equal(search("key-t"), op);
    assert_null(search("key-"));  /* Two. */
    assert_null(search("key"));   /* Too short. */
    assert_null(search("key-x")); /* None. */
}

static void
test_what_waits_is_retried_on_request(void **state UNUSED)
{
    op_engine_set_pause(f.engine, 600000);
    f.plan.n_run_failures[TELL] = 1;
    start("k");
    run_until(search("k") && f.plan.n_run_failures[TELL] == 0);
    settle_down();
    assert_string_equal(f.diary, "check note move tidy tell ");
    assert_string_equal(todo(search("k")), "tell:run ");
    AUTO_ERROR error = op_retry(search("k"));
    assert_null(error);
    run_until(f.n_told);
    assert_string_equal(f.diary, "check note move tidy tell tell ");
    assert_succeeded();
}

static void
test_residue_is_retried_on_request(void **state UNUSED)
{
    f.plan.n_run_failures[TIDY] = STEP_TRIES;
    start("k");
    run_until(f.n_told);
    restart_with_pause(600000);
    assert_string_equal(todo(search("k")), "tidy:run ");
    AUTO_ERROR error = op_retry(search("k"));
    assert_null(error);
    run_until(list_size() == 0);
    assert_string_equal(f.diary, "tidy ");
}

static void
test_what_is_at_work_is_neither_retried_nor_forgotten(void **state UNUSED)
{
    start_and_hang(MOVE, false);
    AUTO_ERROR error = op_retry(f.op);
    assert_int_equal(error_code(error), ERR_INVALID);
    forget(f.op);
    assert_int_equal(n_not_forgotten, 1);
    assert_string_equal(todo(f.op), "move:run move:undo check:undo ");
    op_ticket_done(steal(&f.held), NULL);
    run_until(f.n_told);
    assert_succeeded();
}

/* An instance that comes again. */

static unsigned n_settled;
static char settled_text[128];

static void
settled(void *aux UNUSED, struct error *error)
{
    n_settled++;
    snprintf(settled_text, sizeof settled_text, "%s", error_message(error));
    error_free(error);
}

/* It is at rest: nothing is tried by itself. */
static void
leave_residue(unsigned n_more_failures)
{
    f.plan.n_run_failures[TIDY] = STEP_TRIES;
    start("k");
    run_until(f.n_told);
    restart_with_pause(600000);
    f.plan.n_run_failures[TIDY] = n_more_failures;
    n_settled = 0;
}

static void
test_residue_is_settled_before_the_instance_comes(void **state UNUSED)
{
    leave_residue(0);
    op_residue_settle(f.engine, "another", settled, NULL);
    assert_int_equal(n_settled, 1); /* That one has none. */
    op_residue_settle(f.engine, "inst-1", settled, NULL);
    assert_int_equal(n_settled, 1);
    run_until(n_settled == 2);
    assert_string_equal(settled_text, "success");
    assert_string_equal(f.diary, "tidy ");
    assert_int_equal(list_size(), 0);
}

static void
test_residue_that_can_not_be_settled_is_told(void **state UNUSED)
{
    leave_residue(1);
    op_residue_settle(f.engine, "inst-1", settled, NULL);
    run_until(n_settled);
    assert_string_equal(settled_text,
                        "'tidy' of operation 1 was left behind here: no luck");
    assert_int_equal(list_size(), 1); /* And is still to be done. */
    op_residue_settle(f.engine, "inst-1", settled, NULL);
    run_until(n_settled == 2);
    assert_string_equal(settled_text, "success");
}

static void
test_operation_that_is_not_over_is_no_residue_to_settle(void **state UNUSED)
{
    start_and_hang(MOVE, false);
    n_settled = 0;
    op_residue_settle(f.engine, "inst-1", settled, NULL);
    assert_string_equal(settled_text, "success"); /* It can yet go back. */
    f.plan.run_hangs[TIDY] = true;
    op_ticket_done(steal(&f.held), NULL);
    run_until(f.held);
    op_residue_settle(f.engine, "inst-1", settled, NULL);
    assert_int_equal(n_settled, 2);
    assert_non_null(strstr(settled_text, "in step 'tidy'"));
    op_ticket_done(steal(&f.held), NULL);
    run_until(f.n_told);
}

static void
test_dropped_residue_is_never_tried_again(void **state UNUSED)
{
    leave_residue(0);
    op_residue_drop(f.engine, "another");
    settle_down();
    assert_int_equal(list_size(), 1);
    op_residue_drop(f.engine, "inst-1");
    run_until(list_size() == 0);
    restart();
    settle_down();
    assert_int_equal(list_size(), 0);
    assert_string_equal(f.diary, "");
}

static void
test_residue_that_is_dropped_in_the_middle_of_a_try_is_gone(void **state UNUSED)
{
    leave_residue(0);
    f.plan.run_hangs[TIDY] = true;
    op_residue_settle(f.engine, "inst-1", settled, NULL);
    settle_down();
    assert_non_null(f.held);
    op_residue_drop(f.engine, "inst-1");
    assert_int_equal(n_settled, 0);
    op_ticket_done(steal(&f.held), error_new(ERR_MIGRATION, "it runs"));
    run_until(n_settled);
    assert_string_equal(settled_text, "success");
    assert_int_equal(list_size(), 0);
}

static void
test_who_waits_for_residue_is_told_when_the_engine_closes(void **state UNUSED)
{
    leave_residue(0);
    f.plan.run_hangs[TIDY] = true;
    op_residue_settle(f.engine, "inst-1", settled, NULL);
    settle_down();
    assert_non_null(f.held);
    op_engine_close(steal(&f.engine));
    assert_int_equal(n_settled, 1);
    assert_string_equal(settled_text, "the agent is stopping");
}

static void
test_forgotten_residue_is_never_tried_again(void **state UNUSED)
{
    f.plan.n_run_failures[TIDY] = STEP_TRIES + 100;
    start("k");
    run_until(f.n_told);
    restart_with_pause(600000);
    forget(search("k"));
    run_until(n_forgotten);
    assert_succeeded(); /* Not told again. */
    assert_int_equal(list_size(), 0);
    restart();
    settle_down();
    assert_int_equal(list_size(), 0);
    assert_string_equal(f.diary, "");
}

static void
test_forgotten_in_doubt_is_told_as_not_done(void **state UNUSED)
{
    op_engine_set_pause(f.engine, 600000);
    f.plan.n_run_failures[MOVE] = 1;
    f.plan.answers[0] = PROBE_UNKNOWN;
    start("k");
    run_until(f.plan.n_answers == 1);
    forget(f.op);
    assert_null(op_find(f.engine, "k"));
    run_until(n_forgotten);
    assert_went_back(ERR_INTERNAL, "forgotten on request in step 'move'");
    assert_string_equal(f.diary, "check note move probe:move ");
    restart();
    assert_int_equal(list_size(), 0);
}

static void
test_forgotten_after_the_commit_is_told_as_done(void **state UNUSED)
{
    op_engine_set_pause(f.engine, 600000);
    f.plan.n_run_failures[TELL] = 1;
    start("k");
    run_until(search("k") && f.plan.n_run_failures[TELL] == 0);
    settle_down();
    forget(search("k"));
    run_until(n_forgotten);
    assert_succeeded();
}

static void
test_a_step_that_only_waits_can_be_forgotten(void **state UNUSED)
{
    start_and_hang(NOTE, false);
    forget(f.op);
    run_until(n_forgotten);
    assert_went_back(ERR_INTERNAL, "forgotten on request in step 'note'");
    assert_null(op_ticket_op(f.held)); /* Nobody waits for it any more. */
    assert_string_equal(f.diary, "check note ");
}

static void
test_forgetting_waits_for_the_journal(void **state UNUSED)
{
    start_and_hang(NOTE, false);
    f.n_writes_lost = 2;
    struct op *op = f.op;
    forget(op);
    run_until(f.n_writes_lost == 0);
    if (!n_forgotten) {
        op_forget(op, forgotten, (void *)"forget aux"); /* Only once. */
        assert_int_equal(n_not_forgotten, 1);
    }
    run_until(n_forgotten);
    assert_int_equal(n_forgotten, 1);
    assert_int_equal(list_size(), 0);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_steps_run_in_order_and_the_end_is_told),
        TEST(test_failure_before_the_commit_goes_back),
        TEST(test_failure_of_the_first_step_undoes_it),
        TEST(test_failed_commit_is_asked_about_and_goes_back_on_no),
        TEST(test_failed_commit_goes_on_when_it_did_happen),
        TEST(test_unknown_is_asked_again),
        TEST(test_waiting_is_shown),
        TEST(test_after_the_commit_a_step_is_tried_until_it_succeeds),
        TEST(test_step_that_may_be_left_becomes_residue),
        TEST(test_undo_that_fails_is_tried_and_left),
        TEST(test_residue_survives_a_restart),
        TEST(test_undo_waits_for_the_late_end_of_what_timed_out),
        TEST(test_step_that_never_ends_is_taken_for_lost),
        TEST(test_cancel_cuts_the_running_step_short),
        TEST(test_cancelled_step_that_ends_well_is_undone_all_the_same),
        TEST(test_cancel_between_steps_begins_no_other),
        TEST(test_cancel_before_the_first_step_does_nothing_at_all),
        TEST(test_cancel_of_the_commit_is_decided_by_the_world),
        TEST(test_cancel_of_a_commit_that_did_not_happen_goes_back),
        TEST(test_no_cancel_after_the_commit_or_on_the_way_back),
        TEST(test_key_is_unique),
        TEST(test_old_ones_are_forgotten),
        TEST(test_number_of_those_that_are_remembered_is_limited),
        TEST(test_restart_before_the_commit_goes_back),
        TEST(test_restart_in_the_commit_asks),
        TEST(test_restart_in_the_commit_takes_it_up_if_that_can_be),
        TEST(test_wish_to_cancel_survives_a_restart),
        TEST(test_restart_after_the_commit_runs_the_step_again),
        TEST(test_restart_on_the_way_back_keeps_the_reason),
        TEST(test_peers_error_keeps_its_class),
        TEST(test_finished_is_not_told_again_after_a_restart),
        TEST(test_unknown_step_in_the_journal_is_an_error),
        TEST(test_unknown_type_in_the_journal_is_an_error),
        TEST(test_row_that_is_no_json_is_an_error),
        TEST(test_what_cannot_be_written_is_refused),
        TEST(test_step_waits_for_the_journal),
        TEST(test_data_can_be_saved_in_a_step),
        TEST(test_closing_tells_who_waits_for_acceptance),
        TEST(test_operations_do_not_wait_for_each_other),
        TEST(test_an_operation_is_found_by_number_key_or_its_beginning),
        TEST(test_what_waits_is_retried_on_request),
        TEST(test_residue_is_retried_on_request),
        TEST(test_what_is_at_work_is_neither_retried_nor_forgotten),
        TEST(test_residue_is_settled_before_the_instance_comes),
        TEST(test_residue_that_can_not_be_settled_is_told),
        TEST(test_operation_that_is_not_over_is_no_residue_to_settle),
        TEST(test_dropped_residue_is_never_tried_again),
        TEST(test_residue_that_is_dropped_in_the_middle_of_a_try_is_gone),
        TEST(test_who_waits_for_residue_is_told_when_the_engine_closes),
        TEST(test_forgotten_residue_is_never_tried_again),
        TEST(test_forgotten_in_doubt_is_told_as_not_done),
        TEST(test_forgotten_after_the_commit_is_told_as_done),
        TEST(test_a_step_that_only_waits_can_be_forgotten),
        TEST(test_forgetting_waits_for_the_journal),
    };

    json_init();
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
