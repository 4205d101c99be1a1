#include <config.h>

#include "agent/unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/base/mem.h"

#define BACKLOG 16

static struct error *make_directory(const char *path);
static struct error *remove_stale(const char *path);
static struct error *find_listener(const char *path, bool *ret);
static void set_address(struct sockaddr_un *address, const char *path);
static struct error *failure(const char *what);

struct error *
unix_socket_prepare(const char *path)
{
    struct error *error = make_directory(path);

    return error ? error : remove_stale(path);
}

struct error *
unix_socket_listen(const char *path, int *ret_fd)
{
    struct sockaddr_un address;
    struct error *error = unix_socket_prepare(path);

    if (error) {
        return error;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return failure("make it");
    }
    set_address(&address, path);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        error = failure("make it");
    } else if (chmod(path, 0660) != 0) {
        /* Before it listens nobody gets in, whatever the umask made of it. */
        error = failure("set its mode");
    } else if (listen(fd, BACKLOG) != 0) {
        error = failure("listen");
    }
    if (error) {
        close(fd);
        return error;
    }
    *ret_fd = fd;
    return NULL;
}

static struct error *
make_directory(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path) {
        return error_new(ERR_CONFIG, "the path is too long for a socket");
    }
    if (slash && slash != path) {
        AUTO_FREE directory = xstrndup(path, (size_t)(slash - path));

        if (mkdir(directory, 0755) != 0 && errno != EEXIST) {
            return failure("make its directory");
        }
    }
    return NULL;
}

static struct error *
remove_stale(const char *path)
{
    struct stat st;

    if (lstat(path, &st) != 0) {
        return NULL; /* What else is wrong shows when it is made. */
    }
    if (!S_ISSOCK(st.st_mode)) {
        return error_new(ERR_CONFIG, "something else is in its place");
    }
    bool is_used = false;
    struct error *error = find_listener(path, &is_used);
    if (error) {
        return error;
    }
    if (is_used) {
        return error_new(ERR_CONFIG, "another agent is using it");
    }
    return unlink(path) == 0 ? NULL
                             : failure("remove the one that was left behind");
}

static struct error *
find_listener(const char *path, bool *ret)
{
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        return failure("look if another agent is using it");
    }
    set_address(&address, path);
    int status = connect(fd, (struct sockaddr *)&address, sizeof address);
    /* EAGAIN is one too busy to accept; only refusal tells that it is gone. */
    *ret = status == 0 || errno != ECONNREFUSED;
    close(fd);
    return NULL;
}

static void
set_address(struct sockaddr_un *address, const char *path)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, strlen(path) + 1);
}

static struct error *
failure(const char *what)
{
    return error_new(ERR_CONFIG, "%s: %s", what, strerror(errno));
}
