#include <config.h>

#include "rpc/transport_url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PORT_DEFAULT 5672

/* A piece of the text.  None is ever quoted in a message: what looks like a
 * port may be half a password. */
struct span {
    const char *p, *end;
};

static struct error *parse_hosts(struct span, struct transport_url *);
static struct error *parse_host(struct span, struct transport_host *,
                                bool *ret_has_credentials);
static struct error *parse_credentials(struct span, struct transport_host *);
static struct error *parse_address(struct span, struct transport_host *);
static struct error *parse_port(struct span, int *ret);
static struct error *parse_vhost(struct span, struct transport_url *);
static struct error *parse_options(struct span, struct transport_url *);
static void add_option(struct transport_url *, char *name, char *value);
static struct error *decode(struct span, bool is_query, char **ret);
static struct span take_until(struct span *, const char *delimiters);
static const char *find(struct span, char c);
static const char *find_last(struct span, char c);
static bool is_empty(struct span);
static int hex_digit(char c);

struct error *
transport_url_parse(const char *text, struct transport_url **ret)
{
    static const char scheme[] = "rabbit://";
    CLEANUP(transport_url_free_at)
    struct transport_url *url = xzalloc(sizeof *url);

    if (strncasecmp(text, scheme, sizeof scheme - 1) != 0) {
        return error_new(ERR_CONFIG,
                         "transport_url does not begin with 'rabbit://'");
    }

    struct span rest = {text + sizeof scheme - 1, text + strlen(text)};
    struct span url_without_fragment = take_until(&rest, "#");
    rest = url_without_fragment;
    struct span hosts = take_until(&rest, "/?");
    struct span path = take_until(&rest, "?");

    struct error *error = parse_hosts(hosts, url);
    if (!error) {
        error = parse_vhost(path, url);
    }
    if (!error) {
        error = parse_options(rest, url);
    }
    if (error) {
        return error;
    }
    *ret = steal(&url);
    return NULL;
}

void
transport_url_free(struct transport_url *url)
{
    if (!url) {
        return;
    }
    for (size_t i = 0; i < url->n_hosts; i++) {
        free(url->hosts[i].user);
        free(url->hosts[i].password);
        free(url->hosts[i].host);
    }
    for (size_t i = 0; i < url->n_options; i++) {
        free(url->options[i].name);
        free(url->options[i].value);
    }
    free(url->hosts);
    free(url->options);
    free(url->vhost);
    free(url);
}

static struct error *
parse_hosts(struct span list, struct transport_url *url)
{
    size_t n_credentials = 0, n_room = 0;

    while (!is_empty(list)) {
        struct span member = take_until(&list, ",");
        bool has_credentials = false;

        list.p += !is_empty(list);
        if (is_empty(member)) {
            continue;
        }
        if (url->n_hosts == n_room) {
            url->hosts = xgrow(url->hosts, &n_room, sizeof *url->hosts);
        }
        struct transport_host *host = &url->hosts[url->n_hosts++];
        *host = (struct transport_host){.port = PORT_DEFAULT};
        struct error *error = parse_host(member, host, &has_credentials);
        if (error) {
            return error_wrap(error, "transport_url, host %zu", url->n_hosts);
        }
        n_credentials += has_credentials;
    }

    if (url->n_hosts == 0) {
        /* "rabbit://" alone is oslo.messaging's default. */
        url->hosts = xgrow(url->hosts, &n_room, sizeof *url->hosts);
        url->n_hosts = 1;
        url->hosts[0] =
            (struct transport_host){xstrdup("guest"), xstrdup("guest"),
                                    xstrdup("localhost"), PORT_DEFAULT};
    }
    url->some_lack_credentials =
        n_credentials > 0 && n_credentials < url->n_hosts;
    return NULL;
}

static struct error *
parse_host(struct span member, struct transport_host *host,
           bool *ret_has_credentials)
{
    const char *at = find_last(member, '@');

    if (at) {
        struct error *error =
            parse_credentials((struct span){member.p, at}, host);
        if (error) {
            return error;
        }
        *ret_has_credentials = true;
        member.p = at + 1;
    } else {
        host->user = xstrdup("guest");
        host->password = xstrdup("guest");
    }
    return parse_address(member, host);
}

static struct error *
parse_credentials(struct span text, struct transport_host *host)
{
    struct span user = take_until(&text, ":");

    text.p += !is_empty(text);
    struct error *error = decode(user, false, &host->user);
    return error ? error : decode(text, false, &host->password);
}

/* host, host:port, [v6], [v6]:port, or v6 without brackets. */
static struct error *
parse_address(struct span text, struct transport_host *host)
{
    struct span name = text, port = {text.end, text.end};
    const char *colon = find(text, ':');
    bool is_v6 = false;

    if (!is_empty(text) && *text.p == '[') {
        name.p++;
        name.end = find(text, ']');
        if (!name.end) {
            return error_new(ERR_CONFIG, "a bracket is not closed");
        }
        port.p = name.end + 1;
        if (!is_empty(port) && *port.p != ':') {
            return error_new(ERR_CONFIG, "text after the bracket");
        }
        is_v6 = true;
    } else if (colon && colon != find_last(text, ':')) {
        is_v6 = true;
    } else if (colon) {
        name.end = port.p = colon;
    }

    AUTO_FREE decoded = xstrndup(name.p, (size_t)(name.end - name.p));
    unsigned char address[sizeof(struct in6_addr)];
    if (is_v6 && inet_pton(AF_INET6, decoded, address) != 1) {
        return error_new(ERR_CONFIG, "neither host:port nor an IPv6 address");
    }
    if (!*decoded) {
        return error_new(ERR_CONFIG, "it has no name");
    }
    host->host = steal(&decoded);
    port.p += !is_empty(port); /* The colon. */
    return is_empty(port) ? NULL : parse_port(port, &host->port);
}

static struct error *
parse_port(struct span text, int *ret)
{
    int port = 0;

    for (const char *p = text.p; p < text.end; p++) {
        if (!isdigit((unsigned char)*p) || port > 65535) {
            port = 0;
            break;
        }
        port = port * 10 + (*p - '0');
    }
    if (port < 1 || port > 65535) {
        return error_new(ERR_CONFIG,
                         "its port is no number from 1 to 65535 (is there an "
                         "unescaped character in a password?)");
    }
    *ret = port;
    return NULL;
}

static struct error *
parse_vhost(struct span path, struct transport_url *url)
{
    path.p += !is_empty(path); /* The slash that ended the hosts. */
    if (is_empty(path)) {
        url->vhost = xstrdup("/");
        return NULL;
    }
    return error_wrap(decode(path, false, &url->vhost),
                      "transport_url, virtual host");
}

static struct error *
parse_options(struct span query, struct transport_url *url)
{
    query.p += !is_empty(query); /* The question mark. */
    while (!is_empty(query)) {
        struct span pair = take_until(&query, "&");
        struct span name_text = take_until(&pair, "=");
        AUTO_FREE name = NULL;
        AUTO_FREE value = NULL;

        query.p += !is_empty(query);
        pair.p += !is_empty(pair);
        if (is_empty(pair)) {
            continue; /* As the peers do: no value, no option. */
        }
        struct error *error = decode(name_text, true, &name);
        if (!error) {
            error = decode(pair, true, &value);
        }
        if (error) {
            return error_wrap(error, "transport_url, options");
        }
        add_option(url, steal(&name), steal(&value));
    }
    return NULL;
}

/* Takes both.  An option given twice has both values, joined by a comma. */
static void
add_option(struct transport_url *url, char *name, char *value)
{
    for (size_t i = 0; i < url->n_options; i++) {
        struct transport_option *option = &url->options[i];

        if (str_eq(option->name, name)) {
            char *both = xasprintf("%s,%s", option->value, value);
            free(option->value);
            option->value = both;
            free(name);
            free(value);
            return;
        }
    }
    url->options =
        xrealloc(url->options, (url->n_options + 1) * sizeof *url->options);
    url->options[url->n_options++] = (struct transport_option){name, value};
}

/* Undoes percent-encoding; a lone '%' stays.  In a query '+' is a blank. */
static struct error *
decode(struct span text, bool is_query, char **ret)
{
    AUTO_FREE decoded = xmalloc((size_t)(text.end - text.p) + 1);
    char *out = decoded;

    for (const char *p = text.p; p < text.end; p++) {
        if (*p == '%' && text.end - p > 2 && hex_digit(p[1]) >= 0 &&
            hex_digit(p[2]) >= 0) {
            *out = (char)(hex_digit(p[1]) << 4 | hex_digit(p[2]));
            if (*out++ == '\0') {
                return error_new(ERR_CONFIG, "it has a '%%00'");
            }
            p += 2;
        } else {
            *out++ = is_query && *p == '+' ? ' ' : *p;
        }
    }
    *out = '\0';
    *ret = steal(&decoded);
    return NULL;
}

/* The beginning of '*text' up to the first of 'delimiters', which remains. */
static struct span
take_until(struct span *text, const char *delimiters)
{
    struct span taken = {text->p, text->p};

    while (taken.end < text->end && !strchr(delimiters, *taken.end)) {
        taken.end++;
    }
    text->p = taken.end;
    return taken;
}

static const char *
find(struct span text, char c)
{
    return is_empty(text) ? NULL
                          : memchr(text.p, c, (size_t)(text.end - text.p));
}

static const char *
find_last(struct span text, char c)
{
    return is_empty(text) ? NULL
                          : memrchr(text.p, c, (size_t)(text.end - text.p));
}

static bool
is_empty(struct span text)
{
    return text.p == text.end;
}

static int
hex_digit(char c)
{
    return isdigit((unsigned char)c)    ? c - '0'
           : isxdigit((unsigned char)c) ? (c | 0x20) - 'a' + 10
                                        : -1;
}
