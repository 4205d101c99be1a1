#include <config.h>

#include "drivers/libvirt_internal.h"

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "drivers/domain_edit.h"
#include "drivers/yank.h"

LOG_MODULE(libvirt_migrate);

#define OPEN_TIMEOUT_S 10
#define SILENCE_S 30

/* Of the time of its CPUs a guest loses so many per cent at first, and more
 * each time that it was seen to write too much.  One that may be throttled
 * later is, until then, at the least that QEMU knows; then by QEMU's own step.
 */
#define THROTTLE_IDLE 1
#define THROTTLE_INCREMENT "20"

/* libvirt's and QEMU's most; QEMU takes it for "no limit". */
#define BANDWIDTH_MAX_MIB_S ((unsigned long)(INT64_MAX >> 20))

struct params {
    virTypedParameterPtr list;
    int n, n_room;
};
static void params_close(struct params *params);
#define AUTO_PARAMS CLEANUP(params_close) struct params

static struct error *migrate_domain(virDomainPtr domain,
                                    const struct migrate_request *request);
static struct error *yank(virDomainPtr domain, const char *uuid,
                          bool only_disks);
static struct error *migrate_error(virDomainPtr domain, const char *uuid);
static unsigned flags_of(const struct migrate_request *request);
static bool copies_disks(const struct migrate_request *request);
static void add_params(struct params *params,
                       const struct migrate_request *request, const char *xml);
static void add_int(struct params *params, const char *name, int value);
static void add_string(struct params *params, const char *name,
                       const char *value);
static void log_refused_xml(const char *uuid, const char *before,
                            const char *after);

/* On a connection of its own: a daemon serves a few calls of a connection at a
 * time, and this one lasts. */
struct error *
libvirt_migrate(void *state_, const struct migrate_request *request)
{
    const struct libvirt *state = state_;
    AUTO_CONNECTION connection = NULL;
    AUTO_DOMAIN domain = NULL;

    libvirt_job_expect(state->jobs, request->uuid);
    struct error *error = libvirt_connection_open(state->uri, OPEN_TIMEOUT_S,
                                                  SILENCE_S, &connection);
    if (!error) {
        error = libvirt_guest_look_up(connection, request->uuid, &domain);
    }
    if (!error) {
        error = migrate_domain(domain, request);
    }
    return error_wrap(error, "migrate '%s' to '%s'", request->uuid,
                      request->dest_uri);
}

/* libvirt cancels the copies of disks, and QEMU waits for what of them is on
 * its way, the guest standing still: for the network that is why somebody
 * aborts, this may be long.  So that nothing is on its way any more, their
 * connections are broken before. */
struct error *
libvirt_migrate_abort(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error) {
        error_free(yank(domain, uuid, true)); /* Older QEMUs can't. */
    }
    if (!error && virDomainAbortJob(domain) < 0) {
        error = libvirt_error(ERR_INTERNAL, uuid);
    }
    return error_wrap(error, "abort the migration of '%s'", uuid);
}

struct error *
libvirt_migrate_break(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error) {
        error = yank(domain, uuid, false);
    }
    return error_wrap(error, "break the connections of '%s'", uuid);
}

struct error *
libvirt_migrate_set_downtime(void *state, const char *uuid, unsigned ms)
{
    AUTO_DOMAIN domain = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error && virDomainMigrateSetMaxDowntime(domain, ms, 0) < 0) {
        error = libvirt_error(ERR_INTERNAL, uuid);
    }
    return error_wrap(error, "set the downtime of '%s' to %u ms", uuid, ms);
}

struct error *
libvirt_migrate_get_downtime(void *state, const char *uuid, unsigned *ret_ms)
{
    AUTO_DOMAIN domain = NULL;
    unsigned long long ms;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error && virDomainMigrateGetMaxDowntime(domain, &ms, 0) < 0) {
        error = libvirt_error(ERR_INTERNAL, uuid);
    }
    if (!error) {
        *ret_ms = ms < UINT_MAX ? (unsigned)ms : UINT_MAX;
    }
    return error_wrap(error, "ask for the downtime of '%s'", uuid);
}

/* libvirt asks for throttling when a job begins and not later (9.0 to 11), so
 * the job begins with next to none and QEMU itself is told to go on. */
struct error *
libvirt_migrate_throttle(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    AUTO_FREE answer = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error &&
        virDomainQemuMonitorCommand(
            domain,
            "{\"execute\": \"migrate-set-parameters\", \"arguments\": "
            "{\"cpu-throttle-increment\": " THROTTLE_INCREMENT "}}",
            &answer, 0) < 0) {
        error = libvirt_error(ERR_INTERNAL, uuid);
    }
    if (!error && strstr(answer, "\"error\"")) {
        error = error_new(ERR_INTERNAL, "QEMU answered %s", answer);
    }
    return error_wrap(error, "throttle '%s'", uuid);
}

struct error *
libvirt_migrate_set_bandwidth(void *state, const char *uuid, unsigned mib_s)
{
    AUTO_DOMAIN domain = NULL;
    unsigned long limit = mib_s ? mib_s : BANDWIDTH_MAX_MIB_S;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error && virDomainMigrateSetMaxSpeed(domain, limit, 0) < 0) {
        error = libvirt_error(ERR_INTERNAL, uuid);
    }
    return error_wrap(error, "set the bandwidth of '%s' to %u MiB/s", uuid,
                      mib_s);
}

struct error *
libvirt_migrate_get_bandwidth(void *state, const char *uuid,
                              unsigned *ret_mib_s)
{
    AUTO_DOMAIN domain = NULL;
    unsigned long mib_s;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error && virDomainMigrateGetMaxSpeed(domain, &mib_s, 0) < 0) {
        error = libvirt_error(ERR_INTERNAL, uuid);
    }
    if (!error) {
        *ret_mib_s = mib_s < UINT_MAX ? (unsigned)mib_s : UINT_MAX;
    }
    return error_wrap(error, "ask for the bandwidth of '%s'", uuid);
}

struct error *
libvirt_migrate_postcopy(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error && virDomainMigrateStartPostCopy(domain, 0) < 0) {
        error = libvirt_error(ERR_INTERNAL, uuid);
    }
    return error_wrap(error, "switch '%s' to post-copy", uuid);
}

static struct error *
migrate_domain(virDomainPtr domain, const struct migrate_request *request)
{
    AUTO_PARAMS params = {NULL};
    AUTO_FREE edited = NULL;

    /* With passwords: what is passed on replaces the definition. */
    AUTO_FREE xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_MIGRATABLE |
                                                    VIR_DOMAIN_XML_SECURE);
    if (!xml) {
        return libvirt_error(ERR_MIGRATION, request->uuid);
    }
    struct error *error =
        domain_edit_for_destination(xml, strlen(xml), request, &edited);
    if (error) {
        return error_wrap(error, "edit the definition");
    }

    add_params(&params, request, edited);
    if (virDomainMigrateToURI3(domain, request->dest_uri, params.list,
                               (unsigned)params.n, flags_of(request)) == 0) {
        return NULL;
    }

    bool is_refused = virGetLastErrorCode() == VIR_ERR_CONFIG_UNSUPPORTED;
    error = migrate_error(domain, request->uuid);
    if (is_refused) {
        log_refused_xml(request->uuid, xml, edited);
    }
    return error;
}

/* The source's daemon tells of the destination's transport and of a guest that
 * is missing there with the same codes as of its own. */
static struct error *
migrate_error(virDomainPtr domain, const char *uuid)
{
    struct error *error = libvirt_error(ERR_MIGRATION, uuid);
    enum error_code code = error_code(error);

    if (code != ERR_INSTANCE_NOT_FOUND &&
        (code != ERR_HYPERVISOR_UNAVAILABLE ||
         virConnectIsAlive(virDomainGetConnect(domain)) != 1)) {
        return error;
    }
    AUTO_ERROR reason = error;
    return error_new(ERR_MIGRATION, "%s", error_message(reason));
}

/* QEMU can it since 6.0. */
static struct error *
yank(virDomainPtr domain, const char *uuid, bool only_disks)
{
    AUTO_FREE list = NULL;
    AUTO_FREE answer = NULL;

    if (virDomainQemuMonitorCommand(domain, YANK_QUERY, &list, 0) < 0) {
        return libvirt_error(ERR_INTERNAL, uuid);
    }
    AUTO_FREE command = yank_command(list, only_disks);
    if (command &&
        virDomainQemuMonitorCommand(domain, command, &answer, 0) < 0) {
        return libvirt_error(ERR_INTERNAL, uuid);
    }
    return answer && strstr(answer, "\"error\"")
               ? error_new(ERR_INTERNAL, "QEMU answered %s", answer)
               : NULL;
}

static unsigned
flags_of(const struct migrate_request *request)
{
    static const struct {
        enum migrate_flag ours;
        unsigned libvirts;
    } map[] = {
        {MIGRATE_TUNNELLED, VIR_MIGRATE_TUNNELLED},
        {MIGRATE_TLS, VIR_MIGRATE_TLS},
        {MIGRATE_POSTCOPY, VIR_MIGRATE_POSTCOPY},
        {MIGRATE_AUTO_CONVERGE, VIR_MIGRATE_AUTO_CONVERGE},
        {MIGRATE_THROTTLE, VIR_MIGRATE_AUTO_CONVERGE},
        {MIGRATE_POSTCOPY_RESUME, VIR_MIGRATE_POSTCOPY_RESUME},
    };
    unsigned flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER |
                     VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE;

    for (size_t i = 0; i < N_ELEMENTS(map); i++) {
        if (request->flags & map[i].ours) {
            flags |= map[i].libvirts;
        }
    }
    if (copies_disks(request)) {
        flags |= VIR_MIGRATE_NON_SHARED_INC;
    }
    if (request->n_parallel > 1) {
        flags |= VIR_MIGRATE_PARALLEL;
    }
    if (request->compression) {
        flags |= VIR_MIGRATE_COMPRESSED;
    }
    return flags;
}

/* The flag without a list of disks would mean all of them, volumes that both
 * hosts write included. */
static bool
copies_disks(const struct migrate_request *request)
{
    return (request->flags & MIGRATE_BLOCK) && request->n_disks > 0;
}

static void
add_params(struct params *params, const struct migrate_request *request,
           const char *xml)
{
    if (virTypedParamsAddULLong(&params->list, &params->n, &params->n_room,
                                VIR_MIGRATE_PARAM_BANDWIDTH,
                                request->bandwidth_mib_s) < 0) {
        abort(); /* No memory. */
    }
    add_string(params, VIR_MIGRATE_PARAM_DEST_XML, xml);
    add_string(params, VIR_MIGRATE_PARAM_PERSIST_XML, xml);
    if (request->migrate_uri) {
        add_string(params, VIR_MIGRATE_PARAM_URI, request->migrate_uri);
    }
    /* libvirt can't choose disks through its tunnel. */
    if (copies_disks(request) && !(request->flags & MIGRATE_TUNNELLED)) {
        for (size_t i = 0; i < request->n_disks; i++) {
            add_string(params, VIR_MIGRATE_PARAM_MIGRATE_DISKS,
                       request->disks[i]);
        }
    }
    if (request->n_parallel > 1) {
        add_int(params, VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS,
                (int)request->n_parallel);
    }
    if (request->compression) {
        add_string(params, VIR_MIGRATE_PARAM_COMPRESSION, request->compression);
    }
    if (request->flags & MIGRATE_THROTTLE) {
        add_int(params, VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL, THROTTLE_IDLE);
        add_int(params, VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT,
                THROTTLE_IDLE);
    }
}

static void
add_int(struct params *params, const char *name, int value)
{
    if (virTypedParamsAddInt(&params->list, &params->n, &params->n_room, name,
                             value) < 0) {
        abort(); /* No memory. */
    }
}

static void
add_string(struct params *params, const char *name, const char *value)
{
    if (virTypedParamsAddString(&params->list, &params->n, &params->n_room,
                                name, value) < 0) {
        abort(); /* No memory. */
    }
}

/* libvirt refuses a definition that the guest would notice, and does not
 * always say which part of it. */
static void
log_refused_xml(const char *uuid, const char *before, const char *after)
{
    struct log_context context = {.op = 0};

    if (!log_is_enabled(&log_this_module, LOG_LEVEL_DEBUG)) {
        return;
    }
    snprintf(context.instance, sizeof context.instance, "%s", uuid);
    AUTO_FREE old = domain_edit_redact(before, strlen(before));
    AUTO_FREE new = domain_edit_redact(after, strlen(after));
    log_debug(&context, "refused definition, before the edit: %s", old);
    log_debug(&context, "refused definition, after the edit: %s", new);
}

static void
params_close(struct params *params)
{
    virTypedParamsFree(params->list, params->n);
}
