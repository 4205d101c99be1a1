#include <config.h>

#include "agent/nova/catalog.h"

#include <string.h>

/* A service may be listed by a name that it was given later or earlier. */
static const char *const volume_types[] = {"block-storage", "volumev3",
                                           "block-store", NULL};

static const char *find_of_type(const struct json *catalog,
                                const struct catalog_query *query,
                                const char *type);
static const char *find_interface(const struct json *service,
                                  const struct catalog_query *query,
                                  const char *interface);
static const char *endpoint_url(const struct json *endpoint,
                                const char *interface);
static bool is_in_region(const struct json *endpoint, const char *region);

const char *
catalog_find(const struct json *catalog, const struct catalog_query *query)
{
    const char *url = find_of_type(catalog, query, query->type);
    bool is_volume = false;

    for (size_t i = 0; volume_types[i]; i++) {
        is_volume |= str_eq(volume_types[i], query->type);
    }
    for (size_t i = 0; !url && is_volume && volume_types[i]; i++) {
        url = find_of_type(catalog, query, volume_types[i]);
    }
    return url;
}

/* The first interface that any service of the type has. */
static const char *
find_of_type(const struct json *catalog, const struct catalog_query *query,
             const char *type)
{
    static const char *const any[] = {"public", "internal", "admin", NULL};
    const char *const *interfaces =
        query->interfaces && query->interfaces[0] ? query->interfaces : any;

    for (size_t i = 0; interfaces[i]; i++) {
        json_for_each (service, catalog) {
            const char *url = NULL;

            if (str_eq(json_string_of(service, "type"), type) &&
                (!query->name ||
                 str_eq(json_string_of(service, "name"), query->name))) {
                url = find_interface(service, query, interfaces[i]);
            }
            if (url) {
                return url;
            }
        }
    }
    return NULL;
}

static const char *
find_interface(const struct json *service, const struct catalog_query *query,
               const char *interface)
{
    json_for_each (endpoint, json_get(service, "endpoints")) {
        const char *url = endpoint_url(endpoint, interface);

        if (url && is_in_region(endpoint, query->region)) {
            return url;
        }
    }
    return NULL;
}

/* Interfaces are also written as in "publicURL". */
static const char *
endpoint_url(const struct json *endpoint, const char *interface)
{
    const char *its = json_string_of(endpoint, "interface");
    size_t size = strlen(interface);

    if (size > 3 && str_eq(interface + size - 3, "URL")) {
        size -= 3;
    }
    if (its) {
        return strlen(its) == size && strncmp(its, interface, size) == 0
                   ? json_string_of(endpoint, "url")
                   : NULL;
    }
    AUTO_FREE name = xasprintf("%.*sURL", (int)size, interface);
    return json_string_of(endpoint, name);
}

static bool
is_in_region(const struct json *endpoint, const char *region)
{
    return !region || str_eq(json_string_of(endpoint, "region"), region) ||
           str_eq(json_string_of(endpoint, "region_id"), region);
}
