#include <config.h>

#include "agent/op/internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/base/fault.h"

/* What happens next to an operation: each function here ends with something
 * that is waited for (wait.c), whose end starts the next one. */

LOG_MODULE(op);

#define PAUSE_MAX_S 60
#define PROBE_PAUSE_MAX_S 30 /* Nobody knows where the instance is. */
#define PROBE_TIMEOUT_S 60

static void begin_run(struct op *);
static void do_run(struct op *);
static void run_ended(struct op *, struct error *);
static void advance(struct op *);
static void settle(struct op *);
static void ask(struct op *);
static void commit(struct op *);
static void retry_or_leave(struct op *);
static void undo_below(struct op *, size_t n_begun);
static void do_undo(struct op *);
static void undo_ended(struct op *, struct error *);
static void finish(struct op *);
static void tell_finished(struct op *);
static void tell_forgotten(struct op *);
static void set_last_error(struct op *, struct error *);

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
        op_residue_gone(op);
        return;
    }
    log_info(&op->log, "'%s' is taken up in step '%s'%s", op->type->name,
             step->name, op->going_back ? ", going back" : "");
    if (op->going_back) {
        do_undo(op);
    } else if (op->committed || (step->begins_anew && !op->cancelled)) {
        do_run(op);
    } else if (step->probe && step->readopt) {
        step->readopt(op, op_ticket_create(op, OP_RUN, NULL, step->timeout_s));
        if (op->cancelled) {
            op_machine_cut_short(op);
        }
    } else {
        settle(op);
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
    op_timer_start(op, 0, op->timer_due);
    op->due_ms = clock_now_ms();
}

void
op_machine_forget(struct op *op)
{
    log_warn(&op->log, "'%s' is forgotten on request, in step '%s'",
             op->type->name, op_step_name(op));
    op_wait_stop(op);
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
    op_record(op, tell_forgotten);
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
    op_machine_cut_short(op);
    return true;
}

static void
begin_run(struct op *op)
{
    op->tries = 0;
    set_last_error(op, NULL);
    if (op_step(op)->name) {
        op_record(op, do_run);
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
    struct op_ticket *ticket =
        op_ticket_create(op, OP_RUN, NULL, step->timeout_s);
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

void
op_machine_cut_short(struct op *op)
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
    op_step(op)->probe(op,
                       op_ticket_create(op, OP_PROBE, NULL, PROBE_TIMEOUT_S));
}

void
op_machine_answered(struct op *op, enum probe_answer answer)
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
        op_pause(op, ++op->tries, PROBE_PAUSE_MAX_S, ask);
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
        op_residue_leave(op, false);
        advance(op);
    } else {
        op_pause(op, op->tries, PAUSE_MAX_S, do_run);
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
        op_record(op, do_undo);
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
        op_ticket_create(op, OP_UNDO, NULL, step->timeout_s);
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
        op_pause(op, op->tries, PAUSE_MAX_S, do_undo);
    } else {
        op_residue_leave(op, true);
        undo_below(op, op->pos);
    }
}

static void
finish(struct op *op)
{
    op->finished = true;
    op->finished_us = clock_wall_us();
    op_record(op, tell_finished);
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
    op_residue_gone(op);
}

static void
tell_forgotten(struct op *op)
{
    if (!op->is_told && op->type->finished) {
        op->type->finished(op, op->going_back ? op->error : NULL);
    }
    op->forgotten(op->forgotten_aux, NULL);
    op->forgotten = NULL;
    op_retire(op);
}

void
op_machine_ended(struct op *op, const struct op_ticket *ticket,
                 struct error *error)
{
    if (ticket->purpose == OP_PROBE) {
        set_last_error(op, error);
        op_machine_answered(op, PROBE_UNKNOWN);
        return;
    }
    if (ticket->residue) {
        op_residue_ended(op, ticket->residue, error);
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
