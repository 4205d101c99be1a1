#include <config.h>

#include "drivers/volume.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/host.h"

/* NFS: an export is mounted in a directory that is named after it, as Nova
 * does, for all its volumes together. */

static struct error *check(const struct volume *volume);
static struct error *connect_nfs(const struct host *host,
                                 struct volume *volume);
static struct error *disconnect_nfs(const struct host *host,
                                    const struct volume *volume);
static struct error *describe(const struct volume *volume,
                              struct volume_source *ret);
static struct error *mount_export(const struct host *host,
                                  const struct volume *volume,
                                  const char *directory);
static struct error *unmount(const struct host *host, const char *directory);
static bool is_mounted(const struct host *host, const char *directory);

const struct volume_type volume_type_nfs = {
    .name = "nfs",
    .check = check,
    .connect = connect_nfs,
    .disconnect = disconnect_nfs,
    .describe = describe,
};

/* "-o this,that" is all that Cinder sends. */
static const char *
bare_options(const struct volume *volume)
{
    const char *options = volume->options;

    if (!options || strncmp(options, "-o", 2) != 0) {
        return options && *options ? NULL : "";
    }
    options += 2;
    return options + strspn(options, " ");
}

static struct error *
check(const struct volume *volume)
{
    const char *options = bare_options(volume);

    if (!host_is_plain(volume->share, "/.:[]_-%@+,=") ||
        !strstr(volume->share, ":/")) {
        return error_new(ERR_VALUE, "its export is not 'server:/directory'");
    }
    if (!host_is_plain(volume->name, "._@+=:-")) {
        return error_new(ERR_VALUE, "its file has no name");
    }
    if (!options || (*options && !host_is_plain(options, ",=._:/-"))) {
        return error_new(ERR_VALUE, "its mount options are not '-o LIST'");
    }
    return NULL;
}

static char *
mount_point(const struct host *host, const struct volume *volume)
{
    char hash[33];

    host_hash(volume->share, hash);
    return xasprintf("%s/%s", host->nfs_mount_point_base, hash);
}

static struct error *
connect_nfs(const struct host *host, struct volume *volume)
{
    AUTO_FREE directory = mount_point(host, volume);
    AUTO_FREE path = xasprintf("%s/%s", directory, volume->name);
    AUTO_FREE claimant = volume_claimant(volume);
    AUTO_HOST_LOCK lock = {-1};
    bool is_last;

    struct error *error = host_lock(host, directory, &lock);
    if (!error) {
        error = host_claim(&lock, claimant);
    }
    if (error) {
        return error;
    }
    if (!is_mounted(host, directory)) {
        error = mount_export(host, volume, directory);
    }
    if (!error && access(path, F_OK)) {
        error = error_new(ERR_STORAGE, "look for '%s' in '%s': %s",
                          volume->name, volume->share, strerror(errno));
    }
    if (!error) {
        free(volume->device_path);
        volume->device_path = steal(&path);
        return NULL;
    }
    AUTO_ERROR left = host_disclaim(&lock, claimant, &is_last);
    if (!left && is_last) {
        error_free(unmount(host, directory)); /* The first counts. */
    }
    return error;
}

static struct error *
disconnect_nfs(const struct host *host, const struct volume *volume)
{
    AUTO_FREE directory = mount_point(host, volume);
    AUTO_FREE claimant = volume_claimant(volume);
    AUTO_HOST_LOCK lock = {-1};
    bool is_last = false;

    struct error *error = host_lock(host, directory, &lock);
    if (!error) {
        error = host_disclaim(&lock, claimant, &is_last);
    }
    return error || !is_last ? error : unmount(host, directory);
}

static struct error *
describe(const struct volume *volume, struct volume_source *ret)
{
    *ret = (struct volume_source){
        .type = "file", .path = volume->device_path ? volume->device_path : ""};
    return NULL;
}

static struct error *
mount_export(const struct host *host, const struct volume *volume,
             const char *directory)
{
    const char *ours = host->nfs_mount_options, *its = bare_options(volume);
    AUTO_FREE options = xasprintf("%s%s%s", ours ? ours : "",
                                  ours && *ours && *its ? "," : "", its);

    if ((mkdir(host->nfs_mount_point_base, 0755) && errno != EEXIST) ||
        (mkdir(directory, 0755) && errno != EEXIST)) {
        return error_new(ERR_STORAGE, "make directory '%s': %s", directory,
                         strerror(errno));
    }
    return *options ? HOST_RUN(host, ERR_STORAGE, "mount", "-t", "nfs", "-o",
                               options, volume->share, directory)
                    : HOST_RUN(host, ERR_STORAGE, "mount", "-t", "nfs",
                               volume->share, directory);
}

/* One that is in use without a claim, as of a guest that was there before the
 * agent, stays. */
static struct error *
unmount(const struct host *host, const char *directory)
{
    const char *const argv[] = {"umount", directory, NULL};
    struct command_result result;

    if (is_mounted(host, directory)) {
        struct error *error = host->run(host->aux, argv, ERR_STORAGE, &result);
        if (error) {
            return error;
        }
        bool is_busy = strstr(result.errors, "busy") != NULL;
        error = is_busy ? NULL : command_check(argv[0], ERR_STORAGE, &result);
        bool is_gone = !result.exit_code;
        command_result_close(&result);
        if (error || !is_gone) {
            return error;
        }
    }
    if (rmdir(directory) && errno != ENOENT && errno != ENOTEMPTY &&
        errno != EBUSY) {
        return error_new(ERR_STORAGE, "remove directory '%s': %s", directory,
                         strerror(errno));
    }
    return NULL;
}

/* Asked of the kernel's list: to look at the directory itself would wait for
 * a server that is away. */
static bool
is_mounted(const struct host *host, const char *directory)
{
    AUTO_FREE path = host_path(host, "/proc/self/mountinfo");
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;
    bool found = false;

    while (file && !found && getline(&line, &room, file) > 0) {
        char *rest = line, *field = NULL;
        for (int i = 0; i < 5; i++) {
            field = strsep(&rest, " ");
        }
        found = str_eq(field, directory);
    }
    free(line);
    if (file) {
        fclose(file);
    }
    return found;
}
