#include <config.h>

#include "drivers/libvirt_internal.h"

#include "drivers/copy.h"
#include "drivers/disk.h"
#include "drivers/image_cache.h"

/* The libvirt driver: real guests.  See libvirt_internal.h for its parts. */

static struct error *
libvirt_open(const struct driver_options *options, void **ret_state)
{
    const char *uri = options->connection_uri;
    struct libvirt *state = xzalloc(sizeof *state);

    state->uri = xstrdup(uri && *uri ? uri : "qemu:///system");
    state->store =
        disk_store_create(options->instances_path, options->images_paths);
    disk_store_allow(state->store, options->saved_path);
    disk_store_allow(state->store, options->nvram_path);
    state->saved_path = xstrdup_null(options->saved_path);
    state->copies = copies_create();
    state->event = options->event;
    state->event_aux = options->event_aux;

    state->jobs = libvirt_job_cache_create();
    state->machines = libvirt_machines_create();

    libvirt_event_ref();
    state->keeper = libvirt_keeper_start(state);
    *ret_state = state;
    return NULL;
}

static void
libvirt_close(void *state_)
{
    struct libvirt *state = state_;

    libvirt_keeper_stop(state->keeper);
    libvirt_event_unref();
    libvirt_job_cache_free(state->jobs);
    libvirt_machines_free(state->machines);
    copies_free(state->copies);
    disk_store_free(state->store);
    free(state->saved_path);
    free(state->uri);
    free(state);
}

static bool
libvirt_is_connected(void *state)
{
    return libvirt_connection_is_up(state);
}

static struct error *
libvirt_probe_create(void *state_, const char *directory, char **ret_name)
{
    const struct libvirt *state = state_;

    return disk_probe_create(state->store, directory, ret_name);
}

static struct error *
libvirt_probe_exists(void *state_, const char *directory, const char *name,
                     bool *ret)
{
    const struct libvirt *state = state_;

    return disk_probe_exists(state->store, directory, name, ret);
}

static struct error *
libvirt_probe_remove(void *state_, const char *directory, const char *name)
{
    const struct libvirt *state = state_;

    return disk_probe_remove(state->store, directory, name);
}

static struct error *
libvirt_prepare(void *state_, const struct prepare_request *request)
{
    const struct libvirt *state = state_;

    return disk_prepare(state->store, request);
}

/* Files go only once the hypervisor has said that no guest is on them: one
 * that can't be asked may be running it. */
static struct error *
libvirt_unprepare(void *state_, const struct prepare_request *request)
{
    struct libvirt *state = state_;
    AUTO_CONNECTION connection = NULL;
    enum guest_presence presence;
    struct error *error = libvirt_connection_get(state, &connection);

    if (!error) {
        error = libvirt_guest_presence(connection, request->uuid, &presence);
    }
    if (error) {
        return error_wrap(error, "look for guest '%s'", request->uuid);
    }
    if (presence != GUEST_ABSENT && presence != GUEST_OFF &&
        presence != GUEST_MIGRATED) {
        return error_new(ERR_INVALID, "guest '%s' is active here",
                         request->uuid);
    }
    return disk_unprepare(state->store, request);
}

static struct error *
libvirt_image_exists(void *state_, const char *name, bool *ret)
{
    const struct libvirt *state = state_;

    return image_cache_exists(state->store, name, ret);
}

static struct error *
libvirt_image_create(void *state_, const char *name, int *ret_fd)
{
    const struct libvirt *state = state_;

    return image_cache_create(state->store, name, ret_fd);
}

static struct error *
libvirt_image_keep(void *state_, const struct image_request *request)
{
    const struct libvirt *state = state_;

    return image_cache_keep(state->store, request);
}

static struct error *
libvirt_image_copy(void *state_, const struct image_request *request)
{
    const struct libvirt *state = state_;

    return image_cache_copy(state->store, request);
}

const struct driver_ops drover_driver = {
    .abi = DRIVER_ABI,
    .name = "libvirt",
    .open = libvirt_open,
    .close = libvirt_close,
    .is_connected = libvirt_is_connected,
    .host_get = libvirt_host_get,
    .host_resources = libvirt_host_resources,
    .host_uptime = libvirt_host_uptime,
    .compare_cpu = libvirt_host_compare_cpu,
    .guest_list = libvirt_guest_list,
    .guest_get = libvirt_guest_get,
    .peer_presence = libvirt_guest_peer_presence,
    .probe_create = libvirt_probe_create,
    .probe_exists = libvirt_probe_exists,
    .probe_remove = libvirt_probe_remove,
    .prepare = libvirt_prepare,
    .unprepare = libvirt_unprepare,
    .migrate = libvirt_migrate,
    .migrate_abort = libvirt_migrate_abort,
    .migrate_break = libvirt_migrate_break,
    .migrate_set_downtime = libvirt_migrate_set_downtime,
    .migrate_get_downtime = libvirt_migrate_get_downtime,
    .migrate_throttle = libvirt_migrate_throttle,
    .migrate_set_bandwidth = libvirt_migrate_set_bandwidth,
    .migrate_get_bandwidth = libvirt_migrate_get_bandwidth,
    .migrate_postcopy = libvirt_migrate_postcopy,
    .job_get = libvirt_job_get,
    .dirty_rate_start = libvirt_dirty_rate_start,
    .dirty_rate_get = libvirt_dirty_rate_get,
    .suspend = libvirt_guest_suspend,
    .power_on = libvirt_power_on,
    .shut_down = libvirt_shut_down,
    .power_off = libvirt_power_off,
    .console_read = libvirt_console_read,
    .guest_counters = libvirt_guest_counters,
    .resume = libvirt_guest_resume,
    .persist = libvirt_guest_persist,
    .discard = libvirt_guest_discard,
    .save = libvirt_save,
    .rest_get = libvirt_rest_get,
    .rest_seal = libvirt_rest_seal,
    .rest_give_up = libvirt_rest_give_up,
    .rest_take = libvirt_rest_take,
    .rest_wake = libvirt_rest_wake,
    .copy_serve = libvirt_copy_serve,
    .copy_stop = libvirt_copy_stop,
    .copy = libvirt_copy,
    .copy_abort = libvirt_copy_abort,
    .copy_progress = libvirt_copy_progress,
    .image_exists = libvirt_image_exists,
    .image_create = libvirt_image_create,
    .image_keep = libvirt_image_keep,
    .image_copy = libvirt_image_copy,
};
