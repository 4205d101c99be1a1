#ifndef DROVER_BASE_COMMAND_H
#define DROVER_BASE_COMMAND_H

/* Runs another program (agent/base/process.h) and waits for its end.
 *
 * What it leaves running in good order is left alone; if its time is over or it
 * is to stop, all of its group is killed.
 *
 * Threads: any but the loop's; blocks, but never for longer than it is told.
 * No function logs, or puts an argument into an error: there may be passwords
 * among them. */

#include <stdatomic.h>

#include "agent/base/process.h"

struct command {
    const char *const *argv; /* Ends with null; the first is the program. */
    unsigned timeout_ms;     /* 0: no limit. */
    size_t output_max;       /* Bytes kept of each channel; 0: 64 KiB. */
    enum error_code code;    /* Of errors; ERR_NONE: ERR_INTERNAL. */
    const int *fds;          /* From its PROCESS_FD on, and still ours. */
    size_t n_fds;            /* At most PROCESS_FDS_MAX. */
    struct process_limits limits;
    const atomic_bool *stop; /* Looked at while waiting; null: no one stops. */
    /* Is given all of its standard output, as it comes; null: no one. */
    void (*hear)(void *aux, const char *text, size_t size);
    void *aux;
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

/* Null if 'result' tells of success, else an error of 'code' with the last
 * lines that the program wrote to its standard error, or else to its output. */
struct error *command_check(const char *program, enum error_code code,
                            const struct command_result *result) WARN_UNUSED;

/* Both; what the program wrote is stored in '*ret_output', if that is not
 * null, and is the caller's. */
struct error *command_run_checked(const struct command *command,
                                  char **ret_output) WARN_UNUSED;

#endif
