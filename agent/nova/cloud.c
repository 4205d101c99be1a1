#include <config.h>

#include "agent/nova/cloud.h"

#include <stdlib.h>
#include <string.h>

/* The rows of conf/login_options.def are in each such group. */
#define TLS_OF(SECTION)                                               \
    {                                                                 \
        .cafile = (SECTION).cafile, .certfile = (SECTION).certfile,   \
        .keyfile = (SECTION).keyfile, .insecure = (SECTION).insecure, \
    }
#define LOGIN_OF(SECTION)                                                     \
    {                                                                         \
        .auth_type = (SECTION).auth_type, .auth_url = (SECTION).auth_url,     \
        .username = (SECTION).username, .user_id = (SECTION).user_id,         \
        .password = (SECTION).password,                                       \
        .user_domain_name = (SECTION).user_domain_name,                       \
        .user_domain_id = (SECTION).user_domain_id,                           \
        .project_name = (SECTION).project_name,                               \
        .project_id = (SECTION).project_id,                                   \
        .project_domain_name = (SECTION).project_domain_name,                 \
        .project_domain_id = (SECTION).project_domain_id,                     \
        .default_domain_name = (SECTION).default_domain_name,                 \
        .default_domain_id = (SECTION).default_domain_id,                     \
        .system_scope = (SECTION).system_scope,                               \
        .application_credential_id = (SECTION).application_credential_id,     \
        .application_credential_name = (SECTION).application_credential_name, \
        .application_credential_secret =                                      \
            (SECTION).application_credential_secret,                          \
        .tls = TLS_OF(SECTION),                                               \
        .timeout_ms = (unsigned)(SECTION).timeout * 1000,                     \
    }
#define QUERY_OF(SECTION)                                               \
    {                                                                   \
        .type = (SECTION).service_type, .name = (SECTION).service_name, \
        .region = (SECTION).region_name,                                \
        .interfaces = (const char *const *)(SECTION).valid_interfaces,  \
    }

static struct service *create_placement(struct cloud *cloud,
                                        const struct conf *conf);
static struct service *create_network(struct cloud *cloud,
                                      const struct conf *conf);
static struct service *create_cinder(struct cloud *cloud,
                                     const struct conf *conf);
static struct service *create_glance(struct cloud *cloud,
                                     const struct conf *conf);
static void split_catalog_info(struct cloud *cloud, const char *info);

struct cloud *
cloud_create(uv_loop_t *loop, struct worker_pool *workers,
             const struct conf *conf)
{
    struct cloud *cloud = xzalloc(sizeof *cloud);
    const struct rest_options options = {
        .loop = loop,
        .workers = workers,
        .directory = conf->driver_path,
    };

    cloud->rest = rest_create(&options);
    cloud->keystone = keystone_create(cloud->rest);
    split_catalog_info(cloud, conf->cinder.catalog_info);
    cloud->placement = create_placement(cloud, conf);
    cloud->network = create_network(cloud, conf);
    cloud->neutron = neutron_create(
        cloud->network, (unsigned)conf->neutron.extension_sync_interval);
    cloud->cinder = create_cinder(cloud, conf);
    cloud->glance = create_glance(cloud, conf);
    return cloud;
}

bool
cloud_has_placement(const struct conf *conf)
{
    return conf->placement.auth_url || conf->placement.endpoint_override;
}

bool
cloud_has_neutron(const struct conf *conf)
{
    return conf->neutron.auth_url || conf->neutron.endpoint_override;
}

void
cloud_close(struct cloud *cloud)
{
    if (!cloud) {
        return;
    }
    rest_close(cloud->rest);
    neutron_free(cloud->neutron);
    service_free(cloud->placement);
    service_free(cloud->network);
    service_free(cloud->cinder);
    service_free(cloud->glance);
    keystone_free(cloud->keystone);
    rest_free(cloud->rest);
    free(cloud->volume_type);
    free(cloud->volume_name);
    free(cloud->volume_interface);
    free(cloud);
}

static struct service *
create_placement(struct cloud *cloud, const struct conf *conf)
{
    const struct service_conf placement = {
        .kind = &placement_kind,
        .login = LOGIN_OF(conf->placement),
        .query = QUERY_OF(conf->placement),
        .endpoint = conf->placement.endpoint_override,
        .tls = TLS_OF(conf->placement),
        .timeout_ms = (unsigned)conf->placement.timeout * 1000,
    };

    return service_create(cloud->rest, cloud->keystone, &placement);
}

static struct service *
create_network(struct cloud *cloud, const struct conf *conf)
{
    const struct service_conf network = {
        .kind = &neutron_kind,
        .login = LOGIN_OF(conf->neutron),
        .query = QUERY_OF(conf->neutron),
        .endpoint = conf->neutron.endpoint_override,
        .tls = TLS_OF(conf->neutron),
        .timeout_ms = (unsigned)conf->neutron.timeout * 1000,
    };

    return service_create(cloud->rest, cloud->keystone, &network);
}

/* What goes as the service's own user goes as service_user where the group has
 * no login: a migration may outlive the user's token. */
static struct service *
create_cinder(struct cloud *cloud, const struct conf *conf)
{
    const struct keystone_login service_login = LOGIN_OF(conf->service_user);
    struct service_conf cinder = {
        .kind = &cinder_kind,
        .login = LOGIN_OF(conf->cinder),
        .query =
            {
                .type = cloud->volume_type,
                .name = cloud->volume_name,
                .region = conf->cinder.os_region_name,
                .interfaces = cloud->volume_interfaces,
            },
        .endpoint = conf->cinder.endpoint_template,
        .tls = TLS_OF(conf->cinder),
        .timeout_ms = (unsigned)conf->cinder.timeout * 1000,
    };

    if (!cinder.login.auth_type) {
        cinder.login = service_login;
    }
    if (conf->service_user.send_service_user_token && service_login.auth_type) {
        cinder.service_login = &service_login;
    }
    return service_create(cloud->rest, cloud->keystone, &cinder);
}

static struct service *
create_glance(struct cloud *cloud, const struct conf *conf)
{
    const struct keystone_login service_login = LOGIN_OF(conf->service_user);
    struct service_conf glance = {
        .kind = &glance_kind,
        .login = LOGIN_OF(conf->glance),
        .query = QUERY_OF(conf->glance),
        .endpoint = conf->glance.endpoint_override,
        .tls = TLS_OF(conf->glance),
        .timeout_ms = (unsigned)conf->glance.timeout * 1000,
    };

    if (!glance.endpoint) {
        glance.endpoint = conf->glance.api_servers[0];
    }
    if (!glance.login.auth_type) {
        glance.login = service_login;
    }
    if (conf->service_user.send_service_user_token && service_login.auth_type) {
        glance.service_login = &service_login;
    }
    return service_create(cloud->rest, cloud->keystone, &glance);
}

/* "volumev3:cinderv3:internalURL", as the configuration's rules have made
 * sure. */
static void
split_catalog_info(struct cloud *cloud, const char *info)
{
    const char *name = strchr(info, ':') + 1;
    const char *interface = strchr(name, ':') + 1;
    size_t name_size = (size_t)(interface - name) - 1;

    cloud->volume_type = xstrndup(info, (size_t)(name - info) - 1);
    cloud->volume_name = name_size ? xstrndup(name, name_size) : NULL;
    cloud->volume_interface = xstrdup(interface);
    cloud->volume_interfaces[0] = cloud->volume_interface;
}
