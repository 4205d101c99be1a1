#include <config.h>

#include "rpc/outbox.h"

/* What a message costs beside its body. */
#define OVERHEAD (sizeof(struct message) + 64)

static void account(struct outbox *box, struct message *message);
static void make_room(struct outbox *box, struct message_list *dropped);
static struct message *take(struct outbox *box, struct message_list *list,
                            struct message *message);

void
outbox_push(struct outbox *box, struct message *message,
            struct message_list *dropped)
{
    message->number = ++box->n_numbered;
    message_list_append(&box->lists[message->class], message);
    account(box, message);
    make_room(box, dropped);
}

void
outbox_put_back(struct outbox *box, struct message *message,
                struct message_list *dropped)
{
    message_list_insert(&box->lists[message->class], message);
    account(box, message);
    make_room(box, dropped);
}

struct message *
outbox_pop(struct outbox *box)
{
    struct message_list *first = NULL;

    for (size_t i = 0; i < N_ELEMENTS(box->lists); i++) {
        struct message_list *list = &box->lists[i];

        if (list->head &&
            (!first || list->head->number < first->head->number)) {
            first = list;
        }
    }
    return first ? take(box, first, first->head) : NULL;
}

void
outbox_expire(struct outbox *box, uint64_t now_ms, struct message_list *expired)
{
    for (size_t i = 0; i < N_ELEMENTS(box->lists); i++) {
        struct message *next;

        for (struct message *m = box->lists[i].head; m; m = next) {
            next = m->next;
            if (m->deadline_ms && m->deadline_ms <= now_ms) {
                message_list_append(expired, take(box, &box->lists[i], m));
            }
        }
    }
}

static void
account(struct outbox *box, struct message *message)
{
    box->n++;
    box->bytes += message->size + OVERHEAD;
}

static void
make_room(struct outbox *box, struct message_list *dropped)
{
    for (int class = 0; class < MESSAGE_FINAL; class ++) {
        struct message_list *list = &box->lists[class];

        while (list->head && box->bytes > box->max_bytes) {
            message_list_append(dropped, take(box, list, list->head));
        }
    }
}

static struct message *
take(struct outbox *box, struct message_list *list, struct message *message)
{
    message_list_remove(list, message);
    box->n--;
    box->bytes -= message->size + OVERHEAD;
    return message;
}
