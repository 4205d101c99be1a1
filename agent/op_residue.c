#include <config.h>

#include "agent/op.h"

#include <inttypes.h>
#include <stdlib.h>

#include "agent/base/clock.h"
#include "agent/op_internal.h"

/* What was left behind on a host, and an instance that comes to it again.
 *
 * What is left of an earlier migration removes the instance's domain, files or
 * connections.  Once the instance is back that would be its own, so it is tried
 * a last time before the instance comes, and void once it runs here. */

LOG_MODULE(op);

static bool is_of(const struct op *op, const char *instance);
static bool strips(const struct op *op, const struct residue *residue);
static bool strips_later(const struct op *op);
static unsigned want(struct op *op);
static struct error *why_left(const struct op_engine *engine,
                              const char *instance);
static void wait_free(struct residue_wait *wait);
static void drop(struct op *op);

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
        op_machine_residue_changed(op);
    }
}
