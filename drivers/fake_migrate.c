#include <config.h>

#include "drivers/fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/fake_job.h"

/* Another process may take the destination away without telling us. */
#define LOOK_AGAIN_US 100000

#define MIB ((int64_t)1 << 20)

/* How the destination is known to the world while it receives. */
enum progress {
    UNDER_WAY,
    MOVED,  /* The guest is at the destination, all of it. */
    BROKEN, /* Post-copy failed: part of the guest is at each host. */
    FAILED,
    CANCELLED,
};

/* The last one of a guest from a host; stays for its statistics. */
struct migration {
    struct migration *next;
    struct fake_store *store;
    struct fake *fake; /* The source; only while 'is_running'. */
    char *source, *dest;
    char uuid[40];
    struct fake_guest *guest; /* As it was at the start. */
    struct fake_hold *incoming;
    struct fake_job job;
    unsigned flags;
    int64_t limit_mib_s; /* 0: none. */
    bool is_running, is_postcopy, is_aborted, wants_postcopy, is_cut;
    bool is_paused, was_stopped;
    enum progress progress;
    struct job_stats stats; /* Once it is over. */
};

static struct migration *migrations;

static struct migration *find(struct fake_store *, const char *source,
                              const char *uuid);
static struct migration *find_running(struct fake *, const char *uuid,
                                      struct error **ret_error);
static struct error *begin(struct fake *, const struct migrate_request *,
                           struct migration **ret);
static struct error *check(struct fake *, const struct migrate_request *,
                           const char *dest, struct fake_guest **ret);
static bool is_copied(const struct migrate_request *, const char *target);
static struct migration *add(struct fake *, const struct migrate_request *,
                             const char *dest);
static struct error *begin_again(struct fake *, struct migration *);
static struct error *carry_on(struct migration *);
static struct error *look(struct migration *);
static void apply_guest(struct migration *, const struct fake_guest *);
static struct error *switch_to_postcopy(struct migration *);
static struct error *complete(struct migration *);
static struct error *broke(struct migration *, struct error *);
static struct error *move_guest(struct migration *, enum power_state);
static void end(struct migration *, const struct error *);
static struct error *run_on(struct migration *);
static void set_dest_power(struct migration *, enum power_state);
static void migration_free(struct migration *);
static uint64_t now_us(void);

struct error *
fake_migrate(void *state, const struct migrate_request *request)
{
    struct fake *fake = state;
    struct migration *m = NULL;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_migrate);
    if (!error) {
        error = begin(fake, request, &m);
    }
    if (error) {
        return error;
    }
    error = carry_on(m);
    if (!error && fake->runs_twice) {
        error = run_on(m);
    }
    end(m, error);
    if (!error && fake->loses_answer) {
        fake->loses_answer = false;
        return error_new(ERR_MIGRATION, "the answer of '%s' was lost", m->dest);
    }
    return error;
}

struct error *
fake_migrate_abort(void *state, const char *uuid)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_migrate_abort);
    struct migration *m = error ? NULL : find_running(fake, uuid, &error);
    if (m && m->is_postcopy) {
        return error_new(ERR_INVALID, "guest '%s' is in post-copy", uuid);
    }
    if (m) {
        m->is_aborted = true;
        fake_changed();
    }
    return error;
}

struct error *
fake_migrate_break(void *state, const char *uuid)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_migrate_break);
    struct migration *m = error ? NULL : find(fake->store, fake->host, uuid);
    if (m && m->is_running && !m->is_postcopy) {
        m->is_cut = true;
        fake_changed();
    }
    return error;
}

struct error *
fake_migrate_set_downtime(void *state, const char *uuid, unsigned ms)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_migrate_set_downtime);
    struct migration *m = error ? NULL : find_running(fake, uuid, &error);
    if (m) {
        m->job.max_downtime_ms = ms;
        fake_changed();
    }
    return error;
}

struct error *
fake_migrate_get_downtime(void *state, const char *uuid, unsigned *ret_ms)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_migrate_get_downtime);
    struct migration *m = error ? NULL : find_running(fake, uuid, &error);
    if (m) {
        *ret_ms = m->job.max_downtime_ms;
    }
    return error;
}

struct error *
fake_migrate_throttle(void *state, const char *uuid)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_migrate_throttle);
    struct migration *m = error ? NULL : find_running(fake, uuid, &error);
    if (m && !(m->flags & MIGRATE_THROTTLE)) {
        return error_new(ERR_INVALID,
                         "the migration of '%s' can't be throttled", uuid);
    }
    if (m) {
        m->job.auto_converge = true;
        fake_changed();
    }
    return error;
}

struct error *
fake_migrate_set_bandwidth(void *state, const char *uuid, unsigned mib_s)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_migrate_set_bandwidth);
    struct migration *m = error ? NULL : find_running(fake, uuid, &error);
    if (m) {
        m->limit_mib_s = mib_s;
        fake_changed();
    }
    return error;
}

struct error *
fake_migrate_get_bandwidth(void *state, const char *uuid, unsigned *ret_mib_s)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_migrate_get_bandwidth);
    struct migration *m = error ? NULL : find_running(fake, uuid, &error);
    if (m) {
        *ret_mib_s = (unsigned)m->limit_mib_s;
    }
    return error;
}

struct error *
fake_migrate_postcopy(void *state, const char *uuid)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_migrate_postcopy);
    struct migration *m = error ? NULL : find_running(fake, uuid, &error);
    if (m && (!(m->flags & MIGRATE_POSTCOPY) || m->is_paused)) {
        return error_new(ERR_INVALID,
                         "the migration of '%s' can't switch to post-copy",
                         uuid);
    }
    if (m) {
        m->wants_postcopy = true;
        fake_changed();
    }
    return error;
}

struct error *
fake_job_get(void *state, const char *uuid, bool completed,
             struct job_stats *ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_job_get);
    struct migration *m = error ? NULL : find(fake->store, fake->host, uuid);
    struct job_stats none = {.type = JOB_NONE};
    if (error) {
        return error;
    }
    if (m && m->is_running && !completed) {
        fake_job_advance(&m->job, now_us());
        fake_job_stats(&m->job, ret);
        ret->type = JOB_UNBOUNDED; /* Until the guest has moved. */
    } else if (m && m->progress == BROKEN && !completed) {
        *ret = m->stats;
        ret->type = JOB_UNBOUNDED; /* libvirt keeps it, to be resumed. */
    } else if (m && !m->is_running && completed) {
        *ret = m->stats;
    } else if (fake_look(fake->store, fake->host, uuid, NULL) == GUEST_ABSENT) {
        return error_set_arg(error_new(ERR_INSTANCE_NOT_FOUND,
                                       "no guest '%s' on this host", uuid),
                             "instance_id", uuid);
    } else {
        *ret = none;
    }
    return NULL;
}

bool
fake_postcopy_break(struct fake *fake, const char *uuid)
{
    struct migration *m = find(fake->store, fake->host, uuid);

    if (m && m->is_running && m->is_postcopy) {
        m->is_cut = true;
    }
    return m && m->is_cut;
}

bool
fake_is_postcopy(struct fake_store *store, const char *host, const char *uuid,
                 enum guest_presence *ret, struct fake_guest **ret_guest)
{
    for (struct migration *m = migrations; m; m = m->next) {
        bool is_split =
            m->is_postcopy && (m->is_running || m->progress == BROKEN);

        if (is_split && m->store == store && str_eq(m->uuid, uuid) &&
            (str_eq(m->source, host) || str_eq(m->dest, host))) {
            *ret =
                m->progress == BROKEN ? GUEST_POSTCOPY_FAILED : GUEST_POSTCOPY;
            if (ret_guest) {
                AUTO_FREE text = fake_guest_format(m->guest);

                *ret_guest = fake_guest_parse(uuid, text);
                (*ret_guest)->power_state = POWER_PAUSED;
            }
            return true;
        }
    }
    return false;
}

void
fake_postcopy_visit(struct fake_store *store, const char *host,
                    void (*visit)(void *aux, const char *uuid), void *aux)
{
    for (struct migration *m = migrations; m; m = m->next) {
        enum guest_presence presence;

        if (m->store == store && str_eq(m->source, host) &&
            fake_is_postcopy(store, host, m->uuid, &presence, NULL)) {
            visit(aux, m->uuid);
        }
    }
}

void
fake_migrations_free(struct fake_store *store)
{
    for (struct migration **at = &migrations; *at;) {
        struct migration *m = *at;

        if (m->store == store) {
            *at = m->next;
            migration_free(m);
        } else {
            at = &m->next;
        }
    }
}

static struct migration *
find(struct fake_store *store, const char *source, const char *uuid)
{
    for (struct migration *m = migrations; m; m = m->next) {
        if (m->store == store && str_eq(m->source, source) &&
            str_eq(m->uuid, uuid)) {
            return m;
        }
    }
    return NULL;
}

/* Null, with an error, if there is none. */
static struct migration *
find_running(struct fake *fake, const char *uuid, struct error **ret_error)
{
    struct migration *m = find(fake->store, fake->host, uuid);

    if (m && m->is_running) {
        fake_job_advance(&m->job, now_us());
        return m;
    }
    *ret_error = error_new(ERR_INVALID, "no migration of '%s'", uuid);
    return NULL;
}

static struct error *
begin(struct fake *fake, const struct migrate_request *request,
      struct migration **ret)
{
    AUTO_FREE dest = fake_host_of_uri(request->dest_uri);
    AUTO_GUEST guest = NULL;
    struct migration *m = find(fake->store, fake->host, request->uuid);

    if (m && m->progress == BROKEN &&
        (request->flags & MIGRATE_POSTCOPY_RESUME)) {
        *ret = m;
        return begin_again(fake, m);
    }
    struct error *error = check(fake, request, dest, &guest);
    if (error) {
        return error;
    }
    AUTO_FREE key = xasprintf(".incoming.%s/%s", dest, request->uuid);
    AUTO_FREE text = fake_guest_format(guest);
    struct fake_hold *incoming;
    error = fake_store_hold(fake->store, key, text, &incoming);
    if (error) {
        return error;
    }
    m = add(fake, request, dest);
    m->incoming = incoming;
    m->is_paused = guest->power_state == POWER_PAUSED;
    struct fake_job_params params = {
        .memory = guest->memory_mb * MIB,
        .disk = is_copied(request, "vda") ? guest->disk_mb * MIB : 0,
        .rate = fake->link_mib_s * MIB,
        .dirty_rate = 0,
        .auto_converge = request->flags & MIGRATE_AUTO_CONVERGE,
        .is_paused = m->is_paused,
    };
    fake_job_start(&m->job, &params, now_us());
    m->guest = steal(&guest);
    apply_guest(m, m->guest);
    fake_emit(m->store, m->dest, DRIVER_EVENT_STARTED, 0, m->uuid);
    *ret = m;
    return NULL;
}

static struct error *
check(struct fake *fake, const struct migrate_request *request,
      const char *dest, struct fake_guest **ret)
{
    AUTO_GUEST guest = NULL;
    enum guest_presence presence =
        fake_look(fake->store, fake->host, request->uuid, &guest);

    if (presence == GUEST_ABSENT) {
        return error_set_arg(error_new(ERR_INSTANCE_NOT_FOUND,
                                       "no guest '%s' on this host",
                                       request->uuid),
                             "instance_id", request->uuid);
    }
    struct migration *m = find(fake->store, fake->host, request->uuid);
    if (presence != GUEST_ACTIVE || (m && m->is_running)) {
        return error_new(ERR_MIGRATION,
                         "guest '%s' does not run here, or is moving already",
                         request->uuid);
    }
    if (!dest || !fake_host_is_up(fake->store, dest)) {
        return error_new(ERR_MIGRATION, "unable to connect to '%s'",
                         request->dest_uri);
    }
    if (str_eq(dest, fake->host)) {
        return error_new(ERR_MIGRATION, "guest '%s' can't move to its own host",
                         request->uuid);
    }
    if (fake_look(fake->store, dest, request->uuid, NULL) != GUEST_ABSENT) {
        return error_new(ERR_MIGRATION, "guest '%s' is at '%s' already",
                         request->uuid, dest);
    }
    if (guest->disk_mb &&
        !fake_file_exists(fake->store, dest, guest->disk_path)) {
        return error_new(ERR_MIGRATION, "'%s' is not at '%s', %s",
                         guest->disk_path, dest,
                         is_copied(request, "vda") ? "nothing to copy it into"
                                                   : "and is not to be copied");
    }
    *ret = steal(&guest);
    return NULL;
}

static bool
is_copied(const struct migrate_request *request, const char *target)
{
    for (size_t i = 0; (request->flags & MIGRATE_BLOCK) && i < request->n_disks;
         i++) {
        if (str_eq(request->disks[i], target)) {
            return true;
        }
    }
    return false;
}

/* In the place of the last one. */
static struct migration *
add(struct fake *fake, const struct migrate_request *request, const char *dest)
{
    struct migration *m = xzalloc(sizeof *m), **at = &migrations;

    while (*at && *at != find(fake->store, fake->host, request->uuid)) {
        at = &(*at)->next;
    }
    if (*at) {
        struct migration *old = *at;

        *at = old->next;
        migration_free(old);
    }
    snprintf(m->uuid, sizeof m->uuid, "%s", request->uuid);
    m->store = fake->store;
    m->fake = fake;
    m->source = xstrdup(fake->host);
    m->dest = xstrdup(dest);
    m->flags = request->flags;
    m->limit_mib_s = request->bandwidth_mib_s;
    m->is_running = true;
    m->next = migrations;
    migrations = m;
    return m;
}

/* A broken post-copy goes on where it stopped. */
static struct error *
begin_again(struct fake *fake, struct migration *m)
{
    if (!fake_host_is_up(m->store, m->dest)) {
        return error_new(ERR_MIGRATION, "unable to connect to '%s'", m->dest);
    }
    m->fake = fake;
    m->is_running = true;
    m->progress = UNDER_WAY;
    m->job.now_us = now_us();
    set_dest_power(m, POWER_RUNNING);
    fake_emit(m->store, m->dest, DRIVER_EVENT_RESUMED, 0, m->uuid);
    return NULL;
}

/* Until it is over, one way or another. */
static struct error *
carry_on(struct migration *m)
{
    for (;;) {
        struct error *error = look(m);

        if (error || m->progress == MOVED) {
            return error;
        }
        uint64_t now = now_us(), due = fake_job_due_us(&m->job);
        bool is_held = m->job.phase == FAKE_DONE;
        uint64_t left = is_held || due > now + LOOK_AGAIN_US ? LOOK_AGAIN_US
                        : due > now                          ? due - now
                                                             : 0;
        if (left) {
            fake_wait(left);
        }
    }
}

/* One look at all that may have changed. */
static struct error *
look(struct migration *m)
{
    AUTO_GUEST guest =
        fake_guest_at(m->store, m->is_postcopy ? m->dest : m->source, m->uuid);

    fake_job_advance(&m->job, now_us());
    if (m->is_aborted && !m->is_postcopy) {
        m->progress = CANCELLED;
        return error_new(ERR_CANCELLED, "the migration was aborted");
    }
    if (!guest || !fake_guest_is_active(guest)) {
        m->progress = FAILED;
        return error_new(ERR_MIGRATION, "guest '%s' is not running", m->uuid);
    }
    if (m->is_cut) {
        struct error *error =
            error_new(ERR_MIGRATION, "the link to '%s' was cut", m->dest);
        m->progress = FAILED;
        return m->is_postcopy ? broke(m, error) : error;
    }
    if (!m->is_postcopy && !fake_hold_exists(m->incoming)) {
        m->progress = FAILED;
        return error_new(ERR_MIGRATION, "guest '%s' is gone from '%s'", m->uuid,
                         m->dest);
    }
    if (!m->is_postcopy) {
        apply_guest(m, guest);
    } else {
        fake_job_set_rate(&m->job, m->fake->link_mib_s * MIB);
    }
    if (m->wants_postcopy && !m->is_postcopy && m->job.phase < FAKE_STOPPED) {
        return switch_to_postcopy(m);
    }
    if (m->job.phase >= FAKE_STOPPED && !m->was_stopped && !m->is_postcopy) {
        m->was_stopped = true;
        fake_emit(m->store, m->source, DRIVER_EVENT_SUSPENDED, 0, m->uuid);
    }
    if (m->job.phase == FAKE_DONE && !m->fake->faults[FAKE_transfer].hangs) {
        return complete(m);
    }
    return NULL;
}

/* What was steered, or done to the guest, shows in the job. */
static void
apply_guest(struct migration *m, const struct fake_guest *guest)
{
    int64_t link = m->fake->link_mib_s, dirty = guest->dirty_mib_s;
    bool is_paused = guest->power_state == POWER_PAUSED;

    if (m->limit_mib_s && m->limit_mib_s < link) {
        link = m->limit_mib_s;
    }
    fake_job_set_rate(&m->job, link * MIB);
    if (is_paused) {
        fake_job_pause(&m->job);
    } else {
        fake_job_set_dirty_rate(
            &m->job, (dirty < 0 ? m->fake->dirty_mib_s : dirty) * MIB);
    }
}

static struct error *
switch_to_postcopy(struct migration *m)
{
    struct error *error = move_guest(m, POWER_RUNNING);

    if (error) {
        m->progress = FAILED;
        return error;
    }
    m->is_postcopy = true;
    fake_job_postcopy(&m->job);
    fake_emit(m->store, m->source, DRIVER_EVENT_SUSPENDED, 0, m->uuid);
    fake_emit(m->store, m->source, DRIVER_EVENT_POSTCOPY, 0, m->uuid);
    fake_emit(m->store, m->dest, DRIVER_EVENT_RESUMED, 0, m->uuid);
    return NULL;
}

static struct error *
complete(struct migration *m)
{
    struct error *error = fake_take_failure(m->fake, FAKE_transfer);

    if (!error && !m->is_postcopy) {
        error = move_guest(m, m->is_paused ? POWER_PAUSED : POWER_RUNNING);
    }
    if (!error) {
        m->progress = MOVED;
    } else if (m->is_postcopy) {
        error = broke(m, error);
    } else {
        m->progress = FAILED;
    }
    return error;
}

/* Each host has a half of the guest. */
static struct error *
broke(struct migration *m, struct error *error)
{
    m->is_cut = false;
    m->progress = BROKEN;
    set_dest_power(m, POWER_PAUSED);
    return error;
}

/* From here on the guest is the destination's. */
static struct error *
move_guest(struct migration *m, enum power_state power_state)
{
    AUTO_FREE from = xasprintf("%s/%s", m->source, m->uuid);
    AUTO_FREE to = xasprintf("%s/%s", m->dest, m->uuid);
    AUTO_GUEST guest = fake_guest_at(m->store, m->source, m->uuid);
    struct error *error = NULL;

    if (!guest) {
        return error_new(ERR_MIGRATION, "guest '%s' is not running", m->uuid);
    }
    guest->power_state = power_state;
    guest->persistent = true;
    error = fake_guest_put(m->store, m->source, guest);
    return error ? error : fake_store_move(m->store, from, to);
}

/* It went on here, too: the answer of the destination, which has started it,
 * was lost. */
static struct error *
run_on(struct migration *m)
{
    AUTO_GUEST guest = fake_guest_at(m->store, m->dest, m->uuid);
    struct error *error =
        guest ? fake_guest_put(m->store, m->source, guest) : NULL;

    m->fake->runs_twice = false;
    m->progress = FAILED;
    fake_hold_free(steal(&m->incoming));
    fake_emit(m->store, m->dest, DRIVER_EVENT_RESUMED, 0, m->uuid);
    fake_emit(m->store, m->dest, DRIVER_EVENT_DEFINED, 0, m->uuid);
    return error ? error
                 : error_new(ERR_MIGRATION, "the answer of '%s' was lost",
                             m->dest);
}

/* Leaves the statistics, and tells both hosts. */
static void
end(struct migration *m, const struct error *error)
{
    fake_job_stats(&m->job, &m->stats);
    m->stats.type = !error                     ? JOB_COMPLETED
                    : m->progress == CANCELLED ? JOB_CANCELLED
                                               : JOB_FAILED;
    m->is_running = false;
    m->fake = NULL;
    bool is_incoming = m->incoming && fake_hold_exists(m->incoming);
    fake_hold_free(steal(&m->incoming));
    if (m->progress == MOVED) {
        if (!m->is_postcopy) {
            fake_emit(m->store, m->dest,
                      m->is_paused ? DRIVER_EVENT_SUSPENDED
                                   : DRIVER_EVENT_RESUMED,
                      0, m->uuid);
        }
        fake_emit(m->store, m->dest, DRIVER_EVENT_DEFINED, 0, m->uuid);
        fake_emit(m->store, m->source, DRIVER_EVENT_JOB_COMPLETED, 0, m->uuid);
        fake_emit(m->store, m->source, DRIVER_EVENT_STOPPED, STOP_MIGRATED,
                  m->uuid);
        if (m->guest->persistent) {
            fake_emit(m->store, m->source, DRIVER_EVENT_UNDEFINED, 0, m->uuid);
        }
    } else if (m->progress == BROKEN) {
        fake_emit(m->store, m->source, DRIVER_EVENT_POSTCOPY_FAILED, 0,
                  m->uuid);
        fake_emit(m->store, m->dest, DRIVER_EVENT_POSTCOPY_FAILED, 0, m->uuid);
    } else {
        AUTO_GUEST guest = fake_guest_at(m->store, m->source, m->uuid);

        if (is_incoming) {
            fake_emit(m->store, m->dest, DRIVER_EVENT_STOPPED, STOP_FAILED,
                      m->uuid);
        }
        if (m->was_stopped && guest && guest->power_state == POWER_RUNNING) {
            fake_emit(m->store, m->source, DRIVER_EVENT_RESUMED, 0, m->uuid);
        }
    }
    fake_changed();
}

static void
set_dest_power(struct migration *m, enum power_state power_state)
{
    AUTO_GUEST guest = fake_guest_at(m->store, m->dest, m->uuid);

    if (guest) {
        guest->power_state = power_state;
        error_free(fake_guest_put(m->store, m->dest, guest));
    }
}

static void
migration_free(struct migration *m)
{
    fake_hold_free(m->incoming);
    fake_guest_free(m->guest);
    free(m->source);
    free(m->dest);
    free(m);
}

/* The real one: a test's clock does not move guests. */
static uint64_t
now_us(void)
{
    return uv_hrtime() / 1000;
}
