#include <config.h>

#include "rpc/queue_manager.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* More processes of one name on one host than anybody has. */
#define N_MAX 1000

struct queue_manager {
    char *name, *path;
    int fd; /* Holds the lock. */
};

static int lock(const char *path);
static bool is_still_there(int fd, const char *path);
static unsigned n_of_peers(const char *directory, const char *host,
                           const char *process);
static bool has_started_at(long pid, unsigned long long ticks);

struct error *
queue_manager_create(const char *directory, const char *host,
                     const char *process, struct queue_manager **ret)
{
    int number = EAGAIN;

    if (strchr(host, '/') || strchr(process, '/')) {
        return error_new(ERR_CONFIG, "'%s', '%s': no part of a file name", host,
                         process);
    }
    unsigned first = n_of_peers(directory, host, process) + 1;
    for (unsigned n = first; n < first + N_MAX; n++) {
        AUTO_FREE path =
            xasprintf("%s/%s_%s_drover_%u", directory, host, process, n);
        int fd = lock(path);

        if (fd >= 0) {
            struct queue_manager *qm = xzalloc(sizeof *qm);

            qm->name = xasprintf("%s:%s:%u", host, process, n);
            qm->path = steal(&path);
            qm->fd = fd;
            *ret = qm;
            return NULL;
        }
        number = errno;
        if (number != EWOULDBLOCK && number != EACCES) {
            break;
        }
    }
    return error_new(ERR_INTERNAL, "no lock for '%s:%s' in '%s': %s", host,
                     process, directory, strerror(number));
}

/* Whoever waits for the file meanwhile finds it gone and makes another. */
void
queue_manager_free(struct queue_manager *qm)
{
    if (qm) {
        unlink(qm->path);
        close(qm->fd);
        free(qm->path);
        free(qm->name);
        free(qm);
    }
}

const char *
queue_manager_name(const struct queue_manager *qm)
{
    return qm->name;
}

/* Anyone may put files there, so nothing is followed or written to.  Sets
 * errno if it returns -1. */
static int
lock(const char *path)
{
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd < 0 ||
            (!flock(fd, LOCK_EX | LOCK_NB) && is_still_there(fd, path))) {
            return fd;
        }
        int number = errno;
        close(fd);
        errno = number;
        if (number) {
            return -1;
        }
    }
}

/* The lock of a file that another process has just removed is worth nothing:
 * 'errno' is 0 then. */
static bool
is_still_there(int fd, const char *path)
{
    struct stat ours, there;

    errno = 0;
    bool is = !fstat(fd, &ours) && !stat(path, &there) &&
              ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
    if (!is) {
        errno = 0;
    }
    return is;
}

/* How many names living peers have: "<process group>:<counter>:<start>", where
 * the start is that of the group's leader, in clock ticks since the boot; older
 * ones do not tell it. */
static unsigned
n_of_peers(const char *directory, const char *host, const char *process)
{
    AUTO_FREE path = xasprintf("%s/%s_%s_qmanager", directory, host, process);
    /* Whatever somebody may have put there: a pipe would be waited for. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    long group = 0;
    unsigned n = 0;
    unsigned long long ticks = 0;

    if (!file) {
        return 0;
    }
    int n_fields = fscanf(file, "%ld:%9u:%llu", &group, &n, &ticks);
    fclose(file);
    bool are_alive = n_fields == 3 && has_started_at(group, ticks);
    return are_alive ? n : 0;
}

static bool
has_started_at(long pid, unsigned long long ticks)
{
    AUTO_FREE path = xasprintf("/proc/%ld/stat", pid);
    FILE *file = fopen(path, "re");
    char text[1024] = "";
    unsigned long long started = 0;

    if (!file) {
        return false;
    }
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    /* The name may hold anything; behind its bracket come the state as field 3
     * and, as field 22, the start. */
    const char *p = strrchr(text, ')');
    for (int field = 2; p && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    return p && sscanf(p, " %llu", &started) == 1 && started == ticks;
}
