#ifndef DROVER_OP_OP_H
#define DROVER_OP_OP_H

/* Operations: a table of steps, journalled.
 *
 * Before a step is run or undone its name goes into the journal, and it begins
 * once the record is on disk: the journal names every step that may have
 * happened.  With that a failure, a time-out and a restart are one case.
 * Exactly one step of a type is the commit: it has a probe, which asks the
 * world.  Before the commit an operation can only go back, after it only on.
 *
 *   run ──ok──▶ next step ... last step ──▶ finished
 *    │fails, times out, restart
 *    ├─ has probe: ask.  YES: on.  NO: back.  UNKNOWN: wait, ask again.
 *    ├─ after the commit: run again, after a pause that grows; a step with
 *    │  'may_be_left' is left behind as residue after STEP_TRIES, and the
 *    │  residue is tried again in the background
 *    ├─ before, restart, if it begins anew: run again
 *    └─ before: undo this step and those before it, newest first; an undo that
 *       fails is tried STEP_TRIES times and then left as residue
 *
 * A step that times out is asked to end (cancel) and given the same time once
 * more, as its undo must not run beside it; then it has failed, whatever it
 * says, and if it has not come back it is taken for lost.  Residue is worked
 * on when all else is done and finished() was called.
 *
 * Threads: the loop. */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/base/error.h"
#include "agent/base/log.h"
#include "agent/store.h"
#include "rpc/json.h"

struct op;
struct op_engine;
struct op_ticket;

enum probe_answer { PROBE_YES, PROBE_NO, PROBE_UNKNOWN };

struct step {
    /* Goes in the journal: never renamed, never given to another step. */
    const char *name;

    /* Starts the step, which ends with op_ticket_done().  After the commit,
     * must be safe to run again. */
    void (*run)(struct op *op, struct op_ticket *ticket);

    /* Takes the step back.  Must do no harm if the step did not happen, or
     * only in part.  Null: nothing to take back.  Null after the commit. */
    void (*undo)(struct op *op, struct op_ticket *ticket);

    /* Asks the world whether the step happened; ends with
     * op_ticket_answer(). */
    void (*probe)(struct op *op, struct op_ticket *ticket);

    /* After a restart, takes up work that outlived the agent instead of
     * settling at once: as 'run', or null.  Only of a step with a probe. */
    void (*readopt)(struct op *op, struct op_ticket *ticket);

    /* Makes a run() under way end soon, with an error.  Null: it can't be cut
     * short; the operation turns back at its end. */
    void (*cancel)(struct op *op);

    unsigned timeout_s; /* 0: the step watches its own progress. */
    bool may_be_left;   /* After the commit: no later step depends on it. */
    bool only_waits;    /* While it runs nothing is being done here. */
    /* Before the commit: nothing is prepared yet that a restart could spoil, so
     * that it begins anew then, and does not go back. */
    bool begins_anew;
    /* What is left of it takes away what the instance needs on this host: it is
     * to be over before the instance comes again, and void once it is back. */
    bool strips_host;
};

struct op_type {
    const char *name;         /* Goes in the journal. */
    const struct step *steps; /* Ends with a null name. */

    /* The operation's own data, to and from the journal. */
    struct json *(*save)(const void *data);
    struct error *(*load)(void *aux, const struct json *json, void **ret_data);
    void (*free_data)(void *data);

    /* It is over, and the journal says so: 'error' (borrowed) is why it went
     * back, or null.  Not called again after a restart.  May be null. */
    void (*finished)(struct op *op, const struct error *error);
};

#define STEP_TRIES 5

/* 'types' ends with null and is for operations that the journal holds.
 * 'type_aux' is given to load(). */
struct op_engine *op_engine_create(uv_loop_t *loop, struct store *store,
                                   const struct op_type *const *types,
                                   void *type_aux);

/* First phase of start-up: puts back what the journal says, touching nothing.
 * An operation of an unknown type or step is an error. */
struct error *op_engine_load(struct op_engine *engine) WARN_UNUSED;

/* Second phase: settles each open operation. */
void op_engine_resume(struct op_engine *engine);

/* Stops timers, leaves every operation as the journal has it, frees all.
 * Tickets may still come in: they are dropped.  Who waits for 'accepted' gets
 * an error, though the operation may be in the journal.  Null is fine. */
void op_engine_close(struct op_engine *engine);

/* Starts an operation; takes 'data'.  'accepted' (may be null) is called once
 * it is in the journal, or with an error when it could not be written, and
 * then there is no operation and 'data' is freed.  'key' makes it findable and
 * unique among those open: a migration's uuid.  If that one is open or
 * finished lately 'accepted' gets ERR_INVALID. */
void op_start(struct op_engine *engine, const struct op_type *type,
              const char *key, const struct log_context *log, void *data,
              void (*accepted)(void *aux, struct op *op, struct error *error),
              void *aux);

/* Turns the operation back before its commit, with 'error' (taken) as the
 * reason.  False if it is committed, or going back already. */
bool op_cancel(struct op *op, struct error *error);

/* A ticket is what the work of one start of a step carries.  It is used up by
 * op_ticket_done() or op_ticket_answer(), which must come once.  If the step
 * timed out meanwhile, or the engine closed, they do nothing but free. */
struct op *op_ticket_op(const struct op_ticket *ticket); /* Null: too late. */
void op_ticket_done(struct op_ticket *ticket, struct error *error); /* Takes */
void op_ticket_answer(struct op_ticket *ticket, enum probe_answer answer);

/* As driver_done and friends want it. */
void op_ticket_done_aux(void *ticket, struct error *error);

/* Writes the data to the journal again, in the middle of a step; 'done' may be
 * null, and comes even after the engine was closed.  A null 'op' (that of a
 * ticket that came too late) is not written and has no 'done'. */
void op_save(struct op *op, void (*done)(void *aux, struct error *error),
             void *aux);

/* What an operation is. */
void *op_data(struct op *op);
int64_t op_id(const struct op *op);
const char *op_key(const struct op *op);
const char *op_type_name(const struct op *op);
const char *op_step_name(const struct op *op); /* "finished" at the end */
const struct log_context *op_log(const struct op *op); /* Null: null. */
bool op_is_committed(const struct op *op);
bool op_is_going_back(const struct op *op);
bool op_was_restarted(const struct op *op); /* Put back from the journal. */
const struct error *op_error(const struct op *op); /* First one; or null. */
struct op_engine *op_engine_of(struct op *op);
int64_t op_started_us(const struct op *op); /* Wall time. */
uint64_t op_age_ms(const struct op *op);    /* However the clock was set. */

/* Finds an open operation; null if there is none, or no engine any more.  One
 * that is finished but for residue is not open. */
struct op *op_find(struct op_engine *engine, const char *key);
struct op *op_first(struct op_engine *engine);
struct op *op_next(struct op *op);

/* Has all that was left behind of steps that strip the host of this instance
 * tried now.  'done' is called once each piece was tried: null if nothing is
 * left, or why something is.  An open operation that has such a step yet to do
 * is an error at once. */
void op_residue_settle(struct op_engine *engine, const char *instance,
                       void (*done)(void *aux, struct error *error), void *aux);

/* The instance runs here again: such pieces are never tried again. Null is
 * fine. */
void op_residue_drop(struct op_engine *engine, const char *instance);

/* For people: an object with op, type, key, request, instance (null: none),
 * started, step, direction, committed, tries (of what is under way, failed so
 * far), waiting_s (until the next try; 0: it does not wait), error (text or
 * null), residue (array of step, direction, error, tries, next_s), todo (array
 * of step, direction: what is not done, or perhaps done, and would stay so if
 * the operation were forgotten).  The caller's. */
struct json *op_describe(const struct op *op);

/* That of all open operations, and those that left residue. */
struct json *op_engine_list(struct op_engine *engine);

/* By number, key, or a unique beginning of the key (at least 4 characters);
 * among open ones and those that left residue.  ERR_INVALID if there is none
 * or several. */
struct error *op_search(struct op_engine *engine, const char *text,
                        struct op **ret) WARN_UNUSED;

/* What waits for its next try, residue too, is tried now.  ERR_INVALID if
 * nothing waits. */
struct error *op_retry(struct op *op) WARN_UNUSED;

/* Gives the operation up where it stands, for ever: what op_describe() names
 * under "todo" stays as it is.  Who waits for its end is told that it was
 * forgotten, unless it is committed.  'done' is called once the journal says
 * so, or with ERR_INVALID at once if something is being done for it. */
void op_forget(struct op *op, void (*done)(void *aux, struct error *error),
               void *aux);

/* How many operations are open, and pieces of residue there are. */
void op_engine_count(const struct op_engine *engine, unsigned *ret_n_open,
                     unsigned *ret_n_residue);

/* True if an operation of this key ended within the journal's memory. */
bool op_is_known_finished(struct op_engine *engine, const char *key);

/* True if of the operations of one of 'types' (ends with null) about this
 * instance the newest that the journal remembers is over, and did not go back.
 */
bool op_latest_was_done(const struct op_engine *engine,
                        const struct op_type *const *types,
                        const char *instance);

/* Forgets finished operations that are older than this, now and whenever one
 * ends; of all there are never more than OP_KNOWN_MAX. */
#define OP_KNOWN_MAX 500
void op_engine_prune(struct op_engine *engine, unsigned days);

/* For tests: pauses are this many milliseconds instead of growing ones. */
void op_engine_set_pause(struct op_engine *engine, unsigned ms);
/* And a step that has a time-out this one. */
void op_engine_set_timeout(struct op_engine *engine, unsigned ms);

#endif
