#include <config.h>

#include "drivers/fake.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "drivers/image_check.h"

/* The image cache.  What is written to it is real, and looked at as by any
 * driver; what is kept of it is its size, and that it is no raw one. */

#define AS_QCOW2 " as qcow2"

static struct error *enter(struct fake *, enum fake_op, const char *name,
                           char **ret_path, bool *ret_exists);
static struct error *check(const struct image_request *r, int64_t *ret_size);

struct error *
fake_image_exists(void *state, const char *name, bool *ret)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_FREE path = NULL;
    return enter(fake, FAKE_image_exists, name, &path, ret);
}

struct error *
fake_image_create(void *state, const char *name, int *ret_fd)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_FREE path = NULL;
    bool exists;
    struct error *error = enter(fake, FAKE_image_create, name, &path, &exists);
    if (error) {
        return error;
    }
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return error_new(ERR_STORAGE, "make a file to become '%s': %s", path,
                         strerror(errno));
    }
    if (fake->is_full) {
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW);
    }
    *ret_fd = fd;
    return NULL;
}

struct error *
fake_image_keep(void *state, const struct image_request *r)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_FREE path = NULL;
    bool exists = false;
    int64_t size = 0;
    struct error *error = enter(fake, FAKE_image_keep, r->name, &path, &exists);
    if (!error && !exists) {
        error = check(r, &size);
    }
    if (error || exists) {
        return error;
    }
    bool is_qcow2 = !r->is_made_raw && str_eq(r->format, "qcow2");
    AUTO_FREE text =
        xasprintf("image %" PRId64 "%s", size, is_qcow2 ? AS_QCOW2 : "");
    return fake_file_add(fake->store, fake->host, path, text);
}

struct error *
fake_image_copy(void *state, const struct image_request *r)
{
    struct fake *fake = state;

    FAKE_LOCK;
    AUTO_FREE path = NULL;
    AUTO_FREE remote = NULL;
    bool exists = false;
    struct error *error = enter(fake, FAKE_image_copy, r->name, &path, &exists);
    if (!error) {
        error = image_check_copy(r, path, &remote);
    }
    if (error || exists) {
        return error;
    }
    AUTO_FREE text = fake_file_get(fake->store, r->host, path);
    if (!text) {
        return error_new(ERR_STORAGE,
                         "copy image '%s' from '%s': it is not there", r->name,
                         r->host);
    }
    if (r->format && !str_eq(r->format, fake_image_format(text))) {
        error = error_new(ERR_IMAGE_UNACCEPTABLE, "it is not '%s'", r->format);
        return error_set_arg(error, "image_id", r->name);
    }
    return fake_file_add(fake->store, fake->host, path, text);
}

const char *
fake_image_format(const char *text)
{
    return strstr(text, AS_QCOW2) ? "qcow2" : "raw";
}

static struct error *
enter(struct fake *fake, enum fake_op op, const char *name, char **ret_path,
      bool *ret_exists)
{
    const char *root, *rest;
    struct error *error = fake_enter(fake, op);

    if (!error) {
        error = disk_name_check(name);
    }
    if (error) {
        return error;
    }
    *ret_path = disk_path_of_image(&fake->roots, name);
    error = disk_path_resolve(&fake->roots, *ret_path, false, &root, &rest);
    if (!error) {
        *ret_exists = fake_file_exists(fake->store, fake->host, *ret_path);
    }
    return error;
}

/* The size of the file where only QEMU knows how large a disk it is. */
static struct error *
check(const struct image_request *r, int64_t *ret_size)
{
    struct stat st;
    struct error *error = image_check_request(r);

    if (!error) {
        error = image_check_content(r, ret_size);
    }
    if (!error && !*ret_size && !fstat(r->fd, &st)) {
        *ret_size = st.st_size;
    }
    return error;
}
