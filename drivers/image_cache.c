#include <config.h>

#include "drivers/image_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/command.h"
#include "drivers/disk_image.h"
#include "drivers/disk_internal.h"
#include "drivers/image_check.h"

/* The largest images there are, over a slow link or onto a slow disk. */
#define PROGRAM_TIMEOUT_MS (60 * 60 * 1000)

/* What qemu-img may take: far more than any sound image needs. */
#define PROGRAM_MEMORY (INT64_C(4) << 30)
#define PROGRAM_CPU_S 3600

/* What a qcow2 file may have beside the disk: 16 bytes for each cluster, which
 * has 512 at least, and a few clusters, which have 2 MiB at most.  Twice that.
 */
#define TABLES_SHARE 16
#define TABLES_SIZE (INT64_C(32) << 20)

#define FIRST_FD "/proc/self/fd/3" /* PROCESS_FD */
#define SECOND_FD "/proc/self/fd/4"
_Static_assert(PROCESS_FD == 3, "as in the paths");

/* The directory, and what has the name in it. */
struct place {
    char *path;
    int dir; /* -1: there is none. */
    bool exists;
};

static struct error *find(const struct disk_store *store, const char *name,
                          bool is_made, struct place *ret);
static struct error *open_cache(const struct disk_store *store, bool is_made,
                                int *ret);
static struct error *look(const struct place *place, const char *name,
                          bool *ret);
static struct error *open_nameless(const struct place *place, int *ret);
static struct error *make_raw(const struct place *place,
                              const struct image_request *r, int *ret);
static struct error *convert(const struct image_request *r, int to);
static int64_t disk_max(const struct image_request *r);
static enum error_code code_of(const struct command_result *result);
static struct error *fetch(const struct image_request *r, const char *remote,
                           int to);
static struct error *check_copy(const struct image_request *r, int fd);
static struct error *give_name(const struct place *place, const char *name,
                               int fd);
static void place_close(struct place *place);
#define AUTO_PLACE CLEANUP(place_close) struct place

struct error *
image_cache_exists(const struct disk_store *store, const char *name, bool *ret)
{
    AUTO_PLACE place = {.dir = -1};
    struct error *error = find(store, name, false, &place);

    if (!error) {
        *ret = place.exists;
    }
    return error;
}

struct error *
image_cache_create(const struct disk_store *store, const char *name,
                   int *ret_fd)
{
    AUTO_PLACE place = {.dir = -1};
    struct error *error = find(store, name, true, &place);

    return error ? error : open_nameless(&place, ret_fd);
}

/* Another one's fetching of the same image is as good as ours. */
struct error *
image_cache_keep(const struct disk_store *store, const struct image_request *r)
{
    AUTO_PLACE place = {.dir = -1};
    AUTO_CLOSE raw = -1;
    int64_t size = 0;
    struct error *error = find(store, r->name, true, &place);

    if (error || place.exists) {
        return error;
    }
    error = image_check_request(r);
    if (!error) {
        error = image_check_content(r, &size);
    }
    if (!error && r->is_made_raw &&
        !str_eq(image_check_format(r->format), "raw")) {
        error = make_raw(&place, r, &raw);
    }
    return error ? error : give_name(&place, r->name, raw >= 0 ? raw : r->fd);
}

struct error *
image_cache_copy(const struct disk_store *store, const struct image_request *r)
{
    AUTO_PLACE place = {.dir = -1};
    AUTO_FREE remote = NULL;
    AUTO_CLOSE fd = -1;
    struct error *error = find(store, r->name, true, &place);

    if (!error) {
        error = image_check_copy(r, place.path, &remote);
    }
    if (error || place.exists) {
        return error;
    }
    error = open_nameless(&place, &fd);
    if (!error) {
        error = fetch(r, remote, fd);
    }
    if (!error) {
        error = check_copy(r, fd);
    }
    if (!error) {
        error = give_name(&place, r->name, fd);
    }
    return error_wrap(error, "copy image '%s' from '%s'", r->name, r->host);
}

static struct error *
find(const struct disk_store *store, const char *name, bool is_made,
     struct place *ret)
{
    const char *root, *rest;
    struct error *error = disk_name_check(name);

    if (error) {
        return error;
    }
    ret->path = disk_path_of_image(&store->roots, name);
    error = disk_path_resolve(&store->roots, ret->path, false, &root, &rest);
    if (!error) {
        error = open_cache(store, is_made, &ret->dir);
    }
    return error || ret->dir < 0 ? error : look(ret, name, &ret->exists);
}

/* '*ret' is left alone if there is none and it is not to be made. */
static struct error *
open_cache(const struct disk_store *store, bool is_made, int *ret)
{
    AUTO_FREE path = disk_path_of_image(&store->roots, NULL);
    AUTO_CLOSE root = -1;
    struct error *error = disk_open_directory(store, path, ret);

    if (error_code(error) != ERR_NOT_FOUND) {
        return error;
    }
    error_free(error);
    error = disk_open_directory(store, store->roots.paths[0], &root);
    if (error || !is_made) {
        return error;
    }
    if (mkdirat(root, strrchr(path, '/') + 1, 0755) && errno != EEXIST) {
        return disk_failed("make directory", path);
    }
    if (fsync(root)) {
        return disk_failed("write to the disk", store->roots.paths[0]);
    }
    return disk_open_directory(store, path, ret);
}

static struct error *
look(const struct place *place, const char *name, bool *ret)
{
    struct stat st;

    if (fstatat(place->dir, name, &st, AT_SYMLINK_NOFOLLOW)) {
        *ret = false;
        return errno == ENOENT ? NULL : disk_failed("look at", place->path);
    }
    *ret = true;
    return S_ISREG(st.st_mode)
               ? NULL
               : error_new(ERR_INVALID, "'%s' is not a regular file",
                           place->path);
}

static struct error *
open_nameless(const struct place *place, int *ret)
{
    int fd = openat(place->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
        return error_new(ERR_STORAGE,
                         "the file system of '%s' has no files without a name "
                         "(O_TMPFILE): no image is fetched into it",
                         place->path);
    }
    if (fd < 0) {
        return disk_failed("make a file to become", place->path);
    }
    *ret = fd;
    return NULL;
}

/* What QEMU makes of an image is its word on how large a disk that is.  One
 * image may hold another: what begins like that is refused as nova-compute
 * does, for what has a name is raw only if it looks so. */
static struct error *
make_raw(const struct place *place, const struct image_request *r, int *ret)
{
    struct image_request raw = *r;
    char format[] = "raw";
    int64_t size = 0;
    struct error *error = open_nameless(place, ret);

    if (!error) {
        error = convert(r, *ret);
    }
    if (error) {
        return error;
    }
    raw.fd = *ret;
    raw.format = format;
    return error_wrap(image_check_content(&raw, &size), "made raw");
}

static struct error *
convert(const struct image_request *r, int to)
{
    const char *format = image_check_format(r->format);
    const char *const argv[] = {"qemu-img", "convert", "-t", "writeback",
                                "-f",       format,    "-O", "raw",
                                FIRST_FD,   SECOND_FD, NULL};
    const int fds[] = {r->fd, to};
    struct command command = {
        .argv = argv,
        .timeout_ms = PROGRAM_TIMEOUT_MS,
        .code = ERR_STORAGE,
        .fds = fds,
        .n_fds = N_ELEMENTS(fds),
        .limits = {.memory = PROGRAM_MEMORY,
                   .cpu_s = PROGRAM_CPU_S,
                   .file_size = disk_max(r)},
    };
    struct command_result result;
    struct error *error = command_run(&command, &result);

    if (!error) {
        error = command_check(argv[0], code_of(&result), &result);
        command_result_close(&result);
    }
    return error ? error_set_arg(
                       error_wrap(error, "make image '%s' raw", r->name),
                       "image_id", r->name)
                 : NULL;
}

static int64_t
disk_max(const struct image_request *r)
{
    return r->virtual_max ? r->virtual_max : DISK_IMAGE_MAX;
}

/* Whose fault it is: the image's, or that of our disk. */
static enum error_code
code_of(const struct command_result *result)
{
    return strstr(result->errors, "No space left on device") ||
                   strstr(result->errors, "Disk quota exceeded")
               ? ERR_STORAGE
               : ERR_IMAGE_UNACCEPTABLE;
}

/* Nobody is there to answer what ssh would ask.  It is not made quiet, as its
 * reasons are ours. */
static struct error *
fetch(const struct image_request *r, const char *remote, int to)
{
    const char *const argv[] = {"scp",    "-B",
                                "-o",     "LogLevel=ERROR",
                                "-o",     "ConnectTimeout=30",
                                "-o",     "ServerAliveInterval=15",
                                "--",     remote,
                                FIRST_FD, NULL};
    struct command command = {
        .argv = argv,
        .timeout_ms = PROGRAM_TIMEOUT_MS,
        .code = ERR_STORAGE,
        .fds = &to,
        .n_fds = 1,
        .limits = {.file_size =
                       disk_max(r) + disk_max(r) / TABLES_SHARE + TABLES_SIZE},
    };

    return command_run_checked(&command, NULL);
}

/* It is the source's file as it is there, and of no other format than it begins
 * like: disk_prepare() will go by that. */
static struct error *
check_copy(const struct image_request *r, int fd)
{
    struct image_request copy = *r;
    const char *format;

    copy.fd = fd;
    return image_check_base(&copy, &format);
}

/* The hypervisor's user reads it. */
static struct error *
give_name(const struct place *place, const char *name, int fd)
{
    AUTO_FREE nameless = xasprintf("/proc/self/fd/%d", fd);
    bool exists;

    if (fchmod(fd, 0644) || fsync(fd)) {
        return disk_failed("write to the disk", place->path);
    }
    if (linkat(AT_FDCWD, nameless, place->dir, name, AT_SYMLINK_FOLLOW) &&
        errno != EEXIST) {
        return disk_failed("give its name to", place->path);
    }
    return fsync(place->dir) ? disk_failed("write to the disk", place->path)
                             : look(place, name, &exists);
}

static void
place_close(struct place *place)
{
    free(place->path);
    disk_close_fd(&place->dir);
}
