#ifndef DROVER_DRIVERS_PROCESS_H
#define DROVER_DRIVERS_PROCESS_H

/* A program that is run beside us, such as qemu-img.
 *
 * It is found in the usual directories, given words and never a shell, and
 * ends with us: the kernel kills it when the thread that started it is gone,
 * however that came.  (Which is why it is not started by libuv, and why that
 * thread must live as long as the program.)
 *
 * Threads: any, but for the start.  process_wait() blocks. */

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/error.h"

struct process;

/* Where the program finds the descriptor that it is given. */
#define PROCESS_FD 3

struct process_options {
    const char *const *argv; /* Ends with null. */
    int fd;                  /* Given to it; -1: none.  Stays the caller's. */
    bool is_socket; /* Which listens: the program is told so, as systemd does
                     * (sd_listen_fds(3)). */
};

/* ERR_STORAGE: it can't be started. */
struct error *process_start(const struct process_options *options,
                            struct process **ret) WARN_UNUSED;

/* Kills it if it still runs.  No process_wait() may be under way; null is
 * fine. */
void process_free(struct process *process);
CLEANUP_FUNC(struct process, process_free)

/* Gives 'heard' (may be null) what it says on either channel, as it comes, and
 * waits for its end: ERR_STORAGE unless that was with status 0, with what
 * 'words' has by then, or if it took longer than 'timeout_ms' (0: no limit);
 * ERR_CANCELLED if process_kill() ended it. */
struct process_words;
struct error *process_wait(struct process *process, unsigned timeout_ms,
                           void (*heard)(void *aux, const char *text,
                                         size_t size),
                           void *aux, struct process_words *words) WARN_UNUSED;

/* Has it ended by itself? */
bool process_is_over(struct process *process);

/* Ends it, whatever it does. */
void process_kill(struct process *process);

/* What a program says, for an error: its first words, on one line. */
struct process_words {
    char text[512];
    size_t size;
};
void process_words_add(struct process_words *words, const char *text,
                       size_t size);

#endif
