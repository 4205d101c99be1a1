#include <config.h>

#include "agent/event_waits.h"

#include <stdlib.h>

#include "agent/base/mem.h"

enum word { NOTHING_YET, COMPLETED, FAILED };

struct awaited {
    char *key;
    enum word word;
};

struct event_wait {
    struct event_waits *waits; /* Null: they are gone. */
    struct event_wait *next;
    char *instance;
    struct awaited *events;
    size_t n;
    bool was_told; /* In this round of event_waits_tell(). */
    void (*heard)(void *aux);
    void *aux;
};

struct event_waits {
    struct event_wait *first;
    bool is_closed;
};

static char *key_of(const char *name, const char *tag);
static void hear_all(struct event_waits *waits);
static const char *first_of(const struct event_wait *wait, enum word word);

struct event_waits *
event_waits_create(void)
{
    return xzalloc(sizeof(struct event_waits));
}

void
event_waits_close(struct event_waits *waits)
{
    waits->is_closed = true;
    for (struct event_wait *wait = waits->first; wait; wait = wait->next) {
        for (size_t i = 0; i < wait->n; i++) {
            if (wait->events[i].word == NOTHING_YET) {
                wait->events[i].word = FAILED;
                wait->was_told = true;
            }
        }
    }
    hear_all(waits);
}

void
event_waits_free(struct event_waits *waits)
{
    if (!waits) {
        return;
    }
    for (struct event_wait *wait = waits->first; wait; wait = wait->next) {
        wait->waits = NULL;
    }
    free(waits);
}

struct event_wait *
event_wait_create(struct event_waits *waits, const char *instance,
                  void (*heard)(void *aux), void *aux)
{
    struct event_wait *wait = xzalloc(sizeof *wait);

    wait->waits = waits;
    wait->instance = xstrdup(instance);
    wait->heard = heard;
    wait->aux = aux;
    wait->next = waits->first;
    waits->first = wait;
    return wait;
}

void
event_wait_add(struct event_wait *wait, const char *name, const char *tag)
{
    bool is_lost = !wait->waits || wait->waits->is_closed;

    wait->events = xrealloc(wait->events, (wait->n + 1) * sizeof *wait->events);
    wait->events[wait->n++] = (struct awaited){
        .key = key_of(name, tag),
        .word = is_lost ? FAILED : NOTHING_YET,
    };
}

void
event_wait_free(struct event_wait *wait)
{
    if (!wait) {
        return;
    }
    if (wait->waits) {
        struct event_wait **link = &wait->waits->first;
        while (*link != wait) {
            link = &(*link)->next;
        }
        *link = wait->next;
    }
    for (size_t i = 0; i < wait->n; i++) {
        free(wait->events[i].key);
    }
    free(wait->events);
    free(wait->instance);
    free(wait);
}

size_t
event_wait_n_open(const struct event_wait *wait)
{
    size_t n = 0;

    for (size_t i = 0; i < wait->n; i++) {
        n += wait->events[i].word == NOTHING_YET;
    }
    return n;
}

const char *
event_wait_open(const struct event_wait *wait)
{
    return first_of(wait, NOTHING_YET);
}

const char *
event_wait_failed(const struct event_wait *wait)
{
    return first_of(wait, FAILED);
}

bool
event_waits_tell(struct event_waits *waits, const char *instance,
                 const char *name, const char *tag, bool is_completed)
{
    AUTO_FREE key = key_of(name, tag);
    bool has_waiter = false;

    for (struct event_wait *wait = waits->first; wait; wait = wait->next) {
        for (size_t i = 0; i < wait->n; i++) {
            if (wait->events[i].word == NOTHING_YET &&
                str_eq(wait->instance, instance) &&
                str_eq(wait->events[i].key, key)) {
                wait->events[i].word = is_completed ? COMPLETED : FAILED;
                wait->was_told = true;
                has_waiter = true;
            }
        }
    }
    hear_all(waits);
    return has_waiter;
}

/* As Nova writes them. */
static char *
key_of(const char *name, const char *tag)
{
    return tag ? xasprintf("%s-%s", name, tag) : xstrdup(name);
}

/* Each may free itself, and others. */
static void
hear_all(struct event_waits *waits)
{
    struct event_wait *wait = waits->first;

    while (wait) {
        if (wait->was_told) {
            wait->was_told = false;
            wait->heard(wait->aux);
            wait = waits->first;
        } else {
            wait = wait->next;
        }
    }
}

static const char *
first_of(const struct event_wait *wait, enum word word)
{
    for (size_t i = 0; i < wait->n; i++) {
        if (wait->events[i].word == word) {
            return wait->events[i].key;
        }
    }
    return NULL;
}
