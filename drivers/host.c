#include <config.h>

#include "drivers/host.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* For the slowest of them, an NFS mount or an iSCSI login that fails. */
#define COMMAND_TIMEOUT_MS 150000

/* How often the wish to stop is looked at. */
#define WAIT_LOOK_MS 100

#define LINKS_MAX 1024

/* What starts the names of links that belong to one guest. */
static const char *const guest_links[] = {"tap", "vnet",    "qvb", "qvo",
                                          "qbr", "macvtap", "lo"};

struct error *
host_run_command(void *aux, const char *const *argv, enum error_code code,
                 struct command_result *ret)
{
    struct command command = {.argv = argv,
                              .timeout_ms = COMMAND_TIMEOUT_MS,
                              .code = code,
                              .stop = aux};

    return command_run(&command, ret);
}

void
host_wait(void *aux, unsigned ms)
{
    const atomic_bool *stop = aux;

    for (; ms >= WAIT_LOOK_MS && !atomic_load(stop); ms -= WAIT_LOOK_MS) {
        poll(NULL, 0, WAIT_LOOK_MS);
    }
}

struct error *
host_run(const struct host *host, enum error_code code, const char *const *argv)
{
    struct command_result result;
    struct error *error = host->run(host->aux, argv, code, &result);

    if (error) {
        return error;
    }
    error = command_check(argv[0], code, &result);
    command_result_close(&result);
    return error;
}

bool
host_is_plain(const char *text, const char *others)
{
    if (!text || !*text || *text == '-' || *text == '.' ||
        strlen(text) > 1024) {
        return false;
    }
    for (; *text; text++) {
        bool is_right =
            (unsigned char)*text < 128 &&
            (isalnum((unsigned char)*text) || strchr(others, *text));
        if (!is_right) {
            return false;
        }
    }
    return true;
}

char *
host_path(const struct host *host, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    AUTO_FREE path = xvasprintf(fmt, args);
    va_end(args);
    return xasprintf("%s%s", host->root, path);
}

bool
host_has(const struct host *host, const char *path)
{
    AUTO_FREE real = host_path(host, "%s", path);

    return access(real, F_OK) == 0;
}

bool
host_has_link(const struct host *host, const char *name)
{
    AUTO_FREE path = xasprintf("/sys/class/net/%s", name);

    return host_has(host, path);
}

struct error *
host_write(const struct host *host, const char *path, const char *text,
           enum error_code code)
{
    AUTO_FREE real = host_path(host, "%s", path);
    int fd = open(real, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    struct error *error = n < 0 ? error_new(code, "write '%s' to '%s': %s",
                                            text, real, strerror(errno))
                                : NULL;

    if (fd >= 0) {
        close(fd);
    }
    return error;
}

static bool
is_guest_link(const char *name)
{
    for (size_t i = 0; i < N_ELEMENTS(guest_links); i++) {
        if (strncmp(name, guest_links[i], strlen(guest_links[i])) == 0) {
            return true;
        }
    }
    return name[0] == '.';
}

char **
host_links(const struct host *host)
{
    AUTO_FREE path = host_path(host, "/sys/class/net");
    char **links = xcalloc(LINKS_MAX + 1, sizeof *links);
    DIR *directory = opendir(path);
    struct dirent *entry;
    size_t n = 0;

    while (directory && n < LINKS_MAX && (entry = readdir(directory))) {
        if (!is_guest_link(entry->d_name)) {
            links[n++] = xstrdup(entry->d_name);
        }
    }
    if (directory) {
        closedir(directory);
    }
    return links;
}

/* Claims. */

static struct error *
storage_error(const char *what, const char *path)
{
    return error_new(ERR_STORAGE, "%s '%s': %s", what, path, strerror(errno));
}

struct error *
host_lock(const struct host *host, const char *thing, struct host_lock *ret)
{
    char hash[33];

    ret->fd = -1;
    host_hash(thing, hash);
    AUTO_FREE path = xasprintf("%s/%s", host->claims_path, hash);
    if ((mkdir(host->claims_path, 0700) && errno != EEXIST) ||
        (mkdir(path, 0700) && errno != EEXIST)) {
        return storage_error("make directory", path);
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return storage_error("open", path);
    }
    while (flock(fd, LOCK_EX)) {
        if (errno != EINTR) {
            struct error *error = storage_error("lock", path);
            close(fd);
            return error;
        }
    }
    ret->fd = fd;
    return NULL;
}

void
host_unlock(struct host_lock *lock)
{
    if (lock->fd >= 0) {
        close(lock->fd);
        lock->fd = -1;
    }
}

struct error *
host_claim(const struct host_lock *lock, const char *user)
{
    int fd = openat(lock->fd, user, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0) {
        return storage_error("make claim", user);
    }
    close(fd);
    /* It must be there after a crash if what it stands for is. */
    return fsync(lock->fd) ? storage_error("keep claim", user) : NULL;
}

struct error *
host_disclaim(const struct host_lock *lock, const char *user, bool *ret_is_last)
{
    if (unlinkat(lock->fd, user, 0) && errno != ENOENT) {
        return storage_error("remove claim", user);
    }
    int fd = openat(lock->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory) {
        struct error *error = storage_error("list claims beside", user);
        if (fd >= 0) {
            close(fd);
        }
        return error;
    }
    struct dirent *entry;
    *ret_is_last = true;
    while ((entry = readdir(directory))) {
        *ret_is_last &= entry->d_name[0] == '.';
    }
    closedir(directory);
    return NULL;
}

void
host_hash(const char *text, char ret[33])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;

    memset(digest, 0, sizeof digest);
    if (!EVP_Digest(text, strlen(text), digest, &size, EVP_md5(), NULL)) {
        abort(); /* There is no libcrypto without it. */
    }
    for (unsigned i = 0; i < 16; i++) {
        snprintf(ret + (size_t)2 * i, 3, "%02x", digest[i]);
    }
}
