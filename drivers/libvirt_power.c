#include <config.h>

#include "drivers/libvirt_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Starting and ending guests.  What a guest is stays as libvirt has it: a
 * transient one, which would be gone with its end, is made persistent first. */

static struct error *find(struct libvirt *state, const char *uuid,
                          virDomainPtr *ret, enum guest_presence *ret_presence);
static struct error *on_its_way(const char *uuid);
static struct error *refusal_unless_off(virDomainPtr domain, const char *uuid);
static struct error *read_tail(const char *path, char **ret);

struct error *
libvirt_power_on(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    enum guest_presence presence;
    struct error *error = find(state, uuid, &domain, &presence);

    if (!error && presence == GUEST_OFF) {
        /* It goes on from a saved state by itself. */
        error = virDomainCreateWithFlags(domain, 0) == 0
                    ? NULL
                    : libvirt_error(ERR_INTERNAL, uuid);
    } else if (!error && presence != GUEST_ACTIVE) {
        error = on_its_way(uuid);
    }
    return error_wrap(error, "start '%s'", uuid);
}

struct error *
libvirt_shut_down(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    enum guest_presence presence;
    struct error *error = find(state, uuid, &domain, &presence);

    if (!error && presence == GUEST_ACTIVE) {
        error = virDomainShutdownFlags(domain, VIR_DOMAIN_SHUTDOWN_DEFAULT) == 0
                    ? NULL
                    : refusal_unless_off(domain, uuid);
    } else if (!error && presence != GUEST_OFF) {
        error = on_its_way(uuid);
    }
    return error_wrap(error, "ask '%s' to shut down", uuid);
}

struct error *
libvirt_power_off(void *state, const char *uuid)
{
    AUTO_DOMAIN domain = NULL;
    enum guest_presence presence;
    struct error *error = find(state, uuid, &domain, &presence);

    if (!error && presence == GUEST_ACTIVE) {
        error = libvirt_guest_persist(state, uuid);
        /* First so that what QEMU has in its caches is written. */
        if (!error &&
            virDomainDestroyFlags(domain, VIR_DOMAIN_DESTROY_GRACEFUL) &&
            virDomainDestroy(domain)) {
            error = refusal_unless_off(domain, uuid);
        }
    } else if (!error && presence != GUEST_OFF) {
        error = on_its_way(uuid);
    }
    return error_wrap(error, "power '%s' off", uuid);
}

struct error *
libvirt_console_read(void *state, const char *uuid, char **ret)
{
    CLEANUP(guest_free_at) struct guest *guest = NULL;
    AUTO_DOMAIN domain = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error) {
        error = libvirt_guest_read(domain, uuid, &guest);
    }
    if (!error && !guest->console_path) {
        error = error_new(ERR_NOT_FOUND, "it is kept in no file");
    }
    if (!error) {
        error = read_tail(guest->console_path, ret);
    }
    return error_wrap(error, "read the console of '%s'", uuid);
}

static struct error *
find(struct libvirt *state, const char *uuid, virDomainPtr *ret,
     enum guest_presence *ret_presence)
{
    struct error *error = libvirt_guest_find(state, uuid, ret);

    return error ? error
                 : libvirt_guest_presence(virDomainGetConnect(*ret), uuid,
                                          ret_presence);
}

static struct error *
on_its_way(const char *uuid)
{
    return error_new(ERR_INVALID,
                     "guest '%s' went to another host, or is on its way", uuid);
}

/* To be called at once after a failure.  It may have ended meanwhile. */
static struct error *
refusal_unless_off(virDomainPtr domain, const char *uuid)
{
    AUTO_ERROR error = libvirt_error(ERR_INTERNAL, uuid);

    return virDomainIsActive(domain) == 0 ? NULL : steal(&error);
}

/* A pipe or a device would keep us waiting. */
static struct error *
read_tail(const char *path, char **ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    struct error *error = NULL;

    if (fd < 0 || fstat(fd, &st) < 0) {
        error = error_new(errno == ENOENT ? ERR_NOT_FOUND : ERR_STORAGE,
                          "'%s': %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        error = error_new(ERR_NOT_FOUND, "'%s' is no regular file", path);
    }
    if (!error) {
        off_t at =
            st.st_size > CONSOLE_BYTES_MAX ? st.st_size - CONSOLE_BYTES_MAX : 0;
        AUTO_FREE text = xzalloc(CONSOLE_BYTES_MAX + 1);
        ssize_t n = pread(fd, text, CONSOLE_BYTES_MAX, at);

        if (n < 0) {
            error = error_new(ERR_STORAGE, "'%s': %s", path, strerror(errno));
        }
        for (ssize_t i = 0; i < n; i++) {
            text[i] = text[i] ? text[i] : ' ';
        }
        if (!error) {
            *ret = steal(&text);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return error;
}
