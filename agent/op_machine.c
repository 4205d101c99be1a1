#include <config.h>

#include "agent/op_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/base/fault.h"

/* What happens next to an operation.
 *
 * At any time one thing is under way for it: a record on its way to the disk,
 * a ticket in somebody's hands, or a pause.  Each ends in a function here that
 * starts the next one.
 *
 * A step that timed out is given the same time again to end: its undo, or its
 * next try, must not run beside it.  Only then it is taken for lost.  Whatever
 * it says after its time is not believed: outcome in doubt, settle. */

LOG_MODULE(op);

#define PAUSE_MAX_S 60
#define RECORD_PAUSE_MAX_S 5 /* A small write is soon tried. */
#define PROBE_PAUSE_MAX_S 30 /* Nobody knows where the instance is. */
#define RESIDUE_PAUSE_MAX_S 300
#define PROBE_TIMEOUT_S 60

static void begin_run(struct op *);
static void do_run(struct op *);
static void run_ended(struct op *, struct error *);
static void advance(struct op *);
static void cut_short(struct op *);
static void settle(struct op *);
static void ask(struct op *);
static void answered(struct op *, enum probe_answer);
static void commit(struct op *);
static void retry_or_leave(struct op *);
static void undo_below(struct op *, size_t n_begun);
static void do_undo(struct op *);
static void undo_ended(struct op *, struct error *);
static void finish(struct op *);
static void tell_finished(struct op *);
static void tell_forgotten(struct op *);
static void leave_behind(struct op *, bool is_undo);
static void schedule_residue(struct op *);
static void try_residue(struct op *);
static void residue_ended(struct op *, struct residue *, struct error *);
static void residue_gone(struct op *);
static void retire(struct op *);
static void record(struct op *, void (*recorded)(struct op *));
static void record_written(void *aux, struct error *error);
static void not_accepted(struct op *, struct error *);
static void record_again(struct op *);
static struct op_ticket *ticket_create(struct op *, enum op_purpose,
                                       struct residue *, unsigned timeout_s);
static void ticket_timed_out(struct op *);
static void ticket_lost(struct op *);
static struct op_ticket ticket_close(struct op_ticket *);
static void ticket_ended(struct op *, const struct op_ticket *, struct error *);
static void set_last_error(struct op *, struct error *);
static void pause_for(struct op *, unsigned tries, unsigned max_s,
                      void (*due)(struct op *));
static uint64_t pause_ms(const struct op_engine *, unsigned tries,
                         unsigned max_s);
static void timer_start(struct op *, uint64_t ms, void (*due)(struct op *));
static void timer_stop(struct op *);
static void timer_fired(uv_timer_t *);

void
op_machine_start(struct op *op)
{
    log_info(&op->log, "'%s' asked for, key '%s'", op->type->name, op->key);
    begin_run(op);
}

void
op_machine_resume(struct op *op)
{
    const struct step *step = op_step(op);

    if (op->finished) {
        residue_gone(op);
        return;
    }
    log_info(&op->log, "'%s' is taken up in step '%s'%s", op->type->name,
             step->name, op->going_back ? ", going back" : "");
    if (op->going_back) {
        do_undo(op);
    } else if (op->committed) {
        do_run(op);
    } else if (step->probe && step->readopt) {
        step->readopt(op, ticket_create(op, OP_RUN, NULL, step->timeout_s));
        if (op->cancelled) {
            cut_short(op);
        }
    } else {
        settle(op);
    }
}

void
op_machine_stop(struct op *op)
{
    if (op->record) {
        op->record->op = NULL;
        op->record = NULL;
    }
    if (op->ticket) {
        op->ticket->op = NULL;
        op->ticket = NULL;
    }
    if (op->timer) {
        op->timer->data = NULL;
        uv_close((uv_handle_t *)steal(&op->timer), (uv_close_cb)free);
    }
}

void
op_machine_hurry(struct op *op)
{
    assert(op->due_ms);
    for (struct residue *r = op->residue; r; r = r->next) {
        r->due_ms = op->finished ? clock_now_ms() : r->due_ms;
    }
    log_info(&op->log, "what waits is tried now, on request");
    timer_start(op, 0, op->timer_due);
    op->due_ms = clock_now_ms();
}

void
op_machine_forget(struct op *op)
{
    log_warn(&op->log, "'%s' is forgotten on request, in step '%s'",
             op->type->name, op_step_name(op));
    op_machine_stop(op);
    for (struct residue *r; (r = op->residue);) {
        op->residue = r->next;
        residue_free(r);
    }
    op->record_tries = 0;
    if (!op->finished && !op->committed) {
        op->going_back = true;
        error_free(op->error);
        op->error = error_new(ERR_INTERNAL, "forgotten on request in step '%s'",
                              op_step(op)->name);
    }
    if (!op->finished) {
        op->finished = true;
        op->finished_us = clock_wall_us();
    }
    record(op, tell_forgotten);
}

void
op_machine_residue_changed(struct op *op)
{
    if (!op->finished || !op->due_ms) {
        op_save(op, NULL, NULL); /* What is under way goes on from there. */
        return;
    }
    timer_stop(op);
    record(op, residue_gone);
}

bool
op_cancel(struct op *op, struct error *error)
{
    if (op->committed || op->going_back || op->finished || op->cancelled) {
        error_free(error);
        return false;
    }
    log_info(&op->log, "to be turned back: %s", error_message(error));
    op->cancelled = true;
    error_free(op->error);
    op->error = error;
    if (op->is_accepted) { /* The wish survives a restart, as the step may. */
        op_save(op, NULL, NULL);
    }
    cut_short(op);
    return true;
}

struct op *
op_ticket_op(const struct op_ticket *ticket)
{
    return ticket->is_late ? NULL : ticket->op;
}

void
op_ticket_done(struct op_ticket *ticket, struct error *error)
{
    struct op *op = ticket->op;
    struct op_ticket copy = ticket_close(ticket);

    if (op) {
        ticket_ended(op, &copy, error);
    } else {
        error_free(error);
    }
}

void
op_ticket_done_aux(void *ticket, struct error *error)
{
    op_ticket_done(ticket, error);
}

void
op_ticket_answer(struct op_ticket *ticket, enum probe_answer answer)
{
    struct op *op = ticket->op;

    assert(ticket->purpose == OP_PROBE);
    ticket_close(ticket);
    if (op) {
        answered(op, answer);
    }
}

static void
begin_run(struct op *op)
{
    op->tries = 0;
    set_last_error(op, NULL);
    if (op_step(op)->name) {
        record(op, do_run);
    } else {
        finish(op);
    }
}

/* A test build can be told to end or to fail there: when a step is recorded
 * and not begun ("TYPE.STEP.run", ".undo"), and when its work is done and
 * nobody knows yet (".done", ".undone"). */
#define STEP_FAULT(OP, STEP, WHEN) \
    FAULT_ERROR_AT("%s.%s." WHEN, (OP)->type->name, (STEP)->name)

static void
do_run(struct op *op)
{
    const struct step *step = op_step(op);

    if (op->cancelled && !op->committed) {
        undo_below(op, op->pos); /* It was recorded, but not begun. */
        return;
    }
    log_info(&op->log, "step '%s'%s", step->name, op->tries ? " again" : "");
    struct op_ticket *ticket = ticket_create(op, OP_RUN, NULL, step->timeout_s);
    struct error *fault = STEP_FAULT(op, step, "run");
    if (fault) {
        op_ticket_done(ticket, fault);
    } else {
        step->run(op, ticket);
    }
}

static void
run_ended(struct op *op, struct error *error)
{
    if (!error) {
        error = STEP_FAULT(op, op_step(op), "done");
    }
    if (!error) {
        if (op_step(op)->probe) {
            commit(op);
        }
        advance(op);
        return;
    }
    log_info(&op->log, "step '%s' failed: %s", op_step(op)->name,
             error_message(error));
    error = error_wrap(error, "step '%s'", op_step(op)->name);
    if (op->committed) {
        op->tries++;
        set_last_error(op, error);
        retry_or_leave(op);
        return;
    }
    if (op->error) {
        error_free(error);
    } else {
        op->error = error;
    }
    settle(op);
}

static void
advance(struct op *op)
{
    if (op->cancelled && !op->committed) {
        undo_below(op, op->pos + 1);
    } else {
        op->pos++;
        begin_run(op);
    }
}

static void
cut_short(struct op *op)
{
    if (op->ticket && op->ticket->purpose == OP_RUN && !op->ticket->residue &&
        op_step(op)->cancel) {
        op_step(op)->cancel(op);
    }
}

/* The step at 'pos', before the commit or the commit itself, was begun and its
 * outcome is in doubt: it failed, it timed out, or the agent was restarted. */
static void
settle(struct op *op)
{
    op->tries = 0;
    if (op_step(op)->probe) {
        ask(op); /* Did it commit?  Ask; never guess. */
    } else {
        undo_below(op, op->pos + 1);
    }
}

static void
ask(struct op *op)
{
    log_info(&op->log, "did '%s' happen?", op_step(op)->name);
    op_step(op)->probe(op, ticket_create(op, OP_PROBE, NULL, PROBE_TIMEOUT_S));
}

static void
answered(struct op *op, enum probe_answer answer)
{
    switch (answer) {
    case PROBE_YES:
        log_info(&op->log, "'%s' did happen", op_step(op)->name);
        commit(op);
        advance(op);
        break;
    case PROBE_NO:
        log_info(&op->log, "'%s' did not happen", op_step(op)->name);
        undo_below(op, op->pos + 1);
        break;
    case PROBE_UNKNOWN:
        log_info(&op->log, "nobody knows if '%s' happened: waiting",
                 op_step(op)->name);
        pause_for(op, ++op->tries, PROBE_PAUSE_MAX_S, ask);
        break;
    }
}

/* From here on there is no way back, whatever was asked for or had failed. */
static void
commit(struct op *op)
{
    if (op->error) {
        log_info(&op->log, "committed in spite of: %s",
                 error_message(op->error));
    } else {
        log_info(&op->log, "committed");
    }
    op->committed = true;
    op->cancelled = false;
    error_free(steal(&op->error));
}

static void
retry_or_leave(struct op *op)
{
    if (op_step(op)->may_be_left && op->tries >= STEP_TRIES) {
        leave_behind(op, false);
        advance(op);
    } else {
        pause_for(op, op->tries, PAUSE_MAX_S, do_run);
    }
}

/* Takes back the newest of the first 'n_begun' steps that can be; the older
 * ones follow when it is done. */
static void
undo_below(struct op *op, size_t n_begun)
{
    op->going_back = true;
    op->tries = 0;
    set_last_error(op, NULL);
    if (!op->error) {
        op->error =
            error_new(ERR_INTERNAL, "the agent was restarted in step '%s'",
                      op_step(op)->name);
    }
    while (n_begun && !op->type->steps[n_begun - 1].undo) {
        n_begun--;
    }
    if (n_begun) {
        op->pos = n_begun - 1;
        record(op, do_undo);
    } else {
        finish(op);
    }
}

static void
do_undo(struct op *op)
{
    const struct step *step = op_step(op);

    if (!step->undo) { /* It had one when this was written. */
        undo_below(op, op->pos);
        return;
    }
    log_info(&op->log, "undo '%s'%s", step->name, op->tries ? " again" : "");
    struct op_ticket *ticket =
        ticket_create(op, OP_UNDO, NULL, step->timeout_s);
    struct error *fault = STEP_FAULT(op, step, "undo");
    if (fault) {
        op_ticket_done(ticket, fault);
    } else {
        step->undo(op, ticket);
    }
}

static void
undo_ended(struct op *op, struct error *error)
{
    if (!error) {
        error = STEP_FAULT(op, op_step(op), "undone");
    }
    if (!error) {
        undo_below(op, op->pos);
        return;
    }
    log_info(&op->log, "undo '%s' failed: %s", op_step(op)->name,
             error_message(error));
    set_last_error(op, error);
    if (++op->tries < STEP_TRIES) {
        pause_for(op, op->tries, PAUSE_MAX_S, do_undo);
    } else {
        leave_behind(op, true);
        undo_below(op, op->pos);
    }
}

static void
finish(struct op *op)
{
    op->finished = true;
    op->finished_us = clock_wall_us();
    record(op, tell_finished);
}

static void
tell_finished(struct op *op)
{
    if (op->going_back) {
        log_info(&op->log, "'%s' went back: %s", op->type->name,
                 error_message(op->error));
    } else {
        log_info(&op->log, "'%s' is done", op->type->name);
    }
    op->is_told = true;
    if (op->type->finished) {
        op->type->finished(op, op->going_back ? op->error : NULL);
    }
    residue_gone(op);
}

static void
tell_forgotten(struct op *op)
{
    if (!op->is_told && op->type->finished) {
        op->type->finished(op, op->going_back ? op->error : NULL);
    }
    op->forgotten(op->forgotten_aux, NULL);
    op->forgotten = NULL;
    retire(op);
}

static void
leave_behind(struct op *op, bool is_undo)
{
    struct residue *residue = xzalloc(sizeof *residue);
    struct residue **tail = &op->residue;

    log_warn(&op->log, "%s'%s' is left for later after %u tries: %s",
             is_undo ? "undo of " : "", op_step(op)->name, op->tries,
             error_message(op->last_error));
    while (*tail) {
        tail = &(*tail)->next;
    }
    *tail = residue;
    residue->pos = op->pos;
    residue->is_undo = is_undo;
    residue->error = steal(&op->last_error);
}

/* Residue is worked off when all else is done, one piece at a time; each has
 * its own pauses. */
static void
schedule_residue(struct op *op)
{
    uint64_t now_ms = clock_now_ms();
    uint64_t due_ms = UINT64_MAX;

    for (struct residue *r = op->residue; r; r = r->next) {
        if (!r->due_ms) {
            r->due_ms = now_ms + pause_ms(op->engine, 1, RESIDUE_PAUSE_MAX_S);
        }
        if (r->due_ms < due_ms) {
            due_ms = r->due_ms;
        }
    }
    timer_start(op, due_ms > now_ms ? due_ms - now_ms : 0, try_residue);
    op->due_ms = due_ms;
}

static void
try_residue(struct op *op)
{
    struct residue *due = op->residue;

    for (struct residue *r = due->next; r; r = r->next) {
        if (r->due_ms < due->due_ms) {
            due = r;
        }
    }

    const struct step *step = &op->type->steps[due->pos];
    enum op_purpose purpose = due->is_undo ? OP_UNDO : OP_RUN;
    void (*start)(struct op *, struct op_ticket *) =
        due->is_undo ? step->undo : step->run;
    struct op_ticket *ticket = ticket_create(op, purpose, due, step->timeout_s);

    log_debug(&op->log, "left-behind '%s' is tried again", step->name);
    if (start) {
        start(op, ticket);
    } else { /* It had one when this was written. */
        op_ticket_done(ticket, NULL);
    }
}

static void
residue_ended(struct op *op, struct residue *residue, struct error *error)
{
    const char *name = op->type->steps[residue->pos].name;

    if (error && residue->is_void) {
        error_free(steal(&error));
    }
    if (error) {
        log_debug(&op->log, "left-behind '%s' failed: %s", name,
                  error_message(error));
        error_free(residue->error);
        residue->error = error;
        residue->tries++;
        residue->is_wanted = false;
        residue->due_ms =
            clock_now_ms() +
            pause_ms(op->engine, residue->tries + 1, RESIDUE_PAUSE_MAX_S);
        schedule_residue(op);
        op_residue_note(op->engine, op->log.instance);
        return;
    }
    log_info(&op->log, "left-behind '%s' is done", name);
    struct residue **link = &op->residue;
    while (*link != residue) {
        link = &(*link)->next;
    }
    *link = residue->next;
    residue_free(residue);
    record(op, residue_gone);
}

static void
residue_gone(struct op *op)
{
    if (op->residue) {
        schedule_residue(op);
        op_residue_note(op->engine, op->log.instance);
    } else {
        retire(op);
    }
}

static void
retire(struct op *op)
{
    struct op_engine *engine = op->engine;
    struct log_context log = op->log;

    op_retire(op);
    op_residue_note(engine, log.instance);
}

/* Writes where the operation stands, and goes on with 'recorded' once that is
 * on disk, however long it takes. */
static void
record(struct op *op, void (*recorded)(struct op *))
{
    op->recorded = recorded;
    op->record = xzalloc(sizeof *op->record);
    op->record->op = op;
    store_put(op->engine->store, STORE_OPERATIONS, op->id, op->key,
              op_journal_format(op), record_written, op->record);
}

static void
record_written(void *aux, struct error *error)
{
    struct op_record *rec = aux;
    struct op *op = rec->op;

    free(rec);
    if (!op) {
        error_free(error);
        return;
    }
    op->record = NULL;
    if (error && !op->is_accepted) {
        not_accepted(op, error);
        return;
    }
    if (error) {
        log_limited(LOG_LEVEL_ERROR, &op->log, "waiting for the journal: %s",
                    error_message(error));
        error_free(error);
        pause_for(op, ++op->record_tries, RECORD_PAUSE_MAX_S, record_again);
        return;
    }
    op->record_tries = 0;
    if (!op->is_accepted) {
        op->is_accepted = true;
        if (op->accepted) {
            op->accepted(op->accepted_aux, op, NULL);
        }
    }
    op->recorded(op);
}

/* The disk was asked to write it, so it is told to forget it again.  It is gone
 * before the caller knows: who then looks for it must not find it. */
static void
not_accepted(struct op *op, struct error *error)
{
    void (*accepted)(void *, struct op *, struct error *) = op->accepted;
    void *aux = op->accepted_aux;

    log_info(&op->log, "refused: %s", error_message(error));
    store_put(op->engine->store, STORE_OPERATIONS, op->id, op->key, NULL, NULL,
              NULL);
    op_discard(op);
    if (accepted) {
        accepted(aux, NULL, error);
    } else {
        error_free(error);
    }
}

static void
record_again(struct op *op)
{
    record(op, op->recorded);
}

static struct op_ticket *
ticket_create(struct op *op, enum op_purpose purpose, struct residue *residue,
              unsigned timeout_s)
{
    struct op_ticket *ticket = xzalloc(sizeof *ticket);

    assert(!op->ticket && !op->record);
    ticket->op = op;
    ticket->purpose = purpose;
    ticket->residue = residue;
    op->ticket = ticket;
    if (timeout_s) {
        timer_start(op, timeout_s * UINT64_C(1000), ticket_timed_out);
    }
    return ticket;
}

static const struct step *
ticket_step(const struct op *op, const struct op_ticket *ticket)
{
    return ticket->residue ? &op->type->steps[ticket->residue->pos]
                           : op_step(op);
}

static void
ticket_timed_out(struct op *op)
{
    const struct step *step = ticket_step(op, op->ticket);

    op->ticket->is_late = true;
    if (op->ticket->purpose == OP_PROBE) {
        ticket_lost(op); /* A question changes nothing: just ask again. */
        return;
    }
    log_info(&op->log, "no end of '%s' in %u s: waiting as long again",
             step->name, step->timeout_s);
    timer_start(op, step->timeout_s * UINT64_C(1000), ticket_lost);
    cut_short(op);
}

static void
ticket_lost(struct op *op)
{
    struct op_ticket copy = *op->ticket;

    op->ticket->op = NULL;
    op->ticket = NULL;
    ticket_ended(op, &copy, NULL);
}

/* Frees the ticket and its time-out, and returns what it was. */
static struct op_ticket
ticket_close(struct op_ticket *ticket)
{
    struct op_ticket copy = *ticket;

    if (copy.op) {
        timer_stop(copy.op);
        copy.op->ticket = NULL;
    }
    free(ticket);
    return copy;
}

static void
ticket_ended(struct op *op, const struct op_ticket *ticket, struct error *error)
{
    if (ticket->purpose == OP_PROBE) {
        set_last_error(op, error);
        answered(op, PROBE_UNKNOWN);
        return;
    }
    if (ticket->is_late) {
        error_free(error);
        error = error_new(ERR_TIMEOUT, "no end in %u s",
                          ticket_step(op, ticket)->timeout_s);
    }
    if (ticket->residue) {
        residue_ended(op, ticket->residue, error);
    } else if (ticket->purpose == OP_UNDO) {
        undo_ended(op, error);
    } else {
        run_ended(op, error);
    }
}

static void
set_last_error(struct op *op, struct error *error)
{
    error_free(op->last_error);
    op->last_error = error;
}

static void
pause_for(struct op *op, unsigned tries, unsigned max_s,
          void (*due)(struct op *))
{
    uint64_t ms = pause_ms(op->engine, tries, max_s);

    timer_start(op, ms, due);
    op->due_ms = clock_now_ms() + ms;
}

/* 1 s, 2 s, 4 s, ... */
static uint64_t
pause_ms(const struct op_engine *engine, unsigned tries, unsigned max_s)
{
    uint64_t pause_s = tries && tries < 16 ? UINT64_C(1) << (tries - 1) : max_s;

    if (engine->has_pause) {
        return engine->pause_ms;
    }
    return (pause_s < max_s ? pause_s : max_s) * 1000;
}

static void
timer_start(struct op *op, uint64_t ms, void (*due)(struct op *))
{
    if (!op->timer) {
        op->timer = xzalloc(sizeof *op->timer);
        uv_timer_init(op->engine->loop, op->timer);
        op->timer->data = op;
    }
    op->timer_due = due;
    uv_timer_start(op->timer, timer_fired, ms, 0);
}

static void
timer_stop(struct op *op)
{
    if (op->timer) {
        uv_timer_stop(op->timer);
    }
    op->due_ms = 0;
}

static void
timer_fired(uv_timer_t *timer)
{
    struct op *op = timer->data;

    op->due_ms = 0;
    op->timer_due(op);
}
