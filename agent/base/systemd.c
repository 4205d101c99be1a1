#include <config.h>

#include "agent/base/systemd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define JOURNAL "/run/systemd/journal/socket"

static bool send_text(const char *path, const char *text, size_t size);
static bool environment_number(const char *name, uint64_t *ret);

bool
systemd_notify(const char *fmt, ...)
{
    const char *path = getenv("NOTIFY_SOCKET");
    va_list args;

    if (!path) {
        return false;
    }
    va_start(args, fmt);
    AUTO_FREE text = xvasprintf(fmt, args);
    va_end(args);
    return send_text(path, text, strlen(text));
}

bool
systemd_watchdog(uint64_t *ret_us)
{
    uint64_t pid, us;

    if (!environment_number("WATCHDOG_USEC", &us) || us == 0 ||
        (environment_number("WATCHDOG_PID", &pid) &&
         pid != (uint64_t)getpid())) {
        return false;
    }
    *ret_us = us;
    return true;
}

void
systemd_entry_add(struct systemd_entry *entry, const char *field,
                  const char *value)
{
    size_t before = entry->size;
    AUTO_FREE line = xasprintf("%s=%s", field, value);
    size_t size = strlen(line);

    while (entry->room < before + size + 1) {
        entry->text = xgrow(entry->text, &entry->room, 1);
    }
    memcpy(entry->text + before, line, size);
    for (char *p = entry->text + before; p < entry->text + before + size; p++) {
        if (*p == '\n') {
            *p = ' ';
        }
    }
    entry->text[before + size] = '\n';
    entry->size = before + size + 1;
}

bool
systemd_entry_send(struct systemd_entry *entry, const char *path,
                   bool *ret_is_full)
{
    bool sent = send_text(path ? path : JOURNAL, entry->text, entry->size);

    *ret_is_full = !sent && (errno == EAGAIN || errno == ENOBUFS);
    free(entry->text);
    *entry = (struct systemd_entry){0};
    return sent;
}

/* Not by waiting: a reader that hangs would hang the caller.
 * '@' stands for the NUL that an abstract name begins with. */
static bool
send_text(const char *path, const char *text, size_t size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t path_size = strlen(path);

    if (path_size == 0 || path_size >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(address.sun_path, path, path_size);
    if (*path == '@') {
        address.sun_path[0] = '\0';
    }

    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    ssize_t n =
        sendto(fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT,
               (const struct sockaddr *)&address,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_size));
    int error = errno;
    close(fd);
    errno = error;
    return n == (ssize_t)size;
}

static bool
environment_number(const char *name, uint64_t *ret)
{
    const char *text = getenv(name);
    char *end;

    if (!text || *text < '0' || *text > '9') {
        return false;
    }
    *ret = strtoull(text, &end, 10);
    return *end == '\0';
}
