#include <config.h>

#include "agent/check/check.h"

#include <stdlib.h>
#include <string.h>

#include "agent/attachments.h"
#include "agent/check/report.h"
#include "agent/migrate/data.h"
#include "agent/migrate/rules.h"
#include "agent/peer.h"

LOG_MODULE(check);

struct source_check {
    struct agent *agent;
    struct log_context log;
    struct json *context;
    char *uuid, *dest;
    struct object *instance, *data;
    enum migrate_kind kind;
    struct guest *guest;
    struct guest_rest *rest; /* Of one at rest; else null. */
    bool is_shared_path;
    /* Disks outside of instances_path: is each seen by the destination? */
    size_t i_disk, n_outside, n_outside_shared;
    size_t i_medium;
    char *directory, *probe; /* The file of ours that it looks for. */
    bool probe_seen;
    struct error *probe_error;
    struct check_report *report, *own_report; /* The latter may be null. */
    check_done *done;
    void *aux;
};

static void rest_known(void *aux, struct error *error, struct guest_rest *rest);
static void guest_known(void *aux, struct error *error, struct guest *guest);
static bool check_guest(struct source_check *check);
static void path_probed(void *aux, struct error *error, bool exists);
static void next_disk(struct source_check *check);
static void disk_probe_made(void *aux, struct error *error, char *name);
static void disk_probe_answered(void *aux, struct json **result,
                                struct error *error);
static void disk_probe_removed(void *aux, struct error *error);
static void next_medium(struct source_check *check);
static void medium_looked_for(void *aux, struct json **result,
                              struct error *error);
static void note_media(struct source_check *check);
static void decide(struct source_check *check);
static struct error *decide_storage(struct source_check *check);
static void decide_space(struct source_check *check);
static struct error *check_space(const struct source_check *check,
                                 bool over_commit);
static void note_disks(struct source_check *check);
static void note_links(struct source_check *check);
static bool settle(struct source_check *check, enum check_rule rule,
                   struct error *error);
static bool is_below(const char *path, const char *directory);
static struct error *check_power(const struct guest *guest);
static void volumes_known(void *aux, struct error *error,
                          struct json *attachments);
static void finish(struct source_check *check);

void
check_source(struct agent *agent, const struct check_source_request *request,
             const struct log_context *log, check_done *done, void *aux)
{
    struct source_check *check = xzalloc(sizeof *check);

    check->agent = agent;
    check->log = *log;
    check->context = json_copy(request->context);
    check->uuid = xstrdup(object_string(request->instance, "uuid"));
    check->dest = xstrdup_null(request->dest);
    check->instance = object_copy(request->instance);
    check->data = object_copy(request->data);
    check->own_report = request->report ? NULL : check_report_create();
    check->report = request->report ? request->report : check->own_report;
    check->done = done;
    check->aux = aux;
    struct error *error = migrate_kind_parse(
        object_string(check->data, CHECK_KIND_FIELD), &check->kind);
    if (error) {
        check_report_note(check->report, CHECK_RULE_RUNNING, error);
        finish(check);
    } else if (check->kind == MIGRATE_LIVE) {
        driver_guest_get(agent->driver, check->uuid, guest_known, check);
    } else {
        driver_rest_get(agent->driver, check->uuid, rest_known, check);
    }
}

static void
rest_known(void *aux, struct error *error, struct guest_rest *rest)
{
    struct source_check *check = aux;

    check->rest = rest;
    guest_known(check, error, rest ? guest_copy(rest->guest) : NULL);
}

static void
guest_known(void *aux, struct error *error, struct guest *guest)
{
    struct source_check *check = aux;

    check->guest = guest;
    if (error) { /* There is nothing to go on with. */
        check_report_note(check->report, CHECK_RULE_RUNNING, error);
        finish(check);
        return;
    }
    if (check->agent->volumes->note_source && check->kind == MIGRATE_LIVE) {
        check->agent->volumes->note_source(check->agent, check->context,
                                           check->instance, volumes_known,
                                           check);
    } else {
        volumes_known(check, NULL, NULL);
    }
}

static void
volumes_known(void *aux, struct error *error, struct json *attachments)
{
    struct source_check *check = aux;
    const char *filename = migrate_data_filename(check->data);

    if (error) {
        check_report_note(check->report, CHECK_RULE_DEVICES, error);
        finish(check);
        return;
    }
    if (attachments) {
        object_set(check->instance, ATTACHMENTS_FIELD, attachments);
    }
    attachments_mark(check->instance, check->guest);
    if (!check_guest(check)) {
        finish(check);
        return;
    }
    if (!filename) {
        if (settle(check, CHECK_RULE_PROBE,
                   error_new(ERR_MIGRATION_PRE_CHECK,
                             "the destination named no probe file"))) {
            next_medium(check);
        } else {
            finish(check);
        }
        return;
    }
    driver_probe_exists(check->agent->driver, NULL, filename, path_probed,
                        check);
}

/* Where volumes and ports are is in the definition, which goes as it is. */
static struct error *
check_rest_devices(const struct source_check *check)
{
    return attachments_of(check->instance)
               ? error_new(ERR_MIGRATION_PRE_CHECK,
                           "instance %s has volumes or ports that drover "
                           "attached; move it live",
                           check->uuid)
               : migrate_rules_check_rest_devices(check->guest);
}

static bool
check_guest(struct source_check *check)
{
    const struct guest *guest = check->guest;
    bool is_off = check->kind == MIGRATE_COLD;
    bool is_saved = check->kind == MIGRATE_STATIC && guest->is_saved;

    check_report_skip(
        check->report, is_off ? CHECK_RULE_RUNNING : CHECK_RULE_OFF,
        is_off ? "it is moved shut off" : "it is moved as it runs");
    return settle(check, is_off ? CHECK_RULE_OFF : CHECK_RULE_RUNNING,
                  is_off     ? migrate_rules_check_off(guest)
                  : is_saved ? NULL
                             : check_power(guest)) &&
           settle(check, CHECK_RULE_DEVICES,
                  check->kind == MIGRATE_LIVE
                      ? migrate_rules_check_devices(guest)
                      : check_rest_devices(check)) &&
           settle(check, CHECK_RULE_SNAPSHOTS,
                  migrate_rules_check_snapshots(guest));
}

static void
path_probed(void *aux, struct error *error, bool exists)
{
    struct source_check *check = aux;

    check->is_shared_path = exists;
    if (!error) {
        next_disk(check);
    } else if (settle(check, CHECK_RULE_PROBE, error)) {
        next_medium(check);
    } else {
        finish(check);
    }
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
    check_report_note(check->report, CHECK_RULE_PROBE, NULL);
    next_medium(check);
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
        if (settle(check, CHECK_RULE_PROBE, reason)) {
            next_medium(check);
        } else {
            finish(check);
        }
        return;
    }
    check->n_outside_shared += check->probe_seen;
    check->i_disk++;
    next_disk(check);
}

/* What the guest only reads is not copied: the destination is asked whether it
 * has each of these files. */
static void
next_medium(struct source_check *check)
{
    const struct guest *guest = check->guest;
    size_t i = check->i_medium;

    while (i < guest->n_disks && !migrate_rules_is_medium(&guest->disks[i])) {
        i++;
    }
    check->i_medium = i;
    if (i == guest->n_disks || !check->dest) {
        note_media(check);
        decide(check);
        return;
    }
    struct json *args = json_object();
    struct json *data = json_object();
    json_set_string(data, "filename", guest->disks[i].path);
    json_set(args, "data", data);
    peer_call(check->agent, check->dest, "check_instance_shared_storage", args,
              check->context, PEER_SHORT, medium_looked_for, check);
}

static void
medium_looked_for(void *aux, struct json **result, struct error *error)
{
    struct source_check *check = aux;
    const struct guest_disk *disk = &check->guest->disks[check->i_medium++];
    AUTO_ERROR unseen = error;
    bool is_there = !error && json_is_true(*result);

    if (settle(check,
               migrate_rules_is_config_drive(disk) ? CHECK_RULE_CONFIG_DRIVE
                                                   : CHECK_RULE_MEDIA,
               migrate_rules_check_medium(check->uuid, disk, check->dest,
                                          is_there, unseen))) {
        next_medium(check);
    } else {
        finish(check);
    }
}

/* What was noted already stays. */
static void
note_media(struct source_check *check)
{
    const struct guest *guest = check->guest;
    bool has_media = check->i_medium < guest->n_disks;

    for (size_t i = 0; i < guest->n_disks; i++) {
        if (migrate_rules_is_config_drive(&guest->disks[i]) &&
            migrate_rules_is_copied(&guest->disks[i])) {
            check_report_note(check->report, CHECK_RULE_CONFIG_DRIVE, NULL);
        }
    }
    check_report_skip(check->report, CHECK_RULE_MEDIA, "%s",
                      has_media ? "who asks does not say its name"
                                : "it has none");
    check_report_skip(check->report, CHECK_RULE_CONFIG_DRIVE, "%s",
                      has_media ? "who asks does not say its name"
                                : "it has none");
}

static void
decide(struct source_check *check)
{
    const char *listen = migrate_data_serial_listen_addr(check->data);
    bool is_served = check->agent->conf->serial_console.enabled;
    bool goes_on = true;

    if (is_served) {
        goes_on = settle(check, CHECK_RULE_SERIAL,
                         migrate_rules_check_serial(is_served, listen));
    } else {
        check_report_skip(check->report, CHECK_RULE_SERIAL,
                          "they are not enabled here (serial_console)");
    }
    /* What lies where must be known for what follows. */
    if (goes_on && !check_report_is_broken(check->report, CHECK_RULE_PROBE) &&
        settle(check, CHECK_RULE_STORAGE, decide_storage(check)) &&
        !check_report_is_broken(check->report, CHECK_RULE_STORAGE)) {
        decide_space(check);
        note_disks(check);
    }
    note_links(check);
    finish(check);
}

static struct error *
decide_storage(struct source_check *check)
{
    const struct conf *conf = check->agent->conf;
    struct object *data = check->data;
    size_t n_disks = 0, n_inside = 0, n_volumes = 0;

    for (size_t i = 0; i < check->guest->n_disks; i++) {
        n_disks += migrate_rules_is_copied(&check->guest->disks[i]);
        n_volumes += check->guest->disks[i].is_volume;
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
        .has_volumes = n_volumes > 0,
        .is_volume_backed = n_volumes && check->guest->disks[0].is_volume,
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
    migrate_data_set_is_volume_backed(data, storage.is_volume_backed);
    migrate_data_set_instance_relative_path(data, check->uuid);
    return NULL;
}

/* The rule is Nova's; who does not say which kind of space counts is only
 * warned. (2.6) */
static void
decide_space(struct source_check *check)
{
    const struct object *data = check->data;
    int64_t available = migrate_data_disk_available_mb(data);
    int64_t declared = migrate_rules_disk_need(check->guest, false);

    if (!migrate_data_block_migration(data)) {
        check_report_skip(check->report, CHECK_RULE_DISK_SPACE,
                          "no disk is copied");
        return;
    }
    if (migrate_data_has_disk_over_commit(data)) {
        check_report_note(
            check->report, CHECK_RULE_DISK_SPACE,
            check_space(check, migrate_data_disk_over_commit(data)));
        return;
    }
    AUTO_ERROR lack = check_space(check, false);
    if (lack) {
        log_warn(&check->log,
                 "disks of %lld MiB go to a host with %lld MiB free",
                 (long long)(declared >> 20), (long long)available);
    }
    check_report_skip(check->report, CHECK_RULE_DISK_SPACE,
                      "it was not asked for; the disks may come to %lld MiB, "
                      "and %lld MiB are free",
                      (long long)(declared >> 20), (long long)available);
}

static struct error *
check_space(const struct source_check *check, bool over_commit)
{
    return migrate_rules_check_disk(
        check->uuid, migrate_data_disk_available_mb(check->data),
        migrate_rules_disk_need(check->guest, over_commit));
}

/* For the destination, which looks at the places where it would make them. */
static void
note_disks(struct source_check *check)
{
    if (check->rest) {
        const char *shared =
            check->is_shared_path ? check->agent->conf->instances_path : NULL;
        AUTO_FREE files = migrate_data_files_format(
            check->rest, migrate_data_block_migration(check->data), shared);
        object_set_string(check->data, CHECK_DISKS_FIELD, files);
        return;
    }
    if (!check->own_report && migrate_data_block_migration(check->data)) {
        AUTO_FREE disks = migrate_data_disks_format(check->guest);
        object_set_string(check->data, CHECK_DISKS_FIELD, disks);
    }
}

/* For the destination, which looks for them; ports that it plugs by itself
 * need nothing to be there. */
static void
note_links(struct source_check *check)
{
    const struct guest *guest = check->guest;
    const struct json *kept = attachments_of(check->instance);
    struct json *links;

    if (!check->dest || json_size(json_get(kept, "vifs"))) {
        return;
    }
    links = json_array();
    for (size_t i = 0; i < guest->n_links; i++) {
        json_append(links, json_string(guest->links[i]));
    }
    object_set(check->data, CHECK_LINKS_FIELD, links);
}

/* Notes how a rule came out; true: go on to the next. */
static bool
settle(struct source_check *check, enum check_rule rule, struct error *error)
{
    bool is_kept = !error;

    check_report_note(check->report, rule, error);
    return is_kept || !check->own_report;
}

static bool
is_below(const char *path, const char *directory)
{
    size_t size = strlen(directory);

    return strncmp(path, directory, size) == 0 && path[size] == '/';
}

/* InstanceNotRunning is not among the classes that a conductor knows. */
static struct error *
check_power(const struct guest *guest)
{
    if (guest->presence == GUEST_ACTIVE &&
        (guest->power_state == POWER_RUNNING ||
         guest->power_state == POWER_PAUSED)) {
        return NULL;
    }
    return error_new(ERR_MIGRATION_PRE_CHECK,
                     "instance %s does not run on this host", guest->uuid);
}

static void
finish(struct source_check *check)
{
    struct error *error = error_copy(check_report_error(check->report));
    bool has_data = !error || !check->own_report;

    /* The destination knows what to make of that one. */
    if (error_code(error) != ERR_INSTANCE_NOT_FOUND) {
        error = check_as_pre_check(error);
    }
    check->done(check->aux, error, has_data ? steal(&check->data) : NULL);
    json_free(check->context);
    object_free(check->instance);
    object_free(check->data);
    guest_free(check->guest);
    guest_rest_free(check->rest);
    check_report_free(check->own_report);
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
