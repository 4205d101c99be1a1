#include <config.h>

#include "agent/check.h"

#include <stdlib.h>
#include <string.h>

#include "agent/drain.h"
#include "agent/migrate_data.h"
#include "agent/migrate_rules.h"
#include "agent/peer.h"

LOG_MODULE(check);

struct dest_check {
    struct agent *agent;
    struct log_context log;
    struct json *context;
    struct object *instance;
    int block_migration, disk_over_commit;
    char *source;
    struct object *data; /* What is answered. */
    char *probe;         /* The probe file, while there is one. */
    struct error *error; /* Why not, while the probe file is removed. */
    check_done *done;
    void *aux;
};

static void presence_known(void *aux, struct error *error, struct guest *guest);
static void host_known(void *aux, struct error *error, struct host_info *host);
static void source_cpu_known(void *aux, struct json **result,
                             struct error *error);
static void cpu_compared(void *aux, struct error *error);
static void probe_made(void *aux, struct error *error, char *name);
static void source_checked(void *aux, struct json **result,
                           struct error *error);
static void probe_removed(void *aux, struct error *error);
static void say_what_we_offer(struct dest_check *, const struct host_info *);
static void finish(struct dest_check *check, struct error *error);
static struct error *as_pre_check(struct error *error);

void
check_dest(struct agent *agent, const struct check_dest_request *request,
           const struct log_context *log, check_done *done, void *aux)
{
    struct dest_check *check = xzalloc(sizeof *check);

    check->agent = agent;
    check->log = *log;
    check->context = json_copy(request->context);
    check->instance = object_copy(request->instance);
    check->block_migration = request->block_migration;
    check->disk_over_commit = request->disk_over_commit;
    check->source = xstrdup_null(object_string(request->instance, "host"));
    check->data = migrate_data_create();
    check->done = done;
    check->aux = aux;

    const char *uuid = object_string(request->instance, "uuid");
    if (!check->source || str_eq(check->source, agent->conf->host)) {
        struct error *error = error_new(ERR_UNABLE_TO_MIGRATE_TO_SELF,
                                        "the instance is on this host");
        error_set_arg(error, "instance_id", uuid);
        error_set_arg(error, "host", agent->conf->host);
        finish(check, error);
        return;
    }
    struct error *drained = drain_check_incoming(agent);
    if (drained) {
        finish(check, drained);
        return;
    }
    driver_guest_get(agent->driver, uuid, presence_known, check);
}

/* A guest of this name here is one too many, whatever the records say. */
static void
presence_known(void *aux, struct error *error, struct guest *guest)
{
    struct dest_check *check = aux;

    if (!error && guest->presence != GUEST_MIGRATED) {
        error = error_new(ERR_MIGRATION_PRE_CHECK,
                          "host '%s' already has a guest with UUID '%s'",
                          check->agent->conf->host, guest->uuid);
    } else if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        error_free(error);
        error = NULL;
    }
    guest_free(guest);
    if (error) {
        finish(check, error);
        return;
    }
    driver_host_get(check->agent->driver, host_known, check);
}

static void
host_known(void *aux, struct error *error, struct host_info *host)
{
    struct dest_check *check = aux;
    const struct conf *conf = check->agent->conf;

    if (error) {
        finish(check, error);
        return;
    }
    say_what_we_offer(check, host);
    host_info_free(host);

    /* A control plane knows the source's CPU; without one the source does. */
    if (str_eq(conf->libvirt.virt_type, "kvm") && check->agent->local &&
        !conf->workarounds.skip_cpu_compare_on_dest) {
        peer_call_drover(check->agent, check->source, "host_show",
                         json_object(), check->context, PEER_SHORT,
                         source_cpu_known, check);
    } else {
        cpu_compared(check, NULL);
    }
}

static void
source_cpu_known(void *aux, struct json **result, struct error *error)
{
    struct dest_check *check = aux;

    if (error) {
        /* Nobody is refused for a question that was not answered: libvirt
         * compares again when the guest starts here. */
        log_warn(&check->log, "CPU of '%s' is not compared: %s", check->source,
                 error_message(error));
        error_free(error);
        cpu_compared(check, NULL);
        return;
    }
    const char *cpu_xml = json_string_of(*result, "cpu_xml");
    if (!cpu_xml) {
        cpu_compared(check, NULL);
        return;
    }
    driver_compare_cpu(check->agent->driver, cpu_xml, cpu_compared, check);
}

static void
cpu_compared(void *aux, struct error *error)
{
    struct dest_check *check = aux;

    if (error) {
        finish(check, error);
        return;
    }
    driver_probe_create(check->agent->driver, NULL, probe_made, check);
}

static void
probe_made(void *aux, struct error *error, char *name)
{
    struct dest_check *check = aux;

    if (error) {
        finish(check, error);
        return;
    }
    check->probe = name;
    migrate_data_set_filename(check->data, name);

    struct json *args = json_object();
    json_set(args, "instance", json_copy(object_json(check->instance)));
    json_set(args, "dest_check_data", json_copy(object_json(check->data)));
    peer_call(check->agent, check->source, "check_can_live_migrate_source",
              args, check->context, PEER_SHORT, source_checked, check);
}

static void
source_checked(void *aux, struct json **result, struct error *error)
{
    struct dest_check *check = aux;

    if (!error) {
        struct object *data = NULL;
        error = migrate_data_parse(*result, &data);
        if (!error) {
            object_free(check->data);
            check->data = data;
        }
    }
    check->error = error;
    driver_probe_remove(check->agent->driver, NULL, check->probe, probe_removed,
                        check);
}

static void
probe_removed(void *aux, struct error *error)
{
    struct dest_check *check = aux;

    if (error) {
        log_warn(&check->log, "probe file '%s' stays: %s", check->probe,
                 error_message(error));
        error_free(error);
    }
    finish(check, steal(&check->error));
}

static void
say_what_we_offer(struct dest_check *check, const struct host_info *host)
{
    const struct conf *conf = check->agent->conf;
    struct object *data = check->data;

    if (check->agent->local) {
        /* Nova's call does not say who asks; our check wants to ask back. */
        object_set_string(data, CHECK_DEST_FIELD, conf->host);
    }
    migrate_data_set_image_type(data, conf->libvirt.images_type);
    if (check->block_migration >= 0) {
        migrate_data_set_block_migration(data, check->block_migration);
    }
    if (check->disk_over_commit >= 0) {
        migrate_data_set_disk_over_commit(data, check->disk_over_commit);
    }
    migrate_data_set_disk_available_mb(
        data,
        migrate_rules_disk_available_mb(host, check->disk_over_commit == 1,
                                        conf->reserved_host_disk_mb));
    migrate_data_set_graphics_listen_addr_vnc(data, conf->vnc.server_listen);
    migrate_data_set_graphics_listen_addr_spice(data,
                                                conf->spice.server_listen);
    migrate_data_set_serial_listen_addr(
        data, conf->serial_console.enabled
                  ? conf->serial_console.proxyclient_address
                  : NULL);
    migrate_data_set_dst_wants_file_backed_memory(
        data, conf->libvirt.file_backed_memory > 0);
}

static void
finish(struct dest_check *check, struct error *error)
{
    struct object *data = error ? NULL : steal(&check->data);

    check->done(check->aux, as_pre_check(error), data);
    json_free(check->context);
    object_free(check->instance);
    object_free(check->data);
    free(check->source);
    free(check->probe);
    free(check);
}

/* Whatever else went wrong, a conductor must not put the running guest into
 * error for it. (1.8, 2.3) */
static struct error *
as_pre_check(struct error *error)
{
    switch (error_code(error)) {
    case ERR_NONE:
    case ERR_MIGRATION_PRE_CHECK:
    case ERR_UNABLE_TO_MIGRATE_TO_SELF:
    case ERR_INVALID_LOCAL_STORAGE:
    case ERR_INVALID_SHARED_STORAGE:
    case ERR_HYPERVISOR_UNAVAILABLE:
    case ERR_INSTANCE_NOT_FOUND:
        return error;
    default:
        break;
    }
    AUTO_FREE text = error_text(error);
    struct error *wrapped = error_new(ERR_MIGRATION_PRE_CHECK, "%s", text);
    error_free(error);
    return wrapped;
}
