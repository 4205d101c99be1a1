#ifndef DROVER_AGENT_RECORDS_ANSWER_H
#define DROVER_AGENT_RECORDS_ANSWER_H

/* An answer of agent/records.h on its way: never before the call returned.
 * It holds nothing of the records', which may go meanwhile.
 *
 * Threads: the loop. */

#include "agent/base/completion.h"
#include "agent/records.h"

/* Fill in one of the 'done', and what it is to get. */
struct records_answer {
    struct completion completion; /* First: it is posted. */
    records_object_done *object_done;
    records_list_done *list_done;
    records_done *done;
    void *aux;
    struct error *error;
    struct object *object;
    struct object **objects;
    size_t n;
};

struct records_answer *records_answer_create(void *aux);

/* Gives it later. */
void records_answer_post(struct records_answer *answer,
                         struct completion_queue *q);

/* Gives it now, with 'error' (taken); after one, no object. */
void records_answer_give(struct records_answer *answer, struct error *error);

#endif
