#ifndef DROVER_RPC_OBJECT_H
#define DROVER_RPC_OBJECT_H

/* Nova's versioned objects as they travel: a primitive with tracked changes.
 * (spec/rpc-wire 8.2, 8.3)
 *
 * What is not known is kept as it came.  An absent field is not null: it is
 * unknown.  The tree is always a valid primitive:
 *   {"nova_object.name", ".namespace", ".version", ".data", ".changes"}
 * so that object_json() can be sent or stored as it is.
 *
 * Threads: no shared state. */

#include "rpc/json.h"

struct object;

/* A new object without fields; version "1.10". */
struct object *object_create(const char *name, const char *version);

/* Takes a copy of 'json', which must be a primitive of 'name' (any name if
 * null) in namespace "nova".  ERR_VALUE for a missing key,
 * ERR_UNSUPPORTED_OBJECT for another namespace or name, ERR_VALUE for wrong
 * types within.  In the copy, and in all objects within, what is to be an
 * integer and came as a string is one; what is none, or is to be a point in
 * time and is none, is ERR_VALUE (see rpc/object_versions.h). */
struct error *object_parse(const struct json *json, const char *name,
                           struct object **ret) WARN_UNUSED;

/* The same of 'json' itself, which it takes, even if it fails. */
struct error *object_take(struct json *json, const char *name,
                          struct object **ret) WARN_UNUSED;

void object_free(struct object *object); /* Null is fine. */
CLEANUP_FUNC(struct object, object_free)
#define AUTO_OBJECT CLEANUP(object_free_at) struct object *

struct object *object_copy(const struct object *object); /* Null: null. */

const char *object_name(const struct object *object);
const char *object_version(const struct object *object);

/* The primitive, borrowed.  The second is a copy without ".changes". */
const struct json *object_json(const struct object *object);
struct json *object_json_clean(const struct object *object);

/* Fields.  The value is borrowed; null when absent.  object_set() takes
 * 'value' (null: JSON's null) and marks the field as changed when its value
 * differs from before. */
const struct json *object_get(const struct object *object, const char *field);
bool object_has(const struct object *object, const char *field);
void object_set(struct object *object, const char *field, struct json *value);
void object_unset(struct object *object, const char *field);

void object_set_string(struct object *o, const char *field, const char *value);
void object_set_int(struct object *o, const char *field, int64_t value);
void object_set_bool(struct object *o, const char *field, bool value);
void object_set_null(struct object *o, const char *field);
const char *object_string(const struct object *o, const char *field); /* null */
int64_t object_int(const struct object *o, const char *field);        /* 0 */
bool object_bool(const struct object *o, const char *field); /* false */

/* Changes. */
bool object_is_changed(const struct object *object, const char *field);
void object_clear_change(struct object *object, const char *field);
/* Although it may be what it was: somebody else may have changed what is
 * stored. */
void object_set_changed(struct object *object, const char *field);
void object_clear_changes(struct object *object);
size_t object_n_changes(const struct object *object);

/* Applies what an object_action answered: 'updates' is {field: value, ...,
 * "obj_what_changed": [...]}. (spec/rpc-wire 8.4) */
struct error *object_apply_updates(struct object *object,
                                   const struct json *updates) WARN_UNUSED;

/* Copies into 'to' every field that 'from' has marked as changed, marking it
 * there. */
void object_merge_changes(struct object *to, const struct object *from);

/* Microseconds since the epoch of any ISO 8601 form of spec/rpc-wire 8.3;
 * false if 'text' is none. */
bool object_parse_datetime(const char *text, int64_t *ret_us);

#endif
