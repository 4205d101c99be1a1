#include <config.h>

#include "agent/check/check.h"

#include <stdlib.h>
#include <string.h>

#include "agent/attachments.h"
#include "agent/check/report.h"
#include "agent/drain/drain.h"
#include "agent/instance_adopt.h"
#include "agent/migrate/data.h"
#include "agent/migrate/plan.h"
#include "agent/migrate/rules.h"
#include "agent/peer.h"

LOG_MODULE(check);

struct dest_check {
    struct agent *agent;
    struct log_context log;
    struct json *context;
    struct object *instance;
    int block_migration, disk_over_commit;
    enum migrate_kind kind;
    bool makes_claims;
    char *source, *cpu_xml;
    struct object *data; /* What is answered. */
    char *probe;         /* The probe file, while there is one. */
    struct check_report *report, *own_report; /* The latter may be null. */
    check_done *done;
    void *aux;
};

static void presence_known(void *aux, struct error *error, struct guest *guest);
static void names_known(void *aux, struct error *error,
                        struct guest_list *list);
static void host_known(void *aux, struct error *error, struct host_info *host);
static void source_cpu_known(void *aux, struct json **result,
                             struct error *error);
static void cpu_compared(void *aux, struct error *error);
static void compare_cpu(struct dest_check *check, const char *cpu_xml);
static void probe_made(void *aux, struct error *error, char *name);
static void ask_source(struct dest_check *check);
static void source_checked(void *aux, struct json **result,
                           struct error *error);
static void source_reported(void *aux, struct json **result,
                            struct error *error);
static void take_data(struct dest_check *check, const struct json *json);
static void remove_probe(struct dest_check *check);
static void probe_removed(void *aux, struct error *error);
static void check_links(struct dest_check *check);
static void check_files(struct dest_check *check);
static void files_checked(void *aux, struct error *error);
static void say_what_we_offer(struct dest_check *, const struct host_info *);
static bool settle(struct dest_check *check, enum check_rule rule,
                   struct error *error);
static void finish(struct dest_check *check);

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
    check->kind = request->kind;
    check->makes_claims = request->makes_claims;
    check->cpu_xml = xstrdup_null(request->cpu_xml);
    check->source = xstrdup_null(object_string(request->instance, "host"));
    check->data = migrate_data_create();
    check->own_report = request->report ? NULL : check_report_create();
    check->report = request->report ? request->report : check->own_report;
    check->done = done;
    check->aux = aux;

    const char *uuid = object_string(request->instance, "uuid");
    if (!check->source || str_eq(check->source, agent->conf->host)) {
        struct error *error = error_new(ERR_UNABLE_TO_MIGRATE_TO_SELF,
                                        "the instance is on this host");
        error_set_arg(error, "instance_id", uuid);
        error_set_arg(error, "host", agent->conf->host);
        check_report_note(check->report, CHECK_RULE_OTHER_HOST, error);
        finish(check);
        return;
    }
    struct error *drained = drain_check_incoming(agent);
    if (!settle(check, CHECK_RULE_NOT_DRAINED, drained)) {
        finish(check);
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
    if (!settle(check, CHECK_RULE_NO_TWIN, error)) {
        finish(check);
    } else if (check->kind == MIGRATE_LIVE) {
        check_report_skip(check->report, CHECK_RULE_NAME,
                          "the hypervisor refuses another of that name");
        driver_host_get(check->agent->driver, host_known, check);
    } else {
        driver_guest_list(check->agent->driver, names_known, check);
    }
}

/* The hypervisor finds that out by itself, but when it is too late. */
static void
names_known(void *aux, struct error *error, struct guest_list *list)
{
    struct dest_check *check = aux;
    const char *name = instance_domain_name(check->instance);

    for (size_t i = 0; list && name && !error && i < list->n; i++) {
        const struct guest *guest = list->guests[i];

        if (str_eq(guest->name, name) &&
            !str_eq(guest->uuid, object_string(check->instance, "uuid"))) {
            error = error_new(ERR_MIGRATION_PRE_CHECK,
                              "host '%s' has another guest of the name '%s'",
                              check->agent->conf->host, name);
        }
    }
    guest_list_free(list);
    if (settle(check, CHECK_RULE_NAME, error)) {
        driver_host_get(check->agent->driver, host_known, check);
    } else {
        finish(check);
    }
}

static void
host_known(void *aux, struct error *error, struct host_info *host)
{
    struct dest_check *check = aux;
    const struct conf *conf = check->agent->conf;

    if (error) {
        check_report_note(check->report, CHECK_RULE_HOST_UP, error);
        finish(check);
        return;
    }
    say_what_we_offer(check, host);
    host_info_free(host);

    /* A control plane knows the source's CPU; without one the source does. */
    if (check->kind == MIGRATE_COLD) {
        check_report_skip(check->report, CHECK_RULE_CPU, "it does not run");
        driver_probe_create(check->agent->driver, NULL, probe_made, check);
    } else if (!str_eq(conf->libvirt.virt_type, "kvm") ||
               conf->workarounds.skip_cpu_compare_on_dest) {
        check_report_skip(
            check->report, CHECK_RULE_CPU, "%s",
            conf->workarounds.skip_cpu_compare_on_dest
                ? "skip_cpu_compare_on_dest is set there"
                : "guests there have an emulated CPU (virt_type)");
        driver_probe_create(check->agent->driver, NULL, probe_made, check);
    } else if (check->cpu_xml || !check->agent->local) {
        compare_cpu(check, check->cpu_xml);
    } else {
        peer_call_drover(check->agent, check->source, "host_show",
                         json_object(), check->context, PEER_SHORT,
                         source_cpu_known, check);
    }
}

static void
source_cpu_known(void *aux, struct json **result, struct error *error)
{
    struct dest_check *check = aux;

    if (!error) {
        compare_cpu(check, json_string_of(*result, "cpu_xml"));
        return;
    }
    /* Nobody is refused for a question that was not answered: libvirt compares
     * again when the guest starts here. */
    log_warn(&check->log, "CPU of '%s' is not compared: %s", check->source,
             error_message(error));
    error_free(error);
    compare_cpu(check, NULL);
}

static void
compare_cpu(struct dest_check *check, const char *cpu_xml)
{
    if (cpu_xml) {
        driver_compare_cpu(check->agent->driver, cpu_xml, cpu_compared, check);
        return;
    }
    check_report_skip(check->report, CHECK_RULE_CPU,
                      "which CPU it needs was not said");
    driver_probe_create(check->agent->driver, NULL, probe_made, check);
}

static void
cpu_compared(void *aux, struct error *error)
{
    struct dest_check *check = aux;

    if (settle(check, CHECK_RULE_CPU, error)) {
        driver_probe_create(check->agent->driver, NULL, probe_made, check);
    } else {
        finish(check);
    }
}

static void
probe_made(void *aux, struct error *error, char *name)
{
    struct dest_check *check = aux;

    if (error) {
        check_report_note(check->report, CHECK_RULE_PROBE, error);
        finish(check);
        return;
    }
    check->probe = name;
    migrate_data_set_filename(check->data, name);
    ask_source(check);
}

/* Nova's question is for one answer, ours for all. */
static void
ask_source(struct dest_check *check)
{
    struct json *args = json_object();

    json_set(args, "instance", json_copy(object_json(check->instance)));
    if (check->own_report) {
        json_set(args, "dest_check_data", json_copy(object_json(check->data)));
        peer_call(check->agent, check->source, "check_can_live_migrate_source",
                  args, check->context, PEER_SHORT, source_checked, check);
    } else {
        json_set(args, "data", json_copy(object_json(check->data)));
        peer_call_drover(check->agent, check->source, "check_outgoing", args,
                         check->context, PEER_SHORT, source_reported, check);
    }
}

static void
source_checked(void *aux, struct json **result, struct error *error)
{
    struct dest_check *check = aux;

    if (error) {
        check_report_note(check->report, CHECK_RULE_STORAGE, error);
    } else {
        take_data(check, *result);
    }
    remove_probe(check);
}

static void
source_reported(void *aux, struct json **result, struct error *error)
{
    struct dest_check *check = aux;
    const struct json *data = error ? NULL : json_get(*result, "data");

    if (error) {
        check_report_note(check->report, CHECK_RULE_RUNNING, error);
    } else {
        check_report_merge(check->report, json_get(*result, "report"));
    }
    if (data && !json_is_null(data)) {
        take_data(check, data);
    }
    remove_probe(check);
}

static void
take_data(struct dest_check *check, const struct json *json)
{
    struct object *data = NULL;
    struct error *error = migrate_data_parse(json, &data);

    if (error) {
        check_report_note(check->report, CHECK_RULE_STORAGE, error);
        return;
    }
    object_free(check->data);
    check->data = data;
}

static void
remove_probe(struct dest_check *check)
{
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
    check_links(check);
    check_files(check);
}

/* Only libvirt would find out, when the guest is about to start. */
static void
check_links(struct dest_check *check)
{
    const struct json *links = object_get(check->data, CHECK_LINKS_FIELD);
    AUTO_FREE missing = NULL;

    if (!json_size(links)) {
        check_report_skip(check->report, CHECK_RULE_NETWORKS, "%s",
                          links ? "it has none, or they are plugged by us"
                                : "the source does not say which");
        object_unset(check->data, CHECK_LINKS_FIELD);
        return;
    }
    json_for_each (link, links) {
        const char *name = json_get_string(link);
        if (!vif_is_link_name(name) ||
            !host_has_link(&check->agent->host, name)) {
            char *longer = xasprintf("%s%s'%s'", missing ? missing : "",
                                     missing ? ", " : "", name ? name : "");
            free(missing);
            missing = longer;
        }
    }
    check_report_note(
        check->report, CHECK_RULE_NETWORKS,
        missing ? error_new(ERR_MIGRATION_PRE_CHECK,
                            "instance %s is plugged into %s, which host %s "
                            "does not have; make it there first",
                            object_string(check->instance, "uuid"), missing,
                            check->agent->conf->host)
                : NULL);
    object_unset(check->data, CHECK_LINKS_FIELD);
}

/* What pre_live_migration would refuse is better refused now. */
static void
check_files(struct dest_check *check)
{
    const struct json *field = object_get(check->data, CHECK_DISKS_FIELD);
    AUTO_FREE disks = xstrdup_null(json_get_string(field));
    CLEANUP(prepare_request_free_at) struct prepare_request *files = NULL;
    struct error *error = NULL;

    if (field) {
        object_unset(check->data, CHECK_DISKS_FIELD);
        const char *uuid = object_string(check->instance, "uuid");
        error = check->kind == MIGRATE_LIVE
                    ? migrate_plan_files(check->agent->conf, check->data, uuid,
                                         disks, &files)
                    : migrate_plan_rest_files(check->agent->conf, check->data,
                                              uuid, disks, &files);
    }
    if (error || !files) {
        if (error) {
            check_report_note(check->report, CHECK_RULE_FILES, error);
        } else if (!check_report_is_broken(check->report, CHECK_RULE_STORAGE) &&
                   !check_report_is_broken(check->report, CHECK_RULE_PROBE)) {
            check_report_skip(check->report, CHECK_RULE_FILES,
                              "no disk is copied");
        }
        finish(check);
        return;
    }
    files->only_check = true;
    driver_prepare(check->agent->driver, files, files_checked, check);
}

static void
files_checked(void *aux, struct error *error)
{
    struct dest_check *check = aux;

    check_report_note(check->report, CHECK_RULE_FILES, error);
    finish(check);
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
    if (check->kind != MIGRATE_LIVE) {
        object_set_string(data, CHECK_KIND_FIELD,
                          migrate_kind_word(check->kind));
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
    if (check->makes_claims) {
        migrate_data_set_dst_supports_numa_live_migration(data, true);
    }
}

/* Notes how a rule came out; true: go on to the next. */
static bool
settle(struct dest_check *check, enum check_rule rule, struct error *error)
{
    bool is_kept = !error;

    check_report_note(check->report, rule, error);
    return is_kept || !check->own_report;
}

static void
finish(struct dest_check *check)
{
    struct error *error = error_copy(check_report_error(check->report));
    bool has_data = !error || !check->own_report;

    if (check->agent->nova && check->data) {
        attachments_name_ports(check->instance, check->data);
    }
    error = check_as_pre_check(error);
    check->done(check->aux, error, has_data ? steal(&check->data) : NULL);
    json_free(check->context);
    object_free(check->instance);
    object_free(check->data);
    check_report_free(check->own_report);
    free(check->source);
    free(check->cpu_xml);
    free(check->probe);
    free(check);
}

struct error *
check_as_pre_check(struct error *error)
{
    switch (error_code(error)) {
    case ERR_NONE:
    case ERR_MIGRATION_PRE_CHECK:
    case ERR_UNABLE_TO_MIGRATE_TO_SELF:
    case ERR_INVALID_LOCAL_STORAGE:
    case ERR_INVALID_SHARED_STORAGE:
    case ERR_HYPERVISOR_UNAVAILABLE:
        return error;
    default:
        break;
    }
    AUTO_FREE text = error_text(error);
    struct error *wrapped = error_new(ERR_MIGRATION_PRE_CHECK, "%s", text);
    error_free(error);
    return wrapped;
}
