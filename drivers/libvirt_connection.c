#include <config.h>

#include "drivers/libvirt_internal.h"

#include <errno.h>
#include <stdatomic.h>

#include "agent/base/log.h"
#include "drivers/disk.h"

LOG_MODULE(libvirt_connection);

#define OPEN_TIMEOUT_S 10
#define SILENCE_S 30
#define BACKOFF_MIN_S 1
#define BACKOFF_MAX_S 30

/* virConnectOpen() can hang for ever in a peer that accepts and then says
 * nothing.  So it runs on a thread that can be left behind; these are left. */
#define ABANDONED_MAX 16
static atomic_uint n_abandoned;

struct opening {
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    char *uri;
    unsigned silence_s;
    bool has_ended, is_abandoned; /* The second to be set frees. */
    virConnectPtr connection;
    struct error *error;
};

struct libvirt_keeper {
    struct libvirt *state;
    pthread_t thread;
    pthread_mutex_t mutex; /* For what follows. */
    pthread_cond_t changed;
    virConnectPtr connection; /* Null: none. */
    bool is_lost;             /* The connection is dead, and to be dropped. */
    bool has_tried, must_stop;
    char *reason; /* Why there is none; null: not known. */
    struct libvirt_event_ids ids;
};

static void *opening_run(void *aux);
static void opening_free(struct opening *opening);
static void *keeper_run(void *aux);
static void keeper_watch(struct libvirt_keeper *keeper);
static struct error *keeper_open(struct libvirt_keeper *keeper);
static struct error *keeper_subscribe(struct libvirt_keeper *keeper,
                                      virConnectPtr connection);
static void keeper_drop(struct libvirt_keeper *keeper);
static void keeper_note_failure(struct libvirt_keeper *keeper,
                                const struct error *error);
static void on_close(virConnectPtr connection, int reason, void *aux);

void
libvirt_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

bool
libvirt_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                  const struct timespec *deadline)
{
    return pthread_cond_timedwait(cond, mutex, deadline) != ETIMEDOUT;
}

struct timespec
libvirt_deadline_in(unsigned ms)
{
    struct timespec deadline;

    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += (time_t)(ms / 1000);
    deadline.tv_nsec += (long)(ms % 1000) * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_nsec -= 1000000000;
        deadline.tv_sec++;
    }
    return deadline;
}

struct error *
libvirt_connection_open(const char *uri, unsigned timeout_s, unsigned silence_s,
                        virConnectPtr *ret)
{
    struct timespec deadline = libvirt_deadline_in(timeout_s * 1000);
    struct opening *opening = xzalloc(sizeof *opening);
    pthread_t thread;

    pthread_mutex_init(&opening->mutex, NULL);
    libvirt_cond_init(&opening->ended);
    opening->uri = xstrdup(uri);
    opening->silence_s = silence_s;
    if (atomic_load(&n_abandoned) >= ABANDONED_MAX ||
        !libvirt_thread_start(&thread, "libvirt-open", opening_run, opening)) {
        opening_free(opening);
        return error_new(ERR_HYPERVISOR_UNAVAILABLE,
                         "too many hypervisors do not answer");
    }
    pthread_detach(thread);

    pthread_mutex_lock(&opening->mutex);
    while (!opening->has_ended &&
           libvirt_cond_wait(&opening->ended, &opening->mutex, &deadline)) {
    }
    bool has_ended = opening->has_ended;
    opening->is_abandoned = !has_ended;
    if (!has_ended) {
        atomic_fetch_add(&n_abandoned, 1);
    }
    pthread_mutex_unlock(&opening->mutex);
    if (!has_ended) {
        return error_new(ERR_HYPERVISOR_UNAVAILABLE,
                         "no answer from '%s' in %u s", uri, timeout_s);
    }

    struct error *error = steal(&opening->error);
    if (!error) {
        *ret = steal(&opening->connection);
    }
    opening_free(opening);
    return error;
}

struct libvirt_keeper *
libvirt_keeper_start(struct libvirt *state)
{
    struct libvirt_keeper *keeper = xzalloc(sizeof *keeper);

    keeper->state = state;
    pthread_mutex_init(&keeper->mutex, NULL);
    libvirt_cond_init(&keeper->changed);
    if (!libvirt_thread_start(&keeper->thread, "libvirt-keeper", keeper_run,
                              keeper)) {
        abort(); /* As when memory runs out: no work can be done. */
    }
    return keeper;
}

void
libvirt_keeper_stop(struct libvirt_keeper *keeper)
{
    if (!keeper) {
        return;
    }
    pthread_mutex_lock(&keeper->mutex);
    keeper->must_stop = true;
    pthread_cond_broadcast(&keeper->changed);
    pthread_mutex_unlock(&keeper->mutex);
    pthread_join(keeper->thread, NULL);

    pthread_cond_destroy(&keeper->changed);
    pthread_mutex_destroy(&keeper->mutex);
    free(keeper->reason);
    free(keeper);
}

struct error *
libvirt_connection_get(struct libvirt *state, virConnectPtr *ret)
{
    struct libvirt_keeper *keeper = state->keeper;
    struct timespec deadline = libvirt_deadline_in(OPEN_TIMEOUT_S * 1000);
    struct error *error = NULL;

    pthread_mutex_lock(&keeper->mutex);
    while (!keeper->has_tried &&
           libvirt_cond_wait(&keeper->changed, &keeper->mutex, &deadline)) {
    }
    if (keeper->connection && !keeper->is_lost) {
        virConnectRef(keeper->connection);
        *ret = keeper->connection;
    } else {
        error = error_new(ERR_HYPERVISOR_UNAVAILABLE,
                          "no connection to '%s': %s", state->uri,
                          keeper->reason ? keeper->reason : "no answer yet");
    }
    pthread_mutex_unlock(&keeper->mutex);
    return error;
}

bool
libvirt_connection_is_up(struct libvirt *state)
{
    struct libvirt_keeper *keeper = state->keeper;

    pthread_mutex_lock(&keeper->mutex);
    bool is_up = keeper->connection && !keeper->is_lost;
    pthread_mutex_unlock(&keeper->mutex);
    return is_up;
}

static void *
opening_run(void *aux)
{
    struct opening *opening = aux;
    unsigned interval_s = opening->silence_s / 6;
    struct error *error = NULL;
    virConnectPtr connection = virConnectOpen(opening->uri);

    if (!connection) {
        /* Whatever the reason: here it means that there is no connection. */
        AUTO_ERROR reason = libvirt_error(ERR_HYPERVISOR_UNAVAILABLE, NULL);
        error =
            error_new(ERR_HYPERVISOR_UNAVAILABLE, "%s", error_message(reason));
    } else {
        /* Not every transport knows it (the test hypervisor does not). */
        virConnectSetKeepAlive(connection, interval_s ? (int)interval_s : 1, 5);
    }

    pthread_mutex_lock(&opening->mutex);
    opening->has_ended = true;
    opening->connection = connection;
    opening->error = error;
    bool is_abandoned = opening->is_abandoned;
    pthread_cond_signal(&opening->ended);
    pthread_mutex_unlock(&opening->mutex);
    if (is_abandoned) {
        atomic_fetch_sub(&n_abandoned, 1);
        opening_free(opening);
    }
    return NULL;
}

static void
opening_free(struct opening *opening)
{
    if (opening->connection) {
        virConnectClose(opening->connection);
    }
    pthread_cond_destroy(&opening->ended);
    pthread_mutex_destroy(&opening->mutex);
    error_free(opening->error);
    free(opening->uri);
    free(opening);
}

static void *
keeper_run(void *aux)
{
    struct libvirt_keeper *keeper = aux;
    unsigned backoff_s = BACKOFF_MIN_S;

    disk_probes_sweep(keeper->state->store); /* Which may block. */
    pthread_mutex_lock(&keeper->mutex);
    while (!keeper->must_stop) {
        pthread_mutex_unlock(&keeper->mutex);
        AUTO_ERROR error = keeper_open(keeper);
        pthread_mutex_lock(&keeper->mutex);

        if (!error) {
            backoff_s = BACKOFF_MIN_S;
            keeper_watch(keeper);
            continue;
        }
        keeper_note_failure(keeper, error);

        struct timespec deadline = libvirt_deadline_in(backoff_s * 1000);
        while (!keeper->must_stop &&
               libvirt_cond_wait(&keeper->changed, &keeper->mutex, &deadline)) {
        }
        backoff_s =
            backoff_s * 2 > BACKOFF_MAX_S ? BACKOFF_MAX_S : backoff_s * 2;
    }
    pthread_mutex_unlock(&keeper->mutex);
    return NULL;
}

/* With the mutex: waits until the connection is lost or no longer wanted. */
static void
keeper_watch(struct libvirt_keeper *keeper)
{
    while (!keeper->must_stop && !keeper->is_lost) {
        pthread_cond_wait(&keeper->changed, &keeper->mutex);
    }
    bool is_lost = keeper->is_lost;
    pthread_mutex_unlock(&keeper->mutex);

    keeper_drop(keeper);
    if (is_lost) {
        log_warn(NULL, "lost the connection to '%s'", keeper->state->uri);
        libvirt_event_post(keeper->state, DRIVER_EVENT_DISCONNECTED, 0, NULL);
    }
    pthread_mutex_lock(&keeper->mutex);
}

static struct error *
keeper_open(struct libvirt_keeper *keeper)
{
    virConnectPtr connection;
    struct error *error = libvirt_connection_open(
        keeper->state->uri, OPEN_TIMEOUT_S, SILENCE_S, &connection);
    if (error) {
        return error;
    }

    error = keeper_subscribe(keeper, connection);
    if (error) {
        virConnectClose(connection);
        return error;
    }

    log_info(NULL, "connected to '%s'", keeper->state->uri);
    libvirt_event_post(keeper->state, DRIVER_EVENT_CONNECTED, 0, NULL);
    return NULL;
}

/* The connection is known to callers before the event tells of it. */
static struct error *
keeper_subscribe(struct libvirt_keeper *keeper, virConnectPtr connection)
{
    struct error *error =
        libvirt_event_register(keeper->state, connection, &keeper->ids);
    if (error) {
        libvirt_event_deregister(connection, &keeper->ids);
        return error;
    }

    pthread_mutex_lock(&keeper->mutex);
    keeper->connection = connection;
    keeper->is_lost = false;
    keeper->has_tried = true;
    pthread_cond_broadcast(&keeper->changed);
    pthread_mutex_unlock(&keeper->mutex);

    /* Not every hypervisor can tell; then calls fail until the restart. */
    virConnectRegisterCloseCallback(connection, on_close, keeper, NULL);
    if (virConnectIsAlive(connection) == 0) {
        on_close(connection, VIR_CONNECT_CLOSE_REASON_EOF, keeper);
    }
    return NULL;
}

/* Without the mutex: libvirt's callbacks take it. */
static void
keeper_drop(struct libvirt_keeper *keeper)
{
    pthread_mutex_lock(&keeper->mutex);
    virConnectPtr connection = steal(&keeper->connection);
    keeper->is_lost = false;
    pthread_mutex_unlock(&keeper->mutex);

    virConnectUnregisterCloseCallback(connection, on_close);
    libvirt_event_deregister(connection, &keeper->ids);
    virConnectClose(connection);
}

static void
keeper_note_failure(struct libvirt_keeper *keeper, const struct error *error)
{
    bool is_news = !str_eq(keeper->reason, error_message(error));

    free(keeper->reason);
    keeper->reason = xstrdup(error_message(error));
    keeper->has_tried = true;
    pthread_cond_broadcast(&keeper->changed);
    if (is_news) {
        log_warn(NULL, "can't connect to '%s': %s", keeper->state->uri,
                 keeper->reason);
    }
}

/* On the event thread. */
static void
on_close(virConnectPtr connection, int reason UNUSED, void *aux)
{
    struct libvirt_keeper *keeper = aux;

    pthread_mutex_lock(&keeper->mutex);
    if (connection == keeper->connection) {
        keeper->is_lost = true;
        free(keeper->reason);
        keeper->reason = xstrdup("the connection was lost");
        pthread_cond_broadcast(&keeper->changed);
    }
    pthread_mutex_unlock(&keeper->mutex);
}
