#ifndef DROVER_BASE_PROCESS_H
#define DROVER_BASE_PROCESS_H

/* A program that runs beside us; agent/base/command.h waits for one.
 *
 * It is looked for in PATH and then where administration tools are, as the PATH
 * of a user lacks those, and is given words and never a shell.  It gets the
 * environment of this process with LC_ALL=C, an empty standard input, no signal
 * blocked, and a process group of its own, which is killed as a whole.
 *
 * It ends with us: the kernel kills it (alone, not what it started) when the
 * thread that started it is gone, however that came.  Which is why that thread
 * must live as long as the program, and why libuv does not start it.  One that
 * changes the host, as mount does, is no exception: the agent that comes next
 * asks what is there and goes on or back from it, and nothing may change the
 * host behind its back.  Half done is what it finds after a power cut, too.
 *
 * Threads: any, one at a time for each.  No function logs, or puts an argument
 * into an error: there may be passwords among them. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/base/error.h"

/* Where the program finds the first descriptor that it is given; the next ones
 * follow it. */
#define PROCESS_FD 3
#define PROCESS_FDS_MAX 2

/* What the kernel lets the program have (setrlimit(2)); 0: as we have it. */
struct process_limits {
    int64_t memory;    /* Bytes of address space. */
    int64_t file_size; /* Bytes that a file of its may be made long; writing on
                        * fails, but does not end it. */
    unsigned cpu_s;
};

struct process_options {
    const char *const *argv; /* Ends with null; the first is the program. */
    enum error_code code;    /* Of errors. */
    const int *fds;          /* Given to it, and still ours. */
    size_t n_fds;            /* At most PROCESS_FDS_MAX. */
    bool is_socket; /* The first one, which listens: the program is told so, as
                     * systemd does (sd_listen_fds(3)). */
    struct process_limits limits;
};

/* To read and not to change. */
struct process {
    pid_t pid;   /* 0: there is none any more. */
    int pidfd;   /* Can be read once it has ended; -1 where the kernel has
                  * none: then the end of both channels tells. */
    int said[2]; /* Its output and its errors; reading does not block. */
};

struct error *process_start(const struct process_options *options,
                            struct process **ret) WARN_UNUSED;

/* Blocks until it has ended; how is told as by waitpid().  Once only. */
int process_wait(struct process *process);

/* Kills it, and its group, if it was not waited for.  Null is fine. */
void process_free(struct process *process);
CLEANUP_FUNC(struct process, process_free)

#endif
