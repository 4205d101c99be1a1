#include <config.h>

#include "agent/op/op.h"

#include <inttypes.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/op/internal.h"

/* What was left behind: it is worked off when all else of the operation is
 * done, one piece at a time, each with its own pauses.
 *
 * On a host to which the instance comes again, what is left of an earlier
 * migration removes the instance's domain, files or
 * connections.  Once the instance is back that would be its own, so it is tried
 * a last time before the instance comes, and void once it runs here. */

LOG_MODULE(op);

#define PAUSE_MAX_S 300

static void schedule(struct op *op);
static void try_next(struct op *op);
static bool is_of(const struct op *op, const char *instance);
static bool strips(const struct op *op, const struct residue *residue);
static bool strips_later(const struct op *op);
static unsigned want(struct op *op);
static struct error *why_left(const struct op_engine *engine,
                              const char *instance);
static void wait_free(struct residue_wait *wait);
static void drop(struct op *op);
static void residue_changed(struct op *op);

void
op_residue_leave(struct op *op, bool is_undo)
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

void
op_residue_ended(struct op *op, struct residue *residue, struct error *error)
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
            op_pause_ms(op->engine, residue->tries + 1, PAUSE_MAX_S);
        schedule(op);
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
    op_record(op, op_residue_gone);
}

void
op_residue_gone(struct op *op)
{
    if (op->residue) {
        schedule(op);
        op_residue_note(op->engine, op->log.instance);
    } else {
        op_retire(op);
    }
}

void
op_residue_settle(struct op_engine *engine, const char *instance,
                  void (*done)(void *aux, struct error *error), void *aux)
{
    unsigned n_wanted = 0;

    for (struct op *op = engine->first; op; op = op->next) {
        if (!is_of(op, instance)) {
            continue;
        }
        if (!op->finished && strips_later(op)) {
            done(aux, error_new(ERR_MIGRATION,
                                "operation %" PRId64 " is still clearing this "
                                "host of it, in step '%s'",
                                op->id, op_step_name(op)));
            return;
        }
        n_wanted += op->finished ? want(op) : 0;
    }
    if (!n_wanted) {
        done(aux, NULL);
        return;
    }
    struct residue_wait *wait = xzalloc(sizeof *wait);
    wait->instance = xstrdup(instance);
    wait->done = done;
    wait->aux = aux;
    wait->next = engine->waits;
    engine->waits = wait;
}

void
op_residue_drop(struct op_engine *engine, const char *instance)
{
    for (struct op *op = engine ? engine->first : NULL; op; op = op->next) {
        if (is_of(op, instance)) {
            drop(op);
        }
    }
}

void
op_residue_note(struct op_engine *engine, const char *instance)
{
    for (const struct op *op = engine->first; op; op = op->next) {
        for (const struct residue *r = op->residue; r; r = r->next) {
            if (is_of(op, instance) && r->is_wanted) {
                return;
            }
        }
    }
    /* Whoever asks when it is told waits for another try. */
    struct residue_wait *told = NULL;
    for (struct residue_wait **at = &engine->waits, *wait; (wait = *at);) {
        if (str_eq(wait->instance, instance)) {
            *at = wait->next;
            wait->next = told;
            told = wait;
        } else {
            at = &wait->next;
        }
    }
    for (struct residue_wait *wait; (wait = told);) {
        told = wait->next;
        wait->done(wait->aux, why_left(engine, instance));
        wait_free(wait);
    }
}

void
op_residue_close(struct op_engine *engine)
{
    for (struct residue_wait *wait; (wait = engine->waits);) {
        engine->waits = wait->next;
        wait->done(wait->aux,
                   error_new(ERR_CANCELLED, "the agent is stopping"));
        wait_free(wait);
    }
}

static void
schedule(struct op *op)
{
    uint64_t now_ms = clock_now_ms();
    uint64_t due_ms = UINT64_MAX;

    for (struct residue *r = op->residue; r; r = r->next) {
        if (!r->due_ms) {
            r->due_ms = now_ms + op_pause_ms(op->engine, 1, PAUSE_MAX_S);
        }
        if (r->due_ms < due_ms) {
            due_ms = r->due_ms;
        }
    }
    op_timer_start(op, due_ms > now_ms ? due_ms - now_ms : 0, try_next);
    op->due_ms = due_ms;
}

static void
try_next(struct op *op)
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
    struct op_ticket *ticket =
        op_ticket_create(op, purpose, due, step->timeout_s);

    log_debug(&op->log, "left-behind '%s' is tried again", step->name);
    if (start) {
        start(op, ticket);
    } else { /* It had one when this was written. */
        op_ticket_done(ticket, NULL);
    }
}

static bool
is_of(const struct op *op, const char *instance)
{
    return *instance && str_eq(op->log.instance, instance);
}

static bool
strips(const struct op *op, const struct residue *residue)
{
    return op->type->steps[residue->pos].strips_host;
}

/* Of an open one: before its commit, unless it goes back, nothing. */
static bool
strips_later(const struct op *op)
{
    const struct step *steps = op->type->steps;

    for (const struct residue *r = op->residue; r; r = r->next) {
        if (strips(op, r)) {
            return true;
        }
    }
    for (size_t i = 0; steps[i].name; i++) {
        bool is_to_come = op->committed ? i >= op->pos && !steps[i].undo
                                        : op->going_back && i <= op->pos;

        if (is_to_come && steps[i].strips_host) {
            return true;
        }
    }
    return false;
}

/* Returns how many pieces are to be tried. */
static unsigned
want(struct op *op)
{
    unsigned n = 0;

    for (struct residue *r = op->residue; r; r = r->next) {
        if (strips(op, r)) {
            r->is_wanted = true;
            r->due_ms = clock_now_ms();
            n++;
        }
    }
    if (n && op->due_ms) {
        op_machine_hurry(op);
    }
    return n;
}

static struct error *
why_left(const struct op_engine *engine, const char *instance)
{
    for (const struct op *op = engine->first; op; op = op->next) {
        for (const struct residue *r = op->residue; r; r = r->next) {
            if (is_of(op, instance) && strips(op, r) && r->error) {
                return error_wrap(error_copy(r->error),
                                  "'%s' of operation %" PRId64
                                  " was left behind here",
                                  op->type->steps[r->pos].name, op->id);
            }
        }
    }
    return NULL;
}

static void
wait_free(struct residue_wait *wait)
{
    free(wait->instance);
    free(wait);
}

static void
drop(struct op *op)
{
    bool has_changed = false;

    for (struct residue **at = &op->residue, *r; (r = *at);) {
        if (!strips(op, r)) {
            at = &r->next;
        } else if (op->ticket && op->ticket->residue == r) {
            r->is_void = true;
            at = &r->next;
        } else {
            log_warn(&op->log,
                     "the guest runs here again: left-behind '%s' is void",
                     op->type->steps[r->pos].name);
            *at = r->next;
            residue_free(r);
            has_changed = true;
        }
    }
    if (has_changed) {
        residue_changed(op);
    }
}

static void
residue_changed(struct op *op)
{
    if (!op->finished || !op->due_ms) {
        op_save(op, NULL, NULL); /* What is under way goes on from there. */
        return;
    }
    op_timer_stop(op);
    op_record(op, op_residue_gone);
}
