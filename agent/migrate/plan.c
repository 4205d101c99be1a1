#include <config.h>

#include "agent/migrate/plan.h"

#include <stdlib.h>
#include <string.h>

#include "agent/attachments.h"
#include "agent/migrate/data.h"
#include "agent/migrate/pins.h"
#include "agent/migrate/rules.h"
#include "agent/migrate/uri.h"

static bool is_below(const char *path, const char *directory);
static bool has_disk_below(const struct prepare_request *, const char *);
static void copy_serial_ports(const struct object *, struct migrate_request *);
static bool has_cpu_shares_quota(const struct object *instance);

struct error *
migrate_plan_uris(const struct conf *conf, const char *dest,
                  const struct object *data, char **ret_dest_uri,
                  char **ret_migrate_uri)
{
    struct migrate_uri_options options = {
        .live_migration_uri = conf->libvirt.live_migration_uri,
        .scheme = conf->libvirt.live_migration_scheme,
        .virt_type = conf->libvirt.virt_type,
        .tunnelled = conf->libvirt.live_migration_tunnelled,
    };

    return migrate_uri_make(
        &options, dest, data ? migrate_data_target_connect_addr(data) : NULL,
        ret_dest_uri, ret_migrate_uri);
}

unsigned
migrate_plan_flags(const struct conf *conf, const struct object *data,
                   const struct migrate_settings *settings, size_t n_disks,
                   const char *vm_state)
{
    struct convergence policy = migrate_settings_convergence(settings, conf);
    const struct conf_libvirt *libvirt = &conf->libvirt;
    struct migrate_rules_options options = {
        .tunnelled = libvirt->live_migration_tunnelled,
        .native_tls = libvirt->live_migration_with_native_tls,
        .permit_post_copy = libvirt->live_migration_permit_post_copy,
        .permit_auto_converge = libvirt->live_migration_permit_auto_converge,
        .has_policy = policy.n_steps > 0,
        .throttles = convergence_actions(&policy) & CONVERGENCE_THROTTLE,
    };

    return migrate_rules_flags(&options, migrate_data_block_migration(data),
                               n_disks, vm_state);
}

struct error *
migrate_plan_request(const struct conf *conf, const char *dest,
                     const struct object *instance, const struct object *data,
                     const struct migrate_settings *settings,
                     const struct guest *guest, struct migrate_request **ret)
{
    CLEANUP(migrate_request_free_at)
    struct migrate_request *request = xzalloc(sizeof *request);

    struct error *error = migrate_plan_uris(
        conf, dest, data, &request->dest_uri, &request->migrate_uri);
    if (error) {
        return error;
    }
    request->uuid = xstrdup(guest->uuid);
    request->bandwidth_mib_s = migrate_settings_bandwidth(settings, conf);
    request->vnc_listen =
        xstrdup_null(migrate_data_graphics_listen_addr_vnc(data));
    request->spice_listen =
        xstrdup_null(migrate_data_graphics_listen_addr_spice(data));
    request->serial_listen =
        xstrdup_null(migrate_data_serial_listen_addr(data));
    copy_serial_ports(data, request);
    migrate_pins_of(data, &request->pins);
    request->remove_cpu_shares = !has_cpu_shares_quota(instance);
    request->file_backed_memory =
        migrate_data_dst_wants_file_backed_memory(data);
    if (migrate_data_block_migration(data) &&
        !conf->libvirt.live_migration_tunnelled) {
        request->disks = migrate_rules_disks(guest, &request->n_disks);
    }
    request->flags = migrate_plan_flags(conf, data, settings, request->n_disks,
                                        object_string(instance, "vm_state"));
    request->compression =
        xstrdup_null(migrate_settings_compression(settings, conf));
    request->n_parallel = migrate_rules_n_parallel(
        (unsigned)conf->libvirt.live_migration_parallel_connections,
        request->flags);
    error = attachments_volumes(conf, data, guest->uuid, &request->volumes);
    if (!error) {
        error = attachments_vifs(data, guest->uuid, false, &request->vifs);
    }
    if (error) {
        return error;
    }
    *ret = steal(&request);
    return NULL;
}

struct error *
migrate_plan_files(const struct conf *conf, const struct object *data,
                   const char *uuid, const char *disks,
                   struct prepare_request **ret)
{
    bool copies = migrate_data_block_migration(data) &&
                  !migrate_data_is_shared_block_storage(data);

    return migrate_plan_rest_files(conf, data, uuid, copies ? disks : NULL,
                                   ret);
}

struct error *
migrate_plan_rest_files(const struct conf *conf, const struct object *data,
                        const char *uuid, const char *disks,
                        struct prepare_request **ret)
{
    CLEANUP(prepare_request_free_at) struct prepare_request *files = NULL;
    AUTO_FREE directory = migrate_plan_directory(conf, data);

    struct error *error =
        migrate_data_disks_parse(disks, uuid, directory, &files);
    if (error) {
        return error;
    }
    /* A guest that nobody's instances_path knows keeps its disks elsewhere;
     * a directory would stay empty. */
    if (files->directory && str_eq(conf->control_plane, "none") &&
        !has_disk_below(files, files->directory)) {
        free(files->directory);
        files->directory = NULL;
    }
    *ret = files->directory || files->n_disks ? steal(&files) : NULL;
    return NULL;
}

char *
migrate_plan_directory(const struct conf *conf, const struct object *data)
{
    const char *name = data ? migrate_data_instance_relative_path(data) : NULL;

    if (!name || migrate_data_is_shared_instance_path(data)) {
        return NULL;
    }
    return xasprintf("%s/%s", conf->instances_path, name);
}

void
migrate_plan_set_results(const struct conf *conf, struct object *data)
{
    migrate_data_set_target_connect_addr(
        data, conf->libvirt.live_migration_inbound_addr);
    migrate_data_set_supported_perf_events(
        data, (const char *const *)conf->libvirt.enabled_perf_events);
    if (!migrate_data_has_bdms(data)) {
        migrate_data_set_bdms(data, NULL, 0);
    }
    migrate_data_init_old_vol_attachment_ids(data);
    migrate_data_set_wait_for_vif_plugged(
        data, conf->compute.live_migration_wait_for_vif_plug &&
                  migrate_data_n_vifs(data) > 0);
}

void
migrate_plan_record_stats(struct object *record, const struct job_stats *stats)
{
    const struct {
        const char *field;
        int64_t value;
    } counters[] = {
        {"memory_total", stats->memory_total},
        {"memory_processed", stats->memory_processed},
        {"memory_remaining", stats->memory_remaining},
        {"disk_total", stats->disk_total},
        {"disk_processed", stats->disk_processed},
        {"disk_remaining", stats->disk_remaining},
    };

    for (size_t i = 0; i < N_ELEMENTS(counters); i++) {
        if (counters[i].value >= 0) {
            object_set_int(record, counters[i].field, counters[i].value);
        }
    }
}

static bool
is_below(const char *path, const char *directory)
{
    size_t size = strlen(directory);

    return strncmp(path, directory, size) == 0 && path[size] == '/';
}

static bool
has_disk_below(const struct prepare_request *files, const char *directory)
{
    for (size_t i = 0; i < files->n_disks; i++) {
        if (is_below(files->disks[i].path, directory)) {
            return true;
        }
    }
    return false;
}

static void
copy_serial_ports(const struct object *data, struct migrate_request *request)
{
    size_t n = migrate_data_n_serial_listen_ports(data);

    request->serial_ports = xcalloc(n, sizeof *request->serial_ports);
    request->n_serial_ports = n;
    for (size_t i = 0; i < n; i++) {
        request->serial_ports[i] = migrate_data_serial_listen_port(data, i);
    }
}

/* Without it cputune/shares is an old default that newer hosts refuse. */
static bool
has_cpu_shares_quota(const struct object *instance)
{
    const struct json *flavor = object_get(instance, "flavor");
    const struct json *data = json_get(flavor, "nova_object.data");

    return json_has(json_get(data, "extra_specs"), "quota:cpu_shares");
}
