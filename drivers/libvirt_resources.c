#include <config.h>

#include "drivers/libvirt_internal.h"

#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "drivers/capabilities_xml.h"
#include "drivers/disk.h"

LOG_MODULE(libvirt_resources);

/* What a host has to give.
 *
 * The hypervisor is asked about each machine in turn, of all architectures; as
 * that takes a while and gives the same until libvirt or QEMU is another, it is
 * done once. */
struct libvirt_machines {
    pthread_mutex_t mutex;
    char *key; /* What was asked, and whom; null: nothing yet. */
    struct host_resources *known;
};

static struct error *read_host(virConnectPtr connection,
                               struct host_resources *r);
static struct error *read_online(virConnectPtr connection,
                                 struct host_resources *r);
static struct error *
read_capabilities(struct libvirt *state, virConnectPtr connection,
                  const struct host_resources_request *request,
                  struct host_resources *r);
static struct error *
look_at_machines(virConnectPtr connection,
                 const struct host_resources_request *request,
                 const struct machine_list *list, const char *cpu_xml,
                 struct host_resources *ret);
static struct error *add_machine(virConnectPtr connection,
                                 const char *virt_type,
                                 const struct machine *machine,
                                 struct host_resources *ret);
static struct error *add_features(virConnectPtr connection, const char *cpu_xml,
                                  struct text_set *ret);
static struct error *
add_guest_features(virConnectPtr connection,
                   const struct host_resources_request *request,
                   struct host_resources *ret);
static char *key_of(const struct host_resources_request *request,
                    const struct host_resources *r);
static char *joined(const char *const *texts);
static void copy_known(const struct host_resources *from,
                       struct host_resources *to);
static void copy_texts(const struct text_set *from, struct text_set *to);
static struct error *read_guests(struct libvirt *state,
                                 struct host_resources *r);
static void add_debts(const struct guest *guest, struct host_resources *r);

struct libvirt_machines *
libvirt_machines_create(void)
{
    struct libvirt_machines *machines = xzalloc(sizeof *machines);

    pthread_mutex_init(&machines->mutex, NULL);
    return machines;
}

void
libvirt_machines_free(struct libvirt_machines *machines)
{
    if (machines) {
        host_resources_free(machines->known);
        free(machines->key);
        pthread_mutex_destroy(&machines->mutex);
        free(machines);
    }
}

struct error *
libvirt_host_resources(void *state_,
                       const struct host_resources_request *request,
                       struct host_resources **ret)
{
    struct libvirt *state = state_;
    AUTO_CONNECTION connection = NULL;
    CLEANUP(host_resources_free_at)
    struct host_resources *r = xzalloc(sizeof *r);

    struct error *error = libvirt_connection_get(state, &connection);
    if (!error) {
        error = read_host(connection, r);
    }
    if (!error) {
        error = read_online(connection, r);
    }
    if (!error) {
        error = read_capabilities(state, connection, request, r);
    }
    if (!error) {
        error = disk_room(state->store, &r->disk_total, &r->disk_free,
                          &r->disk_used);
    }
    if (!error) {
        error = read_guests(state, r);
    }
    if (!error) {
        *ret = steal(&r);
    }
    return error_wrap(error, "ask the hypervisor what its host has");
}

static struct error *
read_host(virConnectPtr connection, struct host_resources *r)
{
    unsigned long hypervisor, library;
    virNodeInfo node;
    const char *type = virConnectGetType(connection);

    if (!type || virConnectGetVersion(connection, &hypervisor) < 0 ||
        virConnectGetLibVersion(connection, &library) < 0 ||
        virNodeGetInfo(connection, &node) < 0) {
        return libvirt_error(ERR_INTERNAL, NULL);
    }
    r->hostname = virConnectGetHostname(connection);
    if (!r->hostname) {
        return libvirt_error(ERR_INTERNAL, NULL);
    }
    r->hypervisor_type = xstrdup(type);
    r->hypervisor_version = (int64_t)hypervisor;
    r->libvirt_version = (int64_t)library;
    r->memory_mb = (int64_t)(node.memory >> 10);
    r->memory_used_mb =
        r->memory_mb - (libvirt_host_free_memory_kib(connection) >> 10);
    return NULL;
}

static struct error *
read_online(virConnectPtr connection, struct host_resources *r)
{
    unsigned char *map = NULL;
    int n = virNodeGetCPUMap(connection, &map, NULL, 0);

    if (n < 0) {
        return libvirt_error(ERR_INTERNAL, NULL);
    }
    for (int cpu = 0; cpu < n; cpu++) {
        if (VIR_CPU_USED(map, cpu)) {
            cpu_set_add(&r->online, cpu);
        }
    }
    free(map);
    return NULL;
}

static struct error *
read_capabilities(struct libvirt *state, virConnectPtr connection,
                  const struct host_resources_request *request,
                  struct host_resources *r)
{
    struct libvirt_machines *machines = state->machines;
    CLEANUP(machine_list_close) struct machine_list list = {0};
    AUTO_FREE cpu_xml = NULL;
    AUTO_FREE xml = virConnectGetCapabilities(connection);
    if (!xml) {
        return libvirt_error(ERR_INTERNAL, NULL);
    }
    struct error *error =
        capabilities_xml_parse(xml, strlen(xml), request->virt_type,
                               request->machines, r, &list, &cpu_xml);
    if (error) {
        return error;
    }

    AUTO_FREE key = key_of(request, r);
    pthread_mutex_lock(&machines->mutex);
    if (!str_eq(key, machines->key)) {
        CLEANUP(host_resources_free_at)
        struct host_resources *known = xzalloc(sizeof *known);

        known->arch = xstrdup(r->arch);
        error = look_at_machines(connection, request, &list, cpu_xml, known);
        if (!error) {
            host_resources_free(machines->known);
            machines->known = steal(&known);
            free(machines->key);
            machines->key = steal(&key);
        }
    }
    if (!error) {
        copy_known(machines->known, r);
    }
    pthread_mutex_unlock(&machines->mutex);
    return error;
}

/* The features that capabilities tell of the host's CPU are those that its
 * model does not have already; and among them are some of which libvirt makes
 * no guest's CPU.  So all are asked for, to be told in their place. */
static struct error *
look_at_machines(virConnectPtr connection,
                 const struct host_resources_request *request,
                 const struct machine_list *list, const char *cpu_xml,
                 struct host_resources *ret)
{
    struct error *error = add_features(connection, cpu_xml, &ret->cpu_features);

    for (size_t i = 0; !error && i < list->n; i++) {
        error = add_machine(connection, request->virt_type, &list->machines[i],
                            ret);
    }
    return error ? error : add_guest_features(connection, request, ret);
}

/* One that this hypervisor does not have, as those of other architectures
 * with KVM, is no part of the picture. */
static struct error *
add_machine(virConnectPtr connection, const char *virt_type,
            const struct machine *machine, struct host_resources *ret)
{
    AUTO_FREE xml = virConnectGetDomainCapabilities(
        connection, machine->emulator, machine->arch, machine->name, virt_type,
        0);
    AUTO_ERROR error = xml ? capabilities_xml_add_machine(xml, strlen(xml), ret)
                           : libvirt_error(ERR_INTERNAL, NULL);

    if (error_code(error) == ERR_HYPERVISOR_UNAVAILABLE) {
        return steal(&error);
    }
    if (error) {
        log_debug(NULL, "machine '%s' of '%s' is left out: %s",
                  machine->name ? machine->name : "", machine->arch,
                  error_message(error));
    }
    return NULL;
}

/* Those of the model, too.  A hypervisor that can't tell adds none. */
static struct error *
add_features(virConnectPtr connection, const char *cpu_xml,
             struct text_set *ret)
{
    if (!cpu_xml) {
        return NULL;
    }
    AUTO_FREE xml = virConnectBaselineCPU(
        connection, &cpu_xml, 1, VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES);
    if (xml) {
        return capabilities_xml_add_features(xml, strlen(xml), ret);
    }
    if (virGetLastErrorCode() == VIR_ERR_NO_SUPPORT) {
        log_debug(NULL, "this hypervisor does not tell features of CPUs");
        return NULL;
    }
    return libvirt_error(ERR_INTERNAL, NULL);
}

static const char *
usual_model(const char *arch)
{
    static const char *const models[][2] = {
        {"i686", "qemu32"}, {"ppc64le", "POWER8"}, {"aarch64", "max"}};

    for (size_t i = 0; i < N_ELEMENTS(models); i++) {
        if (str_eq(models[i][0], arch)) {
            return models[i][1];
        }
    }
    return "qemu64";
}

static struct error *
add_guest_features(virConnectPtr connection,
                   const struct host_resources_request *request,
                   struct host_resources *ret)
{
    struct error *error = NULL;

    for (const char *const *model = request->cpu_models;
         !error && model && *model; model++) {
        bool is_usual = str_eq(*model, "*");
        AUTO_FREE xml =
            xasprintf("<cpu><arch>%s</arch><model>%s</model></cpu>", ret->arch,
                      is_usual ? usual_model(ret->arch) : *model);
        error = add_features(connection, xml, &ret->guest_cpu_features);
        error = error_wrap(error, "ask about CPU '%s'", *model);
    }
    return error;
}

static char *
key_of(const struct host_resources_request *request,
       const struct host_resources *r)
{
    AUTO_FREE machines = joined(request->machines);
    AUTO_FREE models = joined(request->cpu_models);

    return xasprintf("%s %s %s %s %lld %lld", r->arch, request->virt_type,
                     machines, models, (long long)r->hypervisor_version,
                     (long long)r->libvirt_version);
}

static char *
joined(const char *const *texts)
{
    AUTO_FREE all = xstrdup(texts ? "=" : "");

    for (; texts && *texts; texts++) {
        char *more = xasprintf("%s,%s", all, *texts);
        free(all);
        all = more;
    }
    return steal(&all);
}

static void
copy_known(const struct host_resources *from, struct host_resources *to)
{
    if (from->cpu_features.n) {
        text_set_close(&to->cpu_features);
    }
    copy_texts(&from->cpu_features, &to->cpu_features);
    copy_texts(&from->guest_cpu_features, &to->guest_cpu_features);
    copy_texts(&from->guest_archs, &to->guest_archs);
    copy_texts(&from->disk_buses, &to->disk_buses);
    copy_texts(&from->video_models, &to->video_models);
    to->has_secure_boot = from->has_secure_boot;
    to->has_sev = from->has_sev;
}

static void
copy_texts(const struct text_set *from, struct text_set *to)
{
    for (size_t i = 0; i < from->n; i++) {
        text_set_add(to, from->texts[i]);
    }
}

static struct error *
read_guests(struct libvirt *state, struct host_resources *r)
{
    CLEANUP(guest_list_free_at) struct guest_list *list = NULL;
    struct error *error = libvirt_guest_list(state, &list);

    for (size_t i = 0; !error && i < list->n; i++) {
        const struct guest *guest = list->guests[i];
        bool is_off =
            guest->presence == GUEST_OFF || guest->presence == GUEST_MIGRATED;

        text_set_add(&r->guests, guest->uuid);
        r->n_vcpus_used += is_off ? 0 : guest->n_vcpus;
        add_debts(guest, r);
    }
    return error;
}

/* Only files grow; a qcow2 with more than its guest sees owes nothing. */
static void
add_debts(const struct guest *guest, struct host_resources *r)
{
    for (size_t i = 0; i < guest->n_disks; i++) {
        const struct guest_disk *disk = &guest->disks[i];
        int64_t bytes = disk->virtual_size - disk->allocated_size;

        if (!disk->path || disk->is_block_device || bytes == 0 ||
            (bytes < 0 && str_eq(disk->format, "qcow2"))) {
            continue;
        }
        r->debts = xrealloc(r->debts, (r->n_debts + 1) * sizeof *r->debts);
        r->debts[r->n_debts++] = (struct host_debt){
            .uuid = xstrdup(guest->uuid),
            .target = xstrdup(disk->target),
            .bytes = bytes,
        };
    }
}
