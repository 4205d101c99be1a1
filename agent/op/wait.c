#include <config.h>

#include "agent/op/internal.h"

#include <assert.h>
#include <stdlib.h>

#include "agent/base/clock.h"

/* What an operation waits for: a record on its way to the disk, a ticket in
 * somebody's hands, or a pause; one at a time.  Each ends in a function of
 * machine.c or residue.c.
 *
 * A step that timed out is given the same time again to end: its undo, or its
 * next try, must not run beside it.  Only then it is taken for lost.  Whatever
 * it says after its time is not believed: outcome in doubt. */

LOG_MODULE(op);

#define RECORD_PAUSE_MAX_S 5 /* A small write is soon tried. */

static void record_written(void *aux, struct error *error);
static void not_accepted(struct op *, struct error *);
static void record_again(struct op *);
static const struct step *ticket_step(const struct op *,
                                      const struct op_ticket *);
static void ticket_timed_out(struct op *);
static uint64_t timeout_ms(const struct op *, unsigned timeout_s);
static void ticket_lost(struct op *);
static struct op_ticket ticket_close(struct op_ticket *);
static void ticket_ended(struct op *, const struct op_ticket *, struct error *);
static void timer_fired(uv_timer_t *);

void
op_wait_stop(struct op *op)
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

/* Writes where the operation stands, and goes on with 'recorded' once that is
 * on disk, however long it takes. */
void
op_record(struct op *op, void (*recorded)(struct op *))
{
    op->recorded = recorded;
    op->record = xzalloc(sizeof *op->record);
    op->record->op = op;
    store_put(op->engine->store, STORE_OPERATIONS, op->id, op->key,
              op_journal_format(op), record_written, op->record);
}

struct op_ticket *
op_ticket_create(struct op *op, enum op_purpose purpose,
                 struct residue *residue, unsigned timeout_s)
{
    struct op_ticket *ticket = xzalloc(sizeof *ticket);

    assert(!op->ticket && !op->record);
    ticket->op = op;
    ticket->purpose = purpose;
    ticket->residue = residue;
    op->ticket = ticket;
    if (timeout_s) {
        op_timer_start(op, timeout_ms(op, timeout_s), ticket_timed_out);
    }
    return ticket;
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
        op_machine_answered(op, answer);
    }
}

void
op_pause(struct op *op, unsigned tries, unsigned max_s,
         void (*due)(struct op *))
{
    uint64_t ms = op_pause_ms(op->engine, tries, max_s);

    op_timer_start(op, ms, due);
    op->due_ms = clock_now_ms() + ms;
}

/* 1 s, 2 s, 4 s, ... */
uint64_t
op_pause_ms(const struct op_engine *engine, unsigned tries, unsigned max_s)
{
    uint64_t pause_s = tries && tries < 16 ? UINT64_C(1) << (tries - 1) : max_s;

    if (engine->has_pause) {
        return engine->pause_ms;
    }
    return (pause_s < max_s ? pause_s : max_s) * 1000;
}

void
op_timer_start(struct op *op, uint64_t ms, void (*due)(struct op *))
{
    if (!op->timer) {
        op->timer = xzalloc(sizeof *op->timer);
        uv_timer_init(op->engine->loop, op->timer);
        op->timer->data = op;
    }
    op->timer_due = due;
    uv_timer_start(op->timer, timer_fired, ms, 0);
}

void
op_timer_stop(struct op *op)
{
    if (op->timer) {
        uv_timer_stop(op->timer);
    }
    op->due_ms = 0;
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
        op_pause(op, ++op->record_tries, RECORD_PAUSE_MAX_S, record_again);
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
    op_record(op, op->recorded);
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
    op_timer_start(op, timeout_ms(op, step->timeout_s), ticket_lost);
    op_machine_cut_short(op);
}

static uint64_t
timeout_ms(const struct op *op, unsigned timeout_s)
{
    return op->engine->has_timeout ? op->engine->timeout_ms
                                   : timeout_s * UINT64_C(1000);
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
        op_timer_stop(copy.op);
        copy.op->ticket = NULL;
    }
    free(ticket);
    return copy;
}

static void
ticket_ended(struct op *op, const struct op_ticket *ticket, struct error *error)
{
    if (ticket->is_late && ticket->purpose != OP_PROBE) {
        error_free(error);
        error = error_new(ERR_TIMEOUT, "no end in %u s",
                          ticket_step(op, ticket)->timeout_s);
    }
    op_machine_ended(op, ticket, error);
}

static void
timer_fired(uv_timer_t *timer)
{
    struct op *op = timer->data;

    op->due_ms = 0;
    op->timer_due(op);
}
