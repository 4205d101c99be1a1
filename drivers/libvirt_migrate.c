#include <config.h>

#include "drivers/libvirt_internal.h"

#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/log.h"
#include "drivers/domain_edit.h"

LOG_MODULE(libvirt_migrate);

#define OPEN_TIMEOUT_S 10
#define SILENCE_S 30

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
static unsigned flags_of(const struct migrate_request *request);
static bool copies_disks(const struct migrate_request *request);
static void add_params(struct params *params,
                       const struct migrate_request *request, const char *xml);
static void add_string(struct params *params, const char *name,
                       const char *value);
static void log_refused_xml(const char *uuid, const char *before,
                            const char *after);
static void read_stats(const struct params *params, struct job_stats *ret);
static enum job_type job_type_of(int type);

/* On a connection of its own: a daemon serves a few calls of a connection at a
 * time, and this one lasts. */
struct error *
libvirt_migrate(void *state_, const struct migrate_request *request)
{
    const struct libvirt *state = state_;
    AUTO_CONNECTION connection = NULL;
    AUTO_DOMAIN domain = NULL;

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

struct error *
libvirt_migrate_abort(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error && virDomainAbortJob(domain) < 0) {
        error = libvirt_error(ERR_INTERNAL, uuid);
    }
    return error_wrap(error, "abort the migration of '%s'", uuid);
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
libvirt_migrate_postcopy(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error && virDomainMigrateStartPostCopy(domain, 0) < 0) {
        error = libvirt_error(ERR_INTERNAL, uuid);
    }
    return error_wrap(error, "switch '%s' to post-copy", uuid);
}

struct error *
libvirt_migrate_job_get(void *state, const char *uuid, bool completed,
                        struct job_stats *ret)
{
    AUTO_DOMAIN domain = NULL;
    AUTO_PARAMS params = {NULL};
    int type = VIR_DOMAIN_JOB_NONE;
    unsigned flags = completed ? VIR_DOMAIN_JOB_STATS_COMPLETED |
                                     VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
                               : 0;

    struct error *error = libvirt_guest_find(state, uuid, &domain);
    if (error) {
        return error;
    }
    if (virDomainGetJobStats(domain, &type, &params.list, &params.n, flags) <
        0) {
        AUTO_ERROR reason = libvirt_error(ERR_INTERNAL, uuid);
        /* QEMU between the last pass and the end of the job. */
        if (!strstr(error_message(reason), "no RAM info was set")) {
            return error_wrap(steal(&reason), "ask for the job of '%s'", uuid);
        }
        type = VIR_DOMAIN_JOB_NONE;
    }
    read_stats(&params, ret);
    ret->type = job_type_of(type);
    return NULL;
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
    error = libvirt_error(ERR_MIGRATION, request->uuid);
    if (is_refused) {
        log_refused_xml(request->uuid, xml, edited);
    }
    /* The source's daemon tells of the destination's transport with the same
     * codes that the client uses for its own. */
    if (error_code(error) == ERR_HYPERVISOR_UNAVAILABLE &&
        virConnectIsAlive(virDomainGetConnect(domain)) == 1) {
        AUTO_ERROR reason = error;
        error = error_new(ERR_MIGRATION, "%s", error_message(reason));
    }
    return error;
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
    if (request->n_parallel > 1 &&
        virTypedParamsAddInt(&params->list, &params->n, &params->n_room,
                             VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS,
                             (int)request->n_parallel) < 0) {
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

/* Every field is optional, and their order is not told. */
static void
read_stats(const struct params *params, struct job_stats *ret)
{
    const struct {
        const char *name;
        int64_t *ret;
    } fields[] = {
        {VIR_DOMAIN_JOB_TIME_ELAPSED, &ret->elapsed_ms},
        {VIR_DOMAIN_JOB_DOWNTIME, &ret->downtime_ms},
        {VIR_DOMAIN_JOB_DOWNTIME_NET, &ret->downtime_net_ms},
        {VIR_DOMAIN_JOB_MEMORY_TOTAL, &ret->memory_total},
        {VIR_DOMAIN_JOB_MEMORY_PROCESSED, &ret->memory_processed},
        {VIR_DOMAIN_JOB_MEMORY_REMAINING, &ret->memory_remaining},
        {VIR_DOMAIN_JOB_DISK_TOTAL, &ret->disk_total},
        {VIR_DOMAIN_JOB_DISK_PROCESSED, &ret->disk_processed},
        {VIR_DOMAIN_JOB_DISK_REMAINING, &ret->disk_remaining},
        {VIR_DOMAIN_JOB_MEMORY_BPS, &ret->memory_bps},
        {VIR_DOMAIN_JOB_DISK_BPS, &ret->disk_bps},
        {VIR_DOMAIN_JOB_MEMORY_ITERATION, &ret->iteration},
        {VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE, &ret->dirty_rate_pages},
        {VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE, &ret->page_size},
    };
    unsigned long long value;
    int percent;

    for (size_t i = 0; i < N_ELEMENTS(fields); i++) {
        *fields[i].ret = virTypedParamsGetULLong(params->list, params->n,
                                                 fields[i].name, &value) == 1 &&
                                 value <= INT64_MAX
                             ? (int64_t)value
                             : -1;
    }
    ret->auto_converge_percent =
        virTypedParamsGetInt(params->list, params->n,
                             VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE,
                             &percent) == 1
            ? percent
            : -1;
}

static enum job_type
job_type_of(int type)
{
    switch ((virDomainJobType)type) {
    case VIR_DOMAIN_JOB_BOUNDED:
        return JOB_BOUNDED;
    case VIR_DOMAIN_JOB_UNBOUNDED:
        return JOB_UNBOUNDED;
    case VIR_DOMAIN_JOB_COMPLETED:
        return JOB_COMPLETED;
    case VIR_DOMAIN_JOB_FAILED:
        return JOB_FAILED;
    case VIR_DOMAIN_JOB_CANCELLED:
        return JOB_CANCELLED;
    case VIR_DOMAIN_JOB_NONE:
    default:
        return JOB_NONE;
    }
}

static void
params_close(struct params *params)
{
    virTypedParamsFree(params->list, params->n);
}
