#include <config.h>

#include "agent/base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *
checked(void *p)
{
    if (!p) {
        fputs("drover: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *
xmalloc(size_t size)
{
    return checked(malloc(size ? size : 1));
}

void *
xzalloc(size_t size)
{
    return xcalloc(1, size);
}

void *
xcalloc(size_t n, size_t size)
{
    return checked(calloc(n ? n : 1, size ? size : 1));
}

void *
xrealloc(void *p, size_t size)
{
    return checked(realloc(p, size ? size : 1));
}

char *
xstrdup(const char *s)
{
    return checked(strdup(s));
}

char *
xstrdup_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

char *
xstrndup(const char *s, size_t n)
{
    return checked(strndup(s, n));
}

void *
xmemdup(const void *p, size_t size)
{
    void *copy = xmalloc(size);

    return size ? memcpy(copy, p, size) : copy;
}

char *
xvasprintf(const char *fmt, va_list args)
{
    char *s = NULL;

    if (vasprintf(&s, fmt, args) < 0) {
        s = NULL;
    }
    return checked(s);
}

char *
xasprintf(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    char *s = xvasprintf(fmt, args);
    va_end(args);
    return s;
}

void *
xgrow(void *p, size_t *n_room, size_t size)
{
    size_t n = *n_room ? *n_room * 2 : 8;

    if (n > SIZE_MAX / size) {
        checked(NULL);
    }
    *n_room = n;
    return xrealloc(p, n * size);
}

void
free_at(void *p)
{
    free(*(void **)p);
}
