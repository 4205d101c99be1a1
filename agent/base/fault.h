#ifndef DROVER_BASE_FAULT_H
#define DROVER_BASE_FAULT_H

/* Named places where a test build can be told to fail.
 *
 * FAULT_POINT("store-after-commit") compiles to nothing unless configured
 * with --enable-fault-injection.  Then "crash@3" ends the process at the third
 * pass, "error" ("error@3") makes FAULT_ERROR() return an error, "delay=2000"
 * waits (on the thread that passes).  FAULT_ERROR_AT() makes the name, as
 * printf().
 *
 * Threads: any. */

#include "agent/base/error.h"

#ifdef ENABLE_FAULT_INJECTION
struct error *fault_hit(const char *name) WARN_UNUSED;
struct error *fault_hit_at(const char *fmt, ...)
    PRINTF_FORMAT(1, 2) WARN_UNUSED;
void fault_pass(const char *name);
#define FAULT_POINT(NAME) fault_pass(NAME)
#define FAULT_ERROR(NAME) fault_hit(NAME)
#define FAULT_ERROR_AT(...) fault_hit_at(__VA_ARGS__)
#else
#define FAULT_POINT(NAME) ((void)0)
#define FAULT_ERROR(NAME) ((struct error *)NULL)
#define FAULT_ERROR_AT(...) ((struct error *)NULL)
#endif

/* Sets what happens at a point: "crash[@N]", "error[@N]", "delay=MS", or
 * "off".  Fails if the build has no fault points, or the action is unknown. */
struct error *fault_set(const char *name, const char *action) WARN_UNUSED;

/* Calls 'visit' for each point that was passed or set so far. */
void fault_list(void (*visit)(const char *name, const char *action,
                              unsigned n_passed, void *aux),
                void *aux);

#endif
