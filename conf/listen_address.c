#include <config.h>

#include "conf/listen_address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/mem.h"

static bool parse_port(const char *text, in_port_t *ret);

struct error *
listen_address_parse(const char *text, struct sockaddr_storage *ret,
                     socklen_t *ret_size)
{
    const char *colon = strrchr(text, ':');
    bool has_brackets = *text == '[' && colon && colon[-1] == ']';
    AUTO_FREE host =
        colon ? xstrndup(text + has_brackets,
                         (size_t)(colon - text) - 2 * (size_t)has_brackets)
              : xstrdup("");
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    in_port_t port;

    if (!colon || !parse_port(colon + 1, &port)) {
        return error_new(ERR_CONFIG, "must end with a colon and a port");
    }
    memset(ret, 0, sizeof *ret);
    v4.sin_port = v6.sin6_port = port;
    if (!has_brackets && inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        memcpy(ret, &v4, sizeof v4);
        *ret_size = sizeof v4;
    } else if (has_brackets && inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        memcpy(ret, &v6, sizeof v6);
        *ret_size = sizeof v6;
    } else {
        return error_new(ERR_CONFIG,
                         "must begin with an address, one of IPv6 in brackets");
    }
    return NULL;
}

/* In network order. */
static bool
parse_port(const char *text, in_port_t *ret)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);

    *ret = htons((uint16_t)port);
    return isdigit((unsigned char)*text) && !*end && port >= 1 && port <= 65535;
}
