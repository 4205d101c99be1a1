#include <config.h>

#include "rpc/link_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

LOG_MODULE(link_thread);

/* So much mail does not have to wait for more. */
#define DEFERRED_MAX 16

#define REST_MIN_MS 100

/* Received and not yet dealt with, besides the message that goes beyond it: so
 * much is between a connection and the loop. */
#define INFLOW_BYTES (32u << 20)
#define INFLOW_N 1024

static uint32_t random_number(void *aux);
static void unlock_and_wake(struct link_thread *thread);
static void connected(struct link_thread *, const struct transport_host *);
static void count_dropped(struct link_thread *, const struct message_list *);

void
link_thread_init(struct link_thread *thread, struct link *link,
                 const struct link_settings *settings,
                 struct completion_queue *q, const char *role)
{
    *thread = (struct link_thread){
        .link = link,
        .settings = settings,
        .q = q,
        .role = role,
        .wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
        .tick_ms = clock_now_ms(),
        .status = {.since_us = clock_wall_us()},
        .outbox = {.max_bytes = settings->o.max_queue_bytes},
    };
    if (thread->wakeup < 0) {
        abort(); /* Out of descriptors at start: nothing would work. */
    }
    uv_mutex_init(&thread->mutex);
    interrupt_init(&thread->owner.interrupt);
    thread->owner.inflow = inflow_create(INFLOW_BYTES, INFLOW_N);
    thread->commands_tail = &thread->commands;
}

void
link_thread_close(struct link_thread *thread)
{
    close(thread->wakeup);
    uv_mutex_destroy(&thread->mutex);
    interrupt_close(&thread->owner.interrupt);
    inflow_unref(thread->owner.inflow);
    free(thread->settles);
}

void
link_thread_tell(struct link_thread *thread, struct command *command)
{
    uv_mutex_lock(&thread->mutex);
    command->next = NULL;
    *thread->commands_tail = command;
    thread->commands_tail = &command->next;
    unlock_and_wake(thread);
}

void
link_thread_settle(struct link_thread *thread, uint64_t tag,
                   enum transport_settle how)
{
    uv_mutex_lock(&thread->mutex);
    if (thread->n_settles == thread->room_settles) {
        thread->settles = xgrow(thread->settles, &thread->room_settles,
                                sizeof *thread->settles);
    }
    thread->settles[thread->n_settles++] = (struct settle){tag, how};
    unlock_and_wake(thread);
}

void
link_thread_publish(struct link_thread *thread, struct message *message,
                    struct message_list *dropped)
{
    uv_mutex_lock(&thread->mutex);
    outbox_push(&thread->outbox, message, dropped);
    count_dropped(thread, dropped);
    unlock_and_wake(thread);
}

void
link_thread_defer(struct link_thread *thread, bool defers)
{
    thread->defers = defers;
    if (!defers && thread->n_deferred) {
        uv_mutex_lock(&thread->mutex);
        unlock_and_wake(thread);
    }
}

struct mail
link_thread_take(struct link_thread *thread)
{
    uv_mutex_lock(&thread->mutex);
    struct mail mail = {
        .commands = steal(&thread->commands),
        .settles = steal(&thread->settles),
        .n_settles = thread->n_settles,
    };
    thread->commands_tail = &thread->commands;
    thread->n_settles = thread->room_settles = 0;
    thread->woken = false;
    uv_mutex_unlock(&thread->mutex);
    return mail;
}

void
link_thread_wait(struct link_thread *thread, int fd, short events,
                 uint64_t timeout_ms)
{
    struct pollfd fds[] = {
        {.fd = thread->wakeup, .events = POLLIN},
        {.fd = fd, .events = events},
    };
    uint64_t n;

    __atomic_store_n(&thread->tick_ms, clock_now_ms(), __ATOMIC_RELAXED);
    if (poll(fds, 2, timeout_ms < 60000 ? (int)timeout_ms : 60000) < 0 &&
        errno != EINTR) {
        log_limited(LOG_LEVEL_ERROR, NULL, "poll failed, errno %d", errno);
    }
    if (fds[0].revents && read(thread->wakeup, &n, sizeof n) < 0 &&
        errno != EAGAIN) {
        log_limited(LOG_LEVEL_ERROR, NULL, "eventfd failed, errno %d", errno);
    }
}

uint64_t
link_thread_rest_ms(const struct link_thread *thread, const struct conn *conn)
{
    const struct link_options *o = &thread->settings->o;
    unsigned rate = o->heartbeat_rate > 2 ? o->heartbeat_rate : 2;
    unsigned rest_ms =
        o->heartbeat_s ? o->heartbeat_s * 1000 / rate / 2 : 15000;

    uint64_t heartbeat_in_ms = conn_heartbeat_in_ms(conn);

    if (conn_has_more(conn)) {
        return 0;
    }
    if (rest_ms < REST_MIN_MS) {
        rest_ms = REST_MIN_MS;
    }
    return heartbeat_in_ms < rest_ms ? heartbeat_in_ms : rest_ms;
}

void
link_thread_report(struct link_thread *thread, bool up,
                   const char *blocked_reason)
{
    struct thread_status *status = &thread->status;
    bool blocked = blocked_reason;

    uv_mutex_lock(&thread->mutex);
    bool up_changed = status->up != up;
    bool blocked_changed = status->blocked != blocked;
    if (up_changed) {
        status->up = up;
        status->since_us = clock_wall_us();
    }
    if (blocked_changed) {
        status->blocked = blocked;
        status->blocked_us = blocked ? clock_wall_us() : 0;
        status->count.n_blocks += blocked;
        snprintf(status->blocked_reason, sizeof status->blocked_reason, "%s",
                 blocked ? blocked_reason : "");
    }
    uv_mutex_unlock(&thread->mutex);
    if (up_changed || blocked_changed) {
        link_post_state(thread);
    }
}

void
link_thread_failed(struct link_thread *thread, struct error *error)
{
    log_limited(LOG_LEVEL_WARN, NULL, "%s: %s", thread->role,
                error_message(error));
    uv_mutex_lock(&thread->mutex);
    snprintf(thread->status.last_error, sizeof thread->status.last_error, "%s",
             error_message(error));
    thread->status.last_error_us = clock_wall_us();
    uv_mutex_unlock(&thread->mutex);
    error_free(error);
}

void
link_thread_lost(struct link_thread *thread, const struct conn *conn,
                 struct error *error)
{
    uv_mutex_lock(&thread->mutex);
    thread->status.count.n_disconnects++;
    thread->status.count.n_closed += conn->is_closed;
    thread->status.count.n_silent += conn->is_silent;
    uv_mutex_unlock(&thread->mutex);
    link_thread_failed(thread, error);
    link_thread_report(thread, false, NULL);
}

void
link_thread_count(struct link_thread *thread, uint64_t *counter, uint64_t n)
{
    uv_mutex_lock(&thread->mutex);
    *counter += n;
    uv_mutex_unlock(&thread->mutex);
}

void
link_thread_count_dropped(struct link_thread *thread,
                          const struct message_list *dropped)
{
    uv_mutex_lock(&thread->mutex);
    count_dropped(thread, dropped);
    uv_mutex_unlock(&thread->mutex);
}

struct reconnect *
link_thread_reconnect(struct link_thread *thread)
{
    const struct link_options *o = &thread->settings->o;
    const struct reconnect_options options = {
        .n_hosts = o->url->n_hosts,
        .base_ms = o->reconnect_base_ms,
        .backoff_ms = o->reconnect_backoff_ms,
        .max_ms = o->reconnect_max_ms,
        .delay_ms = o->reconnect_delay_ms,
        .splay_ms = o->reconnect_splay_ms,
        .shuffle = o->shuffle,
        .random = random_number,
    };

    return reconnect_create(&options, clock_now_ms());
}

struct conn *
link_thread_connect(struct link_thread *thread, struct reconnect *reconnect)
{
    uint64_t now_ms = clock_now_ms();
    const struct transport_url *url = thread->settings->o.url;
    struct conn *conn = NULL;
    size_t i;

    if (reconnect_run(reconnect, now_ms, &i) != RECONNECT_CONNECT) {
        uint64_t due_ms = reconnect_due_ms(reconnect);
        uint64_t wait_ms = due_ms > now_ms ? due_ms - now_ms : 0;

        /* What waits to be sent may grow too old meanwhile. */
        link_thread_wait(thread, -1, 0, wait_ms < 500 ? wait_ms : 500);
        return NULL;
    }
    __atomic_store_n(&thread->tick_ms, now_ms, __ATOMIC_RELAXED);
    struct error *error = conn_open(thread->settings, &url->hosts[i],
                                    thread->role, &thread->owner, &conn);
    if (error) {
        bool refused = error_code(error) == ERR_NOT_FOUND;

        if (interrupt_is_raised(&thread->owner.interrupt)) {
            error_free(error); /* We wanted it to fail. */
        } else {
            link_thread_count(thread, &thread->status.count.n_failures, 1);
            link_thread_failed(thread, error);
        }
        reconnect_failed(reconnect, clock_now_ms(), refused);
        return NULL;
    }
    connected(thread, &url->hosts[i]);
    return conn;
}

static uint32_t
random_number(void *aux UNUSED)
{
    uint32_t number = 0;

    if (getrandom(&number, sizeof number, 0) != sizeof number) {
        number = (uint32_t)clock_wall_us();
    }
    return number;
}

/* One write is enough until the thread has looked.  It is made without the
 * mutex, or the thread would wake only to wait for that. */
static void
unlock_and_wake(struct link_thread *thread)
{
    static const uint64_t one = 1;

    if (thread->defers && ++thread->n_deferred < DEFERRED_MAX) {
        uv_mutex_unlock(&thread->mutex);
        return;
    }
    thread->n_deferred = 0;
    bool is_asleep = !thread->woken;
    thread->woken = true;
    uv_mutex_unlock(&thread->mutex);
    if (is_asleep && write(thread->wakeup, &one, sizeof one) < 0) {
        log_limited(LOG_LEVEL_ERROR, NULL, "eventfd failed, errno %d", errno);
    }
}

static void
connected(struct link_thread *thread, const struct transport_host *host)
{
    const char *vhost = thread->settings->o.url->vhost;

    uv_mutex_lock(&thread->mutex);
    thread->status.count.n_connects++;
    snprintf(thread->status.broker, sizeof thread->status.broker, "%s:%d/%s",
             host->host, host->port, str_eq(vhost, "/") ? "" : vhost);
    uv_mutex_unlock(&thread->mutex);
}

/* With the mutex held. */
static void
count_dropped(struct link_thread *thread, const struct message_list *dropped)
{
    struct link_counters *count = &thread->status.count;
    uint64_t *const counters[] = {
        [MESSAGE_PROGRESS] = &count->n_dropped_progress,
        [MESSAGE_NOTIFICATION] = &count->n_dropped_notifications,
        [MESSAGE_REPLY] = &count->n_dropped_replies,
        [MESSAGE_REQUEST] = &count->n_dropped_requests,
    };

    for (const struct message *m = dropped->head; m; m = m->next) {
        count->n_dropped++;
        ++*counters[m->class]; /* Never of the class that is never dropped. */
    }
}
