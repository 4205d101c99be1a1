#ifndef DROVER_BASE_FAULT_H
#define DROVER_BASE_FAULT_H

/* Named places where a test build can be told to fail.
 *
 * FAULT_POINT("journal-after-write") compiles to nothing unless configured
 * with --enable-fault-injection.  Then "crash@3" ends the process at the third
 * pass, "error" makes FAULT_ERROR() return an error, "delay=2000" waits (on
 * the thread that passes).
 *
 * Threads: any. */

#include "agent/base/error.h"

#ifdef ENABLE_FAULT_INJECTION
struct error *fault_hit(const char *name) WARN_UNUSED;
void fault_pass(const char *name);
#define FAULT_POINT(NAME) fault_pass(NAME)
#define FAULT_ERROR(NAME) fault_hit(NAME)
#else
#define FAULT_POINT(NAME) ((void)0)
#define FAULT_ERROR(NAME) ((struct error *)NULL)
#endif

/* Sets what happens at a point: "crash@N", "crash", "error", "delay=MS", or
 * "off".  Fails if the build has no fault points, or the action is unknown. */
struct error *fault_set(const char *name, const char *action) WARN_UNUSED;

/* Calls 'visit' for each point that was passed or set so far. */
void fault_list(void (*visit)(const char *name, const char *action,
                              unsigned n_passed, void *aux),
                void *aux);

#endif
