#ifndef DROVER_RPC_OBJECT_INTERNAL_H
#define DROVER_RPC_OBJECT_INTERNAL_H

/* What the parts of the module share, for rpc/object*.c and what works on
 * primitives as they are. (spec/rpc-wire 8.2, 8.3) */

#include "agent/base/error.h"
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

/* As nova's fields do on input: an integer may come as a string, and becomes
 * one; a point in time may come in many forms, and stays as it is.  Of all
 * primitives in 'json', which are valid; or of the fields of one object of
 * class 'name', and nothing within.  ERR_VALUE for what is none. */
struct error *object_coerce(struct json *json) WARN_UNUSED;
struct error *object_coerce_fields(const char *name,
                                   struct json *data) WARN_UNUSED;

/* Writes points in time as nova sends them: UTC, whole seconds, "Z".  A
 * conductor stores what has an offset as if it had none. */
void object_write_datetimes(const char *name, struct json *data);

#endif
