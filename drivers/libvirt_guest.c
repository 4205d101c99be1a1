#include <config.h>

#include "drivers/libvirt_internal.h"

#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "drivers/domain_xml.h"

LOG_MODULE(libvirt_guest);

#define PEER_TIMEOUT_S 10
#define PEER_SILENCE_S 8

/* A list of libvirt's.  What it says of all at once need not be asked of each:
 * with a hundred guests that is what a start takes. */
struct domains {
    virDomainPtr *list;
    int n; /* Negative: there is none. */
};
static void domains_close(struct domains *domains);
#define AUTO_DOMAINS CLEANUP(domains_close) struct domains

static struct error *list_domains(virConnectPtr connection, unsigned flags,
                                  struct domains *ret);
static bool domains_have(const struct domains *domains, virDomainPtr domain);
static struct error *read_domain(virDomainPtr domain, const char *uuid,
                                 struct guest **ret);
static struct error *read_presence(virDomainPtr domain, const char *uuid,
                                   enum guest_presence *ret_presence,
                                   enum power_state *ret_power);
static enum guest_presence paused_presence(virDomainPtr domain, int reason);
static enum power_state power_state_of(int state);
static void read_sizes(virDomainPtr domain, struct guest *guest);
static struct error *destroy_incoming(virDomainPtr domain, const char *uuid);
static struct error *undefine(virDomainPtr domain, const char *uuid);

struct error *
libvirt_guest_look_up(virConnectPtr connection, const char *uuid,
                      virDomainPtr *ret)
{
    virDomainPtr domain = virDomainLookupByUUIDString(connection, uuid);

    if (!domain) {
        return libvirt_error(ERR_INTERNAL, uuid);
    }
    *ret = domain;
    return NULL;
}

/* A domain keeps its connection alive. */
struct error *
libvirt_guest_find(struct libvirt *state, const char *uuid, virDomainPtr *ret)
{
    AUTO_CONNECTION connection = NULL;
    struct error *error = libvirt_connection_get(state, &connection);

    return error ? error : libvirt_guest_look_up(connection, uuid, ret);
}

struct error *
libvirt_guest_presence(virConnectPtr connection, const char *uuid,
                       enum guest_presence *ret)
{
    AUTO_DOMAIN domain = NULL;
    enum power_state power;
    AUTO_ERROR error = libvirt_guest_look_up(connection, uuid, &domain);

    if (!error) {
        error = read_presence(domain, uuid, ret, &power);
    }
    if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        *ret = GUEST_ABSENT;
        return NULL;
    }
    return steal(&error);
}

struct error *
libvirt_guest_list(void *state, struct guest_list **ret)
{
    AUTO_CONNECTION connection = NULL;
    AUTO_DOMAINS all = {0}, transient = {0}, saved = {0};
    CLEANUP(guest_list_free_at) struct guest_list *list = NULL;

    struct error *error = libvirt_connection_get(state, &connection);
    if (!error) {
        error = list_domains(connection, 0, &all);
    }
    if (!error) {
        error = list_domains(connection, VIR_CONNECT_LIST_DOMAINS_TRANSIENT,
                             &transient);
    }
    if (!error) {
        error = list_domains(connection, VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE,
                             &saved);
    }
    if (error) {
        return error;
    }
    list = xzalloc(sizeof *list);
    list->guests = xcalloc((size_t)all.n + 1, sizeof *list->guests);
    for (int i = 0; i < all.n; i++) {
        struct guest **guest = &list->guests[list->n];

        error = read_domain(all.list[i], NULL, guest);
        if (!error) {
            (*guest)->persistent = !domains_have(&transient, all.list[i]);
            (*guest)->is_saved = (*guest)->presence == GUEST_OFF &&
                                 domains_have(&saved, all.list[i]);
            list->n++;
        } else if (error_code(error) == ERR_HYPERVISOR_UNAVAILABLE) {
            return error_wrap(error, "list guests");
        } else {
            /* It went while we looked, or is beyond us: the others count. */
            log_limited(LOG_LEVEL_DEBUG, NULL, "guest left out of the list: %s",
                        error_message(error));
            error_free(error);
        }
    }
    *ret = steal(&list);
    return NULL;
}

static struct error *
list_domains(virConnectPtr connection, unsigned flags, struct domains *ret)
{
    ret->n = virConnectListAllDomains(connection, &ret->list, flags);
    if (ret->n < 0) {
        return error_wrap(libvirt_error(ERR_INTERNAL, NULL), "list guests");
    }
    return NULL;
}

static bool
domains_have(const struct domains *domains, virDomainPtr domain)
{
    unsigned char wanted[VIR_UUID_BUFLEN], uuid[VIR_UUID_BUFLEN];

    if (virDomainGetUUID(domain, wanted) < 0) {
        return false;
    }
    for (int i = 0; i < domains->n; i++) {
        if (virDomainGetUUID(domains->list[i], uuid) == 0 &&
            memcmp(uuid, wanted, sizeof uuid) == 0) {
            return true;
        }
    }
    return false;
}

static void
domains_close(struct domains *domains)
{
    for (int i = 0; i < domains->n; i++) {
        virDomainFree(domains->list[i]);
    }
    free(domains->list);
}

struct error *
libvirt_guest_get(void *state, const char *uuid, struct guest **ret)
{
    AUTO_DOMAIN domain = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error) {
        error = libvirt_guest_read(domain, uuid, ret);
    }
    if (!error) {
        int n = virDomainSnapshotNum(domain, 0);
        (*ret)->n_snapshots = n > 0 ? n : 0;
    }
    return error;
}

struct error *
libvirt_guest_peer_presence(void *state UNUSED, const char *uri,
                            const char *uuid, enum guest_presence *ret)
{
    AUTO_CONNECTION connection = NULL;
    struct error *error = libvirt_connection_open(uri, PEER_TIMEOUT_S,
                                                  PEER_SILENCE_S, &connection);

    if (!error) {
        error = libvirt_guest_presence(connection, uuid, ret);
    }
    return error_wrap(error, "look for guest '%s' at '%s'", uuid, uri);
}

struct error *
libvirt_guest_suspend(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error && virDomainSuspend(domain) < 0) {
        error = libvirt_error(ERR_INTERNAL, uuid);
    }
    return error_wrap(error, "suspend '%s'", uuid);
}

struct error *
libvirt_guest_resume(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    int power, reason;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (error) {
        return error;
    }
    if (virDomainGetState(domain, &power, &reason, 0) == 0 &&
        power == VIR_DOMAIN_RUNNING) {
        return NULL;
    }
    return virDomainResume(domain) < 0
               ? error_wrap(libvirt_error(ERR_INTERNAL, uuid), "resume '%s'",
                            uuid)
               : NULL;
}

struct error *
libvirt_guest_persist(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);
    if (error) {
        return error;
    }

    int is_persistent = virDomainIsPersistent(domain);
    if (is_persistent > 0) {
        return NULL;
    }
    /* A transient guest has no definition but the live one; this is the form
     * in which it can be stored, passwords included. */
    AUTO_FREE xml =
        is_persistent < 0
            ? NULL
            : virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE |
                                              VIR_DOMAIN_XML_SECURE);
    AUTO_DOMAIN defined =
        xml ? virDomainDefineXML(virDomainGetConnect(domain), xml) : NULL;
    return defined ? NULL
                   : error_wrap(libvirt_error(ERR_INTERNAL, uuid),
                                "make '%s' persistent", uuid);
}

struct error *
libvirt_guest_discard(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    enum guest_presence presence = GUEST_ABSENT;
    enum power_state power;
    AUTO_ERROR error = libvirt_guest_find(state, uuid, &domain);

    if (!error) {
        error = read_presence(domain, uuid, &presence, &power);
    }
    if (!error && presence == GUEST_INCOMING) {
        error = destroy_incoming(domain, uuid);
    } else if (!error && presence != GUEST_OFF && presence != GUEST_MIGRATED) {
        return error_new(ERR_INVALID, "guest '%s' runs here", uuid);
    }
    if (!error) {
        error = undefine(domain, uuid);
    }
    if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        return NULL;
    }
    return error_wrap(steal(&error), "discard '%s'", uuid);
}

struct error *
libvirt_guest_read(virDomainPtr domain, const char *uuid, struct guest **ret)
{
    struct error *error = read_domain(domain, uuid, ret);

    if (!error) {
        (*ret)->persistent = virDomainIsPersistent(domain) > 0;
        (*ret)->is_saved = (*ret)->presence == GUEST_OFF &&
                           virDomainHasManagedSaveImage(domain, 0) > 0;
    }
    return error;
}

/* All but what lists say. */
static struct error *
read_domain(virDomainPtr domain, const char *uuid, struct guest **ret)
{
    CLEANUP(guest_free_at) struct guest *guest = NULL;
    AUTO_FREE xml = virDomainGetXMLDesc(domain, 0);
    if (!xml) {
        return libvirt_error(ERR_INTERNAL, uuid);
    }

    struct error *error = domain_xml_parse(xml, strlen(xml), &guest);
    if (error) {
        return error;
    }
    error = read_presence(domain, guest->uuid, &guest->presence,
                          &guest->power_state);
    if (error) {
        return error;
    }
    /* libvirt would let questions about an incoming guest wait for it. */
    if (guest->presence != GUEST_INCOMING) {
        read_sizes(domain, guest);
    }
    *ret = steal(&guest);
    return NULL;
}

static struct error *
read_presence(virDomainPtr domain, const char *uuid,
              enum guest_presence *ret_presence, enum power_state *ret_power)
{
    int state, reason;
    int is_active = virDomainIsActive(domain);

    if (is_active < 0 || virDomainGetState(domain, &state, &reason, 0) < 0) {
        return libvirt_error(ERR_INTERNAL, uuid);
    }

    *ret_power = power_state_of(state);
    if (!is_active) {
        *ret_presence =
            state == VIR_DOMAIN_SHUTOFF && reason == VIR_DOMAIN_SHUTOFF_MIGRATED
                ? GUEST_MIGRATED
                : GUEST_OFF;
    } else if (state == VIR_DOMAIN_PAUSED) {
        *ret_presence = paused_presence(domain, reason);
    } else if (state == VIR_DOMAIN_RUNNING &&
               reason == VIR_DOMAIN_RUNNING_POSTCOPY) {
        *ret_presence = GUEST_POSTCOPY;
    } else if (state == VIR_DOMAIN_RUNNING &&
               reason == VIR_DOMAIN_RUNNING_POSTCOPY_FAILED) {
        *ret_presence = GUEST_POSTCOPY_FAILED;
    } else {
        *ret_presence = GUEST_ACTIVE;
    }
    return NULL;
}

/* Both sides of a migration can be paused for it, the source for the moment of
 * the switch.  Only the destination refuses to tell of the job (libvirt 9.0
 * calls that unsupported, others invalid). */
static enum guest_presence
paused_presence(virDomainPtr domain, int reason)
{
    virDomainJobInfo job;

    switch ((virDomainPausedReason)reason) {
    case VIR_DOMAIN_PAUSED_POSTCOPY:
        return GUEST_POSTCOPY;
    case VIR_DOMAIN_PAUSED_POSTCOPY_FAILED:
        return GUEST_POSTCOPY_FAILED;
    case VIR_DOMAIN_PAUSED_MIGRATION:
    case VIR_DOMAIN_PAUSED_STARTING_UP:
    case VIR_DOMAIN_PAUSED_UNKNOWN:
        break;
    default:
        return GUEST_ACTIVE;
    }

    if (virDomainGetJobInfo(domain, &job) == 0) {
        return GUEST_ACTIVE;
    }
    int code = virGetLastErrorCode();
    return code == VIR_ERR_OPERATION_INVALID ||
                   code == VIR_ERR_OPERATION_UNSUPPORTED
               ? GUEST_INCOMING
               : GUEST_ACTIVE;
}

static enum power_state
power_state_of(int state)
{
    switch ((virDomainState)state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        return POWER_RUNNING;
    case VIR_DOMAIN_PAUSED:
        return POWER_PAUSED;
    case VIR_DOMAIN_SHUTDOWN:
    case VIR_DOMAIN_SHUTOFF:
        return POWER_SHUTDOWN;
    case VIR_DOMAIN_CRASHED:
        return POWER_CRASHED;
    case VIR_DOMAIN_PMSUSPENDED:
        return POWER_SUSPENDED;
    case VIR_DOMAIN_NOSTATE:
    default:
        return POWER_NOSTATE;
    }
}

/* A size that can't be had (no medium, a missing file) stays 0. */
static void
read_sizes(virDomainPtr domain, struct guest *guest)
{
    for (size_t i = 0; i < guest->n_disks; i++) {
        struct guest_disk *disk = &guest->disks[i];
        virDomainBlockInfo info;

        if (disk->path &&
            virDomainGetBlockInfo(domain, disk->target, &info, 0) == 0) {
            disk->virtual_size = (int64_t)info.capacity;
            disk->allocated_size = (int64_t)info.allocation;
        }
    }
}

static struct error *
destroy_incoming(virDomainPtr domain, const char *uuid)
{
    if (virDomainDestroyFlags(domain, 0) == 0) {
        return NULL;
    }
    /* It ended by itself in the meantime. */
    return virDomainIsActive(domain) == 0 ? NULL
                                          : libvirt_error(ERR_INTERNAL, uuid);
}

/* Without the flags libvirt refuses a guest that has what they name; older
 * hypervisors refuse the flags. */
static struct error *
undefine(virDomainPtr domain, const char *uuid)
{
    unsigned flags = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
                     VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                     VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA |
                     VIR_DOMAIN_UNDEFINE_NVRAM;
    int is_persistent = virDomainIsPersistent(domain);

    if (is_persistent == 0) {
        return NULL;
    }
    if (is_persistent < 0) {
        return libvirt_error(ERR_INTERNAL, uuid);
    }
    if (virDomainUndefineFlags(domain, flags) == 0 ||
        virGetLastErrorCode() == VIR_ERR_NO_DOMAIN) {
        return NULL;
    }
    AUTO_ERROR first = libvirt_error(ERR_INTERNAL, uuid);
    return virDomainUndefine(domain) == 0 ? NULL : steal(&first);
}
