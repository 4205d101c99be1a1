#ifndef DROVER_BASE_MEM_H
#define DROVER_BASE_MEM_H

/* Memory and ownership: allocation that cannot fail, scoped cleanup, and
 * steal().
 *
 * Sizes that come from outside are checked before they are allocated; running
 * out of memory ends the daemon, whose journal makes a crash harmless.
 *
 * Threads: any. */

#include <stddef.h>
#include <stdbool.h>
#include <stdarg.h>

#define WARN_UNUSED __attribute__((warn_unused_result))
#define PRINTF_FORMAT(FMT, FIRST) __attribute__((format(printf, FMT, FIRST)))
#define UNUSED __attribute__((unused))

/* All abort when memory runs out; none returns null. */
void *xmalloc(size_t size);
void *xzalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *s);      /* 's' must not be null. */
char *xstrdup_null(const char *s); /* Null gives null. */
char *xstrndup(const char *s, size_t n);
void *xmemdup(const void *p, size_t size);
char *xasprintf(const char *fmt, ...) PRINTF_FORMAT(1, 2);
char *xvasprintf(const char *fmt, va_list args) PRINTF_FORMAT(1, 0);

/* Doubles the room of the array 'p' of '*n_room' elements of 'size' bytes. */
void *xgrow(void *p, size_t *n_room, size_t size);

/* Runs 'FUNC(&variable)' when the variable goes out of scope. */
#define CLEANUP(FUNC) __attribute__((cleanup(FUNC)))

/* Defines FREE_at(), for CLEANUP(), from a function that frees a TYPE. */
#define CLEANUP_FUNC(TYPE, FREE)                  \
    static inline UNUSED void FREE##_at(TYPE **p) \
    {                                             \
        FREE(*p);                                 \
    }

void free_at(void *p); /* 'p' is the address of a pointer. */
#define AUTO_FREE CLEANUP(free_at) char *

/* Gives the pointer's value and leaves null behind: ownership leaves. */
#define steal(PTR)                                  \
    ({                                              \
        __typeof__(PTR) steal_p_ = (PTR);           \
        __typeof__(*steal_p_) steal_v_ = *steal_p_; \
        *steal_p_ = NULL;                           \
        steal_v_;                                   \
    })

/* The struct of TYPE whose MEMBER is at 'PTR'. */
#define container_of(PTR, TYPE, MEMBER) \
    ((TYPE *)(void *)((char *)(PTR)-offsetof(TYPE, MEMBER)))

#define N_ELEMENTS(ARRAY) (sizeof(ARRAY) / sizeof((ARRAY)[0]))

static inline bool
str_eq(const char *a, const char *b)
{
    return a == b || (a && b && __builtin_strcmp(a, b) == 0);
}

#endif
