#include <config.h>

#include "drivers/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/log.h"
#include "drivers/disk_internal.h"

LOG_MODULE(disk);

/* A file by which two hosts find out that they see the same directory: an
 * empty one, whose name nobody guesses. */

#define PREFIX "tmp"
#define LETTERS "abcdefghijklmnopqrstuvwxyz012345"
#define N_LETTERS 12

/* No check takes so long. */
#define STALE_S 3600

static struct error *open_probes(const struct disk_store *,
                                 const char *directory, const char *name,
                                 int *ret);
static bool is_stale(int dir, const char *name, time_t now);

struct error *
disk_probe_create(const struct disk_store *store, const char *directory,
                  char **ret_name)
{
    char name[] = PREFIX "XXXXXXXXXXXX";
    AUTO_CLOSE dir = -1;
    struct error *error = open_probes(store, directory, name, &dir);

    if (error) {
        return error;
    }
    for (char *c = name + sizeof PREFIX - 1; *c; c++) {
        unsigned char random;

        if (getentropy(&random, 1)) {
            return error_new(ERR_STORAGE, "get a random number: %s",
                             strerror(errno));
        }
        *c = LETTERS[random % 32];
    }
    AUTO_CLOSE fd =
        openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return disk_failed("create a probe file in",
                           directory ? directory : store->roots.paths[0]);
    }
    *ret_name = xstrdup(name);
    return NULL;
}

struct error *
disk_probe_exists(const struct disk_store *store, const char *directory,
                  const char *name, bool *ret)
{
    AUTO_CLOSE dir = -1;
    struct error *error = open_probes(store, directory, name, &dir);
    struct stat st;

    if (error) {
        return error;
    }
    /* Makes a client of NFS look at the directory afresh. */
    if (futimens(dir, NULL)) {
        log_debug(NULL, "cannot touch the directory of probes: %s",
                  strerror(errno));
    }
    bool exists = !fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
    if (!exists && errno != ENOENT) {
        return disk_failed("look for probe file", name);
    }
    *ret = exists;
    return NULL;
}

struct error *
disk_probe_remove(const struct disk_store *store, const char *directory,
                  const char *name)
{
    AUTO_CLOSE dir = -1;
    struct error *error = open_probes(store, directory, name, &dir);

    if (error) {
        return error;
    }
    if (unlinkat(dir, name, 0) && errno != ENOENT) {
        return disk_failed("remove probe file", name);
    }
    return NULL;
}

void
disk_probes_sweep(const struct disk_store *store)
{
    const char *path = store->roots.paths[0];
    const struct dirent *entry;
    int fd;
    struct error *error = disk_open_directory(store, path, &fd);
    DIR *dir = error ? NULL : fdopendir(fd);

    if (!dir) {
        log_debug(NULL, "no probe files are looked for in '%s'", path);
        error_free(error);
        return;
    }
    while ((entry = readdir(dir))) {
        if (is_stale(fd, entry->d_name, time(NULL)) &&
            !unlinkat(fd, entry->d_name, 0)) {
            log_info(NULL, "probe file '%s/%s' was left behind: removed", path,
                     entry->d_name);
        }
    }
    closedir(dir);
}

static struct error *
open_probes(const struct disk_store *store, const char *directory,
            const char *name, int *ret)
{
    struct error *error = disk_name_check(name);

    if (error) {
        return error;
    }
    return disk_open_directory(
        store, directory ? directory : store->roots.paths[0], ret);
}

/* Nova's have a name of another length, and look after themselves. */
static bool
is_stale(int dir, const char *name, time_t now)
{
    struct stat st;

    return strncmp(name, PREFIX, sizeof PREFIX - 1) == 0 &&
           strlen(name) == sizeof PREFIX - 1 + N_LETTERS &&
           strspn(name + sizeof PREFIX - 1, LETTERS) == N_LETTERS &&
           !fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) &&
           S_ISREG(st.st_mode) && st.st_size == 0 &&
           st.st_mtim.tv_sec < now - STALE_S;
}
