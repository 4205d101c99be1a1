#ifndef DROVER_API_METHODS_H
#define DROVER_API_METHODS_H

/* Every method of agent/api/api.h, once: name and arguments; the function is
 * api_<name>() in the file of its subject.
 *
 * Threads: the loop. */

#include "agent/api/api.h"

#define API_METHODS                                                            \
    API_METHOD(status, NO_ARGS)                                                \
    API_METHOD(host_names, NO_ARGS)                                            \
    API_METHOD(host_show, NO_ARGS)                                             \
    API_METHOD(instance_list, NO_ARGS)                                         \
    API_METHOD(instance_show, ARG("instance"))                                 \
    API_METHOD(instance_power, ARG("instance"), ARG("order"),                  \
               OPTIONAL("hard"))                                               \
    API_METHOD(instance_console, ARG("instance"), OPTIONAL("lines"))           \
    API_METHOD(attachments, ARG("instance"), OPTIONAL("attachments"))          \
    API_METHOD(migrate, ARG("instance"), OPTIONAL("dest"),                     \
               OPTIONAL("block_migration"), OPTIONAL("disk_over_commit"),      \
               OPTIONAL("check"), OPTIONAL("settings"), OPTIONAL("kind"))      \
    API_METHOD(check_incoming, ARG("instance"), OPTIONAL("cpu_xml"),           \
               OPTIONAL("block_migration"), OPTIONAL("disk_over_commit"),      \
               OPTIONAL("kind"))                                               \
    API_METHOD(check_outgoing, ARG("instance"), ARG("data"))                   \
    API_METHOD(forecast, ARG("instance"), OPTIONAL("dest"),                    \
               OPTIONAL("block_migration"), OPTIONAL("settings"))              \
    API_METHOD(relocate_prepare, ARG("instance"), ARG("migration"),            \
               ARG("data"), ARG("kind"))                                       \
    API_METHOD(relocate_files, ARG("instance"), ARG("migration"), ARG("name"), \
               ARG("definition"), ARG("autostart"), ARG("disks"))              \
    API_METHOD(relocate_serve, ARG("instance"), ARG("migration"), ARG("path")) \
    API_METHOD(relocate_seal, ARG("instance"), ARG("migration"))               \
    API_METHOD(relocate_finish, ARG("instance"), ARG("migration"))             \
    API_METHOD(relocate_roll_back, ARG("instance"), ARG("migration"))          \
    API_METHOD(migration_list, OPTIONAL("instance"))                           \
    API_METHOD(migration_show, ARG("migration"))                               \
    API_METHOD(migration_set, ARG("migration"), ARG("settings"))               \
    API_METHOD(migration_is_open, ARG("instance"), ARG("dest"))                \
    API_METHOD(guest_has_arrived, ARG("instance"))                             \
    API_METHOD(migration_abort, ARG("migration"))                              \
    API_METHOD(migration_force_complete, ARG("migration"))                     \
    API_METHOD(migrate_once, ARG("uuid"), ARG("instance"), ARG("dest"))        \
    API_METHOD(drain_plan, OPTIONAL("to"))                                     \
    API_METHOD(drain_start, ARG("plan"))                                       \
    API_METHOD(drain_resume, ARG("plan"))                                      \
    API_METHOD(drain_stop, NO_ARGS)                                            \
    API_METHOD(drain_restore, NO_ARGS)                                         \
    API_METHOD(drain_end, NO_ARGS)                                             \
    API_METHOD(drain_show, NO_ARGS)                                            \
    API_METHOD(op_list, NO_ARGS)                                               \
    API_METHOD(op_show, ARG("op"))                                             \
    API_METHOD(op_retry, ARG("op"))                                            \
    API_METHOD(op_forget, ARG("op"))                                           \
    API_METHOD(audit_facts, NO_ARGS)                                           \
    API_METHOD(audit, OPTIONAL("repair"))                                      \
    API_METHOD(fake, ARG("command"))                                           \
    API_METHOD(fault_set, ARG("name"), ARG("action"))                          \
    API_METHOD(fault_list, NO_ARGS)

#define API_METHOD(NAME, ...) void api_##NAME(struct api_call *call);
API_METHODS
#undef API_METHOD

/* An argument as text; null when it is absent, null or no text. */
const char *api_text(const struct api_call *call, const char *name);

/* 1, 0, or -1 when absent or null; ERR_VALUE for anything else. */
struct error *api_tristate(const struct api_call *call, const char *name,
                           int *ret) WARN_UNUSED;

/* The instance of this host that argument 'instance' names.
 * ERR_INSTANCE_NOT_FOUND, ERR_INVALID if it names several. */
struct error *api_find_instance(const struct api_call *call, const char *name,
                                const struct object **ret) WARN_UNUSED;

#endif
