#include <config.h>

#include "conf/derive.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/value.h"

static char *metrics_socket_beside(const char *control_socket);
static char *host_name(void);
static char *own_address(void);
static char *expand(const char *text, const char *name, const char *value);

static void
expand_all(struct conf *conf, const char *name, const char *value)
{
    size_t n_groups, n;
    const struct option_group *groups = option_groups(&n_groups);

    for (size_t g = 0; g < n_groups; g++) {
        const struct option *rows = groups[g].rows(&n);

        for (size_t i = 0; i < n; i++) {
            if (!value_is_string(&rows[i]) ||
                strcmp(rows[i].name, "transport_url") == 0) {
                continue;
            }
            char **at = value_string_at(conf, &groups[g], &rows[i]);
            if (*at && strchr(*at, '$')) {
                char *expanded = expand(*at, name, value);

                free(*at);
                *at = expanded;
            }
        }
    }
}

void
derive_rest(struct conf *conf)
{
    if (!conf->host) {
        conf->host = host_name();
    }
    if (!conf->my_ip) {
        conf->my_ip = own_address();
    }

    /* Copies, as these three are expanded as well. */
    AUTO_FREE host = xstrdup(conf->host);
    AUTO_FREE my_ip = xstrdup(conf->my_ip);
    AUTO_FREE state_path = xstrdup(conf->state_path);

    expand_all(conf, "host", host);
    expand_all(conf, "my_ip", my_ip);
    expand_all(conf, "state_path", state_path);

    if (!conf->metrics_socket) {
        conf->metrics_socket = metrics_socket_beside(conf->control_socket);
    }

    /* "libvirt.LibvirtDriver" is Nova's name for "libvirt". */
    conf->compute_driver[strcspn(conf->compute_driver, ".")] = '\0';
}

/* "/run/droverd-metrics.sock" for "/run/droverd.sock". */
static char *
metrics_socket_beside(const char *control_socket)
{
    size_t size = strlen(control_socket);

    if (size > 5 && strcmp(control_socket + size - 5, ".sock") == 0) {
        size -= 5;
    }
    return xasprintf("%.*s-metrics.sock", (int)size, control_socket);
}

static char *
host_name(void)
{
    char name[HOST_NAME_MAX + 1] = "";

    if (gethostname(name, sizeof name) < 0 || name[0] == '\0') {
        return xstrdup("localhost");
    }
    name[sizeof name - 1] = '\0';
    return xstrdup(name);
}

static char *
format_address(const struct sockaddr_in *address)
{
    char text[INET_ADDRSTRLEN];

    inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
    return xstrdup(text);
}

/* Where packets to the world would leave: connecting a datagram socket sends
 * none.  Null if there is no way out. */
static char *
outgoing_address(void)
{
    struct sockaddr_in far = {.sin_family = AF_INET,
                              .sin_port = htons(80),
                              .sin_addr.s_addr = htonl(0x08080808)};
    struct sockaddr_in own = {.sin_family = AF_INET};
    socklen_t size = sizeof own;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return NULL;
    }
    bool is_known = connect(fd, (struct sockaddr *)&far, sizeof far) == 0 &&
                    getsockname(fd, (struct sockaddr *)&own, &size) == 0 &&
                    own.sin_family == AF_INET;
    close(fd);
    return is_known ? format_address(&own) : NULL;
}

static char *
own_address(void)
{
    char *address = outgoing_address();
    struct ifaddrs *interfaces = NULL;

    if (!address && getifaddrs(&interfaces) == 0) {
        for (struct ifaddrs *i = interfaces; i && !address; i = i->ifa_next) {
            if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET &&
                (i->ifa_flags & IFF_UP) && !(i->ifa_flags & IFF_LOOPBACK)) {
                address = format_address(
                    (const struct sockaddr_in *)(const void *)i->ifa_addr);
            }
        }
        freeifaddrs(interfaces);
    }
    return address ? address : xstrdup("127.0.0.1");
}

/* 'text' with 'value' for each $name; the caller's. */
static char *
expand(const char *text, const char *name, const char *value)
{
    size_t n_name = strlen(name);
    char *done = xstrdup("");

    for (;;) {
        const char *dollar = strchr(text, '$');
        if (!dollar) {
            break;
        }
        bool is_it = strncmp(dollar + 1, name, n_name) == 0 &&
                     dollar[1 + n_name] != '_' &&
                     !isalnum((unsigned char)dollar[1 + n_name]);
        const char *rest = dollar + 1 + (is_it ? n_name : 0);
        char *longer = xasprintf("%s%.*s%s", done, (int)(dollar - text), text,
                                 is_it ? value : "$");

        free(done);
        done = longer;
        text = rest;
    }
    char *whole = xasprintf("%s%s", done, text);
    free(done);
    return whole;
}
