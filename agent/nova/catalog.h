#ifndef DROVER_NOVA_CATALOG_H
#define DROVER_NOVA_CATALOG_H

/* Where a service is to be found: a look-up in a catalogue of services.
 *
 * Pure.  There are two forms of a catalogue: that of a token has a list of
 * {interface, region, url}, that which Nova puts into a request's context one
 * of {region, publicURL, internalURL, adminURL}.
 *
 * Threads: no shared state; any. */

#include "rpc/json.h"

/* Null, or an empty list: any. */
struct catalog_query {
    const char *type; /* "network"; not null. */
    const char *name, *region;
    const char *const *interfaces; /* "internal", in the order of preference;
                                    * ends with null. */
};

/* Borrowed from 'catalog', which may be anything; null: there is none. */
const char *catalog_find(const struct json *catalog,
                         const struct catalog_query *query);

#endif
