#ifndef DROVER_RPC_OBJECT_INTERNAL_H
#define DROVER_RPC_OBJECT_INTERNAL_H

/* The keys of a primitive, for rpc/object*.c. (spec/rpc-wire 8.2) */

#include "rpc/json.h"

#define KEY_NAME "nova_object.name"
#define KEY_NAMESPACE "nova_object.namespace"
#define KEY_VERSION "nova_object.version"
#define KEY_DATA "nova_object.data"
#define KEY_CHANGES "nova_object.changes"
#define NAMESPACE "nova"

/* What has a name is one, whether it is valid or not. */
static inline bool
object_is_primitive(const struct json *json)
{
    return json_has(json, KEY_NAME);
}

#endif
