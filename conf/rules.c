#include <config.h>

#include "conf/rules.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#include "conf/compression.h"
#include "conf/convergence.h"
#include "conf/listen_address.h"
#include "conf/value.h"

/* Letters, digits and the characters of 'more'; at least one. */
static bool
consists_of(const char *s, const char *more)
{
    bool does = *s != '\0';

    for (; *s && does; s++) {
        does = ((unsigned char)*s < 0x80 && isalnum((unsigned char)*s)) ||
               strchr(more, *s);
    }
    return does;
}

/* A name goes into queue names and bindings, in which '*' and '#' would match
 * other hosts, and into URIs. (spec/rpc-wire 1.1) */
#define HOST_CHARACTERS "_.:-"

/* "compute.<host>" must fit into AMQP's short strings of 255 bytes. */
#define HOST_MAX_SIZE 247

static struct error *
check_host_name(const char *host)
{
    if (!consists_of(host, HOST_CHARACTERS)) {
        return error_new(ERR_CONFIG,
                         "'%s' must consist of letters, digits and _ . : -",
                         host);
    }
    if (strlen(host) > HOST_MAX_SIZE) {
        return error_new(ERR_CONFIG, "must not be longer than %d characters",
                         HOST_MAX_SIZE);
    }
    return NULL;
}

static struct error *
check_host(const struct conf *conf)
{
    return check_host_name(conf->host);
}

static struct error *
check_my_ip(const struct conf *conf)
{
    return check_host_name(conf->my_ip);
}

static struct error *
check_inbound_addr(const struct conf *conf)
{
    const char *address = conf->libvirt.live_migration_inbound_addr;

    return address ? check_host_name(address) : NULL;
}

static struct error *
check_convergence(const struct conf *conf)
{
    const struct conf_libvirt *libvirt = &conf->libvirt;
    struct convergence convergence = {0};
    struct error *error =
        convergence_parse(libvirt->live_migration_convergence, &convergence);
    unsigned actions = convergence_actions(&convergence);

    if (error) {
        return error;
    }
    if (actions & CONVERGENCE_THROTTLE &&
        !libvirt->live_migration_permit_auto_converge) {
        return error_new(ERR_CONFIG, "has a step throttle, which needs "
                                     "live_migration_permit_auto_converge");
    }
    if (actions & CONVERGENCE_POSTCOPY &&
        !libvirt->live_migration_permit_post_copy) {
        return error_new(ERR_CONFIG, "has a step postcopy, which needs "
                                     "live_migration_permit_post_copy");
    }
    return NULL;
}

static struct error *
check_compression(const struct conf *conf)
{
    return compression_check(conf->libvirt.live_migration_compression, conf);
}

static struct error *
check_vnc_listen(const struct conf *conf)
{
    return check_host_name(conf->vnc.server_listen);
}

static struct error *
check_spice_listen(const struct conf *conf)
{
    return check_host_name(conf->spice.server_listen);
}

static struct error *
check_serial_address(const struct conf *conf)
{
    return check_host_name(conf->serial_console.proxyclient_address);
}

static struct error *
check_port_range(const struct conf *conf)
{
    char *end;
    const char *text = conf->serial_console.port_range;
    unsigned long first = strtoul(text, &end, 10), last = 0;
    bool is_range = isdigit((unsigned char)*text) && *end == ':' &&
                    isdigit((unsigned char)end[1]);

    if (is_range) {
        last = strtoul(end + 1, &end, 10);
    }
    if (!is_range || *end || first < 1 || first > last || last > 65535) {
        return error_new(ERR_CONFIG,
                         "must be two ports with a colon between, the smaller "
                         "one first");
    }
    return NULL;
}

static struct error *
check_socket_path(const char *path)
{
    struct sockaddr_un address;

    if (strlen(path) >= sizeof address.sun_path) {
        return error_new(ERR_CONFIG, "must be shorter than %zu characters",
                         sizeof address.sun_path);
    }
    return NULL;
}

static struct error *
check_control_socket(const struct conf *conf)
{
    return check_socket_path(conf->control_socket);
}

static struct error *
check_metrics_socket(const struct conf *conf)
{
    return check_socket_path(conf->metrics_socket);
}

static struct error *
check_metrics_listen(const struct conf *conf)
{
    struct sockaddr_storage address;
    socklen_t size;

    return conf->metrics_listen
               ? listen_address_parse(conf->metrics_listen, &address, &size)
               : NULL;
}

static struct error *
check_images_paths(const struct conf *conf)
{
    for (char **path = conf->images_paths; *path; path++) {
        const char *fault = **path == '/' ? value_path_fault(*path)
                                          : "must be an absolute path";
        if (fault) {
            return error_new(ERR_CONFIG, "'%s' %s", *path, fault);
        }
    }
    return NULL;
}

static struct error *
check_name_template(const struct conf *conf)
{
    const char *p = strchr(conf->instance_name_template, '%');
    bool is_good = p;

    if (is_good && strncmp(p, "%(uuid)s", 8) == 0) {
        p += 8;
    } else if (is_good) {
        p++;
        p += *p == '0';
        p += *p >= '1' && *p <= '9';
        is_good = *p == 'd' || *p == 'x' || *p == 'X';
        p += is_good;
    }
    if (!is_good || strpbrk(p, "%/") ||
        strpbrk(conf->instance_name_template, "/")) {
        return error_new(ERR_CONFIG,
                         "must hold one of %%d, %%x, %%X (as in %%08x) and "
                         "%%(uuid)s once, and no '/'");
    }
    return NULL;
}

static struct error *
check_log_level(const struct conf *conf)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};

    for (char **s = conf->log_level; *s; s++) {
        const char *colon = strchr(*s, ':');
        const char *level = colon ? colon + 1 : *s;
        bool is_known = colon != *s;

        for (size_t i = 0; is_known; i++) {
            if (i == N_ELEMENTS(levels)) {
                return error_new(ERR_CONFIG,
                                 "'%s' is not error, warn, info or debug",
                                 level);
            }
            if (strcmp(level, levels[i]) == 0) {
                break;
            }
        }
        if (!is_known) {
            return error_new(ERR_CONFIG, "'%s' names no module", *s);
        }
    }
    return NULL;
}

/* Never says the value: it may hold a password.  The rest of its syntax is
 * the bus's affair (rpc/transport_url.h). */
static struct error *
check_url(const char *url)
{
    if (strncasecmp(url, "rabbit://", 9) != 0) {
        return error_new(ERR_CONFIG, "must begin with 'rabbit://'");
    }
    return NULL;
}

static struct error *
check_transport_url(const struct conf *conf)
{
    return check_url(conf->transport_url);
}

static struct error *
check_notifications_url(const struct conf *conf)
{
    const char *url = conf->oslo_messaging_notifications.transport_url;

    return url ? check_url(url) : NULL;
}

static struct error *
check_notifications_driver(const struct conf *conf)
{
    static const char *const drivers[] = {"messagingv2", "messaging", "log",
                                          "noop"};
    char **s = conf->oslo_messaging_notifications.driver;

    for (; *s; s++) {
        bool is_known = false;

        for (size_t i = 0; i < N_ELEMENTS(drivers); i++) {
            is_known = is_known || strcmp(*s, drivers[i]) == 0;
        }
        if (!is_known) {
            return error_new(ERR_CONFIG,
                             "'%s' is not messagingv2, messaging, log or noop",
                             *s);
        }
    }
    return NULL;
}

static struct error *
check_control_exchange(const struct conf *conf)
{
    if (strlen(conf->control_exchange) > 255) {
        return error_new(ERR_CONFIG, "must not be longer than 255 bytes");
    }
    return NULL;
}

static struct error *
check_migration_uri(const struct conf *conf)
{
    const char *uri = conf->libvirt.live_migration_uri;
    const char *percent = uri ? strchr(uri, '%') : NULL;

    if (uri && (!percent || percent[1] != 's' || strchr(percent + 1, '%'))) {
        return error_new(ERR_CONFIG, "must hold '%%s' once and no other '%%'");
    }
    return NULL;
}

static struct error *
check_migration_scheme(const struct conf *conf)
{
    const char *scheme = conf->libvirt.live_migration_scheme;

    if (scheme && !consists_of(scheme, "+.-")) {
        return error_new(ERR_CONFIG, "must be a scheme such as 'tcp' or 'tls'");
    }
    return NULL;
}

static struct error *
check_tunnelled(const struct conf *conf)
{
    if (conf->libvirt.live_migration_tunnelled &&
        conf->libvirt.live_migration_with_native_tls) {
        return error_new(ERR_CONFIG,
                         "does not go with 'live_migration_with_native_tls'");
    }
    return NULL;
}

static struct error *
check_send_level(const struct conf *conf)
{
    const char *level = conf->upgrade_levels.compute;

    if (level && !consists_of(level, ".")) {
        return error_new(ERR_CONFIG,
                         "must be a version, the name of a release, or 'auto'");
    }
    return NULL;
}

static struct error *
check_catalog_info(const struct conf *conf)
{
    const char *text = conf->cinder.catalog_info;
    const char *name = strchr(text, ':');
    const char *interface = name ? strchr(name + 1, ':') : NULL;

    if (name == text || !interface || !interface[1] ||
        strchr(interface + 1, ':')) {
        return error_new(ERR_CONFIG, "must be TYPE:NAME:INTERFACE");
    }
    return NULL;
}

static const struct rule {
    const char *group, *name;
    struct error *(*check)(const struct conf *conf);
} rules[] = {
    {NULL, "host", check_host},
    {NULL, "my_ip", check_my_ip},
    {NULL, "control_socket", check_control_socket},
    {NULL, "metrics_socket", check_metrics_socket},
    {NULL, "metrics_listen", check_metrics_listen},
    {NULL, "images_paths", check_images_paths},
    {NULL, "instance_name_template", check_name_template},
    {NULL, "log_level", check_log_level},
    {NULL, "transport_url", check_transport_url},
    {NULL, "control_exchange", check_control_exchange},
    {"libvirt", "live_migration_scheme", check_migration_scheme},
    {"libvirt", "live_migration_uri", check_migration_uri},
    {"libvirt", "live_migration_inbound_addr", check_inbound_addr},
    {"libvirt", "live_migration_tunnelled", check_tunnelled},
    {"libvirt", "live_migration_convergence", check_convergence},
    {"libvirt", "live_migration_compression", check_compression},
    {"vnc", "server_listen", check_vnc_listen},
    {"spice", "server_listen", check_spice_listen},
    {"serial_console", "proxyclient_address", check_serial_address},
    {"serial_console", "port_range", check_port_range},
    {"upgrade_levels", "compute", check_send_level},
    {"cinder", "catalog_info", check_catalog_info},
    {"oslo_messaging_notifications", "driver", check_notifications_driver},
    {"oslo_messaging_notifications", "transport_url", check_notifications_url},
};

struct error *
rules_check(const struct conf *conf, const char **ret_group,
            const char **ret_name)
{
    for (size_t i = 0; i < N_ELEMENTS(rules); i++) {
        struct error *error = rules[i].check(conf);

        if (error) {
            *ret_group = rules[i].group;
            *ret_name = rules[i].name;
            return error;
        }
    }
    return NULL;
}

bool
rules_url_has_password(const char *url)
{
    const char *hosts = strstr(url, "://");

    if (!hosts) {
        return false;
    }
    hosts += 3;
    size_t size = strcspn(hosts, "/?#");
    const char *colon = memchr(hosts, ':', size);
    return colon && memchr(colon, '@', size - (size_t)(colon - hosts));
}
