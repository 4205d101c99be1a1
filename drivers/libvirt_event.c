#include <config.h>

#include "drivers/libvirt_internal.h"

#include <libvirt/virterror.h>
#include <libxml/parser.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "agent/base/log.h"

LOG_MODULE(libvirt_event);

/* Which event loop libvirt has is global and final, so that one thread runs
 * libvirt's own for the whole process. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t ref_mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned n_refs; /* Guarded by 'ref_mutex'. */
static pthread_t loop_thread;
static atomic_bool loop_must_end;

/* Waits until the loop has gone round a few times.  libvirt frees what was
 * removed in a round of its own, and a callback may still be under way. */
#define DRAIN_ROUNDS 3
struct drain {
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    unsigned n_left;
    int timer;
    bool is_last; /* Ends the loop too. */
};

static void initialize(void);
static void ignore_error(void *aux, virErrorPtr error);
static void *loop_run(void *aux);
static void loop_drain(bool is_last);
static void drain_step(int timer, void *aux);
static int on_lifecycle(virConnectPtr connection, virDomainPtr domain,
                        int event, int detail, void *aux);
static void on_job_completed(virConnectPtr connection, virDomainPtr domain,
                             virTypedParameterPtr params, int n_params,
                             void *aux);
static bool translate(int event, int detail, enum driver_event_type *ret_type,
                      int *ret_detail);
static enum stop_detail translate_stop(int detail);

void
libvirt_event_ref(void)
{
    pthread_once(&once, initialize);
    pthread_mutex_lock(&ref_mutex);
    if (n_refs++ == 0) {
        atomic_store(&loop_must_end, false);
        if (!libvirt_thread_start(&loop_thread, "libvirt-events", loop_run,
                                  NULL)) {
            abort(); /* As when memory runs out: no work can be done. */
        }
    }
    pthread_mutex_unlock(&ref_mutex);
}

void
libvirt_event_unref(void)
{
    pthread_mutex_lock(&ref_mutex);
    loop_drain(n_refs == 1);
    if (--n_refs == 0) {
        pthread_join(loop_thread, NULL);
    }
    pthread_mutex_unlock(&ref_mutex);
}

bool
libvirt_thread_start(pthread_t *ret, const char *name, void *(*run)(void *),
                     void *aux)
{
    sigset_t all, before;

    /* Signals are the loop's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool is_started = pthread_create(ret, NULL, run, aux) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (is_started) {
        pthread_setname_np(*ret, name);
    }
    return is_started;
}

struct error *
libvirt_event_register(struct libvirt *state, virConnectPtr connection,
                       struct libvirt_event_ids *ret)
{
    static const struct {
        int id;
        virConnectDomainEventGenericCallback callback;
        bool required;
    } events[LIBVIRT_N_EVENTS] = {
        {VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle),
         true},
        /* The test hypervisor has no jobs. */
        {VIR_DOMAIN_EVENT_ID_JOB_COMPLETED,
         VIR_DOMAIN_EVENT_CALLBACK(on_job_completed), false},
    };

    for (size_t i = 0; i < LIBVIRT_N_EVENTS; i++) {
        ret->ids[i] = virConnectDomainEventRegisterAny(
            connection, NULL, events[i].id, events[i].callback, state, NULL);
        if (ret->ids[i] < 0 && events[i].required) {
            return error_wrap(libvirt_error(ERR_HYPERVISOR_UNAVAILABLE, NULL),
                              "register event %d", events[i].id);
        }
    }
    return NULL;
}

void
libvirt_event_deregister(virConnectPtr connection,
                         const struct libvirt_event_ids *ids)
{
    for (size_t i = 0; i < LIBVIRT_N_EVENTS; i++) {
        if (ids->ids[i] >= 0) {
            /* Fails on a dead connection, having removed the callback. */
            virConnectDomainEventDeregisterAny(connection, ids->ids[i]);
        }
    }
}

void
libvirt_event_post(const struct libvirt *state, enum driver_event_type type,
                   int detail, virDomainPtr domain)
{
    struct driver_event event = {.type = type, .detail = detail};
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (domain && virDomainGetUUIDString(domain, uuid) == 0) {
        memcpy(event.uuid, uuid, sizeof uuid);
    }
    if (state->event) {
        state->event(state->event_aux, &event);
    }
}

static void
initialize(void)
{
    xmlInitParser();
    virSetErrorFunc(NULL, ignore_error);
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0) {
        log_error(NULL, "libvirt can't be initialized");
    }
}

/* libvirt prints each error on standard error unless told otherwise. */
static void
ignore_error(void *aux UNUSED, virErrorPtr error UNUSED)
{
}

static void *
loop_run(void *aux UNUSED)
{
    while (!atomic_load(&loop_must_end)) {
        if (virEventRunDefaultImpl() < 0) {
            log_limited(LOG_LEVEL_ERROR, NULL, "libvirt's event loop failed");
        }
    }
    return NULL;
}

static void
loop_drain(bool is_last)
{
    struct drain drain = {
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .ended = PTHREAD_COND_INITIALIZER,
        .n_left = DRAIN_ROUNDS,
        .is_last = is_last,
    };

    pthread_mutex_lock(&drain.mutex);
    drain.timer = virEventAddTimeout(1, drain_step, &drain, NULL);
    if (drain.timer < 0) {
        abort(); /* No memory. */
    }
    while (drain.n_left > 0) {
        pthread_cond_wait(&drain.ended, &drain.mutex);
    }
    pthread_mutex_unlock(&drain.mutex);
}

static void
drain_step(int timer, void *aux)
{
    struct drain *drain = aux;

    pthread_mutex_lock(&drain->mutex);
    if (--drain->n_left == 0) {
        virEventRemoveTimeout(timer);
        if (drain->is_last) {
            atomic_store(&loop_must_end, true);
        }
        pthread_cond_signal(&drain->ended);
    }
    pthread_mutex_unlock(&drain->mutex);
}

static int
on_lifecycle(virConnectPtr connection UNUSED, virDomainPtr domain, int event,
             int detail, void *aux)
{
    const struct libvirt *state = aux;
    enum driver_event_type type;
    int our_detail;

    if (translate(event, detail, &type, &our_detail)) {
        libvirt_event_post(state, type, our_detail, domain);
    }
    return 0;
}

static void
on_job_completed(virConnectPtr connection UNUSED, virDomainPtr domain,
                 virTypedParameterPtr params, int n_params, void *aux)
{
    const struct libvirt *state = aux;

    libvirt_job_note(state->jobs, domain, params, n_params);
    libvirt_event_post(state, DRIVER_EVENT_JOB_COMPLETED, 0, domain);
}

/* False: an event that changes nothing that we know of. */
static bool
translate(int event, int detail, enum driver_event_type *ret_type,
          int *ret_detail)
{
    *ret_detail = 0;
    switch ((virDomainEventType)event) {
    case VIR_DOMAIN_EVENT_DEFINED:
        *ret_type = DRIVER_EVENT_DEFINED;
        return true;
    case VIR_DOMAIN_EVENT_UNDEFINED:
        *ret_type = DRIVER_EVENT_UNDEFINED;
        return true;
    case VIR_DOMAIN_EVENT_STARTED:
        *ret_type = DRIVER_EVENT_STARTED;
        return true;
    case VIR_DOMAIN_EVENT_SUSPENDED:
        *ret_type = detail == VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY
                        ? DRIVER_EVENT_POSTCOPY
                    : detail == VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED
                        ? DRIVER_EVENT_POSTCOPY_FAILED
                        : DRIVER_EVENT_SUSPENDED;
        return true;
    case VIR_DOMAIN_EVENT_RESUMED:
        *ret_type = detail == VIR_DOMAIN_EVENT_RESUMED_POSTCOPY_FAILED
                        ? DRIVER_EVENT_POSTCOPY_FAILED
                        : DRIVER_EVENT_RESUMED;
        return true;
    case VIR_DOMAIN_EVENT_STOPPED:
        *ret_type = DRIVER_EVENT_STOPPED;
        *ret_detail = (int)translate_stop(detail);
        return true;
    case VIR_DOMAIN_EVENT_PMSUSPENDED:
    case VIR_DOMAIN_EVENT_CRASHED: /* Kept for a look; it does not run on. */
        *ret_type = DRIVER_EVENT_SUSPENDED;
        return true;
    case VIR_DOMAIN_EVENT_SHUTDOWN: /* "Stopped" follows. */
    default:
        return false;
    }
}

static enum stop_detail
translate_stop(int detail)
{
    switch ((virDomainEventStoppedDetailType)detail) {
    case VIR_DOMAIN_EVENT_STOPPED_DESTROYED:
    case VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT:
        return STOP_DESTROYED;
    case VIR_DOMAIN_EVENT_STOPPED_CRASHED:
        return STOP_CRASHED;
    case VIR_DOMAIN_EVENT_STOPPED_MIGRATED:
        return STOP_MIGRATED;
    case VIR_DOMAIN_EVENT_STOPPED_SAVED:
        return STOP_SAVED;
    case VIR_DOMAIN_EVENT_STOPPED_FAILED:
        return STOP_FAILED;
    case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
    default:
        return STOP_SHUTDOWN;
    }
}
