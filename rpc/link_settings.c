#include <config.h>

#include "rpc/link_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/base/log.h"
#include "rpc/uuid.h"

LOG_MODULE(link_settings);

static void name_queues(struct link_settings *);
static char *own_name(const struct link_settings *, const char *prefix);
static struct transport_url *url_copy(const struct transport_url *);
static const char *const *keys_copy(const char *const *keys);

void
link_settings_init(struct link_settings *s, const struct link_options *options)
{
    s->o = *options;
    s->o.url = url_copy(options->url);
    s->o.name = xstrdup(options->name);
    s->o.exchange = xstrdup(options->exchange);
    s->o.topic = xstrdup_null(options->topic);
    s->o.server = xstrdup_null(options->server);
    s->o.queue_host = xstrdup_null(options->queue_host);
    s->o.queue_process = xstrdup_null(options->queue_process);
    s->o.ssl_ca_file = xstrdup_null(options->ssl_ca_file);
    s->o.ssl_cert_file = xstrdup_null(options->ssl_cert_file);
    s->o.ssl_key_file = xstrdup_null(options->ssl_key_file);
    s->o.listen_keys = keys_copy(options->listen_keys);
    name_queues(s);
}

void
link_settings_close(struct link_settings *s)
{
    transport_url_free((struct transport_url *)s->o.url);
    free((char *)s->o.name);
    free((char *)s->o.exchange);
    free((char *)s->o.topic);
    free((char *)s->o.server);
    free((char *)s->o.queue_host);
    free((char *)s->o.queue_process);
    free((char *)s->o.ssl_ca_file);
    free((char *)s->o.ssl_cert_file);
    free((char *)s->o.ssl_key_file);
    for (size_t i = 0; s->o.listen_keys && s->o.listen_keys[i]; i++) {
        free((char *)s->o.listen_keys[i]);
    }
    free((void *)s->o.listen_keys);
    free(s->reply_queue);
    free(s->listen_queue);
    free(s->topic_queue);
    free(s->server_queue);
    free(s->fanout_exchange);
    free(s->fanout_queue);
    queue_manager_free(s->queue_manager);
}

static void
name_queues(struct link_settings *s)
{
    const char *topic = s->o.topic;

    if (s->o.queue_host && s->o.queue_process) {
        AUTO_ERROR error =
            queue_manager_create(QUEUE_MANAGER_DIRECTORY, s->o.queue_host,
                                 s->o.queue_process, &s->queue_manager);
        if (error) {
            log_warn(NULL, "queues get random names: %s", error_message(error));
        }
    }
    s->reply_queue = own_name(s, "reply");
    s->listen_queue = s->o.listen_keys ? own_name(s, "listen") : NULL;
    if (topic) {
        s->topic_queue = xstrdup(topic);
        s->server_queue = xasprintf("%s.%s", topic, s->o.server);
        s->fanout_exchange = xasprintf("%s_fanout", topic);
        s->fanout_queue = s->o.stream_fanout ? xstrdup(s->fanout_exchange)
                                             : own_name(s, s->fanout_exchange);
    }
    s->keeps_fanout = s->o.stream_fanout || s->queue_manager;
    snprintf(s->stream_max_age, sizeof s->stream_max_age, "%us",
             s->o.transient_ttl_s);
}

static char *
own_name(const struct link_settings *s, const char *prefix)
{
    char hex[UUID_SIZE];

    return xasprintf("%s_%s", prefix,
                     s->queue_manager ? queue_manager_name(s->queue_manager)
                                      : uuid_generate_hex(hex));
}

static struct transport_url *
url_copy(const struct transport_url *url)
{
    struct transport_url *copy = xzalloc(sizeof *copy);

    copy->n_hosts = url->n_hosts;
    copy->vhost = xstrdup(url->vhost);
    copy->hosts = xcalloc(url->n_hosts, sizeof *copy->hosts);
    for (size_t i = 0; i < url->n_hosts; i++) {
        const struct transport_host *from = &url->hosts[i];

        copy->hosts[i] = (struct transport_host){
            .user = xstrdup_null(from->user),
            .password = xstrdup_null(from->password),
            .host = xstrdup(from->host),
            .port = from->port,
        };
    }
    return copy;
}

static const char *const *
keys_copy(const char *const *keys)
{
    size_t n = 0;

    while (keys && keys[n]) {
        n++;
    }
    if (n == 0) {
        return NULL;
    }
    const char **copy = xcalloc(n + 1, sizeof *copy);
    for (size_t i = 0; i < n; i++) {
        copy[i] = xstrdup(keys[i]);
    }
    return copy;
}
