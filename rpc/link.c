#include <config.h>

#include "rpc/link.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/worker.h"
#include "rpc/link_internal.h"

#define TICK_MAX_MS 90000

/* Each end of a link has a thread; see rpc/link_internal.h. */
struct link {
    struct completion_queue *q;
    struct link_settings settings;
    struct mismatches mismatches;
    struct link_thread consumer, publisher;
    struct transport transport;
    struct wakes *wakes; /* Owned by the queue; null: none is put off. */
    bool is_up, is_closing;
    uv_timer_t *grace; /* Null: the publisher has none. */
    void (*closed)(void *aux);
    void *closed_aux;
};

/* What the threads post; the first member is what the queue knows. */
struct deliveries {
    struct completion completion;
    struct link *link;
    struct inbound *first;
};

struct settled {
    struct completion completion;
    struct link *link;
    struct message_list list;
};

struct wakes {
    struct completion completion;
    struct link *link; /* Null: it is gone. */
};

struct state_change {
    struct completion completion;
    struct link *link;
};

static int64_t since(const struct thread_status *,
                     const struct thread_status *);
static void add_status(struct link_status *, const struct thread_status *);
static void start_thread(struct link_thread *, void (*run)(void *));
static void close_thread(struct link *, struct link_thread *, unsigned grace_ms,
                         void (*done)(void *));
static void interrupt_later(struct link *, unsigned ms);
static void grace_is_over(uv_timer_t *);
static void timer_closed(uv_handle_t *);
static bool has_mail(struct link_thread *);
static void publisher_ended(void *aux);
static void consumer_ended(void *aux);
static void drop_left(struct link *);
static void join(struct link_thread *);
static struct command *command_create(enum command_type);
static void command_deliver(struct completion *);
static void deliveries_deliver(struct completion *);
static void defer_wakes(struct link *);
static void wakes_deliver(struct completion *);
static void deliver(struct link *, const struct inbound *);
static void settled_deliver(struct completion *);
static void state_deliver(struct completion *);
static void deaf_deliver(struct completion *);
static void transport_publish(void *state, struct message *);
static void transport_settle(void *state, uint64_t tag, enum transport_settle);
static void transport_count(void *state, const char *topic,
                            void (*done)(void *aux, int n), void *aux);

static const struct transport_ops transport_ops = {
    .publish = transport_publish,
    .settle = transport_settle,
    .count_servers = transport_count,
};

struct error *
link_check_server(const char *server)
{
    if (!*server || strpbrk(server, "*#") || strlen(server) > 200) {
        return error_new(ERR_CONFIG,
                         "host name '%.200s' cannot be an address on the bus",
                         server);
    }
    return NULL;
}

struct link *
link_create(struct completion_queue *q, const struct link_options *options)
{
    struct link *link = xzalloc(sizeof *link);

    link->q = q;
    link_settings_init(&link->settings, options);
    link_thread_init(&link->consumer, link, &link->settings, q, "consume");
    link_thread_init(&link->publisher, link, &link->settings, q, "publish");
    uv_mutex_init(&link->mismatches.mutex);
    link->consumer.owner.mismatches = &link->mismatches;
    link->publisher.owner.mismatches = &link->mismatches;
    link->transport = (struct transport){
        .ops = &transport_ops,
        .state = link,
        .reply_queue = link->settings.reply_queue,
        .is_deaf = true,
    };
    return link;
}

void
link_start(struct link *link)
{
    start_thread(&link->consumer, link_consumer_run);
    start_thread(&link->publisher, link_publisher_run);
}

void
link_consume(struct link *link)
{
    link_thread_tell(&link->consumer, command_create(COMMAND_CONSUME));
}

void
link_cancel(struct link *link, void (*done)(void *aux), void *aux)
{
    struct command *command = command_create(COMMAND_CANCEL);

    command->done = done;
    command->aux = aux;
    /* If it is only about to connect, it has nothing to cancel. */
    interrupt_raise(&link->consumer.owner.interrupt);
    link_thread_tell(&link->consumer, command);
}

/* The publisher first: it may wait for confirms, and meanwhile acknowledgements
 * must still get out. */
void
link_close(struct link *link, unsigned grace_ms, void (*closed)(void *aux),
           void *aux)
{
    link->is_closing = true;
    link->closed = closed;
    link->closed_aux = aux;
    /* What the consumer would connect for is over; the publisher may have
     * something to send. */
    interrupt_raise(&link->consumer.owner.interrupt);
    interrupt_later(link, has_mail(&link->publisher) ? grace_ms : 0);
    close_thread(link, &link->publisher, grace_ms, publisher_ended);
}

struct transport *
link_transport(struct link *link)
{
    return &link->transport;
}

struct link_status
link_status(struct link *link)
{
    struct link_status status = {0};
    struct link_thread *c = &link->consumer, *p = &link->publisher;

    uv_mutex_lock(&c->mutex);
    status.consuming = c->status.up;
    status.n_heard = c->status.n_heard;
    memcpy(status.broker, c->status.broker, sizeof status.broker);
    add_status(&status, &c->status);

    uv_mutex_lock(&p->mutex);
    status.is_up = c->status.up && p->status.up;
    status.since_us = since(&c->status, &p->status);
    status.publishing = p->status.up;
    status.blocked = p->status.blocked;
    status.blocked_us = p->status.blocked_us;
    memcpy(status.blocked_reason, p->status.blocked_reason,
           sizeof status.blocked_reason);
    add_status(&status, &p->status);
    status.n_queued = p->outbox.n;
    status.n_queued_bytes = p->outbox.bytes;
    status.n_unconfirmed = p->status.n_unconfirmed;
    uv_mutex_unlock(&p->mutex);
    uv_mutex_unlock(&c->mutex);
    return status;
}

void
link_repair(struct link *link, enum link_repair how)
{
    enum command_type type =
        how == LINK_REDECLARE ? COMMAND_REDECLARE : COMMAND_RECONNECT;

    if (link->is_closing) {
        return;
    }
    link_thread_count(&link->consumer, &link->consumer.status.count.n_repairs,
                      1);
    link_thread_tell(&link->consumer, command_create(type));
    link_thread_tell(&link->publisher, command_create(type));
}

/* A thread also rests while it connects, which takes a while by itself. */
bool
link_threads_ticked(struct link *link)
{
    uint64_t now_ms = clock_now_ms();
    const struct link_thread *threads[] = {&link->consumer, &link->publisher};

    for (size_t i = 0; i < N_ELEMENTS(threads); i++) {
        uint64_t tick_ms =
            __atomic_load_n(&threads[i]->tick_ms, __ATOMIC_RELAXED);
        if (threads[i]->running && now_ms > tick_ms + TICK_MAX_MS) {
            return false;
        }
    }
    return true;
}

void
link_post_deliveries(struct link_thread *thread, struct inbound *first)
{
    struct deliveries *d = xzalloc(sizeof *d);

    d->completion.deliver = deliveries_deliver;
    d->link = thread->link;
    d->first = first;
    completion_post(thread->q, &d->completion);
}

void
link_post_settled(struct link_thread *thread, struct message_list *list)
{
    struct settled *s = xzalloc(sizeof *s);

    s->completion.deliver = settled_deliver;
    s->link = thread->link;
    message_list_move(&s->list, list);
    completion_post(thread->q, &s->completion);
}

void
link_post_state(struct link_thread *thread)
{
    struct state_change *change = xzalloc(sizeof *change);

    change->completion.deliver = state_deliver;
    change->link = thread->link;
    completion_post(thread->q, &change->completion);
}

void
link_post_deaf(struct link_thread *thread)
{
    struct state_change *change = xzalloc(sizeof *change);

    change->completion.deliver = deaf_deliver;
    change->link = thread->link;
    completion_post(thread->q, &change->completion);
}

void
link_post_command(struct link_thread *thread, struct command *command)
{
    completion_post(thread->q, &command->completion);
}

/* Up since both are, down since either is not. */
static int64_t
since(const struct thread_status *a, const struct thread_status *b)
{
    bool a_is_later = a->since_us > b->since_us;

    if (a->up != b->up) {
        return a->up ? b->since_us : a->since_us;
    }
    return a->up == a_is_later ? a->since_us : b->since_us;
}

/* The error is the later one. */
static void
add_status(struct link_status *to, const struct thread_status *from)
{
#define LINK_COUNTER(NAME) to->count.NAME += from->count.NAME;
    LINK_COUNTERS
#undef LINK_COUNTER
    if (to->last_error_us < from->last_error_us) {
        to->last_error_us = from->last_error_us;
        memcpy(to->last_error, from->last_error, sizeof to->last_error);
    }
}

static void
start_thread(struct link_thread *thread, void (*run)(void *))
{
    thread->running = true;
    worker_thread_start(&thread->thread, thread->role, run, thread);
}

static void
close_thread(struct link *link, struct link_thread *thread, unsigned grace_ms,
             void (*done)(void *))
{
    struct command *command = command_create(COMMAND_CLOSE);

    command->grace_ms = grace_ms;
    command->done = done;
    command->aux = link;
    if (thread->running) {
        link_thread_tell(thread, command);
    } else {
        completion_post(link->q, &command->completion);
    }
}

/* Unless it has something to send, or until it has had time for that. */
static void
interrupt_later(struct link *link, unsigned ms)
{
    if (!ms) {
        interrupt_raise(&link->publisher.owner.interrupt);
        return;
    }
    link->grace = xzalloc(sizeof *link->grace);
    uv_timer_init(completion_queue_loop(link->q), link->grace);
    link->grace->data = link;
    uv_timer_start(link->grace, grace_is_over, ms, 0);
}

static void
grace_is_over(uv_timer_t *timer)
{
    struct link *link = timer->data;

    interrupt_raise(&link->publisher.owner.interrupt);
}

static void
timer_closed(uv_handle_t *handle)
{
    free(handle);
}

static bool
has_mail(struct link_thread *thread)
{
    uv_mutex_lock(&thread->mutex);
    bool has = thread->outbox.n > 0 || thread->status.n_unconfirmed > 0;
    uv_mutex_unlock(&thread->mutex);
    return has;
}

static void
publisher_ended(void *aux)
{
    struct link *link = aux;

    if (link->grace) {
        uv_close((uv_handle_t *)steal(&link->grace), timer_closed);
    }
    join(&link->publisher);
    close_thread(link, &link->consumer, 0, consumer_ended);
}

static void
consumer_ended(void *aux)
{
    struct link *link = aux;

    join(&link->consumer);
    drop_left(link);
    if (link->wakes) {
        link->wakes->link = NULL;
    }
    /* Whoever listens to the transport lets go of it in there. */
    link->closed(link->closed_aux);
    drop_left(link);
    link_thread_close(&link->consumer);
    link_thread_close(&link->publisher);
    uv_mutex_destroy(&link->mismatches.mutex);
    names_clear(&link->mismatches.names);
    link_settings_close(&link->settings);
    free(link);
}

/* What no thread will take any more. */
static void
drop_left(struct link *link)
{
    struct message_list left = {0};
    struct message *message;

    while ((message = outbox_pop(&link->publisher.outbox))) {
        message_list_append(&left, message);
    }
    while ((message = message_list_pop(&left))) {
        message_settle(message, PUBLISH_DROPPED);
    }
    while (link->consumer.commands) {
        struct command *command = link->consumer.commands;

        link->consumer.commands = command->next;
        command->n = -1;
        command->completion.deliver(&command->completion);
    }
    link->consumer.commands_tail = &link->consumer.commands;
}

/* It has posted its last completion and is about to end. */
static void
join(struct link_thread *thread)
{
    if (thread->running) {
        uv_thread_join(&thread->thread);
        thread->running = false;
    }
}

static struct command *
command_create(enum command_type type)
{
    struct command *command = xzalloc(sizeof *command);

    command->completion.deliver = command_deliver;
    command->type = type;
    return command;
}

static void
command_deliver(struct completion *completion)
{
    struct command *command =
        container_of(completion, struct command, completion);

    if (command->counted) {
        command->counted(command->aux, command->n);
    }
    if (command->done) {
        command->done(command->aux);
    }
    free(command->queue);
    free(command);
}

static void
deliveries_deliver(struct completion *completion)
{
    struct deliveries *d =
        container_of(completion, struct deliveries, completion);
    struct link *link = d->link;
    struct inbound *next;

    /* The answer to a single one goes while the loop still tidies up. */
    if (d->first->next || !completion_is_last(link->q)) {
        defer_wakes(link);
    }
    for (struct inbound *in = d->first; in; in = next) {
        bool is_kept = false;

        next = in->next;
        in->block.is_kept = &is_kept;
        deliver(link, in);
        if (!is_kept) {
            in->block.release(&in->block);
        }
    }
    free(d);
}

/* One for all that this round of the loop has for a thread: each goes to the
 * broker in one piece, and the loop is not interrupted meanwhile. */
static void
defer_wakes(struct link *link)
{
    if (link->wakes) {
        return;
    }
    link->wakes = xzalloc(sizeof *link->wakes);
    link->wakes->completion.deliver = wakes_deliver;
    link->wakes->link = link;
    link_thread_defer(&link->publisher, true);
    link_thread_defer(&link->consumer, true);
    completion_at_end(link->q, &link->wakes->completion);
}

static void
wakes_deliver(struct completion *completion)
{
    struct wakes *wakes = container_of(completion, struct wakes, completion);
    struct link *link = wakes->link;

    free(wakes);
    if (link) {
        link->wakes = NULL;
        link_thread_defer(&link->publisher, false);
        link_thread_defer(&link->consumer, false);
    }
}

static void
deliver(struct link *link, const struct inbound *in)
{
    bool is_request = !in->is_reply && !in->is_heard;
    const struct transport_events *to =
        in->is_reply ? &link->transport.client : &link->transport.server;

    if (in->is_reply && to->reply) {
        to->reply(to->aux, &in->delivery);
    } else if (in->is_heard && to->heard) {
        to->heard(to->aux, &in->delivery);
    } else if (is_request && to->request) {
        to->request(to->aux, &in->delivery);
    } else if (is_request) {
        transport_settle(link, in->delivery.tag, TRANSPORT_REQUEUE);
    }
}

static void
settled_deliver(struct completion *completion)
{
    struct settled *s = container_of(completion, struct settled, completion);
    struct message *message;

    while ((message = message_list_pop(&s->list))) {
        message_settle(message, message->outcome);
    }
    free(s);
}

static void
state_deliver(struct completion *completion)
{
    struct state_change *change =
        container_of(completion, struct state_change, completion);
    struct link *link = change->link;
    struct link_status status = link_status(link);
    bool is_up = status.consuming && status.publishing && !status.blocked;

    free(change);
    link->transport.is_deaf = !status.consuming;
    if (is_up == link->is_up) {
        return;
    }
    link->is_up = is_up;
    const struct transport_events *to[] = {&link->transport.server,
                                           &link->transport.client};
    for (size_t i = 0; i < N_ELEMENTS(to); i++) {
        if (to[i]->state) {
            to[i]->state(to[i]->aux, is_up);
        }
    }
}

static void
deaf_deliver(struct completion *completion)
{
    struct state_change *change =
        container_of(completion, struct state_change, completion);
    struct link_thread *consumer = &change->link->consumer;

    link_thread_count(consumer, &consumer->status.count.n_deaf, 1);
    link_thread_tell(consumer, command_create(COMMAND_REDECLARE));
    free(change);
}

static void
transport_publish(void *state, struct message *message)
{
    struct link *link = state;
    struct message_list dropped = {0};
    struct message *each;

    link_thread_publish(&link->publisher, message, &dropped);
    for (each = dropped.head; each; each = each->next) {
        each->outcome = PUBLISH_DROPPED;
    }
    if (dropped.head) {
        /* Not from within the call: the caller may be in the middle of it. */
        link_post_settled(&link->publisher, &dropped);
    }
}

static void
transport_settle(void *state, uint64_t tag, enum transport_settle how)
{
    struct link *link = state;

    link_thread_settle(&link->consumer, tag, how);
}

static void
transport_count(void *state, const char *topic, void (*done)(void *aux, int n),
                void *aux)
{
    struct link *link = state;
    struct command *command = command_create(COMMAND_COUNT);

    command->queue = xstrdup(topic);
    command->counted = done;
    command->aux = aux;
    link_thread_tell(&link->consumer, command);
}
