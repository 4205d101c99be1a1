#ifndef DROVER_TESTS_TORTURE_H
#define DROVER_TESTS_TORTURE_H

/* Every failure and every crash of an operation, from its own table.
 *
 * What the steps do is replaced by a world in which a step is either done or
 * not; what the table says of them (order, undo, probe, readopt, cancel,
 * may_be_left) is kept, and the engine, the journal and the loop are the real
 * ones.  A step fails at once, having done nothing or all, or, if the table
 * gives it a time, never comes back until that is over. For each way in which a
 * history can go wrong it is run once without a crash, to count its records and
 * works, and then once for each of them with the agent dying before and after
 * it, and again with a second crash after the restart.  At the end of each
 * history:
 *
 *  - the world agrees with the outcome: committed and every step done, or gone
 *    back and every step that can be undone undone;
 *  - no step ran before those before it, none was undone before those after
 *    it, none after the commit ran without it, none was undone with it;
 *  - the caller was told once and truly, or died between the record of the end
 *    and the telling;
 *  - nothing is left: no open operation, no residue.
 *
 * A new step in a table is in the loop with that.
 *
 *   TORTURE_ALL=1   each crash of each history of a long table, not in turns */

#include "agent/op/op.h"

/* The most steps a table may have here. */
#define TORTURE_STEPS_MAX 20

/* Fails the running cmocka test, naming the history.  Returns how many
 * histories there were. */
unsigned torture_type(const struct op_type *type);

/* For the test of the harness: breaks the world's promise that the undo of
 * this step works, which torture_type() must notice (by failing); -1: none. */
extern int torture_broken_undo;

/* Called instead of failing the test, if not null. */
extern void (*torture_on_failure)(const char *what);

#endif
