#include <config.h>

#include "agent/migrate/uri.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define HOST_MAX 255

static struct error *format_host(const char *host, char **ret);
static struct error *format_dest_uri(const struct migrate_uri_options *options,
                                     const char *host, char **ret);
static struct error *fill_template(const char *template, const char *host,
                                   char **ret);
static bool is_qemu(const char *virt_type);

bool
migrate_uri_is_hostname(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "abcdefghijklmnopqrstuvwxyz"
                                  "0123456789_.:-";
    size_t size = strlen(name);

    return size > 0 && size <= HOST_MAX && strspn(name, allowed) == size;
}

struct error *
migrate_uri_make(const struct migrate_uri_options *options, const char *dest,
                 const char *connect_addr, char **ret_dest_uri,
                 char **ret_migrate_uri)
{
    AUTO_FREE host = NULL;
    AUTO_FREE addr = NULL;
    AUTO_FREE dest_uri = NULL;

    /* The name is checked even if an address stands in for it. */
    struct error *error = format_host(dest, &host);
    if (!error && connect_addr) {
        error = format_host(connect_addr, &addr);
    }
    if (!error) {
        error = format_dest_uri(options, addr ? addr : host, &dest_uri);
    }
    if (error) {
        return error;
    }

    *ret_dest_uri = steal(&dest_uri);
    if (ret_migrate_uri) {
        /* Through a tunnel the data go where the request goes. */
        *ret_migrate_uri =
            addr && !options->tunnelled && is_qemu(options->virt_type)
                ? xasprintf("tcp://%s", addr)
                : NULL;
    }
    return NULL;
}

/* As it stands in a URI: an IPv6 address in brackets, which it may already
 * have. */
static struct error *
format_host(const char *host, char **ret)
{
    size_t size = strlen(host);
    bool is_bracketed = size > 2 && host[0] == '[' && host[size - 1] == ']';
    AUTO_FREE bare =
        is_bracketed ? xstrndup(host + 1, size - 2) : xstrdup(host);
    struct in6_addr addr;
    bool is_ipv6 = inet_pton(AF_INET6, bare, &addr) == 1;

    if (!migrate_uri_is_hostname(bare) || (is_bracketed && !is_ipv6)) {
        return error_set_arg(error_new(ERR_INVALID_HOSTNAME,
                                       "'%s' can't be the host of a URI", host),
                             "hostname", host);
    }
    *ret = is_ipv6 ? xasprintf("[%s]", bare) : steal(&bare);
    return NULL;
}

static struct error *
format_dest_uri(const struct migrate_uri_options *options, const char *host,
                char **ret)
{
    if (options->live_migration_uri) {
        return fill_template(options->live_migration_uri, host, ret);
    }
    if (is_qemu(options->virt_type)) {
        *ret = xasprintf("qemu+%s://%s/system",
                         options->scheme ? options->scheme : "tcp", host);
        return NULL;
    }
    if (str_eq(options->virt_type, "parallels")) {
        *ret = xasprintf("parallels+tcp://%s/system", host);
        return NULL;
    }
    return error_set_arg(error_new(ERR_URI_NOT_AVAILABLE,
                                   "guests of type '%s' can't migrate",
                                   options->virt_type),
                         "virt_type", options->virt_type);
}

/* Python's "%": one "%s", and "%%" for a per cent sign. */
static struct error *
fill_template(const char *template, const char *host, char **ret)
{
    size_t size = strlen(template), n_hosts = 0;
    AUTO_FREE uri = xmalloc(size + strlen(host) + 1);
    char *end = uri;

    for (const char *p = template; *p; p++) {
        if (*p != '%') {
            *end++ = *p;
        } else if (p[1] == '%') {
            *end++ = *p++;
        } else if (p[1] == 's' && n_hosts++ == 0) {
            memcpy(end, host, strlen(host));
            end += strlen(host);
            p++;
        } else {
            n_hosts = 0;
            break;
        }
    }
    *end = '\0';
    if (n_hosts != 1) {
        return error_new(ERR_CONFIG,
                         "live_migration_uri '%s' must have one '%%s' for the "
                         "destination",
                         template);
    }
    *ret = steal(&uri);
    return NULL;
}

static bool
is_qemu(const char *virt_type)
{
    return str_eq(virt_type, "kvm") || str_eq(virt_type, "qemu");
}
