#include <config.h>

#include "agent/base/fault.h"

#ifdef ENABLE_FAULT_INJECTION

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct point {
    struct point *next;
    char *name, *action; /* 'action' is null when nothing is asked for. */
    unsigned n_passed;
};

static struct point *points;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct point *point_get(const char *name);
static bool is_known_action(const char *action);
static bool is_due(const struct point *point, const char *what);
static void delay(unsigned ms);

struct error *
fault_hit(const char *name)
{
    unsigned delay_ms = 0;
    bool fail = false;

    pthread_mutex_lock(&mutex);
    struct point *point = point_get(name);
    point->n_passed++;
    if (point->action) {
        if (is_due(point, "crash")) {
            _exit(99); /* As kill -9: nothing is flushed, nothing is told. */
        }
        fail = is_due(point, "error");
        sscanf(point->action, "delay=%u", &delay_ms);
    }
    pthread_mutex_unlock(&mutex);
    if (delay_ms) {
        delay(delay_ms);
    }
    return fail ? error_new(ERR_INTERNAL, "fault '%s' was asked for", name)
                : NULL;
}

struct error *
fault_hit_at(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    AUTO_FREE name = xvasprintf(fmt, args);
    va_end(args);
    return fault_hit(name);
}

void
fault_pass(const char *name)
{
    error_free(fault_hit(name));
}

struct error *
fault_set(const char *name, const char *action)
{
    if (!is_known_action(action)) {
        return error_new(ERR_VALUE, "unknown fault action '%s'", action);
    }
    pthread_mutex_lock(&mutex);
    struct point *point = point_get(name);
    free(point->action);
    point->action = str_eq(action, "off") ? NULL : xstrdup(action);
    point->n_passed = 0;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

void
fault_list(void (*visit)(const char *name, const char *action,
                         unsigned n_passed, void *aux),
           void *aux)
{
    pthread_mutex_lock(&mutex);
    for (struct point *p = points; p; p = p->next) {
        visit(p->name, p->action ? p->action : "off", p->n_passed, aux);
    }
    pthread_mutex_unlock(&mutex);
}

static struct point *
point_get(const char *name)
{
    for (struct point *p = points; p; p = p->next) {
        if (str_eq(p->name, name)) {
            return p;
        }
    }
    struct point *p = xzalloc(sizeof *p);
    p->name = xstrdup(name);
    p->next = points;
    points = p;
    return p;
}

static bool
is_known_action(const char *action)
{
    unsigned n;

    return str_eq(action, "off") || str_eq(action, "error") ||
           str_eq(action, "crash") || sscanf(action, "crash@%u", &n) == 1 ||
           sscanf(action, "error@%u", &n) == 1 ||
           sscanf(action, "delay=%u", &n) == 1;
}

/* "error": each time; "error@3": at the third pass; "crash": at the first. */
static bool
is_due(const struct point *point, const char *what)
{
    size_t size = strlen(what);
    unsigned n;

    return strncmp(point->action, what, size) == 0 &&
           (point->action[size] == '\0' ||
            (sscanf(point->action + size, "@%u", &n) == 1 &&
             point->n_passed == n));
}

static void
delay(unsigned ms)
{
    struct timespec ts = {.tv_sec = ms / 1000,
                          .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&ts, NULL);
}

#else

struct error *
fault_set(const char *name, const char *action UNUSED)
{
    return error_new(ERR_NOT_IMPLEMENTED,
                     "this build has no fault point '%s': configure with "
                     "--enable-fault-injection",
                     name);
}

void
fault_list(void (*visit)(const char *name, const char *action,
                         unsigned n_passed, void *aux) UNUSED,
           void *aux UNUSED)
{
}

#endif
