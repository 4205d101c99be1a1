#include <config.h>

#include "drivers/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/base/log.h"
#include "drivers/disk_image.h"
#include "drivers/disk_internal.h"
#include "drivers/disk_path.h"
#include "drivers/image_check.h"

LOG_MODULE(disk);

/* Deeper than any instance directory; bounds the descriptors in use. */
#define DEPTH_MAX 32

#define DISK_INFO "disk.info"

static struct error *open_parent(const struct disk_store *, const char *path,
                                 int *ret, const char **ret_name);
static struct error *open_file(const struct disk_store *, const char *path,
                               int mode, int *ret_parent, int *ret);
static int64_t sectors(int64_t size);
static struct error *check_request(const struct disk_store *,
                                   const struct prepare_request *);
static struct error *check_is_free(const struct disk_store *, const char *path);
static struct error *find_backing(const struct disk_store *,
                                  const struct prepare_disk *, char **ret,
                                  const char **ret_format);
static struct error *find_format(const struct prepare_disk *, int fd,
                                 const char **ret);
static struct error *make_directory(const struct disk_store *,
                                    const char *path);
static struct error *make_disk(const struct disk_store *,
                               const struct prepare_disk *);
static struct error *make_image(int fd, const struct prepare_disk *,
                                const char *backing_path,
                                const char *backing_format);
static struct error *write_disk_info(const struct disk_store *,
                                     const struct prepare_request *);
static void take_back(const struct disk_store *, const struct prepare_request *,
                      size_t n_disks);
static struct error *remove_disk(const struct disk_store *, const char *path);
static struct error *remove_directory(const struct disk_store *,
                                      const char *path);
static struct error *remove_tree(int parent, const char *name, const char *path,
                                 dev_t device, int depth);
static struct error *remove_content(int fd, const char *path, dev_t device,
                                    int depth);
static struct error *exists_already(const char *path);

struct disk_store *
disk_store_create(const char *instances_path, const char *const *images_paths)
{
    struct disk_store *store = xzalloc(sizeof *store);

    disk_roots_init(&store->roots, instances_path, images_paths);
    return store;
}

void
disk_store_allow(struct disk_store *store, const char *path)
{
    disk_roots_add(&store->roots, path);
}

void
disk_store_free(struct disk_store *store)
{
    if (store) {
        disk_roots_close(&store->roots);
        free(store);
    }
}

struct error *
disk_prepare(const struct disk_store *store,
             const struct prepare_request *request)
{
    struct error *error = check_request(store, request);
    size_t n_made = 0;

    if (error || request->only_check) {
        return error;
    }
    if (request->directory) {
        error = make_directory(store, request->directory);
        if (error) {
            return error;
        }
    }
    while (!error && n_made < request->n_disks) {
        error = make_disk(store, &request->disks[n_made]);
        n_made += !error;
    }
    if (!error && request->directory) {
        error = write_disk_info(store, request);
    }
    if (error) {
        take_back(store, request, n_made);
    }
    return error;
}

struct error *
disk_unprepare(const struct disk_store *store,
               const struct prepare_request *request)
{
    struct error *first = NULL;

    for (size_t i = 0; i <= request->n_disks; i++) {
        struct error *error = NULL;

        if (i < request->n_disks) {
            error = remove_disk(store, request->disks[i].path);
        } else if (request->directory) {
            error = remove_directory(store, request->directory);
        }
        if (error && first) {
            log_warn(NULL, "%s", error_message(error));
            error_free(error);
        } else if (error) {
            first = error;
        }
    }
    return first;
}

struct error *
disk_seal(const struct disk_store *store, const char *path, int64_t size)
{
    AUTO_CLOSE parent = -1;
    AUTO_CLOSE fd = -1;
    struct stat st;
    struct error *error = open_file(store, path, O_RDWR, &parent, &fd);

    if (error) {
        return error;
    }
    if (fstat(fd, &st)) {
        return disk_failed("look at", path);
    }
    if (st.st_size > size && st.st_size == sectors(size)) {
        if (ftruncate(fd, size)) {
            return disk_failed("cut to its length", path);
        }
        st.st_size = size;
    }
    if (st.st_size != size) {
        return error_new(ERR_MIGRATION, "'%s' has %lld bytes here, not %lld",
                         path, (long long)st.st_size, (long long)size);
    }
    return fsync(fd) || fsync(parent) ? disk_failed("write to the disk", path)
                                      : NULL;
}

struct error *
disk_check_file(const struct disk_store *store, const char *path)
{
    AUTO_CLOSE parent = -1;
    AUTO_CLOSE fd = -1;

    return open_file(store, path, O_RDONLY, &parent, &fd);
}

struct error *
disk_room(const struct disk_store *store, int64_t *ret_total, int64_t *ret_free,
          int64_t *ret_used)
{
    const char *path = store->roots.paths[0];
    struct statvfs fs;

    if (statvfs(path, &fs)) {
        return disk_failed("ask for the room in", path);
    }
    *ret_total = (int64_t)(fs.f_blocks * fs.f_frsize);
    *ret_free = (int64_t)(fs.f_bavail * fs.f_frsize);
    *ret_used = (int64_t)((fs.f_blocks - fs.f_bfree) * fs.f_frsize);
    return NULL;
}

struct error *
disk_space(const struct disk_store *store, int64_t *ret_total_gb,
           int64_t *ret_free_gb)
{
    int64_t total = 0, free = 0, used = 0;
    struct error *error = disk_room(store, &total, &free, &used);

    if (!error) {
        *ret_total_gb = total >> 30;
        *ret_free_gb = free >> 30;
    }
    return error;
}

/* The root is the operator's word and may be a symbolic link; nothing below
 * it may be one. */
struct error *
disk_open_directory(const struct disk_store *store, const char *path, int *ret)
{
    const char *root, *rest;
    struct error *error =
        disk_path_resolve(&store->roots, path, true, &root, &rest);

    if (error) {
        return error;
    }
    AUTO_CLOSE fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return disk_failed("open directory", root);
    }
    while (*rest) {
        size_t size = strcspn(rest, "/");
        AUTO_FREE name = xstrndup(rest, size);
        int next =
            openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (next < 0) {
            /* ENOTDIR is what a link gives with O_DIRECTORY. */
            return errno == ELOOP || errno == ENOTDIR
                       ? error_new(ERR_INVALID,
                                   "'%s' leads through '%s', which is a "
                                   "symbolic link or no directory",
                                   path, name)
                       : disk_failed("open directory", path);
        }
        close(fd);
        fd = next;
        rest += size + (rest[size] == '/');
    }
    *ret = fd;
    fd = -1;
    return NULL;
}

/* The directory of what 'path' names, and its name in there, which points
 * into 'path'. */
static struct error *
open_parent(const struct disk_store *store, const char *path, int *ret,
            const char **ret_name)
{
    const char *root, *rest;
    struct error *error =
        disk_path_resolve(&store->roots, path, false, &root, &rest);

    if (error) {
        return error;
    }
    const char *slash = strrchr(path, '/');
    AUTO_FREE parent = xstrndup(path, (size_t)(slash - path));
    *ret_name = slash + 1;
    return error_wrap(disk_open_directory(store, parent, ret), "path '%s'",
                      path);
}

/* QEMU knows a file by whole sectors, and writes the last one to its end. */
static int64_t
sectors(int64_t size)
{
    return (size + 511) / 512 * 512;
}

static struct error *
open_file(const struct disk_store *store, const char *path, int mode,
          int *ret_parent, int *ret)
{
    const char *name;
    struct stat st;
    struct error *error = open_parent(store, path, ret_parent, &name);

    if (error) {
        return error;
    }
    *ret =
        openat(*ret_parent, name, mode | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*ret < 0) {
        return disk_failed("open", path);
    }
    return !fstat(*ret, &st) && S_ISREG(st.st_mode)
               ? NULL
               : error_new(ERR_INVALID, "'%s' is not a regular file", path);
}

/* All that can be refused is refused before anything is made. */
static struct error *
check_request(const struct disk_store *store,
              const struct prepare_request *request)
{
    const char *root, *rest;
    struct error *error = NULL;

    if (request->directory) {
        error = disk_path_resolve(&store->roots, request->directory, false,
                                  &root, &rest);
    }
    for (size_t i = 0; !error && i < request->n_disks; i++) {
        const struct prepare_disk *disk = &request->disks[i];
        AUTO_FREE backing = NULL;
        const char *format = NULL;

        error =
            disk_path_resolve(&store->roots, disk->path, false, &root, &rest);
        if (!error) {
            error = find_backing(store, disk, &backing, &format);
        }
        if (!error) {
            struct disk_image image = {disk->format, disk->virtual_size,
                                       backing, format};
            error =
                error_wrap(disk_image_check(&image), "disk '%s'", disk->path);
        }
        if (!error) {
            error = check_is_free(store, disk->path);
        }
    }
    if (!error && request->directory) {
        error = check_is_free(store, request->directory);
    }
    return error;
}

/* A missing parent is no obstacle: it may be the directory yet to be made. */
static struct error *
check_is_free(const struct disk_store *store, const char *path)
{
    AUTO_CLOSE parent = -1;
    const char *name;
    struct stat st;
    AUTO_ERROR error = open_parent(store, path, &parent, &name);

    if (error) {
        return error_code(error) == ERR_NOT_FOUND ? NULL : steal(&error);
    }
    if (!fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW)) {
        return exists_already(path);
    }
    if (errno != ENOENT) {
        return disk_failed("look at", path);
    }
    return faccessat(parent, ".", W_OK | X_OK, AT_EACCESS)
               ? disk_failed("make anything beside", path)
               : NULL;
}

/* Both are null without one.  It must be there already: another guest's disk is
 * as good a path as an image, so only the roots are allowed. */
static struct error *
find_backing(const struct disk_store *store, const struct prepare_disk *disk,
             char **ret, const char **ret_format)
{
    const char *given = disk->backing_path, *name = NULL;
    AUTO_CLOSE dir = -1;
    struct stat st;

    if (!given) {
        *ret = NULL;
        *ret_format = NULL;
        return NULL;
    }
    AUTO_FREE path = strchr(given, '/')
                         ? xstrdup(given)
                         : disk_path_of_image(&store->roots, given);
    AUTO_ERROR refused = open_parent(store, path, &dir, &name);
    if (error_code(refused) == ERR_INVALID) {
        return error_wrap(steal(&refused), "backing file of '%s'", disk->path);
    }
    if (refused || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW)) {
        return error_new(ERR_MIGRATION,
                         "backing file '%s' of '%s' is not on this host", given,
                         disk->path);
    }
    if (!S_ISREG(st.st_mode)) {
        return error_new(ERR_INVALID,
                         "backing file '%s' of '%s' is not a regular file",
                         given, disk->path);
    }
    AUTO_CLOSE fd =
        openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return disk_failed("open backing file", path);
    }
    struct error *error = find_format(disk, fd, ret_format);
    if (!error) {
        *ret = steal(&path);
    }
    return error;
}

/* The overlay must read here what the source's reads there.  A source that
 * tells a format tells how its hypervisor reads the file: one that begins
 * otherwise here is not the same, and is refused.
 *
 * nova-compute does not tell.  It bases its disks on whatever `qemu-img info`
 * says that the file in its cache is, raw or, without force_raw_images, qcow2;
 * so the beginning of ours says the same here.  That is no way for who made an
 * image to have other files opened: no guest writes to a file of the cache,
 * which takes nothing as raw that begins like another format; and what is found
 * to be qcow2 must stand alone, so that no name in it is ever followed.
 * Elsewhere a guest may be writing to the file right now, and what it begins
 * like is its word: untold, it is raw or refused. */
static struct error *
find_format(const struct prepare_disk *disk, int fd, const char **ret)
{
    const char *told = disk->backing_format;
    const char *given = disk->backing_path;
    const struct image_request request = {
        .name = (char *)given,
        .fd = fd,
        .format = (char *)told,
        .virtual_max = told ? 0 : disk->virtual_size,
    };
    AUTO_ERROR error = NULL;

    if (disk->file_size &&
        !told) { /* Its bytes come with a header of theirs. */
        *ret = "raw";
        return NULL;
    }
    if (!strchr(given, '/')) {
        error = image_check_base(&request, ret);
    } else {
        error = image_check_look(&request, ret);
        if (!error && !str_eq(*ret, told ? told : "raw")) {
            error = error_new(ERR_IMAGE_UNACCEPTABLE,
                              "'%s' %s '%s', and it begins like '%s'", given,
                              told ? "is said to be" : "can only be taken for",
                              told ? told : "raw", *ret);
        }
    }
    return error_code(error) == ERR_IMAGE_UNACCEPTABLE
               ? error_new(ERR_MIGRATION, "backing file of '%s': %s",
                           disk->path, error_message(error))
               : steal(&error);
}

static struct error *
make_directory(const struct disk_store *store, const char *path)
{
    AUTO_CLOSE parent = -1;
    const char *name;
    struct error *error = open_parent(store, path, &parent, &name);

    if (error) {
        return error;
    }
    if (mkdirat(parent, name, 0755)) {
        return errno == EEXIST ? exists_already(path)
                               : disk_failed("make directory", path);
    }
    return NULL;
}

static struct error *
make_disk(const struct disk_store *store, const struct prepare_disk *disk)
{
    AUTO_FREE backing = NULL;
    AUTO_CLOSE parent = -1;
    const char *name, *format = NULL;
    struct error *error = find_backing(store, disk, &backing, &format);

    if (!error) {
        error = open_parent(store, disk->path, &parent, &name);
    }
    if (error) {
        return error;
    }
    AUTO_CLOSE fd = openat(
        parent, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno == EEXIST ? exists_already(disk->path)
                               : disk_failed("create disk", disk->path);
    }
    error = make_image(fd, disk, backing, format);
    if (error) {
        unlinkat(parent, name, 0);
    }
    return error;
}

static struct error *
make_image(int fd, const struct prepare_disk *disk, const char *backing_path,
           const char *backing_format)
{
    struct disk_image image = {disk->format, disk->virtual_size, backing_path,
                               backing_format};
    struct disk_image bytes = {"raw", disk->file_size, NULL, NULL};
    struct error *error =
        disk_image_create(fd, disk->file_size ? &bytes : &image);

    if (error) {
        return error_wrap(error, "create disk '%s'", disk->path);
    }
    /* The hypervisor changes the owner; we must still be able to read the
     * header then. */
    if (fchmod(fd, disk->file_size ? disk->file_mode & 0666 : 0644)) {
        return disk_failed("set the mode of", disk->path);
    }
    return NULL;
}

/* What Nova keeps beside the disks: {path: format}. Of JSON's rules only those
 * of strings matter, and control characters were refused with the path. */
static struct error *
write_disk_info(const struct disk_store *store,
                const struct prepare_request *request)
{
    AUTO_FREE text = NULL;
    AUTO_CLOSE dir = -1;
    size_t size = 0;
    struct error *error = disk_open_directory(store, request->directory, &dir);

    if (error) {
        return error;
    }
    AUTO_CLOSE fd =
        openat(dir, DISK_INFO, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    FILE *out = open_memstream(&text, &size);
    if (fd < 0 || !out) {
        if (out) {
            fclose(out);
        }
        return disk_failed("create " DISK_INFO " in", request->directory);
    }
    fputc('{', out);
    for (size_t i = 0; i < request->n_disks; i++) {
        fputs(i ? ", \"" : "\"", out);
        for (const char *c = request->disks[i].path; *c; c++) {
            fprintf(out, *c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
        }
        fprintf(out, "\": \"%s\"", request->disks[i].format);
    }
    fputc('}', out);
    fclose(out);
    if (write(fd, text, size) != (ssize_t)size) {
        return disk_failed("write " DISK_INFO " in", request->directory);
    }
    return NULL;
}

/* Of what disk_prepare() made: the directory and the first 'n_disks'. */
static void
take_back(const struct disk_store *store, const struct prepare_request *request,
          size_t n_disks)
{
    struct prepare_request made = *request;

    made.n_disks = n_disks;
    AUTO_ERROR error = disk_unprepare(store, &made);
    if (error) {
        log_warn(NULL, "left behind: %s", error_message(error));
    }
}

static struct error *
remove_disk(const struct disk_store *store, const char *path)
{
    AUTO_CLOSE parent = -1;
    const char *name;
    struct stat st;
    AUTO_ERROR error = open_parent(store, path, &parent, &name);

    if (error) {
        return error_code(error) == ERR_NOT_FOUND ? NULL : steal(&error);
    }
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW)) {
        return errno == ENOENT ? NULL : disk_failed("look at disk", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return error_new(ERR_INVALID, "disk '%s' is not a regular file", path);
    }
    if (unlinkat(parent, name, 0) && errno != ENOENT) {
        return disk_failed("remove disk", path);
    }
    return NULL;
}

static struct error *
remove_directory(const struct disk_store *store, const char *path)
{
    AUTO_CLOSE parent = -1;
    const char *name;
    struct stat st;
    AUTO_ERROR error = open_parent(store, path, &parent, &name);

    if (error) {
        return error_code(error) == ERR_NOT_FOUND ? NULL : steal(&error);
    }
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW)) {
        return errno == ENOENT ? NULL : disk_failed("look at directory", path);
    }
    if (!S_ISDIR(st.st_mode)) {
        return error_new(ERR_INVALID, "'%s' is not a directory", path);
    }
    if (fstat(parent, &st)) {
        return disk_failed("look at directory", path);
    }
    return remove_tree(parent, name, path, st.st_dev, 0);
}

static struct error *
remove_tree(int parent, const char *name, const char *path, dev_t device,
            int depth)
{
    AUTO_CLOSE fd =
        openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0) {
        return errno == ENOENT ? NULL : disk_failed("open directory", path);
    }
    if (fstat(fd, &st) || st.st_dev != device) {
        return error_new(ERR_STORAGE,
                         "'%s' is another file system and is not removed",
                         path);
    }
    if (depth > DEPTH_MAX) {
        return error_new(ERR_STORAGE, "'%s' is too deep to be removed", path);
    }
    struct error *error = remove_content(fd, path, device, depth);
    if (error) {
        return error;
    }
    if (unlinkat(parent, name, AT_REMOVEDIR) && errno != ENOENT) {
        return disk_failed("remove directory", path);
    }
    return NULL;
}

/* Stops at the first failure: the rest is the operator's to look at. */
static struct error *
remove_content(int fd, const char *path, dev_t device, int depth)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    struct error *error = NULL;
    struct dirent *entry;

    if (!dir) {
        disk_close_fd(&copy);
        return disk_failed("read directory", path);
    }
    while (!error && (entry = readdir(dir))) {
        const char *name = entry->d_name;

        if (str_eq(name, ".") || str_eq(name, "..")) {
            continue;
        }
        AUTO_FREE inner = xasprintf("%s/%s", path, name);
        if (!unlinkat(fd, name, 0) || errno == ENOENT) {
            continue;
        }
        error = errno == EISDIR || errno == EPERM
                    ? remove_tree(fd, name, inner, device, depth + 1)
                    : disk_failed("remove", inner);
    }
    closedir(dir);
    return error;
}

/* Of errno. */
struct error *
disk_failed(const char *what, const char *path)
{
    return error_new(errno == ENOENT ? ERR_NOT_FOUND : ERR_STORAGE,
                     "%s '%s': %s", what, path, strerror(errno));
}

static struct error *
exists_already(const char *path)
{
    return error_set_arg(
        error_new(ERR_DESTINATION_DISK_EXISTS, "'%s' exists already", path),
        "path", path);
}

void
disk_close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}
