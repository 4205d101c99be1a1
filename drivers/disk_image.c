#include <config.h>

#include "drivers/disk_image.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/command.h"

#define QEMU_IMG_TIMEOUT_MS 60000

static struct error *create_qcow2(int fd, const struct disk_image *image);

struct error *
disk_image_check(const struct disk_image *image)
{
    bool is_qcow2 = str_eq(image->format, "qcow2");

    if (!is_qcow2 && !str_eq(image->format, "raw")) {
        return error_new(ERR_INVALID, "disk format '%s' can't be made",
                         image->format ? image->format : "");
    }
    if (image->virtual_size <= 0 || image->virtual_size > DISK_IMAGE_MAX) {
        return error_new(ERR_INVALID, "%" PRId64 " bytes is no size of a disk",
                         image->virtual_size);
    }
    if (image->backing_path && !is_qcow2) {
        return error_new(ERR_INVALID, "a raw disk has no backing file");
    }
    if (image->backing_path && !image->backing_format) {
        return error_new(ERR_INVALID,
                         "the format of backing file '%s' is not told",
                         image->backing_path);
    }
    return NULL;
}

struct error *
disk_image_create(int fd, const struct disk_image *image)
{
    struct error *error = disk_image_check(image);

    if (error) {
        return error;
    }
    if (str_eq(image->format, "qcow2")) {
        return create_qcow2(fd, image);
    }
    if (ftruncate(fd, image->virtual_size)) {
        return error_new(ERR_STORAGE, "make it %" PRId64 " bytes long: %s",
                         image->virtual_size, strerror(errno));
    }
    return NULL;
}

static struct error *
create_qcow2(int fd, const struct disk_image *image)
{
    AUTO_FREE target = xasprintf("/proc/self/fd/%d", PROCESS_FD);
    AUTO_FREE size = xasprintf("%" PRId64, image->virtual_size);
    const char *argv[12] = {"qemu-img", "create", "-q", "-f", "qcow2"};
    struct command command = {
        .argv = argv,
        .timeout_ms = QEMU_IMG_TIMEOUT_MS,
        .code = ERR_STORAGE,
        .fds = &fd,
        .n_fds = 1,
    };
    size_t n = 5;

    if (image->backing_path) {
        argv[n++] = "-b";
        argv[n++] = image->backing_path;
        argv[n++] = "-F";
        argv[n++] = image->backing_format;
    }
    argv[n++] = target;
    argv[n] = size;
    return command_run_checked(&command, NULL);
}
