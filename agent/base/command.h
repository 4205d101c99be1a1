#ifndef DROVER_BASE_COMMAND_H
#define DROVER_BASE_COMMAND_H

/* Runs another program, without a shell, and waits for it.
 *
 * The program is looked for in PATH and then where administration tools are,
 * as the PATH of a user lacks those.  It gets the environment of this process
 * with LC_ALL=C, an empty standard input, no signal blocked, and a process
 * group of its own, which is killed as a whole when its time is over.  What it
 * leaves running in good order is left alone.
 *
 * Threads: any but the loop's; blocks, but never for longer than it is told.
 * No function logs, or puts an argument into an error: there may be passwords
 * among them. */

#include <stdatomic.h>

#include "agent/base/error.h"

/* Where the program finds 'fd'. */
#define COMMAND_FD 3

struct command {
    const char *const *argv; /* Ends with null; the first is the program. */
    unsigned timeout_ms;
    size_t output_max;       /* Bytes kept of each output; 0: 64 KiB. */
    enum error_code code;    /* Of errors; ERR_NONE: ERR_INTERNAL. */
    bool with_fd;            /* The program gets 'fd', which stays ours. */
    int fd;                  /* Only with 'with_fd'. */
    const atomic_bool *stop; /* Looked at while waiting; null: no one stops. */
};

/* How a program ended that ended of itself. */
struct command_result {
    int exit_code;
    char *output; /* Never null; cut at 'output_max'. */
    char *errors; /* The same of its standard error. */
    bool is_cut;
};

/* Null if the program ran and ended by exiting, whatever its code; '*ret' is
 * then to be closed by command_result_close().  Otherwise it could not be
 * started, was killed, took too long, or was to stop (ERR_CANCELLED). */
struct error *command_run(const struct command *command,
                          struct command_result *ret) WARN_UNUSED;

void command_result_close(struct command_result *result);

/* Null if 'result' tells of success, else an error with the last lines that the
 * program wrote to its standard error, or else to its output. */
struct error *command_check(const struct command *command,
                            const struct command_result *result) WARN_UNUSED;

/* Both; what the program wrote is stored in '*ret_output', if that is not
 * null, and is the caller's. */
struct error *command_run_checked(const struct command *command,
                                  char **ret_output) WARN_UNUSED;

#endif
