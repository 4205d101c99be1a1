#include <config.h>

#include "rpc/unconfirmed.h"

#include <string.h>

/* A channel that was not blocked for so long will not be by what is sent
 * first. */
#define TRUST_AFTER_MS 1000

static void take(struct unconfirmed *u, struct message *message,
                 struct message_list *ret);
static bool is_useless(const struct unconfirmed *u, const struct message *,
                       uint64_t now_ms);

void
unconfirmed_open(struct unconfirmed *u, uint64_t now_ms)
{
    u->last_tag = 0;
    u->opened_ms = now_ms;
    u->is_trusted = false;
}

size_t
unconfirmed_room(const struct unconfirmed *u, uint64_t now_ms)
{
    if (!u->is_trusted && now_ms < u->opened_ms + TRUST_AFTER_MS) {
        return u->list.n ? 0 : 1;
    }
    return u->list.n >= UNCONFIRMED_MAX || u->bytes > u->max_bytes
               ? 0
               : UNCONFIRMED_MAX - u->list.n;
}

void
unconfirmed_add(struct unconfirmed *u, struct message *message, uint64_t now_ms)
{
    message->n_sent++;
    message->sent_ms = now_ms;
    message->tag = ++u->last_tag;
    message->returned = false;
    message_list_append(&u->list, message);
    u->bytes += message->size;
}

void
unconfirmed_take(struct unconfirmed *u, uint64_t tag, bool multiple,
                 struct message_list *ret)
{
    struct message *next;

    u->is_trusted = true;
    for (struct message *m = u->list.head; m && m->tag <= tag; m = next) {
        next = m->next;
        if (multiple || m->tag == tag) {
            take(u, m, ret);
        }
    }
}

void
unconfirmed_take_old(struct unconfirmed *u, uint64_t now_ms,
                     struct message_list *ret)
{
    struct message *next;

    for (struct message *m = u->list.head; m; m = next) {
        next = m->next;
        if (is_useless(u, m, now_ms)) {
            take(u, m, ret);
        }
    }
}

void
unconfirmed_take_all(struct unconfirmed *u, struct message_list *ret)
{
    message_list_move(ret, &u->list);
    u->bytes = 0;
}

const struct message *
unconfirmed_return(struct unconfirmed *u, const char *key, const char *body,
                   size_t size)
{
    for (struct message *m = u->list.head; m; m = m->next) {
        if (m->mandatory && !m->returned && m->size == size &&
            str_eq(m->routing_key, key) && !memcmp(m->body, body, size)) {
            m->returned = true;
            return m;
        }
    }
    return NULL;
}

bool
unconfirmed_goes_again(struct message *message, bool refused)
{
    message->n_refused += refused;
    return message->n_refused < UNCONFIRMED_REFUSED_MAX &&
           (message->class != MESSAGE_REQUEST || message->n_sent < 2);
}

static void
take(struct unconfirmed *u, struct message *message, struct message_list *ret)
{
    message_list_remove(&u->list, message);
    u->bytes -= message->size;
    message_list_append(ret, message);
}

static bool
is_useless(const struct unconfirmed *u, const struct message *message,
           uint64_t now_ms)
{
    if (message->deadline_ms && message->deadline_ms <= now_ms) {
        return true;
    }
    return message->class != MESSAGE_FINAL &&
           now_ms - message->sent_ms >= UNCONFIRMED_AGE_MS &&
           !unconfirmed_room(u, now_ms);
}
