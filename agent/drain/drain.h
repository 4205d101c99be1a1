#ifndef DROVER_DRAIN_DRAIN_H
#define DROVER_DRAIN_DRAIN_H

/* A host is drained: its guests are moved elsewhere, and until that is undone
 * it takes none of others.
 *
 * One operation of the journal, on that host, from the beginning of the drain
 * until the guests are back (host restore) or the drain is given up.  It moves
 * nothing itself: it asks the agent that has a guest to migrate it, here or,
 * to bring one back, there, under a UUID that is in the journal first.  To be
 * asked twice for the same migration is harmless (agent/api/drain.c), so
 * after a crash of either agent it asks how that one does, and if nobody has
 * heard of it asks for it again: a guest never gets a second one.
 *
 *   state.c         what is known of each guest, and what is next (pure)
 *   drain.c         the operation, and what people can do with it
 *   run.c           the hands: asks, listens, writes it down
 *   look.c          who is left when all is done
 *   guests.c        who is here at all
 *   survey.c        who could go where; plan.c, who does (pure)
 *
 * Threads: the loop. */

#include "agent/agent.h"
#include "agent/drain/state.h"

extern const struct op_type drain_type;

/* The guests of 'plan', as drain_survey() has made it, are moved.  'done' is
 * called when that is in the journal.  ERR_INVALID if there is a drain here
 * already, ERR_VALUE for a plan that is none. */
void drain_start(struct agent *agent, const struct json *plan,
                 const struct log_context *log, driver_done *done, void *aux);

/* The drain that is stopped or has come as far as it could goes on with this
 * plan.  This and the following: ERR_NOT_FOUND if no host is drained here,
 * ERR_INVALID if it is not the time for that. */
struct error *drain_resume(struct agent *agent,
                           const struct json *plan) WARN_UNUSED;

/* No more guests are begun with. */
struct error *drain_stop(struct agent *agent) WARN_UNUSED;

/* The guests that were moved, and are where they were put, come back. */
struct error *drain_restore(struct agent *agent) WARN_UNUSED;

/* All stay where they are, and the host takes guests again.  Not while any are
 * under way, unless it is stopped and nobody answers for them. */
struct error *drain_end(struct agent *agent) WARN_UNUSED;

/* The drain, or the last one of this run of the agent:
 * {host, phase, is_over, started_at, n_left, moves: [{uuid, name, memory_mb,
 *  host, migration, reason, state, n_tries, progress}]}
 * Null: none.  The caller's. */
struct json *drain_describe(struct agent *agent);

/* Why no guest may come here, ERR_MIGRATION_PRE_CHECK; null: it may. */
struct error *drain_check_incoming(struct agent *agent) WARN_UNUSED;

/* The same as a word for people: the phase of the drain; or null. */
const char *drain_bars(struct agent *agent);

/* A guest has come all the same, as it was on its way or did not ask; or one
 * has gone, moved by whomever. */
void drain_guests_changed(struct agent *agent);

/* ---- For the files of this module ---------------------------------------- */

struct drain_look;
struct drain_request;

struct drain {
    struct agent *agent;
    struct drain_state state;
    bool is_given_up;

    /* Not in the journal. */
    struct op *op;
    struct op_ticket *ticket; /* Of the step that lasts; null: not in it. */
    uv_timer_t *timer;
    uint64_t timer_due_ms;          /* 0: it is not set. */
    struct drain_request *requests; /* That are not answered. */
    bool is_surveyed;        /* No guest is left that is not accounted for. */
    struct drain_look *look; /* That is being found out; else null. */
    bool look_is_old;        /* Something happened since it began. */
    bool is_known;           /* 'shown' is what was told last. */
    enum drain_phase shown;
};

/* Begins what is next, asks how the others do, and ends the step if there is
 * nothing left that could be asked for. */
void drain_drive(struct drain *drain);
void drain_save(struct drain *drain);
void drain_run_close(struct drain *drain);

/* look.c: compares what is known with who is here, and drives the drain
 * when it is surveyed; that it is not any more; it goes. */
void drain_look(struct drain *drain);
void drain_look_again(struct drain *drain);
void drain_look_close(struct drain *drain);

#endif
