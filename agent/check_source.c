#include <config.h>

#include "agent/check.h"

#include <stdlib.h>
#include <string.h>

#include "agent/migrate_data.h"
#include "agent/migrate_rules.h"
#include "agent/peer.h"

LOG_MODULE(check);

struct source_check {
    struct agent *agent;
    struct log_context log;
    struct json *context;
    char *uuid, *dest;
    struct object *data;
    struct guest *guest;
    bool is_shared_path;
    /* Disks outside of instances_path: is each seen by the destination? */
    size_t i_disk, n_outside, n_outside_shared;
    char *directory, *probe; /* The file of ours that it looks for. */
    bool probe_seen;
    struct error *probe_error;
    check_done *done;
    void *aux;
};

static void guest_known(void *aux, struct error *error, struct guest *guest);
static void path_probed(void *aux, struct error *error, bool exists);
static void next_disk(struct source_check *check);
static void disk_probe_made(void *aux, struct error *error, char *name);
static void disk_probe_answered(void *aux, struct json **result,
                                struct error *error);
static void disk_probe_removed(void *aux, struct error *error);
static void decide(struct source_check *check);
static struct error *decide_storage(struct source_check *check);
static struct error *check_space(const struct source_check *check);
static bool is_below(const char *path, const char *directory);
static bool is_power_on(const struct guest *guest);
static void finish(struct source_check *check, struct error *error);

void
check_source(struct agent *agent, const struct json *context,
             const struct object *instance, const struct object *data,
             const char *dest, const struct log_context *log, check_done *done,
             void *aux)
{
    struct source_check *check = xzalloc(sizeof *check);

    check->agent = agent;
    check->log = *log;
    check->context = json_copy(context);
    check->uuid = xstrdup(object_string(instance, "uuid"));
    check->dest = xstrdup_null(dest);
    check->data = object_copy(data);
    check->done = done;
    check->aux = aux;
    driver_guest_get(agent->driver, check->uuid, guest_known, check);
}

static void
guest_known(void *aux, struct error *error, struct guest *guest)
{
    struct source_check *check = aux;
    const char *filename = migrate_data_filename(check->data);

    check->guest = guest;
    if (error) {
        finish(check, error);
        return;
    }
    if (!is_power_on(guest)) {
        finish(check, error_set_arg(error_new(ERR_INSTANCE_NOT_RUNNING,
                                              "it is not running here"),
                                    "instance_id", check->uuid));
        return;
    }
    if (!filename) {
        finish(check, error_new(ERR_MIGRATION_PRE_CHECK,
                                "the destination named no probe file"));
        return;
    }
    driver_probe_exists(check->agent->driver, NULL, filename, path_probed,
                        check);
}

static void
path_probed(void *aux, struct error *error, bool exists)
{
    struct source_check *check = aux;

    if (error) {
        finish(check, error);
        return;
    }
    check->is_shared_path = exists;
    next_disk(check);
}

/* The probe in instances_path says nothing of a disk that lies elsewhere, as
 * those of plain libvirt hosts do.  For each such directory the question is
 * turned round: we make a file, the destination says whether it sees it. */
static void
next_disk(struct source_check *check)
{
    const struct guest *guest = check->guest;
    const char *base = check->agent->conf->instances_path;

    for (; check->i_disk < guest->n_disks; check->i_disk++) {
        const struct guest_disk *disk = &guest->disks[check->i_disk];
        if (!migrate_rules_is_copied(disk) || disk->is_block_device ||
            is_below(disk->path, base) || !check->dest) {
            continue;
        }
        const char *slash = strrchr(disk->path, '/');
        if (!slash || slash == disk->path) {
            continue;
        }
        check->n_outside++;
        free(check->directory);
        check->directory = xstrndup(disk->path, (size_t)(slash - disk->path));
        driver_probe_create(check->agent->driver, check->directory,
                            disk_probe_made, check);
        return;
    }
    decide(check);
}

static void
disk_probe_made(void *aux, struct error *error, char *name)
{
    struct source_check *check = aux;

    if (error) {
        /* A place where this host makes no files: nobody shares it with us
         * as far as we know. */
        log_debug(&check->log, "no probe in '%s': %s", check->directory,
                  error_message(error));
        error_free(error);
        check->i_disk++;
        next_disk(check);
        return;
    }
    free(check->probe);
    check->probe = name;

    struct json *args = json_object();
    struct json *data = json_object();
    AUTO_FREE path = xasprintf("%s/%s", check->directory, name);
    json_set_string(data, "filename", path);
    json_set(args, "data", data);
    peer_call(check->agent, check->dest, "check_instance_shared_storage", args,
              check->context, PEER_SHORT, disk_probe_answered, check);
}

static void
disk_probe_answered(void *aux, struct json **result, struct error *error)
{
    struct source_check *check = aux;

    check->probe_seen = !error && json_is_true(*result);
    check->probe_error = error;
    driver_probe_remove(check->agent->driver, check->directory, check->probe,
                        disk_probe_removed, check);
}

static void
disk_probe_removed(void *aux, struct error *error)
{
    struct source_check *check = aux;

    if (error) {
        log_warn(&check->log, "probe file '%s/%s' stays: %s", check->directory,
                 check->probe, error_message(error));
        error_free(error);
    }
    if (check->probe_error) {
        struct error *cause = steal(&check->probe_error);
        struct error *reason = error_new(
            ERR_MIGRATION_PRE_CHECK, "whether '%s' is shared can't be said: %s",
            check->directory, error_message(cause));
        error_free(cause);
        finish(check, reason);
        return;
    }
    check->n_outside_shared += check->probe_seen;
    check->i_disk++;
    next_disk(check);
}

static void
decide(struct source_check *check)
{
    struct error *error = migrate_rules_check_devices(check->guest);

    if (!error) {
        error = decide_storage(check);
    }
    if (!error) {
        error = check_space(check);
    }
    finish(check, error);
}

static struct error *
decide_storage(struct source_check *check)
{
    const struct conf *conf = check->agent->conf;
    struct object *data = check->data;
    size_t n_disks = 0, n_inside = 0;

    for (size_t i = 0; i < check->guest->n_disks; i++) {
        n_disks += migrate_rules_is_copied(&check->guest->disks[i]);
    }
    n_inside = n_disks - check->n_outside;
    if (check->n_outside_shared != check->n_outside &&
        (check->n_outside_shared || (n_inside && check->is_shared_path))) {
        return error_new(ERR_MIGRATION_PRE_CHECK,
                         "some disks of instance '%s' are on shared storage "
                         "and some are not",
                         check->uuid);
    }
    /* Where no disk lies below instances_path its being shared is idle. */
    bool shared = check->n_outside && !n_inside
                      ? check->n_outside_shared == check->n_outside
                      : check->is_shared_path;
    struct migrate_storage storage = {
        .host = conf->host,
        .uuid = check->uuid,
        .image_type = conf->libvirt.images_type,
        .dest_image_type = migrate_data_image_type(data),
        .is_shared_instance_path = shared,
        .n_disks = n_disks,
        .tunnelled = conf->libvirt.live_migration_tunnelled,
        .block = !migrate_data_has_block_migration(data) ? MIGRATE_BLOCK_AUTO
                 : migrate_data_block_migration(data)    ? MIGRATE_BLOCK_YES
                                                         : MIGRATE_BLOCK_NO,
    };
    struct migrate_storage_answer answer;
    struct error *error = migrate_rules_storage(&storage, &answer);
    if (error) {
        return error;
    }
    migrate_data_set_is_shared_instance_path(data, shared);
    migrate_data_set_is_shared_block_storage(data,
                                             answer.is_shared_block_storage);
    migrate_data_set_block_migration(data, answer.block_migration);
    migrate_data_set_is_volume_backed(data, false);
    migrate_data_set_instance_relative_path(data, check->uuid);
    return NULL;
}

/* The rule is Nova's; who does not say which kind of space counts is only
 * warned. (2.6) */
static struct error *
check_space(const struct source_check *check)
{
    const struct object *data = check->data;
    int64_t available = migrate_data_disk_available_mb(data);

    if (!migrate_data_block_migration(data)) {
        return NULL;
    }
    if (migrate_data_has_disk_over_commit(data)) {
        int64_t need = migrate_rules_disk_need(
            check->guest, migrate_data_disk_over_commit(data));
        return migrate_rules_check_disk(check->uuid, available, need);
    }
    int64_t declared = migrate_rules_disk_need(check->guest, false);
    if (declared > available * (1 << 20)) {
        log_warn(&check->log,
                 "disks of %lld MiB go to a host with %lld MiB free",
                 (long long)(declared >> 20), (long long)available);
    }
    return NULL;
}

static bool
is_below(const char *path, const char *directory)
{
    size_t size = strlen(directory);

    return strncmp(path, directory, size) == 0 && path[size] == '/';
}

static bool
is_power_on(const struct guest *guest)
{
    return guest->presence == GUEST_ACTIVE &&
           (guest->power_state == POWER_RUNNING ||
            guest->power_state == POWER_PAUSED);
}

static void
finish(struct source_check *check, struct error *error)
{
    struct object *data = error ? NULL : steal(&check->data);

    check->done(check->aux, error, data);
    json_free(check->context);
    object_free(check->data);
    guest_free(check->guest);
    free(check->uuid);
    free(check->dest);
    free(check->directory);
    free(check->probe);
    free(check);
}

void
check_shared_file(struct agent *agent, const char *path, driver_bool_done *done,
                  void *aux)
{
    const char *slash = strrchr(path, '/');
    AUTO_FREE directory =
        slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup("");

    driver_probe_exists(agent->driver, directory, slash ? slash + 1 : path,
                        done, aux);
}
