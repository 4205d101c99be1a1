#include <config.h>

#include "rpc/message.h"

#include <stdlib.h>

struct message *
message_create(enum message_class class, const char *exchange,
               const char *routing_key, char *body, size_t size)
{
    struct message *message = xzalloc(sizeof *message);

    message->class = class;
    message->exchange = xstrdup(exchange);
    message->routing_key = xstrdup(routing_key);
    message->body = body;
    message->size = size;
    return message;
}

void
message_free(struct message *message)
{
    if (message) {
        free(message->exchange);
        free(message->routing_key);
        free(message->body);
        free(message);
    }
}

void
message_settle(struct message *message, enum publish_outcome outcome)
{
    if (message->settled) {
        message->settled(message, outcome);
    }
    message_free(message);
}

void
message_list_append(struct message_list *list, struct message *message)
{
    message->next = NULL;
    message->prev = list->tail;
    *(list->tail ? &list->tail->next : &list->head) = message;
    list->tail = message;
    list->n++;
}

void
message_list_insert(struct message_list *list, struct message *message)
{
    struct message *after = list->head;

    while (after && after->number < message->number) {
        after = after->next;
    }
    if (!after) {
        message_list_append(list, message);
        return;
    }
    message->next = after;
    message->prev = after->prev;
    *(after->prev ? &after->prev->next : &list->head) = message;
    after->prev = message;
    list->n++;
}

void
message_list_remove(struct message_list *list, struct message *message)
{
    *(message->prev ? &message->prev->next : &list->head) = message->next;
    *(message->next ? &message->next->prev : &list->tail) = message->prev;
    message->next = message->prev = NULL;
    list->n--;
}

struct message *
message_list_pop(struct message_list *list)
{
    struct message *message = list->head;

    if (message) {
        message_list_remove(list, message);
    }
    return message;
}

void
message_list_move(struct message_list *to, struct message_list *from)
{
    if (!from->head) {
        return;
    }
    from->head->prev = to->tail;
    *(to->tail ? &to->tail->next : &to->head) = from->head;
    to->tail = from->tail;
    to->n += from->n;
    *from = (struct message_list){0};
}
