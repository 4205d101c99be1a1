#include <config.h>

#include "agent/records_answer.h"

#include <stdlib.h>

static void answer_deliver(struct completion *);

struct records_answer *
records_answer_create(void *aux)
{
    struct records_answer *answer = xzalloc(sizeof *answer);

    answer->completion.deliver = answer_deliver;
    answer->aux = aux;
    return answer;
}

void
records_answer_post(struct records_answer *answer, struct completion_queue *q)
{
    completion_post(q, &answer->completion);
}

void
records_answer_give(struct records_answer *answer, struct error *error)
{
    if (error) {
        object_free(steal(&answer->object));
        answer->error = error;
    }
    answer_deliver(&answer->completion);
}

static void
answer_deliver(struct completion *c)
{
    struct records_answer *a =
        container_of(c, struct records_answer, completion);

    if (a->object_done) {
        a->object_done(a->aux, a->error, a->object);
    } else if (a->list_done) {
        a->list_done(a->aux, a->error, a->objects, a->n);
    } else {
        a->done(a->aux, a->error);
    }
    free(a);
}
