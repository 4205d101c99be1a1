#include <config.h>

#include "drivers/libvirt_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/log.h"
#include "drivers/copy.h"
#include "drivers/disk.h"
#include "drivers/domain_edit.h"
#include "drivers/qcow2.h"

LOG_MODULE(libvirt_rest);

/* Guests that do not run.
 *
 * A saved one is kept by libvirt in a file that has the guest's name, and goes
 * on from it whenever it is started, by whomever: so put, its memory can't be
 * lost by a plain start, at either host.  libvirt does not say where the file
 * is, hence an option. */

static struct error *save(virDomainPtr domain, const char *uuid);
static struct error *read_rest(const struct libvirt *state, virDomainPtr domain,
                               struct guest_rest *rest);
static struct error *add_file(struct guest_rest *rest, const char *path,
                              bool may_lack);
static struct error *add_state(const struct libvirt *state,
                               struct guest_rest *rest);
static struct error *read_backing(struct guest_disk *disk);
static struct error *check_files(const struct at_rest_request *request);
static struct error *undefine(virDomainPtr domain, const char *uuid);
static struct error *check_definition(virConnectPtr connection,
                                      const struct at_rest_request *request);
static struct error *edit(const struct at_rest_request *request,
                          const char *xml, char **ret);
static struct error *restore(virDomainPtr domain,
                             const struct at_rest_request *request,
                             const char *path);
static struct error *forget_state(virDomainPtr domain, const char *path);
static char *saved_path(const struct libvirt *state, const char *name);

struct error *
libvirt_save(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    return error_wrap(error ? error : save(domain, uuid), "save '%s'", uuid);
}

struct error *
libvirt_rest_get(void *state, const char *uuid, struct guest_rest **ret)
{
    CLEANUP(guest_rest_free_at) struct guest_rest *rest = xzalloc(sizeof *rest);
    AUTO_DOMAIN domain = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error) {
        error = libvirt_guest_read(domain, uuid, &rest->guest);
    }
    if (!error) {
        error = read_rest(state, domain, rest);
    }
    if (error) {
        return error_wrap(error, "look at '%s'", uuid);
    }
    *ret = steal(&rest);
    return NULL;
}

struct error *
libvirt_rest_seal(void *state_, const struct at_rest_request *request)
{
    struct libvirt *state = state_;
    AUTO_CONNECTION connection = NULL;
    struct error *error = NULL;

    copies_stop(state->copies, request->uuid);
    for (size_t i = 0; !error && i < request->n_files; i++) {
        error = disk_seal(state->store, request->files[i].path,
                          request->files[i].size);
    }
    if (!error) {
        error = libvirt_connection_get(state, &connection);
    }
    if (!error) {
        error = check_definition(connection, request);
    }
    return error_wrap(error, "make sure of '%s'", request->uuid);
}

/* Whoever starts it between the look and the end of the definition has a guest
 * without one; it gets it back. */
struct error *
libvirt_rest_give_up(void *state, const struct at_rest_request *request)
{
    AUTO_DOMAIN domain = NULL, left = NULL;
    enum guest_presence presence = GUEST_ABSENT;
    struct error *error = libvirt_guest_find(state, request->uuid, &domain);

    if (!error) {
        error = libvirt_guest_presence(virDomainGetConnect(domain),
                                       request->uuid, &presence);
    }
    if (!error && presence != GUEST_OFF) {
        error = error_new(ERR_MIGRATION, "it was started");
    }
    if (!error) {
        error = check_files(request);
    }
    if (!error) {
        error = undefine(domain, request->uuid);
    }
    if (error) {
        return error_wrap(error, "give up '%s'", request->uuid);
    }
    error = libvirt_guest_look_up(virDomainGetConnect(domain), request->uuid,
                                  &left);
    if (!error) {
        AUTO_DOMAIN defined = virDomainDefineXML(virDomainGetConnect(domain),
                                                 request->definition);
        if (!defined) {
            AUTO_ERROR lost = libvirt_error(ERR_INTERNAL, request->uuid);
            log_error(NULL, "'%s' runs without a definition: %s", request->uuid,
                      error_message(lost));
        }
        return error_new(ERR_MIGRATION, "give up '%s': it was just started",
                         request->uuid);
    }
    if (error_code(error) == ERR_INSTANCE_NOT_FOUND) {
        error_free(error);
        return NULL;
    }
    return error;
}

struct error *
libvirt_rest_take(void *state, const struct at_rest_request *request)
{
    AUTO_CONNECTION connection = NULL;
    AUTO_FREE xml = NULL;
    struct error *error = libvirt_connection_get(state, &connection);

    if (!error) {
        error = edit(request, request->definition, &xml);
    }
    if (error) {
        return error;
    }
    AUTO_DOMAIN domain = virDomainLookupByUUIDString(connection, request->uuid);
    if (!domain) {
        domain = virDomainDefineXML(connection, xml);
    }
    if (!domain || virDomainSetAutostart(domain, request->autostart) < 0) {
        error = error_wrap(libvirt_error(ERR_INTERNAL, request->uuid),
                           "define '%s'", request->uuid);
    }
    return error;
}

struct error *
libvirt_rest_wake(void *state_, const struct at_rest_request *request)
{
    struct libvirt *state = state_;
    AUTO_DOMAIN domain = NULL;
    AUTO_FREE path = saved_path(state, request->name);
    enum guest_presence presence = GUEST_ABSENT;
    struct error *error = libvirt_guest_find(state, request->uuid, &domain);

    if (!error) {
        error = libvirt_guest_presence(virDomainGetConnect(domain),
                                       request->uuid, &presence);
    }
    if (!error && presence == GUEST_OFF) {
        error = !path || access(path, F_OK)
                    ? error_new(ERR_INVALID, "there is no saved state")
                    : restore(domain, request, path);
    } else if (!error && presence != GUEST_ACTIVE) {
        error = error_new(ERR_INVALID, "it is on its way elsewhere");
    }
    if (!error && path) {
        error = forget_state(domain, path);
    }
    return error_wrap(error, "wake '%s'", request->uuid);
}

struct error *
libvirt_copy_serve(void *state_, const struct copy_request *request,
                   char **ret_place)
{
    struct libvirt *state = state_;
    struct error *error = disk_check_file(state->store, request->path);

    return error ? error : copies_serve(state->copies, request, ret_place);
}

struct error *
libvirt_copy_stop(void *state_, const char *uuid)
{
    struct libvirt *state = state_;

    copies_stop(state->copies, uuid);
    return NULL;
}

struct error *
libvirt_copy(void *state_, const struct copy_request *request)
{
    struct libvirt *state = state_;

    return copies_run(state->copies, request);
}

struct error *
libvirt_copy_abort(void *state_, const char *uuid)
{
    struct libvirt *state = state_;

    copies_abort(state->copies, uuid);
    return NULL;
}

struct error *
libvirt_copy_progress(void *state_, const char *uuid, unsigned *ret)
{
    struct libvirt *state = state_;

    *ret = copies_progress(state->copies, uuid);
    return NULL;
}

static struct error *
save(virDomainPtr domain, const char *uuid)
{
    if (virDomainManagedSave(domain, 0) == 0) {
        return NULL;
    }
    struct error *error = libvirt_error(ERR_INTERNAL, uuid);
    if (virDomainIsActive(domain) != 0) {
        return error;
    }
    error_free(error);
    return virDomainHasManagedSaveImage(domain, 0) > 0
               ? NULL
               : error_set_arg(
                     error_new(ERR_INSTANCE_NOT_RUNNING, "it does not run"),
                     "instance_id", uuid);
}

/* Of an active guest the file of its state is the one that there would be. */
static struct error *
read_rest(const struct libvirt *state, virDomainPtr domain,
          struct guest_rest *rest)
{
    struct guest *guest = rest->guest;
    int autostart = 0;
    struct error *error = NULL;

    rest->definition = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE |
                                                       VIR_DOMAIN_XML_SECURE);
    if (!rest->definition || virDomainGetAutostart(domain, &autostart) < 0) {
        return libvirt_error(ERR_INTERNAL, guest->uuid);
    }
    rest->autostart = autostart;
    for (size_t i = 0; !error && i < guest->n_disks; i++) {
        struct guest_disk *disk = &guest->disks[i];

        if (disk->path && !disk->is_block_device && !disk->readonly &&
            !disk->shareable) {
            error = read_backing(disk);
            if (!error) {
                error = add_file(rest, disk->path, false);
            }
        }
    }
    if (!error && guest->nvram_path) {
        error = add_file(rest, guest->nvram_path, true);
    }
    return error ? error : add_state(state, rest);
}

static struct error *
add_file(struct guest_rest *rest, const char *path, bool may_lack)
{
    struct stat st;

    if (stat(path, &st)) {
        return may_lack && errno == ENOENT
                   ? NULL
                   : error_new(ERR_MIGRATION, "look at '%s': %s", path,
                               strerror(errno));
    }
    if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        return error_new(ERR_MIGRATION,
                         "'%s' is not a file with something in "
                         "it",
                         path);
    }
    if (access(path, R_OK)) {
        return error_new(ERR_MIGRATION, "the agent can't read '%s': %s", path,
                         strerror(errno));
    }
    rest->files =
        xrealloc(rest->files, (rest->n_files + 1) * sizeof *rest->files);
    rest->files[rest->n_files++] = (struct guest_file){
        .path = xstrdup(path),
        .size = st.st_size,
        .mtime_ns =
            st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec,
        .mode = st.st_mode & 0777,
    };
    return NULL;
}

static struct error *
add_state(const struct libvirt *state, struct guest_rest *rest)
{
    const struct guest *guest = rest->guest;
    AUTO_FREE path = saved_path(state, guest->name);

    if (guest->presence == GUEST_OFF && guest->is_saved) {
        return path
                   ? add_file(rest, path, false)
                   : error_new(ERR_MIGRATION, "where it is saved is not known");
    }
    if (guest->presence != GUEST_ACTIVE || !path) {
        return NULL;
    }
    if (access(state->saved_path, R_OK | X_OK)) {
        return error_new(ERR_MIGRATION,
                         "the agent can't read what is saved in '%s': %s",
                         state->saved_path, strerror(errno));
    }
    rest->files =
        xrealloc(rest->files, (rest->n_files + 1) * sizeof *rest->files);
    rest->files[rest->n_files++] = (struct guest_file){
        .path = steal(&path),
        .size = (int64_t)guest->memory_mb << 20,
        .mode = 0600,
    };
    return NULL;
}

/* libvirt knows it only of images that are open. */
static struct error *
read_backing(struct guest_disk *disk)
{
    if (!str_eq(disk->format, "qcow2")) {
        return NULL;
    }
    int fd = open(disk->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_new(ERR_MIGRATION, "the agent can't read '%s': %s",
                         disk->path, strerror(errno));
    }
    AUTO_FREE data = xmalloc(QCOW2_HEADER_MAX);
    ssize_t n = read(fd, data, QCOW2_HEADER_MAX);
    char *backing = NULL, *format = NULL;
    struct error *error = qcow2_backing(data, n > 0 ? (size_t)n : 0, disk->path,
                                        &backing, &format);
    close(fd);
    if (!error) {
        free(disk->backing_path);
        free(disk->backing_format);
        disk->backing_path = backing;
        disk->backing_format = format;
    }
    return error;
}

static struct error *
check_files(const struct at_rest_request *request)
{
    for (size_t i = 0; i < request->n_files; i++) {
        const struct guest_file *file = &request->files[i];
        struct guest_rest now = {.n_files = 0};
        struct error *error = add_file(&now, file->path, false);

        if (error) {
            return error;
        }
        bool is_same = now.files->size == file->size &&
                       now.files->mtime_ns == file->mtime_ns;
        free(now.files->path);
        free(now.files);
        if (!is_same) {
            return error_new(ERR_MIGRATION, "'%s' has changed", file->path);
        }
    }
    return NULL;
}

/* A saved state goes with the definition, as libvirt will have it. */
static struct error *
undefine(virDomainPtr domain, const char *uuid)
{
    unsigned flags =
        VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM;

    return virDomainUndefineFlags(domain, flags) == 0
               ? NULL
               : libvirt_error(ERR_INTERNAL, uuid);
}

/* Turned into a command line, it has been through most of what a start of the
 * guest would look at. */
static struct error *
check_definition(virConnectPtr connection,
                 const struct at_rest_request *request)
{
    AUTO_FREE xml = NULL;
    struct error *error = edit(request, request->definition, &xml);

    if (error) {
        return error;
    }
    AUTO_DOMAIN namesake = virDomainLookupByName(connection, request->name);
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    if (namesake && (virDomainGetUUIDString(namesake, uuid) < 0 ||
                     !str_eq(uuid, request->uuid))) {
        return error_new(ERR_MIGRATION,
                         "the host has another guest of the name '%s'",
                         request->name);
    }
    AUTO_FREE command =
        virConnectDomainXMLToNative(connection, "qemu-argv", xml, 0);
    return command ? NULL
                   : error_wrap(libvirt_error(ERR_MIGRATION, request->uuid),
                                "its definition will not do here");
}

static struct error *
edit(const struct at_rest_request *request, const char *xml, char **ret)
{
    struct migrate_request edits = {
        .vnc_listen = request->vnc_listen,
        .spice_listen = request->spice_listen,
        .serial_listen = request->serial_listen,
        .remove_cpu_shares = request->remove_cpu_shares,
        .file_backed_memory = request->file_backed_memory,
    };

    return domain_edit_for_destination(xml, strlen(xml), &edits, ret);
}

/* The saved state has a definition of its own, which is edited as well.  Where
 * nothing is to be edited libvirt is let do it, which knows of that state. */
static struct error *
restore(virDomainPtr domain, const struct at_rest_request *request,
        const char *path)
{
    virConnectPtr connection = virDomainGetConnect(domain);
    AUTO_FREE own = NULL;
    AUTO_FREE edited = NULL;

    if (!request->definition) {
        return virDomainCreate(domain) == 0
                   ? NULL
                   : libvirt_error(ERR_INTERNAL, request->uuid);
    }
    own = virDomainSaveImageGetXMLDesc(connection, path,
                                       VIR_DOMAIN_SAVE_IMAGE_XML_SECURE);
    if (!own) {
        return libvirt_error(ERR_INTERNAL, request->uuid);
    }
    struct error *error = edit(request, own, &edited);
    if (error) {
        return error;
    }
    return virDomainRestoreFlags(connection, path, edited, 0) == 0
               ? NULL
               : libvirt_error(ERR_INTERNAL, request->uuid);
}

/* The guest runs, and has changed: what was saved must never be used again. */
static struct error *
forget_state(virDomainPtr domain, const char *path)
{
    if (virDomainHasManagedSaveImage(domain, 0) > 0 &&
        virDomainManagedSaveRemove(domain, 0) < 0) {
        AUTO_ERROR error = libvirt_error(ERR_INTERNAL, NULL);
        log_debug(NULL, "saved state: %s", error_message(error));
    }
    return unlink(path) && errno != ENOENT
               ? error_new(ERR_STORAGE, "remove '%s': %s", path,
                           strerror(errno))
               : NULL;
}

/* The caller's; null: not known. */
static char *
saved_path(const struct libvirt *state, const char *name)
{
    return state->saved_path && name
               ? xasprintf("%s/%s.save", state->saved_path, name)
               : NULL;
}
