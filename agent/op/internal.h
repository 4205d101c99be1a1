#ifndef DROVER_OP_INTERNAL_H
#define DROVER_OP_INTERNAL_H

/* What the parts of the step engine share: op.c (the engine and its list),
 * machine.c (what happens next), wait.c (what it waits for),
 * residue.c (what was left behind, when the instance comes again),
 * control.c (what an operator sees and wants) and journal.c (rows to
 * operations and back).  For nobody else. */

#include "agent/op/op.h"
#include "agent/stamp.h"

/* A step that was left behind: not done after the commit, or not undone. */
struct residue {
    struct residue *next;
    size_t pos;
    bool is_undo;
    struct error *error; /* The latest. */
    unsigned tries;
    uint64_t due_ms;
    bool is_wanted; /* Somebody waits for its next try. */
    bool is_void;   /* To go when the try under way is over. */
};

/* One who waits for the residue of an instance. */
struct residue_wait {
    struct residue_wait *next;
    char *instance;
    void (*done)(void *aux, struct error *error);
    void *aux;
};

enum op_purpose { OP_RUN, OP_UNDO, OP_PROBE };

struct op_ticket {
    struct op *op; /* Null: nobody waits for it any more. */
    enum op_purpose purpose;
    struct residue *residue; /* Whose try it is; or null. */
    bool is_late;            /* Timed out; what it says no longer counts. */
};

/* A row on its way to the disk. */
struct op_record {
    struct op *op; /* Null: nobody waits for it any more. */
};

struct op {
    struct op *prev, *next;
    struct op_engine *engine;
    const struct op_type *type;
    int64_t id;
    char *key;
    struct log_context log;
    void *data;
    struct stamp started;
    int64_t finished_us; /* Wall time. */

    size_t pos; /* The step that is run or undone. */
    bool going_back, committed, finished;
    bool restarted;
    bool cancelled;           /* To turn back when the step ends. */
    struct error *error;      /* Why it goes or will go back. */
    struct error *last_error; /* Why the latest try failed; for people. */
    unsigned tries;           /* Of what is under way, failed so far. */
    struct residue *residue;  /* In the order in which they were left. */

    /* At most one of these is under way: a record, a ticket (whose time-out
     * the timer may hold), a pause (the timer). */
    struct op_record *record;
    void (*recorded)(struct op *op);
    unsigned record_tries;
    struct op_ticket *ticket;
    uv_timer_t *timer; /* Null until first used. */
    void (*timer_due)(struct op *op);
    uint64_t due_ms; /* Of a pause; 0: there is none. */

    void (*accepted)(void *aux, struct op *op, struct error *error);
    void *accepted_aux;
    bool is_accepted; /* It is in the journal, and the caller knows. */

    bool is_told; /* finished() was called, or this is a restart. */

    /* Who has it forgotten; null: nobody. */
    void (*forgotten)(void *aux, struct error *error);
    void *forgotten_aux;
};

struct known {
    int64_t id, finished_us;
    char *key;
    const struct op_type *type; /* Null: not known. */
    char instance[sizeof((struct log_context *)0)->instance]; /* Or "". */
    bool went_back;
};

struct op_engine {
    uv_loop_t *loop;
    struct store *store;
    const struct op_type *const *types;
    void *type_aux;
    struct op *first, *last; /* By id; those with residue too. */
    struct known *known;     /* Finished without residue, the first first. */
    size_t n_known, n_known_room;
    bool has_retention;
    int64_t retention_us; /* For how long those are remembered. */
    struct residue_wait *waits;
    bool has_pause, has_timeout; /* For tests. */
    unsigned pause_ms, timeout_ms;
};

/* op.c */
void op_engine_add(struct op_engine *engine, struct op *op);
void op_engine_add_known(struct op_engine *engine, const struct known *known);
void op_retire(struct op *op);  /* Only its key is kept. */
void op_discard(struct op *op); /* Out of the list and freed. */

/* machine.c */
void op_machine_start(struct op *op);  /* A new one. */
void op_machine_resume(struct op *op); /* One that the journal held. */
void op_machine_hurry(struct op *op);  /* One that pauses. */
void op_machine_forget(struct op *op); /* At which nothing is at work. */
/* What it waited for is over: the ticket is the caller's, the error is not. */
void op_machine_ended(struct op *op, const struct op_ticket *ticket,
                      struct error *error);
void op_machine_answered(struct op *op, enum probe_answer answer);
void op_machine_cut_short(struct op *op); /* Ends the step early, if it can. */

/* wait.c.  'recorded' comes once where the operation stands is on disk,
 * however long that takes. */
void op_record(struct op *op, void (*recorded)(struct op *op));
struct op_ticket *op_ticket_create(struct op *op, enum op_purpose purpose,
                                   struct residue *residue, unsigned timeout_s);
void op_pause(struct op *op, unsigned tries, unsigned max_s,
              void (*due)(struct op *op));
uint64_t op_pause_ms(const struct op_engine *engine, unsigned tries,
                     unsigned max_s);
void op_timer_start(struct op *op, uint64_t ms, void (*due)(struct op *op));
void op_timer_stop(struct op *op);
void op_wait_stop(struct op *op); /* For good, before it is freed. */

/* residue.c */
void op_residue_leave(struct op *op, bool is_undo); /* The step it is in. */
void op_residue_ended(struct op *op, struct residue *residue,
                      struct error *error); /* A try of that piece. */
void op_residue_gone(struct op *op);        /* What is left is gone on with. */
/* A piece of this instance was tried, or went. */
void op_residue_note(struct op_engine *engine, const char *instance);
void op_residue_close(struct op_engine *engine); /* Tells who waits. */

/* journal.c: the row's text; and what a row holds, added to the engine. */
char *op_journal_format(const struct op *op);
struct error *op_journal_parse(struct op_engine *engine, int64_t id,
                               const char *key, const char *body) WARN_UNUSED;

void residue_free(struct residue *residue);

static inline const struct step *
op_step(const struct op *op)
{
    return &op->type->steps[op->pos];
}

#endif
