#include <config.h>

#include "agent/instance_queue.h"

#include <assert.h>
#include <stdlib.h>

#include "agent/base/mem.h"

struct turn {
    struct turn *next;
    void (*start)(void *aux);
    void *aux;
};

/* One instance for which something waits or works. */
struct line {
    struct line *next; /* In its bucket. */
    char *uuid;
    struct turn *head, **tail; /* Who waits. */
    unsigned n_waiting;
    bool is_taken;    /* Somebody's turn lasts. */
    bool is_starting; /* line_advance() is at work further up the stack. */
};

#define N_BUCKETS 256 /* A power of 2. */

struct instance_queue {
    struct line *buckets[N_BUCKETS];
};

static struct line **bucket_of(struct instance_queue *, const char *uuid);
static struct line *line_find(const struct instance_queue *, const char *uuid);
static struct line *line_create(struct instance_queue *, const char *uuid);
static void line_advance(struct instance_queue *, struct line *);
static void line_free(struct line *);

struct instance_queue *
instance_queue_create(void)
{
    return xzalloc(sizeof(struct instance_queue));
}

void
instance_queue_free(struct instance_queue *queue)
{
    if (!queue) {
        return;
    }
    for (size_t i = 0; i < N_BUCKETS; i++) {
        for (struct line *line = queue->buckets[i], *next; line; line = next) {
            next = line->next;
            line_free(line);
        }
    }
    free(queue);
}

bool
instance_queue_is_full(const struct instance_queue *queue, const char *uuid)
{
    const struct line *line = line_find(queue, uuid);

    return line && line->n_waiting >= INSTANCE_QUEUE_MAX;
}

void
instance_queue_enter(struct instance_queue *queue, const char *uuid,
                     void (*start)(void *aux), void *aux)
{
    struct line *line = line_find(queue, uuid);
    struct turn *turn = xzalloc(sizeof *turn);

    if (!line) {
        line = line_create(queue, uuid);
    }
    turn->start = start;
    turn->aux = aux;
    *line->tail = turn;
    line->tail = &turn->next;
    line->n_waiting++;
    line_advance(queue, line);
}

void
instance_queue_leave(struct instance_queue *queue, const char *uuid)
{
    struct line *line = line_find(queue, uuid);

    assert(line && line->is_taken);
    line->is_taken = false;
    line_advance(queue, line);
}

unsigned
instance_queue_length(const struct instance_queue *queue, const char *uuid)
{
    const struct line *line = line_find(queue, uuid);

    return line ? line->n_waiting + line->is_taken : 0;
}

static struct line **
bucket_of(struct instance_queue *queue, const char *uuid)
{
    unsigned hash = 0;

    for (const char *c = uuid; *c; c++) {
        hash = hash * 31 + (unsigned char)*c;
    }
    return &queue->buckets[hash & (N_BUCKETS - 1)];
}

static struct line *
line_find(const struct instance_queue *queue, const char *uuid)
{
    struct line *line = *bucket_of((struct instance_queue *)queue, uuid);

    while (line && !str_eq(line->uuid, uuid)) {
        line = line->next;
    }
    return line;
}

static struct line *
line_create(struct instance_queue *queue, const char *uuid)
{
    struct line *line = xzalloc(sizeof *line);

    line->uuid = xstrdup(uuid);
    line->tail = &line->head;
    struct line **bucket = bucket_of(queue, uuid);
    line->next = *bucket;
    *bucket = line;
    return line;
}

/* Starts who is next.  Work that is over at once leaves within its own start:
 * then this loop, and not a call within a call, starts the one after it. */
static void
line_advance(struct instance_queue *queue, struct line *line)
{
    if (line->is_starting) {
        return;
    }
    line->is_starting = true;
    while (line->head && !line->is_taken) {
        struct turn turn = *line->head;

        free(line->head);
        line->head = turn.next;
        if (!line->head) {
            line->tail = &line->head;
        }
        line->n_waiting--;
        line->is_taken = true;
        turn.start(turn.aux);
    }
    line->is_starting = false;
    if (!line->is_taken) {
        struct line **link = bucket_of(queue, line->uuid);

        while (*link != line) {
            link = &(*link)->next;
        }
        *link = line->next;
        line_free(line);
    }
}

static void
line_free(struct line *line)
{
    for (struct turn *turn = line->head, *next; turn; turn = next) {
        next = turn->next;
        free(turn);
    }
    free(line->uuid);
    free(line);
}
