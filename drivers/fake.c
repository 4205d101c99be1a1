#include <config.h>

#include "drivers/fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_MEMORY_MB 64
#define DEFAULT_DISK_MB 16
#define DEFAULT_LINK_MIB_S 1600 /* A guest of 64 + 16 MiB takes 50 ms. */

/* Of this process. */
static uv_once_t once = UV_ONCE_INIT;
static uv_mutex_t mutex;
static uv_cond_t cond;
static struct fake *fakes;

static void init_mutex(void);
static struct error *join(struct fake *fake,
                          const struct driver_options *options);
static struct error *make_guest(struct fake *fake, unsigned number);
static struct error *find_active(struct fake *fake, const char *uuid,
                                 struct fake_guest **ret);
static struct error *set_power(struct fake *fake, const char *uuid,
                               enum power_state power_state);
static struct error *not_found(const char *uuid);

static struct error *
fake_open(const struct driver_options *options, void **ret_state)
{
    if (!*options->host || strchr(options->host, '/') ||
        options->host[0] == '.') {
        return error_new(ERR_CONFIG, "'%s' is not the name of a host",
                         options->host);
    }
    uv_once(&once, init_mutex);
    struct fake *fake = xzalloc(sizeof *fake);
    fake->host = xstrdup(options->host);
    fake->memory_mb =
        options->fake_memory_mb ? options->fake_memory_mb : DEFAULT_MEMORY_MB;
    fake->dirty_mib_s = options->fake_dirty_rate_mib_s;
    fake->link_mib_s = DEFAULT_LINK_MIB_S;
    fake->event = options->event;
    fake->event_aux = options->event_aux;
    disk_roots_init(&fake->roots, options->instances_path,
                    options->images_paths);

    FAKE_LOCK;
    struct error *error = fake_store_acquire(options->fake_world, &fake->store);
    if (!error) {
        error = join(fake, options);
        if (error) {
            fake_store_release(fake->store);
        }
    }
    if (error) {
        disk_roots_close(&fake->roots);
        free(fake->host);
        free(fake);
        return error;
    }
    fake->next = fakes;
    fakes = fake;
    if (fake->is_connected) {
        fake_emit(fake->store, fake->host, DRIVER_EVENT_CONNECTED, 0, NULL);
    }
    *ret_state = fake;
    return NULL;
}

static void
fake_close(void *state)
{
    struct fake *fake = state, **at = &fakes;

    FAKE_LOCK;
    while (*at != fake) {
        at = &(*at)->next;
    }
    *at = fake->next;
    fake_copies_free(fake);
    struct fake_store *store = fake->store;
    if (fake_store_release(store)) {
        fake_migrations_free(store);
    }
    fake_dirty_rates_free(fake);
    disk_roots_close(&fake->roots);
    free(fake->host);
    free(fake);
}

static bool
fake_is_connected(void *state)
{
    struct fake *fake = state;

    return fake->is_connected;
}

static struct error *
fake_host_get(void *state, struct host_info **ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_host_get);
    if (error) {
        return error;
    }
    struct host_info *info = xzalloc(sizeof *info);
    CLEANUP(fake_names_close) struct fake_names uuids;
    int64_t memory_mb = 0, disk_mb = 0;

    fake_guests_at(fake->store, fake->host, &uuids);
    for (size_t i = 0; i < uuids.n; i++) {
        AUTO_GUEST guest =
            fake_guest_at(fake->store, fake->host, uuids.names[i]);

        if (guest && fake_guest_is_active(guest)) {
            info->n_guests_active++;
            memory_mb += guest->memory_mb;
        }
        disk_mb += guest ? guest->disk_mb : 0;
    }
    info->hostname = xstrdup(fake->host);
    info->hypervisor_type = xstrdup("fake");
    info->hypervisor_version = 1000000;
    info->libvirt_version = 9000000;
    info->arch = xstrdup("x86_64");
    info->cpu_model = xstrdup("Fake");
    info->cpu_vendor = xstrdup("drover");
    info->cpu_xml = xstrdup("<cpu><arch>x86_64</arch><model>Fake</model>"
                            "<vendor>drover</vendor></cpu>");
    info->n_cpus = info->n_cores = FAKE_HOST_CPUS;
    info->n_sockets = info->n_threads = info->n_nodes = 1;
    info->memory_mb = FAKE_HOST_MEMORY_MB;
    info->memory_free_mb = FAKE_HOST_MEMORY_MB - memory_mb;
    info->disk_total_gb = FAKE_HOST_DISK_GB;
    info->disk_free_gb = FAKE_HOST_DISK_GB - disk_mb / 1024;
    info->disk_available_least_gb = info->disk_free_gb;
    *ret = info;
    return NULL;
}

static struct error *
fake_host_uptime(void *state, char **ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_host_uptime);
    if (error) {
        return error;
    }
    double up_s = 0, load[3];
    time_t now = time(NULL);
    struct tm local;
    uv_uptime(&up_s);
    uv_loadavg(load);
    localtime_r(&now, &local);
    int minutes = (int)(up_s / 60);
    *ret =
        xasprintf(" %02d:%02d:%02d up %d days, %2d:%02d,  0 user,  "
                  "load average: %.2f, %.2f, %.2f",
                  local.tm_hour, local.tm_min, local.tm_sec, minutes / 1440,
                  minutes / 60 % 24, minutes % 60, load[0], load[1], load[2]);
    return NULL;
}

/* All fakes have the same CPU; another architecture is refused. */
static struct error *
fake_compare_cpu(void *state, const char *cpu_xml)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_compare_cpu);
    if (error || !cpu_xml) {
        return error;
    }
    const char *arch = strstr(cpu_xml, "<arch>");
    if (!strstr(cpu_xml, "<cpu") ||
        (arch && strncmp(arch, "<arch>x86_64<", 13))) {
        return error_new(ERR_INVALID_CPU_INFO,
                         "the CPU is not one that this host can give");
    }
    return NULL;
}

static struct error *
fake_guest_list(void *state, struct guest_list **ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_guest_list);
    if (error) {
        return error;
    }
    struct guest_list *list = xzalloc(sizeof *list);
    CLEANUP(fake_names_close) struct fake_names uuids;
    fake_guests_at(fake->store, fake->host, &uuids);
    list->guests = xcalloc(uuids.n, sizeof *list->guests);
    for (size_t i = 0; i < uuids.n; i++) {
        AUTO_GUEST guest = NULL;
        enum guest_presence presence =
            fake_look(fake->store, fake->host, uuids.names[i], &guest);

        if (guest) {
            list->guests[list->n++] = fake_guest_present(guest, presence);
        }
    }
    *ret = list;
    return NULL;
}

static struct error *
fake_guest_get(void *state, const char *uuid, struct guest **ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_GUEST guest = NULL;
    struct error *error = fake_enter(fake, FAKE_guest_get);
    if (error) {
        return error;
    }
    enum guest_presence presence =
        fake_look(fake->store, fake->host, uuid, &guest);
    if (!guest) {
        return not_found(uuid);
    }
    *ret = fake_guest_present(guest, presence);
    return NULL;
}

static struct error *
fake_peer_presence(void *state, const char *uri, const char *uuid,
                   enum guest_presence *ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_FREE host = fake_host_of_uri(uri);
    struct error *error = fake_enter(fake, FAKE_peer_presence);
    if (error) {
        return error;
    }
    if (!host || !fake_host_is_up(fake->store, host)) {
        return error_new(ERR_HYPERVISOR_UNAVAILABLE, "connect to '%s'", uri);
    }
    *ret = fake_look(fake->store, host, uuid, NULL);
    return NULL;
}

static struct error *
fake_suspend(void *state, const char *uuid)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_suspend);
    return error ? error : set_power(fake, uuid, POWER_PAUSED);
}

static struct error *
fake_resume(void *state, const char *uuid)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_resume);
    return error ? error : set_power(fake, uuid, POWER_RUNNING);
}

static struct error *
fake_persist(void *state, const char *uuid)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_GUEST guest = NULL;
    struct error *error = fake_enter(fake, FAKE_persist);
    if (!error && fake_look(fake->store, fake->host, uuid, NULL) == GUEST_OFF) {
        return NULL; /* A transient one that is off is no more. */
    }
    if (!error) {
        error = find_active(fake, uuid, &guest);
    }
    if (error || guest->persistent) {
        return error;
    }
    guest->persistent = true;
    error = fake_guest_put(fake->store, fake->host, guest);
    if (!error) {
        fake_emit(fake->store, fake->host, DRIVER_EVENT_DEFINED, 0, uuid);
    }
    return error;
}

static struct error *
fake_discard(void *state, const char *uuid)
{
    struct fake *fake = state;

    FAKE_LOCK;
    struct error *error = fake_enter(fake, FAKE_discard);
    if (error) {
        return error;
    }
    switch (fake_look(fake->store, fake->host, uuid, NULL)) {
    case GUEST_ABSENT:
        return NULL;
    case GUEST_OFF:
    case GUEST_MIGRATED:
        fake_guest_remove(fake->store, fake->host, uuid);
        fake_emit(fake->store, fake->host, DRIVER_EVENT_UNDEFINED, 0, uuid);
        return NULL;
    case GUEST_INCOMING: {
        AUTO_FREE key = xasprintf(".incoming.%s/%s", fake->host, uuid);

        fake_store_remove(fake->store, key);
        fake_changed();
        return NULL;
    }
    default:
        return error_new(ERR_INVALID, "guest '%s' runs here", uuid);
    }
}

bool
fake_lock(void)
{
    uv_mutex_lock(&mutex);
    return true;
}

void
fake_unlock(UNUSED bool *locked)
{
    uv_mutex_unlock(&mutex);
}

void
fake_changed(void)
{
    uv_cond_broadcast(&cond);
}

void
fake_wait(uint64_t timeout_us)
{
    if (timeout_us == UINT64_MAX) {
        uv_cond_wait(&cond, &mutex);
    } else {
        uv_cond_timedwait(&cond, &mutex, timeout_us * 1000);
    }
}

struct error *
fake_enter(struct fake *fake, enum fake_op op)
{
    const struct fake_fault *fault = &fake->faults[op];
    uint64_t start_us = uv_hrtime() / 1000, now_us = start_us;

    while (now_us < start_us + fault->slow_ms * UINT64_C(1000)) {
        fake_wait(start_us + fault->slow_ms * UINT64_C(1000) - now_us);
        now_us = uv_hrtime() / 1000;
    }
    while (fault->hangs) {
        fake_wait(UINT64_MAX);
    }
    if (!fake->is_connected) {
        return error_new(ERR_HYPERVISOR_UNAVAILABLE,
                         "no connection to the hypervisor");
    }
    return fake_take_failure(fake, op);
}

struct error *
fake_take_failure(struct fake *fake, enum fake_op op)
{
    static const char *const names[] = {
#define FAKE_OP(NAME) #NAME,
        FAKE_OPS
#undef FAKE_OP
    };
    struct fake_fault *fault = &fake->faults[op];

    if (!fault->n_failures) {
        return NULL;
    }
    fault->n_failures--;
    return error_new(fault->code, "told to fail '%s'", names[op]);
}

void
fake_emit(struct fake_store *store, const char *host,
          enum driver_event_type type, int detail, const char *uuid)
{
    struct driver_event event = {.type = type, .detail = detail};

    snprintf(event.uuid, sizeof event.uuid, "%s", uuid ? uuid : "");
    for (struct fake *fake = fakes; fake; fake = fake->next) {
        if (fake->store == store && str_eq(fake->host, host) && fake->event) {
            fake->event(fake->event_aux, &event);
        }
    }
}

static void
init_mutex(void)
{
    uv_mutex_init(&mutex);
    uv_cond_init(&cond);
}

static struct error *
join(struct fake *fake, const struct driver_options *options)
{
    AUTO_FREE host_key = xasprintf(".hosts/%s", fake->host);
    AUTO_FREE down_key = xasprintf(".down/%s", fake->host);
    struct error *error = fake_store_put(fake->store, host_key, "");

    fake->is_connected = !fake_store_has(fake->store, down_key);
    for (unsigned i = 1; !error && i <= options->fake_guests; i++) {
        error = make_guest(fake, i);
    }
    return error_wrap(error, "join the world");
}

static struct error *
make_guest(struct fake *fake, unsigned number)
{
    AUTO_FREE name = xasprintf("fake-%s-%04u", fake->host, number);
    AUTO_FREE disk_path = NULL;
    struct fake_guest guest = {
        .name = name,
        .memory_mb = (int)fake->memory_mb,
        .n_vcpus = 1,
        .disk_mb = DEFAULT_DISK_MB,
        .power_state = POWER_RUNNING,
        .persistent = true,
        .dirty_mib_s = -1,
    };

    fake_uuid_derive(fake->host, name, guest.uuid);
    disk_path = xasprintf("%s/%s/disk", fake->roots.paths[0], guest.uuid);
    guest.disk_path = disk_path;
    AUTO_FREE born_key = xasprintf(".born/%s", guest.uuid);
    if (fake_store_has(fake->store, born_key)) {
        return NULL;
    }
    return fake_guest_create(fake, &guest);
}

static struct error *
find_active(struct fake *fake, const char *uuid, struct fake_guest **ret)
{
    AUTO_GUEST guest = NULL;

    switch (fake_look(fake->store, fake->host, uuid, &guest)) {
    case GUEST_ABSENT:
        return not_found(uuid);
    case GUEST_ACTIVE:
        *ret = steal(&guest);
        return NULL;
    default:
        return error_set_arg(error_new(ERR_INSTANCE_NOT_RUNNING,
                                       "guest '%s' does not run here", uuid),
                             "instance_id", uuid);
    }
}

static struct error *
set_power(struct fake *fake, const char *uuid, enum power_state power_state)
{
    AUTO_GUEST guest = NULL;
    struct error *error = find_active(fake, uuid, &guest);

    if (error || guest->power_state == power_state) {
        return error;
    }
    guest->power_state = power_state;
    error = fake_guest_put(fake->store, fake->host, guest);
    if (error) {
        return error;
    }
    fake_emit(fake->store, fake->host,
              power_state == POWER_PAUSED ? DRIVER_EVENT_SUSPENDED
                                          : DRIVER_EVENT_RESUMED,
              0, uuid);
    fake_changed();
    return NULL;
}

static struct error *
not_found(const char *uuid)
{
    return error_set_arg(
        error_new(ERR_INSTANCE_NOT_FOUND, "no guest '%s' on this host", uuid),
        "instance_id", uuid);
}

const struct driver_ops drover_driver = {
    .abi = DRIVER_ABI,
    .name = "fake",
    .open = fake_open,
    .close = fake_close,
    .is_connected = fake_is_connected,
    .host_get = fake_host_get,
    .host_resources = fake_host_resources,
    .host_uptime = fake_host_uptime,
    .compare_cpu = fake_compare_cpu,
    .guest_list = fake_guest_list,
    .guest_get = fake_guest_get,
    .peer_presence = fake_peer_presence,
    .probe_create = fake_probe_create,
    .probe_exists = fake_probe_exists,
    .probe_remove = fake_probe_remove,
    .prepare = fake_prepare,
    .unprepare = fake_unprepare,
    .migrate = fake_migrate,
    .migrate_abort = fake_migrate_abort,
    .migrate_break = fake_migrate_break,
    .migrate_set_downtime = fake_migrate_set_downtime,
    .migrate_get_downtime = fake_migrate_get_downtime,
    .migrate_throttle = fake_migrate_throttle,
    .migrate_set_bandwidth = fake_migrate_set_bandwidth,
    .migrate_get_bandwidth = fake_migrate_get_bandwidth,
    .migrate_postcopy = fake_migrate_postcopy,
    .job_get = fake_job_get,
    .dirty_rate_start = fake_dirty_rate_start,
    .dirty_rate_get = fake_dirty_rate_get,
    .suspend = fake_suspend,
    .resume = fake_resume,
    .power_on = fake_power_on,
    .shut_down = fake_shut_down,
    .power_off = fake_power_off,
    .console_read = fake_console_read,
    .guest_counters = fake_guest_counters,
    .persist = fake_persist,
    .discard = fake_discard,
    .save = fake_save,
    .rest_get = fake_rest_get,
    .rest_seal = fake_rest_seal,
    .rest_give_up = fake_rest_give_up,
    .rest_take = fake_rest_take,
    .rest_wake = fake_rest_wake,
    .copy_serve = fake_copy_serve,
    .copy_stop = fake_copy_stop,
    .copy = fake_copy,
    .copy_abort = fake_copy_abort,
    .copy_progress = fake_copy_progress,
    .image_exists = fake_image_exists,
    .image_create = fake_image_create,
    .image_keep = fake_image_keep,
    .image_copy = fake_image_copy,
    .steer = fake_steer,
};
