#ifndef DROVER_BASE_LOG_H
#define DROVER_BASE_LOG_H

/* Logging: one line a transition, with the context of who asked for what.
 *
 * A line goes to standard error, or to the journal when standard error is
 * connected to it:
 *
 *   2026-03-02T10:31:07.512Z|00412|migrate|INFO|req=req-5f0c inst=3b1c
 * op=17|...
 *
 * Threads: any; log_init() and log_set_level() before threads start. */

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/mem.h"

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};

/* Filled in when a request is accepted; travels with it.  A plain record of
 * fixed size, copied freely. */
struct log_context {
    char request[48];  /* "req-<uuid>", or empty. */
    char instance[40]; /* UUID, or empty. */
    int64_t op;        /* Number of the operation, or 0. */
};

/* One a file: its levels can be set apart. */
struct log_module {
    const char *name;
    int level; /* Of enum log_level; -1: the general one. */
    struct log_module *next;
};
void log_module_register(struct log_module *module);

#define LOG_MODULE(NAME)                                             \
    static struct log_module log_this_module = {#NAME, -1, NULL};    \
    static __attribute__((constructor)) void log_register_this(void) \
    {                                                                \
        log_module_register(&log_this_module);                       \
    }

void log_init(void); /* Finds out about the journal. */
void log_set_level(enum log_level level);

/* "debug", or "op:debug" for the module "op" and those that begin with "op_",
 * which may be loaded later, with a driver.  False if the text is neither. */
bool log_set_level_text(const char *text);

/* A name that a level was set for and that none has; null if there is none. */
const char *log_unknown_module(void);

bool log_is_enabled(const struct log_module *module, enum log_level level);

/* 'context' may be null. */
void log_write(const struct log_module *module, enum log_level level,
               const struct log_context *context, const char *fmt, ...)
    PRINTF_FORMAT(4, 5);

#define log_at(LEVEL, CONTEXT, ...)                                   \
    do {                                                              \
        if (log_is_enabled(&log_this_module, LEVEL)) {                \
            log_write(&log_this_module, LEVEL, CONTEXT, __VA_ARGS__); \
        }                                                             \
    } while (0)
#define log_error(CONTEXT, ...) log_at(LOG_LEVEL_ERROR, CONTEXT, __VA_ARGS__)
#define log_warn(CONTEXT, ...) log_at(LOG_LEVEL_WARN, CONTEXT, __VA_ARGS__)
#define log_info(CONTEXT, ...) log_at(LOG_LEVEL_INFO, CONTEXT, __VA_ARGS__)
#define log_debug(CONTEXT, ...) log_at(LOG_LEVEL_DEBUG, CONTEXT, __VA_ARGS__)

/* For what a peer can provoke: at most 'burst' lines a minute from one call
 * site.  True if the line may be written; '*ret_dropped' is how many were not
 * since the last one.  Any thread. */
struct log_limit {
    uint64_t window_start_ms;
    unsigned n_in_window, n_dropped;
};
bool log_limit_allows(struct log_limit *limit, unsigned burst,
                      unsigned *ret_dropped);

#define log_limited(LEVEL, CONTEXT, ...)                                    \
    do {                                                                    \
        static struct log_limit log_limit_here_;                            \
        unsigned log_dropped_;                                              \
        if (log_limit_allows(&log_limit_here_, 10, &log_dropped_)) {        \
            log_at(LEVEL, CONTEXT, __VA_ARGS__);                            \
            if (log_dropped_) {                                             \
                log_at(LEVEL, CONTEXT, "%u more like this were not logged", \
                       log_dropped_);                                       \
            }                                                               \
        }                                                                   \
    } while (0)

#endif
