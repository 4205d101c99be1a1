#ifndef DROVER_DRIVERS_LIBVIRT_INTERNAL_H
#define DROVER_DRIVERS_LIBVIRT_INTERNAL_H

/* What the files of the libvirt driver share.
 *
 *   libvirt.c             the table; storage through disk.h
 *   libvirt_connection.c  the connection that is kept, others that are bounded
 *   libvirt_event.c       libvirt's event loop, and what its callbacks tell
 *   libvirt_counters.c    what it counted of guests
 *   libvirt_error.c       libvirt's errors as ours
 *   libvirt_host.c        facts of the host
 *   libvirt_dirty_rate.c  how much guests write
 *   libvirt_guest.c       facts and states of guests
 *   libvirt_job.c         statistics of jobs
 *   libvirt_migrate.c     the move and what steers it
 *   libvirt_resources.c   what the host has to give
 *   libvirt_rest.c        guests that do not run, and copies of their files
 *
 * Threads: those of the callers, one that keeps the connection open, one that
 * runs libvirt's event loop (for all drivers of the process), and one for each
 * connection that is being opened. */

#include <libvirt/libvirt.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "drivers/driver.h"

struct copies;
struct disk_store;
struct libvirt_jobs;
struct libvirt_keeper;
struct libvirt_machines;

/* The driver's state; constant once open, but for what 'copies' and the last
 * three point to. */
struct libvirt {
    char *uri;
    struct disk_store *store;
    struct copies *copies;
    char *saved_path; /* Null: not known. */
    void (*event)(void *aux, const struct driver_event *event);
    void *event_aux;
    struct libvirt_jobs *jobs;
    struct libvirt_machines *machines;
    struct libvirt_keeper *keeper;
};

static inline void
libvirt_connection_unref_at(virConnectPtr *connection)
{
    if (*connection) {
        virConnectClose(*connection);
    }
}
#define AUTO_CONNECTION CLEANUP(libvirt_connection_unref_at) virConnectPtr

static inline void
libvirt_domain_unref_at(virDomainPtr *domain)
{
    if (*domain) {
        virDomainFree(*domain);
    }
}
#define AUTO_DOMAIN CLEANUP(libvirt_domain_unref_at) virDomainPtr

/* libvirt_error.c */

/* The error of the libvirt call that just failed on this thread.  A code that
 * says nothing to us becomes 'otherwise'; 'uuid' (may be null) names the guest
 * that the call was about. */
struct error *libvirt_error(enum error_code otherwise,
                            const char *uuid) WARN_UNUSED;

/* libvirt_connection.c */

/* On the clock that never goes back.  cond_wait: false once it has passed. */
void libvirt_cond_init(pthread_cond_t *cond);
bool libvirt_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                       const struct timespec *deadline);
struct timespec libvirt_deadline_in(unsigned ms);

/* Keeps a connection to 'state->uri' open, with back-off, and tells the loss
 * and the return of it.  Needs libvirt_event_ref(). */
struct libvirt_keeper *libvirt_keeper_start(struct libvirt *state);
void libvirt_keeper_stop(struct libvirt_keeper *keeper); /* Null is fine. */

/* The kept connection, with a reference of the caller's.  Does not wait for a
 * hypervisor that is away, but for the very first attempt. */
struct error *libvirt_connection_get(struct libvirt *state,
                                     virConnectPtr *ret) WARN_UNUSED;
bool libvirt_connection_is_up(struct libvirt *state); /* Must not block. */

/* Opens a connection of the caller's own, in at most 'timeout_s' seconds; it
 * fails by itself when the peer is silent for 'silence_s'. */
struct error *libvirt_connection_open(const char *uri, unsigned timeout_s,
                                      unsigned silence_s,
                                      virConnectPtr *ret) WARN_UNUSED;

/* libvirt_event.c */

/* libvirt's event loop runs as long as there are references. */
void libvirt_event_ref(void);
void libvirt_event_unref(void);

/* A thread with all signals blocked; false if there can be no more. */
bool libvirt_thread_start(pthread_t *ret, const char *name,
                          void *(*run)(void *aux), void *aux) WARN_UNUSED;

/* Asks for the events of 'connection', which go to 'state->event'. */
#define LIBVIRT_N_EVENTS 2
struct libvirt_event_ids {
    int ids[LIBVIRT_N_EVENTS];
};
struct error *libvirt_event_register(struct libvirt *state,
                                     virConnectPtr connection,
                                     struct libvirt_event_ids *ret) WARN_UNUSED;
void libvirt_event_deregister(virConnectPtr connection,
                              const struct libvirt_event_ids *ids);
void libvirt_event_post(const struct libvirt *state,
                        enum driver_event_type type, int detail,
                        virDomainPtr domain); /* Null: no guest. */

/* libvirt_host.c */
struct error *libvirt_host_get(void *state, struct host_info **ret);
struct error *libvirt_host_uptime(void *state, char **ret);
struct error *libvirt_host_compare_cpu(void *state, const char *cpu_xml);
/* Free for guests: what the kernel would give back counts.  0: not known. */
int64_t libvirt_host_free_memory_kib(virConnectPtr connection);

/* libvirt_resources.c */
struct libvirt_machines *libvirt_machines_create(void);
void libvirt_machines_free(struct libvirt_machines *machines);
struct error *
libvirt_host_resources(void *state,
                       const struct host_resources_request *request,
                       struct host_resources **ret);

/* libvirt_guest.c */

/* ERR_INSTANCE_NOT_FOUND. */
struct error *libvirt_guest_look_up(virConnectPtr connection, const char *uuid,
                                    virDomainPtr *ret) WARN_UNUSED;
/* The same on the kept connection. */
struct error *libvirt_guest_find(struct libvirt *state, const char *uuid,
                                 virDomainPtr *ret) WARN_UNUSED;
/* GUEST_ABSENT is an answer, not an error. */
struct error *libvirt_guest_presence(virConnectPtr connection, const char *uuid,
                                     enum guest_presence *ret) WARN_UNUSED;

struct error *libvirt_guest_list(void *state, struct guest_list **ret);
struct error *libvirt_guest_get(void *state, const char *uuid,
                                struct guest **ret);
struct error *libvirt_guest_peer_presence(void *state, const char *uri,
                                          const char *uuid,
                                          enum guest_presence *ret);
struct error *libvirt_guest_suspend(void *state, const char *uuid);
struct error *libvirt_guest_resume(void *state, const char *uuid);
struct error *libvirt_guest_persist(void *state, const char *uuid);
struct error *libvirt_guest_discard(void *state, const char *uuid);

/* The domain itself, as the entry of the table has it. */
struct error *libvirt_guest_read(virDomainPtr domain, const char *uuid,
                                 struct guest **ret) WARN_UNUSED;

/* libvirt_power.c */
struct error *libvirt_power_on(void *state, const char *uuid);
struct error *libvirt_shut_down(void *state, const char *uuid);
struct error *libvirt_power_off(void *state, const char *uuid);
struct error *libvirt_console_read(void *state, const char *uuid, char **ret);

/* libvirt_counters.c */
struct error *libvirt_guest_counters(void *state, const char *uuid,
                                     struct guest_counters **ret);

/* libvirt_rest.c */
struct error *libvirt_save(void *state, const char *uuid);
struct error *libvirt_rest_get(void *state, const char *uuid,
                               struct guest_rest **ret);
struct error *libvirt_rest_seal(void *state,
                                const struct at_rest_request *request);
struct error *libvirt_rest_give_up(void *state,
                                   const struct at_rest_request *request);
struct error *libvirt_rest_take(void *state,
                                const struct at_rest_request *request);
struct error *libvirt_rest_wake(void *state,
                                const struct at_rest_request *request);
struct error *libvirt_copy_serve(void *state,
                                 const struct copy_request *request,
                                 char **ret_place);
struct error *libvirt_copy_stop(void *state, const char *uuid);
struct error *libvirt_copy(void *state, const struct copy_request *request);
struct error *libvirt_copy_abort(void *state, const char *uuid);
struct error *libvirt_copy_progress(void *state, const char *uuid,
                                    unsigned *ret);

/* libvirt_migrate.c */
struct error *libvirt_migrate(void *state,
                              const struct migrate_request *request);
struct error *libvirt_migrate_abort(void *state, const char *uuid);
struct error *libvirt_migrate_get_downtime(void *state, const char *uuid,
                                           unsigned *ret_ms);
struct error *libvirt_migrate_get_bandwidth(void *state, const char *uuid,
                                            unsigned *ret_mib_s);
struct error *libvirt_migrate_throttle(void *state, const char *uuid);
struct error *libvirt_migrate_break(void *state, const char *uuid);
struct error *libvirt_migrate_set_downtime(void *state, const char *uuid,
                                           unsigned ms);
struct error *libvirt_migrate_set_bandwidth(void *state, const char *uuid,
                                            unsigned mib_s);
struct error *libvirt_migrate_postcopy(void *state, const char *uuid);

/* libvirt_dirty_rate.c */
struct error *libvirt_dirty_rate_start(void *state, const char *uuid,
                                       unsigned seconds);
struct error *libvirt_dirty_rate_get(void *state, const char *uuid,
                                     struct dirty_rate *ret);

/* libvirt_job.c */

/* The final statistics of ended jobs, as an event tells them: the guest that
 * was moved away takes libvirt's own with it. */
struct libvirt_jobs *libvirt_job_cache_create(void);
void libvirt_job_cache_free(struct libvirt_jobs *jobs);
void libvirt_job_note(struct libvirt_jobs *jobs, virDomainPtr domain,
                      virTypedParameterPtr params, int n_params);
/* A migration begins: what was noted before is history. */
void libvirt_job_expect(struct libvirt_jobs *jobs, const char *uuid);

struct error *libvirt_job_get(void *state, const char *uuid, bool completed,
                              struct job_stats *ret);

#endif
