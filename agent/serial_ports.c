#include <config.h>

#include "agent/serial_ports.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define FLAVOR_KEY "hw:serial_port_count"

static bool parse_count(const char *text, unsigned *ret);

unsigned
serial_ports_wanted(const struct object *instance, unsigned otherwise)
{
    const struct json *flavor =
        json_get(object_get(instance, "flavor"), "nova_object.data");
    unsigned n = otherwise;

    if (!parse_count(json_string_of(object_get(instance, "system_metadata"),
                                    SERIAL_PORTS_KEY),
                     &n)) {
        parse_count(json_string_of(json_get(flavor, "extra_specs"), FLAVOR_KEY),
                    &n);
    }
    return n;
}

struct error *
serial_ports_choose(const char *range, unsigned n,
                    bool (*is_taken)(void *aux, int port), void *aux, int *ret)
{
    char *end;
    long port = strtol(range, &end, 10), last = strtol(end + 1, NULL, 10);

    for (unsigned i = 0; i < n; i++) {
        while (port <= last && is_taken(aux, (int)port)) {
            port++;
        }
        if (port > last) {
            return error_new(ERR_MIGRATION,
                             "no %u ports are free for its serial ports (%s)",
                             n, range);
        }
        ret[i] = (int)port++;
    }
    return NULL;
}

bool
serial_ports_in_use(const char *address, int port)
{
    struct sockaddr_storage name = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&name;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&name;
    int one = 1;

    if (uv_ip6_addr(address, port, v6) && uv_ip4_addr(address, port, v4)) {
        uv_ip4_addr("0.0.0.0", port, v4);
    }
    int fd = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false; /* Whoever binds it will tell. */
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bool is_used = bind(fd, (struct sockaddr *)&name, sizeof name) < 0 &&
                   (errno == EADDRINUSE || errno == EACCES);
    close(fd);
    return is_used;
}

/* Leaves '*ret' alone if it is none. */
static bool
parse_count(const char *text, unsigned *ret)
{
    char *end;
    unsigned long n = text ? strtoul(text, &end, 10) : 0;

    if (!text || end == text || *end || n > SERIAL_PORTS_MAX) {
        return false;
    }
    *ret = (unsigned)n;
    return true;
}
