#ifndef DROVER_NOVA_PRIMITIVE_H
#define DROVER_NOVA_PRIMITIVE_H

/* Versioned objects as plain JSON, where they are only read or written whole:
 * inside lists, and inside texts of other objects.  (rpc/object.h has those
 * whose changes count.)
 *
 * Threads: no shared state. */

#include "agent/base/sets.h"
#include "rpc/json.h"

/* A new one of namespace "nova"; takes 'data'. */
struct json *primitive_create(const char *name, const char *version,
                              struct json *data);

/* Its fields; null, which has none, for null or what is no object. */
const struct json *primitive_data(const struct json *primitive);
const struct json *primitive_get(const struct json *primitive,
                                 const char *field);
const char *primitive_string(const struct json *primitive, const char *field);
int64_t primitive_int(const struct json *primitive, const char *field);

/* The elements of a list of objects; null: none. */
const struct json *primitive_objects(const struct json *list);

/* A set of CPUs as a field has it, the caller's. */
struct json *primitive_cpus(const struct cpu_set *set);

/* Whether both mean the same: lists of numbers or strings are sets, and what
 * is marked as changed does not count. */
bool primitive_same(const struct json *a, const struct json *b);

#endif
