#include <config.h>

#include "drivers/disk_image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QEMU_IMG_TIMEOUT_MS 60000

/* Where the child finds the image. */
#define CHILD_FD 3

/* The words of a program that ran, and how it ended. */
struct outcome {
    char output[512];
    bool timed_out;
    int status; /* As of waitpid(). */
};

static struct error *create_qcow2(int fd, const struct disk_image *image);
static struct error *run(char *const *argv, int fd, struct outcome *ret);
static int spawn(char *const *argv, int fd, int output_fd, pid_t *ret);
static void read_output(int fd, pid_t pid, struct outcome *outcome);
static int64_t now_ms(void);

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
    AUTO_FREE target = xasprintf("/proc/self/fd/%d", CHILD_FD);
    AUTO_FREE size = xasprintf("%" PRId64, image->virtual_size);
    AUTO_FREE backing = xstrdup_null(image->backing_path);
    AUTO_FREE backing_format = xstrdup_null(image->backing_format);
    char program[] = "qemu-img", create[] = "create", quiet[] = "-q",
         format[] = "-f", qcow2[] = "qcow2", file[] = "-b", kind[] = "-F";
    char *argv[12] = {program, create, quiet, format, qcow2};
    struct outcome outcome;
    size_t n = 5;

    if (backing) {
        argv[n++] = file;
        argv[n++] = backing;
        argv[n++] = kind;
        argv[n++] = backing_format;
    }
    argv[n++] = target;
    argv[n++] = size;

    struct error *error = run(argv, fd, &outcome);
    if (error) {
        return error;
    }
    if (outcome.timed_out) {
        return error_new(ERR_STORAGE, "qemu-img did not end in %d s",
                         QEMU_IMG_TIMEOUT_MS / 1000);
    }
    if (!WIFEXITED(outcome.status) || WEXITSTATUS(outcome.status)) {
        return error_new(ERR_STORAGE, "qemu-img failed: %s", outcome.output);
    }
    return NULL;
}

static struct error *
run(char *const *argv, int fd, struct outcome *ret)
{
    int output[2];
    pid_t pid;

    *ret = (struct outcome){.output = ""};
    if (pipe2(output, O_CLOEXEC)) {
        return error_new(ERR_STORAGE, "open a pipe: %s", strerror(errno));
    }
    int code = spawn(argv, fd, output[1], &pid);
    close(output[1]);
    if (code) {
        close(output[0]);
        return error_new(ERR_STORAGE, "start '%s': %s", argv[0],
                         strerror(code));
    }
    read_output(output[0], pid, ret);
    close(output[0]);
    while (waitpid(pid, &ret->status, 0) < 0 && errno == EINTR) {
    }
    return NULL;
}

/* Workers block all signals; the child must not inherit that. */
static int
spawn(char *const *argv, int fd, int output_fd, pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, pipe;
    char locale[] = "LC_ALL=C", path[] = "PATH=/usr/local/sbin:/usr/local/bin:"
                                         "/usr/sbin:/usr/bin:/sbin:/bin";
    char *environment[] = {locale, path, NULL};

    sigemptyset(&none);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &pipe);
    posix_spawnattr_setflags(&attr,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output_fd, 1);
    posix_spawn_file_actions_adddup2(&actions, output_fd, 2);
    posix_spawn_file_actions_adddup2(&actions, fd, CHILD_FD);
    int code = posix_spawnp(ret, argv[0], &actions, &attr, argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return code;
}

/* Reads to the end, which comes when the program ends; kills it at the
 * deadline.  Keeps the first words only, on one line. */
static void
read_output(int fd, pid_t pid, struct outcome *outcome)
{
    int64_t deadline_ms = now_ms() + QEMU_IMG_TIMEOUT_MS;
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    size_t used = 0;

    for (;;) {
        int64_t left_ms = deadline_ms - now_ms();
        char buf[256];

        if (left_ms <= 0) {
            outcome->timed_out = true;
            kill(pid, SIGKILL);
            break;
        }
        if (poll(&ready, 1, (int)left_ms) <= 0) {
            continue;
        }
        ssize_t n = read(fd, buf, sizeof buf);
        if (n <= 0) {
            break;
        }
        for (ssize_t i = 0; i < n && used + 1 < sizeof outcome->output; i++) {
            outcome->output[used++] = buf[i] == '\n' ? ' ' : buf[i];
        }
    }
    while (used && outcome->output[used - 1] == ' ') {
        used--;
    }
    outcome->output[used] = '\0';
}

static int64_t
now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
