#ifndef DROVER_BASE_ERROR_H
#define DROVER_BASE_ERROR_H

/* A failure is an object that gathers context on its way up.
 *
 * Low down one says what failed, with the values; each caller that adds
 * knowledge wraps it with what was being attempted.  The code, and with it the
 * class that a peer is told, is the innermost's.  rpc/failure.h turns an error
 * into its wire form and back.
 *
 * Threads: no shared state; an error belongs to one thread at a time. */

#include "agent/base/mem.h"

/* One row a code: name, the class that the bus is told, its Python module, its
 * HTTP code, and the text that Nova makes of it: "%(reason)s" stands for the
 * error's message, any other "%(name)s" for the argument of that name
 * (error_set_arg()); null means the message as it is.
 * (spec/live-migration 1.8, spec/rpc-wire 3.2) */
#define ERROR_NOVA "nova.exception"
#define ERROR_DISPATCH "oslo_messaging.rpc.dispatcher"
#define ERROR_CODES                                                            \
    ERROR_CODE(INTERNAL, "NovaException", ERROR_NOVA, 500, NULL)               \
    ERROR_CODE(NOT_FOUND, "NotFound", ERROR_NOVA, 404, NULL)                   \
    ERROR_CODE(INVALID, "Invalid", ERROR_NOVA, 400, NULL)                      \
    ERROR_CODE(CONFIG, "ConfigurationInvalid", ERROR_NOVA, 500, NULL)          \
    ERROR_CODE(BAD_MESSAGE, "ValueError", "builtins", 0, NULL)                 \
    ERROR_CODE(VALUE, "ValueError", "builtins", 0, NULL)                       \
    ERROR_CODE(TYPE, "TypeError", "builtins", 0, NULL)                         \
    ERROR_CODE(NOT_IMPLEMENTED, "NotImplementedError", "builtins", 0, NULL)    \
    ERROR_CODE(NO_SUCH_METHOD, "NoSuchMethod", ERROR_DISPATCH, 0, NULL)        \
    ERROR_CODE(UNSUPPORTED_VERSION, "UnsupportedVersion", ERROR_DISPATCH, 0,   \
               NULL)                                                           \
    ERROR_CODE(INCOMPATIBLE_OBJECT, "IncompatibleObjectVersion",               \
               "oslo_versionedobjects.exception", 500, NULL)                   \
    ERROR_CODE(UNSUPPORTED_OBJECT, "UnsupportedObjectError",                   \
               "oslo_versionedobjects.exception", 500, NULL)                   \
    ERROR_CODE(TIMEOUT, "MessagingTimeout", "oslo_messaging.exceptions", 0,    \
               NULL)                                                           \
    ERROR_CODE(UNDELIVERABLE, "MessageUndeliverable",                          \
               "oslo_messaging.exceptions", 0, NULL)                           \
    ERROR_CODE(CANCELLED, "MigrationError", ERROR_NOVA, 500,                   \
               "Migration error: %(reason)s")                                  \
    ERROR_CODE(STORAGE, "NovaException", ERROR_NOVA, 500, NULL)                \
    ERROR_CODE(INSTANCE_NOT_FOUND, "InstanceNotFound", ERROR_NOVA, 404,        \
               "Instance %(instance_id)s could not be found.")                 \
    ERROR_CODE(                                                                \
        INFO_CACHE_NOT_FOUND, "InstanceInfoCacheNotFound", ERROR_NOVA, 404,    \
        "Info cache for instance %(instance_uuid)s could not be found.")       \
    ERROR_CODE(INSTANCE_GROUP_NOT_FOUND, "InstanceGroupNotFound", ERROR_NOVA,  \
               404, "Instance group %(group_uuid)s could not be found.")       \
    ERROR_CODE(GROUP_AFFINITY_VIOLATION, "GroupAffinityViolation", ERROR_NOVA, \
               500, "%(policy)s instance group policy was violated")           \
    ERROR_CODE(MIGRATION_NOT_FOUND, "MigrationNotFound", ERROR_NOVA, 404,      \
               "Migration %(migration_id)s could not be found.")               \
    ERROR_CODE(INSTANCE_NOT_RUNNING, "InstanceNotRunning", ERROR_NOVA, 400,    \
               "Instance %(instance_id)s is not running.")                     \
    ERROR_CODE(INSTANCE_INVALID_STATE, "InstanceInvalidState", ERROR_NOVA,     \
               400,                                                            \
               "Instance %(instance_uuid)s in %(attr)s %(state)s. Cannot "     \
               "%(method)s while the instance is in this state.")              \
    ERROR_CODE(MIGRATION, "MigrationError", ERROR_NOVA, 500,                   \
               "Migration error: %(reason)s")                                  \
    ERROR_CODE(MIGRATION_PRE_CHECK, "MigrationPreCheckError", ERROR_NOVA, 500, \
               "Migration pre-check error: %(reason)s")                        \
    ERROR_CODE(INVALID_CPU_INFO, "InvalidCPUInfo", ERROR_NOVA, 400,            \
               "Unacceptable CPU info: %(reason)s")                            \
    ERROR_CODE(UNABLE_TO_MIGRATE_TO_SELF, "UnableToMigrateToSelf", ERROR_NOVA, \
               400,                                                            \
               "Unable to migrate instance (%(instance_id)s) to current host " \
               "(%(host)s).")                                                  \
    ERROR_CODE(INVALID_LOCAL_STORAGE, "InvalidLocalStorage", ERROR_NOVA, 500,  \
               "%(path)s is not on local storage: %(reason)s")                 \
    ERROR_CODE(INVALID_SHARED_STORAGE, "InvalidSharedStorage", ERROR_NOVA,     \
               500, "%(path)s is not on shared storage: %(reason)s")           \
    ERROR_CODE(DESTINATION_DISK_EXISTS, "DestinationDiskExists", ERROR_NOVA,   \
               400,                                                            \
               "The supplied disk path (%(path)s) already exists, it is "      \
               "expected not to exist.")                                       \
    ERROR_CODE(HYPERVISOR_UNAVAILABLE, "HypervisorUnavailable", ERROR_NOVA,    \
               500, "Connection to the hypervisor is broken on host")          \
    ERROR_CODE(DESTINATION_HYPERVISOR_TOO_OLD, "DestinationHypervisorTooOld",  \
               ERROR_NOVA, 400,                                                \
               "The instance requires a newer hypervisor version than has "    \
               "been provided.")                                               \
    ERROR_CODE(SERVICE_NOT_FOUND, "ServiceNotFound", ERROR_NOVA, 404,          \
               "Service %(service_id)s could not be found.")                   \
    ERROR_CODE(COMPUTE_HOST_NOT_FOUND, "ComputeHostNotFound", ERROR_NOVA, 404, \
               "Compute host %(host)s could not be found.")                    \
    ERROR_CODE(NO_VALID_HOST, "NoValidHost", ERROR_NOVA, 500,                  \
               "No valid host was found. %(reason)s")                          \
    ERROR_CODE(COMPUTE_RESOURCES_UNAVAILABLE, "ComputeResourcesUnavailable",   \
               ERROR_NOVA, 400, "Insufficient compute resources: %(reason)s.") \
    ERROR_CODE(INVALID_MIGRATION_STATE, "InvalidMigrationState", ERROR_NOVA,   \
               400,                                                            \
               "Migration %(migration_id)s state of instance "                 \
               "%(instance_uuid)s is %(state)s. Cannot %(method)s while the "  \
               "migration is in this state.")                                  \
    ERROR_CODE(NO_ACTIVE_MIGRATION, "NoActiveMigrationForInstance",            \
               ERROR_NOVA, 404,                                                \
               "No active live migration for instance %(instance_id)s")        \
    ERROR_CODE(MIGRATION_NOT_SUBMITTED, "LiveMigrationNotSubmitted",           \
               ERROR_NOVA, 500,                                                \
               "Failed to submit live migration %(migration_uuid)s for "       \
               "instance %(instance_uuid)s for processing.")                   \
    ERROR_CODE(UNEXPECTED_TASK_STATE, "UnexpectedTaskStateError", ERROR_NOVA,  \
               500,                                                            \
               "Conflict updating instance %(instance_uuid)s. Expected: "      \
               "%(expected)s. Actual: %(actual)s")                             \
    ERROR_CODE(INVALID_HOSTNAME, "InvalidHostname", ERROR_NOVA, 400,           \
               "Invalid characters in hostname '%(hostname)s'")                \
    ERROR_CODE(URI_NOT_AVAILABLE, "LiveMigrationURINotAvailable", ERROR_NOVA,  \
               500,                                                            \
               "No live migration URI configured and no default available "    \
               "for \"%(virt_type)s\" hypervisor virtualization type.")        \
    ERROR_CODE(VOLUME_DRIVER_NOT_FOUND, "VolumeDriverNotFound", ERROR_NOVA,    \
               404, "Could not find a handler for %(driver_type)s volume.")    \
    ERROR_CODE(VIF_PLUG, "VirtualInterfacePlugException", ERROR_NOVA, 500,     \
               NULL)                                                           \
    ERROR_CODE(PROCESS, "ProcessExecutionError",                               \
               "oslo_concurrency.processutils", 0, NULL)                       \
    ERROR_CODE(REST, "NovaException", ERROR_NOVA, 500, NULL)                   \
    ERROR_CODE(UNAUTHORIZED, "Unauthorized", ERROR_NOVA, 401,                  \
               "Not authorized.")                                              \
    ERROR_CODE(FORBIDDEN, "Forbidden", ERROR_NOVA, 403, "Forbidden")           \
    ERROR_CODE(KEYSTONE_CONNECTION, "KeystoneConnectionFailed", ERROR_NOVA,    \
               500, "Connection to keystone host failed: %(reason)s")          \
    ERROR_CODE(PLACEMENT_CONNECTION, "PlacementAPIConnectFailure", ERROR_NOVA, \
               500, "Unable to communicate with the Placement API.")           \
    ERROR_CODE(PLACEMENT_CONFLICT, "PlacementAPIConflict", ERROR_NOVA, 500,    \
               "A conflict was encountered attempting to invoke the "          \
               "placement API at URL %(url)s: %(error)s")                      \
    ERROR_CODE(PROVIDER_CONFLICT, "ResourceProviderUpdateConflict",            \
               ERROR_NOVA, 500,                                                \
               "A conflict was encountered attempting to update resource "     \
               "provider %(uuid)s (generation %(generation)s): %(error)s")     \
    ERROR_CODE(PROVIDER_RETRIEVAL, "ResourceProviderRetrievalFailed",          \
               ERROR_NOVA, 500,                                                \
               "Failed to get resource provider with UUID %(uuid)s")           \
    ERROR_CODE(PROVIDER_CREATION, "ResourceProviderCreationFailed",            \
               ERROR_NOVA, 500, "Failed to create resource provider %(name)s") \
    ERROR_CODE(PROVIDER_UPDATE, "ResourceProviderUpdateFailed", ERROR_NOVA,    \
               500,                                                            \
               "Failed to update resource provider via URL %(url)s: "          \
               "%(error)s")                                                    \
    ERROR_CODE(PROVIDER_DELETION, "ResourceProviderDeletionFailed",            \
               ERROR_NOVA, 500, "Failed to delete resource provider %(uuid)s") \
    ERROR_CODE(INVENTORY_IN_USE, "InventoryInUse", ERROR_NOVA, 400,            \
               "Inventory for '%(resource_class)s' on resource provider "      \
               "'%(resource_provider)s' invalid.")                             \
    ERROR_CODE(ALLOCATION_RETRIEVAL, "ConsumerAllocationRetrievalFailed",      \
               ERROR_NOVA, 500,                                                \
               "Failed to retrieve allocations for consumer "                  \
               "%(consumer_uuid)s: %(error)s")                                 \
    ERROR_CODE(ALLOCATION_UPDATE, "AllocationUpdateFailed", ERROR_NOVA, 500,   \
               "Failed to update allocations for consumer %(consumer_uuid)s. " \
               "Error: %(error)s")                                             \
    ERROR_CODE(NEUTRON, "NovaException", ERROR_NOVA, 500, NULL)                \
    ERROR_CODE(PORT_NOT_FOUND, "PortNotFound", ERROR_NOVA, 404,                \
               "Port id %(port_id)s could not be found.")                      \
    ERROR_CODE(PORT_UPDATE, "PortUpdateFailed", ERROR_NOVA, 400,               \
               "Port update failed for port %(port_id)s: %(reason)s")          \
    ERROR_CODE(PORT_BINDING, "PortBindingFailed", ERROR_NOVA, 400,             \
               "Binding failed for port %(port_id)s, please check neutron "    \
               "logs for more information.")                                   \
    ERROR_CODE(PORT_BINDING_ACTIVATION, "PortBindingActivationFailed",         \
               ERROR_NOVA, 500,                                                \
               "Failed to activate binding for port %(port_id)s on host "      \
               "%(host)s; please check neutron logs for more information")     \
    ERROR_CODE(PORT_BINDING_DELETION, "PortBindingDeletionFailed", ERROR_NOVA, \
               500,                                                            \
               "Failed to delete binding for port(s) %(port_id)s on host "     \
               "%(host)s; please check neutron logs for more information")     \
    ERROR_CODE(INVALID_INPUT, "InvalidInput", ERROR_NOVA, 400,                 \
               "Invalid input received: %(reason)s")                           \
    ERROR_CODE(CINDER_CONNECTION, "CinderConnectionFailed", ERROR_NOVA, 500,   \
               "Connection to cinder host failed: %(reason)s")                 \
    ERROR_CODE(VOLUME_NOT_FOUND, "VolumeNotFound", ERROR_NOVA, 404,            \
               "Volume %(volume_id)s could not be found.")                     \
    ERROR_CODE(VOLUME_ATTACHMENT_NOT_FOUND, "VolumeAttachmentNotFound",        \
               ERROR_NOVA, 404,                                                \
               "Volume attachment %(attachment_id)s could not be found.")      \
    ERROR_CODE(GLANCE_CONNECTION, "GlanceConnectionFailed", ERROR_NOVA, 500,   \
               "Connection to glance host %(server)s failed: %(reason)s")      \
    ERROR_CODE(IMAGE_NOT_FOUND, "ImageNotFound", ERROR_NOVA, 404,              \
               "Image %(image_id)s could not be found.")                       \
    ERROR_CODE(IMAGE_NOT_AUTHORIZED, "ImageNotAuthorized", ERROR_NOVA, 500,    \
               "Not authorized for image %(image_id)s.")                       \
    ERROR_CODE(IMAGE_UNACCEPTABLE, "ImageUnacceptable", ERROR_NOVA, 400,       \
               "Image %(image_id)s is unacceptable: %(reason)s")               \
    ERROR_CODE(REMOTE, NULL, NULL, 0, NULL) /* A peer's: class of its own. */

enum error_code {
    ERR_NONE, /* The code of a null error. */
#define ERROR_CODE(NAME, CLASS, MODULE, HTTP, PATTERN) ERR_##NAME,
    ERROR_CODES
#undef ERROR_CODE
        ERR_N_CODES
};

struct error;

struct error_arg {
    const char *name, *value;
};

/* What a code stands for; any code but ERR_NONE.  Static storage. */
struct error_class {
    const char *name;       /* "MIGRATION" */
    const char *class_name; /* Null for ERR_REMOTE only. */
    const char *module;     /* Null for ERR_REMOTE only. */
    int http_code;          /* 0: Nova gives none. */
    const char *pattern;    /* Null: the message as it is. */
};
const struct error_class *error_class(enum error_code code);

/* The row of a class name and module (as peers send them, without "_Remote"),
 * or ERR_REMOTE when there is none. */
enum error_code error_code_of_class(const char *class_name, const char *module);

/* A new error; the caller's.  The message is one literal, lower case, without
 * full stop, inserted names in quotes. */
struct error *error_new(enum error_code code, const char *fmt, ...)
    PRINTF_FORMAT(2, 3) WARN_UNUSED;

/* A failure that a peer reported, passed on as it came.  All are copied; any
 * may be null but 'message'. */
struct error *error_new_remote(const char *class_name, const char *module,
                               const char *message) WARN_UNUSED;

/* Puts "FMT: " before the message.  Takes and returns 'error', which may be
 * null: then nothing happens, so a result can be wrapped unseen. */
struct error *error_wrap(struct error *error, const char *fmt, ...)
    PRINTF_FORMAT(2, 3) WARN_UNUSED;

/* Adds (or replaces) a named argument, copied; returns 'error' for chaining. */
struct error *error_set_arg(struct error *error, const char *name,
                            const char *value);

struct error *
error_copy(const struct error *error) WARN_UNUSED; /* Null: null */
void error_free(struct error *error);
CLEANUP_FUNC(struct error, error_free)
#define AUTO_ERROR CLEANUP(error_free_at) struct error *

enum error_code error_code(const struct error *error); /* Null: ERR_NONE. */
const char *error_message(const struct error *error);  /* Null: "success". */
size_t error_n_args(const struct error *error);
struct error_arg error_arg_at(const struct error *error, size_t i);
const char *error_arg(const struct error *error,
                      const char *name); /* or null */

/* Class and module as the bus is told them. */
const char *error_class_name(const struct error *error);
const char *error_module(const struct error *error);

/* The finished text as Nova words it (pattern filled in); the caller's. */
char *error_text(const struct error *error);

#endif
